"""What a client may say, and how it is read."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtc.events import LagStages, SlotsUpdated, SpeechStarted, TranscriptFinal, TranscriptInterim, TranslationLag
from signaling import protocol
from signaling.protocol import (
    NEXT,
    Candidate,
    Chat,
    Join,
    Leave,
    Mute,
    Parser,
    Ping,
    ProtocolError,
    RoomUpdate,
    State,
    Update,
    clean,
    dump,
    next_state,
)

PARSER = Parser(lambda code: code in ("en", "es", "pt-BR"), max_sdp=1000, max_chat=20)
JOIN = {"type": "session.join", "name": "Ana", "language": "es", "sdp": "v=0"}


def parse(**fields: Any) -> Any:
    return PARSER.parse(json.dumps(fields))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (JOIN, Join("Ana", "es", "auto", "v=0", "both", None, None)),
        (JOIN | {"language": "es-MX", "speaks": "EN"}, Join("Ana", "es", "en", "v=0", "both", None, None)),
        (JOIN | {"language": "pt-BR"}, Join("Ana", "pt-BR", "auto", "v=0", "both", None, None)),
        (JOIN | {"name": " <b>A\u0000na\u202e</b>\n "}, Join("<b>Ana</b>", "es", "auto", "v=0", "both", None, None)),
        (JOIN | {"mix": "original", "extra": 1}, Join("Ana", "es", "auto", "v=0", "original", None, None)),
        ({"type": "session.join", "resume": "r", "last_seq": 4}, Join("", "", "", None, "both", "r", 4)),
        ({"type": "session.update", "mix": "translated"}, Update(None, None, None, "translated")),
        ({"type": "room.update", "mode": "consecutive"}, RoomUpdate("consecutive", None)),
        ({"type": "room.update", "voice": True}, RoomUpdate(None, True)),
        ({"type": "ice.candidate"}, Candidate("", None, None)),
        ({"type": "ice.candidate", "candidate": "c", "sdp_mline_index": 0}, Candidate("c", None, 0)),
        ({"type": "track.mute"}, Mute(True)),
        ({"type": "track.unmute"}, Mute(False)),
        ({"type": "chat.send", "text": " a\nb\u0007 "}, Chat("a\nb")),
        ({"type": "ping", "t": {"any": "thing"}}, Ping({"any": "thing"})),
        ({"type": "session.leave"}, Leave()),
    ],
)
def test_messages_are_read(fields: dict[str, Any], message: object) -> None:
    """Fields cleaned, languages normalised, unknown fields ignored."""
    assert parse(**fields) == message


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        (JOIN | {"sdp": None}, "bad_sdp"),
        (JOIN | {"sdp": "x" * 1001}, "too_large"),
        (JOIN | {"name": "\u200b"[:0]}, "bad_message"),
        (JOIN | {"name": "x" * 65}, "too_large"),
        (JOIN | {"name": None}, "bad_message"),
        (JOIN | {"language": True}, "bad_message"),
        (JOIN | {"language": "auto"}, "bad_language"),
        (JOIN | {"speaks": "xx"}, "bad_language"),
        (JOIN | {"resume": "r", "last_seq": True}, "bad_message"),
        (JOIN | {"mix": "loud"}, "bad_message"),
        ({"type": "room.update"}, "bad_message"),
        ({"type": "room.update", "mode": "fast"}, "bad_message"),
        ({"type": "room.update", "mode": ["consecutive"]}, "bad_message"),
        ({"type": "room.update", "voice": "moshi"}, "bad_message"),
        ({"type": "chat.send", "text": "x" * 21}, "too_large"),
        ({"type": "session.updates"}, "unknown_type"),
    ],
)
def test_mistakes_have_a_code_and_a_sentence(fields: dict[str, Any], code: str) -> None:
    """The code is stable, the sentence is for a person."""
    with pytest.raises(ProtocolError) as error:
        parse(**fields)
    assert error.value.code == code and str(error.value).endswith(".")


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"type": "ping", "t": "x" * 300}, "too_large"),
        ({"type": "ping", "t": 1, "more": "x" * 300}, "too_large"),
        ({"type": "chat.send", "text": "\x07" * 80}, "bad_message"),
        ({"type": "chat.send", "text": "\x07" * 81}, "too_large"),
        ({"type": "session.update", "name": "\x07" * 256}, "bad_message"),
        ({"type": "session.update", "name": "\x07" * 257}, "too_large"),
        ({"type": "\x07" * 40 + "x"}, "unknown_type"),
    ],
)
def test_what_is_far_too_long_is_not_looked_at(fields: dict[str, Any], code: str) -> None:
    """Nor sent back: four times what is allowed is cleaned of control characters, what is longer costs nothing."""
    with pytest.raises(ProtocolError) as error:
        parse(**fields)
    assert error.value.code == code and "x" not in str(error.value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(), children, max_size=3),
)
FIELDS = st.fixed_dictionaries(
    {"type": st.sampled_from(["session.join", "session.update", "room.update", "ice.candidate", "chat.send", "ping"])},
    optional=dict.fromkeys(
        ("name", "language", "speaks", "sdp", "resume", "last_seq", "mix", "mode", "voice", "text", "candidate"), JSON
    ),
)


@given(st.one_of(st.text(), JSON.map(json.dumps), FIELDS.map(json.dumps)))
def test_nothing_else_than_a_protocol_error(text: str) -> None:
    """Whatever is sent, it is a message or a ProtocolError."""
    try:
        PARSER.parse(text)
    except ProtocolError as error:
        assert error.code and str(error)


@given(st.text())
def test_clean_text_has_no_control_characters(text: str) -> None:
    """And cleaning twice changes nothing."""
    cleaned = clean(text)
    assert not re.search("[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", cleaned)
    assert clean(cleaned) == cleaned
    cleaned.encode()


def test_the_table_of_states() -> None:
    """Every message has a place; joining is possible once, everything else only after it, nothing after leaving."""
    join = parse(**JOIN)
    assert next_state(State.NEW, join) is State.JOINED
    assert next_state(State.NEW, Ping(1)) is State.NEW
    assert next_state(State.JOINED, Leave()) is State.LEFT
    for state, message, code in (
        (State.JOINED, join, "already_joined"),
        (State.NEW, Chat("x"), "not_joined"),
        (State.NEW, Leave(), "not_joined"),
        (State.LEFT, Chat("x"), "not_joined"),
    ):
        with pytest.raises(ProtocolError) as error:
            next_state(state, message)
        assert error.value.code == code
    assert set(NEXT) == set(State)


def test_events_become_messages() -> None:
    """Field for field; what is None is left out."""
    assert dump(SpeechStarted("p", "original", "en")) == {
        "type": "speech.started",
        "participant_id": "p",
        "variant": "original",
        "language": "en",
    }
    final = dump(TranscriptFinal("s", "u", "p", "es", "en", True, "hola", 1, 2))
    assert final["type"] == "transcript.final" and "mid" not in final and "rtp_timestamp" not in final
    interim = dump(TranscriptInterim("s", "u", "p", "es", "en", True, "hola", 1, 2, revision=3, committed=2))
    assert (interim["type"], interim["revision"], interim["committed"]) == ("transcript.interim", 3, 2)
    lag = dump(TranslationLag("s", "p", "es", 10, LagStages(1, 2, 3, 4)))
    assert lag["stages"] == {"segment": 1, "queue": 2, "translate": 3, "playout": 4}
    slots = dump(SlotsUpdated((("1", "p", "translation", "es"),)))
    assert slots == {
        "type": "slots.updated",
        "slots": [{"mid": "1", "participant_id": "p", "variant": "translation", "language": "es"}],
    }


def test_the_page_speaks_the_same_protocol() -> None:
    """static/call/protocol.js lists exactly the messages that the server reads and sends."""
    script = (Path(protocol.__file__).parent.parent / "static" / "call" / "protocol.js").read_text()

    def listed(name: str) -> set[str]:
        found = re.search(rf"export const {name} = [^\[]*\[(.*?)\]", script, re.DOTALL)
        assert found is not None, name
        return set(re.findall(r"'([a-z.]+)'", found[1]))

    assert listed("CLIENT_TYPES") == set(PARSER._readers)
    files = Path(protocol.__file__).parent.glob("*.py")
    others = ("realtime", "worker")  # speak other protocols
    sources = "".join(path.read_text() for path in files if not path.name.startswith(others))
    sent = set(re.findall(r'"type": "([a-z]+(?:\.[a-z]+)?)"', sources)) | set(protocol._TYPES.values())
    assert listed("SERVER_TYPES") == sent
