"""When a duplex model steps, and with whose frames."""

from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.base import Pcm
from rtc.conductor import DEPTH, GRACE, HASTE, PATIENCE, PERIOD, WINDOW, Conductor, Step

SAMPLES = 4
INSTANT = 1e-6


def frame(number: int) -> Pcm:
    """A frame that says which it is; 0 is silence."""
    return np.full(SAMPLES, number, np.float32)


def numbers(step: Step | None) -> dict[int, int]:
    assert step is not None
    return {seat: int(pcm[0]) for seat, pcm in step.frames.items()}


def seated(people: int, seats: int = 4) -> Conductor:
    """People in seats 0 and up, whose conversations began with a silent step at 0."""
    conductor = Conductor(seats, SAMPLES)
    for seat in range(people):
        assert conductor.join() == seat
    assert numbers(conductor.take(0)) == dict.fromkeys(range(people), 0)
    return conductor


def test_nobody_no_step() -> None:
    """However late it is."""
    conductor = Conductor(2, SAMPLES)
    assert conductor.due is None and conductor.take(1e9) is None


def test_a_conversation_begins_at_once_and_in_silence() -> None:
    """Its seat is reset in its first step and not again; the voice may speak first."""
    conductor = Conductor(2, SAMPLES)
    seat = conductor.join()
    step = conductor.take(5.0)
    assert step is not None and step.resets == (seat,) and numbers(step) == {seat: 0}
    assert conductor.take(5.0 + PERIOD) is None
    step = conductor.take(5.0 + PERIOD + GRACE)
    assert step is not None and step.resets == () and numbers(step) == {seat: 0}
    assert conductor.silent == 2


def test_an_empty_house_has_no_time_to_make_up_for() -> None:
    """Whoever comes after a while hears one frame at once, and then one each 80 ms."""
    conductor = seated(1)
    conductor.leave(0)
    conductor.join()
    assert conductor.take(60.0) is not None
    assert conductor.due == pytest.approx(60.0 + PERIOD + GRACE)


def test_a_full_house_is_full() -> None:
    """Until somebody leaves; seats that were just left are taken last."""
    conductor = Conductor(3, SAMPLES)
    assert [conductor.join() for _ in range(4)] == [0, 1, 2, None]
    conductor.leave(1)
    conductor.leave(0)
    assert conductor.taken == 1
    assert [conductor.join() for _ in range(3)] == [1, 0, None]


def test_a_step_waits_for_everybody() -> None:
    """And is made as soon as the last frame is there."""
    conductor = seated(2)
    for number in range(1, 4):
        conductor.push(0, frame(number))
        if number > 1:  # from their first frame on, both are waited for
            assert conductor.take(number * PERIOD + 0.03) is None
        conductor.push(1, frame(10 + number))
        assert numbers(conductor.take(number * PERIOD + 0.04)) == {0: number, 1: 10 + number}
    assert conductor.silent == 2 and conductor.dropped == 0


def test_a_late_frame_is_silence_for_its_seat_only() -> None:
    """A packet's length after it was due; what comes late is heard late."""
    conductor = seated(2)
    for seat in (0, 1):
        conductor.push(seat, frame(1))
    assert numbers(conductor.take(0.1)) == {0: 1, 1: 1}
    conductor.push(0, frame(2))
    assert conductor.due == pytest.approx(0.1 + PERIOD + GRACE)
    assert numbers(conductor.take(0.2)) == {0: 2, 1: 0}
    conductor.push(0, frame(3))
    assert conductor.take(0.26) is None
    conductor.push(1, frame(2))
    assert numbers(conductor.take(0.27)) == {0: 3, 1: 2}
    assert conductor.silent == 3


def test_who_sends_nothing_is_not_waited_for() -> None:
    """After three frames that never came; until the next that does."""
    conductor = seated(2)
    for seat in (0, 1):
        conductor.push(seat, frame(1))
    assert numbers(conductor.take(0.08)) == {0: 1, 1: 1}
    for number in range(2, 2 + PATIENCE):
        conductor.push(0, frame(number))
        assert conductor.take(number * PERIOD) is None
        assert numbers(conductor.take(number * PERIOD + GRACE + INSTANT)) == {0: number, 1: 0}
    for number in range(5, 8):
        conductor.push(0, frame(number))
        assert numbers(conductor.take(number * PERIOD)) == {0: number, 1: 0}
    conductor.push(1, frame(8))
    assert conductor.take(7.5 * PERIOD) is None
    conductor.push(0, frame(8))
    assert numbers(conductor.take(8 * PERIOD)) == {0: 8, 1: 8}


def test_a_silent_house_keeps_the_beat() -> None:
    """Steps are 80 ms apart on average although each timer is late, and a hole is made up for."""
    conductor, now, steps = seated(1), 0.0, 1
    while now < 8.0:
        due = conductor.due
        assert due is not None
        now = due + (0.005 if steps != 50 else 2.5 * PERIOD)
        assert conductor.take(now) is not None
        steps += 1
    assert steps == pytest.approx(8.0 / PERIOD, abs=2)


def test_a_restart_is_a_reset_and_forgets_what_waits() -> None:
    """Of this seat only."""
    conductor = seated(2)
    for seat in (0, 1):
        for number in (1, 2):
            conductor.push(seat, frame(number))
    conductor.restart(1)
    step = conductor.take(0.1)
    assert step is not None and step.resets == (1,) and numbers(step) == {0: 1, 1: 0}
    with pytest.raises(KeyError):
        conductor.restart(3)


def test_joining_and_leaving_happen_between_steps() -> None:
    """All resets in one step; a seat that was left and taken again is reset once."""
    conductor = seated(3)
    conductor.leave(0)
    conductor.leave(1)
    assert [conductor.join() for _ in range(3)] == [3, 0, 1]
    conductor.leave(3)
    step = conductor.take(1.0)
    assert step is not None and step.resets == (0, 1) and numbers(step) == {0: 0, 1: 0, 2: 0}


@pytest.mark.parametrize("bad", [np.zeros(3, np.float32), np.zeros((1, SAMPLES), np.float32), frame(0) + np.nan])
def test_a_frame_that_the_model_would_refuse(bad: Pcm) -> None:
    """Is refused before it can cost others a step."""
    conductor = seated(1)
    with pytest.raises(ValueError, match="a frame has"):
        conductor.push(0, bad)
    assert numbers(conductor.take(1.0)) == {0: 0}


def test_silence_cannot_be_written_to() -> None:
    """It is one frame for everybody."""
    step = seated(1).take(1.0)
    assert step is not None
    with pytest.raises(ValueError, match="read-only"):
        step.frames[0][0] = 1


@dataclass
class Client:
    """Somebody whose frames arrive when `arrival` says: number → seconds, inf if it is lost."""

    arrival: Callable[[int], float]
    sent: int = 0
    heard: list[tuple[float, int]] = field(default_factory=list)
    """(when, which): 0 is silence."""

    @property
    def next(self) -> float:
        return self.arrival(self.sent + 1)


def simulate(clients: list[Client], seconds: float, busy: float = 0.0) -> Conductor:
    """Everybody joins at 0; a step takes `busy` seconds. Frames arrive in order, or are lost."""
    conductor, now, free = Conductor(len(clients), SAMPLES), 0.0, 0.0
    for _ in clients:
        conductor.join()
    while now < seconds:
        for seat, client in enumerate(clients):
            while client.next <= now or client.next == inf:
                client.sent += 1
                if client.arrival(client.sent) < inf:
                    conductor.push(seat, frame(client.sent))
        if now >= free and (step := conductor.take(now)) is not None:
            free = now + busy
            for seat, which in numbers(step).items():
                clients[seat].heard.append((now, which))
        due = conductor.due
        assert due is not None
        now = max(now + INSTANT, min(max(due, free), *(client.next for client in clients)))
    return conductor


phases = st.lists(st.integers(0, 79), min_size=1, max_size=4)
"""Milliseconds after the beat at which each client's frames come."""


def steady(phase: int) -> Client:
    """Whose frames are always in time."""
    return Client(lambda number: (phase + 80 * number) / 1000)


def consecutive(client: Client, since: float) -> bool:
    """Whether it was heard frame by frame, without silence."""
    which = [number for when, number in client.heard if when > since]
    return which == list(range(which[0], which[0] + len(which)))


@settings(max_examples=50, deadline=None)
@given(phases, st.floats(0, 0.9 * PERIOD), st.integers(0, 2**32 - 1))
def test_jitter_is_not_loss(starts: list[int], busy: float, seed: int) -> None:
    """Frames that come within 20 ms of their time are heard in order, with no silence between them, however the clocks
    of the clients lie to each other and however long the model computes. One is dropped at most, if it only waits."""
    rng = np.random.default_rng(seed)
    jitter = rng.uniform(0, 0.9 * GRACE, (len(starts), 200))

    def arrives(seat: int) -> Callable[[int], float]:
        return lambda number: starts[seat] / 1000 + number * PERIOD + jitter[seat, number]

    clients = [Client(arrives(seat)) for seat in range(len(starts))]
    simulate(clients, 10.0, busy)
    for client in clients:
        which = [number for when, number in client.heard if when > client.arrival(1) + PERIOD]
        assert 0 not in which and which == sorted(set(which))
        assert which[-1] - which[0] + 1 - len(which) <= 1
        assert all(when - client.arrival(number) < 2 * PERIOD + busy for when, number in client.heard if number)


@settings(max_examples=50, deadline=None)
@given(st.sets(st.integers(2, 100)), phases)
def test_a_lost_frame_is_silence_in_its_place(lost: set[int], starts: list[int]) -> None:
    """One frame of silence for one that is lost, and nothing at all for those who lost none."""

    def lossy(number: int) -> float:
        return inf if number in lost else number * 80 / 1000

    one = Client(lossy)
    simulate([one], 9.0)
    which = [number for _, number in one.heard]
    begin = which.index(1)
    assert which[begin:] == [0 if number in lost else number for number in range(1, len(which) - begin + 1)]

    others = [steady(start) for start in starts]
    simulate([Client(lambda number: inf if number - 50 in lost else number * 80 / 1000), *others], 13.0)
    assert all(consecutive(client, 2 * WINDOW * PERIOD) for client in others)


@settings(max_examples=50, deadline=None)
@given(st.integers(6000, 6500), st.integers(1000, 3000), phases)
def test_delay_shrinks_back_after_a_stall(begin: int, stall: int, starts: list[int]) -> None:
    """What a network held back for a while and then brings at once is heard late at first, and then no later than
    before. Nobody else notices."""

    def held(number: int) -> float:
        due = number * 80
        return max(due, begin + stall if due >= begin else 0) / 1000

    clients = [Client(held), *(steady(start) for start in starts)]
    conductor = simulate(clients, 16.0)
    settled = (begin + stall) / 1000 + (2 * WINDOW + DEPTH) * PERIOD
    delays = [when - number * PERIOD for when, number in clients[0].heard if number and when > settled]
    assert max(delays) <= PERIOD
    assert conductor.dropped > 0
    assert all(consecutive(client, 2 * WINDOW * PERIOD) for client in clients[1:])


@pytest.mark.parametrize("stall", [500, 720, 2000])
def test_who_talks_alone_is_heard_as_soon_as_before_a_stall(stall: int) -> None:
    """Steps made of silence do not use up for ever what the next ones may come early by, however many stalls."""
    held = [begin + stall for begin in (5000, 13000, 21000)]

    def arrival(number: int) -> float:
        due = number * 80
        return next((end for end in held if end - stall <= due < end), due) / 1000

    alone = Client(arrival)
    simulate([alone], 30.0)
    for end in held:
        late = [when - number * PERIOD for when, number in alone.heard if end + 4000 < when * 1000 < end + 5000]
        assert late and max(late) < 0.005


@settings(max_examples=50, deadline=None)
@given(st.floats(1.3, 20.0), st.booleans())
def test_who_sends_too_fast_hurries_nobody(speed: float, listener: bool) -> None:
    """There are hardly more steps than time has passed; what comes too fast is dropped."""
    clients = [Client(lambda number: number * PERIOD / speed)]
    if listener:
        clients.append(Client(lambda number: 1e9))  # who says nothing
    conductor = simulate(clients, 5.0)
    assert 5.0 / PERIOD - 1 <= conductor.steps <= 5.0 / (PERIOD * (1 - HASTE)) + DEPTH + 1
    assert conductor.dropped > 0


@settings(max_examples=50, deadline=None)
@given(phases, st.floats(1.5, 3.0))
def test_a_model_that_is_too_slow_drops_and_does_not_fall_behind(starts: list[int], slowness: float) -> None:
    """What is heard is at most as old as the queue is long."""
    clients = [steady(start) for start in starts]
    busy = slowness * PERIOD
    conductor = simulate(clients, 10.0, busy)
    assert conductor.dropped > 0
    for client in clients:
        assert max(when - client.arrival(number) for when, number in client.heard if number) <= DEPTH * PERIOD + 1e-3


actions = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["join", "take"]), st.just(0)),
        st.tuples(st.sampled_from(["leave", "restart", "push", "push", "push"]), st.integers(0, 3)),
        st.tuples(st.just("wait"), st.floats(0, 0.2)),
    ),
    max_size=200,
)


@settings(max_examples=200, deadline=None)
@given(actions)
def test_what_always_holds(actions: list[tuple[str, float]]) -> None:
    """Every step has every seat once, with its next frame or with silence; frames are heard in order, dropped from the
    front, or still wait; a conversation begins with a reset, and nothing else does; `due` is when `take` gives a step;
    no more steps than time allows."""
    conductor, now, number = Conductor(4, SAMPLES), 0.0, 0
    waiting: dict[int, list[int]] = {}
    fresh: set[int] = set()
    dropped = silent = 0  # as seen from outside: what was passed over
    taken: list[float] = []
    for action, value in actions:
        seat = int(value)
        if action == "wait":
            now += value
        elif action == "join":
            joined = conductor.join()
            assert (joined is None) == (len(waiting) == 4)
            if joined is not None:
                waiting[joined] = []
                fresh.add(joined)
        elif action == "take":
            due = conductor.due
            step = conductor.take(now)
            assert (step is not None) == (due is not None and due <= now)
            if step is None:
                continue
            assert step.frames.keys() == waiting.keys() and set(step.resets) == fresh
            fresh.clear()
            taken.append(now)
            for where, which in numbers(step).items():
                passed = waiting[where].index(which) if which else len(waiting[where])
                silent += which == 0
                dropped += passed
                del waiting[where][: passed + 1]
        elif seat in waiting:
            if action == "push":
                number += 1
                conductor.push(seat, frame(number))
                waiting[seat].append(number)
            elif action == "leave":
                conductor.leave(seat)
                del waiting[seat]
                fresh.discard(seat)
            else:
                conductor.restart(seat)
                waiting[seat] = []
                fresh.add(seat)
    assert conductor.silent == silent and conductor.steps == len(taken)
    assert conductor.dropped >= dropped
    for count, when in enumerate(taken):
        earlier = [one for one in taken[:count] if one > when - 1.0]
        assert len(earlier) <= 1.0 / (PERIOD * (1 - HASTE)) + DEPTH + 1
