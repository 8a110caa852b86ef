"""coturn as a child: what it lets through, what not, and that it comes and goes with us."""

import asyncio
import contextlib
import datetime
import itertools
import os
import select
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aioice.stun import TransactionFailed
from aioice.turn import create_turn_endpoint
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from rtc.ports import host_addresses
from signaling import turn_server
from signaling.ice import shared_secret
from signaling.settings import Settings
from signaling.turn_server import DENIED, configuration, next_pause, prepare, running
from tests.conftest import until
from tests.e2e.serving import PATIENCE, child_of, free_port, serving

SECRET = "only here"

needs_coturn = pytest.mark.skipif(shutil.which("turnserver") is None, reason="there is no turnserver: install coturn")


@contextlib.asynccontextmanager
async def started(**settings: Any) -> AsyncIterator[tuple[Settings, Counter[str]]]:
    """On loopback."""
    counters: Counter[str] = Counter()
    ready, server = prepare(Settings(turn="127.0.0.1", turn_port=free_port(), turn_secret=SECRET, **settings))
    async with running(server, counters):
        yield ready, counters


@contextlib.asynccontextmanager
async def relay(
    settings: Settings, ttl: float = 60, since: float | None = None, user: str = "ana"
) -> AsyncIterator[Any]:
    """A relay, with credentials that live for so long since then, or now; its transport."""
    server = shared_secret(settings.turn_urls, settings.turn_secret, ttl, since or time.time(), user)
    transport, _ = await create_turn_endpoint(
        asyncio.DatagramProtocol,
        server_addr=("127.0.0.1", settings.turn_port),
        username=server["username"],
        password=server["credential"],
    )
    try:
        yield transport
    finally:
        await transport._TurnTransport__inner_protocol.delete()  # close() leaves that to a task of its own


def ends(process: int) -> bool:
    """Wait for the end of a process that is not our child, by its pidfd."""
    return bool(select.select([process], [], [], PATIENCE)[0])


def test_relays_lead_to_us_and_to_the_internet_only() -> None:
    """Private networks are closed, our own addresses open; no TLS, no command line, nothing for other uses."""
    lines = configuration(Settings(turn_secret=SECRET), "198.51.100.7", "10.0.0.5", ["10.0.0.5"]).splitlines()
    assert "external-ip=198.51.100.7/10.0.0.5" in lines and "relay-ip=10.0.0.5" in lines
    assert {"denied-peer-ip=10.0.0.0-10.255.255.255", "denied-peer-ip=127.0.0.0-127.255.255.255"} < set(lines)
    assert {"denied-peer-ip=169.254.0.0-169.254.255.255", "denied-peer-ip=fc00::-" + "fdff" + ":ffff" * 7} < set(lines)
    assert [line for line in lines if line.startswith("allowed")] == ["allowed-peer-ip=10.0.0.5"]
    assert {"no-tls", "no-dtls", "no-cli", "no-tcp-relay", "use-auth-secret", f"static-auth-secret={SECRET}"} < set(
        lines
    )
    assert "external-ip" not in configuration(Settings(), "192.0.2.1", "192.0.2.1", [])


def test_with_a_certificate_there_is_tls() -> None:
    """On a port of its own, and clients are told so."""
    settings = Settings(turn_cert="a.pem", turn_key="b.pem", turn_tls_port=443)
    lines = configuration(settings, "192.0.2.1", "192.0.2.1", []).splitlines()
    assert {"cert=a.pem", "pkey=b.pem", "tls-listening-port=443"} < set(lines) and "no-tls" not in lines
    assert turn_server.urls("turn.example.org", settings)[-1] == "turns:turn.example.org:443?transport=tcp"
    assert turn_server.urls("turn.example.org", Settings()) == [
        "turn:turn.example.org:3478?transport=udp",
        "turn:turn.example.org:3478?transport=tcp",
    ]


def test_a_server_that_keeps_ending_is_started_ever_more_seldom() -> None:
    """And at once again after it has lived for a while."""
    pauses = [0.0]
    for _ in range(7):
        pauses.append(next_pause(pauses[-1], lived=0.1))
    assert pauses[1:] == [1, 2, 4, 8, 16, 30, 30] and next_pause(30, lived=100) == 1


@needs_coturn
def test_what_cannot_work_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One sentence each."""
    with pytest.raises(ValueError, match=r"no such IPv4 address"):
        prepare(Settings(turn="nowhere.invalid"))
    with pytest.raises(ValueError, match=r"cannot read .*missing\.pem"):
        prepare(Settings(turn="auto", turn_cert=str(tmp_path / "missing.pem"), turn_key="b.pem"))
    for secret in (
        "from a file\n",
        "a\nno-auth",
        " a",
        "a ",
        '"a"',
    ):  # coturn would have another one, or another option
        with pytest.raises(ValueError, match="turn-secret"):
            prepare(Settings(turn="127.0.0.1", turn_port=free_port(), turn_secret=secret))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ValueError, match="install the package coturn"):
        prepare(Settings(turn="auto"))


@needs_coturn
def test_each_server_has_a_secret_of_its_own_or_the_one_that_was_given() -> None:
    """Long and random."""
    one, other = (prepare(Settings(turn="127.0.0.1", turn_port=free_port()))[0].turn_secret for _ in range(2))
    assert one != other and len(one) > 30
    given = prepare(Settings(turn="127.0.0.1", turn_port=free_port(), turn_secret=SECRET))
    assert given[0].turn_secret == SECRET
    assert SECRET not in repr(given[1]), "everybody on the machine could read it"


@needs_coturn
async def test_it_understands_every_option(tmp_path: Path) -> None:
    """coturn starts in spite of what it does not know, and says so in its log only."""
    _, server = prepare(Settings(turn="127.0.0.1", turn_port=free_port()))
    file = tmp_path / "turnserver.conf"
    file.write_text(f"{server.configuration}userdb={tmp_path / 'db'}\npidfile={tmp_path / 'pid'}\n")
    process = await asyncio.create_subprocess_exec(*server.command, str(file), stdout=subprocess.PIPE)
    assert await turn_server._listens(server.address, Counter())
    process.kill()
    said = (await process.communicate())[0].decode()
    assert "Relay address to use: 127.0.0.1" in said and said.count("Black listing") >= len(turn_server.DENIED)
    assert "Bad configuration" not in said and "ERROR" not in said


@needs_coturn
async def test_credentials_that_expired_open_nothing() -> None:
    """New ones do."""
    async with started() as (settings, _):
        with pytest.raises(TransactionFailed, match="401"):
            async with relay(settings, ttl=-60):
                pass
        async with relay(settings) as transport:
            assert transport.get_extra_info("sockname")[0] == "127.0.0.1"


@needs_coturn
async def test_nobody_gets_relays_without_end() -> None:
    """486 (RFC 8656 §7.2), for one person's credentials; another's are as good as before."""
    now = time.time()
    async with started() as (settings, _), contextlib.AsyncExitStack() as stack:
        for _ in range(turn_server.PERSON_ALLOCATIONS):
            await stack.enter_async_context(relay(settings, 60, now))
        with pytest.raises(TransactionFailed, match="486"):
            await stack.enter_async_context(relay(settings, 60, now))
        await stack.enter_async_context(relay(settings, 60, now, "bob"))


@needs_coturn
async def test_a_call_outlives_its_credentials() -> None:
    """They are for coming in: when they open nothing new any more, what they opened stays."""
    now = time.time()
    async with started() as (settings, _), relay(settings, 2, now) as transport:
        with pytest.raises(TransactionFailed, match="401"):
            while True:
                async with relay(settings, 2, now):
                    await asyncio.sleep(0.4)  # few relays: a person has so many, and no more
        await transport._TurnTransport__inner_protocol.channel_bind(0x4000, ("1.1.1.1", 9))


@needs_coturn
async def test_nobody_is_let_into_our_network() -> None:
    """403 (RFC 8656 §9.2) for every range; our own addresses and the public Internet are open."""
    async with started() as (settings, _), relay(settings) as transport:
        turn, channel = transport._TurnTransport__inner_protocol, itertools.count(0x4000)
        closed = [str(address) for network in DENIED if network.version == 4 for address in (network[0], network[-1])]
        for peer in [*closed, "169.254.169.254", "192.168.1.1"]:
            with pytest.raises(TransactionFailed, match="403"):
                await turn.channel_bind(next(channel), (peer, 9))
        ours = [address for address in host_addresses() if ":" not in address]
        for peer in [*ours, "1.1.1.1", "9.255.255.255", "11.0.0.0", "126.0.0.1", "172.32.0.0"]:
            await turn.channel_bind(next(channel), (peer, 9))


@needs_coturn
async def test_it_is_started_again_and_ends_in_the_end(caplog: pytest.LogCaptureFixture) -> None:
    """Counted and logged; relays can be had again."""
    async with started() as (settings, counters):
        first = child_of(os.getpid(), "turnserver")
        assert first is not None
        os.kill(first, signal.SIGKILL)
        await until(lambda: counters["turn_server_restarts"])
        assert await turn_server._listens(("127.0.0.1", settings.turn_port), Counter())
        async with relay(settings):
            pass
        second = child_of(os.getpid(), "turnserver")
        assert second not in (None, first)
    assert child_of(os.getpid(), "turnserver") is None
    assert "TURN server ended" in caplog.text and SECRET not in caplog.text


def test_one_that_does_not_come_up_is_said(tmp_path: Path) -> None:
    """Nothing is served without it: who asked for it would think that it is there."""
    (tmp_path / "turnserver").write_text("#!/bin/sh\necho no ports left; exit 3\n")
    (tmp_path / "turnserver").chmod(0o755)
    command = [sys.executable, "-m", "signaling", "serve", "--translator", "echo", "--dialogue", "none", "--port", "0"]
    command += ["--turn", "127.0.0.1", "--turn-port", str(free_port())]
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE)
    assert ended.returncode == 1 and "http://" not in ended.stdout
    assert "no ports left" in ended.stderr and "the TURN server does not start" in ended.stderr
    assert "Traceback" not in ended.stderr


@needs_coturn
async def test_two_cannot_have_one_port() -> None:
    """coturn would share it, and each would get half of the packets."""
    async with started() as (settings, _):
        with pytest.raises(ValueError, match="cannot listen on UDP 127"):
            prepare(Settings(turn="127.0.0.1", turn_port=settings.turn_port))


@needs_coturn
def test_it_needs_its_tcp_ports_too(tmp_path: Path) -> None:
    """coturn would wait for them, and serve nobody by UDP either."""
    pem = tmp_path / "a.pem"
    pem.touch()
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        with pytest.raises(ValueError, match=f"cannot listen on TCP 127.0.0.1:{taken}"):
            prepare(Settings(turn="127.0.0.1", turn_port=taken))
        tls: dict[str, Any] = {"turn_cert": str(pem), "turn_key": str(pem), "turn_tls_port": taken}
        with pytest.raises(ValueError, match=f"cannot listen on TCP 127.0.0.1:{taken}"):
            prepare(Settings(turn="127.0.0.1", turn_port=free_port(), **tls))


@needs_coturn
async def test_tls(tmp_path: Path) -> None:
    """With the certificate that was given."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    today = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(today - datetime.timedelta(1))
        .not_valid_after(today + datetime.timedelta(1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    cert, pem = tmp_path / "cert.pem", tmp_path / "key.pem"
    cert.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    pem.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    trusting = ssl.create_default_context(cafile=str(cert))
    async with started(turn_cert=str(cert), turn_key=str(pem), turn_tls_port=(port := free_port())) as (settings, _):
        assert settings.turn_urls[-1] == f"turns:127.0.0.1:{port}?transport=tcp"
        _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trusting, server_hostname="localhost")
        assert writer.get_extra_info("ssl_object").version() in ("TLSv1.2", "TLSv1.3")
        writer.close()
        await writer.wait_closed()


@needs_coturn
async def test_its_restarts_are_told_before_workers_too() -> None:
    """Where nobody else counts them."""
    turn = ("--turn", "127.0.0.1", "--turn-port", str(free_port()))
    async with serving("--translator", "echo", "--dialogue", "none", "--workers", "2", *turn) as site:
        assert (await site.get("/v1/stats"))["ice"] == {"turn_server_restarts": 0}
        async with site.http.get(f"{site.url}/metrics") as answer:
            assert 'dragoman_ice_total{counter="turn_server_restarts"} 0.0' in (await answer.text()).splitlines()


@needs_coturn
@pytest.mark.skipif(shutil.which("setpriv") is None, reason="there is no setpriv: it is of Linux")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_it_ends_with_the_server(number: int, tmp_path: Path) -> None:
    """Even if that is killed."""
    command = [sys.executable, "-m", "signaling", "serve", "--translator", "echo", "--dialogue", "none", "--port", "0"]
    command += ["--turn", "127.0.0.1", "--turn-port", str(free_port())]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, "TMPDIR": str(tmp_path)}
    ) as server:
        try:
            assert server.stdout is not None and "http://" in server.stdout.readline()
            child = child_of(server.pid, "turnserver")
            assert child is not None
            with os.fdopen(os.pidfd_open(child)) as process:
                server.send_signal(number)
                assert ends(process.fileno())
        finally:
            server.kill()
