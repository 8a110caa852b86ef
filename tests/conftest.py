"""A server in the test's own event loop, and a session to talk to it."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from rtc.dialogue_thread import DialogueThread
from signaling.engines import build_engine
from signaling.house import House
from signaling.placement import Records
from signaling.server import HOUSE, create_app
from signaling.settings import Settings

PATIENCE = 5.0


@dataclass(frozen=True)
class Answer:
    """An HTTP answer, read whole."""

    status: int
    content_type: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Server:
    """A running server."""

    base: str
    house: House
    http: aiohttp.ClientSession

    async def room(self, name: str | None = None, **fields: str) -> str:
        """A new room's id."""
        if name is not None:
            fields["name"] = name
        async with self.http.post(f"{self.base}/v1/rooms", json=fields) as answer:
            assert answer.status == 201, await answer.text()
            return str((await answer.json())["id"])

    async def get(self, path: str, method: str = "GET", **arguments: Any) -> Answer:
        """One request."""
        async with self.http.request(method, self.base + path, **arguments) as answer:
            return Answer(answer.status, answer.content_type, answer.headers.copy(), await answer.read())

    async def ready(self) -> bool:
        """Whether rooms are interpreted, and the voice, if there is one, has come or failed."""
        answer = await self.get("/readyz")
        return answer.status == 200 and "doing" not in answer.json().get("dialogue", {})

    async def stats(self) -> dict[str, Any]:
        return dict((await self.get("/v1/stats")).json())

    async def empty(self, room: str) -> None:
        """Wait until nobody is in the room any more."""
        while (await self.get(f"/v1/rooms/{room}")).json()["participant_count"]:
            pass  # each turn is an HTTP request; the test's time limit ends one that never comes true


async def until(look: Callable[[], object]) -> None:
    """Wait for what no event tells. The test's time limit ends one that never comes true."""
    while not look():  # noqa: ASYNC110 # that is what this is for
        await asyncio.sleep(0.01)


async def serve(
    settings: Settings, ready: bool = True, dialogue: DialogueThread | None = None, records: Records | None = None
) -> AsyncIterator[Server]:
    """`ready`: only once the engines are."""
    before = asyncio.all_tasks()
    app = create_app(build_engine(settings), settings, dialogue, records)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=2)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    async with aiohttp.ClientSession() as http:
        server = Server(f"http://{host}:{port}", runner.app[HOUSE], http)
        while ready and not await server.ready():
            pass
        yield server
    await runner.cleanup()
    rest = asyncio.all_tasks() - before - {asyncio.current_task()}
    leaked = (await asyncio.wait(rest, timeout=PATIENCE))[1] if rest else rest  # ICE checks take 20 ms to see the end
    assert not leaked, f"tasks outlive the server: {leaked}"


@pytest.fixture(scope="session")
def tiny_seamless(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random SeamlessM4T-v2 in the real layout; the test is skipped where PyTorch is not installed."""
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    from tests.models import tiny_seamless

    return tiny_seamless.build(tmp_path_factory.mktemp("seamless"))


@pytest.fixture
def settings() -> Settings:
    """Override in a module or by parametrisation; short times so that tests need not wait."""
    return Settings(translator="echo")


@pytest.fixture
async def server(settings: Settings) -> AsyncIterator[Server]:
    async for running in serve(settings):
        yield running
