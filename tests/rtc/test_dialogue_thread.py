"""The thread of a dialogue: what fails stays small."""

from collections.abc import Mapping

import numpy as np
import pytest

from models.base import DialogueFrame, EngineBroken, EngineFailed, Pcm, Progress
from rtc.conductor import Step
from rtc.dialogue_thread import DialogueThread
from rtc.readiness import MISTAKE
from tests.parrot import Parrot

FRAME = np.zeros(Parrot.frame_samples, np.float32)


class Fragile(Parrot):
    """Raises what it is told to."""

    error: Exception | None = None

    def load(self, progress: Progress) -> None:
        if self.error is not None:
            raise self.error

    def step(self, frames: Mapping[int, Pcm]) -> Mapping[int, DialogueFrame]:
        if self.error is not None:
            raise self.error
        return super().step(frames)


async def test_others_go_on_where_one_reset_fails() -> None:
    parrot = Parrot(2)
    thread = DialogueThread(parrot)
    await thread.load()
    await thread.make(Step((0,), {0: FRAME}))
    parrot.fail_resets = 1
    said = await thread.make(Step((1,), {0: FRAME, 1: FRAME}))
    assert (set(said.frames), said.unset, thread.failed) == ({0}, (1,), 1)
    await thread.close()
    await thread.close()


async def test_a_lost_step_is_counted_and_a_broken_engine_is_a_state() -> None:
    fragile = Fragile(1)
    thread = DialogueThread(fragile, "loud")
    await thread.load()
    assert (thread.state, thread.voice) == ("ready", "loud")
    fragile.error = EngineFailed("lost")
    assert not (await thread.make(Step((0,), {0: FRAME}))).frames
    assert (thread.failed, thread.state) == (1, "ready")
    fragile.error = EngineBroken("the GPU is gone")
    await thread.make(Step((), {0: FRAME}))
    assert (thread.state, thread.error) == ("failed", "the GPU is gone") and thread.broken.is_set()
    await thread.close()


async def test_a_model_that_loses_every_step_is_broken() -> None:
    """In two seconds, with its reason; what it loses now and then is not."""
    fragile = Fragile(2)
    thread = DialogueThread(fragile)
    await thread.load()
    step = Step((), {0: FRAME})
    await thread.make(Step((0,), {0: FRAME}))
    for _ in range(3):
        fragile.error = EngineFailed("there is no memory")
        for _ in range(24):
            assert not (await thread.make(step)).frames
        fragile.error = None
        assert (await thread.make(step)).frames
    assert (thread.failed, thread.state) == (72, "ready")
    fragile.fail_resets = 25
    for _ in range(25):  # while somebody else is answered
        assert (await thread.make(Step((1,), {0: FRAME, 1: FRAME}))).unset == (1,)
    assert thread.state == "ready"
    fragile.error = EngineFailed("there is no memory")
    for _ in range(25):
        assert (thread.state, (await thread.make(step)).frames) == ("ready", {})
    assert (thread.state, thread.error) == ("failed", "there is no memory") and thread.broken.is_set()
    await thread.close()


@pytest.mark.parametrize("error", [EngineFailed("there is no memory"), ImportError("half of a library")])
async def test_what_does_not_load_is_a_state_with_a_reason(error: Exception) -> None:
    """Whatever it raises: the server stays up."""
    fragile = Fragile(1)
    fragile.error = error
    thread = DialogueThread(fragile)
    await thread.load()
    assert (thread.state, thread.error) == ("failed", str(error) if isinstance(error, EngineFailed) else MISTAKE)
    await thread.close()


async def test_a_bug_in_an_engine_does_not_end_the_server() -> None:
    fragile = Fragile(1)
    thread = DialogueThread(fragile)
    await thread.load()
    fragile.error = ZeroDivisionError("a bug")
    assert not (await thread.make(Step((0,), {0: FRAME}))).frames
    assert thread.state == "failed"
    await thread.close()
    thread = DialogueThread(fragile)
    await thread.load()
    assert thread.state == "failed" and thread.error
    await thread.close()
