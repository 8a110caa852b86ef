"""A client's data channel: text both ways, bounded both ways. We may speak before it is open, and it may never be.

The client opens it (RFC 8832); which one is ours is told by its label. What it says comes out as it is: text, or bytes
that nobody asked for.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable

from aiortc import RTCDataChannel

MAX_PENDING = 256
"""Messages kept until the channel is open; what comes after them is dropped and counted."""

MAX_UNSENT = 256 * 1024
"""Bytes that wait for a client which does not take them."""

MAX_STRAYS = 16
"""Channels of other labels that are closed one by one; who opens more is let go."""


class Channel:
    """There before its connection is: `send` at any time."""

    def __init__(self, label: str, on_open: Callable[[], None], on_message: Callable[[str | bytes], None]) -> None:
        """`on_open` is called before anything is sent, so that it may send the first words."""
        self._label = label
        self._on_open = on_open
        self._on_message = on_message
        self._raw: RTCDataChannel | None = None
        self._pending: deque[str] = deque()
        self._sent = asyncio.Event()
        self._strays = 0
        self.dropped = 0
        """Messages that did not fit while it was not open, or when it opened."""

    def adopt(self, raw: RTCDataChannel) -> bool:
        """The client has opened one; if it is not ours, it is closed. False: it has opened too many of those."""
        if raw.label != self._label or self._raw is not None:
            self._strays += 1
            raw.close()
            return self._strays <= MAX_STRAYS
        self._raw = raw
        raw.on("message", self._on_message)
        raw.on("bufferedamountlow", self._sent.set)
        raw.on("close", self._sent.set)
        self._on_open()
        while self._pending:
            self.dropped += not self.send(self._pending.popleft())
        return True

    def send(self, text: str) -> bool:
        """Say something, now or as soon as the channel is open. False: the client has not read for too long."""
        if self._raw is None:
            if len(self._pending) < MAX_PENDING:
                self._pending.append(text)
            else:
                self.dropped += 1
            return True
        if self._raw.readyState == "open":
            if self._raw.bufferedAmount > MAX_UNSENT:
                return False
            self._sent.clear()
            self._raw.send(text)
        return True

    async def flush(self, patience: float) -> None:
        """Wait until all of it has been sent once, or the channel is closed, at most so many seconds."""
        if self._raw is None or self._raw.readyState != "open" or not self._raw.bufferedAmount:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience):
                await self._sent.wait()
