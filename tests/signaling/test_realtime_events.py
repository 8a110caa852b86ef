"""Our messages as OpenAI's events, and its client's events answered. Pure, but for the SDK's own judgement of them."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtc.conversation import ASSISTANT
from rtc.words import MAX_LENGTH
from signaling.realtime_events import MAX_ITEMS, REFUSED, Dialect, Event, Voice, too_fast

NODE_MODULES = Path(__file__).parents[1] / "node_modules"
JUDGE = """
import { parseRealtimeEvent } from './@openai/agents-realtime/dist/openaiRealtimeEvents.mjs';
import { readFileSync } from 'node:fs';
const events = JSON.parse(readFileSync(0, 'utf8'));
const bad = events.filter((event) => parseRealtimeEvent({ data: JSON.stringify(event) }).isGeneric);
console.log(JSON.stringify(bad));
"""
VOICE = Voice("moshi", "moshiko", 24_000)
PERSON = "p_1"


def speech(started: bool, who: str = ASSISTANT) -> dict[str, Any]:
    return {"type": f"speech.{'started' if started else 'stopped'}", "participant_id": who}


def words(kind: str, text: str, segment: str = "seg_1", who: str = ASSISTANT) -> dict[str, Any]:
    return {"type": f"transcript.{kind}", "participant_id": who, "segment_id": segment, "text": text}


class Talk:
    """A dialect, and all that it said."""

    def __init__(self, **asked: Any) -> None:
        self.dialect = Dialect(VOICE, asked)
        self.events: list[Event] = self.dialect.opened()

    def tell(self, *messages: dict[str, Any], now_ms: int = 0) -> list[Event]:
        events = [event for message in messages for event in self.dialect.tell(message, now_ms)]
        self.events += events
        return events

    def hear(self, type: str, **fields: Any) -> tuple[list[Event], bool]:
        events, hush = self.dialect.hear(json.dumps({"type": type, **fields}))
        self.events += events
        return events, hush


def types(events: list[Event]) -> list[str]:
    return [event["type"] for event in events]


def only(events: list[Event], type: str) -> Event:
    found = [event for event in events if event["type"] == type]
    assert len(found) == 1, types(events)
    return found[0]


DONE = [
    "response.output_audio.done",
    "response.output_audio_transcript.done",
    "response.content_part.done",
    "response.output_item.done",
    "conversation.item.done",
    "response.done",
]


def everything() -> Talk:
    """A conversation in which each kind of event comes up."""
    talk = Talk(instructions="Be kind.")
    talk.hear("session.update", session={"type": "realtime", "instructions": "Be brief."}, event_id="e1")
    talk.tell(words("interim", "Hello"), speech(True), words("interim", "Hello there."), words("final", "Hello there."))
    talk.tell(speech(False))
    talk.tell(speech(True, PERSON), now_ms=900)
    talk.tell(speech(False, PERSON), now_ms=1900)
    talk.tell(words("final", "hello", who=PERSON), words("final", "again", who=PERSON))
    item = only(talk.events, "input_audio_buffer.committed")["item_id"]
    talk.hear("conversation.item.retrieve", item_id=item)
    talk.tell(speech(True), words("interim", "Well", "seg_2"))
    talk.hear("response.cancel")
    talk.hear("output_audio_buffer.clear")
    for type in (*REFUSED, "nope"):
        talk.hear(type, event_id="e2")
    talk.tell({"type": "error", "code": "time_up", "message": "It is late.", "fatal": True})
    talk.tell({"type": "session.state", "state": "ready"})
    talk.events.append(too_fast())
    return talk


def test_the_sdk_knows_every_event() -> None:
    """Its own schemas, from npm: an event that they do not take would be dropped without a word."""
    events = everything().events
    assert len({event["event_id"] for event in events}) == len(events)
    command = ["node", "--input-type=module", "--eval", JUDGE]
    judged = subprocess.run(command, input=json.dumps(events), capture_output=True, text=True, cwd=NODE_MODULES)
    assert judged.returncode == 0, judged.stderr
    assert json.loads(judged.stdout) == []


def test_a_response_lasts_from_the_first_word_to_silence() -> None:
    """Deltas add up to the transcript, whichever of sound and words is first or last."""
    talk = Talk()
    begun = talk.tell(words("interim", "Hello"))
    assert types(begun) == [
        "response.created",
        "response.output_item.added",
        "conversation.item.added",
        "response.content_part.added",
        "response.output_audio_transcript.delta",
    ]
    assert types(talk.tell(speech(True))) == ["output_audio_buffer.started"]
    talk.tell(words("interim", "Hello there."), words("final", "Hello there."), words("interim", "I", "seg_2"))
    assert types(talk.tell(speech(False))) == ["output_audio_buffer.stopped"], "its sentence is not complete"
    done = talk.tell(words("interim", "I am", "seg_2"), words("final", "I am here", "seg_2"))
    assert types(done)[2:] == DONE
    deltas = [event["delta"] for event in talk.events if event["type"] == "response.output_audio_transcript.delta"]
    said = only(done, "response.output_audio_transcript.done")["transcript"]
    assert "".join(deltas) == said == "Hello there. I am here"
    response = only(done, "response.done")["response"]
    assert response["status"] == "completed" and response["output"][0]["content"][0]["transcript"] == said
    assert {event["response_id"] for event in talk.events if "response_id" in event} == {response["id"]}


def test_a_sound_without_words_is_a_response() -> None:
    talk = Talk()
    assert types(talk.tell(speech(True)))[-1] == "output_audio_buffer.started"
    assert types(talk.tell(speech(False))) == ["output_audio_buffer.stopped", *DONE]
    assert talk.tell(speech(False)) == []


def test_a_monologue_is_several_responses_and_each_event_fits_into_a_packet() -> None:
    """Sentences as long as they can be, without a pause."""
    talk = Talk()
    talk.tell(speech(True))
    sentence = "word " * (MAX_LENGTH // 5) + "and then the longest of them all."
    for number in range(6):
        talk.tell(words("interim", sentence, f"seg_{number}"), words("final", sentence, f"seg_{number}"))
    talk.tell(speech(False), words("final", "x" * 2000, who=PERSON))
    assert types(talk.events).count("response.done") == types(talk.events).count("response.created") == 6
    assert types(talk.events).count("output_audio_buffer.started") == 6
    assert types(talk.events).count("output_audio_buffer.stopped") == 6
    everyone = [*talk.events, *everything().events]
    assert max(len(json.dumps(event, ensure_ascii=False).encode()) for event in everyone) < 1100


def test_what_the_person_says_is_an_item_with_words_that_come_later() -> None:
    """Items name the one before; words without a silence before them get an item of their own."""
    talk = Talk()
    started = only(talk.tell(speech(True, PERSON), now_ms=1000), "input_audio_buffer.speech_started")
    assert started["audio_start_ms"] == 1000
    stopped = talk.tell(speech(False, PERSON), now_ms=2500)
    assert only(stopped, "input_audio_buffer.speech_stopped")["audio_end_ms"] == 2500
    item = only(stopped, "conversation.item.added")["item"]
    assert item["id"] == started["item_id"] and item["content"] == [{"type": "input_audio", "transcript": None}]
    completed = talk.tell(words("final", "good morning", who=PERSON))
    assert [(event["item_id"], event["transcript"]) for event in completed] == [(item["id"], "good morning")]
    (retrieved,), _ = talk.hear("conversation.item.retrieve", item_id=item["id"])
    assert retrieved["item"]["content"][0]["transcript"] == "good morning"
    more = talk.tell(words("final", "and good night", who=PERSON))
    assert only(more, "conversation.item.added")["previous_item_id"] == item["id"]
    assert talk.tell(speech(False, PERSON)) == []


def test_items_are_forgotten_in_time() -> None:
    talk = Talk()
    for _ in range(MAX_ITEMS + 1):
        talk.tell(speech(True, PERSON), speech(False, PERSON))
    items = [event["item"]["id"] for event in talk.events if event["type"] == "conversation.item.added"]
    for id, found in ((items[0], False), (items[1], True), (items[-1], True)):
        (answer,), _ = talk.hear("conversation.item.retrieve", item_id=id)
        assert (answer["type"] == "conversation.item.retrieved") is found


@pytest.mark.parametrize("how", ["response.cancel", "output_audio_buffer.clear"])
def test_a_response_is_cut_and_what_still_comes_of_it_is_not_told(how: str) -> None:
    """Once; to clear what is clear is no error, to cancel what is over is one."""
    talk = Talk()
    talk.tell(speech(True), words("interim", "Well, I"))
    events, hush = talk.hear(how)
    assert hush and types(events) == ["output_audio_buffer.cleared", *DONE]
    response = only(events, "response.done")["response"]
    assert (response["status"], response["output"][0]["status"]) == ("cancelled", "incomplete")
    assert talk.tell(words("final", "Well, I"), speech(False)) == []
    (again,), hush = talk.hear("output_audio_buffer.clear")
    assert hush and (again["type"], again["response_id"]) == ("output_audio_buffer.cleared", response["id"])
    (error,), hush = talk.hear("response.cancel", event_id="e1")
    assert not hush and error["error"]["code"] == "response_cancel_not_active" and error["error"]["event_id"] == "e1"
    assert types(talk.tell(words("interim", "So", "seg_2")))[0] == "response.created"


def test_a_session_is_what_it_is_whatever_is_asked_for() -> None:
    """What would matter and cannot be is an error, the rest is seen in the echo."""
    talk = Talk()
    assert types(talk.events) == ["session.created"]
    for asked, param in (
        ({"instructions": "Sing."}, "session.instructions"),
        ({"tools": [{"type": "function"}]}, "session.tools"),
        ({"prompt": {"id": "x"}}, "session.prompt"),
        ({"output_modalities": ["text"]}, "session.output_modalities"),
        ({"audio": {"output": {"voice": "ash"}}, "model": "gpt", "tools": [], "instructions": ""}, None),
    ):
        events, _ = talk.hear("session.update", event_id="e1", session=asked)
        session = only(events, "session.updated")["session"]
        assert (session["model"], session["audio"]["output"]["voice"]) == ("moshi", "moshiko")
        errors = [event["error"] for event in events if event["type"] == "error"]
        assert [(error["param"], error["event_id"]) for error in errors] == ([(param, "e1")] if param else [])
    assert types(Talk(instructions="Sing.").events) == ["session.created", "error"]


@pytest.mark.parametrize("session", [None, "x", [], {"type": "transcription"}, {"output_modalities": "audio"}])
def test_a_session_that_is_none_changes_nothing(session: Any) -> None:
    events, _ = Talk().hear("session.update", session=session)
    assert types(events) == ["error"]


@pytest.mark.parametrize("event_id", [5, {}, "x" * 100, "\ud800", None])
def test_only_a_sane_event_id_comes_back(event_id: Any) -> None:
    (error,), _ = Talk().hear("nope" * 100, event_id=event_id)
    assert error["error"]["event_id"] is None and len(json.dumps(error)) < 500


@settings(deadline=None)
@given(st.one_of(st.text(), st.binary(), st.recursive(st.none() | st.text(), st.lists).map(json.dumps)))
def test_nonsense_is_answered(data: str | bytes) -> None:
    events, hush = Talk().dialect.hear(data)
    assert types(events) == ["error"] and not hush


KNOWN = ["session.update", "conversation.item.retrieve", "response.cancel", "output_audio_buffer.clear", *REFUSED]
VALUES = [None, 0, "", "e1", [], {}, ["audio"], {"type": 5}, {"type": "realtime"}, {"output_modalities": 1}, 1e300]
FIELDS = st.dictionaries(
    st.sampled_from(["event_id", "session", "item_id", "response_id", "item", "audio"]), st.sampled_from(VALUES)
)


@settings(deadline=None)
@given(st.sampled_from(KNOWN), FIELDS)
def test_no_event_is_met_with_silence(type: str, fields: dict[str, Any]) -> None:
    assert Talk().hear(type, **fields)[0]
