"""The speech detector finds speech and only speech, and takes no source for another."""

import numpy as np
import pytest

from models.base import SPEECH_RATE, VAD_WINDOW, Pcm
from models.vad import SileroDetector
from tests.speech import flite, peak, trim, windows

DETECTOR = SileroDetector()


def judge(pcm: Pcm) -> list[float]:
    """All windows of one source."""
    memory = DETECTOR.memory()
    return [DETECTOR.probabilities([memory], [window])[0] for window in windows(pcm, VAD_WINDOW)]


@pytest.fixture(scope="module")
def speech() -> Pcm:
    return trim(peak(flite("We need more time to finish the work.")))


def test_speech_is_found(speech: Pcm) -> None:
    probabilities = judge(speech)
    assert np.mean(np.array(probabilities) > 0.5) > 0.8


@pytest.mark.parametrize("level", [0.0, 0.001, 0.02])
def test_silence_and_noise_are_not_speech(level: float) -> None:
    noise = level * np.random.default_rng(0).standard_normal(3 * SPEECH_RATE, np.float32)
    assert max(judge(noise)) < 0.5


def test_sources_do_not_share_their_past(speech: Pcm) -> None:
    """Judged one after the other."""
    one, other = DETECTOR.memory(), DETECTOR.memory()
    silence = np.zeros(VAD_WINDOW, np.float32)
    interleaved = []
    for window in windows(speech, VAD_WINDOW):
        interleaved += DETECTOR.probabilities([one], [window])
        DETECTOR.probabilities([other], [silence])
    assert interleaved == judge(speech)


def test_it_remembers_each_source_for_itself(speech: Pcm) -> None:
    """A source that is judged together with others, however many, is judged as if alone."""
    noise = 0.02 * np.random.default_rng(0).standard_normal(len(speech), np.float32)
    alone = judge(speech)
    assert judge(speech) == alone  # whatever was heard before
    for others in (1, 4, 31):
        memories = [DETECTOR.memory() for _ in range(1 + others)]
        together = []
        for number, window in enumerate(windows(speech, VAD_WINDOW)):
            rows = [np.roll(noise, row)[number * VAD_WINDOW :][:VAD_WINDOW] for row in range(others)]
            together.append(DETECTOR.probabilities(memories, [*rows, window])[-1])
        assert together == pytest.approx(alone, abs=1e-4)


def test_a_memory_matters(speech: Pcm) -> None:
    """What a window is depends on what came before it."""
    fresh = [DETECTOR.probabilities([DETECTOR.memory()], [window])[0] for window in windows(speech, VAD_WINDOW)]
    assert np.abs(np.array(fresh) - judge(speech)).max() > 0.1


def test_a_window_of_another_size_is_refused_before_anything_is_judged(speech: Pcm) -> None:
    memories = [DETECTOR.memory(), DETECTOR.memory()]
    with pytest.raises(ValueError, match="512"):
        DETECTOR.probabilities(memories, [speech[:VAD_WINDOW], np.zeros(320, np.float32)])
    assert not np.any(memories)
