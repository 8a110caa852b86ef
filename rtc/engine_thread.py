"""The threads that may call an engine. An engine blocks; the event loop must not."""

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Literal, ParamSpec, TypeVar

from models.base import EngineBroken, EngineBusy, EngineError, EngineFailed, Pcm, SpeechDetector, Translator

P = ParamSpec("P")
T = TypeVar("T")
State = Literal["warming", "ready", "failed"]

log = logging.getLogger(__name__)

MAX_PENDING = 256
"""Calls waiting or running. A speaker has at most three at a time, so this is a house far too full."""

THREADS = 64
"""Calls running: an engine that batches has as many callers waiting in `next()`, where they cost nothing."""

DETECTOR_THREADS = 2
"""A window takes 0.1 ms of each 32: enough for hundreds who speak."""

FIRST_ESTIMATE = 0.02
"""Progress from which on the time that is left can be told."""


class Engine:
    """A translator, how to make speech detectors, and the threads for both.

    Detectors have their own: they must not wait behind calls that wait for a batch."""

    def __init__(
        self, translator: Translator, new_detector: Callable[[], SpeechDetector], threads: int = THREADS
    ) -> None:
        self.translator = translator
        self.new_detector = new_detector
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="engine")
        self._detecting = ThreadPoolExecutor(DETECTOR_THREADS, thread_name_prefix="detector")
        self._closed = False
        self._loading_since: float | None = None  # clock seconds
        self._loading = (0.0, "")  # one object, so that a thread may put another in its place
        self.state: State = "warming"
        self.error = ""
        """Why the state is `failed`."""
        self.broken = asyncio.Event()
        """It was ready, and nothing will work any more."""
        self.pending = self.refused = self.failed = 0
        """Calls under way; calls refused because too many were; calls that raised EngineFailed."""

    @property
    def progress(self) -> float:
        """How far loading is, in [0, 1]."""
        return self._loading[0]

    @property
    def doing(self) -> str:
        """What loading does now, in a few words; empty if it does not say."""
        return self._loading[1]

    def eta(self) -> float | None:
        """Seconds until it is ready, as far as the progress so far lets us tell."""
        progress = self.progress
        if self._loading_since is None or progress < FIRST_ESTIMATE:
            return None
        return (time.monotonic() - self._loading_since) * (1 - progress) / progress

    def _progressed(self, fraction: float, doing: str) -> None:
        """From the loading thread."""
        self._loading = (min(1.0, max(0.0, fraction)), doing)

    async def load(self) -> None:
        """Make the translator ready. Never raises: a failed engine is a state that is shown."""
        self._loading_since = time.monotonic()
        try:
            await self._call(self._detecting, self.new_detector)  # the first one loads its model
            await self.run(self.translator.load, self._progressed)
        except EngineError as error:
            self.state, self.error = "failed", str(error)
            log.error("engine %s did not load: %s", self.translator.name, error)
        else:
            self.state = "ready"
            log.info("engine %s is ready", self.translator.name)

    def give_up(self, error: EngineBroken) -> None:
        """Nothing works any more, as the engine itself says."""
        if self.state != "failed":
            self.state, self.error = "failed", str(error)
            log.error("engine %s broke: %s", self.translator.name, error)
            self.broken.set()

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
