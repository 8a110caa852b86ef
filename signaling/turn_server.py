"""A TURN server of our own, `--turn`: coturn as a child process, which ends with us."""

import asyncio
import contextlib
import ipaddress
import logging
import os
import secrets
import shutil
import socket
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from aiohttp import web

from rtc.ports import host_addresses
from signaling.settings import Settings

log = logging.getLogger(__name__)

START_TIMEOUT = 15.0
"""Seconds in which it has to listen."""
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0
"""Seconds before it is started again: doubled each time it ends before `LONGEST_PAUSE`."""

PERSON_ALLOCATIONS = 16
"""Relays for one person: a browser asks for one by each network interface, transport and connection."""

DENIED = tuple(
    map(
        ipaddress.ip_network,
        "0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24 192.0.2.0/24 "
        "192.168.0.0/16 198.18.0.0/15 198.51.100.0/24 203.0.113.0/24 240.0.0.0/4 "
        "::1 ::ffff:0:0/96 64:ff9b::/96 100::/64 2001::/23 2001:db8::/32 2002::/16 fc00::/7 fe80::/10".split(),
    )
)
"""Where a relay must not lead: what is not the public Internet (RFC 6890), else anybody with credentials is in our
network. No range may begin with `::`: coturn takes that for every address there is, of IPv4 too."""


class NotStarted(Exception):
    """It does not come up."""


@dataclass(frozen=True, slots=True)
class TurnServer:
    """What is started."""

    command: tuple[str, ...]
    """To which the configuration file's name is added."""
    configuration: str = field(repr=False)
    """Has the secret in it: on the command line everybody on the machine could read it."""
    address: tuple[str, int]
    """Where it listens."""


def prepare(settings: Settings) -> tuple[Settings, TurnServer]:
    """Settings with the TURN server's URLs and secret, and what to start. Looks up names and addresses.

    Raises ValueError, a sentence for who asked for it.
    """
    turnserver = shutil.which("turnserver")
    if turnserver is None:
        raise ValueError("--turn needs coturn, and there is no turnserver on the PATH: install the package coturn")
    for file in filter(None, (settings.turn_cert, settings.turn_key)):
        if not os.access(file, os.R_OK):
            raise ValueError(f"--turn cannot read {file}")
    if settings.turn_secret.strip(" \"'") != settings.turn_secret or not settings.turn_secret.isprintable():
        raise ValueError(
            "--turn-secret must not begin or end with a space, quotation mark or line's end: coturn skips it"
        )
    public, local = _addresses(settings.turn)
    host = public if settings.turn == "auto" else settings.turn
    _check_free(local, settings.turn_port, socket.SOCK_DGRAM)
    _check_free(local, settings.turn_port, socket.SOCK_STREAM)
    if settings.turn_cert:
        _check_free(local, settings.turn_tls_port, socket.SOCK_STREAM)
    settings = replace(
        settings,
        turn_urls=tuple(urls(host, settings)),
        turn_secret=settings.turn_secret or secrets.token_urlsafe(32),
    )
    # With us goes the child, even if we are killed: nobody would be left to end it (prctl's PR_SET_PDEATHSIG)
    setpriv = shutil.which("setpriv")
    command = (*((setpriv, "--pdeathsig", "KILL", "--") if setpriv else ()), turnserver, "-c")
    text = configuration(settings, public, local, host_addresses())
    return settings, TurnServer(command, text, (local, settings.turn_port))


def urls(host: str, settings: Settings) -> list[str]:
    """How clients reach it: by UDP, by TCP, and by TLS if there is a certificate."""
    plain = [f"turn:{host}:{settings.turn_port}?transport={transport}" for transport in ("udp", "tcp")]
    return [*plain, *([f"turns:{host}:{settings.turn_tls_port}?transport=tcp"] if settings.turn_cert else [])]


def configuration(settings: Settings, public: str, local: str, ours: Iterable[str]) -> str:
    """coturn's configuration file.

    `public` is the IPv4 address that clients see, `local` the one that it stands for on this machine, `ours` are those
    on which our own media connections are: relays may lead there, wherever that is.
    """
    tls = (
        {"cert": settings.turn_cert, "pkey": settings.turn_key, "tls-listening-port": settings.turn_tls_port}
        if settings.turn_cert
        else {"no-tls": None}
    )
    options: dict[str, object] = {
        "listening-ip": local,
        "listening-port": settings.turn_port,
        "relay-ip": local,
        **({"external-ip": f"{public}/{local}"} if public != local else {}),
        "realm": "dragoman",
        "use-auth-secret": None,
        "static-auth-secret": settings.turn_secret,
        **tls,
        **limits(settings.max_participants),
        "log-file": "stdout",
    }
    lines = [name if value is None else f"{name}={value}" for name, value in options.items()]
    lines += [f"denied-peer-ip={network[0]}-{network[-1]}" for network in DENIED]
    lines += [f"allowed-peer-ip={address}" for address in ours]
    return "\n".join(lines) + "\n"


def limits(people: int) -> dict[str, object]:
    """Options that keep it from being used for anything else than calls of that many people."""
    return {
        "user-quota": PERSON_ALLOCATIONS,
        "total-quota": PERSON_ALLOCATIONS * people,
        "no-cli": None,
        "no-dtls": None,
        "no-tlsv1": None,
        "no-tlsv1_1": None,
        "no-tcp-relay": None,  # RFC 6062: connections to anybody's TCP ports
        "no-multicast-peers": None,
        "no-rfc5780": None,
        "no-stun-backward-compatibility": None,
        "no-software-attribute": None,
        "stale-nonce": 600,
        "fingerprint": None,
    }


def _addresses(turn: str) -> tuple[str, str]:
    """(public, local) IPv4 address for a name, an address or `auto`. Raises ValueError."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            public = "" if turn == "auto" else str(socket.getaddrinfo(turn, None, socket.AF_INET)[0][4][0])
        except OSError as error:
            raise ValueError(f"--turn {turn}: there is no such IPv4 address ({error.strerror})") from None
        with contextlib.suppress(OSError):  # not an address of this machine: it is behind a NAT, or auto
            if public:
                probe.bind((public, 0))
                return public, public
        try:
            probe.connect(("198.51.100.1", 9))  # sends nothing: only the route is looked up (RFC 5737)
        except OSError as error:
            raise ValueError(f"--turn finds no network on this machine ({error.strerror})") from None
        local = str(probe.getsockname()[0])
    if not public and ipaddress.ip_address(local).is_private:
        log.warning("The TURN server is at %s, which is private: for others give --turn your public address", local)
    return public or local, local


def _check_free(address: str, port: int, kind: socket.SocketKind) -> None:
    """coturn itself shares a UDP port with whoever has it, and then gets half of the packets; for a TCP port it waits,
    and serves nobody meanwhile. Raises ValueError."""
    with socket.socket(socket.AF_INET, kind) as probe:
        if kind is socket.SOCK_STREAM:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # else connections that are over count, too
        try:
            probe.bind((address, port))
        except OSError as error:
            name = "TCP" if kind is socket.SOCK_STREAM else "UDP"
            raise ValueError(f"--turn cannot listen on {name} {address}:{port}: {error.strerror}") from None


@contextlib.asynccontextmanager
async def running(server: TurnServer, counters: Counter[str]) -> AsyncIterator[None]:
    """It listens, is started again when it ends (`turn_server_restarts`), and is gone afterwards.

    Raises NotStarted.
    """
    with tempfile.TemporaryDirectory(prefix="dragoman-turn-") as folder:  # only for our eyes
        files = {name: Path(folder, name) for name in ("turnserver.conf", "turndb", "pid")}
        files["turnserver.conf"].write_text(f"{server.configuration}userdb={files['turndb']}\npidfile={files['pid']}\n")
        counters["turn_server_restarts"] = 0
        keeping = asyncio.create_task(  # owned by this block, which awaits its end: a TaskGroup would wrap our errors
            _keep([*server.command, str(files["turnserver.conf"])], counters)
        )
        try:
            if not await _listens(server.address, counters):
                raise NotStarted("the TURN server does not start: the log has its last words")
            yield
        finally:
            keeping.cancel()
            await asyncio.wait({keeping})


def beside(server: TurnServer, counters: Counter[str]) -> Callable[[web.Application], AsyncIterator[None]]:
    """For `Application.cleanup_ctx`: `running` as long as the application is."""

    async def keep(app: web.Application) -> AsyncIterator[None]:
        async with running(server, counters):
            yield

    return keep


async def _listens(address: tuple[str, int], counters: Counter[str]) -> bool:
    """Wait until it takes TCP connections, which it does as soon as UDP; not if it ends before."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(START_TIMEOUT):
            while not counters["turn_server_restarts"]:
                with contextlib.suppress(OSError):
                    _, writer = await asyncio.open_connection(*address)
                    writer.close()
                    return True
                await asyncio.sleep(0.05)
    return False


async def _keep(command: Sequence[str], counters: Counter[str]) -> None:
    """Run it, for ever."""
    clock, pause = asyncio.get_running_loop().time, 0.0
    while True:
        began = clock()
        said = await _run(command)
        counters["turn_server_restarts"] += 1
        pause = next_pause(pause, clock() - began)
        log.error("The TURN server ended; it is started again in %g s. Its last words: %s", pause, said)
        await asyncio.sleep(pause)


def next_pause(pause: float, lived: float) -> float:
    """Seconds to wait before a start, after those of the last time (0: there was none) and a life of so many."""
    return FIRST_PAUSE if not pause or lived > LONGEST_PAUSE else min(2 * pause, LONGEST_PAUSE)


async def _run(command: Sequence[str]) -> str:
    """From start to end, ours or its own; its last words."""
    said = b""
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,  # Ctrl-C is for us: it goes when everybody has left
    )
    try:
        assert process.stdout is not None, "asked for"
        while heard := await process.stdout.read(4096):
            said = (said + heard)[-1000:]
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
    return " | ".join(said.decode(errors="replace").split("\n")[-5:]).strip(" |")
