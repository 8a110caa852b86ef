"""Datagrams that come to one socket: each at once while they are few, some milliseconds' together while they are many.

Waking up for a datagram, in the system and here, costs twice what is then done with it. Network drivers have the same
trouble and the same way out: below some rate each packet interrupts them, above it they look now and then what has come
(Mogul and Ramakrishnan 1997, "Eliminating receive livelock in an interrupt-driven kernel"; in Linux, NAPI). Ten voices
forwarded this way cost a quarter less, forty a third less, and each packet is 3 ms later on average.
"""

import asyncio
import contextlib
import ctypes
import logging
import socket
from collections.abc import Callable
from typing import Any

from pylibsrtp._binding import ffi

from rtc.batch import STRIDE, Messages, pythonic, system_call, together

log = logging.getLogger(__name__)

SHORTEST, LONGEST = 0.005, 0.008
"""Seconds between two looks: what it takes for two to come, within these bounds. A usual packet has 20 ms of sound."""

MANY, FEW = 225, 190
"""Datagrams a second from which on, and below which no longer, they are gathered: five voices are just more. With fewer
most looks would be for nothing."""

LOOKS = 32
"""Between two decisions which it is."""

SIZE = 64
"""Datagrams that are taken at once. If more have come, others on the loop have their turn before the rest."""

MAX_KNOWN = 4096
"""Addresses whose Python form is remembered: twice `rtc.ports.SHARE` times `rtc.ports.MAX_ADDRESSES`."""


class Arrivals:
    """Of one socket."""

    def __init__(self, sock: socket.socket, on_datagram: Callable[[bytes, tuple[Any, ...]], None]) -> None:
        """Reads from now on. `sock`: UDP, not blocking; `close` closes it. `on_datagram` gets each, with its sender's
        address as Python's sockets have it. The event loop must have `add_reader`."""
        self._socket = sock
        self._on_datagram = on_datagram
        self._loop = asyncio.get_running_loop()
        self._recvmmsg = system_call("recvmmsg", ctypes.c_void_p)
        messages = self._messages = Messages(SIZE, sock.family)
        self._names = ffi.new("unsigned char[]", SIZE * messages.name_length)
        self._addresses = ffi.buffer(self._names)
        start = int(ffi.cast("uintptr_t", self._names))
        for index in range(SIZE):
            messages.names[index] = start + messages.name_length * index
        self._known: dict[bytes, tuple[Any, ...]] = {}
        self._pause: float | None = None
        self._timer: asyncio.TimerHandle | None = None  # the next look, if they are gathered
        self._looks = self._came = 0
        self._since = self._loop.time()
        self.closed = False
        self._loop.add_reader(sock, self._look)

    @property
    def gathering(self) -> bool:
        """Whether they are many, and wait for each other."""
        return self._pause is not None

    def close(self) -> None:
        """Idempotent."""
        if self.closed:
            return
        self.closed = True
        if self._timer is None:
            self._loop.remove_reader(self._socket)
        else:
            self._timer.cancel()
        self._socket.close()

    def _look(self) -> None:
        """Take what is there."""
        taken = self._each() if self._recvmmsg is None else self._many(self._recvmmsg)
        with together:
            for data, address in taken:
                try:
                    self._on_datagram(data, address)
                except Exception:  # a bug that one datagram finds must not silence all who share the port
                    log.exception("a datagram failed")
        if self.closed:
            return
        self._looks += 1
        self._came += len(taken)
        if self._looks == LOOKS:
            now = self._loop.time()
            self._pause = pause(self._came / max(now - self._since, SHORTEST), self.gathering)
            self._looks, self._came, self._since = 0, 0, now
        if self._pause is not None:
            if self._timer is None:
                self._loop.remove_reader(self._socket)
            self._timer = self._loop.call_later(self._pause if len(taken) < SIZE else 0, self._look)
        elif self._timer is not None:
            self._timer = None
            self._loop.add_reader(self._socket, self._look)

    def _many(self, recvmmsg: Callable[..., int]) -> list[tuple[bytes, tuple[Any, ...]]]:
        """By one system call. Of what is longer than STRIDE the beginning: nobody takes so long a datagram."""
        messages, addresses, known = self._messages, self._addresses, self._known
        count, width = recvmmsg(self._socket.fileno(), messages.first, SIZE, 0, None), messages.name_length
        taken = []
        for index, size in enumerate(messages.received[: max(0, count)]):
            start = STRIDE * index
            name = addresses[width * index : width * (index + 1)]
            taken.append((messages.bytes[start : start + size], known.get(name) or self._know(name)))
        return taken

    def _know(self, name: bytes) -> tuple[Any, ...]:
        if len(self._known) == MAX_KNOWN:
            self._known.clear()
        address = self._known[name] = pythonic(name)
        return address

    def _each(self) -> list[tuple[bytes, tuple[Any, ...]]]:
        """By one system call for each."""
        taken: list[tuple[bytes, tuple[Any, ...]]] = []
        with contextlib.suppress(OSError):  # there are no more, or one that we sent came back
            while len(taken) < SIZE:
                taken.append(self._socket.recvfrom(STRIDE))
        return taken


def pause(rate: float, gathering: bool) -> float | None:
    """Seconds between two looks, at so many datagrams a second; None: they are few. `gathering`: whether they were many
    until now."""
    if rate < (FEW if gathering else MANY):
        return None
    return min(max(SHORTEST, 2 / rate), LONGEST)
