"""The counters of a process, as JSON and for Prometheus."""

import asyncio
import itertools
from collections.abc import Iterator, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from rtc.conversation import Stage
from rtc.stats import LATENESS_BUCKETS, percentile
from rtc.streaming_translation import StreamingTranslator
from signaling.house import House
from signaling.parlour import Parlour
from signaling.participant import people


def stats(house: House) -> dict[str, Any]:
    """`/v1/stats`."""
    counted = house.stats
    lags = [lag.lag_ms for lag in counted.lags]
    return {
        "engine": {
            "name": house.engine.translator.name,
            "state": house.state,
            "pending": house.engine.pending,
            "refused": house.engine.refused,
            "failed": house.engine.failed,
            "counters": dict(house.engine.translator.counters()),
        },
        **({"dialogue": _dialogue(house.parlour)} if house.parlour is not None else {}),
        **({"streaming": _streaming(house.streaming)} if house.streaming is not None else {}),
        "ice": dict(house.ice.counters),
        "event_loop": type(asyncio.get_running_loop()).__module__.split(".")[0],
        "rooms": len(house.lobby),
        "participants": house.participants,
        "sessions": dict(counted.sessions),
        "utterances": counted.utterances,
        "segments": counted.segments,
        "speech_s": round(counted.speech_seconds, 1),
        "translations": dict(counted.translations),
        "opus_encodes": counted.opus_encodes,
        "dropped": _dropped(house),
        "ticks": {
            "count": sum(counted.ticks),
            "lateness_p50_ms": _milliseconds(percentile(counted.lateness, 0.5)),
            "lateness_p99_ms": _milliseconds(percentile(counted.lateness, 0.99)),
        },
        "lag_ms": {"count": len(lags), "p50": percentile(lags, 0.5), "p95": percentile(lags, 0.95)},
        "media": [member.media_stats() for room in house.lobby for member in people(room)],
    }


def _dialogue(parlour: Parlour) -> dict[str, Any]:
    """The voice that one can talk with."""
    return {
        **_staged(parlour.stage, parlour.taken, parlour.stage.counters()),
        "waiting": parlour.waiting,
        "refused": parlour.refused,
        "media": [talker.media_stats() for talker in parlour],
    }


def _streaming(translator: StreamingTranslator) -> dict[str, Any]:
    """The interpreter of those who are translated while they speak."""
    return _staged(translator.stage, translator.stage.taken, translator.counters())


def _staged(stage: Stage, taken: int, counters: Mapping[str, float]) -> dict[str, Any]:
    """A duplex model, and what was conducted."""
    engine = stage.engine
    return {
        "name": engine.dialogue.name,
        "state": engine.state,
        "seats": engine.dialogue.seats,
        "seats_taken": taken,
        **counters,
        "step_p50_ms": _milliseconds(percentile(stage.step_seconds, 0.5)),
        "step_p99_ms": _milliseconds(percentile(stage.step_seconds, 0.99)),
        "counters": dict(engine.dialogue.counters()),
    }


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 2)


def metrics_text(house: House) -> bytes:
    """`/metrics`, in Prometheus' text format."""
    registry = CollectorRegistry()
    registry.register(_Collector(house))
    return generate_latest(registry)


def relay_metrics_text(counters: Mapping[str, float]) -> bytes:
    """Of a process that holds no house, but the TURN server: a part of `/metrics`."""
    registry = CollectorRegistry()
    registry.register(_Relays(counters))
    return generate_latest(registry)


def _dropped(house: House) -> dict[str, int]:
    counted = house.stats
    return {
        "segments": counted.segments_dropped,
        "windows": counted.windows_dropped,
        "phrases": counted.phrases_dropped,
        "outbox": counted.outbox_dropped,
        "records": counted.records_dropped,
    }


class _Relays(Collector):
    def __init__(self, counters: Mapping[str, float]) -> None:
        self._counters = counters

    def collect(self) -> Iterator[Metric]:
        text = "Answers of TURN providers, restarts of our TURN server"
        yield _by_label("dragoman_ice", text, "counter", self._counters)


class _Collector(Collector):
    def __init__(self, house: House) -> None:
        self._house = house

    def collect(self) -> Iterator[Metric]:
        house, counted = self._house, self._house.stats
        yield GaugeMetricFamily("dragoman_rooms", "Rooms open", len(house.lobby))
        yield GaugeMetricFamily("dragoman_participants", "People in all rooms", house.participants)
        yield GaugeMetricFamily("dragoman_ready", "1 when the engine is ready", int(house.state == "ready"))
        yield GaugeMetricFamily("dragoman_engine_pending", "Engine calls under way", house.engine.pending)
        yield _by_label("dragoman_sessions", "Sessions by result", "result", counted.sessions)
        yield _by_label("dragoman_translations", "Translations by direction", "route", counted.translations)
        yield _by_label("dragoman_dropped", "What was given up, by kind", "kind", _dropped(house))
        yield CounterMetricFamily("dragoman_segments", "Segments of speech cut", counted.segments)
        yield CounterMetricFamily("dragoman_speech_seconds", "Speech in all segments", counted.speech_seconds)
        work = house.engine.translator.counters()
        yield _by_label("dragoman_engine", "What the engine did, dropped and failed, as it counts", "counter", work)
        yield from _Relays(house.ice.counters).collect()
        if house.parlour is not None:
            yield from _talk(house.parlour)
        if house.streaming is not None:
            done, taken = house.streaming.counters(), house.streaming.stage.taken
            yield GaugeMetricFamily("dragoman_streaming_seats_taken", "Speakers whom Hibiki interprets", taken)
            yield _by_label("dragoman_streaming", "Steps and frames of Hibiki, segments by their way", "counter", done)
        yield CounterMetricFamily("dragoman_opus_encodes", "Packets of translated voices encoded", counted.opus_encodes)
        yield HistogramMetricFamily(
            "dragoman_tick_lateness_seconds",
            "How late the 20 ms ticks were in which somebody was to be heard",
            buckets=_cumulative(counted.ticks),
            sum_value=counted.lateness_sum,
        )
        lags = [lag.lag_ms / 1000 for lag in counted.lags]
        lag = GaugeMetricFamily(
            "dragoman_translation_lag_seconds", "End of a phrase to its first translated packet", labels=["quantile"]
        )
        for fraction in (0.5, 0.95, 0.99):
            if (value := percentile(lags, fraction)) is not None:
                lag.add_metric([str(fraction)], value)
        yield lag


def _talk(parlour: Parlour) -> Iterator[Metric]:
    engine, done = parlour.engine, {**parlour.stage.counters(), "refused": parlour.refused}
    yield GaugeMetricFamily("dragoman_dialogue_ready", "1 when one can talk", int(engine.state == "ready"))
    yield GaugeMetricFamily("dragoman_dialogue_seats", "Conversations at once", engine.dialogue.seats)
    yield GaugeMetricFamily("dragoman_dialogue_seats_taken", "Conversations now", parlour.taken)
    yield GaugeMetricFamily("dragoman_dialogue_waiting", "People in line", parlour.waiting)
    yield _by_label("dragoman_dialogue", "Steps and frames conducted, late and lost, and refusals", "counter", done)
    work = engine.dialogue.counters()
    yield _by_label("dragoman_dialogue_engine", "What the voice did and failed, as it counts", "counter", work)


def _cumulative(counts: list[int]) -> list[tuple[str, float]]:
    """As Prometheus counts: everything up to each bound."""
    bounds = [*map(str, LATENESS_BUCKETS), "+Inf"]
    return list(zip(bounds, itertools.accumulate(map(float, counts)), strict=True))


def _by_label(name: str, text: str, label: str, values: Mapping[str, float]) -> CounterMetricFamily:
    family = CounterMetricFamily(name, text, labels=[label])
    for key, value in values.items():
        family.add_metric([key], value)
    return family
