"""The one thread that may call a dialogue: a duplex model blocks, and a GPU's graphs belong to one thread."""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TypeVar

from models.base import Dialogue, DialogueFrame, EngineBroken, EngineError, EngineFailed
from rtc.conductor import PERIOD, Step
from rtc.readiness import MISTAKE, Readiness

T = TypeVar("T")

log = logging.getLogger(__name__)

MAX_LOST = 25
"""Steps in a row (2 s) that a model may lose. One that goes on losing them is of no use, and whoever talks with it
would wait in silence for an answer."""


@dataclass(frozen=True, slots=True)
class Said:
    """What came of a step."""

    frames: Mapping[int, DialogueFrame]
    """By seat."""
    unset: tuple[int, ...] = ()
    """Seats whose reset failed: they have no conversation until it succeeds."""


class DialogueThread(Readiness):
    """`load` once, then `make` one step at a time."""

    def __init__(self, dialogue: Dialogue, voice: str = "") -> None:
        """`voice`: its name, as people choose it."""
        super().__init__(dialogue.name)
        self.dialogue = dialogue
        self.voice = voice or dialogue.name
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="dialogue")
        self._closed = False
        self._lost = 0  # steps in a row
        self.failed = self.late = 0
        """Steps that the model lost; steps that took longer than the frame they were for lasts."""

    @property
    def title(self) -> str:
        """The voice's name, as people see it."""
        return self.voice.capitalize()

    async def load(self) -> None:
        """Make the dialogue ready. Never raises: a failed engine is a state that is shown."""
        self._begin()
        try:
            await self._call(lambda: self.dialogue.load(self._progressed))
        except EngineError as error:
            self._fail(str(error))
        except Exception:  # a bug in an engine must not end the server
            log.exception("engine %s raised what it may not", self.dialogue.name)
            self._fail(MISTAKE)
        else:
            self._succeed()

    async def make(self, step: Step) -> Said:
        """One step on. Never raises: a step that fails is silence, and counted; a broken engine is a state, and so is
        one that loses MAX_LOST steps in a row."""
        begun = time.monotonic()
        try:
            return await self._call(lambda: self._make(step))
        except EngineBroken as error:
            self.give_up(error)
        except EngineFailed:
            self.failed += 1
        except Exception:  # a bug in an engine must not end the server, and would come again 80 ms later
            log.exception("engine %s raised what it may not", self.dialogue.name)
            self.give_up(EngineBroken(MISTAKE))
        finally:
            self.late += time.monotonic() - begun > PERIOD
        return Said({})

    def _make(self, step: Step) -> Said:
        """In the thread."""
        frames, said = step.frames, Said({})
        failure: EngineFailed | None = None
        if step.resets:
            try:
                self.dialogue.reset(step.resets)
            except EngineFailed as error:
                failure = self._counted(error)
                said = Said({}, step.resets)
                frames = {seat: frame for seat, frame in frames.items() if seat not in said.unset}
        try:
            said = replace(said, frames=self.dialogue.step(frames) if frames else {})
        except EngineFailed as error:
            failure = self._counted(error)
        self._lost = self._lost + 1 if failure and not said.frames else 0
        if failure and self._lost == MAX_LOST:
            raise EngineBroken(str(failure))
        return said

    def _counted(self, error: EngineFailed) -> EngineFailed:
        self.failed += 1
        log.warning("engine %s: %s", self.dialogue.name, error)
        return error

    async def _call(self, function: Callable[[], T]) -> T:
        if self._closed:
            raise EngineFailed("The engine is closed.")
        return await asyncio.get_running_loop().run_in_executor(self._executor, function)

    async def close(self) -> None:
        """Idempotent. Waits for what the thread is doing."""
        if self._closed:
            return
        self._closed = True
        await asyncio.get_running_loop().run_in_executor(self._executor, self.dialogue.close)
        self._executor.shutdown(wait=False)
