"""Who is to be heard, and from when to when. Pure."""

import numpy as np
import pytest

from rtc.loudness import Loudness, rms

PIECE = 0.08


def changes(loudness: Loudness, levels: list[float]) -> list[tuple[int, bool]]:
    """(piece, speaking) at each change. `levels`: dBFS of each piece."""
    return [(i, loudness.speaking) for i, db in enumerate(levels) if loudness.hear(10 ** (db / 20), PIECE)]


def test_rms_is_that_of_a_sine() -> None:
    assert rms(np.sin(np.linspace(0, 20 * np.pi, 10_000)).astype(np.float32)) == pytest.approx(0.5**0.5, abs=0.001)


def test_a_short_pause_is_part_of_speech_and_a_long_one_ends_it() -> None:
    """0.6 s of patience: 0.4 s of silence are none."""
    levels = [-70.0] * 10 + [-25.0] * 5 + [-70.0] * 5 + [-25.0] * 5 + [-70.0] * 20
    assert changes(Loudness(0.6), levels) == [(10, True), (32, False)]


def test_a_loud_room_is_no_speech_but_who_speaks_in_it_is_heard() -> None:
    """A fan at -38 dBFS is taken for speech at first, then known for what it is."""
    fan, speech = [-38.0] * 400, ([-20.0] * 5 + [-38.0] * 2) * 4
    heard = changes(Loudness(0.6, noisy=True), fan + speech + [-38.0] * 30)
    assert [speaking for _, speaking in heard] == [True, False, True, False]
    assert heard[1][0] < 300 and heard[2][0] == 400 and heard[3][0] >= 400 + len(speech)


def test_it_can_be_stopped() -> None:
    """As when somebody mutes; then there is nothing to stop."""
    loudness = Loudness(0.6)
    assert loudness.hear(0.5, PIECE) and loudness.speaking
    assert loudness.stop() and not loudness.speaking
    assert not loudness.stop()
    assert not loudness.hear(0.0, PIECE), "a sound before it was stopped is not a moment ago"


def test_nothing_at_all_ends_speech_and_tells_nothing_of_the_room() -> None:
    """No packets for a second, in a loud room: the fan is still known when they come again."""
    loudness = Loudness(0.6, noisy=True)
    changes(loudness, [-38.0] * 400 + [-20.0] * 5)
    assert loudness.speaking
    assert [loudness.hear(None, 0.1) for _ in range(10)].count(True) == 1 and not loudness.speaking
    assert changes(loudness, [-38.0] * 20) == []
