"""The threads that may call an engine. An engine blocks; the event loop must not."""

import asyncio
import functools
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from models.base import EngineBroken, EngineBusy, EngineError, EngineFailed, SpeechDetector, Translator
from rtc.detection import Detection
from rtc.readiness import MISTAKE, Readiness

P = ParamSpec("P")
T = TypeVar("T")

log = logging.getLogger(__name__)

MAX_PENDING = 256
"""Calls waiting or running. A speaker has at most three at a time, so this is a house far too full."""

THREADS = 64
"""Calls running: an engine that batches has as many callers waiting in `next()`, where they cost nothing."""


class Engine(Readiness):
    """A translator and its threads; and the speech detector, whose thread is its own: it must not wait behind calls
    that wait for a batch."""

    def __init__(self, translator: Translator, detector: SpeechDetector, threads: int = THREADS) -> None:
        super().__init__(translator.name)
        self.translator = translator
        self.detection = Detection(detector)
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="engine")
        self._closed = False
        self.pending = self.refused = self.failed = 0
        """Calls under way; calls refused because too many were; calls that raised EngineFailed."""

    async def load(self) -> None:
        """Make the translator ready. Never raises: a failed engine is a state that is shown."""
        self._begin()
        try:
            await self.detection.load()
            await self.run(self.translator.load, self._progressed)
        except EngineError as error:
            self._fail(str(error))
        except Exception:  # a bug in an engine must not end the server
            log.exception("engine %s raised what it may not", self.translator.name)
            self._fail(MISTAKE)
        else:
            self._succeed()

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call `function` in one of the threads. Raises what it raises, EngineBusy at once when too many wait, and
        EngineFailed once closed."""
        if self._closed:
            raise EngineFailed("The engine is closed.")
        if self.pending >= MAX_PENDING:
            self.refused += 1
            raise EngineBusy("The interpreter has too much to do at this moment.")
        self.pending += 1
        try:
            call = functools.partial(function, *args, **kwargs)
            return await asyncio.get_running_loop().run_in_executor(self._executor, call)
        except EngineFailed:
            self.failed += 1
            raise
        except EngineBroken as error:
            self.give_up(error)
            raise
        finally:
            self.pending -= 1

    async def close(self) -> None:
        """Idempotent."""
        if self._closed:
            return
        self._closed = True
        self.detection.close()
        # In another thread: all those for calls may be taken by calls that only this ends.
        await asyncio.to_thread(self.translator.close)
        self._executor.shutdown(wait=False, cancel_futures=True)
