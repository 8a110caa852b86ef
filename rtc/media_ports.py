"""Addresses and UDP ports of media connections, for firewalls and TURN servers that want to know them.

aioice has no setting for ports: it asks the running loop for a datagram endpoint on each address of the machine, on any
port. So the loop is told which ones there are. `tests/rtc/test_media_ports.py` fails when aioice asks in another way.
"""

import asyncio
import errno
import logging
import random
import socket
from collections.abc import Iterable
from typing import Any

from aioice.ice import get_host_addresses

log = logging.getLogger(__name__)


def host_addresses() -> list[str]:
    """Those on which our connections are: aioice opens a socket on each address of this machine but loopback's."""
    return get_host_addresses(use_ipv4=True, use_ipv6=True)


def bind_within(loop: asyncio.AbstractEventLoop, ports: range) -> None:
    """Sockets of this loop that may have any UDP port get one of these; when all are taken, none."""
    create = loop.create_datagram_endpoint

    async def endpoint(factory: Any, local_addr: tuple[str, int] | None = None, **others: Any) -> Any:
        if local_addr is None or local_addr[1]:
            return await create(factory, local_addr=local_addr, **others)
        bound = _bind(local_addr[0], random.sample(ports, len(ports)))
        try:
            return await create(factory, sock=bound, **others)
        except BaseException:
            bound.close()
            raise

    loop.create_datagram_endpoint = endpoint  # type: ignore[method-assign, assignment] # of this one loop, on purpose


def _bind(address: str, ports: Iterable[int]) -> socket.socket:
    """A socket on the first of the ports that is free. Raises OSError; aioice goes on without that address then."""
    bound = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
    bound.setblocking(False)
    for port in ports:
        try:
            bound.bind((address, port))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                bound.close()
                raise
        else:
            return bound
    bound.close()
    log.warning("no UDP port is free for media on %s: give a wider range", address)
    raise OSError(errno.EADDRINUSE, "all ports of the range are taken")
