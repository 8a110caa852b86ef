"""One packet to many listeners, in one piece of work.

Of what a packet costs for each who hears it, Python's part is mostly memory that the processor has not seen since the
packet before. So those behind one socket whose streams run smoothly are rows of a table, a `Cohort`: all headers are
written at once, each row is protected where it will be sent from, and one system call sends them. What a listener's
slot has to know of all this (counters, what it sent last, what may be asked for again) it looks up when it is asked.
"""

from collections import deque
from collections.abc import Callable, Mapping
from itertools import islice
from typing import Any, NamedTuple, Protocol

import numpy as np
from pylibsrtp import Session
from pylibsrtp._binding import ffi, lib

from rtc.batch import MAX_DATAGRAM, SIZE, Address, Batch
from rtc.retransmission import HISTORY
from rtc.rtp import HEADER_SIZE, Packet
from rtc.slots import StreamKey

MAX_PAYLOAD = MAX_DATAGRAM - HEADER_SIZE
"""Bytes."""

_HEAD = np.dtype([("flags", "u1"), ("kind", "u1"), ("sequence", ">u2"), ("timestamp", ">u4"), ("ssrc", ">u4")])
"""RFC 3550 §5.1, without extension and contributing sources."""

_protect = lib.srtp_protect
_length = ffi.new("int *")


class Lane(NamedTuple):
    """How packets leave a connection, for who writes those of many at once. Good while `nominated`
    has `pair`: then ICE has not nominated another one, and the connection is not closed."""

    batch: Batch
    address: Address
    session: Session
    """Whose handle dies with it."""
    handle: Any
    """libsrtp's."""
    nominated: Mapping[int, Any]
    """What ICE has nominated, by component."""
    pair: Any


class Row(NamedTuple):
    """What a slot adds to a source's numbers; its own fields."""

    payload_type: int
    sequence: int
    timestamp: int
    ssrc: int


class Outlet(Protocol):
    """Where a listener hears a stream: a slot of theirs, or a place in their mix."""

    mid: str
    dropped: int
    fraction_lost: float

    @property
    def packets(self) -> int:
        """Sent, or heard."""

    def carry(self, key: StreamKey) -> None:
        """From now on packets of this stream come."""

    def switch(self) -> None:
        """The next packet comes after a gap on purpose."""

    def send(self, packet: Packet, now: float) -> None:
        """Never blocks. `now`: clock seconds."""

    def join(self, cohort: Callable[[Lane], "Cohort"]) -> bool:
        """Whether the following packets may come by the cohort of their lane, and not by `send`."""

    def leave(self) -> None:
        """They come by `send` again."""

    def stats(self) -> dict[str, float | None]:
        """What was sent, and what the listener says of it, for operators."""

    def rtp_time(self, timestamp: int, now: float) -> int | None:
        """The RTP time at which the listener gets the packet with the stream's `timestamp`, if that can be said."""


class Cohort:
    """Those of a stream's listeners who are behind one socket. One packet after the other; none that came late."""

    def __init__(self, batch: Batch, left: Callable[[Outlet], None]) -> None:
        """`left` is told who is not here any more."""
        self._batch = batch
        self._left = left
        self._members: dict[Outlet, tuple[Lane, Row]] = {}
        self._laid_out = False
        self._recent: deque[Packet] = deque(maxlen=HISTORY)
        self.sent = self.octets = 0
        """To each; bytes of payload."""
        self.last = Packet(0, 0, 0, 0, b"")
        """The packet sent last, as it came."""
        self.sent_at = 0.0

    def __len__(self) -> int:
        return len(self._members)

    def recent(self, count: int) -> list[Packet]:
        """The last so many packets, oldest first, as far as they are kept."""
        return list(islice(self._recent, max(0, len(self._recent) - count), None))

    def enter(self, slot: Outlet, lane: Lane, row: Row) -> None:
        """From the next packet on."""
        self._members[slot] = lane, row
        self._laid_out = False

    def leave(self, slot: Outlet) -> None:
        """The next packet is not for them. They were here."""
        del self._members[slot]
        self._laid_out = False
        self._left(slot)

    def send(self, packet: Packet, now: float) -> None:
        """To everybody. Whoever cannot be reached like this leaves before, and has not been sent it."""
        if not self._laid_out:
            self._lay_out()
        self._leave([row for row, (nominated, pair) in enumerate(self._watched) if nominated.get(1) is not pair])
        self._kind[:] = self._kinds | np.uint8(packet.marker << 7)
        self._sequence[:] = self._sequences + np.uint16(packet.sequence)
        self._timestamp[:] = self._timestamps + np.uint32(packet.timestamp)
        refused: list[int] = []
        for start in range(0, len(self._heads), SIZE):
            self._batch.lay(self._heads[start : start + SIZE], packet.payload, self._names[start : start + SIZE])
            refused += self._send(start, HEADER_SIZE + len(packet.payload))
        self._leave(refused)
        self.sent += 1
        self.octets += len(packet.payload)
        self.last, self.sent_at = packet, now
        self._recent.append(packet)

    def _send(self, start: int, size: int) -> list[int]:
        """Protect and send what is laid; the rows whose SRTP session refused."""
        handles, addresses = self._handles[start : start + SIZE], self._addresses[start : start + SIZE]
        pointers, lengths, length, protect = self._batch.pointers, self._batch.lengths, _length, _protect
        refused, first = [], 0
        for index, handle in enumerate(handles):
            length[0] = size
            if protect(handle, pointers[index], length):
                refused.append(start + index)
                self._batch.send(first, index, addresses)
                first = index + 1
            else:
                lengths[index] = length[0]
        self._batch.send(first, len(handles), addresses)
        return refused

    def _leave(self, rows: list[int]) -> None:
        if rows:
            slots = list(self._members)
            for row in rows:
                slots[row].leave()
            self._lay_out()

    def _lay_out(self) -> None:
        """Whatever is the same for the next packet."""
        lanes, rows = [lane for lane, _ in self._members.values()], [row for _, row in self._members.values()]
        self._watched = [(lane.nominated, lane.pair) for lane in lanes]
        self._addresses = [lane.address for lane in lanes]
        self._handles = [lane.handle for lane in lanes]
        self._names = np.array([lane.address.pointer for lane in lanes], np.uint64)
        self._kinds = np.array([row.payload_type for row in rows], np.uint8)
        self._sequences = np.array([row.sequence & 0xFFFF for row in rows], np.uint16)
        self._timestamps = np.array([row.timestamp & 0xFFFFFFFF for row in rows], np.uint32)
        heads = np.zeros(len(rows), _HEAD)
        heads["flags"] = 0x80
        heads["ssrc"] = [row.ssrc for row in rows]
        self._kind, self._sequence, self._timestamp = heads["kind"], heads["sequence"], heads["timestamp"]
        self._heads = heads.view(np.uint8).reshape(-1, HEADER_SIZE)
        self._laid_out = True
