"""The duplex voice's stay in a room: from the seat that it takes to the seat that it frees."""

import asyncio
import logging
from collections.abc import Callable

from rtc.engine_thread import Engine
from rtc.guest import Guest
from rtc.room import Room
from rtc.stats import Stats
from rtc.ticker import Ticker
from signaling.parlour import Parlour
from signaling.participant import announce, public
from signaling.protocol import ProtocolError, error_message
from signaling.settings import Settings

log = logging.getLogger(__name__)

FIRST_LOOK = 3.0
"""Seconds after which to ask again for a voice that cannot say how long it still takes to load."""


class Visit:
    """The voice has come in when this is made; `run` it until it has gone, `end` it at any time."""

    def __init__(
        self,
        room: Room,
        parlour: Parlour,
        engine: Engine,
        stats: Stats,
        settings: Settings,
        ticker: Ticker,
        over: Callable[[Room], None],
    ) -> None:
        """`over` is called once, when the voice has left. Raises ProtocolError, and leaves nothing behind then."""
        voice = parlour.engine
        if voice.state == "warming":
            raise ProtocolError("warming", "The voice is still warming up.", retry_after=voice.eta() or FIRST_LOOK)
        self.room = room
        self._parlour = parlour
        self._settings = settings
        self._over = over
        if len(room) >= room.capacity:
            raise ProtocolError("room_full", f"All {room.capacity} places in this room are taken.")
        self._place = parlour.take_place(wait=False)
        self._guest = Guest(room, voice.title, parlour.stage, engine, stats, ticker, self._left)
        self._guest.enter()
        announce(room, {"type": "participant.joined", "participant": public(self._guest)})
        room.changed()

    async def run(self) -> None:
        """Until the voice has left: it is asked to, everybody has gone, it breaks, or its time is up. Never raises."""
        try:
            async with asyncio.timeout(self._settings.max_call or None), asyncio.TaskGroup() as tasks:
                watching = tasks.create_task(self._watch())
                await self._guest.run()
                watching.cancel()
        except* TimeoutError:
            self._say("time_up", "The voice has been here for as long as is allowed.")
        except* ProtocolError as refused:
            error = refused.exceptions[0]
            assert isinstance(error, ProtocolError), "there is one task that raises it"
            self._say(error.code, str(error))
        except* Exception:  # a bug in the voice must not end the room, let alone the server
            log.exception("the voice failed in %s", self.room.id)
            self._say("internal", "Something broke on the server. The voice had to leave.")
        finally:
            self.end()

    async def _watch(self) -> None:
        """Raises ProtocolError when the parlour has no use for seats any more."""
        while self._place.refusal is None:
            self._place.changed.clear()
            await self._place.changed.wait()
        raise self._place.refusal

    def end(self) -> None:
        """The voice leaves at once. Idempotent."""
        self._guest.leave()

    def _say(self, code: str, message: str) -> None:
        announce(self.room, error_message(code, message))

    def _left(self) -> None:
        self._parlour.leave(self._place)
        announce(self.room, {"type": "participant.left", "participant": public(self._guest)})
        self.room.changed()
        self._over(self.room)
