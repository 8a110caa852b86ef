"""The part of HTTP that is about no room in particular: the pages, and which rooms there are."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from aiohttp import web

import static
from signaling.http import Problem, json_object, limit
from signaling.limits import Limiter
from signaling.lobby import TooManyRooms
from signaling.placement import RoomCard, RoomPlacer
from signaling.protocol import MAX_NAME, ProtocolError, clean, read_mode

PAGES = Path(static.__file__).parent


class LobbyApi:
    """Handlers; `routes` is the table. It needs no engine and holds no room."""

    def __init__(self, placer: RoomPlacer, limiter: Limiter, draining: Callable[[], bool]) -> None:
        self._placer = placer
        self._limiter = limiter
        self._draining = draining

    def routes(self) -> list[web.AbstractRouteDef]:
        """Every address."""
        return [
            web.get("/", self.lobby_page),
            web.get("/room/{room}", self.room_page),
            web.get("/talk", self.talk_page),
            web.static("/static", PAGES),
            web.get("/v1/rooms", self.rooms),
            web.post("/v1/rooms", self.create_room),
            web.get("/healthz", self.healthz),
        ]

    async def lobby_page(self, request: web.Request) -> web.FileResponse:
        return web.FileResponse(PAGES / "index.html")

    async def room_page(self, request: web.Request) -> web.FileResponse:
        """The page asks for the room itself, and says so if it is gone."""
        return web.FileResponse(PAGES / "room.html")

    async def talk_page(self, request: web.Request) -> web.FileResponse:
        """The page asks whether there is anybody to talk with."""
        return web.FileResponse(PAGES / "talk.html")

    async def rooms(self, request: web.Request) -> web.Response:
        return web.json_response([dump_card(card) for card in await self._placer.rooms()])

    async def create_room(self, request: web.Request) -> web.Response:
        limit(self._limiter, request)
        if self._draining():
            raise Problem(503, "draining", "The server is about to stop.", retry_after=60)
        fields = await json_object(request)
        name = fields.get("name")
        if name is not None and not isinstance(name, str):
            raise Problem(400, "bad_message", "name must be a string.")
        name = " ".join(clean(name or "").split())
        if len(name) > MAX_NAME:
            raise Problem(400, "too_large", f"A room's name has at most {MAX_NAME} characters.")
        try:
            mode = "simultaneous" if fields.get("mode") is None else read_mode(fields["mode"])
        except ProtocolError as error:
            raise Problem(400, error.code, str(error)) from None
        try:
            card = await self._placer.create(name or None, mode)
        except TooManyRooms as full:
            raise Problem(503, "house_full", str(full), full.retry_after) from None
        return web.json_response(dump_card(card), status=201, headers={"Location": f"/v1/rooms/{card.id}"})

    async def healthz(self, request: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})


def dump_card(card: RoomCard, public_url: str = "") -> dict[str, Any]:
    """A room as `/v1/rooms` shows it. `public_url`: of the server that has its page, if it is another one."""
    return {
        "id": card.id,
        "name": card.name,
        "mode": card.mode,
        "url": f"{public_url}/room/{card.id}",
        "participants": card.participant_count,
        "participant_count": card.participant_count,
        "capacity": card.capacity,
        "created_at": datetime.fromtimestamp(card.opened_at, UTC).isoformat(timespec="seconds"),
    }
