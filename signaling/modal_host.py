"""A container that holds rooms, or talks: what it adds to the application that everybody runs.

The proxy before it has checked the sticky session's token, and says in a header which session a request belongs to. One
session is one room: whoever has the token of one has no business in another, though the same container holds it.
"""

import asyncio
import logging
from collections.abc import AsyncIterator

from aiohttp import WSCloseCode, web
from aiohttp.typedefs import Middleware

from signaling.house import House
from signaling.http import Handler, Problem, room_not_found
from signaling.modal_placer import CloudError, ModalPlacer, Sessions, Store
from signaling.modal_records import ModalRecords
from signaling.participant import people
from signaling.protocol import error_message
from signaling.remote_translator import RemoteTranslator

log = logging.getLogger(__name__)

SESSION = "x-modal-server-session-id"
"""Stamped by Modal's proxy; what a client sends under that name never arrives."""

CHECK = 10.0
"""Seconds between two looks at whether our rooms are still ours."""


class RoomHost:
    """Opens rooms when their people come, and lets them go."""

    def __init__(self, house: House, placer: ModalPlacer, records: ModalRecords, facts: Store, lobby_url: str) -> None:
        """`facts`: where the lobby finds what the interpreter says of itself."""
        self._house = house
        self._facts = facts
        self._placer = placer
        self._records = records
        self._lobby_url = lobby_url
        self._held: dict[str, tuple[int, str]] = {}  # room → generation, session

    def install(self, app: web.Application) -> None:
        """Before it runs."""
        app.middlewares.append(self._middleware())
        app.cleanup_ctx.append(self._keep)
        app.on_shutdown.append(self._give_up)

    def _middleware(self) -> Middleware:
        @web.middleware
        async def admit(request: web.Request, handler: Handler) -> web.StreamResponse:
            if self._house.draining and request.path == "/healthz":
                raise Problem(410, "draining", "This server is about to stop.")
            leave_to_lobby(request, self._lobby_url)
            if (room_id := request.match_info.get("room")) is not None:
                try:
                    await self.admit(room_id, request.headers.get(SESSION, ""))
                except CloudError as error:
                    raise Problem(503, "cloud_failing", str(error), 2.0) from error
            return await handler(request)

        return admit

    async def admit(self, room_id: str, session: str) -> None:
        """See to it that the room is open here, for requests of that session. Raises Problem, CloudError."""
        if self._held.get(room_id, (0, ""))[1] == session and session:
            if self._house.lobby.find(room_id, _now()) is not None:
                return
        found = await self._placer.whereabouts(room_id)
        if found is None:
            raise room_not_found()
        card, generation, place = found
        session = session or (place.session if place is not None else "")  # Modal's guide does not promise the header
        if place is None or place.state != "placed" or not session or place.session != session:
            raise Problem(410, "room_moved", "The room is not here. The lobby knows where it is.")
        self._held[room_id] = (generation, session)
        await self._house.open_room(card, generation)

    async def _keep(self, app: web.Application) -> AsyncIterator[None]:
        async def keep() -> None:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._records.run())
                tasks.create_task(self._tell_engine())
                while True:
                    await asyncio.sleep(CHECK)
                    await self.check()

        keeping = asyncio.create_task(keep())  # ended below
        yield
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)
        await self._records.flush()

    async def _tell_engine(self) -> None:
        """For the lobby, which lets nobody in before the languages are known, and for servers that start while the
        interpreter sleeps."""
        engine = self._house.engine
        await engine.settled.wait()
        if isinstance(engine.translator, RemoteTranslator) and engine.translator.described is not None:
            try:
                await self._facts.put("engine", dict(engine.translator.described))
            except CloudError as error:
                log.warning("the next server must ask the interpreter again: %s", error)

    async def check(self) -> None:
        """Let go of rooms that have moved, and of those that have been empty for too long."""
        self._house.lobby.expire(_now())
        for room_id, (generation, _) in list(self._held.items()):
            try:
                found = await self._placer.whereabouts(room_id)
                if self._house.lobby.find(room_id, _now()) is None:
                    await self._placer.release(room_id, generation)
                elif found is not None and found[1] == generation:
                    continue
            except CloudError as error:
                log.warning("whether %s is still here cannot be told: %s", room_id, error)
                continue
            self._let_go(room_id)

    def _let_go(self, room_id: str) -> None:
        del self._held[room_id]
        self._records.forget(room_id)
        room = self._house.lobby.find(room_id, _now())
        if room is None:
            return
        for member in people(room):
            member.send(error_message("session_moved", "The room has moved: come along.", fatal=True))
            member.end("moved")
        self._house.lobby.drop(room_id)

    async def _give_up(self, app: web.Application) -> None:
        """The container is about to stop, and everybody has been told. When their last words are kept, the next place
        need not find out that this one is gone."""
        await self._house.emptied()
        await self._records.flush()
        for room_id, (generation, _) in list(self._held.items()):
            try:
                await self._placer.lost(room_id, generation)
            except CloudError as error:
                log.warning("%s could not be given up: %s", room_id, error)


def leave_to_lobby(request: web.Request, lobby_url: str) -> None:
    """What only the lobby does. Raises what aiohttp answers with."""
    if request.path == "/":
        raise web.HTTPFound(lobby_url + "/")
    if request.path == "/v1/rooms":
        raise Problem(404, "not_found", "The lobby knows the rooms; this server holds some of them.")


class TalkHost:
    """Gives a seat back as soon as it is left; Modal would keep it until its session has been idle for long enough."""

    def __init__(self, sessions: Sessions, seats: Store, lobby_url: str) -> None:
        self._sessions = sessions
        self._seats = seats
        self._lobby_url = lobby_url

    def install(self, app: web.Application) -> None:
        """Before it runs."""
        app.middlewares.append(self._middleware())

    def _middleware(self) -> Middleware:
        @web.middleware
        async def admit(request: web.Request, handler: Handler) -> web.StreamResponse:
            leave_to_lobby(request, self._lobby_url)
            if "room" in request.match_info:
                raise Problem(404, "room_not_found", "There are no rooms here.")
            response = await handler(request)
            if isinstance(response, web.WebSocketResponse) and response.close_code == WSCloseCode.OK:
                await self._left(request.headers.get(SESSION, ""))
            return response

        return admit

    async def _left(self, session: str) -> None:
        """Who only lost the connection has their grace period; this one said goodbye."""
        try:
            if (token := await self._seats.pop(session)) is not None:
                await self._sessions.terminate(token)
        except CloudError as error:
            log.warning("a seat is free only when its session has been idle: %s", error)


def _now() -> float:
    return asyncio.get_running_loop().time()
