"""A WebRTC client that costs next to nothing: aiortc as far as the DTLS handshake, then packets by hand.

Sending is a header, `protect` and `sendto`. What comes is read only by probes; of all others the kernel counts the RTP
packets that reach their sockets, and throws them away. So the clients take next to nothing of a machine that they share
with the server, nor does the server wake them. Nothing is decoded while it runs, and all clients of a process share one
loop (`Air`). Arrivals are timed by the kernel, so reading late does not matter.

Linux only. Of aiortc's and asyncio's insides it uses `_nominated`, `_tx_srtp`, `_rx_srtp`, `_codecs`,
`_headerExtensions`, `_ssrc` and `_remove_reader`.
"""

import asyncio
import contextlib
import ctypes
import random
import select
import socket
import struct
import time
from array import array
from collections import deque
from typing import Any

from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription

from tests.bench.talk import Talk

_HEADER = struct.Struct("!BBHII")
_TIMESPEC = struct.Struct("@ll")
_SO_ATTACH_FILTER, _SO_TIMESTAMPNS, _SO_MEMINFO = 26, 35, 55  # Linux; Python has no names for them
_CONTROL = socket.CMSG_SPACE(_TIMESPEC.size)

_LOAD, _AT_LEAST, _RETURN = 0x30, 0x35, 0x06  # a byte; jump if it is that or more, else; classic BPF's
_NO_RTP = b"".join(
    struct.pack("@HBBI", *instruction)
    for instruction in (
        (_LOAD, 0, 0, 8),  # the first byte after UDP's header
        (_AT_LEAST, 0, 5, 128),  # less: STUN or DTLS (RFC 7983)
        (_AT_LEAST, 4, 0, 192),
        (_LOAD, 0, 0, 9),
        (_AT_LEAST, 1, 0, 224),
        (_AT_LEAST, 1, 0, 192),  # RTCP (RFC 5761 §4)
        (_RETURN, 0, 0, 0),
        (_RETURN, 0, 0, 0xFFFFFFFF),
    )
)
_PROGRAM = ctypes.create_string_buffer(_NO_RTP, len(_NO_RTP))
_FILTER = struct.pack("@HP", len(_NO_RTP) // 8, ctypes.addressof(_PROGRAM))
"""Lets a socket drop RTP, and count it."""
_MEMINFO = struct.Struct("@9I")

BEAT = 0.001
"""Seconds. Talkers take turns on the beats of a packet's 20 ms, as people who joined at different times do."""
BEATS = 20
READ_BEATS = 4
REPORT_INTERVAL = 2.5
"""Seconds between receiver reports; browsers take one to five for audio."""


async def _nothing(parameters: object) -> None:
    """Instead of aiortc's own sending and receiving."""


class Peer:
    """One client. Times are seconds of time.time(), as the kernel stamps packets."""

    def __init__(self, probe: bool = False) -> None:
        self.pc = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self.connected = asyncio.Event()
        self.heard = asyncio.Event()
        """Set by the first RTP packet."""
        self.offered_at = self.heard_at = 0.0
        self._read = 0  # RTP packets
        self.frames: list[tuple[float, bytes]] | None = [] if probe else None
        """(arrival, datagram) of every one, kept by a probe only."""
        self.sent_at = array("d")
        self.talk: Talk | None = None
        """What it says, over and over; nothing without."""
        self.air: Air | None = None
        """Where it lives once connected."""
        self._last_sequence = self._last_ssrc = 0

    async def offer(self, *directions: str, data_channel: bool = False) -> str:
        """An offer with one audio m-line for each direction."""
        for direction in directions:
            self.pc.addTransceiver("audio", direction=direction)
        if data_channel:
            self.pc.createDataChannel("text")
        await self.pc.setLocalDescription(await self.pc.createOffer())
        self._stand_in()
        return str(self.pc.localDescription.sdp)

    async def accept(self, answer: str) -> None:
        """The server's answer."""
        await self.pc.setRemoteDescription(RTCSessionDescription(answer, "answer"))

    async def answer(self, offer: str) -> str:
        """For a server that offers."""
        await self.pc.setRemoteDescription(RTCSessionDescription(offer, "offer"))
        answer = await self.pc.createAnswer()
        self._stand_in()
        await self.pc.setLocalDescription(answer)
        return str(self.pc.localDescription.sdp)

    def _stand_in(self) -> None:
        for transceiver in self.pc.getTransceivers():
            instance: Any = transceiver
            instance.sender.send = instance.receiver.receive = _nothing
        self._dtls: Any = self.pc.getTransceivers()[0].sender.transport
        self._dtls.on("statechange", self._on_dtls)

    def _on_dtls(self) -> None:
        if self._dtls.state == "connected":
            self._take_over()
        elif self._dtls.state in ("closed", "failed") and self.air is not None:
            self.air.remove(self)

    def _take_over(self) -> None:
        """Everything a packet needs, looked up once; the sockets are ours from here on."""
        transceiver: Any = self.pc.getTransceivers()[0]
        pair = self._dtls.transport._connection._nominated[1]
        self._address = pair.remote_addr
        self._sockets: dict[int, tuple[socket.socket, Any]] = {}  # by file descriptor, with aioice's protocol
        for protocol in self._dtls.transport._connection._protocols:  # the server may have chosen another pair
            own = protocol.transport.get_extra_info("socket")._sock
            own.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
            self._sockets[own.fileno()] = own, protocol
            if protocol is pair.protocol:
                self._sendto = own.sendto
        self._srtp = self._dtls._tx_srtp
        self._payload_type = transceiver._codecs[0].payloadType
        self._ssrc = transceiver.sender._ssrc
        self._sequence = random.randrange(0x4000)  # no early wrap-around (RFC 3711 §3.3.1)
        self._timestamp = random.getrandbits(32)
        ids = {extension.uri.rsplit(":", 1)[1]: extension.id for extension in transceiver._headerExtensions}
        elements = b""
        if "mid" in ids:
            mid = transceiver.mid.encode()
            elements += bytes([ids["mid"] << 4 | len(mid) - 1]) + mid
        self._levelled = "ssrc-audio-level" in ids
        if self._levelled:
            elements += bytes([ids["ssrc-audio-level"] << 4])
        words = -(-(len(elements) + self._levelled) // 4)
        self._padding = bytes(words * 4 - len(elements) - self._levelled)
        self._extension = struct.pack("!HH", 0xBEDE, words) + elements  # RFC 8285 §4.2
        self.connected.set()

    def send(self) -> None:
        """The next packet of its talk."""
        talk = self.talk
        if talk is None:
            return
        index = len(self.sent_at) % len(talk.packets)
        self._sequence = (self._sequence + 1) & 0xFFFF
        self._timestamp = (self._timestamp + 960) & 0xFFFFFFFF
        header = _HEADER.pack(0x90, self._payload_type, self._sequence, self._timestamp, self._ssrc) + self._extension
        if self._levelled:
            header += bytes([talk.levels[index]])
        datagram = self._srtp.protect(header + self._padding + talk.packets[index])
        self.sent_at.append(time.time())
        with contextlib.suppress(OSError):  # closed by aiortc: the connection broke, and leaves the air in a moment
            self._sendto(datagram, self._address)

    def report(self) -> None:
        """A receiver report without loss (RFC 3550 §6.4.2)."""
        if self._read:
            packet = struct.pack("!BBHI", 0x81, 201, 7, self._ssrc)
            packet += struct.pack("!IIIIII", self._last_ssrc, 0, self._last_sequence, 10, 0, 0)
            with contextlib.suppress(OSError):
                self._sendto(self._srtp.protect_rtcp(packet), self._address)

    @property
    def files(self) -> list[int]:
        """Descriptors of its sockets, once connected."""
        return list(self._sockets)

    def read(self, number: int) -> None:
        """One datagram that is there, at the socket with this descriptor."""
        own, protocol = self._sockets[number]
        data, control, _, address = own.recvmsg(2048, _CONTROL)
        if not 127 < data[0] < 192:  # STUN or DTLS (RFC 7983)
            protocol.datagram_received(data, address)
        elif not 191 < data[1] < 224:  # RTP, not RTCP (RFC 5761 §4)
            _, _, self._last_sequence, _, self._last_ssrc = _HEADER.unpack_from(data)
            self._read += 1
            seconds, nanoseconds = _TIMESPEC.unpack(control[0][2])
            arrived = seconds + nanoseconds / 1e9
            if not self.heard.is_set():
                self.heard_at = arrived
                self.heard.set()
                if self.frames is None:
                    for one, _ in self._sockets.values():
                        one.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, _FILTER)
            if self.frames is not None:
                self.frames.append((arrived, data))

    @property
    def received(self) -> int:
        """RTP packets that came."""
        return self._read + sum(_dropped(own) for own, _ in self._sockets.values())

    def payloads(self) -> list[tuple[float, bytes]]:
        """(arrival, Opus) of all that a probe kept, decrypted now."""
        result = []
        for arrived, datagram in self.frames or []:
            packet = self._dtls._rx_srtp.unprotect(datagram)
            start = 12 + 4 * (packet[0] & 15)
            if packet[0] & 16:
                start += 4 + 4 * int.from_bytes(packet[start + 2 : start + 4])
            result.append((arrived, packet[start:]))
        return result

    async def close(self) -> None:
        """Also leaves the air."""
        if self.air is not None:
            self.air.remove(self)
        await self.pc.close()


def _dropped(sock: socket.socket) -> int:
    """Packets that came and were not queued; none if it is closed."""
    if sock.fileno() < 0:
        return 0
    dropped: int = _MEMINFO.unpack(sock.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, _MEMINFO.size))[8]
    return dropped


class Air:
    """Carries the packets of all connected peers, on one beat, until cancelled."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._readers: dict[int, Peer] = {}  # by file descriptor
        self._peers: deque[Peer] = deque()  # whose turn it is to report comes first
        self._turns: list[list[Peer]] = [[] for _ in range(BEATS)]

    def add(self, peer: Peer) -> None:
        """A connected peer: from now on it is read here, and it sends on the beat that the fewest have."""
        loop: Any = asyncio.get_running_loop()
        for number in peer.files:
            loop._remove_reader(number)
            self._epoll.register(number, select.EPOLLIN)
            self._readers[number] = peer
        peer.air = self
        self._peers.append(peer)
        min(self._turns, key=len).append(peer)

    def remove(self, peer: Peer) -> None:
        """It left, or its connection broke."""
        for number in peer.files:
            if self._readers.get(number) is peer:  # else its socket was closed, and the number is another one's already
                del self._readers[number]
                with contextlib.suppress(OSError):  # closed sockets leave epoll by themselves
                    self._epoll.unregister(number)
        self._peers.remove(peer)
        next(turn for turn in self._turns if peer in turn).remove(peer)
        peer.air = None

    def read(self) -> None:
        """All that has arrived."""
        while ready := self._epoll.poll(0, 256):
            for number, _ in ready:
                self._readers[number].read(number)

    async def run(self) -> None:
        """Send, read and report. A loop that is late catches up, unless by more than a second."""
        due = time.monotonic()
        beat, reports = 0, 0.0
        while True:
            for peer in self._turns[beat % BEATS]:
                peer.send()
            if beat % READ_BEATS == 0:
                self.read()
                reports += len(self._peers) * READ_BEATS * BEAT / REPORT_INTERVAL
                while reports >= 1:
                    reports -= 1
                    self._peers[0].report()
                    self._peers.rotate(-1)
            beat += 1
            due = max(due + BEAT, time.monotonic() - 1)
            await asyncio.sleep(due - time.monotonic())
