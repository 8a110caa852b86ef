"""Datagrams that leave one socket together, in one system call (sendmmsg(2)) where there is one.

What is to be sent is written where it will be sent from; SRTP works on it there. It leaves at once, or at the end of
`with together`. To sixty listeners of one voice that costs a quarter less than sixty calls of `sendto`, and the
interpreter's lock is let go once, not sixty times: each time another thread may keep it for 5 ms.
"""

import ctypes
import errno
import socket
import struct
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from pylibsrtp._binding import ffi

SIZE = 128
"""Datagrams."""
STRIDE = 2048
"""Bytes for each: an Ethernet frame's worth, and room for SRTP's trailer."""
MAX_DATAGRAM = 1500
"""Bytes: nothing longer arrives whole on an Internet path, and nothing of audio needs it."""

MSGHDR = struct.Struct("@PI4xPNPNi4xI4x")
"""`struct mmsghdr` of 64-bit Linux: address and its length, vector and its length, control data and its length, flags;
bytes sent or received."""


def system_call(name: str, *further: type) -> Callable[..., int] | None:
    """sendmmsg(2) or recvmmsg(2), where they are and know `MSGHDR`. `further`: ctypes of what the latter takes more."""
    if sys.platform != "linux" or struct.calcsize("P") != 8:
        return None
    function = getattr(ctypes.CDLL(None, use_errno=True), name, None)
    if function is not None:
        function.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int, *further)
    return function


class Messages:
    """Datagrams in one memory, `STRIDE` bytes apart, as the kernel is told of them."""

    def __init__(self, count: int, family: int) -> None:
        """`family`: of the socket, AF_INET or AF_INET6. The addresses are still to be set."""
        self.memory = ffi.new("unsigned char[]", count * STRIDE)
        self.bytes = ffi.buffer(self.memory)
        self.vectors = bytearray(16 * count)  # struct iovec
        self.headers = bytearray(MSGHDR.size * count)
        self._held = [(ctypes.c_char * len(own)).from_buffer(own) for own in (self.vectors, self.headers)]
        vectors, self.first = map(ctypes.addressof, self._held)
        """Where the headers are, for the kernel."""
        start = int(ffi.cast("uintptr_t", self.memory))
        self.name_length = 28 if family == socket.AF_INET6 else 16
        """Bytes of an address."""
        for index in range(count):
            struct.pack_into("@PN", self.vectors, 16 * index, start + STRIDE * index, STRIDE)
            header = (0, self.name_length, vectors + 16 * index, 1, 0, 0, 0, 0)
            MSGHDR.pack_into(self.headers, MSGHDR.size * index, *header)
        self.names = memoryview(self.headers).cast("P")[:: MSGHDR.size // 8]
        """Where the address of each is."""
        self.received = memoryview(self.headers).cast("I")[MSGHDR.size // 4 - 2 :: MSGHDR.size // 4]
        """Bytes of each that came."""


class Address:
    """Where datagrams go, as Python and as the kernel have it (`struct sockaddr_in`, `struct sockaddr_in6`)."""

    def __init__(self, address: tuple[Any, ...]) -> None:
        """`address`: (host, port), the host a number; with a scope (`%eth0`) if the address is link-local. Raises
        OSError, ValueError or struct.error if it is none."""
        host, port = address[:2]
        self.pair = (host, port)
        if ":" in host:
            host, _, scope = host.partition("%")
            digits = scope.isascii() and scope.isdigit()
            index = int(scope) if digits else socket.if_nametoindex(scope) if scope else 0
            family, rest = socket.AF_INET6, struct.pack("!HI16s", port, 0, socket.inet_pton(socket.AF_INET6, host))
            rest += struct.pack("=I", index)
        else:
            family, rest = socket.AF_INET, struct.pack("!H4s8x", port, socket.inet_pton(socket.AF_INET, host))
        raw = struct.pack("=H", family) + rest
        self.length = len(raw)
        self._raw = ctypes.create_string_buffer(raw, len(raw))
        self.pointer = ctypes.addressof(self._raw)


def pythonic(raw: bytes) -> tuple[Any, ...]:
    """The way back, as Python's sockets have it: (host, port), of IPv6 also flow and scope."""
    (port,) = struct.unpack_from("!H", raw, 2)
    if len(raw) == 16:
        return socket.inet_ntop(socket.AF_INET, raw[4:8]), port
    (flow,), (scope,) = struct.unpack_from("!I", raw, 4), struct.unpack_from("=I", raw, 24)
    return socket.inet_ntop(socket.AF_INET6, raw[8:24]), port, flow, scope


NOWHERE = Address(("0.0.0.0", 0))


class Together:
    """`with together:` what is posted meanwhile leaves at the end. May be nested; for the event loop's thread only."""

    def __init__(self) -> None:
        self.depth = 0
        self.waiting: list[Batch] = []
        """Those that are to be flushed."""

    def __enter__(self) -> None:
        self.depth += 1

    def __exit__(self, *exception: object) -> None:
        self.depth -= 1
        if not self.depth:
            for batch in self.waiting:
                batch.flush()
            self.waiting.clear()


together = Together()


class Batch:
    """Of one socket."""

    def __init__(self, sock: socket.socket) -> None:
        """`sock`: UDP, not blocking; it stays its owner's to close."""
        self._socket = sock
        messages = self._messages = Messages(SIZE, sock.family)
        self.bytes = messages.bytes
        """The memory of all datagrams."""
        self.pointers = [messages.memory + STRIDE * index for index in range(SIZE)]
        """Where each is, for libsrtp."""
        self.count = 0
        """Datagrams that wait; the next is written at `count * STRIDE`."""
        self.lost = 0
        """Datagrams that the system would not take: its buffer was full, its network is gone, or there is no such
        address."""
        self._to: list[Address] = [NOWHERE] * SIZE
        self.lengths = memoryview(messages.vectors).cast("P")[1::2]
        """Bytes of each …"""
        self.all_lengths = np.frombuffer(messages.vectors, np.uintp)[1::2]
        """… and the same for many at once."""
        self._first = messages.first
        self._names = messages.names
        self._all_names = np.frombuffer(messages.headers, np.uintp)[:: MSGHDR.size // 8]  # the same, for many at once
        self._rows = np.frombuffer(self.bytes, np.uint8).reshape(SIZE, STRIDE)
        self._sendmmsg = system_call("sendmmsg")

    def post(self, size: int, to: Address) -> None:
        """The next datagram is written, so many bytes: it goes to `to`."""
        if not together.depth:
            self._send(0, size, to)
            return
        count = self.count
        self.lengths[count] = size
        self._names[count] = to.pointer
        self._to[count] = to  # it must outlive the call
        self.count = count + 1
        if not count:
            together.waiting.append(self)
        elif self.count == SIZE:
            self.flush()

    def sendto(self, data: bytes, address: tuple[Any, ...]) -> None:
        """Send a datagram that is written elsewhere, now. What is no address, as others' candidates may be, is lost as
        what cannot be sent; it is not looked up as if it were a name."""
        try:
            self._socket.sendto(data, Address(address).pair)
        except (OSError, ValueError, struct.error):
            self.lost += 1

    def flush(self) -> None:
        """Send what waits, now."""
        count, self.count = self.count, 0
        self.send(0, count, self._to)

    def lay(self, heads: npt.NDArray[np.uint8], payload: bytes, names: npt.NDArray[np.uint64]) -> None:
        """Write datagrams from the first place on, without posting them: those `heads` (one each, of the same length),
        each followed by `payload`, for the addresses with these pointers. What waited there leaves before."""
        self.flush()
        count, size = heads.shape
        self._rows[:count, :size] = heads
        self._rows[:count, size : size + len(payload)] = np.frombuffer(payload, np.uint8)
        self._all_names[:count] = names

    def send(self, first: int, end: int, to: Sequence[Address]) -> None:
        """Send the datagrams from `first` until before `end`, whose `lengths` are set, now. `to`: whose each place is,
        from the first on."""
        if self._sendmmsg is None or end - first == 1:
            for index in range(first, end):
                self._send(index * STRIDE, self.lengths[index], to[index])
            return
        while first < end:
            sent = self._sendmmsg(self._socket.fileno(), self._first + MSGHDR.size * first, end - first, 0)
            if sent > 0:
                first += sent
            elif ctypes.get_errno() in (errno.EAGAIN, errno.EBADF):
                self.lost += end - first
                return
            else:  # one that cannot be sent: those after it may
                self.lost += 1
                first += 1

    def _send(self, start: int, size: int, to: Address) -> None:
        try:
            self._socket.sendto(self.bytes[start : start + size], to.pair)
        except OSError:
            self.lost += 1
