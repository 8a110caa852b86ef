"""People who come by way of the lobby."""

import asyncio
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any, Self

import aiohttp

from tests.client import Client
from tests.conftest import Answer

PATIENCE = 60.0
"""Seconds for what must come."""


class Visitor:
    """Opens rooms and finds their servers, over HTTP, as the pages do."""

    def __init__(self, http: aiohttp.ClientSession, lobby: str) -> None:
        self.http = http
        self.lobby = lobby
        self.told: list[dict[str, Any]] = []
        """Refusals on the way to a place."""
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def ask(self, method: str, path: str, lobby: str = "", **arguments: Any) -> Answer:
        """One request to the lobby."""
        async with self.http.request(method, (lobby or self.lobby) + path, **arguments) as answer:
            return Answer(answer.status, answer.content_type, answer.headers.copy(), await answer.read())

    async def room(self, **fields: str) -> str:
        """A new room's id."""
        answer = await self.ask("POST", "/v1/rooms", json=fields)
        assert answer.status == 201, answer.text
        return str(answer.json()["id"])

    async def place(self, room: str, path: str = "") -> dict[str, Any]:
        """Where the room is; asks again, as often as it is told to, until there is a place."""
        async with asyncio.timeout(PATIENCE):
            while True:
                answer = await self.ask("POST", path or f"/v1/rooms/{room}/placement")
                if answer.status == 200:
                    return dict(answer.json())
                assert answer.status in (429, 503), answer.text
                self.told.append(answer.json())
                await asyncio.sleep(min(1.0, float(answer.headers["Retry-After"])))

    async def inside(self, place: dict[str, Any]) -> aiohttp.ClientSession:
        """Requests that carry the token of a place."""
        headers = {"Modal-Authorization": f"Bearer {place['token']}"}
        return await self._stack.enter_async_context(aiohttp.ClientSession(headers=headers))

    async def client(self, room: str, path: str = "") -> Client:
        """A participant whose WebSocket is open."""
        place = await self.place(room, "/v1/conversation/placement" if path else "")
        client = await Client(await self.inside(place), place["url"], room, path).open()
        self._stack.push_async_callback(client.close)
        return client

    async def join(self, room: str, name: str, language: str, speaks: str = "auto") -> Client:
        """A participant in the room, with media."""
        return await (await self.client(room)).join(name, language, speaks)

    async def come_back(self, client: Client, room: str) -> dict[str, Any]:
        """What a client does whose server is gone: another place, the same session. `session.joined`."""
        place = await self.place(room)
        client.move(await self.inside(place), place["url"])
        return await client.come_back(client.joined["participant"]["name"], client.joined["participant"]["language"])
