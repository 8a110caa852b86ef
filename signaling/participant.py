"""One person in a room: what they say is interpreted, what others say reaches them, what they type is translated."""

import asyncio
import time
from collections.abc import Coroutine, Iterable
from typing import Any

from models.base import EngineError, Transcript
from rtc.dialogue_thread import DialogueThread
from rtc.engine_thread import Engine
from rtc.fan_out import Outlet
from rtc.guest import Guest
from rtc.interpreting import Interpreter
from rtc.room import Mode, Room, new_id
from rtc.rtp import Packet
from rtc.slots import Mix
from rtc.stats import Stats
from rtc.streaming_translation import StreamingTranslator
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
        dialogue: DialogueThread | None,
        secret: bytes,
        moved: SessionToken | None = None,
        streaming: StreamingTranslator | None = None,
    ) -> None:
        """`dialogue`: the voice that they may invite. `secret` signs what they resume with. `moved`: who they were
        where the room was before."""
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
        self._dialogue = dialogue
        self._interpreter = Interpreter(room, self, engine, stats, ticker, streaming=streaming)
        self._chats: asyncio.Queue[tuple[Entry, set[str]]] = asyncio.Queue(MAX_CHATS)
        """With the ids of those who need no translation."""

    # what a room needs to know

    @property
    def source_language(self) -> str:
        """`auto` is what they listen in: an engine that can tell languages apart will know better."""
        return self.language if self.speaks == "auto" else self.speaks

    def room_changed(self) -> None:
        """Other languages may be wanted now."""
        self._interpreter.languages_changed()

    # life

    @property
    def place(self) -> str:
        return self.room.id

    def _work(self) -> Iterable[Coroutine[Any, Any, None]]:
        return self._interpreter.run(), self._translate_chats()

    def _packet(self, packet: Packet, now: float) -> None:
        self._interpreter.packet(packet, now)

    def _media_changed(self, old: dict[str, Outlet] | None) -> None:
        if old is not None:
            self.room.reconnect(self, old)

    def _depart(self) -> None:
        self._interpreter.muted = True  # packets still come until the connection is closed
        self.room.leave(self, asyncio.get_running_loop().time())
        announce(self.room, {"type": "participant.left", "participant": public(self)})
        self.room.changed()

    def media_stats(self) -> dict[str, Any]:
        """Their media connection in numbers, for operators."""
        return {
            "participant_id": self.id,
            "room": self.room.id,
            **self._interpreter.inbound.stats(),
            **self.connection_stats(),
        }

    def joined(self, answer: str | None) -> dict[str, Any]:
        """`session.joined`, on joining and on resuming."""
        engine, voice = self._engine, self._dialogue
        expires = int(time.time() + self._settings.session_ttl)
        token = SessionToken(self.room.id, self.room.generation, self.id, self.session_id, expires)
        return {
            "type": "session.joined",
            "session_id": self.session_id,
            "resume": token.sign(self._secret),
            "participant": public(self),
            "room": card(self.room),
            "participants": present(self.room),
            "mix": self.mix,
            "slots": dump_slots(self.room.slots_of(self)),
            "sdp": answer,
            "state": engine.state if engine.state != "failed" else "warming",
            "engine": {"name": engine.translator.name, "notice": engine.translator.notice},
            **({} if voice is None else {"voice": {"name": voice.title, "notice": voice.dialogue.notice}}),
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
        self.send({"type": "session.updated", "participant": public(self), "mix": self.mix})
        self._tell_updated()
        self.room.reassign()
        self.room.changed()

    def update_room(self, mode: Mode) -> None:
        """Anybody in the room may decide how it is interpreted, from the next segments on."""
        self.room.mode = mode
        announce(self.room, {"type": "room.updated", "room": card(self.room)})

    def _tell_updated(self) -> None:
        announce(self.room, {"type": "participant.updated", "participant": public(self)})

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


def people(room: Room) -> list[Participant]:
    """Everybody in a room who is somebody."""
    return [member for member in room if isinstance(member, Participant)]


def present(room: Room) -> list[dict[str, Any]]:
    """Everybody in a room as others see them, the voice that was invited too."""
    return [public(member) for member in room if isinstance(member, Participant | Guest)]


def public(member: Participant | Guest) -> dict[str, Any]:
    """Somebody as others see them."""
    return {
        "id": member.id,
        "name": member.name,
        "language": member.language,
        "speaks": member.speaks,
        "muted": member.muted,
        **({"kind": "voice"} if isinstance(member, Guest) else {}),
    }


def announce(room: Room, message: dict[str, Any], but: Participant | None = None) -> None:
    """Send a message to everybody in a room who stays, or to everybody but one."""
    for person in people(room):
        if person is not but and not person.over:  # where all go at once, nobody is left
            person.send(message)


def card(room: Room) -> dict[str, Any]:
    """A room as those in it see it."""
    return {"id": room.id, "name": room.name, "mode": room.mode}
