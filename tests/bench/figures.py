"""How a bench says a figure: a row to read, and a line of JSON to follow over time.

`JSON=FILE` in the environment appends `{"figure", "value", "unit", "goal", "met"}` for each figure.
"""

import json
import os
from collections.abc import Sequence
from pathlib import Path


def record(figure: str, value: float, unit: str, goal: str = "", met: bool | None = None) -> None:
    """Print one figure, and keep it if a file was asked for. `met` is None where there is no goal."""
    verdict = "" if met is None else ("  met" if met else "  NOT met")
    print(f"{figure:<44} {value:>10.3f} {unit:<6} {goal:<14}{verdict}")
    if path := os.environ.get("JSON"):
        line = {"figure": figure, "value": round(value, 4), "unit": unit, "goal": goal, "met": met}
        with Path(path).open("a") as file:
            file.write(json.dumps(line) + "\n")


def percentile(values: Sequence[float], fraction: float) -> float:
    """Nearest rank."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, round(fraction * (len(ordered) - 1)))]
