"""How often is often enough."""

from rtc.allowance import Allowance


def test_so_many_at_once_and_then_so_many_a_second() -> None:
    allowance = Allowance(100, 64)
    assert sum(allowance.take(5.0) for _ in range(100)) == 64
    assert allowance.excessive == 36
    assert sum(allowance.take(5.0 + 0.001 * step) for step in range(1, 1001)) == 100


def test_who_waits_has_no_more_than_at_first() -> None:
    allowance = Allowance(100, 64)
    assert sum(allowance.take(1000.0) for _ in range(100)) == 64
    assert sum(allowance.take(9000.0) for _ in range(100)) == 64


def test_a_burst_passes_and_then_the_rate_holds() -> None:
    """Three at once, then one each half second."""
    allowance = Allowance(rate=2, burst=3)
    assert [allowance.take(0.0) for _ in range(4)] == [True, True, True, False]
    assert not allowance.take(0.4)
    assert allowance.take(0.6)
    assert not allowance.take(0.7)


def test_what_costs_more_leaves_less_for_others() -> None:
    """Three at the price of one each, or one at the price of three; what cannot be paid costs nothing."""
    allowance = Allowance(rate=2, burst=3)
    assert not allowance.take(0.0, cost=3.5)
    assert allowance.take(0.0, cost=2.5)
    assert not allowance.take(0.0)
    assert allowance.take(0.5)


def test_a_long_pause_does_not_save_up_more_than_a_burst() -> None:
    """After an hour it is three again."""
    allowance = Allowance(rate=2, burst=3)
    assert [allowance.take(3600.0) for _ in range(4)] == [True, True, True, False]


def test_without_a_rate_there_is_a_burst_and_no_more() -> None:
    allowance = Allowance(rate=0, burst=2)
    assert [allowance.take(now) for now in (5.0, 5.0, 5.0, 9999.0)] == [True, True, False, False]
