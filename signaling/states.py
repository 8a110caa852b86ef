"""What people are told about an engine: how far it is, and when that changes."""

import asyncio
from collections.abc import Callable
from typing import Any

from rtc.readiness import Readiness

PROGRESS_INTERVAL = 0.5
"""Seconds between two messages about how far the engine is."""


def state_message(engine: Readiness, draining: bool) -> dict[str, Any]:
    """`session.state`."""
    if draining or engine.state == "ready":
        return {"type": "session.state", "state": "draining" if draining else "ready"}
    if engine.state == "failed":
        return {"type": "session.state", "state": "warming", "error": engine.error}
    eta = engine.eta()
    return {
        "type": "session.state",
        "state": "warming",
        "progress": round(engine.progress, 3),
        "doing": engine.doing,
        **({} if eta is None else {"eta_s": round(eta, 1)}),
    }


async def tell_progress(engine: Readiness, announce: Callable[[], None]) -> None:
    """Call `announce` when the engine has come further, but not too often. Never returns."""
    told = (0.0, "")
    while True:
        await asyncio.sleep(PROGRESS_INTERVAL)  # its thread may tell of progress as often as it likes
        if (now := (engine.progress, engine.doing)) != told:
            told = now
            announce()
