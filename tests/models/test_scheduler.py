"""Whose segment is translated next: finals first, rooms in turn, batches of about the same length, nothing lost in
silence."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from models.scheduler import Job, Kind, Scheduler, SchedulerSettings


def job(name: str, room: str = "a", kind: Kind = Kind.FINAL, seconds: float = 3.0, rows: int = 2) -> Job[str]:
    return Job(name, room, kind, seconds, rows)


def names(jobs: list[Job[str]]) -> list[str]:
    return [each.tag for each in jobs]


def served_alone() -> Scheduler[str]:
    """Batches of one, to see the order."""
    return Scheduler(SchedulerSettings(max_rows=1))


def test_finals_go_before_interims_that_came_earlier() -> None:
    scheduler: Scheduler[str] = Scheduler()
    scheduler.add(job("interim", kind=Kind.INTERIM), 0.0)
    scheduler.add(job("final"), 1.0)
    assert names(scheduler.take()) == ["final"]
    assert names(scheduler.take()) == ["interim"]


def test_segments_of_different_rooms_share_a_batch() -> None:
    scheduler: Scheduler[str] = Scheduler()
    for room in "abc":
        scheduler.add(job(room, room=room), 0.0)
    assert names(scheduler.take()) == ["a", "b", "c"]
    assert scheduler.counters["batches"] == 1


def test_a_long_segment_does_not_hold_up_a_batch_of_short_ones() -> None:
    scheduler: Scheduler[str] = Scheduler()
    for name, seconds in (("short", 1.5), ("long", 12.0), ("short too", 2.0)):
        scheduler.add(job(name, seconds=seconds), 0.0)
    assert names(scheduler.take()) == ["short", "short too"]
    assert names(scheduler.take()) == ["long"]


def test_a_batch_has_no_more_rows_than_fit() -> None:
    scheduler: Scheduler[str] = Scheduler(SchedulerSettings(max_rows=5))
    for number in range(3):
        scheduler.add(job(str(number), rows=2), 0.0)
    assert names(scheduler.take()) == ["0", "1"]


def test_a_segment_in_more_languages_than_fit_goes_alone() -> None:
    scheduler: Scheduler[str] = Scheduler(SchedulerSettings(max_rows=4))
    scheduler.add(job("wide", rows=9), 0.0)
    scheduler.add(job("narrow", rows=1), 0.0)
    assert names(scheduler.take()) == ["wide"]


def test_a_room_that_talks_much_does_not_keep_the_others_waiting() -> None:
    scheduler = served_alone()
    for number in range(6):
        scheduler.add(job(f"loud {number}", room="loud"), float(number))
    scheduler.add(job("quiet", room="quiet"), 6.0)
    order = [names(scheduler.take())[0] for _ in range(7)]
    assert order.index("quiet") <= 1
    assert [name for name in order if name != "quiet"] == [f"loud {number}" for number in range(6)]


def test_a_room_that_was_silent_has_saved_nothing_up() -> None:
    scheduler = served_alone()
    scheduler.add(job("early", room="late riser"), 0.0)
    for number in range(20):
        scheduler.add(job(f"busy {number}", room="busy"), 0.0)
    for _ in range(15):
        scheduler.take()
    for number in range(5):
        scheduler.add(job(f"late {number}", room="late riser"), 1.0)
    rooms = [scheduler.take()[0].room for _ in range(6)]
    assert Counter(rooms)["busy"] >= 2


def test_too_many_finals_cost_the_room_that_has_most() -> None:
    scheduler: Scheduler[str] = Scheduler(SchedulerSettings(max_finals=3))
    assert scheduler.add(job("only one", room="quiet"), 0.0) == []
    assert scheduler.add(job("first", room="loud"), 0.0) == []
    assert scheduler.add(job("second", room="loud"), 0.0) == []
    assert names(scheduler.add(job("third", room="loud"), 0.0)) == ["first"]
    assert scheduler.counters["finals_dropped"] == 1
    assert len(scheduler) == 3


def test_the_audio_of_many_short_batches_is_counted_as_it_is() -> None:
    scheduler = served_alone()
    for number in range(40):
        scheduler.add(job(str(number), seconds=0.25), 0.0)
        scheduler.take()
    assert scheduler.counters["seconds"] == 10


def test_an_interim_that_waited_too_long_is_let_go() -> None:
    scheduler: Scheduler[str] = Scheduler(SchedulerSettings(stale=2.0))
    scheduler.add(job("old", kind=Kind.INTERIM), 0.0)
    scheduler.add(job("new", kind=Kind.INTERIM), 1.5)
    scheduler.add(job("final"), 0.0)
    assert names(scheduler.stale(3.0)) == ["old"]
    assert names(scheduler.take()) == ["final"]
    assert names(scheduler.take()) == ["new"]


def test_what_is_cancelled_is_not_taken() -> None:
    scheduler: Scheduler[str] = Scheduler()
    gone, stays = job("gone"), job("stays")
    scheduler.add(gone, 0.0)
    scheduler.add(stays, 0.0)
    assert scheduler.cancel(gone)
    assert not scheduler.cancel(gone)
    assert names(scheduler.take()) == ["stays"]
    assert not scheduler.cancel(stays), "it is being computed"


steps = st.lists(
    st.one_of(
        st.tuples(
            st.just("add"),
            st.sampled_from("abc"),
            st.sampled_from(list(Kind)),
            st.floats(0.2, 20),
            st.integers(1, 40),
        ),
        st.tuples(st.just("take")),
        st.tuples(st.just("cancel"), st.integers(0, 30)),
        st.tuples(st.just("wait"), st.floats(0, 5)),
    ),
    max_size=60,
)


@given(steps)
def test_every_job_leaves_exactly_once_and_batches_keep_their_bounds(script: list[tuple[object, ...]]) -> None:
    settings = SchedulerSettings(max_finals=5)
    scheduler: Scheduler[int] = Scheduler(settings)
    made: list[Job[int]] = []
    left: Counter[int] = Counter()
    now = 0.0

    def take() -> int:
        batch = scheduler.take()
        left.update(each.tag for each in batch)
        if len(batch) > 1:
            lengths = [each.seconds for each in batch]
            assert sum(each.rows for each in batch) <= settings.max_rows
            assert max(lengths) * len(batch) <= settings.max_seconds
            assert len({each.kind for each in batch}) == 1
        return len(batch)

    for step in script:
        match step:
            case ("add", str(room), Kind() as kind, float(seconds), int(rows)):
                made.append(Job(len(made), room, kind, seconds, rows))
                left.update(each.tag for each in scheduler.add(made[-1], now))
            case ("cancel", int(index)) if index < len(made):
                left.update([made[index].tag] if scheduler.cancel(made[index]) else [])
            case ("wait", float(seconds)):
                now += seconds
                left.update(each.tag for each in scheduler.stale(now))
            case ("take",):
                take()
    while take():
        pass
    assert left == Counter(range(len(made)))
    assert len(scheduler) == 0
