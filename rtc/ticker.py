"""The one timer of a room: voices every 20 ms while any speaks, RTCP reports every few seconds, one after the other.

Nothing here is per listener: a voice is encoded once and handed to all, and reports are spread over their interval.
"""

import asyncio
import itertools
import logging
import math
import random
import time
from collections.abc import Callable

from rtc.batch import together
from rtc.stats import Stats

log = logging.getLogger(__name__)

PTIME = 0.02
"""Seconds of one packet, and of one tick."""

MAX_BEHIND = 5 * PTIME
"""After a longer stall of the loop the ticks that were missed are left out: nobody would hear them in time."""

REPORT_INTERVAL = 2.0
"""Seconds between the RTCP reports of one connection, on average (RFC 3550 §6.2: 5 s or less on a fast link)."""

REPORT_SLICE = 0.05
"""Seconds at least between two batches of reports of a large room."""

Voice = Callable[[float], bool]
"""Sends its next 20 ms; gets clock seconds, returns False when it has nothing more to say."""

Reporter = Callable[[float], None]
"""Sends its RTCP reports; gets clock seconds."""


class Ticker:
    """`run` it in a TaskGroup; everything else is a plain call."""

    def __init__(self, stats: Stats) -> None:
        self._stats = stats
        self._voices: dict[Voice, None] = {}
        self._speaking = asyncio.Event()
        self._reporters: dict[Reporter, None] = {}
        self._reporting = asyncio.Event()

    def play(self, voice: Voice) -> None:
        """Call the voice on each tick from now on, until it returns False. Harmless if it is called already."""
        self._voices[voice] = None
        self._speaking.set()

    def report(self, reporter: Reporter) -> None:
        """Call the reporter every REPORT_INTERVAL or so, until it is forgotten."""
        self._reporters[reporter] = None
        self._reporting.set()

    def silence(self, voice: Voice) -> None:
        """Never call the voice again. Harmless if it is not known."""
        self._voices.pop(voice, None)

    def forget(self, reporter: Reporter) -> None:
        """Never call the reporter again. Harmless if it is not known."""
        self._reporters.pop(reporter, None)

    async def run(self) -> None:
        """Never returns."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._play())
            tasks.create_task(self._report())

    async def _play(self) -> None:
        while True:
            await self._speaking.wait()
            self._speaking.clear()
            due = time.monotonic()
            while self._voices:
                now = time.monotonic()
                self._stats.tick(now - due)
                due = max(due, now - MAX_BEHIND) + PTIME
                self._tick(now)
                await asyncio.sleep(max(0.0, due - time.monotonic()))

    def _tick(self, now: float) -> None:
        for voice in list(self._voices):
            try:
                if voice in self._voices and not voice(now):
                    self._voices.pop(voice, None)
            except Exception:  # a bug in one voice must not silence the room
                log.exception("a voice failed and is silent now")
                self._voices.pop(voice, None)

    async def _report(self) -> None:
        while True:
            await self._reporting.wait()
            self._reporting.clear()
            while count := len(self._reporters):
                batch = math.ceil(count * REPORT_SLICE / REPORT_INTERVAL)
                # RFC 3550 §6.3.1: half to one and a half times the interval, lest reports of many come in step
                await asyncio.sleep(REPORT_INTERVAL * batch / count * random.uniform(0.5, 1.5))
                now = time.monotonic()
                with together:
                    for reporter in list(itertools.islice(self._reporters, batch)):
                        if reporter in self._reporters:
                            self._reporters[reporter] = self._reporters.pop(reporter)  # to the end of the line
                            self._call(reporter, now)

    def _call(self, reporter: Reporter, now: float) -> None:
        try:
            reporter(now)
        except Exception:  # a bug in one person's reports must not end the others'
            log.exception("a report failed and is not tried again")
            self._reporters.pop(reporter, None)
