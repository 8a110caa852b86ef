"""Sample rates."""

import numpy as np

from models.resample import Decimator, resample


def tone(hertz: float, rate: int, count: int) -> np.ndarray:
    return np.sin(2 * np.pi * hertz * np.arange(count) / rate).astype(np.float32)


def test_a_sentence_keeps_its_pitch_and_its_length() -> None:
    sound = tone(1000, 22_050, 22_050) * np.hanning(22_050).astype(np.float32)
    other = resample(sound, 22_050, 24_000)
    expected = tone(1000, 24_000, 24_000) * np.hanning(24_000)
    assert len(other) == 24_000 and np.abs(other - expected).max() < 0.01
    assert not len(resample(sound[:0], 22_050, 24_000))


def test_what_comes_in_frames_is_as_one_piece_and_what_would_fold_is_gone() -> None:
    sound = tone(1000, 24_000, 19_200)
    decimator = Decimator()
    out = np.concatenate([decimator.push(frame) for frame in sound.reshape(10, 1_920)])
    assert len(out) == 12_800
    np.testing.assert_allclose(out, Decimator().push(sound), atol=1e-5)
    assert abs(float(np.abs(out[1000:]).max()) - 1) < 0.05
    assert np.abs(Decimator().push(tone(11_000, 24_000, 19_200))[1000:]).max() < 0.05
