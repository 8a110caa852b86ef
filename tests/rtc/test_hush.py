"""The rest of a turn is not heard; the next one is. Pure."""

import numpy as np

from models.base import DialogueFrame
from rtc.hush import MAX_MS, Hush
from rtc.words import PAUSE_MS

FRAME_MS = 80
PAUSE = PAUSE_MS // FRAME_MS


def speech(text: str = "") -> DialogueFrame:
    return DialogueFrame(np.full(1920, 0.3, np.float32), text, heard="hello")


def silence() -> DialogueFrame:
    return DialogueFrame(np.zeros(1920, np.float32), "")


def audible(hush: Hush, *frames: DialogueFrame) -> list[bool]:
    return [bool(np.abs(hush.apply(frame).pcm).max() > 0.01) for frame in frames]


def test_nothing_is_changed_before_it_begins() -> None:
    frame = speech(" Word")
    assert Hush(FRAME_MS).apply(frame) is frame


def test_it_fades_out_and_lasts_until_the_voice_has_paused() -> None:
    """Short pauses are part of the turn; what the person said still comes through."""
    hush = Hush(FRAME_MS)
    hush.begin()
    first = hush.apply(speech(" Word"))
    assert first.pcm[0] > 0.29 and abs(first.pcm[-1]) < 0.001 and first.pcm.dtype == np.float32
    assert (first.text, first.heard) == ("", "hello")
    turn = [speech(), *[silence()] * (PAUSE - 1), speech(), *[silence()] * PAUSE]
    assert not any(audible(hush, *turn))
    assert audible(hush, speech(), speech()) == [True, True]


def test_a_voice_that_never_pauses_comes_back() -> None:
    hush = Hush(FRAME_MS)
    hush.begin()
    heard = audible(hush, *[speech(" Word")] * 200)
    assert heard.index(True, 1) == MAX_MS // FRAME_MS - 1 and all(heard[MAX_MS // FRAME_MS :])


def test_it_comes_back_without_a_click() -> None:
    """In the midst of a word it fades in, as it faded out."""
    hush = Hush(FRAME_MS)
    hush.begin()
    heard = np.concatenate([hush.apply(speech(" Word")).pcm for _ in range(200)])
    assert np.abs(np.diff(heard)).max() < 0.001 and heard[-1] == np.float32(0.3)


def test_to_begin_again_makes_no_second_fade() -> None:
    hush = Hush(FRAME_MS)
    hush.begin()
    hush.apply(speech())
    hush.begin()
    assert audible(hush, speech()) == [False]


def test_to_begin_again_is_to_be_silent_for_longer() -> None:
    """A voice that never pauses, hushed again just before it would have come back."""
    hush, frames = Hush(FRAME_MS), MAX_MS // FRAME_MS
    hush.begin()
    audible(hush, *[speech()] * (frames - 5))
    hush.begin()
    assert not any(audible(hush, *[speech()] * (frames - 5)))
