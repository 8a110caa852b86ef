"""One timer for all voices and reports of a room, on a real loop."""

import asyncio
import contextlib
import math
from collections import Counter
from collections.abc import AsyncIterator, Callable

import pytest

from rtc import ticker as module
from rtc.stats import Stats
from rtc.ticker import MAX_BEHIND, PTIME, REPORT_INTERVAL, REPORT_SLICE, Ticker


@contextlib.asynccontextmanager
async def running(stats: Stats | None = None) -> AsyncIterator[Ticker]:
    """A ticker that is at work, and gone at the end."""
    ticker = Ticker(stats or Stats())
    task = asyncio.create_task(ticker.run())
    try:
        yield ticker
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(look: Callable[[], object]) -> None:
    """Let the loop turn until it is true; the test's time limit ends one that never is."""
    while not look():  # noqa: ASYNC110  # the loop has no event for being idle
        await asyncio.sleep(0)


def speaker(times: int, said: list[float]) -> Callable[[float], bool]:
    """A voice with so many packets to send."""

    def voice(now: float) -> bool:
        said.append(now)
        return len(said) < times

    return voice


def timers() -> int:
    """What the loop has to wake up for."""
    loop = asyncio.get_running_loop()
    return sum(not handle.cancelled() for handle in loop._scheduled)


class Clock:
    """Stands in for `time` in the ticker: goes on only when told."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


# voices


async def test_a_voice_speaks_until_it_has_said_everything() -> None:
    """Not once more; and later it can speak again."""
    said: list[float] = []
    async with running() as ticker:
        for times in (3, 5):
            ticker.play(speaker(times, said))
            await until(lambda times=times: len(said) == times)
        await until(lambda: not timers())
    assert len(said) == 5 and said == sorted(said)


async def test_many_voices_have_one_timer() -> None:
    """All of them speak in the same tick, and no voice has a task or a timer of its own."""
    said: list[list[float]] = [[] for _ in range(50)]
    async with running() as ticker:
        await asyncio.sleep(0)
        tasks = len(asyncio.all_tasks())
        for one in said:
            ticker.play(speaker(4, one))
        await until(lambda: len(said[-1]) == 2)
        assert len(asyncio.all_tasks()) == tasks
        await until(timers)
        assert timers() == 1
        await until(lambda: len(said[-1]) == 4)
    assert all(one == said[0] for one in said)


async def test_a_voice_that_is_played_twice_speaks_once() -> None:
    said: list[float] = []
    voice = speaker(4, said)
    async with running() as ticker:
        ticker.play(voice)
        ticker.play(voice)
        await until(lambda: len(said) == 4)
    assert len(set(said)) == 4


async def test_a_voice_that_fails_silences_nobody_else(caplog: pytest.LogCaptureFixture) -> None:
    """It is told with its traceback, and not called again."""
    said: list[float] = []
    calls: list[float] = []

    def broken(now: float) -> bool:
        calls.append(now)
        raise RuntimeError("no voice")

    async with running() as ticker:
        ticker.play(broken)
        ticker.play(speaker(4, said))
        await until(lambda: len(said) == 4)
    assert len(calls) == 1
    (record,) = caplog.records
    assert (record.levelname, record.name) == ("ERROR", "rtc.ticker")
    assert record.exc_info is not None and str(record.exc_info[1]) == "no voice"


async def test_a_silenced_voice_is_never_called_again() -> None:
    """Not even in the tick in which another one silences it."""
    silenced: list[float] = []
    said: list[float] = []
    voice = speaker(1000, silenced)

    async with running() as ticker:

        def first(now: float) -> bool:
            ticker.silence(voice)
            ticker.silence(voice)
            said.append(now)
            return len(said) < 4

        ticker.play(first)
        ticker.play(voice)
        await until(lambda: len(said) == 4)
    assert silenced == []


async def test_nothing_runs_while_nobody_speaks() -> None:
    """No timer before the first word or after the last, and none for people who have gone."""
    said: list[float] = []
    stats = Stats()
    async with running(stats) as ticker:
        for _ in range(10):
            await asyncio.sleep(0)
        assert timers() == 0
        ticker.play(speaker(2, said))
        await until(lambda: len(said) == 2)
        await until(lambda: not timers())
        assert sum(stats.ticks) == 2


async def test_lateness_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stalled loop shows, and for how long it stood; what was missed is made up for, but no more of it than anybody
    would still want to hear."""
    clock, stats = Clock(), Stats()
    monkeypatch.setattr(module, "time", clock)
    calls = 0
    done = asyncio.Event()
    made_up = round(MAX_BEHIND / PTIME) + 1  # those that are late, and the one that is due

    def voice(now: float) -> bool:
        nonlocal calls
        calls += 1
        if calls < 3:
            clock.now += PTIME
        elif calls == 3:
            clock.now += 20 * PTIME
        if calls < 3 + made_up:
            return True
        done.set()
        return False

    async with running(stats) as ticker:
        ticker.play(voice)
        await done.wait()
    assert list(stats.lateness) == pytest.approx([0, 0, 0, 0.38, 0.08, 0.06, 0.04, 0.02, 0], abs=1e-6)
    assert stats.lateness_sum == pytest.approx(0.58)


@pytest.mark.parametrize("steps", range(8))
async def test_cancelled_it_leaves_nothing(steps: int) -> None:
    """Wherever it is: no task, no timer, and nobody is called any more."""
    before = asyncio.all_tasks()
    said: list[float] = []
    async with running() as ticker:
        ticker.play(speaker(1000, said))
        ticker.report(said.append)
        for _ in range(steps):
            await asyncio.sleep(0)
    assert asyncio.all_tasks() == before and timers() == 0
    count = len(said)
    ticker.play(speaker(1000, said))
    for _ in range(5):
        await asyncio.sleep(0)
    assert len(said) == count


# reports


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> float:
    """Reports a hundred times as often; how many times."""
    monkeypatch.setattr(module, "REPORT_INTERVAL", REPORT_INTERVAL / 100)
    monkeypatch.setattr(module, "REPORT_SLICE", REPORT_SLICE / 100)
    return 100.0


@pytest.mark.parametrize("people", [1, 7, 100])
async def test_reports_are_spread_over_their_interval(quick: float, people: int) -> None:
    """Everybody has their turn before anybody has two, and never many at once."""
    calls: list[tuple[float, int]] = []
    async with running() as ticker:
        for person in range(people):
            ticker.report(lambda now, person=person: calls.append((now, person)))
        await until(lambda: len(calls) >= 3 * people)
    assert [person for _, person in calls[: 3 * people]] == list(range(people)) * 3
    at_once = Counter(now for now, _ in calls)
    assert max(at_once.values()) <= math.ceil(people * REPORT_SLICE / REPORT_INTERVAL)


async def test_who_is_forgotten_is_not_reported_to(quick: float) -> None:
    """Not even if another's report says that they are gone; and when all are, no timer is left."""
    calls: Counter[str] = Counter()
    async with running() as ticker:

        def eva(now: float) -> None:
            calls["eva"] += 1

        def ana(now: float) -> None:
            calls["ana"] += 1
            ticker.forget(eva)
            ticker.forget(eva)

        ticker.report(ana)
        ticker.report(eva)
        await until(lambda: calls["ana"] == 4)
        ticker.forget(ana)
        await until(lambda: not timers())
    assert calls == {"ana": 4}


async def test_who_comes_later_is_reported_to_as_well(quick: float) -> None:
    """Also after everybody had gone."""
    calls: Counter[str] = Counter()
    async with running() as ticker:

        def ana(now: float) -> None:
            calls["ana"] += 1
            ticker.forget(ana)

        for times in (1, 2):
            ticker.report(ana)
            await until(lambda times=times: calls["ana"] == times)
            await until(lambda: not timers())


async def test_a_report_that_fails_ends_nobody_else_s(quick: float, caplog: pytest.LogCaptureFixture) -> None:
    calls: Counter[str] = Counter()

    def broken(now: float) -> None:
        calls["broken"] += 1
        raise RuntimeError("no report")

    def ana(now: float) -> None:
        calls["ana"] += 1

    async with running() as ticker:
        ticker.report(broken)
        ticker.report(ana)
        await until(lambda: calls["ana"] == 3)
    assert calls["broken"] == 1
    assert [str(record.exc_info[1]) for record in caplog.records if record.exc_info] == ["no report"]
