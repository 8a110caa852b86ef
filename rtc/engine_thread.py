"""The threads that may call an engine. An engine blocks; the event loop must not."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from models.base import EngineBroken, EngineBusy, EngineError, EngineFailed, Pcm, SpeechDetector, Translator
from rtc.readiness import Readiness

P = ParamSpec("P")
T = TypeVar("T")

MAX_PENDING = 256
"""Calls waiting or running. A speaker has at most three at a time, so this is a house far too full."""

THREADS = 64
"""Calls running: an engine that batches has as many callers waiting in `next()`, where they cost nothing."""

DETECTOR_THREADS = 2
"""A window takes 0.1 ms of each 32: enough for hundreds who speak."""


class Engine(Readiness):
    """A translator, how to make speech detectors, and the threads for both.

    Detectors have their own: they must not wait behind calls that wait for a batch."""

    def __init__(
        self, translator: Translator, new_detector: Callable[[], SpeechDetector], threads: int = THREADS
    ) -> None:
        super().__init__(translator.name)
        self.translator = translator
        self.new_detector = new_detector
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="engine")
        self._detecting = ThreadPoolExecutor(DETECTOR_THREADS, thread_name_prefix="detector")
        self._closed = False
        self.pending = self.refused = self.failed = 0
        """Calls under way; calls refused because too many were; calls that raised EngineFailed."""

    async def load(self) -> None:
        """Make the translator ready. Never raises: a failed engine is a state that is shown."""
        self._begin()
        try:
            await self._call(self._detecting, self.new_detector)  # the first one loads its model
            await self.run(self.translator.load, self._progressed)
        except EngineError as error:
            self._fail(str(error))
        else:
            self._succeed()

    async def judge(self, detector: SpeechDetector, window: Pcm) -> float:
        """How probable it is that somebody speaks. A source awaits each answer, so no more wait than there are sources.
        Raises EngineFailed once closed."""
        return await self._call(self._detecting, detector.probability, window)

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call `function` in one of the threads. Raises what it raises, and EngineBusy at once when too many wait."""
        if self.pending >= MAX_PENDING:
            self.refused += 1
            raise EngineBusy("The interpreter has too much to do at this moment.")
        self.pending += 1
        try:
            return await self._call(self._executor, function, *args, **kwargs)
        except EngineFailed:
            self.failed += 1
            raise
        except EngineBroken as error:
            self.give_up(error)
            raise
        finally:
            self.pending -= 1

    async def _call(self, executor: Executor, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        if self._closed:
            raise EngineFailed("The engine is closed.")
        return await asyncio.get_running_loop().run_in_executor(executor, lambda: function(*args, **kwargs))

    async def close(self) -> None:
        """Idempotent."""
        if self._closed:
            return
        self._closed = True
        # In a thread that nobody waits in: all those for calls may be taken by calls that only this ends.
        await asyncio.get_running_loop().run_in_executor(self._detecting, self.translator.close)
        for executor in (self._executor, self._detecting):
            executor.shutdown(wait=False, cancel_futures=True)
