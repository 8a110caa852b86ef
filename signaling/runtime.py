"""What every process of ours begins with: a log and an event loop."""

import asyncio
import logging
from collections.abc import Callable


def log_to_stderr(who: str = "") -> None:
    """`who`: which process says it, where there are several."""
    mark = f"{who} " if who else ""
    logging.basicConfig(level=logging.INFO, format=f"%(asctime)s %(levelname).1s {mark}%(name)s: %(message)s")
    logging.getLogger("aioice").setLevel(logging.WARNING)


def event_loop() -> Callable[[], asyncio.AbstractEventLoop]:
    """uvloop where it is installed: it takes half as long to come round. Media need one that can watch a socket, which
    the usual one of Windows cannot."""
    try:
        import uvloop
    except ImportError:
        return asyncio.SelectorEventLoop
    return uvloop.new_event_loop
