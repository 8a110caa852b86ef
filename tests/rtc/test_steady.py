"""A beat, made without clicks of audio that comes when it comes."""

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtc.steady import FADE, MAX_LEVEL, MAX_STRETCH, Steady

RATE = 24_000
FRAME = RATE // 50
DEPTH = 0.02


def sine(seconds: float, hertz: float = 310.0) -> np.ndarray:
    return (8000 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * RATE)) / RATE)).astype(np.int16)


def voice(seconds: float) -> np.ndarray:
    """Something like a vowel: harmonics of a wavering pitch, swelling and fading."""
    time = np.arange(round(seconds * RATE)) / RATE
    phase = 2 * np.pi * np.cumsum(140 + 20 * np.sin(2 * np.pi * 0.7 * time)) / RATE
    sound = sum(np.sin(k * phase) / k for k in range(1, 12)) * (0.6 + 0.4 * np.sin(2 * np.pi * 3 * time))
    return (5000 * sound).astype(np.int16)


def roughness(pcm: np.ndarray) -> float:
    """The largest step of the slope from sample to sample: a click is one."""
    return float(np.abs(np.diff(pcm.astype(float), 2)).max())


def play(
    steady: Steady, pcm: np.ndarray, arrivals: Iterator[float], depth: float = DEPTH
) -> tuple[np.ndarray, list[int]]:
    """Push frames at their times (seconds), pull every 20 ms; (what was heard, the level after each pull)."""
    frames = zip(pcm[: len(pcm) // FRAME * FRAME].reshape(-1, FRAME), arrivals, strict=False)
    heard, levels, now = [], [], 0.005
    for frame, at in frames:
        while now < at:
            out = steady.pull(depth)
            heard.append(np.zeros(FRAME, np.int16) if out is None else out)
            levels.append(steady.level)
            now += 0.02
        steady.push(frame)
    return np.concatenate(heard), levels


def at_rate(drift: float = 0.0) -> Iterator[float]:
    return (index * 0.02 / (1 + drift) for index in range(10**9))


def test_in_time_nothing_is_changed() -> None:
    """After the first 10 ms, which fade in, what comes out is what went in, two frames later."""
    steady, pcm = Steady(RATE), voice(2.0)
    heard, levels = play(steady, pcm, at_rate())
    begins = 2 * FRAME - FRAME
    assert np.array_equal(heard[begins + FRAME : -FRAME], pcm[FRAME : len(heard) - begins - FRAME])
    assert set(levels[5:]) == {FRAME}
    assert (steady.removed, steady.added, steady.dropped, steady.underruns) == (0, 0, 0, 0)


@pytest.mark.parametrize("sound", [sine, voice])
@pytest.mark.parametrize("drift", [0.005, -0.005])
def test_an_hour_of_clock_drift_in_two_minutes(sound: object, drift: float) -> None:
    """200 ppm for an hour are 0.72 s; here as much in 144 s. The level stays, nothing runs dry, nothing clicks."""
    steady, pcm = Steady(RATE), sound(144.0)  # type: ignore[operator]
    heard, levels = play(steady, pcm, at_rate(drift))
    assert steady.underruns == steady.dropped == 0
    assert max(levels[10:]) <= 4 * FRAME
    slip = steady.removed - steady.added
    assert slip == pytest.approx(0.72 * RATE * np.sign(drift), abs=0.1 * RATE)
    assert roughness(heard[FRAME * 5 :]) <= 1.3 * roughness(pcm)


@pytest.mark.parametrize("sound", [sine, voice])
def test_a_burst_is_caught_up_with_at_a_quarter_more(sound: object) -> None:
    """300 ms come at once after an outage: in two seconds the voice is in the present again, without a click."""
    steady, pcm = Steady(RATE), sound(6.0)  # type: ignore[operator]
    outage = (1.0 + 0.3 if 50 <= index < 65 else index * 0.02 for index in range(10**6))
    heard, levels = play(steady, pcm, outage)
    assert max(levels[60:]) >= 12 * FRAME
    caught_up = next(index for index in range(70, len(levels)) if levels[index] <= 2 * FRAME)
    assert caught_up < 65 + 2 * 50
    speeds = -np.diff(levels[66:caught_up])
    assert speeds.mean() <= MAX_STRETCH * FRAME * 1.05
    assert roughness(heard[: 50 * FRAME]) <= roughness(pcm)
    assert roughness(heard[70 * FRAME :]) <= 1.3 * roughness(pcm)


def test_silence_goes_first_and_at_once() -> None:
    """What is too much and silent is dropped whole, not played a quarter faster; the sound after it is untouched."""
    steady = Steady(RATE)
    pcm = np.concatenate([sine(1.0), np.zeros(round(0.3 * RATE), np.int16), sine(1.0)])
    outage = (1.3 if 50 <= index < 65 else index * 0.02 for index in range(10**6))
    heard, levels = play(steady, pcm, outage)
    assert max(levels[:70]) >= 12 * FRAME and max(levels[68:]) <= 3 * FRAME
    assert steady.removed >= 0.2 * RATE
    assert roughness(heard) <= 1.3 * roughness(pcm)


def test_running_dry_fades_out_and_in() -> None:
    """Nothing comes for 200 ms: the last pitch period fades away in 60 ms, then silence, then the voice fades in."""
    steady, pcm = Steady(RATE), sine(2.0)
    outage = (index * 0.02 + (0.2 if index >= 50 else 0.0) for index in range(10**6))
    heard, _ = play(steady, pcm, outage)
    assert steady.underruns == 1
    loud = np.abs(heard.reshape(-1, FRAME)).max(axis=1)
    dry = int(np.flatnonzero(loud[10:] < 4000)[0]) + 10
    assert np.count_nonzero(loud[dry - 2 : dry + 12] == 0) in range(4, 10)
    assert (np.diff(loud[dry - 1 : dry + FADE - 1].astype(int)) < 0).all()
    assert roughness(heard) <= 1.5 * roughness(pcm)


def test_prefill_waits_for_the_depth_but_not_for_ever() -> None:
    """It begins when depth and a frame wait, or when the first has waited as long: the shortest word is heard."""
    steady = Steady(RATE)
    for _ in range(3):
        steady.push(sine(0.02))
        assert steady.pull(0.06) is None
    steady.push(sine(0.02))
    assert steady.pull(0.06) is not None
    word = Steady(RATE)
    word.push(sine(0.02))
    assert [word.pull(0.06) is not None for _ in range(4)] == [False, False, False, True]
    assert word.level == 0


def test_a_deeper_network_is_followed_by_lengthening() -> None:
    """The depth grows to 80 ms: within a second as much waits, though no more came, and none of it clicks."""
    steady, pcm = Steady(RATE), voice(4.0)
    half = len(pcm) // 2 // FRAME * FRAME
    first, _ = play(steady, pcm[:half], at_rate())
    second, levels = play(steady, pcm[half:], at_rate(), depth=0.08)
    assert levels[50] >= 0.07 * RATE and steady.underruns == 0
    assert max(levels) <= 0.12 * RATE
    assert roughness(np.concatenate([first[FRAME * 2 :], second])) <= 1.3 * roughness(pcm)


def test_too_much_is_dropped_from_the_front() -> None:
    """Half a second waits at most; the newest is kept, what went is counted, and the joint does not click."""
    steady, pcm = Steady(RATE), sine(2.0)
    for frame in pcm.reshape(-1, FRAME):
        steady.push(frame)
    assert steady.level == MAX_LEVEL * RATE and steady.dropped == len(pcm) - steady.level
    heard = [frame for _ in range(25) if (frame := steady.pull(0.48)) is not None]
    assert np.array_equal(np.concatenate(heard)[-FRAME:], pcm[-FRAME:])
    steady.push(sine(3.0))
    assert steady.level == MAX_LEVEL * RATE


def test_another_source_begins_with_nothing_of_the_last() -> None:
    """What was heard fades, what waited is gone."""
    steady, pcm = Steady(RATE), sine(0.5)
    for frame in pcm.reshape(-1, FRAME)[:10]:
        steady.push(frame)
    before = [frame for _ in range(4) if (frame := steady.pull(DEPTH)) is not None]
    steady.clear()
    assert steady.level == 0 and len(before) == 4
    fading = [frame for _ in range(10) if (frame := steady.pull(DEPTH)) is not None]
    assert len(fading) == FADE and np.abs(fading[-1][-10:]).max() < 100
    assert roughness(np.concatenate([*before[1:], *fading])) <= 1.5 * roughness(pcm)


step = st.one_of(
    st.tuples(st.just("push"), st.integers(0, 2 * RATE), st.sampled_from(["sine", "noise", "silence"])),
    st.tuples(st.just("pull"), st.floats(0.02, 0.2), st.just("")),
    st.tuples(st.just("clear"), st.just(0), st.just("")),
)


@given(st.lists(step, max_size=60), st.sampled_from([8_000, 16_000, 24_000, 48_000]))
def test_anything_at_any_time_is_bounded(steps: list[tuple[str, float, str]], rate: int) -> None:
    """Whole frames or None, a bounded level, and a sample count that adds up."""
    steady, dice = Steady(rate), np.random.default_rng(1)
    pushed = 0
    for action, amount, sound in steps:
        if action == "push":
            pcm = {
                "sine": (30_000 * np.sin(np.arange(int(amount)) / 9)).astype(np.int16),
                "noise": dice.integers(-32_768, 32_767, int(amount)).astype(np.int16),
                "silence": np.zeros(int(amount), np.int16),
            }[sound]
            steady.push(pcm)
            pushed += len(pcm)
        elif action == "pull":
            frame = steady.pull(amount)
            assert frame is None or (len(frame) == rate // 50 and frame.dtype == np.int16)
        else:
            steady.clear()
        assert 0 <= steady.level <= MAX_LEVEL * rate
    assert steady.dropped + steady.removed - steady.added <= pushed
