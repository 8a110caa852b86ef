"""An engine blocks; the event loop must not, and what goes wrong is a state or an exception, never silence."""

import asyncio
import threading
from collections.abc import Sequence

import numpy as np
import pytest

from models.base import VAD_WINDOW, EngineBroken, EngineBusy, EngineFailed, Memory, Pcm, Progress
from models.echo import EchoTranslator
from rtc import engine_thread
from rtc.engine_thread import Engine
from rtc.readiness import MISTAKE


class Detector:
    """Hears nothing."""

    def load(self) -> None:
        pass

    def memory(self) -> Memory:
        return np.zeros(1, np.float32)

    def probabilities(self, memories: Sequence[Memory], windows: Sequence[Pcm]) -> list[float]:
        return [0.0 for _ in windows]


class Missing(Detector):
    def load(self) -> None:
        raise EngineFailed("The speech detector is not installed.")


class Translator(EchoTranslator):
    """Counts its own life."""

    def __init__(self, error: Exception | None = None) -> None:
        super().__init__()
        self.error = error
        self.loaded = self.closed = 0

    def load(self, progress: Progress) -> None:
        self.loaded += 1
        progress(0.5, "half of it")
        if self.error is not None:
            raise self.error

    def close(self) -> None:
        self.closed += 1


def broken() -> None:
    raise EngineFailed("No words came.")


async def test_load_makes_ready() -> None:
    """The translator is loaded once, and the state says so."""
    translator = Translator()
    engine = Engine(translator, Detector())
    assert engine.state == "warming"
    await engine.load()
    assert (engine.state, engine.error, translator.loaded) == ("ready", "", 1)
    assert (engine.progress, engine.doing) == (0.5, "half of it")
    await engine.close()


@pytest.mark.parametrize(
    ("engine", "message"),
    [
        (Engine(Translator(EngineFailed("No voice is installed.")), Detector()), "No voice is installed."),
        (Engine(Translator(RuntimeError("of a library")), Detector()), MISTAKE),
        (Engine(Translator(), Missing()), "The speech detector is not installed."),
    ],
)
async def test_a_failed_engine_is_a_state_with_a_reason(engine: Engine, message: str) -> None:
    """Loading never raises: the server stays up and shows why it cannot interpret."""
    await engine.load()
    assert (engine.state, engine.error) == ("failed", message)
    await engine.close()


async def test_calls_run_in_threads_of_their_own() -> None:
    """Not on the event loop, not in its default executor; arguments and results pass."""
    engine = Engine(Translator(), Detector())
    assert (await engine.run(lambda: threading.current_thread().name)).startswith("engine")
    assert await engine.run(divmod, 7, 2) == (3, 1)
    assert await engine.run(int, "ff", base=16) == 255
    await engine.close()


async def test_exceptions_pass_and_failures_are_counted() -> None:
    """Only EngineFailed is the engine's failure."""
    engine = Engine(Translator(), Detector())
    with pytest.raises(EngineFailed):
        await engine.run(broken)
    with pytest.raises(ZeroDivisionError):
        await engine.run(divmod, 1, 0)
    assert (engine.failed, engine.pending) == (1, 0)
    await engine.close()


async def test_too_many_calls_are_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who comes when the house is full is told, and does not wait; when there is room again, calls pass."""
    monkeypatch.setattr(engine_thread, "MAX_PENDING", 3)
    engine = Engine(Translator(), Detector(), threads=1)
    gate = threading.Event()
    async with asyncio.TaskGroup() as tasks:
        waiting = [tasks.create_task(engine.run(gate.wait)) for _ in range(3)]
        await asyncio.sleep(0)  # each of them runs up to its thread
        assert engine.pending == 3
        with pytest.raises(EngineBusy):
            await engine.run(gate.wait)
        assert engine.refused == 1 and not any(task.done() for task in waiting)
        gate.set()
    assert await engine.run(divmod, 4, 2) == (2, 0)
    assert engine.pending == 0
    await engine.close()


async def test_what_is_left_of_loading_is_told_from_what_has_passed() -> None:
    """Nothing is promised before there is progress; then as much again at one half; never less than nothing."""

    class Loading(Translator):
        def load(self, progress: Progress) -> None:
            for fraction in (0.0, 0.01, 0.5, 0.25, 7.0):
                progress(fraction, f"{fraction}")
                estimates.append((engine.progress, engine.eta()))

    estimates: list[tuple[float, float | None]] = []
    engine = Engine(Loading(), Detector())
    assert engine.eta() is None
    await engine.load()
    assert [progress for progress, _ in estimates] == [0.0, 0.01, 0.5, 0.25, 1.0]
    (none, early, half, quarter, whole) = [eta for _, eta in estimates]
    assert none is early is None and half is not None and quarter is not None
    assert quarter > 2.9 * half and whole == 0
    await engine.close()


async def test_a_broken_engine_is_a_state_with_a_reason() -> None:
    """From whichever call it comes; the first reason stays."""
    engine = Engine(Translator(), Detector())
    await engine.load()

    def lost(reason: str) -> None:
        raise EngineBroken(reason)

    for reason in ("The GPU is gone.", "The GPU is still gone."):
        with pytest.raises(EngineBroken, match=reason):
            await engine.run(lost, reason)
    assert (engine.state, engine.error, engine.broken.is_set()) == ("failed", "The GPU is gone.", True)
    await engine.close()


async def test_detectors_do_not_wait_behind_the_engine() -> None:
    """However many calls wait for a batch that does not come."""
    engine = Engine(Translator(), Detector())
    gate = threading.Event()
    async with asyncio.TaskGroup() as tasks:
        waiting = [tasks.create_task(engine.run(gate.wait)) for _ in range(engine_thread.THREADS + 1)]
        await asyncio.sleep(0)  # each of them runs up to its thread
        detection = engine.detection
        assert await detection.judge(detection.memory(), np.zeros(VAD_WINDOW, np.float32)) == 0.0
        assert not any(task.done() for task in waiting)
        gate.set()
    await engine.close()


async def test_as_many_calls_run_at_once_as_a_batch_has_places() -> None:
    """Each of 64 goes on only when all have come."""
    engine = Engine(Translator(), Detector())
    barrier = threading.Barrier(engine_thread.THREADS)
    await asyncio.gather(*(engine.run(barrier.wait, 60) for _ in range(engine_thread.THREADS)))
    await engine.close()


async def test_the_loop_goes_on_while_an_engine_thinks() -> None:
    """The call finishes only because the loop was free to let it."""
    engine = Engine(Translator(), Detector())
    gate = threading.Event()
    asyncio.get_running_loop().call_soon(gate.set)
    assert await engine.run(gate.wait, 30)
    await engine.close()


async def test_close_is_idempotent_and_final() -> None:
    """The translator is closed once; later calls fail like any other engine failure."""
    translator = Translator()
    engine = Engine(translator, Detector())
    await engine.close()
    await engine.close()
    assert translator.closed == 1
    with pytest.raises(EngineFailed):
        await engine.run(divmod, 1, 1)
