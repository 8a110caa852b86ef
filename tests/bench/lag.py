"""End of speech → first translated packet at the listener, over real WebRTC, without a browser.

    python -m tests.bench.lag [SENTENCES]

Flite speaks English into a stock aiortc client, 20 ms at a time in real time; another one listens in Spanish. Counted
from the moment the last speech sample is handed to the speaker's track to the arrival of the translation's first RTP
packet; what a browser adds is in `browser`. Compared with the same sentences handed to the same engine only when they
have ended, as a server does that takes requests instead of streams.
"""

import asyncio
import sys
import time
from statistics import median

import aiohttp
import numpy as np
from aiohttp import web

from models.base import SPEECH_RATE, Translator
from signaling.engines import build_engine
from signaling.server import create_app
from signaling.settings import Settings
from tests.bench.figures import percentile, record
from tests.client import RATE, Client, joined
from tests.sentences import SENTENCES
from tests.speech import flite, peak, resample, trim

PROTOTYPE_MEDIAN_MS, PROTOTYPE_P95_MS = 449.0, 677.0
"""A prototype of the same parts in one process, without a network, WebRTC or a second person (measured before)."""


def translate_whole(translator: Translator, pcm: np.ndarray) -> float:
    """Milliseconds to recognise, translate and speak a sentence that is handed over only when it has ended."""
    begun = time.perf_counter()
    recognition = translator.hear("whole", "en")
    for start in range(0, len(pcm), 8000):
        recognition.push(pcm[start : start + 8000])
    recognition.want(["es"])
    for rendering in recognition.finish():
        if rendering.language == "es":
            break
    return (time.perf_counter() - begun) * 1000


def watch_packets(client: Client) -> list[tuple[float, str]]:
    """(arrival, mid) of every RTP packet of a client, before its jitter buffer."""
    assert client.pc is not None
    arrivals: list[tuple[float, str]] = []
    for transceiver in client.pc.getTransceivers():
        receiver, mid = transceiver.receiver, str(transceiver.mid)
        inner = receiver._handle_rtp_packet

        async def handle(packet, arrival_time_ms, inner=inner, mid=mid):
            arrivals.append((time.monotonic(), mid))
            await inner(packet, arrival_time_ms=arrival_time_ms)

        receiver._handle_rtp_packet = handle
    return arrivals


async def run(count: int) -> None:
    settings = Settings(translator="embedded")
    engine = build_engine(settings)
    runner = web.AppRunner(create_app(engine, settings), access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    base = "http://{}:{}".format(*runner.addresses[0][:2])
    totals: list[float] = []
    wholes: list[float] = []
    stages: dict[str, list[float]] = {}
    async with aiohttp.ClientSession() as http:
        while (await http.get(f"{base}/readyz")).status != 200:
            pass
        room = (await (await http.post(f"{base}/v1/rooms")).json())["id"]
        async with joined(http, base, room, "Ana", "es") as ana, joined(http, base, room, "Bob", "en") as bob:
            arrivals = watch_packets(ana)
            await asyncio.sleep(1)
            for index in range(count):
                sentence = SENTENCES[index % len(SENTENCES)]
                pcm = peak(trim(flite(sentence, voice=("slt", "rms", "awb")[index % 3], rate=RATE), RATE))
                start = len(ana.messages)
                bob.microphone.say(np.concatenate([np.zeros(RATE // 5, np.float32), pcm]))
                await bob.microphone.finished.wait()
                ended = bob.microphone.finished_at
                lag = await ana.expect("translation.lag", start=start)
                await ana.expect("speech.stopped", lambda m: m["variant"] == "translation", start=start)
                mid = next(slot["mid"] for slot in ana.slots if slot["variant"] == "translation")
                first = next((at for at, where in arrivals if where == mid and at > ended - 1), None)
                await ana.expect("speech.stopped", lambda m: m["variant"] == "original", start=start)
                arrivals.clear()
                if first is None or len([m for m in ana.messages[start:] if m["type"] == "translation.lag"]) != 1:
                    continue  # cut in two: its first half was spoken while the second was said
                totals.append((first - ended) * 1000)
                sentence_16k = resample(pcm, RATE, SPEECH_RATE)
                whole = await asyncio.to_thread(translate_whole, engine.translator, sentence_16k)
                wholes.append(totals[-1] - lag["stages"]["translate"] + whole)
                for name, ms in lag["stages"].items():
                    stages.setdefault(name, []).append(ms)
    await runner.cleanup()
    print(f"{len(totals)} of {count} sentences (the others were cut in two and began even earlier)")
    for name, values in stages.items():
        print(f"  {name:<10} median {median(values):5.0f} ms   p95 {percentile(values, 0.95):5.0f} ms")
    value, p95 = median(totals), percentile(totals, 0.95)
    record("lag_median_ms", value, "ms", f"< {PROTOTYPE_MEDIAN_MS:.0f}", value < PROTOTYPE_MEDIAN_MS)
    record("lag_p95_ms", p95, "ms", f"< {PROTOTYPE_P95_MS:.0f}", p95 < PROTOTYPE_P95_MS)
    record("lag_vs_whole_sentence", value / median(wholes), "ratio", "< 1", value < median(wholes))


def main() -> None:
    asyncio.run(run(int(sys.argv[1]) if len(sys.argv) > 1 and sys.argv[1].isdigit() else 24))


if __name__ == "__main__":
    main()
