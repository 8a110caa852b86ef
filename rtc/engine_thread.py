"""The threads that may call an engine. An engine blocks; the event loop must not."""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Literal, ParamSpec, TypeVar

from models.base import EngineBusy, EngineError, EngineFailed, SpeechDetector, Translator

P = ParamSpec("P")
T = TypeVar("T")
State = Literal["warming", "ready", "failed"]

log = logging.getLogger(__name__)

MAX_PENDING = 256
"""Calls waiting or running. A speaker has at most three at a time, so this is a house far too full."""


class Engine:
    """A translator, how to make speech detectors, and the threads for both."""

    def __init__(self, translator: Translator, new_detector: Callable[[], SpeechDetector], threads: int = 4) -> None:
        self.translator = translator
        self.new_detector = new_detector
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="engine")
        self._closed = False
        self.state: State = "warming"
        self.error = ""
        """Why the state is `failed`."""
        self.pending = self.refused = self.failed = 0
        """Calls under way; calls refused because too many were; calls that raised EngineFailed."""

    async def load(self) -> None:
        """Make the translator ready. Never raises: a failed engine is a state that is shown."""
        try:
            await self.run(self.new_detector)  # the first one loads its model
            await self.run(self.translator.load)
        except EngineError as error:
            self.state, self.error = "failed", str(error)
            log.error("engine %s did not load: %s", self.translator.name, error)
        else:
            self.state = "ready"
            log.info("engine %s is ready", self.translator.name)

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call `function` in one of the threads. Raises what it raises, and EngineBusy at once when too many wait."""
        if self._closed:
            raise EngineFailed("The engine is closed.")
        if self.pending >= MAX_PENDING:
            self.refused += 1
            raise EngineBusy("The interpreter has too much to do at this moment.")
        self.pending += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._executor, lambda: function(*args, **kwargs))
        except EngineFailed:
            self.failed += 1
            raise
        finally:
            self.pending -= 1

    async def close(self) -> None:
        """Idempotent."""
        if self._closed:
            return
        self._closed = True
        await asyncio.get_running_loop().run_in_executor(self._executor, self.translator.close)
        self._executor.shutdown(wait=False, cancel_futures=True)
