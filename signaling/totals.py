"""The counters of several processes as those of one. Pure."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from prometheus_client.core import Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector, CollectorRegistry

STATES = ("failed", "draining", "warming", "ready")
"""Of engines, the most worrying first: what several have is the first of theirs."""
_QUANTILE = re.compile(r"p\d\d(_ms)?$")


def total(stats: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Of several `/v1/stats`: numbers add up, lists are joined, of a percentile the worst is given (their mean would be
    no percentile of anything), of states the worst."""
    keys = dict.fromkeys(key for one in stats for key in one)
    return {key: _merged(key, [one[key] for one in stats if one.get(key) is not None]) for key in keys}


def _merged(key: str, values: list[Any]) -> Any:
    match values:
        case []:
            return None
        case [dict(), *_]:
            return total(values)
        case [list(), *_]:
            return [item for value in values for item in value]
        case [bool() | str(), *_]:
            return min(values, key=STATES.index) if key == "state" else values[0]
        case _:
            return max(values) if _QUANTILE.search(key) else round(sum(values), 6)


class _Sum(Collector):
    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


def total_metrics(texts: Iterable[str], gone: Iterable[str] = ()) -> bytes:
    """Of several `/metrics`, in the same format. A quantile is the worst one; `…_ready` is 1 if it is everywhere.

    `gone`: the last ones of processes that say nothing now. What they counted stays, for a counter that steps back has
    started anew, as Prometheus sees it, and all of it would count again; what they had (gauges) they have no more."""
    families: dict[str, Metric] = {}
    values: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {}
    for text, lives in (*((text, True) for text in texts), *((text, False) for text in gone)):
        for family in text_string_to_metric_families(text):
            if family.type == "gauge" and not lives:
                continue
            families.setdefault(family.name, Metric(family.name, family.documentation, family.type))
            for sample in family.samples:
                key = (sample.name, tuple(sample.labels.items()))
                before = values.get(key)
                if before is None:
                    values[key] = sample.value
                    families[family.name].samples.append(sample)
                elif "quantile" in sample.labels:
                    values[key] = max(before, sample.value)
                elif sample.name.endswith("_ready"):
                    values[key] = min(before, sample.value)
                else:
                    values[key] = before + sample.value
    for family in families.values():
        family.samples = [
            sample._replace(value=values[sample.name, tuple(sample.labels.items())]) for sample in family.samples
        ]
    registry = CollectorRegistry()
    registry.register(_Sum(families.values()))
    return generate_latest(registry)
