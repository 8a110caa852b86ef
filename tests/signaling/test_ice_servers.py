"""Providers of TURN credentials, as real HTTP servers on loopback, good and bad."""

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable

import aiohttp
import pytest
from aiohttp import web

from signaling import ice_servers
from signaling.ice import Provider, cloudflare, twilio
from signaling.ice_servers import IceServers, ProviderFailed, fetch
from signaling.settings import Settings
from tests.conftest import serve, until
from tests.signaling.test_ice import CLOUDFLARE, TWILIO

TOKEN = "t0ken-of-ours"


class Fake:
    """Both providers in one; checks what they check, and answers as told."""

    def __init__(self) -> None:
        self.base = ""
        self.answers: asyncio.Queue[Callable[[], Awaitable[web.Response]]] = asyncio.Queue()
        """Of the next requests; afterwards, and at first, everything is well."""
        self.asked = 0

    async def cloudflare(self, request: web.Request) -> web.Response:
        allowed = request.headers["Authorization"] == f"Bearer {TOKEN}" and (await request.json())["ttl"] >= 60
        return await self._answer(CLOUDFLARE, allowed)

    async def twilio(self, request: web.Request) -> web.Response:
        login = aiohttp.BasicAuth.decode(request.headers["Authorization"])
        allowed = (login.login, login.password) == ("AC1", TOKEN) and int((await request.post())["Ttl"]) >= 60
        return await self._answer(TWILIO, allowed)

    async def _answer(self, good: object, allowed: bool) -> web.Response:
        self.asked += 1
        if not self.answers.empty():
            return await self.answers.get_nowait()()
        return web.json_response(good, status=201) if allowed else web.json_response({"error": TOKEN}, status=401)

    def then(self, body: str = "", status: int = 201, wait: asyncio.Event | None = None) -> None:
        """The next answer; it comes when that event does."""

        async def answer() -> web.Response:
            if wait is not None:
                await wait.wait()
            return web.Response(text=body, status=status, headers={"Location": self.base} if status == 307 else None)

        self.answers.put_nowait(answer)

    def cloudflares(self, token: str = TOKEN, ttl: int = 600) -> Provider:
        return cloudflare("key", token, ttl, self.base)


@contextlib.asynccontextmanager
async def faking() -> AsyncIterator[Fake]:
    fake, app = Fake(), web.Application()
    app.router.add_post("/v1/turn/keys/key/credentials/generate-ice-servers", fake.cloudflare)
    app.router.add_post("/2010-04-01/Accounts/AC1/Tokens.json", fake.twilio)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    fake.base = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield fake
    await runner.cleanup()


@pytest.fixture
async def fake() -> AsyncIterator[Fake]:
    async with faking() as running:
        yield running


@contextlib.asynccontextmanager
async def kept(servers: IceServers) -> AsyncIterator[IceServers]:
    """Kept fresh meanwhile."""
    running = asyncio.create_task(servers.run())
    yield servers
    running.cancel()
    await asyncio.wait({running})


def credentials(servers: IceServers) -> set[str]:
    return {server["credential"] for server in servers.for_clients() if "credential" in server}


async def test_both_providers_and_our_own_secret(fake: Fake) -> None:
    """All that are set are given, ours first among equals, to browsers and to our own connections."""
    settings = Settings(stun_url="stun:ours", turn_urls=("turn:ours",), turn_secret="s")
    async with kept(IceServers(settings, [fake.cloudflares(), twilio("AC1", TOKEN, 600, fake.base)])) as servers:
        await servers.opened()
        given = servers.for_clients()
        assert [server["urls"][0].split(":")[1] for server in given[:1]] == ["ours"]
        assert next(server for server in given if "credential" in server)["urls"] == ["turn:ours"]
        assert {"ebd71f1d", "tE2D"} < credentials(servers)
        assert len(servers.for_server()) == len(given)
        assert servers.counters == {"fetched": 2, "failed": 0}


async def test_everybody_gets_a_user_name_of_their_own() -> None:
    """coturn counts relays by it: one person's must not be refused for another's."""
    servers = IceServers(Settings(turn_urls=("turn:ours",), turn_secret="s"))
    assert servers.for_clients()[0]["username"] != servers.for_clients()[0]["username"]


async def test_a_turn_server_of_this_machine_is_not_for_ourselves() -> None:
    """It reaches us directly; our own relay on it would only make joining slower."""
    servers = IceServers(Settings(turn="auto", turn_urls=("turn:ours",), turn_secret="s", stun_url="stun:a"))
    assert [server["urls"] for server in servers.for_server()] == [["stun:a"]]
    assert len(servers.for_clients()) == 2


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ("", 500, "answered 500"),
        (TOKEN, 401, "answered 401"),
        ("", 307, "answered 307"),
        (json.dumps(CLOUDFLARE), 404, "answered 404"),
        ("", 201, "no list"),
        ("{" + TOKEN, 201, "makes no sense"),
        ("[" * 100_000, 201, "nested|makes no sense"),
        ('{"iceServers": 7}', 201, "no list"),
        ('{"iceServers": [{"urls": "turn:a"}]}', 201, "no TURN server"),
    ],
)
async def test_a_provider_that_fails(fake: Fake, body: str, status: int, said: str) -> None:
    """One clear reason, whatever it is."""
    fake.then(body, status)
    async with aiohttp.ClientSession() as http:
        with pytest.raises(ProviderFailed, match=said) as failed:
            await fetch(http, fake.cloudflares())
        assert TOKEN not in str(failed.value)
        assert len((await fetch(http, fake.cloudflares()))[0]) == 2
        with pytest.raises(ProviderFailed, match="answered 401"):
            await fetch(http, fake.cloudflares("another"))


async def test_a_provider_that_is_not_there_or_does_not_answer(fake: Fake) -> None:
    """Refused and silent connections end, too."""
    never = asyncio.Event()
    fake.then(wait=never)
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=0.1)) as http:
        with pytest.raises(ProviderFailed, match=r"in 0\.1 s"):
            await fetch(http, fake.cloudflares())
        with pytest.raises(ProviderFailed, match="Connector"):
            await fetch(http, cloudflare("key", TOKEN, 600, "http://127.0.0.1:9"))
    never.set()


async def test_credentials_are_renewed_before_they_expire(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the old ones hold: there is no moment without any."""
    monkeypatch.setattr("signaling.ice.FIRST_PAUSE", 0.05)
    async with kept(IceServers(Settings(), [fake.cloudflares(ttl=60)])) as servers:
        fake.then(json.dumps({**CLOUDFLARE, "ttl": 0.4}))
        fake.then(json.dumps(CLOUDFLARE).replace("ebd71f1d", "the next"))
        await servers.opened()
        assert credentials(servers) == {"ebd71f1d"}
        await until(lambda: credentials(servers) != {"ebd71f1d"})
        assert credentials(servers) == {"the next"}


async def test_a_failure_is_counted_told_and_got_over(
    fake: Fake, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """STUN only, meanwhile; the log says which provider and why, and no secret."""
    monkeypatch.setattr("signaling.ice.FIRST_PAUSE", 0.05)
    fake.then(TOKEN, 401)
    with caplog.at_level(logging.WARNING):
        async with kept(IceServers(Settings(stun_url="stun:a"), [fake.cloudflares()])) as servers:
            await until(lambda: servers.counters["failed"])
            assert servers.for_clients() == [{"urls": ["stun:a"]}]
            await until(lambda: credentials(servers))
    assert servers.counters == {"fetched": 1, "failed": 1}
    assert "Cloudflare gave no TURN credentials: it answered 401" in caplog.text and TOKEN not in caplog.text


async def test_one_slow_provider_keeps_nobody_waiting(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server opens without it, gives what the other gave, and shows both in its counters."""
    monkeypatch.setattr(ice_servers, "PATIENCE", 0.2)
    at_last = asyncio.Event()
    async with faking() as slow:
        slow.then(json.dumps(TWILIO), wait=at_last)
        both = [twilio("AC1", TOKEN, 600, slow.base), fake.cloudflares()]
        monkeypatch.setattr(ice_servers, "providers", lambda settings: both)
        async for server in serve(Settings(translator="echo")):
            counters = server.house.ice.counters
            await until(lambda counters=counters: counters["fetched"] == 1)
            assert slow.asked == 1
            assert "cloudflare" in (text := (await server.get("/v1/ice-servers")).text) and "twilio" not in text
            at_last.set()
            await until(lambda counters=counters: counters["fetched"] == 2)
            assert "twilio" in (await server.get("/v1/ice-servers")).text
            assert (await server.stats())["ice"] == {"fetched": 2, "failed": 0}
            assert 'dragoman_ice_total{counter="fetched"} 2.0' in (await server.get("/metrics")).text
