"""How far an engine is: warming up, ready, or of no use any more."""

import asyncio
import logging
import time
from typing import Literal

from models.base import EngineBroken

State = Literal["warming", "ready", "failed"]

log = logging.getLogger(__name__)

MISTAKE = "It made a mistake that should not happen. The server's log has it."
"""What people are told of an engine that raised what it may not."""

FIRST_ESTIMATE = 0.02
"""Progress from which on the time that is left can be told."""


class Readiness:
    """What is shown of an engine's state; its owner moves it on."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._loading_since: float | None = None  # clock seconds
        self._loading = (0.0, "")  # one object, so that a thread may put another in its place
        self.state: State = "warming"
        self.error = ""
        """Why the state is `failed`."""
        self.settled = asyncio.Event()
        """It is warming no more."""
        self.broken = asyncio.Event()
        """It was ready, and nothing will work any more."""

    @property
    def progress(self) -> float:
        """How far loading is, in [0, 1]."""
        return self._loading[0]

    @property
    def doing(self) -> str:
        """What loading does now, in a few words; empty if it does not say."""
        return self._loading[1]

    def eta(self) -> float | None:
        """Seconds until it is ready, as far as the progress so far lets us tell."""
        progress = self.progress
        if self._loading_since is None or progress < FIRST_ESTIMATE:
            return None
        return (time.monotonic() - self._loading_since) * (1 - progress) / progress

    def give_up(self, error: EngineBroken) -> None:
        """Nothing works any more, as the engine itself says."""
        if self.state != "failed":
            self._fail(str(error), "broke")
            self.broken.set()

    def _begin(self) -> None:
        self._loading_since = time.monotonic()

    def _progressed(self, fraction: float, doing: str) -> None:
        """From the loading thread."""
        self._loading = (min(1.0, max(0.0, fraction)), doing)

    def _succeed(self) -> None:
        self.state = "ready"
        self.settled.set()
        log.info("engine %s is ready", self._name)

    def _fail(self, why: str, how: str = "did not load") -> None:
        self.state, self.error = "failed", why
        self.settled.set()
        log.error("engine %s %s: %s", self._name, how, why)
