"""Our messages as the events of OpenAI's Realtime API, and its client's events answered. Pure; time is given.

A stretch of the voice's speech is a *response* there, with one output item; a stretch of the person's is an item of the
conversation. A response begins with the first sound or word, and is done when the voice is silent and its sentence
complete.

    tell(message of ours) ──► events            hear(event of theirs) ──► events, and whether to hush the voice

Names and fields are those of the `openai` package's typings (resources/realtime), and what `@openai/agents-realtime`
validates. Every event stays below what one SCTP packet carries, so that small-MTU paths take it.
"""

import json
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rtc.conversation import ASSISTANT
from rtc.room import new_id
from signaling.protocol import clean

Event = dict[str, Any]

MAX_EVENT = 128 * 1024
"""Characters of a client's event: instructions and tools of agents are long."""

MAX_RESPONSE = 240
"""Characters of a response's words after which it is done with its sentence: a monologue is several responses."""

MAX_WORDS = 600
"""Characters of the person's words, or of a message, in one event."""

MAX_ITEMS = 64
"""Items of a conversation that can be looked up."""

MAX_ECHO = 64
"""Characters of a client's own text that come back in an error."""

REFUSED = {
    "conversation.item.create": "The voice takes speech only: no text, no pictures, no results of tools.",
    "conversation.item.delete": "The voice cannot forget a part of what was said.",
    "conversation.item.truncate": "The voice cannot forget a part of what was said.",
    "input_audio_buffer.append": "Speech comes over the media connection, not in events.",
    "input_audio_buffer.clear": "The voice listens all the time: there is no buffer.",
    "input_audio_buffer.commit": "The voice listens all the time: there is no buffer.",
    "response.create": "The voice decides by itself when it speaks.",
}
"""Events that the API has and a duplex voice has no use for."""


class Refusal(Exception):
    """An event that cannot be obeyed, as the API's `error` says it."""

    def __init__(self, code: str, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.param = param


@dataclass(frozen=True, slots=True)
class Voice:
    """What a client may know of the engine."""

    model: str
    voice: str
    sample_rate: int


def session_object(voice: Voice, session_id: str) -> Event:
    """The session as it is, whatever was asked for."""
    audio_format = {"type": "audio/pcm", "rate": voice.sample_rate}
    turns = {"type": "server_vad", "create_response": True, "interrupt_response": True}
    return {
        "id": session_id,
        "object": "realtime.session",
        "type": "realtime",
        "model": voice.model,
        "output_modalities": ["audio"],
        "instructions": "",
        "tools": [],
        "tool_choice": "none",
        "tracing": None,
        "audio": {
            "input": {"format": audio_format, "turn_detection": turns},
            "output": {"format": audio_format, "voice": voice.voice, "speed": 1.0},
        },
    }


def check_session(session: Any) -> str | None:
    """What a session's configuration asks for that no duplex voice does: the field's name. Raises Refusal."""
    if not isinstance(session, dict):
        raise Refusal("invalid_type", "session must be an object.", "session")
    if session.get("type", "realtime") != "realtime":
        raise Refusal("invalid_value", "There are sessions of type realtime only.", "session.type")
    modalities = session.get("output_modalities", ["audio"])
    if not isinstance(modalities, list):
        raise Refusal("invalid_type", "output_modalities must be a list.", "session.output_modalities")
    if "audio" not in modalities:
        return "session.output_modalities"
    return next((f"session.{field}" for field in ("instructions", "tools", "prompt") if session.get(field)), None)


class Response:
    """What the voice says, from its first sound or word until it is silent."""

    def __init__(self) -> None:
        self.id = new_id("resp")
        self.item_id = new_id("item")
        self.words = ""
        self.segment = ""
        """The sentence that is not complete."""
        self.told = 0
        """Characters of that sentence."""

    def item(self, status: str) -> Event:
        """As an item of the conversation."""
        content = [] if status == "in_progress" else [{"type": "output_audio", "transcript": self.words}]
        return {"id": self.item_id, "type": "message", "role": "assistant", "status": status, "content": content}

    def event(self, type: str, **fields: Any) -> Event:
        """One that belongs to this response's only item."""
        where = {"response_id": self.id, "item_id": self.item_id, "output_index": 0, "content_index": 0}
        return {"type": type, **where, **fields}

    def output(self, type: str, status: str) -> Event:
        """One that says how the item is."""
        return {"type": type, "response_id": self.id, "output_index": 0, "item": self.item(status)}

    def state(self, type: str, status: str, **fields: Any) -> Event:
        """One that says how the response is."""
        output = [] if status == "in_progress" else [self.item("completed" if status == "completed" else "incomplete")]
        response = {"id": self.id, "object": "realtime.response", "status": status, "output": output, **fields}
        return {"type": type, "response": {"output_modalities": ["audio"], **response}}


class Dialect:
    """One conversation, as that API tells it."""

    def __init__(self, voice: Voice, asked: Event) -> None:
        """`asked`: the session that the client asked for with its call, checked."""
        self._session = session_object(voice, new_id("sess"))
        self._asked = asked
        self._items: OrderedDict[str, Event] = OrderedDict()
        self._last_item: str | None = None
        self._response: Response | None = None
        self._last_response = ""
        self._sounding = False  # the voice
        self._speech: str | None = None  # item of what the person is saying
        self._wordless: str | None = None  # item whose words are not known yet

    def opened(self) -> list[Event]:
        """The channel is there."""
        return [_numbered(event) for event in ({"type": "session.created", "session": self._session}, *self._ignored())]

    def tell(self, message: dict[str, Any], now_ms: int) -> list[Event]:
        """A message of wire protocol v1. `now_ms`: milliseconds since the call began."""
        ours = message.get("participant_id") == ASSISTANT
        match message["type"]:
            case "speech.started":
                events = self._voice_starts() if ours else self._person_starts(now_ms)
            case "speech.stopped":
                events = self._voice_stops() if ours else self._person_stops(now_ms)
            case "transcript.interim" if ours:
                events = self._words(message["segment_id"], message["text"])
            case "transcript.final":
                events = (
                    self._sentence(message["segment_id"], message["text"]) if ours else self._heard(message["text"])
                )
            case "error":
                events = [_error("server_error", message["code"], message["message"])]
            case _:
                events = []
        return [_numbered(event) for event in events]

    # what the voice says

    def _begin(self) -> list[Event]:
        if self._response is not None:
            return []
        response = self._response = Response()
        self._last_response = response.id
        events = [
            response.state("response.created", "in_progress"),
            response.output("response.output_item.added", "in_progress"),
            self._add(response.item("in_progress")),
            response.event("response.content_part.added", part={"type": "audio", "transcript": ""}),
        ]
        return events + (self._buffer("started") if self._sounding else [])

    def _buffer(self, what: str) -> list[Event]:
        return [{"type": f"output_audio_buffer.{what}", "response_id": self._last_response}]

    def _voice_starts(self) -> list[Event]:
        if self._response is None:
            self._sounding = True
            return self._begin()
        self._sounding = True
        return self._buffer("started")

    def _voice_stops(self) -> list[Event]:
        was, self._sounding = self._sounding, False
        if self._response is None:
            return []
        return (self._buffer("stopped") if was else []) + ([] if self._response.segment else self._end("completed"))

    def _words(self, segment: str, text: str) -> list[Event]:
        events = self._begin()
        response = self._response
        assert response is not None, "it has begun"
        between = ""
        if response.segment != segment:
            between = " " if response.words else ""
            response.segment, response.told = segment, 0
        delta = between + text[response.told :]
        response.told = len(text)
        if not delta:
            return events
        response.words += delta
        return [*events, response.event("response.output_audio_transcript.delta", delta=delta)]

    def _sentence(self, segment: str, text: str) -> list[Event]:
        response = self._response
        if response is None or response.segment != segment:
            return []  # of a response that was cancelled
        events = self._words(segment, text)
        response.segment = ""
        if self._sounding and len(response.words) <= MAX_RESPONSE:
            return events
        return events + (self._buffer("stopped") if self._sounding else []) + self._end("completed")

    def _end(self, status: str) -> list[Event]:
        response, self._response = self._response, None
        assert response is not None, "there is one"
        done = "completed" if status == "completed" else "incomplete"
        item = self._items[response.item_id] = response.item(done)
        details = {"status_details": {"type": status, "reason": "client_cancelled"}} if status == "cancelled" else {}
        return [
            response.event("response.output_audio.done"),
            response.event("response.output_audio_transcript.done", transcript=response.words),
            response.event("response.content_part.done", part={"type": "audio", "transcript": response.words}),
            response.output("response.output_item.done", done),
            {"type": "conversation.item.done", "item": item},
            response.state("response.done", status, **details),
        ]

    # what the person says

    def _add(self, item: Event) -> Event:
        before, self._last_item = self._last_item, item["id"]
        self._items[item["id"]] = item
        if len(self._items) > MAX_ITEMS:
            self._items.popitem(last=False)
        return {"type": "conversation.item.added", "previous_item_id": before, "item": item}

    def _person_starts(self, now_ms: int) -> list[Event]:
        self._speech = new_id("item")
        return [{"type": "input_audio_buffer.speech_started", "item_id": self._speech, "audio_start_ms": now_ms}]

    def _person_stops(self, now_ms: int) -> list[Event]:
        if self._speech is None:
            return []
        id, self._speech = self._speech, None
        self._wordless, before = id, self._last_item
        return [
            {"type": "input_audio_buffer.speech_stopped", "item_id": id, "audio_end_ms": now_ms},
            {"type": "input_audio_buffer.committed", "item_id": id, "previous_item_id": before},
            *self._person_said(id),
        ]

    def _person_said(self, id: str) -> list[Event]:
        content = [{"type": "input_audio", "transcript": None}]
        item = {"id": id, "type": "message", "role": "user", "status": "completed", "content": content}
        return [self._add(item), {"type": "conversation.item.done", "item": item}]

    def _heard(self, text: str) -> list[Event]:
        events: list[Event] = []
        if self._wordless is None:  # longer ago than the last silence, or too soft for us to notice
            self._wordless = new_id("item")
            events = self._person_said(self._wordless)
        id, self._wordless, text = self._wordless, None, text[:MAX_WORDS]
        if id in self._items:
            self._items[id] = {**self._items[id], "content": [{"type": "input_audio", "transcript": text}]}
        done = {"type": "conversation.item.input_audio_transcription.completed", "item_id": id, "content_index": 0}
        return [*events, {**done, "transcript": text}]

    # what the client wants

    def hear(self, data: str | bytes) -> tuple[list[Event], bool]:
        """A client's event: what is answered, never nothing; and whether the voice is to be hushed: even if it says
        nothing just now, for it may only draw breath."""
        answers: dict[str, Callable[[Event], list[Event]]] = {
            "session.update": self._update,
            "conversation.item.retrieve": self._retrieve,
            "response.cancel": self._cancel,
            "output_audio_buffer.clear": self._clear,
        }
        event: Event = {}
        hush = False
        try:
            event = _read(data)
            if event["type"] in REFUSED:
                raise Refusal("unsupported", REFUSED[event["type"]], "type")
            if event["type"] not in answers:
                raise Refusal("invalid_value", f"There is no event of type {_short(event['type'])!r}.", "type")
            events = answers[event["type"]](event)
            hush = event["type"] in ("response.cancel", "output_audio_buffer.clear")
        except Refusal as error:
            events = [_error("invalid_request_error", error.code, str(error), error.param, event.get("event_id"))]
        return [_numbered(one) for one in events], hush

    def _update(self, event: Event) -> list[Event]:
        session = event.get("session")
        check_session(session)
        assert isinstance(session, dict), "it was checked"
        self._asked = session
        return [*self._ignored(event.get("event_id")), {"type": "session.updated", "session": self._session}]

    def _ignored(self, event_id: Any = None) -> list[Event]:
        field = check_session(self._asked)
        if field is None:
            return []
        message = f"The voice has no {field.removeprefix('session.')} that one could set: that was ignored."
        return [_error("invalid_request_error", "unsupported", message, field, event_id)]

    def _retrieve(self, event: Event) -> list[Event]:
        id = event.get("item_id")
        item = self._items.get(id) if isinstance(id, str) else None
        if item is None:
            raise Refusal("item_not_found", "There is no such item, or it was long ago.", "item_id")
        return [{"type": "conversation.item.retrieved", "item": item}]

    def _cancel(self, event: Event) -> list[Event]:
        response = self._response
        if response is None or event.get("response_id", response.id) != response.id:
            raise Refusal("response_cancel_not_active", "The voice is not saying that.", "response_id")
        return self._cut()

    def _clear(self, event: Event) -> list[Event]:
        return self._cut() if self._response is not None else self._buffer("cleared")

    def _cut(self) -> list[Event]:
        self._sounding = False
        return self._buffer("cleared") + self._end("cancelled")


def too_fast() -> Event:
    """The answer to a client that says more than anybody can."""
    return _numbered(_error("invalid_request_error", "rate_limit_exceeded", "Too many events: some were not read."))


def _read(data: str | bytes) -> Event:
    """Raises Refusal."""
    if not isinstance(data, str):
        raise Refusal("invalid_type", "Events are text: JSON objects.")
    if len(data) > MAX_EVENT:
        raise Refusal("too_large", f"An event has at most {MAX_EVENT} characters.")
    try:
        event = json.loads(data)
    except (ValueError, RecursionError):
        raise Refusal("invalid_json", "That is not JSON.") from None
    if not isinstance(event, dict) or not isinstance(event.get("type"), str):
        raise Refusal("invalid_type", "An event is an object with a type, which is a string.", "type")
    return event


def _short(text: str) -> str:
    return clean(text[:MAX_ECHO])


def _error(type: str, code: str, message: str, param: str | None = None, event_id: Any = None) -> Event:
    """`event_id`: the client's, if it gave one that can be given back."""
    # what can be printed has no lone surrogates, which cannot be sent
    sane = isinstance(event_id, str) and len(event_id) <= MAX_ECHO and event_id.isprintable()
    offending = event_id if sane else None
    error = {"type": type, "code": code, "message": message[:MAX_WORDS], "param": param, "event_id": offending}
    return {"type": "error", "error": error}


def _numbered(event: Event) -> Event:
    return {"type": event["type"], "event_id": new_id("event"), **event}
