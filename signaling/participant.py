"""One person in a room: their whole life, whichever WebSockets and media connections they have on the way.

    join ──► run: interpreter + media + attendance + chat ──► leave | lost | media lost ──► everything released

A WebSocket is only attached: when it goes, media go on, and for `grace` seconds a new one may take its place.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import Any

from models.base import EngineError, Transcript
from rtc.engine_thread import Engine
from rtc.events import RoomEvent, TranscriptInterim
from rtc.interpreting import Interpreter
from rtc.peer_connection import MediaFailed, PeerConnection
from rtc.room import Mode, Room, new_id
from rtc.slots import Mix
from rtc.stats import Stats
from rtc.stream import Outlet
from rtc.ticker import Ticker
from rtc.transcript import Entry
from signaling.outbox import Outbox, OutboxFull
from signaling.protocol import Join, ProtocolError, Update, dump, dump_slots, error_message
from signaling.settings import Settings

log = logging.getLogger(__name__)

MAX_CHATS = 16
"""Chat messages of one person waiting for their translation."""


class Left(Exception):
    """Ends a participant's tasks; the message is the reason."""


class Participant:
    """A member of a room (`rtc.room.Member`)."""

    def __init__(
        self,
        room: Room,
        engine: Engine,
        stats: Stats,
        settings: Settings,
        ice_servers: Callable[[], list[dict[str, Any]]],
        ticker: Ticker,
        joining: Join,
    ) -> None:
        self.id = new_id("p")
        self.session_id = new_id("s")
        self.resume_token = new_id("r")
        self.name = joining.name
        self.language = joining.language
        self.speaks = joining.speaks
        self.mix: Mix = joining.mix
        self.muted = False
        self.last_spoke = 0.0
        self.room = room
        self.outbox = Outbox()
        self.wake = asyncio.Event()
        """Something is in the outbox, or the attached WebSocket changed."""
        self._engine = engine
        self._stats = stats
        self._settings = settings
        self._ice_servers = ice_servers
        self._ticker = ticker
        self._interpreter = Interpreter(room, self, engine, stats, ticker)
        self._pc: PeerConnection | None = None
        self._replaced: list[PeerConnection] = []
        self._connecting = asyncio.Lock()
        self._reconnected = asyncio.Event()
        self._attached: object | None = None
        self._attendance_changed = asyncio.Event()
        self._chats: asyncio.Queue[Entry] = asyncio.Queue(MAX_CHATS)
        self._routes_changed = asyncio.Event()
        self._over: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    # what a room needs to know

    @property
    def source_language(self) -> str:
        """`auto` is what they listen in: an engine that can tell languages apart will know better."""
        return self.language if self.speaks == "auto" else self.speaks

    @property
    def slots(self) -> dict[str, Outlet]:
        return {} if self._pc is None else self._pc.slots

    def tell(self, event: RoomEvent) -> None:
        self.send(dump(event), droppable=isinstance(event, TranscriptInterim))

    def public(self) -> dict[str, Any]:
        """As others see them."""
        return {
            "id": self.id,
            "name": self.name,
            "language": self.language,
            "speaks": self.speaks,
            "muted": self.muted,
        }

    # life

    async def run(self) -> None:
        """From the join to the end. Never raises: what goes wrong with one person is theirs alone."""
        log.info("%s opened in %s", self.session_id, self.room.id)
        reason = "failed"
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._interpreter.run())
                tasks.create_task(self._watch_media())
                tasks.create_task(self._watch_attendance())
                tasks.create_task(self._translate_chats())
                tasks.create_task(self._prepare_routes())
                raise Left(await self._over)
        except* Left as left:
            reason = str(left.exceptions[0])
        except* Exception:  # a bug in one person's session must not end the others'
            log.exception("%s failed", self.session_id)
            with contextlib.suppress(OutboxFull):
                self.outbox.put(error_message("internal", "Something broke on the server. Please join again.", True))
        finally:
            await self._release(reason)

    async def _release(self, reason: str) -> None:
        self.end(reason)
        self._interpreter.muted = True  # packets still come until the connection is closed
        self.room.leave(self, asyncio.get_running_loop().time())
        for member in people(self.room):
            member.send({"type": "participant.left", "participant": self.public()})
            member.routes_changed()
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

    def media_stats(self) -> dict[str, Any]:
        """Their media connection in numbers, for operators."""
        inbound = self._interpreter.inbound
        return {
            "participant_id": self.id,
            "room": self.room.id,
            "level_dbfs": round(inbound.level, 1),
            "decoded_ms": inbound.decoded_ms,
            "packets_recovered": inbound.recovered,
            "packets_concealed": inbound.concealed,
            "packets_late": inbound.late,
            "jitter_depth_ms": round(inbound.depth * 1000),
            "packets_undecodable": inbound.undecodable,
            **(self._pc.stats() if self._pc is not None else {"state": "new", "slots": {}}),
        }

    # messages

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
        """This WebSocket speaks for the participant now; one that did before is to close."""
        self._attached = socket
        self._attendance_changed.set()
        self.wake.set()

    def detach(self, socket: object) -> None:
        """The WebSocket is gone; the grace period begins unless another has taken over."""
        if self._attached is socket:
            self._attached = None
            self._attendance_changed.set()

    def is_attached(self, socket: object) -> bool:
        """The WebSocket still speaks for the participant."""
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
                    raise Left("lost") from None
                self._attendance_changed.clear()

    def joined(self, answer: str | None) -> dict[str, Any]:
        """`session.joined`, on joining and on resuming."""
        engine = self._engine
        members = [member.public() for member in people(self.room)]
        return {
            "type": "session.joined",
            "session_id": self.session_id,
            "resume": self.resume_token,
            "participant": self.public(),
            "room": card(self.room),
            "participants": members,
            "slots": dump_slots(self.room.slots_of(self)),
            "sdp": answer,
            "state": engine.state if engine.state != "failed" else "warming",
            "engine": {"name": engine.translator.name, "notice": engine.translator.notice},
        }

    # media

    async def connect(self, offer: str) -> str:
        """Answer an offer with a new media connection; one that was there before is replaced. Raises ProtocolError."""
        async with self._connecting:
            pc = PeerConnection(self._ice_servers(), self._settings.max_slots, self._interpreter.packet, self._ticker)
            try:
                answer, admission = await pc.accept(offer)
            except BaseException:
                await pc.close()
                raise
            old, self._pc = self._pc, pc
            if old is not None:
                self.room.reconnect(self, old.slots)
                old.end()
                self._replaced.append(old)  # closing takes long where a TURN server is gone: nobody waits for it here
            self._reconnected.set()
        if admission.video:
            self.send(error_message("unsupported_media", "There is no video here: those m-lines were rejected."))
        return answer

    async def add_candidate(self, candidate: str, mid: str | None, mline_index: int | None) -> None:
        """Raises ProtocolError."""
        assert self._pc is not None, "a participant has a connection from the join on"
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
                await pc.run(self._settings.connect_timeout)
            except MediaFailed as failure:
                if pc is not self._pc:
                    await self._close_replaced()
                    continue
                self.send(error_message("media_failed", str(failure), retry_after=0))
                try:
                    async with asyncio.timeout(self._settings.grace):
                        await self._reconnected.wait()
                except TimeoutError:
                    raise Left("media lost") from None

    # what they do

    def mute(self, muted: bool) -> None:
        """Their microphone goes nowhere, or again everywhere."""
        if muted != self.muted:
            self.muted = muted
            self._interpreter.mute(muted)
            self._tell_updated()

    def update(self, change: Update) -> None:
        """Another name, language or mix, in the middle of a call."""
        self.name = change.name if change.name is not None else self.name
        self.language = change.language if change.language is not None else self.language
        self.speaks = change.speaks if change.speaks is not None else self.speaks
        self.mix = change.mix if change.mix is not None else self.mix
        self.send({"type": "session.updated", "participant": self.public(), "mix": self.mix})
        self._tell_updated()
        self.room.reassign()
        for member in people(self.room):
            member.routes_changed()

    def update_room(self, mode: Mode) -> None:
        """Anybody in the room may decide how it is interpreted, from the next segments on."""
        self.room.mode = mode
        for member in people(self.room):
            member.send({"type": "room.updated", "room": card(self.room)})

    def _tell_updated(self) -> None:
        for member in people(self.room):
            member.send({"type": "participant.updated", "participant": self.public()})

    def chat(self, text: str) -> None:
        """Write to everybody. Raises ProtocolError when too much waits already."""
        now = self.room.milliseconds(asyncio.get_running_loop().time())
        utterance_id = new_id("utt")
        entry = Entry("chat", new_id("msg"), utterance_id, self.id, self.name, self.source_language, text, now, now)
        if self._chats.full():
            raise ProtocolError("rate_limited", "Your last messages are still being translated.", retry_after=1)
        self.room.transcript.add(entry)
        self._chats.put_nowait(entry)

    async def _translate_chats(self) -> None:
        """Messages one after the other, each to everybody in their language: at once where it is the sender's own."""
        translator = self._engine.translator
        while True:
            entry = await self._chats.get()
            waiting: dict[str, list[Participant]] = {}
            for member in people(self.room):
                if member.language == entry.language or member is self:
                    member.send(_chat_message(entry, entry.language, entry.text))
                else:
                    waiting.setdefault(member.language, []).append(member)
            routed = [language for language in waiting if translator.route(entry.language, language) is not None]
            if routed and self._engine.state == "ready":
                try:
                    renderings = translator.render(Transcript(entry.text, entry.language), routed, speech=False)
                    while (rendering := await self._engine.run(next, renderings, None)) is not None:
                        entry.translations[rendering.language] = rendering.text
                        self._stats.translations[f"{entry.language}>{rendering.language}"] += 1
                        for member in waiting.pop(rendering.language, []):
                            member.send(_chat_message(entry, rendering.language, rendering.text, rendering.via))
                except EngineError as error:
                    self.send(error_message("engine_failed", str(error)))
            for members in waiting.values():  # nobody can translate it: better read as it is than not at all
                for member in members:
                    member.send(_chat_message(entry, entry.language, entry.text))

    # getting ready

    def routes_changed(self) -> None:
        """Somebody came, went or changed language."""
        self._interpreter.languages_changed()
        self._routes_changed.set()

    async def _prepare_routes(self) -> None:
        """Warm the way from this speaker to each language in the room before the first word is said."""
        while True:
            await self._routes_changed.wait()
            self._routes_changed.clear()
            if self._engine.state != "ready":
                continue
            for target in self.room.targets(self, self.source_language):
                with contextlib.suppress(EngineError):  # it will fail again, and be told, when it is needed
                    await self._engine.run(self._engine.translator.prepare, self.source_language, target)


def people(room: Room) -> list[Participant]:
    """Everybody in a room, as what they are."""
    return [member for member in room if isinstance(member, Participant)]


def card(room: Room) -> dict[str, Any]:
    """A room as those in it see it."""
    return {"id": room.id, "name": room.name, "mode": room.mode}


def _chat_message(entry: Entry, language: str, text: str, via: tuple[str, ...] = ()) -> dict[str, Any]:
    return {
        "type": "chat.message",
        "message_id": entry.segment_id,
        "utterance_id": entry.utterance_id,
        "participant_id": entry.participant_id,
        "name": entry.name,
        "language": language,
        "source_language": entry.language,
        "text": text,
        "original_text": entry.text,
        "via": via,
    }
