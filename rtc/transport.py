"""The one file that touches aiortc's insides.

We keep aiortc for ICE, DTLS and negotiation and take the packets ourselves: a datagram is looked at where aioice gets
it from the socket, before any queue, task or thread; what we send is protected and leaves at once, or with what goes to
others (`rtc.batch`).

Private names used, all checked by `tests/rtc/test_transport.py`:

- `RTCRtpReceiver.receive`, `RTCRtpSender.send`: replaced on the instance by nothing, so that no decoder thread, no
  sender loop and no RTCP task start. `stop()` does nothing for one whose own method never ran.
- `RTCRtpSender._ssrc`: what the answer will announce; drawn anew if it is taken.
- `RTCRtpTransceiver._codecs`, `_headerExtensions`: cut down to Opus; the numbers that were negotiated.
- `RTCDtlsTransport._rx_srtp`, `_tx_srtp`: the SRTP sessions, there once DTLS is done. pylibsrtp's own methods allocate
  for each packet and raise for each that is refused; `Session._srtp` and `pylibsrtp._binding` save half of their time.
- `RTCSctpTransport._handle_data`: wrapped on the instance, since what it raises ends the DTLS transport's task;
  `_inbound_streams`, each with its `reassembly`, and `_sack_misordered`: pieces of messages, and numbers after a gap.
  `rtcsctptransport.parse_packet`, `DataChunk.user_data`, `SackChunk.gaps`.
- `RTCIceTransport._connection`: aioice's Connection. Its `_protocols` hold the sockets (`datagram_received` is replaced
  on the instance); `_nominated[1]` is the pair to send on. `data_received`, wrapped on the instance, fills `_queue`,
  from which DTLS reads; so is `check_incoming`, for what it trips over, and `_remote_candidates`, each with its
  `_network_host`, for how many there are. Whose ports those sockets are: see `rtc/ports.py`.
"""

import logging
import random
import struct
from collections.abc import Callable, Container
from typing import Any

from aiortc import RTCDtlsTransport, RTCRtpTransceiver, RTCSctpTransport
from aiortc.rtcsctptransport import DataChunk, SackChunk, parse_packet
from pylibsrtp import Session
from pylibsrtp._binding import ffi, lib

from rtc.batch import MAX_DATAGRAM, NOWHERE, STRIDE, Address, Batch
from rtc.fan_out import Lane
from rtc.ports import Place, Ports

log = logging.getLogger(__name__)

LEVEL = "urn:ietf:params:rtp-hdrext:ssrc-audio-level"
MID = "urn:ietf:params:rtp-hdrext:sdes:mid"

MAX_PIECES = 256
"""Pieces of SCTP messages that wait for others, and streams: the longest message that we announce (256 KiB) has 226.
aiortc goes through all of them for each that comes."""

MAX_ACKNOWLEDGED = 4096
"""Pieces that one packet may acknowledge beyond a gap: `rtc.channel.MAX_UNSENT` holds as many of 64 bytes. aiortc goes
through them one by one."""

MAX_UNREAD = 64
"""Datagrams that wait for DTLS. It reads each as it comes, but none before ICE has a pair, and none once it has failed.
What is lost of a handshake is sent again (RFC 9147 §5.8), and of SCTP too."""

MAX_CHECKED = 128
"""Addresses of one client that aioice keeps a candidate for, its own and those that checks came from by way of a TURN
server: it sorts all pairs for each more. On our own ports there are fewer (`rtc.ports.MAX_ADDRESSES`)."""

MAX_SOURCES = 256
"""SSRCs of one client: libsrtp keeps a stream for each as long as the connection lasts, and looks through them one by
one for each packet."""

_memory = ffi.new("unsigned char[]", 2048)  # room for SRTP's trailer
_bytes = ffi.buffer(_memory)
_length = ffi.new("int *")
_protect, _protect_rtcp = lib.srtp_protect, lib.srtp_protect_rtcp
_unprotect, _unprotect_rtcp = lib.srtp_unprotect, lib.srtp_unprotect_rtcp


def take_over(transceiver: RTCRtpTransceiver, taken_ssrcs: Container[int]) -> None:
    """Leave an m-line to us: only Opus in the answer, no thread or task of aiortc's, an SSRC of its own.

    The offer was checked to have Opus. Call it before the answer is made.
    """

    async def nothing(parameters: object) -> None:
        pass

    receiver: Any = transceiver.receiver  # mypy: methods of the instance are replaced on purpose
    sender: Any = transceiver.sender
    receiver.receive = sender.send = nothing
    while sender._ssrc in taken_ssrcs:
        sender._ssrc = new_ssrc()
    transceiver._codecs = [codec for codec in transceiver._codecs if codec.mimeType.lower() == "audio/opus"]


def share(transceiver: RTCRtpTransceiver, ports: Ports) -> None:
    """Let an m-line's transport use these ports. Call it before candidates are gathered; harmless if it was called."""
    transport: Any = transceiver.sender.transport.transport
    ports.share(transport._connection)


def new_ssrc() -> int:
    """RFC 3550 §8.1: random."""
    return random.getrandbits(32)


def payload_type(transceiver: RTCRtpTransceiver) -> int:
    """Of Opus, as negotiated."""
    number = transceiver._codecs[0].payloadType
    assert number is not None, "a negotiated codec has one"
    return int(number)


def ssrc(transceiver: RTCRtpTransceiver) -> int:
    """Ours on that m-line, as the answer announces it."""
    return int(transceiver.sender._ssrc)


def extension_id(transceiver: RTCRtpTransceiver, uri: str) -> int:
    """The number of a header extension (RFC 8285 §5); 0 if it was not negotiated."""
    return next((extension.id for extension in transceiver._headerExtensions if extension.uri == uri), 0)


def guard(sctp: RTCSctpTransport) -> None:
    """Let what is no SCTP, or no text, cost a packet and not the connection; unless it is without end.

    aiortc puts pieces of messages together for ever, whatever window it has advertised (RFC 9260 §6.1), and even pieces
    of nothing, which end an association (§6.2).
    """
    inside: Any = sctp  # mypy: a method of the instance is replaced on purpose
    handle = inside._handle_data

    async def handled(data: bytes) -> None:
        try:
            *_, chunks = parse_packet(data)
            if any(isinstance(chunk, DataChunk) and not chunk.user_data for chunk in chunks):
                raise ConnectionError("The client sends pieces of nothing.")
            sacks = [chunk for chunk in chunks if isinstance(chunk, SackChunk)]
            if sum(len(range(start, end + 1)) for sack in sacks for start, end in sack.gaps) > MAX_ACKNOWLEDGED:
                raise ValueError("It acknowledges more than was sent.")
            await handle(data)
        except ConnectionError:
            raise
        except Exception as error:  # aiortc's parser and its assertions: each of them is a bad packet
            log.info("SCTP packet refused: %r", error)
        pieces = sum(1 + len(stream.reassembly) for stream in inside._inbound_streams.values())
        if max(pieces, len(inside._sack_misordered)) > MAX_PIECES:
            raise ConnectionError("The client sends more than it may.")

    inside._handle_data = handled


class Transport:
    """Datagrams of one (bundled) transport: SRTP unwrapped on the way in, wrapped on the way out."""

    def __init__(
        self, dtls: RTCDtlsTransport, on_rtp: Callable[[bytes], None], on_rtcp: Callable[[bytes], None]
    ) -> None:
        """Takes effect at once; call it when all candidates are gathered."""
        self._dtls: Any = dtls
        self._on_rtp = on_rtp
        self._on_rtcp = on_rtcp
        connection: Any = dtls.transport._connection
        self._nominated: dict[int, Any] = connection._nominated
        self._pair: Any = None
        self._batch: Batch | None = None  # None: by way of a TURN server
        self._address = NOWHERE
        self._sender: Session | None = None
        self._sending: Any = None  # libsrtp's handles
        self._receiver: Session | None = None
        self._receiving: Any = None
        self._sources: set[bytes] = set()  # SSRCs
        self.early = self.refused = 0
        """Datagrams dropped: before DTLS was done; not authentic, replayed, too long, broken, read by nobody, or of one
        source too many."""
        self._shield(connection)
        for protocol in connection._protocols:
            self._intercept(protocol)

    def _shield(self, connection: Any) -> None:
        """Let aioice keep no more than is read, and trip over nothing, whichever socket or relay it came by."""
        keep, check = connection.data_received, connection.check_incoming

        def data_received(data: bytes, component: int) -> None:
            if connection._queue.qsize() < MAX_UNREAD:
                keep(data, component)
            else:
                self.refused += 1

        def check_incoming(message: Any, address: tuple[str, int], protocol: Any) -> None:
            known = connection._remote_candidates
            if len(known) >= MAX_CHECKED and address not in {(one._network_host, one.port) for one in known}:
                self.refused += 1
                return
            try:
                check(message, address, protocol)
            except KeyError:  # without a PRIORITY (RFC 8445 §7.1.1)
                self.refused += 1

        connection.data_received, connection.check_incoming = data_received, check_incoming

    def _intercept(self, protocol: Any) -> None:
        """RFC 7983: the first byte tells SRTP from STUN, DTLS and TURN channels, which stay aiortc's."""
        others = protocol.datagram_received

        def received(data: bytes, address: tuple[Any, ...]) -> None:
            if not data:
                return  # aiortc's DTLS task would die of it
            if 127 < data[0] < 192:
                self.received(data)
                return
            try:
                others(data, address)
            except (struct.error, UnicodeDecodeError, IndexError):  # aioice's parser, of half a STUN message
                self.refused += 1

        protocol.datagram_received = received
        if isinstance(protocol, Place):
            protocol.on_media = self.received

    def received(self, data: bytes) -> None:
        """A datagram of RTP or RTCP, as it came."""
        if self._receiver is None:
            self._receiver = self._dtls._rx_srtp
            if self._receiver is None:
                self.early += 1
                return
            self._receiving = self._receiver._srtp[0]
        # RFC 5761 §4: RTCP packet types lie where RTP payload types 64 to 95 with a marker would
        rtcp = len(data) > 1 and 191 < data[1] < 224
        source = data[4:8] if rtcp else data[8:12]
        if len(self._sources) == MAX_SOURCES and source not in self._sources:
            self.refused += 1
            return
        plain = _run(_unprotect_rtcp if rtcp else _unprotect, self._receiving, data)
        if plain is None:
            self.refused += 1
            return
        self._sources.add(source)
        if rtcp:
            self._on_rtcp(plain)
        else:
            self._on_rtp(plain)

    def send(self, packet: bytes, protect: Any = _protect) -> bool:
        """Protect and send one RTP packet now. False: not connected, or so late that SRTP refuses its number."""
        # Once for each packet and listener: `_run` and whatever can be looked up before is written out
        if self._nominated.get(1) is not self._pair:
            self._follow()
        size = len(packet)
        if self._pair is None or size > MAX_DATAGRAM:
            return False
        batch = self._batch
        if batch is None:
            return self._relay(packet, protect)
        count = batch.count
        start = count * STRIDE
        batch.bytes[start : start + size] = packet
        _length[0] = size
        if protect(self._sending, batch.pointers[count], _length):
            return False
        batch.post(_length[0], self._address)
        return True

    def send_rtcp(self, packet: bytes) -> bool:
        """The same for a compound RTCP packet."""
        return self.send(packet, _protect_rtcp)

    @property
    def lane(self) -> Lane | None:
        """The way past `send`; None while there is no connection, or where it goes by way of a TURN server."""
        if self._batch is None or self._sender is None or self._nominated.get(1) is not self._pair:
            return None
        return Lane(self._batch, self._address, self._sender, self._sending, self._nominated, self._pair)

    def _relay(self, packet: bytes, protect: Any) -> bool:
        """By way of a TURN server."""
        protected = _run(protect, self._sending, packet)
        if protected is None:
            return False
        self._pair.protocol.transport.sendto(protected, self._pair.remote_addr)
        return True

    def _follow(self) -> None:
        """ICE has nominated another pair, or the first, or none any more."""
        self.close()
        pair, self._sender = self._nominated.get(1), self._dtls._tx_srtp
        if pair is None or self._sender is None:
            return
        self._pair, self._sending = pair, self._sender._srtp[0]
        if isinstance(pair.protocol, Place):
            self._batch, self._address = pair.protocol.port.batch, Address(pair.remote_addr)

    def end(self) -> None:
        """Hand on nothing that comes. Idempotent."""
        self._on_rtp = self._on_rtcp = _nothing

    def close(self) -> None:
        """What is still sent is dropped, unless ICE nominates another pair. Idempotent."""
        self._pair = self._batch = None


def _nothing(data: bytes) -> None:
    """Instead of who took packets."""


def _run(function: Any, handle: Any, data: bytes) -> bytes | None:
    """Apply one of libsrtp's functions; None if it refuses."""
    size = len(data)
    if size > MAX_DATAGRAM:
        return None
    _bytes[0:size] = data
    _length[0] = size
    if function(handle, _memory, _length):
        return None
    plain: bytes = _bytes[0 : _length[0]]
    return plain
