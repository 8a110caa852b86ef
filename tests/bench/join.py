"""Offer sent → answer → media connected → first RTP packet of somebody's voice, without a browser.

    python -m tests.bench.join [JOINS]

A stock aiortc client joins a room in which another one is sending, again and again. What a browser adds is in
`browser`.
"""

import asyncio
import sys
import time
from statistics import median

import aiohttp
from aiohttp import web

from signaling.engines import build_engine
from signaling.server import create_app
from signaling.settings import Settings
from tests.bench.figures import percentile, record
from tests.bench.lag import watch_packets
from tests.client import Client, joined


async def joins(http: aiohttp.ClientSession, base: str, count: int) -> dict[str, list[float]]:
    """Seconds from the offer to the answer, to the connection and to the first packet, of so many joins of one room."""
    marks: dict[str, list[float]] = {"answer": [], "connected": [], "first_rtp": []}
    room = (await (await http.post(f"{base}/v1/rooms")).json())["id"]
    async with joined(http, base, room, "Bob", "en"):
        for _ in range(count):
            ana = await Client(http, base, room).open()
            offer = await ana.offer(slots=4)
            arrivals = watch_packets(ana)
            sent = time.monotonic()
            await ana.send("session.join", name="Ana", language="en", sdp=offer)
            answer = (await ana.expect("session.joined"))["sdp"]
            marks["answer"].append(time.monotonic() - sent)
            await ana.accept(answer)
            await ana.connected()
            marks["connected"].append(time.monotonic() - sent)
            await ana.until(lambda arrivals=arrivals: arrivals, "a packet")
            marks["first_rtp"].append(arrivals[0][0] - sent)
            await ana.send("session.leave")
            await ana.closed()
            await ana.close()
    return marks


async def run(count: int) -> None:
    settings = Settings(translator="echo", http_rate=1000)
    runner = web.AppRunner(create_app(build_engine(settings), settings), access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    base = "http://{}:{}".format(*runner.addresses[0][:2])
    async with aiohttp.ClientSession() as http:
        marks = await joins(http, base, count)
    await runner.cleanup()
    for name, values in marks.items():
        ms = [value * 1000 for value in values]
        record(f"join_{name}_median_ms", median(ms), "ms")
        record(f"join_{name}_p95_ms", percentile(ms, 0.95), "ms")


def main() -> None:
    asyncio.run(run(int(sys.argv[1]) if len(sys.argv) > 1 and sys.argv[1].isdigit() else 20))


if __name__ == "__main__":
    main()
