"""Counters and percentiles."""

from hypothesis import given
from hypothesis import strategies as st

from rtc.events import TranslationLag
from rtc.stats import Stats, percentile


def test_percentile_of_nothing_is_none() -> None:
    """Not zero: nothing was measured."""
    assert percentile([], 0.5) is None


def test_percentiles_are_values_that_were_measured() -> None:
    """Nearest rank."""
    values = [50, 10, 40, 20, 30]
    assert [percentile(values, fraction) for fraction in (0.0, 0.5, 0.75, 1.0)] == [10, 30, 40, 50]


@given(st.lists(st.integers(), min_size=1), st.floats(0, 1), st.floats(0, 1))
def test_percentiles_grow(values: list[int], low: float, high: float) -> None:
    """A higher fraction is never a lower value, and each is one of the values."""
    first, second = percentile(values, min(low, high)), percentile(values, max(low, high))
    assert first in values and second in values and first <= second


def test_only_recent_lags_are_kept() -> None:
    """A server that runs for a year does not grow, and its figures are of today."""
    stats = Stats()
    for number in range(1500):
        stats.lags.append(TranslationLag(f"seg_{number}", "p", "es", number))
    assert len(stats.lags) == 1000 and stats.lags[0].lag_ms == 500
