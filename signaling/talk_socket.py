"""The WebSocket of one person who talks with the duplex voice: perhaps in a line first, then in the conversation."""

import asyncio
import contextlib

from aiohttp import web

from signaling.conversation import Talker
from signaling.house import House
from signaling.parlour import Parlour, Waiting
from signaling.protocol import (
    ClientMessage,
    Join,
    Mute,
    Ping,
    ProtocolError,
    State,
    TalkJoin,
    TalkParser,
    error_message,
    next_state,
)
from signaling.socket import Connection, Fatal

REFRESH = 5.0
"""Seconds after which who waits hears of their place again, though it be the same."""


class TalkConnection(Connection[Talker]):
    """Serves somebody at the parlour's door, and inside."""

    final = ("house_full", "draining", "engine_failed")

    def __init__(self, ws: web.WebSocketResponse, house: House, parlour: Parlour) -> None:
        super().__init__(ws, house, TalkParser(house.settings.max_sdp))
        self._parlour = parlour

    async def _admit(self, message: Join) -> Talker | None:
        assert isinstance(message, TalkJoin), "the parser reads no other"
        if message.resume is not None:
            return await self._parlour.resume(message)
        place = self._parlour.enter(message)
        try:
            if place.seated_at is None:
                await self._wait(place)
            if place.seated_at is None:  # they have gone
                self._parlour.leave(place)
                await self._ws.close()
                return None
            return await self._parlour.join(place, message)
        except BaseException:
            self._parlour.leave(place)
            raise

    async def _wait(self, place: Waiting) -> None:
        """Stand in the line until it is their turn, or they go. Raises ProtocolError when they are sent away."""
        self._state = State.WAITING
        self._patience.reschedule(None)
        async with asyncio.TaskGroup() as tasks:
            listening = tasks.create_task(self._listen(place))
            while place.seated_at is None and place.refusal is None and not listening.done():
                place.changed.clear()
                with contextlib.suppress(ConnectionError):  # the listening ends as well
                    await self._say(self._parlour.queue_message(place))
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(REFRESH):
                        await place.changed.wait()
            gone = listening.done()
            listening.cancel()
        if place.refusal is not None:
            raise place.refusal
        self._state = State.NEW
        if gone:
            self._parlour.leave(place)
            place.seated_at = None
        self._patience.reschedule(asyncio.get_running_loop().time() + self._house.settings.join_timeout)

    async def _listen(self, place: Waiting) -> None:
        """What is said in the line. Returns when they go; never raises."""
        try:
            async for raw in self._ws:
                try:
                    message = self._read(raw)
                    self._state = next_state(self._state, message)
                    if isinstance(message, Ping):
                        await self._say({"type": "pong", "t": message.t})
                    elif self._state is State.LEFT:
                        return
                except Fatal:
                    raise
                except ProtocolError as error:
                    await self._say(error_message(error.code, str(error), retry_after=error.retry_after))
        except Fatal as error:
            place.refuse(error)
        except ConnectionError:
            return
        finally:
            place.changed.set()

    async def _obey(self, session: Talker, message: ClientMessage) -> None:
        match message:
            case Mute(muted=muted):
                session.mute(muted)
            case _:
                await self._obey_any(session, message)
