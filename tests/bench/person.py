"""A cheap peer in a room of the whole product: the WebSocket protocol, and packets by hand."""

import asyncio
from collections import Counter
from typing import Any

import aiohttp

from tests.bench.dialects import Refused
from tests.bench.peer import Air, Peer
from tests.bench.talk import Talk

SLOTS = 8
"""As many as the page offers."""


class Person:
    """One participant."""

    def __init__(
        self, http: aiohttp.ClientSession, base: str, room: str, name: str, language: str, probe: bool = False
    ) -> None:
        """Without a `room`, they come to talk with the voice."""
        self._http = http
        self._url = f"{base}/v1/rooms/{room}/signal" if room else f"{base}/v1/conversation/signal"
        self._slots = SLOTS if room else 1
        self._name, self._language = name, language
        self._answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._ws: aiohttp.ClientWebSocketResponse | None = None
        self.peer = Peer(probe)
        self.messages: Counter[str] = Counter()
        """From the server, by type."""

    async def join(self, tasks: asyncio.TaskGroup, air: Air) -> None:
        """Until there is media. Raises Refused, and TimeoutError after 30 s."""
        async with asyncio.timeout(30):
            self._ws = await self._http.ws_connect(self._url)
            tasks.create_task(self._read(self._ws))
            offer = await self.peer.offer("sendonly", *["recvonly"] * self._slots)
            me = {"name": self._name, "language": self._language, "speaks": self._language}
            await self._ws.send_json({"type": "session.join", "sdp": offer, **me})
            await self.peer.accept(await self._answer)
            await self.peer.connected.wait()
        air.add(self.peer)

    async def _read(self, ws: aiohttp.ClientWebSocketResponse) -> None:
        async for raw in ws:
            message: dict[str, Any] = raw.json()
            self.messages[message["type"]] += 1
            if message["type"] == "session.joined":
                self._answer.set_result(message["sdp"])
            elif message["type"] == "error" and message["fatal"] and not self._answer.done():
                self._answer.set_exception(Refused(message["message"]))

    async def leave(self) -> None:
        """Say so, and close everything."""
        if self.peer.air is not None:
            self.peer.air.remove(self.peer)
        if self._ws is not None and not self._ws.closed:
            await self._ws.send_json({"type": "session.leave"})
            await self._ws.close()
        await self.peer.close()


LANGUAGES = ("en", "es", "fr")


async def meeting(
    http: aiohttp.ClientSession, base: str, size: int, talk: Talk, tasks: asyncio.TaskGroup, air: Air
) -> list[Person]:
    """So many people in a room of their own, languages in turn, who all say that. Raises Refused, and TimeoutError if
    one of them does not get in."""
    room = await new_room(http, base)
    people = [Person(http, base, room, f"Person {n}", LANGUAGES[n % len(LANGUAGES)]) for n in range(size)]
    for person in people:
        person.peer.talk = talk
        await person.join(tasks, air)
    return people


async def new_room(http: aiohttp.ClientSession, base: str) -> str:
    """Its id."""
    async with http.post(f"{base}/v1/rooms") as response:
        return str((await response.json())["id"])
