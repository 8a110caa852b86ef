"""One packet to many listeners, in one piece of work.

Of what a packet costs for each who hears it, Python's part is mostly memory that the processor has not seen since the
packet before. So those whose streams run smoothly are rows of a table, a `Cohort`: all headers are written at once,
each row is protected where it will be sent from, and one system call for each socket sends them. What a listener's slot
has to know of all this (counters, what it sent last, what may be asked for again) it looks up when it is asked.
"""

from collections import deque
from collections.abc import Callable, Mapping
from itertools import islice
from operator import itemgetter
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
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
_sizes = ffi.new("int[]", SIZE)
_each_size = [_sizes + index for index in range(SIZE)]
_all_sizes = np.frombuffer(ffi.buffer(_sizes), np.intc)  # what libsrtp takes and gives: bytes of each row
_pair = itemgetter(1)  # of what ICE has nominated


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

    def join(self, cohort: "Cohort") -> bool:
        """Whether the following packets come by the cohort, and not by `send`."""

    def leave(self) -> None:
        """They come by `send` again."""

    def stats(self) -> dict[str, float | None]:
        """What was sent, and what the listener says of it, for operators."""

    def rtp_time(self, timestamp: int, now: float) -> int | None:
        """The RTP time at which the listener gets the packet with the stream's `timestamp`, if that can be said."""


class Run(NamedTuple):
    """Rows that leave one socket in one system call."""

    batch: Batch
    start: int
    heads: npt.NDArray[np.uint8]
    """Their headers, one each: a part of all heads."""
    names: npt.NDArray[np.uint64]
    """Pointers to their addresses."""
    addresses: list[Address]
    handles: list[Any]
    """libsrtp's."""


class Cohort:
    """Those of a stream's listeners who are on a lane. One packet after the other; none that came late."""

    def __init__(self, left: Callable[[Outlet], None]) -> None:
        """`left` is told who is not here any more."""
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
        self._leave(self._moved())
        self._kind[:] = self._kinds | np.uint8(packet.marker << 7)
        self._sequence[:] = self._sequences + np.uint16(packet.sequence)
        self._timestamp[:] = self._timestamps + np.uint32(packet.timestamp)
        self._leave([row for run in self._runs for row in self._send(run, packet.payload)])
        self.sent += 1
        self.octets += len(packet.payload)
        self.last, self.sent_at = packet, now
        self._recent.append(packet)

    def _moved(self) -> list[int]:
        """Rows whose connection goes another way now, or none."""
        try:
            if list(map(_pair, self._nominated)) == self._pairs:
                return []
        except KeyError:  # a connection is closed
            pass
        return [row for row, pair in enumerate(self._pairs) if self._nominated[row].get(1) is not pair]

    @staticmethod
    def _send(run: Run, payload: bytes) -> list[int]:
        """Protect and send; the rows whose SRTP session refused."""
        batch, count = run.batch, len(run.handles)
        batch.lay(run.heads, payload, run.names)
        _all_sizes[:count] = HEADER_SIZE + len(payload)
        statuses = list(map(_protect, run.handles, batch.pointers, _each_size))
        batch.all_lengths[:count] = _all_sizes[:count]
        refused, first = [], 0
        if any(statuses):
            for index, status in enumerate(statuses):
                if status:
                    refused.append(run.start + index)
                    batch.send(first, index, run.addresses)
                    first = index + 1
        batch.send(first, count, run.addresses)
        return refused

    def _leave(self, rows: list[int]) -> None:
        if rows:
            for slot in [self._slots[row] for row in rows]:
                slot.leave()
            self._lay_out()

    def _lay_out(self) -> None:
        """Whatever is the same for the next packet."""
        behind: dict[Batch, list[tuple[Outlet, Lane, Row]]] = {}
        for slot, (lane, row) in self._members.items():
            behind.setdefault(lane.batch, []).append((slot, lane, row))
        members = [member for part in behind.values() for member in part]
        self._slots = [slot for slot, _, _ in members]
        lanes, rows = [lane for _, lane, _ in members], [row for _, _, row in members]
        self._nominated, self._pairs = [lane.nominated for lane in lanes], [lane.pair for lane in lanes]
        self._kinds = np.array([row.payload_type for row in rows], np.uint8)
        self._sequences = np.array([row.sequence & 0xFFFF for row in rows], np.uint16)
        self._timestamps = np.array([row.timestamp & 0xFFFFFFFF for row in rows], np.uint32)
        heads = np.zeros(len(rows), _HEAD)
        heads["flags"] = 0x80
        heads["ssrc"] = [row.ssrc for row in rows]
        self._kind, self._sequence, self._timestamp = heads["kind"], heads["sequence"], heads["timestamp"]
        bare = heads.view(np.uint8).reshape(-1, HEADER_SIZE)
        names = np.array([lane.address.pointer for lane in lanes], np.uint64)
        self._runs: list[Run] = []
        start = 0
        for batch, part in behind.items():
            for offset in range(0, len(part), SIZE):
                some = part[offset : offset + SIZE]
                end = start + len(some)
                addresses, handles = [lane.address for _, lane, _ in some], [lane.handle for _, lane, _ in some]
                self._runs.append(Run(batch, start, bare[start:end], names[start:end], addresses, handles))
                start = end
        self._laid_out = True
