"""Speakers are judged together, each as if alone; and whoever leaves or fails, the others get their answers."""

import asyncio
import threading
from collections.abc import AsyncIterator, Coroutine, Sequence
from typing import Any

import numpy as np
import pytest

from models.base import VAD_WINDOW, EngineFailed, Memory, Pcm
from models.echo import EchoTranslator
from models.vad import SileroDetector
from rtc import detection
from rtc.detection import Detection
from rtc.events import SpeechStarted
from rtc.interpreting import Interpreter
from rtc.opus import CLOCK_RATE
from rtc.ticker import Ticker
from tests.rtc.test_guest import Scene
from tests.rtc.test_inbound import packets
from tests.speech import flite, peak, windows


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


@pytest.fixture
def counting() -> Counting:
    return Counting()


@pytest.fixture
async def judging(counting: Counting) -> AsyncIterator[Detection]:
    judging = Detection(counting)
    yield judging
    counting.gate.set()
    judging.close()


def ask(judging: Detection, value: float, behind: bool = False) -> Coroutine[Any, Any, float]:
    """A new source's question, to which `Counting` answers `value`."""
    return judging.judge(judging.memory(), np.full(VAD_WINDOW, value, np.float32), behind)


async def refused(call: Coroutine[Any, Any, object]) -> None:
    with pytest.raises(EngineFailed):
        await call


async def test_who_speaks_at_once_is_judged_in_one_call(counting: Counting, judging: Detection) -> None:
    """And each gets the answer to its own question."""
    values = [number / 100 for number in range(50)]
    answers = await asyncio.gather(*(ask(judging, value) for value in values))
    assert answers == pytest.approx(values)
    assert counting.calls == [50]


async def test_who_comes_during_a_call_is_judged_in_the_next(counting: Counting, judging: Detection) -> None:
    counting.gate.clear()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(ask(judging, 0.1))
        await counting.until_called()
        later = [tasks.create_task(ask(judging, value)) for value in (0.2, 0.3, 0.4)]
        await asyncio.sleep(0)  # each of them runs up to its question
        counting.gate.set()
    assert [task.result() for task in later] == pytest.approx([0.2, 0.3, 0.4])
    assert counting.calls == [1, 3]


async def test_who_comes_soon_after_a_call_waits_for_others(
    counting: Counting, judging: Detection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And they are judged together on the next beat."""
    monkeypatch.setattr(detection, "BEAT", 1.0)
    await ask(judging, 0.1)  # nothing was before it: at once
    async with asyncio.TaskGroup() as tasks:
        for value in (0.2, 0.3, 0.4):
            tasks.create_task(ask(judging, value))
            await asyncio.to_thread(int)  # what would be called at once is called now
    assert counting.calls == [1, 3]


async def test_who_is_behind_waits_for_nobody(
    counting: Counting, judging: Detection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever waits for the beat is judged with it. A beat that never came would end neither question."""
    monkeypatch.setattr(detection, "BEAT", 3600.0)
    await ask(judging, 0.1)
    async with asyncio.TaskGroup() as tasks:
        patient = tasks.create_task(ask(judging, 0.2))
        await asyncio.sleep(0)  # it runs up to its question
        assert [await ask(judging, 0.3, behind=True), await patient] == pytest.approx([0.3, 0.2])
    assert await ask(judging, 0.4, behind=True) == pytest.approx(0.4)
    assert counting.calls == [1, 2, 1]


async def test_a_burst_is_heard_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Speech that comes after a stall of the network, or from before a microphone was loud enough, is known to be
    speech without a beat for each of its windows."""
    monkeypatch.setattr(detection, "BEAT", 3600.0)
    scene = Scene(EchoTranslator())
    interpreter = Interpreter(scene.room, scene.ana, scene.engine, scene.stats, Ticker(scene.stats))
    voice = peak(flite("We need more time to finish the work.", rate=48_000))
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(interpreter.run())
        start = asyncio.get_running_loop().time()
        for packet in packets((voice * 32_767).astype(np.int16)):
            interpreter.packet(packet, start + packet.timestamp / CLOCK_RATE)
        async with asyncio.timeout(30):
            while not any(isinstance(event, SpeechStarted) for event in scene.ana.told):
                scene.ana.news.clear()
                await scene.ana.news.wait()
        running.cancel()
    await scene.engine.close()


async def test_sources_under_way_together_hear_what_each_hears_alone() -> None:
    """The real network: speech that begins at different times, in one call or another."""
    voice = peak(flite("We need more time to finish the work."))
    offsets = [0, 3, 7]
    voices = [np.concatenate([np.zeros(VAD_WINDOW * lead, np.float32), voice]) for lead in offsets]
    judging = Detection(SileroDetector())

    async def heard(pcm: Pcm) -> list[float]:
        memory = judging.memory()
        return [await judging.judge(memory, one) for one in windows(pcm, VAD_WINDOW)]

    alone = [await heard(pcm) for pcm in voices]
    assert all(max(probabilities) > 0.9 for probabilities in alone)
    together = await asyncio.gather(*(heard(pcm) for pcm in voices))
    for one, other in zip(together, alone, strict=True):
        assert one == pytest.approx(other, abs=1e-4)
    judging.close()


async def test_who_leaves_takes_no_answer_from_the_others(counting: Counting, judging: Detection) -> None:
    """Before the call and during it."""
    counting.gate.clear()
    async with asyncio.TaskGroup() as tasks:
        during = tasks.create_task(ask(judging, 0.1))
        stays = tasks.create_task(ask(judging, 0.2))
        await counting.until_called()
        before = tasks.create_task(ask(judging, 0.3))
        last = tasks.create_task(ask(judging, 0.4))
        await asyncio.sleep(0)  # they run up to their questions
        during.cancel()
        before.cancel()
        counting.gate.set()
    assert during.cancelled() and before.cancelled()
    assert [stays.result(), last.result()] == pytest.approx([0.2, 0.4])


async def test_a_failure_is_told_to_all_whom_it_concerns_and_ends_nothing(
    counting: Counting, judging: Detection
) -> None:
    counting.error = EngineFailed("The network is ill.")
    answers = await asyncio.gather(*(ask(judging, 0.1) for _ in range(3)), return_exceptions=True)
    assert [str(answer) for answer in answers] == ["The network is ill."] * 3
    counting.error = None
    assert await ask(judging, 0.5) == 0.5


async def test_close_is_idempotent_and_leaves_nobody_waiting(counting: Counting, judging: Detection) -> None:
    """Neither who waits for a call, nor who is in one that comes back after the end, nor who comes later."""
    counting.gate.clear()
    async with asyncio.TaskGroup() as tasks:
        called = tasks.create_task(ask(judging, 0.1))
        await counting.until_called()
        waiting = tasks.create_task(refused(ask(judging, 0.2)))
        await asyncio.sleep(0)  # it runs up to its question
        judging.close()
        judging.close()
        await waiting
        counting.gate.set()
        assert await called == pytest.approx(0.1)
    await refused(ask(judging, 0.3))
    await refused(judging.load())
