"""Who speaks, judged for all speakers together: a call of the network and its way to another thread and back cost more
than one window's share of the work."""

import asyncio
import functools
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from models.base import EngineFailed, Memory, Pcm, SpeechDetector

BEAT = 0.016
"""Seconds from one call to the next, at least: half a window. Who comes sooner waits for it, together with others; one
speaker's windows, twice as far apart, do not wait, nor do those of a speaker who is behind."""

CLOSED = "The speech detector is closed."


class Question(NamedTuple):
    """A source's next window, whose probability somebody awaits."""

    memory: Memory
    window: Pcm
    answer: asyncio.Future[float]


class Detection:
    """A detector and its thread."""

    def __init__(self, detector: SpeechDetector) -> None:
        self._detector = detector
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="detector")
        self._questions: list[Question] = []  # for the next call
        self._next_at = 0.0  # not before; seconds of the loop
        self._next: asyncio.TimerHandle | None = None
        self._call: asyncio.Future[list[float]] | None = None
        self._closed = False

    async def load(self) -> None:
        """Make the detector ready. Raises EngineError, once closed too."""
        if self._closed:
            raise EngineFailed(CLOSED)
        await asyncio.get_running_loop().run_in_executor(self._thread, self._detector.load)

    def memory(self) -> Memory:
        """Of a new source."""
        return self._detector.memory()

    async def judge(self, memory: Memory, window: Pcm, behind: bool = False) -> float:
        """How probable it is that a source speaks in its next window. It awaits each answer, so that no more wait than
        there are sources. `behind`: it has more windows already, which wait for this answer.

        Raises what the detector raises, and EngineFailed once closed."""
        if self._closed:
            raise EngineFailed(CLOSED)
        question = Question(memory, window, asyncio.get_running_loop().create_future())
        self._questions.append(question)
        if behind:
            self._hurry()
        self._schedule()
        return await question.answer

    def _hurry(self) -> None:
        self._next_at = 0.0
        if self._next is not None:
            self._next.cancel()
            self._next = None

    def _schedule(self) -> None:
        if self._next is None and self._call is None:
            self._next = asyncio.get_running_loop().call_at(self._next_at, self._ask)

    def _ask(self) -> None:
        loop = asyncio.get_running_loop()
        self._next, self._next_at = None, loop.time() + BEAT
        questions, self._questions = self._questions, []
        memories, windows = [one.memory for one in questions], [one.window for one in questions]
        self._call = loop.run_in_executor(self._thread, self._detector.probabilities, memories, windows)
        self._call.add_done_callback(functools.partial(self._tell, questions))

    def _tell(self, questions: Sequence[Question], call: asyncio.Future[list[float]]) -> None:
        self._call = None
        error = EngineFailed(CLOSED) if call.cancelled() else call.exception()
        for index, question in enumerate(questions):
            if question.answer.done():  # who asked has left
                continue
            if error is not None:
                question.answer.set_exception(error)
            else:
                question.answer.set_result(call.result()[index])
        if self._questions:
            self._schedule()

    def close(self) -> None:
        """Idempotent. Who still waits for an answer gets EngineFailed."""
        if self._closed:
            return
        self._closed = True
        if self._next is not None:
            self._next.cancel()
        for question in self._questions:
            if not question.answer.done():
                question.answer.set_exception(EngineFailed(CLOSED))
        self._questions.clear()
        self._thread.shutdown(wait=False, cancel_futures=True)
