"""One person's session: their whole life, whichever WebSockets and media connections they have on the way.

    join ──► run: what they came for + media + attendance ──► leave | lost | media lost ──► everything released

A WebSocket is only attached: when it goes, media go on, and for `grace` seconds a new one may take its place.
"""

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

from rtc.events import RoomEvent, TranscriptInterim
from rtc.fan_out import Outlet
from rtc.peer_connection import MediaFailed, PeerConnection
from rtc.room import new_id
from rtc.rtp import OnPacket, Packet
from rtc.sdp import BadOffer
from rtc.stats import Stats
from rtc.ticker import Ticker
from signaling.outbox import Outbox, OutboxFull
from signaling.protocol import ProtocolError, dump, error_message
from signaling.settings import Settings

log = logging.getLogger(__name__)

Connector = Callable[[int, OnPacket, Ticker], PeerConnection]
"""Makes a media connection of: the most slots, who gets the microphone's packets, the timer."""


class Left(Exception):
    """Ends a session's tasks; the message is the reason."""


def unknown_session() -> ProtocolError:
    """For who wants to resume what is over, or never was."""
    return ProtocolError("unknown_session", "That session is over. Join again.")


class Session(ABC):
    """What everybody has who is here by a WebSocket and a media connection, in a room or in a conversation."""

    def __init__(
        self,
        stats: Stats,
        settings: Settings,
        connector: Connector,
        ticker: Ticker,
        max_slots: int,
    ) -> None:
        self.id = new_id("p")
        self.session_id = new_id("s")
        self.outbox = Outbox()
        self.wake = asyncio.Event()
        """Something is in the outbox, or the attached WebSocket changed."""
        self._stats = stats
        self._settings = settings
        self._connector = connector
        self._ticker = ticker
        self._max_slots = max_slots
        self._pc: PeerConnection | None = None
        self._replaced: list[PeerConnection] = []
        self._connecting = asyncio.Lock()
        self._reconnected = asyncio.Event()
        self._media_there = asyncio.Event()
        """The first media connection is up."""
        self._attached: object | None = None
        self._attendance_changed = asyncio.Event()
        self.departed = asyncio.Event()
        """Nothing they say reaches anybody any more."""
        self._over: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    # what they came for

    @property
    @abstractmethod
    def place(self) -> str:
        """Where they are, for the log."""

    @abstractmethod
    def joined(self, answer: str | None) -> dict[str, Any]:
        """`session.joined`, on joining and on resuming."""

    @abstractmethod
    def _work(self) -> Iterable[Coroutine[Any, Any, None]]:
        """What runs, besides media and attendance, as long as they live."""

    @abstractmethod
    def _packet(self, packet: Packet, now: float) -> None:
        """A packet of their microphone, which came at `now` (clock seconds)."""

    @abstractmethod
    def _depart(self) -> None:
        """They are gone: say so to whom it concerns. Called once, before the media connection is closed."""

    @abstractmethod
    def _media_changed(self, old: dict[str, Outlet] | None) -> None:
        """There is a connection with other slots, instead of `old` ones if this is not the first."""

    # life

    async def run(self) -> None:
        """From the join to the end. Never raises: what goes wrong with one person is theirs alone."""
        log.info("%s opened in %s", self.session_id, self.place)
        reason = "failed"
        try:
            async with asyncio.TaskGroup() as tasks:
                for work in (*self._work(), self._watch_media(), self._watch_attendance()):
                    tasks.create_task(work)
                raise Left(await self._over)
        except* Left as left:
            reason = str(left.exceptions[0])
        except* Exception:  # a bug in one person's session must not end the others'
            log.exception("%s failed", self.session_id)
            self.send(error_message("internal", "Something broke on the server. Please join again.", True))
        finally:
            await self._release(reason)

    async def _release(self, reason: str) -> None:
        self.end(reason)
        self._depart()
        self.departed.set()
        self._stats.sessions[reason] += 1
        self.wake.set()
        await self.hang_up()
        log.info("%s closed: %s", self.session_id, reason)

    async def hang_up(self) -> None:
        """Close the media connection."""
        if self._pc is not None:
            self._pc.end()
        await self._close_replaced()
        if self._pc is not None:
            await self._pc.close()

    async def _close_replaced(self) -> None:
        while self._replaced:
            await self._replaced.pop().close()

    @property
    def over(self) -> bool:
        """The life is at its end."""
        return self._over.done()

    def end(self, reason: str) -> None:
        """Leave. Idempotent."""
        if not self._over.done():
            self._over.set_result(reason)

    # messages

    def tell(self, event: RoomEvent) -> None:
        """Send what happened."""
        self.send(dump(event), droppable=isinstance(event, TranscriptInterim))

    def send(self, message: dict[str, Any], droppable: bool = False) -> None:
        """Queue a message for the client. Never blocks; a client that reads nothing for too long is let go."""
        try:
            self.outbox.put(message, droppable)
        except OutboxFull:
            self.end("slow")
        self._stats.outbox_dropped += self.outbox.dropped
        self.outbox.dropped = 0
        self.wake.set()

    def attach(self, socket: object) -> None:
        """This WebSocket speaks for the session now; one that did before is to close."""
        self._attached = socket
        self._attendance_changed.set()
        self.wake.set()

    def detach(self, socket: object) -> None:
        """The WebSocket is gone; the grace period begins unless another has taken over."""
        if self._attached is socket:
            self._attached = None
            self._attendance_changed.set()

    def is_attached(self, socket: object) -> bool:
        """The WebSocket still speaks for the session."""
        return self._attached is socket

    async def _watch_attendance(self) -> None:
        while True:
            await self._attendance_changed.wait()
            self._attendance_changed.clear()
            while self._attached is None:
                try:
                    async with asyncio.timeout(self._settings.grace):
                        await self._attendance_changed.wait()
                except TimeoutError:
                    if self._connecting.locked():  # somebody is just coming back: that takes long at a slow TURN server
                        continue
                    raise Left("lost") from None
                self._attendance_changed.clear()

    # media

    @property
    def slots(self) -> dict[str, Outlet]:
        """Where they hear, by the names of the offer."""
        return {} if self._pc is None else self._pc.slots

    def connection_stats(self) -> dict[str, Any]:
        """The media connection in numbers, for operators."""
        return self._pc.stats() if self._pc is not None else {"state": "new", "slots": {}}

    async def connect(self, offer: str) -> str:
        """Answer an offer with a new media connection; one that was there before is replaced. Raises ProtocolError."""
        async with self._connecting:
            pc = self._connector(self._max_slots, self._packet, self._ticker)
            try:
                answer, admission = await pc.accept(offer)
                if self.over:  # meanwhile: nobody would close it
                    raise unknown_session()
            except BadOffer as error:
                await pc.close()
                raise ProtocolError(error.code, str(error)) from error
            except BaseException:
                await pc.close()
                raise
            old, self._pc = self._pc, pc
            self._media_changed(None if old is None else old.slots)
            if old is not None:
                old.end()
                self._replaced.append(old)  # closing takes long where a TURN server is gone: nobody waits for it here
            self._reconnected.set()
        if admission.video:
            self.send(error_message("unsupported_media", "There is no video here: those m-lines were rejected."))
        return answer

    async def add_candidate(self, candidate: str, mid: str | None, mline_index: int | None) -> None:
        """Raises ProtocolError."""
        assert self._pc is not None, "a session has a connection from the join on"
        try:
            await self._pc.add_candidate(candidate, mid, mline_index)
        except ValueError as error:
            raise ProtocolError("bad_message", str(error)) from error

    async def _watch_media(self) -> None:
        while True:
            pc = self._pc
            assert pc is not None, "connect comes before run"
            self._reconnected.clear()
            try:
                await pc.settle(self._settings.connect_timeout)
                if pc.state == "connected":
                    self._media_there.set()
                await pc.run(self._settings.connect_timeout)
            except MediaFailed as failure:
                if pc is self._pc:
                    self.send(error_message("media_failed", str(failure), retry_after=0))
                    try:
                        async with asyncio.timeout(self._settings.grace):
                            await self._reconnected.wait()
                    except TimeoutError:
                        async with self._connecting:
                            if not self._reconnected.is_set():
                                raise Left("media lost") from None
                await self._close_replaced()
