"""The lobby on Modal: pages, the list of rooms, and the way to the container that holds one. It has no engine."""

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from signaling.http import MAX_BODY, Handler, Problem, json_object, limit, middleware, room_not_found
from signaling.limits import HTTP_BURST, Limiter
from signaling.lobby_api import PAGES, LobbyApi, dump_card
from signaling.modal_placer import CloudError, Crowded, ModalPlacer, Sessions, Store
from signaling.placement import NoPlace
from signaling.settings import Settings

log = logging.getLogger(__name__)

SEAT_PATIENCE = 8.0
"""Seconds for which a request for a seat waits for a container."""
RETRY = 3.0
"""Seconds after which who waits in line is to ask again; who has not for three times that is gone."""
SEAT_IDLE = 60
"""Seconds without any request after which a seat is free again: of people who only looked at the page."""
MAX_LINE = 1000
"""People in line; then the newest are told to come back."""


class SeatLine:
    """Who waits for a seat with the voice, as far as this lobby knows. Only the first asks: nobody overtakes."""

    def __init__(self, sessions: Sessions, seats: Store) -> None:
        """`seats`: where the container that is left finds the token with which to give its session back."""
        self._sessions = sessions
        self._seats = seats
        self._line: dict[str, float] = {}  # ticket → when it was shown last; in the order in which they came

    async def seat(self, ticket: str) -> dict[str, Any]:
        """`{url, token}`. Raises Problem with a position and a ticket to show next time, CloudError."""
        now = asyncio.get_running_loop().time()
        self._line = {one: at for one, at in self._line.items() if now - at < 3 * RETRY}
        if ticket not in self._line:
            if len(self._line) >= MAX_LINE:
                raise Problem(503, "house_full", "Everybody is in a conversation, and many wait.", 60)
            ticket = secrets.token_hex(8)
        self._line[ticket] = now
        if next(iter(self._line)) == ticket:
            try:
                async with asyncio.timeout(SEAT_PATIENCE):
                    url = await self._sessions.url()  # first: who has a session must be told where it is
                    session, token = await self._sessions.start(SEAT_IDLE)
                self._line.pop(ticket, None)
                await self._remember(session, token)
                return {"url": url, "token": token}
            except Crowded:
                pass
            except TimeoutError:
                raise self._wait(ticket, "warming", "A container with the voice is starting.") from None
        raise self._wait(ticket, "house_full", "Everybody here is in a conversation already.")

    async def _remember(self, session: str, token: str) -> None:
        """For the container, which gives the session back. Whether that can be kept or not, somebody has it."""
        try:
            await self._seats.put(session, token)
        except CloudError as error:
            log.warning("a seat will be free only when its session has been idle: %s", error)

    def _wait(self, ticket: str, code: str, detail: str) -> Problem:
        self._line[ticket] = asyncio.get_running_loop().time()  # they have been here all the while, in their place
        position = list(self._line).index(ticket) + 1
        return Problem(503, code, detail, RETRY, {"position": position, "ticket": ticket})


class ModalLobby:
    """Handlers of what only this lobby has; `create_lobby` makes the application."""

    def __init__(self, placer: ModalPlacer, line: SeatLine | None, engine: Callable[[], Awaitable[Any]]) -> None:
        """`engine`: what the interpreter last said of itself, None if it never did."""
        self._placer = placer
        self._line = line
        self._engine = engine

    def routes(self) -> list[web.AbstractRouteDef]:
        """Every address; they come before those that every server has."""
        return [
            web.get("/room/{room}", self.opening_page),
            web.get("/talk", self.opening_page),
            web.get("/v1/rooms/{room}", self.room),
            web.post("/v1/rooms/{room}/placement", self.place),
            web.post("/v1/conversation/placement", self.seat),
            web.get("/v1/engine", self.engine),
            web.get("/readyz", self.readyz),
        ]

    async def opening_page(self, request: web.Request) -> web.FileResponse:
        """Asks for a place, says what it waits for, and goes there."""
        return web.FileResponse(PAGES / "opening.html")

    async def room(self, request: web.Request) -> web.Response:
        card = await self._placer.find(request.match_info["room"])
        if card is None:
            raise room_not_found()
        return web.json_response(dump_card(card))

    async def place(self, request: web.Request) -> web.Response:
        """`{url, token, generation}`: the token opens that room at that server."""
        try:
            placement = await self._placer.place(request.match_info["room"])
        except KeyError:
            raise room_not_found() from None
        except NoPlace as full:
            raise Problem(503, "no_place", str(full), full.retry_after) from None
        if await self._engine() is None:  # nobody can choose a language yet; the room's server has woken it
            raise Problem(503, "warming", "The interpreter starts for the first time. That takes some minutes.", RETRY)
        answer = {"url": placement.url, "token": placement.token, "generation": placement.generation}
        return web.json_response(answer, headers={"Cache-Control": "no-store"})

    async def seat(self, request: web.Request) -> web.Response:
        """`{url, token}` of a seat with the voice; `{ticket}` in the body keeps one's place in the line."""
        if self._line is None:
            raise Problem(404, "no_dialogue", "There is nobody to talk with here.")
        ticket = (await json_object(request)).get("ticket")
        seat = await self._line.seat(ticket if isinstance(ticket, str) else "")
        return web.json_response(seat, headers={"Cache-Control": "no-store"})

    async def engine(self, request: web.Request) -> web.Response:
        known = await self._engine() or {}
        return web.json_response({"name": known.get("name", ""), "notice": known.get("notice", ""), "state": "ready"})

    async def readyz(self, request: web.Request) -> web.Response:
        await self._placer.rooms()
        return web.json_response({"state": "ready"})


def create_lobby(lobby: ModalLobby, placer: ModalPlacer, settings: Settings) -> web.Application:
    """The application. `settings.allow_origins` must name the servers whose pages come back for a new place."""
    limiter = Limiter(settings.http_rate, HTTP_BURST)

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.method == "POST" and request.path.endswith("/placement"):
            limit(limiter, request)
        try:
            return await handler(request)
        except CloudError as error:
            raise Problem(503, "cloud_failing", str(error), 2.0) from error

    app = web.Application(middlewares=[middleware(settings.allow_origins), guard], client_max_size=MAX_BODY)
    app.add_routes(lobby.routes())
    app.add_routes(LobbyApi(placer, limiter, lambda: False).routes())

    async def stop(app: web.Application) -> None:
        await placer.close()

    app.on_shutdown.append(stop)
    return app
