"""UDP ports that many connections share.

aioice opens a socket for each connection. One socket for many needs fewer descriptors and fewer holes in a firewall,
and what goes to all of its connections leaves in one system call (`rtc.batch`). Who a datagram is from is known by its
address, once that address has named a connection in a STUN request and proved to know its password (RFC 8445 §7.3).

    Ports ──► Port: a socket ──► Place: what aioice takes for its connection's own socket

Names of aioice that are not public, checked by `tests/rtc/test_ports.py`: `Connection.get_component_candidates` and
`query_consent`, which are replaced on the instance; `Connection._local_username`, `_protocols`, `_closing`,
`_nominated`; `StunProtocol`, of which a Place is one, with its `transactions`; `server_reflexive_candidate`,
`get_host_addresses`.
"""

import asyncio
import contextlib
import ipaddress
import logging
import secrets
import socket
import struct
from collections.abc import Callable, Sequence
from typing import Any

from aioice import Candidate, stun
from aioice.candidate import candidate_foundation, candidate_priority
from aioice.ice import StunProtocol, get_host_addresses, server_reflexive_candidate

from rtc.arrivals import Arrivals
from rtc.batch import Batch

log = logging.getLogger(__name__)

SHARE = 64
"""Connections of one port, while there are other ports: what waits to be read at a socket fits about 500 datagrams."""

BUFFER = 4 * 1024 * 1024
"""Bytes asked for what waits to be read; systems give less (Linux: net.core.rmem_max)."""

MAX_ADDRESSES = 32
"""From which one connection's client may send to a port; datagrams from others are strays. A client has a few, and a
few more each time it changes networks; aioice keeps and sorts a candidate for each, as long as it is connected."""

USERNAME = 0x0006


def host_addresses() -> list[str]:
    """Those on which our connections are: all of this machine's but loopback's."""
    return get_host_addresses(use_ipv4=True, use_ipv6=True)


class Place(StunProtocol):
    """One connection's part of a port."""

    def __init__(self, connection: Any, port: "Port") -> None:
        super().__init__(connection)
        self.port = port
        self.on_media: Callable[[bytes], None] = port.stray
        """Gets datagrams of SRTP and SRTCP (RFC 7983)."""
        self.addresses: set[tuple[Any, ...]] = set()
        """From which its client sends."""
        self.connection_made(_Share(self))

    def holds(self, address: tuple[Any, ...]) -> bool:
        """Whether ICE has nominated it: where we send to, and where media come from."""
        pair = self.receiver._nominated.get(1)
        return pair is not None and pair.protocol is self and pair.remote_addr == address[:2]


class _Share(asyncio.DatagramTransport):
    """What aioice sends through."""

    def __init__(self, place: Place) -> None:
        super().__init__()
        self._place = place

    def sendto(self, data: Any, addr: Any = None) -> None:
        self._place.port.batch.sendto(data, addr)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._place.port.socket.getsockname() if name == "sockname" else default

    def close(self) -> None:
        self._place.port.leave(self._place)
        asyncio.get_running_loop().call_soon(self._place.connection_lost, None)


class Port:
    """A socket, and who gets what comes to it."""

    def __init__(self, sock: socket.socket) -> None:
        """`sock`: UDP, not blocking; the last who leaves closes it."""
        self.socket = sock
        self.batch = Batch(sock)
        self.arrivals = Arrivals(sock, self.datagram_received)
        self.host, self.number = sock.getsockname()[:2]
        self.strays = 0
        """Datagrams that are nobody's."""
        self._places: dict[str, Place] = {}  # by user name fragment
        self._by_address: dict[tuple[Any, ...], Place] = {}

    def __len__(self) -> int:
        return len(self._places)

    @property
    def closed(self) -> bool:
        """Nobody is here any more, and nobody will be."""
        return self.arrivals.closed

    def enter(self, connection: Any) -> Place:
        """A place for a connection of aioice's."""
        place = self._places[connection.local_username] = Place(connection, self)
        return place

    def leave(self, place: Place) -> None:
        """Idempotent. The last one closes the socket."""
        if self._places.pop(place.receiver.local_username, None) is None:
            return
        for address in place.addresses:
            del self._by_address[address]
        if not self._places:
            self.batch.flush()
            self.arrivals.close()

    def datagram_received(self, data: bytes, address: tuple[Any, ...]) -> None:
        """As the socket has it."""
        place = self._by_address.get(address)
        first = data[0] if data else 0xFF
        if place is not None and 127 < first < 192:  # RFC 7983
            place.on_media(data)
            return
        if first < 4:
            place = self._by_stun(data, address, place)
        if place is None:
            self.stray(data)
        else:
            place.datagram_received(data, address[:2])

    def stray(self, data: bytes) -> None:
        """A datagram that is nobody's."""
        self.strays += 1

    def _by_stun(self, data: bytes, address: tuple[Any, ...], known: Place | None) -> Place | None:
        """Whose a STUN message is. A request tells by its user name; its address is its connection's from now on, if it
        was signed with that connection's password, and if it is not where another one's media come from: whoever can
        write that sender's address would take them away. A response is to who asked."""
        if data[0] & 1:  # RFC 8489 §5: a response, or an error
            number = data[8:20]
            if known is not None and number in known.transactions:
                return known
            return next((place for place in self._places.values() if number in place.transactions), None)
        place = self._places.get(username(data).partition(":")[0])
        if place is None or place is known or (known is not None and known.holds(address)):
            return place
        with contextlib.suppress(ValueError, struct.error, UnicodeDecodeError, IndexError):  # as the parser raises
            if stun.parse_message(data).check_message_integrity(place.receiver.local_password.encode()):
                if len(place.addresses) == MAX_ADDRESSES:
                    return None
                if known is not None:
                    known.addresses.discard(address)
                self._by_address[address] = place
                place.addresses.add(address)
        return place


def username(data: bytes) -> str:
    """The USERNAME of a STUN message (RFC 8489 §14.3), empty if there is none."""
    at = 20
    while at + 4 <= len(data):
        kind, size = struct.unpack_from("!HH", data, at)
        if kind == USERNAME:
            return data[at + 4 : at + 4 + size].decode(errors="replace")
        at += 4 + size + -size % 4
    return ""


class Ports:
    """All ports of a process, at each of its addresses."""

    def __init__(self, numbers: Sequence[int] = ()) -> None:
        """`numbers` of ports to use, in this order; none: whichever are free."""
        self._numbers = numbers
        self._ports: dict[str, list[Port]] = {}  # by host address

    def share(self, connection: Any) -> None:
        """Let a connection of aioice's, before it gathers candidates, use these instead of sockets of its own.
        Idempotent."""
        if "get_component_candidates" in vars(connection):
            return
        connection._local_username = secrets.token_hex(8)  # aioice's four letters may be somebody else's on the port
        relayed = connection.get_component_candidates

        async def gather(component: int, addresses: list[str], timeout: int = 5) -> list[Candidate]:
            places = [place for host in addresses if (place := self._enter(connection, component, host))]
            connection._protocols += places
            found, mapped = await asyncio.gather(
                relayed(component, [], timeout), _mapped(connection.stun_server, places, timeout)
            )
            return [*(place.local_candidate for place in places), *mapped, *found]

        connection.get_component_candidates = gather
        consent = connection.query_consent

        async def query_consent() -> None:
            if not connection._closing:  # aioice: closed just when it had connected, it would ask nobody for ever
                await consent()

        connection.query_consent = query_consent

    def _enter(self, connection: Any, component: int, host: str) -> Place | None:
        port = self._port(host)
        if port is None:
            return None
        place = port.enter(connection)
        place.local_candidate = Candidate(
            foundation=candidate_foundation("host", "udp", host),
            component=component,
            transport="udp",
            priority=candidate_priority(component, "host"),
            host=port.host,
            port=port.number,
            type="host",
        )
        return place

    def _port(self, host: str) -> Port | None:
        """One with room, or a new one, or, if no more may be opened, the emptiest; None if there is none."""
        ports = self._ports[host] = [port for port in self._ports.get(host, ()) if not port.closed]
        emptiest = min(ports, key=len, default=None)
        if emptiest is not None and len(emptiest) < SHARE:
            return emptiest
        taken = {port.number for port in ports}
        for number in [number for number in self._numbers if number not in taken] if self._numbers else (0,):
            with contextlib.suppress(OSError):  # somebody else has it, or the address is gone
                ports.append(_open(host, number))
                return ports[-1]
        if emptiest is None:
            log.warning("no UDP port is free for media on %s", host)
        return emptiest


def _open(host: str, number: int) -> Port:
    """Raises OSError."""
    ((family, _, _, _, address),) = socket.getaddrinfo(
        host, number, type=socket.SOCK_DGRAM, flags=socket.AI_NUMERICHOST | socket.AI_PASSIVE
    )
    sock = socket.socket(family, socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
        sock.bind(address)
        return Port(sock)
    except BaseException:
        sock.close()
        raise


async def _mapped(stun_server: tuple[str, int] | None, places: Sequence[Place], timeout: float) -> list[Candidate]:
    """Server-reflexive candidates (RFC 8445 §5.1.1.2): where the places are seen from outside. IPv4 only, as aioice."""
    asking = [
        server_reflexive_candidate(place, stun_server)
        for place in places
        if stun_server is not None and ipaddress.ip_address(place.port.host).version == 4
    ]
    tasks = [asyncio.ensure_future(question) for question in asking]  # ended below
    if not tasks:
        return []
    try:
        done, _ = await asyncio.wait(tasks, timeout=timeout)
    finally:
        for task in tasks:
            task.cancel()
    return [task.result()[0] for task in tasks if task in done and task.exception() is None]
