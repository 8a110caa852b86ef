"""The embedded partner: it greets, hears, answers, and lets itself be interrupted."""

import shutil
from collections.abc import Iterator
from datetime import datetime

import numpy as np
import pytest

from models.base import VAD_WINDOW, Dialogue, EngineError, Pcm
from models.partner import Partner
from models.recognizer import PocketSphinxRecognition
from models.resample import resample
from models.small_talk import BUSY, GREETING

if shutil.which("espeak-ng") is None or shutil.which("flite") is None:
    pytest.skip("espeak-ng and flite are not installed", allow_module_level=True)

from tests.speech import flite, peak  # after the check

FRAME = Partner.frame_samples
SILENCE = np.zeros(FRAME, np.float32)
LIMIT = 4000
"""Steps after which a test gives up."""


@pytest.fixture(scope="module")
def partner() -> Iterator[Partner]:
    made: Dialogue = Partner(seats=2, recognizers=2, clock=lambda: datetime(2026, 3, 2, 14, 5))
    assert isinstance(made, Partner)
    made.load(lambda progress, doing: None)
    yield made
    made.close()
    made.close()


def frames(text: str, level: float = 0.5) -> list[Pcm]:
    pcm = peak(flite(text, rate=16_000), level)
    pcm = resample(np.concatenate([np.zeros(1600, np.float32), pcm]), 16_000, 24_000)
    noise = np.random.default_rng(0).normal(0, level / 500, len(pcm) + FRAME).astype(np.float32)
    noise[: len(pcm)] += pcm
    return list(noise[: len(noise) // FRAME * FRAME].reshape(-1, FRAME))


def run(partner: Partner, seat: int, said: list[Pcm]) -> tuple[str, str, list[float]]:
    """Say that, then listen until it has answered: its words, what it heard, how loud each frame was."""
    text, heard, loud = "", "", []
    for at in range(LIMIT):
        answer = partner.step({seat: said[at] if at < len(said) else SILENCE})[seat]
        text, heard = text + answer.text, heard + answer.heard
        loud.append(float(np.abs(answer.pcm).max()))
        if at >= len(said) and text and not answer.text and loud[-1] == 0:
            break
        if at >= len(said) and not text and partner._listeners[seat]._answer is not None:
            partner._listeners[seat]._answer.exception()  # steps go faster here than time
    return text.strip(), heard, loud


def test_it_greets_says_what_it_is_and_answers(partner: Partner) -> None:
    """The first who comes, as soon as it has loaded."""
    partner.reset([0])
    text, heard, loud = run(partner, 0, [])
    assert (text, heard) == (GREETING, "") and max(loud) > 0.1
    text, heard, loud = run(partner, 0, frames("What time is it?"))
    assert "time" in heard
    assert text == "My clock says 14:05."
    assert max(loud) > 0.1


def test_it_stops_when_one_talks_over_it(partner: Partner) -> None:
    """Within a quarter of a second of the first sound, and what it did not say is not in its words."""
    partner.reset([0])
    for _ in range(10):
        assert partner.step({0: SILENCE})
    said = frames("Wait a moment please.")
    first = next(at for at, frame in enumerate(said) if np.abs(frame).max() > 0.1)
    text, loud = "", []
    for frame in said:
        answer = partner.step({0: frame})[0]
        text += answer.text
        loud.append(float(np.abs(answer.pcm).max()))
    quiet = next(at for at, level in enumerate(loud) if level == 0)
    assert quiet - first <= 3, "frames: two to hear it, one to fade out"
    assert max(loud[quiet:]) == 0
    assert not GREETING.endswith(text.strip())
    assert partner.counters()["interruptions"] >= 1


def test_one_seat_knows_nothing_of_another(partner: Partner) -> None:
    partner.reset([0, 1])
    said = frames("Wait a moment please.")
    both = [partner.step({0: frame, 1: SILENCE}) for frame in said]
    alone = Partner(seats=2)
    alone.load(lambda progress, doing: None)
    alone.reset([1])
    try:
        for step in both:
            expected = alone.step({1: SILENCE})[1]
            assert step[1].text == expected.text
            np.testing.assert_array_equal(step[1].pcm, expected.pcm)
    finally:
        alone.close()


def test_who_speaks_softly_is_heard_after_somebody_loud_sat_there() -> None:
    """What a recogniser knows of a voice ends with its conversation."""
    one = Partner(seats=1, recognizers=1, clock=lambda: datetime(2026, 3, 2, 14, 5))
    one.load(lambda progress, doing: None)
    try:
        for level, said, answer in (
            (0.99, "We need more time for all of this.", ""),
            (0.03, "What time is it?", "My clock says 14:05."),
        ):
            one.reset([0])
            run(one, 0, [])  # the greeting
            assert run(one, 0, frames(said, level))[0].endswith(answer)
    finally:
        one.close()


def test_who_left_in_the_midst_of_a_word_keeps_nobody_from_being_heard() -> None:
    """Nobody says that they have gone; while they are there, they are heard to the end."""
    one = Partner(seats=2, recognizers=1, clock=lambda: datetime(2026, 3, 2, 14, 5))
    one.load(lambda progress, doing: None)
    said = frames("We need more time for all of this.")
    try:
        one.reset([0, 1])
        for frame in said[: len(said) // 2]:
            one.step({0: SILENCE, 1: frame})
        assert one.hear("a third") is None
        run(one, 0, [])
        assert run(one, 0, frames("What time is it?"))[:2] == ("My clock says 14:05.", "What time is it?")
    finally:
        one.close()


def test_who_is_not_heard_is_told_why() -> None:
    one = Partner(seats=1, recognizers=1)
    one.load(lambda progress, doing: None)
    other = one.hear("somebody else")
    assert other is not None and one.hear("a third") is None
    one.reset([0])
    try:
        run(one, 0, [])  # the greeting
        text, heard, _ = run(one, 0, frames("What time is it?"))
        assert (text, heard, one.counters()["turns_lost"]) == (BUSY, "", 1)
    finally:
        one.close()


def test_noise_for_minutes_is_answered_by_silence_and_who_speaks_after_it_is_heard(partner: Partner) -> None:
    partner.reset([0])
    run(partner, 0, [])  # the greeting
    turns, dice = partner.counters().get("turns", 0), np.random.default_rng(0)
    for _ in range(5 * 60 * partner.sample_rate // FRAME):
        answer = partner.step({0: dice.normal(0, 0.1, FRAME).astype(np.float32)})[0]
        assert (answer.text, answer.heard, np.abs(answer.pcm).max()) == ("", "", 0)
    assert partner.counters().get("turns", 0) == turns
    assert run(partner, 0, [SILENCE] * 10 + frames("What time is it?"))[0] == "My clock says 14:05."


def test_who_never_pauses_is_answered_all_the_same(partner: Partner, monkeypatch: pytest.MonkeyPatch) -> None:
    """After 20 seconds; and what they say in that moment is heard once."""
    partner.reset([0])
    run(partner, 0, [])
    pushed: list[tuple[object, Pcm]] = []
    push = PocketSphinxRecognition.push

    def spy(recognition: PocketSphinxRecognition, pcm: Pcm) -> None:
        pushed.append((recognition, pcm))
        push(recognition, pcm)

    monkeypatch.setattr(PocketSphinxRecognition, "push", spy)
    turns, said = partner.counters().get("turns", 0), frames("Wait a moment please. We need more time for all of this.")
    for _ in range(int(21 * partner.sample_rate / FRAME / len(said)) + 1):
        for frame in said:
            partner.step({0: frame})
    assert partner.counters()["turns"] == turns + 1
    recognitions = list(dict.fromkeys(recognition for recognition, _ in pushed))
    first, second = (np.concatenate([pcm for one, pcm in pushed if one is each]) for each in recognitions)
    begin = second[:VAD_WINDOW]
    assert not any(np.array_equal(first[-at:][:VAD_WINDOW], begin) for at in range(VAD_WINDOW, 9_000, VAD_WINDOW))


def test_wrong_frames_are_refused(partner: Partner) -> None:
    with pytest.raises(ValueError, match="no seat 7"):
        partner.reset([7])
    with pytest.raises(ValueError, match="finite"):
        partner.step({0: np.full(FRAME, np.nan, np.float32)})


def test_without_a_recogniser_it_does_not_load(monkeypatch: pytest.MonkeyPatch) -> None:
    """It says so then, and not to each who talks with it."""
    monkeypatch.setattr("models.recognizer_process.PROGRAM", "/nowhere/worker.py")
    deaf = Partner(recognizers=1)
    try:
        with pytest.raises(EngineError, match="recogniser did not start"):
            deaf.load(lambda progress, doing: None)
    finally:
        deaf.close()
