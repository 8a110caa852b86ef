"""Our media plane behind `POST /offer`: the product's own classes, without rooms and sessions. Everything the benches
take from `rtc` is taken here.

    python -m tests.bench.peers.dragoman --port 8080 --mode forward|speech|voice
"""

import argparse
import asyncio
import contextlib
import itertools

import numpy as np
from aiohttp import web

from rtc.jitter import JitterBuffer, render
from rtc.opus import FRAME, Decoder, Encoder
from rtc.peer_connection import MediaFailed, PeerConnection
from rtc.playout import VOICE_RATE, Playout
from rtc.ports import Ports
from rtc.rtp import Packet
from rtc.slots import StreamKey
from rtc.stats import Stats
from rtc.stream import Stream
from rtc.ticker import Ticker
from tests.bench.figures import percentile
from tests.sentences import PARAGRAPH
from tests.speech import flite

try:
    import uvloop
except ImportError:
    uvloop = None

CONNECT_TIMEOUT = 20.0


class Speech:
    """A voice is put in order, decoded for a model, and what would be the model's answer encoded."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._jitter = JitterBuffer()
        self._decoder, self._encoder = Decoder(VOICE_RATE), Encoder(VOICE_RATE)
        self._numbers = itertools.count()

    def packet(self, packet: Packet, now: float) -> None:
        self._jitter.push(packet.ssrc, packet.sequence, packet.timestamp, packet.payload, now)
        samples = self._encoder.frame_samples
        for piece in self._jitter.pull(now):
            pcm = render(piece, self._decoder)
            for start in range(0, len(pcm) - samples + 1, samples):
                number = next(self._numbers)
                payload = self._encoder.encode(pcm[start : start + samples])
                self._stream.send(Packet(0, number & 0xFFFF, number * FRAME & 0xFFFFFFFF, 0, payload), now)


class Voice:
    """A translated voice without a pause, encoded once."""

    def __init__(self, stream: Stream, stats: Stats) -> None:
        self._pcm = (flite(PARAGRAPH, rate=VOICE_RATE) * 32767).astype(np.int16)
        self._playout: Playout[str] = Playout(stream, stats)

    def tick(self, now: float) -> bool:
        if self._playout.backlog < 1:
            self._playout.say("paragraph", self._pcm, now)
        self._playout.tick(now)
        return True


class Server:
    """Peers that hear themselves, or one stream that every listener hears."""

    def __init__(self, mode: str) -> None:
        self._mode = mode
        self._shared = Stream(StreamKey("shared", "original", "en"))
        self._tasks = asyncio.TaskGroup()
        self._stats = Stats()
        self._ports = Ports()

    async def run(self, port: int) -> None:
        app = web.Application()
        app.add_routes([web.post("/offer", self._offer), web.get("/lateness", self._lateness)])
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        async with self._tasks:
            self._ticker = Ticker(self._stats)
            self._tasks.create_task(self._ticker.run())
            if self._mode == "voice":
                self._ticker.play(Voice(self._shared, self._stats).tick)
            await asyncio.Event().wait()

    async def _offer(self, request: web.Request) -> web.Response:
        body = await request.json()
        stream = Stream(StreamKey("own", "original", "en")) if body["role"] == "echo" else self._shared
        on_packet = Speech(stream).packet if self._mode == "speech" else stream.send
        pc = PeerConnection([], 16, on_packet, self._ticker, self._ports)
        answer, _ = await pc.accept(body["sdp"])
        for slot in pc.slots.values():
            stream.attach(slot)
        self._tasks.create_task(self._serve(pc, stream))
        return web.json_response({"sdp": answer, "type": "answer"})

    async def _serve(self, pc: PeerConnection, stream: Stream) -> None:
        with contextlib.suppress(MediaFailed):
            async with pc:
                await pc.run(CONNECT_TIMEOUT)
        for slot in pc.slots.values():
            stream.detach(slot)

    async def _lateness(self, request: web.Request) -> web.Response:
        """Milliseconds by which ticks were late since this was last asked."""
        late = [seconds * 1000 for seconds in self._stats.lateness]
        self._stats.lateness.clear()
        marks = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "max": 1.0} if late else {}
        return web.json_response({name: percentile(late, fraction) for name, fraction in marks.items()})


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--mode", choices=("forward", "speech", "voice"), default="forward")
    options = parser.parse_args()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop if uvloop else None) as runner:
        runner.run(Server(options.mode).run(options.port))


if __name__ == "__main__":
    main()
