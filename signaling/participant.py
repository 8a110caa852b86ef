"""One person in a room: what they say is interpreted, what others say reaches them, what they type is translated."""

import asyncio
import contextlib
import time
from collections.abc import Coroutine, Iterable
from typing import Any

from models.base import EngineError, Transcript
from rtc.engine_thread import Engine
from rtc.interpreting import Interpreter
from rtc.room import Mode, Room, new_id
from rtc.rtp import Packet
from rtc.slots import Mix
from rtc.stats import Stats
from rtc.stream import Outlet
from rtc.ticker import Ticker
from rtc.transcript import Entry
from signaling.protocol import Join, ProtocolError, Update, dump_slots, error_message
from signaling.replay import replay, unfinished, words_message
from signaling.session import Connector, Session
from signaling.session_token import SessionToken
from signaling.settings import Settings

MAX_CHATS = 16
"""Chat messages of one person waiting for their translation."""


class Participant(Session):
    """A member of a room (`rtc.room.Member`)."""

    def __init__(
        self,
        room: Room,
        engine: Engine,
        stats: Stats,
        settings: Settings,
        connector: Connector,
        ticker: Ticker,
        joining: Join,
        secret: bytes,
        moved: SessionToken | None = None,
    ) -> None:
        """`secret` signs what they resume with. `moved`: who they were where the room was before."""
        super().__init__(stats, settings, connector, ticker, settings.max_slots)
        if moved is not None:
            self.id, self.session_id = moved.participant, moved.session
        self.name = joining.name
        self.language = joining.language
        self.speaks = joining.speaks
        self.mix: Mix = joining.mix
        self.muted = False
        self.last_spoke = 0.0
        self.room = room
        self._secret = secret
        self._engine = engine
        self._interpreter = Interpreter(room, self, engine, stats, ticker)
        self._chats: asyncio.Queue[tuple[Entry, set[str]]] = asyncio.Queue(MAX_CHATS)
        """With the ids of those who need no translation."""
        self._routes_changed = asyncio.Event()

    # what a room needs to know

    @property
    def source_language(self) -> str:
        """`auto` is what they listen in: an engine that can tell languages apart will know better."""
        return self.language if self.speaks == "auto" else self.speaks

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

    @property
    def place(self) -> str:
        return self.room.id

    def _work(self) -> Iterable[Coroutine[Any, Any, None]]:
        return self._interpreter.run(), self._translate_chats(), self._prepare_routes()

    def _packet(self, packet: Packet) -> None:
        self._interpreter.packet(packet)

    def _media_changed(self, old: dict[str, Outlet] | None) -> None:
        if old is not None:
            self.room.reconnect(self, old)

    def _depart(self) -> None:
        self._interpreter.muted = True  # packets still come until the connection is closed
        self.room.leave(self, asyncio.get_running_loop().time())
        for member in people(self.room):
            if not member.over:  # where everybody goes, nobody is left behind
                member.send({"type": "participant.left", "participant": self.public()})
                member.routes_changed()

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
            **self.connection_stats(),
        }

    def joined(self, answer: str | None) -> dict[str, Any]:
        """`session.joined`, on joining and on resuming."""
        engine = self._engine
        members = [member.public() for member in people(self.room)]
        expires = round(time.time() + self._settings.session_ttl)
        token = SessionToken(self.room.id, self.room.generation, self.id, self.session_id, expires)
        return {
            "type": "session.joined",
            "session_id": self.session_id,
            "resume": token.sign(self._secret),
            "participant": self.public(),
            "room": card(self.room),
            "participants": members,
            "slots": dump_slots(self.room.slots_of(self)),
            "sdp": answer,
            "state": engine.state if engine.state != "failed" else "warming",
            "engine": {"name": engine.translator.name, "notice": engine.translator.notice},
        }

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
        self.room.transcript.record(entry, entry.language, text)
        told = {member.id for member in people(self.room) if member.language == entry.language or member is self}
        for member in people(self.room):
            if member.id in told:
                member.send(words_message(entry, entry.language))
        self._chats.put_nowait((entry, told))

    def catch_up(self, last_record: int) -> None:
        """They come from where the room was before: what they missed since, and what was still to be translated."""
        transcript, now = self.room.transcript, self.room.milliseconds(asyncio.get_running_loop().time())
        for message in replay(transcript, last_record, self.id, self.language):
            self.send(message)
        others = {member.id for member in people(self.room)} - {self.id}
        for entry in unfinished(transcript, self.id, self.language, now)[-MAX_CHATS:]:
            self._chats.put_nowait((entry, others))

    async def _translate_chats(self) -> None:
        """Messages one after the other, to everybody who has not read them as they are, in their language."""
        translator, transcript = self._engine.translator, self.room.transcript
        while True:
            entry, told = await self._chats.get()
            waiting: dict[str, list[Participant]] = {}
            for member in people(self.room):
                if member.id not in told:
                    waiting.setdefault(member.language, []).append(member)
            source, words = entry.words
            routed = [language for language in waiting if translator.route(source, language) is not None]
            if routed and self._engine.state == "ready":
                try:
                    renderings = translator.render(Transcript(words, source), routed, speech=False)
                    while (rendering := await self._engine.run(next, renderings, None)) is not None:
                        transcript.record(entry, rendering.language, rendering.text)
                        self._stats.translations[f"{source}>{rendering.language}"] += 1
                        for member in waiting.pop(rendering.language, []):
                            member.send(words_message(entry, rendering.language, rendering.via))
                except EngineError as error:
                    self.send(error_message("engine_failed", str(error)))
            for language, members in waiting.items() if entry.kind == "chat" else ():
                transcript.record(entry, language, None)  # better read as it is than not at all
                for member in members:
                    member.send(words_message(entry, language))

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
