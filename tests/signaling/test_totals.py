"""The counters of several processes as those of one."""

from signaling.totals import total, total_metrics


def stats(participants: int, state: str, p99: float | None, result: str) -> dict:
    return {
        "engine": {"name": "echo", "state": state, "pending": 1},
        "participants": participants,
        "speech_s": 0.1,
        "sessions": {result: participants},
        "ticks": {"count": 10, "lateness_p99_ms": p99},
        "lag_ms": {"count": 1, "p50": p99, "p95": p99},
        "media": [{"participant_id": f"p{participants}"}],
    }


def test_counters_add_up_and_percentiles_do_not() -> None:
    """Numbers are added, names kept, lists joined; the worst percentile and the worst state are told."""
    found = total(
        [stats(1, "ready", 2.5, "joined"), stats(2, "warming", 7.5, "moved"), stats(4, "ready", None, "joined")]
    )
    assert found == {
        "engine": {"name": "echo", "state": "warming", "pending": 3},
        "participants": 7,
        "speech_s": 0.3,
        "sessions": {"joined": 5, "moved": 2},
        "ticks": {"count": 30, "lateness_p99_ms": 7.5},
        "lag_ms": {"count": 3, "p50": 7.5, "p95": 7.5},
        "media": [{"participant_id": "p1"}, {"participant_id": "p2"}, {"participant_id": "p4"}],
    }


def test_what_only_one_has_and_what_nobody_knows() -> None:
    """The conversations are in one process; a percentile of nothing is None; of nobody there is nothing."""
    assert total([{"dialogue": {"seats": 2}}, {}]) == {"dialogue": {"seats": 2}}
    assert total([{"p50": None}, {"p50": None}]) == {"p50": None}
    assert total([]) == {}


def test_metrics_add_up() -> None:
    """In Prometheus' format, with what it says of itself; a histogram stays one."""
    one = """# HELP dragoman_sessions_total Sessions by result
# TYPE dragoman_sessions_total counter
dragoman_sessions_total{result="joined"} 3.0
# HELP dragoman_ready 1 when ready
# TYPE dragoman_ready gauge
dragoman_ready 1.0
# HELP dragoman_lag_seconds Lag
# TYPE dragoman_lag_seconds gauge
dragoman_lag_seconds{quantile="0.5"} 0.25
# HELP dragoman_late_seconds Late
# TYPE dragoman_late_seconds histogram
dragoman_late_seconds_bucket{le="0.01"} 1.0
dragoman_late_seconds_bucket{le="+Inf"} 2.0
dragoman_late_seconds_count 2.0
dragoman_late_seconds_sum 0.5
"""
    other = one.replace("3.0", "4.0").replace("ready 1.0", "ready 0.0").replace("0.25", "0.75")
    other += '# TYPE dragoman_sessions_total counter\ndragoman_sessions_total{result="moved"} 1.0\n'
    text = total_metrics([one, other]).decode()
    for line in (
        "# HELP dragoman_sessions_total Sessions by result",
        "# TYPE dragoman_sessions_total counter",
        'dragoman_sessions_total{result="joined"} 7.0',
        'dragoman_sessions_total{result="moved"} 1.0',
        "dragoman_ready 0.0",
        'dragoman_lag_seconds{quantile="0.5"} 0.75',
        'dragoman_late_seconds_bucket{le="+Inf"} 4.0',
        "dragoman_late_seconds_sum 1.0",
    ):
        assert line in text.splitlines(), text
    assert text.count("# TYPE dragoman_sessions") == 1


def test_what_was_counted_stays_when_who_counted_is_gone() -> None:
    """But not what they had."""
    told = """# TYPE dragoman_sessions_total counter
dragoman_sessions_total{result="joined"} 3.0
# TYPE dragoman_rooms gauge
dragoman_rooms 2.0
# TYPE dragoman_late_seconds histogram
dragoman_late_seconds_bucket{le="+Inf"} 2.0
dragoman_late_seconds_count 2.0
dragoman_late_seconds_sum 0.5
"""
    past = total_metrics((), ["", told]).decode()
    lines = total_metrics([told], [past, told]).decode().splitlines()
    assert {'dragoman_sessions_total{result="joined"} 9.0', "dragoman_late_seconds_sum 1.5"} <= set(lines)
    assert "dragoman_rooms 2.0" in lines
    assert "dragoman_rooms" not in past
