"""Wire protocol v1 on the WebSocket, without the socket: what a client may say when, and how it is checked. Pure.

A connection is in one of four states, and a message that is not in the row of its state is an error that leaves the
state as it is:

    NEW ──session.join──► JOINED ──session.leave──► LEFT
     └──session.join──► WAITING (in line for a conversation) ──its turn──► JOINED
                           └──session.leave──► LEFT

Everything here is checked before anything is done, so that a message that exists is a legal one.
"""

import json
import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from enum import Enum, auto
from typing import Any, get_args

from rtc.events import (
    EngineTrouble,
    RoomEvent,
    SlotsUpdated,
    SpeechStarted,
    SpeechStopped,
    TranscriptFinal,
    TranscriptInterim,
    TranslationLag,
)
from rtc.room import Mode
from rtc.slots import Mix

MAX_NAME = 64

SLACK = 4
"""Times the characters that are allowed: a longer text is not cleaned first, for that takes 0.2 µs a character."""

MAX_PING = 256
"""Characters of a ping: what is sent back is kept for a while, for who resumes."""


class ProtocolError(Exception):
    """What the client sent cannot be obeyed. `code` is stable; the message is a sentence for a person. `position`: in
    the line, where they would have to wait."""

    def __init__(self, code: str, message: str, retry_after: float | None = None, position: int | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.retry_after = retry_after
        self.position = position


class State(Enum):
    """Of one WebSocket."""

    NEW = auto()
    WAITING = auto()
    JOINED = auto()
    LEFT = auto()


@dataclass(frozen=True, slots=True)
class Join:
    """`session.join`."""

    name: str
    language: str
    speaks: str
    sdp: str | None
    mix: Mix
    resume: str | None
    last_seq: int | None
    last_record: int | None = None
    """The greatest `record` the client has seen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TalkJoin(Join):
    """`session.join` of a conversation."""

    voice: str | None
    """None: any."""
    wait: bool
    """In line, if the house is full."""


@dataclass(frozen=True, slots=True)
class Update:
    """`session.update`: None is unchanged."""

    name: str | None
    language: str | None
    speaks: str | None
    mix: Mix | None


@dataclass(frozen=True, slots=True)
class RoomUpdate:
    """`room.update`: None is unchanged."""

    mode: Mode | None
    voice: bool | None
    """The voice that one can talk with is to come, or to go."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """`ice.candidate`."""

    candidate: str
    sdp_mid: str | None
    sdp_mline_index: int | None


@dataclass(frozen=True, slots=True)
class Mute:
    """`track.mute`, `track.unmute`."""

    muted: bool


@dataclass(frozen=True, slots=True)
class Chat:
    """`chat.send`."""

    text: str


@dataclass(frozen=True, slots=True)
class Ping:
    """`ping`; `t` comes back as it is."""

    t: Any


@dataclass(frozen=True, slots=True)
class Leave:
    """`session.leave`."""


ClientMessage = Join | Update | RoomUpdate | Candidate | Mute | Chat | Ping | Leave

NEXT: Mapping[State, Mapping[type, State]] = {
    State.NEW: {Join: State.JOINED, TalkJoin: State.JOINED, Ping: State.NEW},
    State.WAITING: {Ping: State.WAITING, Leave: State.LEFT},
    State.JOINED: {
        Update: State.JOINED,
        RoomUpdate: State.JOINED,
        Candidate: State.JOINED,
        Mute: State.JOINED,
        Chat: State.JOINED,
        Ping: State.JOINED,
        Leave: State.LEFT,
    },
    State.LEFT: {},
}


def next_state(state: State, message: ClientMessage) -> State:
    """The state after this message. Raises ProtocolError if it has no place here."""
    try:
        return NEXT[state][type(message)]
    except KeyError:
        if isinstance(message, Join):
            raise ProtocolError("already_joined", "This connection has joined already; open another one.") from None
        first = "It is not your turn yet." if state is State.WAITING else "Say session.join first."
        raise ProtocolError("not_joined", first) from None


class Parser:
    """Reads client messages. `knows(code)`: the engine in use has this language."""

    def __init__(self, knows: Callable[[str], bool], max_sdp: int, max_chat: int) -> None:
        self._knows = knows
        self._max_sdp = max_sdp
        self._max_chat = max_chat
        self._readers: Mapping[str, Callable[[dict[str, Any]], ClientMessage]] = {
            "session.join": self._join,
            "session.update": self._update,
            "session.leave": lambda fields: Leave(),
            "room.update": self._room_update,
            "ice.candidate": self._candidate,
            "track.mute": lambda fields: Mute(True),
            "track.unmute": lambda fields: Mute(False),
            "chat.send": self._chat,
            "ping": lambda fields: Ping(fields.get("t")),
        }

    def parse(self, text: str) -> ClientMessage:
        """One message. Raises ProtocolError."""
        try:
            fields = json.loads(text)
        except (ValueError, RecursionError):
            raise ProtocolError("bad_message", "That is not JSON.") from None
        if not isinstance(fields, dict) or not isinstance(fields.get("type"), str):
            raise ProtocolError("bad_message", "A message is a JSON object with a type.")
        reader = self._readers.get(fields["type"])
        if reader is None:
            raise ProtocolError("unknown_type", f"There is no message of type {_quote(fields['type'])}.")
        if fields["type"] == "ping" and len(text) > MAX_PING:
            raise ProtocolError("too_large", f"A ping has at most {MAX_PING} characters.")
        return reader(fields)

    def _session(self, fields: dict[str, Any]) -> tuple[str | None, str | None, int | None]:
        """`sdp`, `resume` and `last_seq`: what every kind of session begins with."""
        resume = _optional(fields, "resume", str)
        sdp = _optional(fields, "sdp", str)
        if sdp is None and resume is None:
            raise ProtocolError("bad_sdp", "session.join needs sdp: an offer.")
        if sdp is not None and len(sdp) > self._max_sdp:
            raise ProtocolError("too_large", f"The offer has {len(sdp)} characters; at most {self._max_sdp} are read.")
        return sdp, resume, _optional(fields, "last_seq", int)

    def _join(self, fields: dict[str, Any]) -> Join:
        sdp, resume, last_seq = self._session(fields)
        last_record = _optional(fields, "last_record", int)
        if resume is not None and "name" not in fields:
            return Join("", "", "", sdp, "both", resume, last_seq, last_record)
        return Join(
            _name(_required(fields, "name", str)),
            self._language(_required(fields, "language", str)),
            self._speaks(_optional(fields, "speaks", str) or "auto"),
            sdp,
            _mix(_optional(fields, "mix", str) or "both"),
            resume,
            last_seq,
            last_record,
        )

    def _update(self, fields: dict[str, Any]) -> Update:
        name, language = _optional(fields, "name", str), _optional(fields, "language", str)
        speaks, mix = _optional(fields, "speaks", str), _optional(fields, "mix", str)
        return Update(
            None if name is None else _name(name),
            None if language is None else self._language(language),
            None if speaks is None else self._speaks(speaks),
            None if mix is None else _mix(mix),
        )

    def _room_update(self, fields: dict[str, Any]) -> RoomUpdate:
        mode, voice = fields.get("mode"), _flag(fields, "voice")
        if mode is None and voice is None:
            raise ProtocolError("bad_message", "room.update needs mode or voice.")
        return RoomUpdate(None if mode is None else read_mode(mode), voice)

    def _candidate(self, fields: dict[str, Any]) -> Candidate:
        candidate = _optional(fields, "candidate", str) or ""
        if len(candidate) > 1024:
            raise ProtocolError("too_large", "That is too long for an ICE candidate.")
        return Candidate(candidate, _optional(fields, "sdp_mid", str), _optional(fields, "sdp_mline_index", int))

    def _chat(self, fields: dict[str, Any]) -> Chat:
        text = _required(fields, "text", str)
        return Chat(_cleaned(text, self._max_chat, "A message", lambda text: clean(text, keep_lines=True)))

    def _language(self, code: str) -> str:
        """Normalised: the engine's own tag, without a region it does not tell apart (`es-MX` is `es`)."""
        primary = code.split("-")[0].lower()
        for known in (code, primary):
            if self._knows(known):
                return known
        raise ProtocolError("bad_language", f"The engine in use does not know the language {_quote(code)}.")

    def _speaks(self, code: str) -> str:
        return code if code == "auto" else self._language(code)


class TalkParser(Parser):
    """Reads what is said in a conversation with the duplex voice."""

    def __init__(self, max_sdp: int) -> None:
        super().__init__(lambda code: False, max_sdp, 0)
        here = ("session.leave", "ice.candidate", "track.mute", "track.unmute", "ping")
        self._readers = {"session.join": self._talk, **{type: self._readers[type] for type in here}}

    def _talk(self, fields: dict[str, Any]) -> TalkJoin:
        sdp, resume, last_seq = self._session(fields)
        name = _optional(fields, "name", str)
        wait, voice = _flag(fields, "wait"), _optional(fields, "voice", str)
        name = "" if name is None else _name(name)
        return TalkJoin(name, "", "", sdp, "both", resume, last_seq, voice=voice, wait=wait is not False)


_BIDI_CONTROLS = re.compile("[\u202a-\u202e\u2066-\u2069]")  # they could make a name run over its neighbours


def clean(text: str, keep_lines: bool = False) -> str:
    """Text from a stranger, without control characters. Markup stays what it is: text."""
    kept = [
        character
        for character in _BIDI_CONTROLS.sub("", text)
        if (keep_lines and character == "\n") or unicodedata.category(character) not in ("Cc", "Cs")
    ]
    return "".join(kept).strip()


def _name(name: str) -> str:
    return _cleaned(name, MAX_NAME, "A name", lambda name: " ".join(clean(name).split()))


def _cleaned(text: str, limit: int, what: str, how: Callable[[str], str]) -> str:
    if len(text) <= SLACK * limit:
        text = how(text)
    if len(text) > limit:
        raise ProtocolError("too_large", f"{what} has at most {limit} characters.")
    if not text:
        raise ProtocolError("bad_message", f"{what} must not be empty.")
    return text


def _mix(mix: str) -> Mix:
    for known in get_args(Mix):
        if mix == known:
            return known  # type: ignore[no-any-return]  # get_args loses the literal types
    raise ProtocolError("bad_message", f"mix is one of {', '.join(get_args(Mix))}.")


def read_mode(mode: object) -> Mode:
    """A room's mode, as a stranger names it. Raises ProtocolError."""
    for known in get_args(Mode):
        if mode == known:
            return known  # type: ignore[no-any-return]  # get_args loses the literal types
    raise ProtocolError("bad_message", f"mode is one of {', '.join(get_args(Mode))}.")


def _optional(fields: dict[str, Any], key: str, kind: type) -> Any:
    value = fields.get(key)
    if value is None:
        return None
    if not isinstance(value, kind) or isinstance(value, bool):
        raise ProtocolError("bad_message", f"{key} must be {'a string' if kind is str else 'an integer'}.")
    return value


def _flag(fields: dict[str, Any], key: str) -> bool | None:
    value = fields.get(key)
    if value is not None and not isinstance(value, bool):
        raise ProtocolError("bad_message", f"{key} must be true or false.")
    return value


def _required(fields: dict[str, Any], key: str, kind: type) -> Any:
    value = _optional(fields, key, kind)
    if value is None:
        raise ProtocolError("bad_message", f"{fields['type']} needs {key}.")
    return value


def _quote(text: str) -> str:
    return repr(clean(text[:40]))


_TYPES: Mapping[type, str] = {
    SpeechStarted: "speech.started",
    SpeechStopped: "speech.stopped",
    TranscriptInterim: "transcript.interim",
    TranscriptFinal: "transcript.final",
    TranslationLag: "translation.lag",
    SlotsUpdated: "slots.updated",
}


def dump(event: RoomEvent) -> dict[str, Any]:
    """A room's event as a server message, without `seq`. Fields that are None are left out."""
    if isinstance(event, SlotsUpdated):
        return {"type": "slots.updated", "slots": dump_slots(event)}
    if isinstance(event, EngineTrouble):
        return error_message(event.code, event.message)
    fields = {key: value for key, value in asdict(event).items() if value is not None}
    return {"type": _TYPES[type(event)], **fields}


def dump_slots(event: SlotsUpdated) -> list[dict[str, str]]:
    """Every occupied slot."""
    return [
        {"mid": mid, "participant_id": participant_id, "variant": variant, "language": language}
        for mid, participant_id, variant, language in event.slots
    ]


def error_message(
    code: str, message: str, fatal: bool = False, retry_after: float | None = None, position: int | None = None
) -> dict[str, Any]:
    """`error`. Fatal: the server closes the WebSocket after it. `position`: in the line."""
    error: dict[str, Any] = {"type": "error", "code": code, "message": message, "fatal": fatal}
    if retry_after is not None:
        error["retry_after_s"] = round(retry_after, 1)
    if position is not None:
        error["position"] = position
    return error
