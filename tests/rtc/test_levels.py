"""When a microphone is open."""

from hypothesis import given, settings
from hypothesis import strategies as st

from rtc.levels import AUDIBLE, HANGOVER, LevelGate

NOISE, SPEECH, SILENCE = 75, 30, 127


def heard(*levels: int | None, start: float = 0.0) -> list[bool]:
    """What a gate says to one packet each 20 ms."""
    gate = LevelGate()
    return [gate.hears(level, start + 0.02 * n) for n, level in enumerate(levels)]


def test_a_quiet_microphone_is_closed() -> None:
    """From its first packet on: noise alone is not worth a decoder."""
    assert not any(heard(*[NOISE] * 10, *[SILENCE] * 10))


def test_speech_opens_it_with_its_first_packet() -> None:
    assert heard(NOISE, SPEECH) == [False, True]
    assert heard(AUDIBLE, AUDIBLE - 1) == [False, True]


def test_it_stays_open_over_a_pause_and_closes_after_it() -> None:
    """For as long as the hangover, counted from the last packet that was heard."""
    packets = round(HANGOVER / 0.02)
    said = heard(SPEECH, *[NOISE] * (packets - 1), SPEECH, *[NOISE] * (packets + 5))
    assert all(said[: 2 * packets]) and not any(said[2 * packets + 2 :])


def test_who_does_not_tell_their_level_is_heard() -> None:
    """Without the extension nobody may be silenced by a guess."""
    assert all(heard(*[None] * 200))


@settings(max_examples=30)
@given(st.lists(st.tuples(st.none() | st.integers(0, 127), st.floats(0, 3)), max_size=50))
def test_open_means_something_was_audible_lately(packets: list[tuple[int | None, float]]) -> None:
    """And nothing else does, however levels and pauses come."""
    gate, now, audible_at = LevelGate(), 0.0, float("-inf")
    for level, passed in packets:
        now += passed
        if level is None or level < AUDIBLE:
            audible_at = now
        assert gate.hears(level, now) is (now - audible_at <= HANGOVER)
