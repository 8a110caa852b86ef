"""Speakers are judged together, each as if alone; and whoever leaves or fails, the others get their answers."""

import asyncio
import threading
from collections.abc import Sequence

import numpy as np
import pytest

from models.base import VAD_WINDOW, EngineFailed, Memory, Pcm
from models.vad import SileroDetector
from rtc import detection
from rtc.detection import Detection
from tests.speech import flite, peak


class Counting:
    """Says of each window what stands in it, and remembers how many there were. Each call waits for `gate`."""

    def __init__(self) -> None:
        self.calls: list[int] = []
        self.called = threading.Semaphore(0)
        self.gate = threading.Event()
        self.gate.set()
        self.error: Exception | None = None

    def load(self) -> None:
        pass

    def memory(self) -> Memory:
        return np.zeros(1, np.float32)

    def probabilities(self, memories: Sequence[Memory], windows: Sequence[Pcm]) -> list[float]:
        self.calls.append(len(windows))
        self.called.release()
        self.gate.wait(30)
        if self.error is not None:
            raise self.error
        for memory in memories:
            memory += 1
        return [float(window[0]) for window in windows]

    async def until_called(self) -> None:
        """A call is under way that was not awaited yet."""
        await asyncio.to_thread(self.called.acquire, timeout=30)


def window(value: float) -> Pcm:
    return np.full(VAD_WINDOW, value, np.float32)


async def test_who_speaks_at_once_is_judged_in_one_call() -> None:
    """And each gets the answer to its own question."""
    counting = Counting()
    judging = Detection(counting)
    values = [number / 100 for number in range(50)]
    answers = await asyncio.gather(*(judging.judge(judging.memory(), window(value)) for value in values))
    assert answers == pytest.approx(values)
    assert counting.calls == [50]
    judging.close()


async def test_who_comes_during_a_call_is_judged_in_the_next() -> None:
    counting = Counting()
    judging = Detection(counting)
    counting.gate.clear()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(judging.judge(judging.memory(), window(0.1)))
        await counting.until_called()
        later = [tasks.create_task(judging.judge(judging.memory(), window(value))) for value in (0.2, 0.3, 0.4)]
        await asyncio.sleep(0)  # each of them runs up to its question
        counting.gate.set()
    assert [task.result() for task in later] == pytest.approx([0.2, 0.3, 0.4])
    assert counting.calls == [1, 3]
    judging.close()


async def test_who_comes_soon_after_a_call_waits_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """And they are judged together on the next beat."""
    monkeypatch.setattr(detection, "BEAT", 1.0)
    counting = Counting()
    judging = Detection(counting)
    await judging.judge(judging.memory(), window(0.1))  # nothing was before it: at once
    async with asyncio.TaskGroup() as tasks:
        for value in (0.2, 0.3, 0.4):
            tasks.create_task(judging.judge(judging.memory(), window(value)))
            await asyncio.to_thread(int)  # what would be called at once is called now
    assert counting.calls == [1, 3]
    judging.close()


async def test_sources_under_way_together_hear_what_each_hears_alone() -> None:
    """The real network: speech that begins at different times, in one call or another."""
    voice = peak(flite("We need more time to finish the work."))
    offsets = [0, 3, 7]
    voices = [np.concatenate([np.zeros(VAD_WINDOW * lead, np.float32), voice]) for lead in offsets]
    silero = SileroDetector()
    judging = Detection(silero)

    async def heard(pcm: Pcm) -> list[float]:
        memory = judging.memory()
        windows = pcm[: len(pcm) // VAD_WINDOW * VAD_WINDOW].reshape(-1, VAD_WINDOW)
        return [await judging.judge(memory, one) for one in windows]

    alone = [await heard(pcm) for pcm in voices]
    assert all(max(probabilities) > 0.9 for probabilities in alone)
    together = await asyncio.gather(*(heard(pcm) for pcm in voices))
    for one, other in zip(together, alone, strict=True):
        assert one == pytest.approx(other, abs=1e-4)
    judging.close()


async def test_who_leaves_takes_no_answer_from_the_others() -> None:
    """Before the call and during it."""
    counting = Counting()
    judging = Detection(counting)
    counting.gate.clear()
    async with asyncio.TaskGroup() as tasks:
        during = tasks.create_task(judging.judge(judging.memory(), window(0.1)))
        stays = tasks.create_task(judging.judge(judging.memory(), window(0.2)))
        await counting.until_called()
        before = tasks.create_task(judging.judge(judging.memory(), window(0.3)))
        last = tasks.create_task(judging.judge(judging.memory(), window(0.4)))
        await asyncio.sleep(0)  # they run up to their questions
        during.cancel()
        before.cancel()
        counting.gate.set()
    assert during.cancelled() and before.cancelled()
    assert [stays.result(), last.result()] == pytest.approx([0.2, 0.4])
    judging.close()


async def test_a_failure_is_told_to_all_whom_it_concerns_and_ends_nothing() -> None:
    counting = Counting()
    judging = Detection(counting)
    counting.error = EngineFailed("The network is ill.")
    asked = (judging.judge(judging.memory(), window(0.1)) for _ in range(3))
    answers = await asyncio.gather(*asked, return_exceptions=True)
    assert [str(answer) for answer in answers] == ["The network is ill."] * 3
    counting.error = None
    assert await judging.judge(judging.memory(), window(0.5)) == 0.5
    judging.close()


async def test_close_is_idempotent_and_leaves_nobody_waiting() -> None:
    """Neither who waits for a call, nor who is in one that comes back after the end, nor who comes later."""
    counting = Counting()
    judging = Detection(counting)
    counting.gate.clear()
    called = asyncio.create_task(judging.judge(judging.memory(), window(0.1)))
    await counting.until_called()
    waiting = asyncio.create_task(judging.judge(judging.memory(), window(0.2)))
    await asyncio.sleep(0)  # it runs up to its question
    judging.close()
    judging.close()
    with pytest.raises(EngineFailed):
        await waiting
    counting.gate.set()
    assert await called == pytest.approx(0.1)
    for late in (judging.judge(judging.memory(), window(0.3)), judging.load()):
        with pytest.raises(EngineFailed):
            await late
