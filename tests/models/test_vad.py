"""The speech detector finds speech and only speech, and forgets when told to."""

import numpy as np
import pytest

from models.base import SPEECH_RATE, VAD_WINDOW, Pcm
from models.vad import SileroDetector
from tests.speech import flite, peak, trim


def judge(detector: SileroDetector, pcm: Pcm) -> list[float]:
    windows = pcm[: len(pcm) // VAD_WINDOW * VAD_WINDOW].reshape(-1, VAD_WINDOW)
    return [detector.probability(window) for window in windows]


@pytest.fixture(scope="module")
def speech() -> Pcm:
    return trim(peak(flite("We need more time to finish the work.")))


def test_speech_is_found(speech: Pcm) -> None:
    probabilities = judge(SileroDetector(), speech)
    assert np.mean(np.array(probabilities) > 0.5) > 0.8


@pytest.mark.parametrize("level", [0.0, 0.001, 0.02])
def test_silence_and_noise_are_not_speech(level: float) -> None:
    noise = level * np.random.default_rng(0).standard_normal(3 * SPEECH_RATE, np.float32)
    assert max(judge(SileroDetector(), noise)) < 0.5


def test_a_reset_detector_is_a_new_one(speech: Pcm) -> None:
    detector = SileroDetector()
    first = judge(detector, speech)
    assert judge(detector, speech) != first  # it remembers
    detector.reset()
    assert judge(detector, speech) == first


def test_detectors_do_not_share_their_past(speech: Pcm) -> None:
    one, other = SileroDetector(), SileroDetector()
    windows = speech[: VAD_WINDOW * 40].reshape(-1, VAD_WINDOW)
    silence = np.zeros(VAD_WINDOW, np.float32)
    interleaved = []
    for window in windows:
        interleaved.append(one.probability(window))
        other.probability(silence)
    assert interleaved == judge(SileroDetector(), speech[: VAD_WINDOW * 40])


def test_a_window_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="512"):
        SileroDetector().probability(np.zeros(320, np.float32))
