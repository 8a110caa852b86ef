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
