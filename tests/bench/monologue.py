"""Somebody talks for minutes without waiting for anyone: how far behind is the interpreter, and does it fall further?

    python -m tests.bench.monologue [CHECKPOINT] [MINUTES]

The real server with SeamlessM4T-v2 (a small one that `tests.bench.train_seamless` made; real weights need a GPU), real
WebRTC, real time. The same speech goes into two rooms: one is interpreted simultaneously, one consecutively. Two
measures, for each piece that is spoken in the other language:

- lag: the piece's end in the original → the first packet of its translation (`translation.lag`), and how it is made up;
- ear-voice span, as research on interpreters has it: the piece's *beginning* in the original → the same packet. What is
  said in one go at the end of a long sentence has little lag and a long span.
"""

import asyncio
import itertools
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from random import Random
from statistics import mean, median
from typing import Any

import aiohttp
import numpy as np

from tests.bench.figures import percentile, record
from tests.bench.grammar import different
from tests.bench.readers import FLITE, read
from tests.bench.servers import Server, running
from tests.client import RATE, Client, joined
from tests.speech import Pcm, resample, trim

CHECKPOINT = Path(".bench/seamless-trained")
MINUTES = 10.0
SEED = 5
BREATH, LINK, PAUSE = 3, 0.12, 0.7
"""Sentences in one go, the seconds between those, and the seconds after them."""
MODES = ("simultaneous", "consecutive")
STAGES = ("segment", "queue", "translate", "playout")
GROWTH = 1.0
"""Seconds that it may fall back in all that time."""


def monologue(minutes: float) -> Iterable[Pcm]:
    """Sentences by one reader, at RATE, in one go or with a pause."""
    random = Random(SEED)
    sentences = different(random, without=frozenset())
    reader, left = FLITE[0], minutes * 60
    for number in itertools.count(1):
        pause = LINK if number % BREATH else PAUSE
        pcm = trim(resample(read(next(sentences), reader, random).pcm, 16_000, RATE), RATE)
        yield np.concatenate([pcm, np.zeros(int(pause * RATE), np.float32)])
        left -= len(pcm) / RATE + pause
        if left < 0:
            return


def spans(messages: list[dict[str, Any]], lags: list[tuple[float, dict[str, Any]]]) -> list[tuple[float, float]]:
    """(seconds into the talk, ear-voice span in milliseconds) of each piece.

    `messages`: all of the listener's; `lags`: with the clock at which each came."""
    finals = {m["segment_id"]: m for m in messages if m["type"] == "transcript.final" and not m["translated"]}
    last = {lag["segment_id"]: at - lag["lag_ms"] / 1000 for at, lag in lags}
    # Room time against the clock, by the ends of segments, of which the last piece's lag and the final both tell.
    offset = median(last[name] - final["end_ms"] / 1000 for name, final in finals.items() if name in last)
    found, ends = [], {name: final["start_ms"] / 1000 + offset for name, final in finals.items()}
    for at, lag in lags:
        if (begun := ends.get(lag["segment_id"])) is not None:
            found.append((at, (at - begun) * 1000))
            ends[lag["segment_id"]] = at - lag["lag_ms"] / 1000
    start = found[0][0]
    return [(at - start, span) for at, span in found]


async def watch(client: Client, lags: list[tuple[float, dict[str, Any]]]) -> None:
    """Note when each lag comes."""
    start = 0
    while True:
        message = await client.expect("translation.lag", start=start)
        start = client.messages.index(message, start) + 1
        lags.append((time.monotonic(), message))


async def listen(base: str, http: aiohttp.ClientSession, mode: str, speech: list[Pcm]) -> tuple[Client, list[Any]]:
    """One room, from the first word to the last that the engine made of it."""
    async with http.post(f"{base}/v1/rooms", json={"mode": mode}) as answer:
        room = (await answer.json())["id"]
    lags: list[tuple[float, dict[str, Any]]] = []
    async with joined(http, base, room, "Ana", "es") as ana, joined(http, base, room, "Bob", "en") as bob:
        watching = asyncio.create_task(watch(ana, lags))  # ends with the room, below
        for pcm in speech:
            bob.microphone.say(pcm)
            await bob.microphone.finished.wait()
        while (await (await http.get(f"{base}/v1/stats")).json())["engine"]["counters"].get("waiting"):
            pass
        watching.cancel()
    return ana, lags


async def run(checkpoint: Path, minutes: float) -> None:
    speech = list(monologue(minutes))
    server = Server(
        "Dragoman",
        "signaling",
        "websocket",
        "",
        ("serve", "--host", "127.0.0.1", "--translator", "seamless", "--seamless-model", str(checkpoint)),
    )
    with running(server) as (base, _):
        async with aiohttp.ClientSession() as http:
            while (await http.get(f"{base}/readyz")).status != 200:
                pass
            heard = await asyncio.gather(*(listen(base, http, mode, speech) for mode in MODES))
            statistics = await (await http.get(f"{base}/v1/stats")).json()
    seconds = sum(map(len, speech)) / RATE
    print(f"{seconds / 60:.1f} minutes, {len(speech)} sentences; engine {statistics['engine']['counters']}")
    for mode, (ana, lags) in zip(MODES, heard, strict=True):
        values = [lag["lag_ms"] for _, lag in lags]
        print(f"{mode}: {len(values)} pieces")
        for stage in STAGES:
            parts = [lag["stages"][stage] for _, lag in lags]
            print(f"  {stage:<10} median {median(parts):5.0f} ms   p95 {percentile(parts, 0.95):5.0f} ms")
        record(f"{mode}_lag_median_ms", median(values), "ms")
        record(f"{mode}_lag_p95_ms", percentile(values, 0.95), "ms")
        pieces = spans(ana.messages, lags)
        record(f"{mode}_span_median_ms", median(span for _, span in pieces), "ms")
        record(f"{mode}_span_p95_ms", percentile([span for _, span in pieces], 0.95), "ms")
        part = seconds / 5
        first = [span for at, span in pieces if at < part]
        final = [span for at, span in pieces if at > seconds - part]
        growth = (mean(final) - mean(first)) / 1000
        name = "lag_growth_10min_s" if mode == "simultaneous" else "consecutive_lag_growth_10min_s"
        record(name, growth, "s", f"< {GROWTH:.0f}", growth < GROWTH)


def main() -> None:
    arguments = itertools.chain(sys.argv[1:], [None, None])
    checkpoint, minutes = Path(next(arguments) or CHECKPOINT), float(next(arguments) or MINUTES)
    if not (checkpoint / "config.json").exists():
        print(f"There is no model in {checkpoint}: python -m tests.bench.train_seamless {CHECKPOINT} makes one.")
        return
    asyncio.run(run(checkpoint, minutes))


if __name__ == "__main__":
    main()
