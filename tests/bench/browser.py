"""What people notice in their browsers: how long after a sentence its translation begins, and how long joining takes.

    python -m tests.bench.browser [SENTENCES]

Two Chromiums on this machine and the real server with the embedded engine. Lag runs from the last 10 ms in which the
speaker's own page hears its microphone above -40 dBFS to the first such 10 ms of the translated voice in the listener's
page; both pages' frames carry the time of the same machine's clock. So it holds the browsers' audio processing, both
networks, and all of the jitter buffers.
"""

import asyncio
import itertools
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from playwright.async_api import Browser, async_playwright

from tests.bench.figures import percentile, record
from tests.e2e.people import CHROMIUM, MICROPHONE_RATE, Person, Sound, chromium, write_microphone
from tests.e2e.serving import PATIENCE, Site, serving
from tests.sentences import SENTENCES
from tests.speech import flite, peak, trim, write_wav

STUDY_MS = 680.0
"""The study's prototype was heard in a browser 600 to 680 ms after the end of speech, six times."""

LEAD, PAUSE = 6.0, 3.5
"""Seconds before the first sentence, for both to join; and after each, for the interpreter to finish."""
VOICES = ("slt", "rms", "awb")
LONGEST = 4.0
"""Seconds of the longest sentence, generously."""
LOUD = 0.01

JOINS = 10
REMEMBERED = """
localStorage.setItem('dragoman', JSON.stringify({ name: 'Eva', language: 'es' }));
const marks = window.marks = {};
const mark = (name) => { marks[name] ??= performance.now(); };
const send = WebSocket.prototype.send;
WebSocket.prototype.send = function markedSend(data) {
  if (String(data).includes('session.join')) mark('offer');
  return send.call(this, data);
};
new MutationObserver(() => {
  const button = document.querySelector('[data-testid=join-button]');
  const open = document.querySelector('[data-testid=mic-status]')?.textContent.startsWith('Say something');
  if (button && open && !marks.click) { mark('click'); button.click(); }
  if (document.querySelector('[data-testid=connection-state][data-state=connected]')) mark('in');
}).observe(document, { subtree: true, childList: true, characterData: true, attributes: true });
const watch = setInterval(async () => {
  const reports = [...await window.dragoman?.call?.pc?.getStats() ?? []];
  if (!reports.some(([, { type, packetsReceived }]) => type === 'inbound-rtp' && packetsReceived)) return;
  mark('rtp');
  clearInterval(watch);
}, 5);
"""
"""Somebody who was here before: their page knows who they are, and they click as soon as they can."""


def utterances(sound: Sound, gap: float) -> list[tuple[float, float]]:
    """(first, last) loud moments of each stretch of speech, in milliseconds; pauses within are shorter than `gap`."""
    at = sound[0][sound[1] > LOUD]
    if not len(at):
        return []
    breaks = np.flatnonzero(np.diff(at) > gap)
    return list(zip(at[[0, *(breaks + 1)]].tolist(), at[[*breaks, -1]].tolist(), strict=True))


def lags(said: list[tuple[float, float]], translated: list[tuple[float, float]]) -> tuple[list[float], int]:
    """(milliseconds from each sentence's end to its translation's beginning, how many began before the end).

    A sentence without a translation before the next one is in neither."""
    found, early = [], 0
    for (start, end), (following, _) in itertools.pairwise([*said, (float("inf"), 0.0)]):
        begins = [begin for begin, _ in translated if start < begin < following]
        if begins and begins[0] < end:
            early += 1
        elif begins:
            found.append(begins[0] - end)
    return found, early


async def measure_lag(site: Site, talking: Browser, silent: Browser, count: int) -> None:
    """Listen until everything was said."""
    room = await site.room()
    bob, ana = await Person.arrive(talking), await Person.arrive(silent)
    await ana.enter(room, "Ana", "es")
    await bob.enter(room, "Bob", "en")
    said: list[tuple[float, float]] = []
    async with asyncio.timeout(LEAD + count * (LONGEST + PAUSE) + PATIENCE):
        while len(said) < count or await bob.now() - said[-1][1] < PAUSE * 1000:
            await bob.listen("mic", 1.0, await bob.now())
            said = utterances(await bob.sound("mic"), gap=PAUSE * 500)
    translated = utterances(await ana.sound("translation es"), gap=600)
    found, early = lags(said, translated)
    print(f"{len(found)} of {count} sentences; {early} more began before their end, being cut in two")
    record("browser_lag_median_ms", median(found), "ms", f"<= {STUDY_MS:.0f}", median(found) <= STUDY_MS)
    record("browser_lag_p95_ms", percentile(found, 0.95), "ms")
    report = await ana.page.evaluate("() => dragoman.call.stats()")
    for slot in report["received"]:
        if slot["slot"]:
            print(f"  {slot['slot']['variant']:<12} jitter buffer {slot['playout_delay_ms']:4.0f} ms on average")
    await bob.go()
    await ana.go()


async def measure_joining(site: Site, chatting: Browser, silent: Browser) -> None:
    """Again and again into a room in which somebody speaks without a pause: nothing is sent of a quiet microphone."""
    room = await site.room()
    host = await (await Person.arrive(chatting)).enter(room, "Bob", "en")
    marks: list[dict[str, Any]] = []
    for _ in range(JOINS):
        eva = await Person.arrive(silent)
        await eva.page.context.add_init_script(REMEMBERED)
        await eva.page.goto(room)
        marks.append(await eva.until("() => marks.in && marks.rtp && marks"))
        await eva.go()
    await host.go()
    for figure, values in {
        "click_to_in_the_room": [mark["in"] - mark["click"] for mark in marks],
        "offer_to_first_rtp": [mark["rtp"] - mark["offer"] for mark in marks],
        "page_open_to_in_the_room": [mark["in"] for mark in marks],
    }.items():
        record(f"browser_{figure}_median_ms", median(values), "ms")
        record(f"browser_{figure}_p95_ms", percentile(values, 0.95), "ms")


def write_talk(path: Path, count: int) -> Path:
    """Sentence after sentence in changing voices, each cut to its sound."""
    rate = MICROPHONE_RATE
    pieces = [np.zeros(int(LEAD * rate), np.float32)]
    for sentence, voice in itertools.islice(
        zip(itertools.cycle(SENTENCES), itertools.cycle(VOICES), strict=False), count
    ):
        pieces += [peak(trim(flite(sentence, voice=voice, rate=rate), rate)), np.zeros(int(PAUSE * rate), np.float32)]
    write_wav(path, np.concatenate(pieces), rate)
    return path


async def run(count: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        talk = write_talk(Path(folder) / "talk.wav", count)
        silence = write_microphone(Path(folder) / "silence.wav", [])
        chat = Path(folder) / "chat.wav"
        sentence = trim(flite(max(SENTENCES, key=len), rate=MICROPHONE_RATE), MICROPHONE_RATE)
        write_wav(chat, peak(sentence), MICROPHONE_RATE)
        async with (
            serving() as site,
            async_playwright() as playwright,
            chromium(playwright, talk, loop=False) as talking,
            chromium(playwright, silence) as silent,
        ):
            async with chromium(playwright, chat) as chatting:
                await measure_joining(site, chatting, silent)
            await measure_lag(site, talking, silent, count)


def main() -> None:
    if CHROMIUM is None:
        print("There is no Chromium: install one, or name it in CHROMIUM.")
        return
    asyncio.run(run(int(sys.argv[1]) if len(sys.argv) > 1 and sys.argv[1].isdigit() else 24))


if __name__ == "__main__":
    main()
