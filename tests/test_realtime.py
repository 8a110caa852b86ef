"""Calls by OpenAI's Realtime API: stock aiortc clients, the real application, and a voice that says what it hears."""

import contextlib
import io
import json
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import aiohttp
import aioice.ice
import numpy as np
import pytest
from aiortc import RTCDataChannel, RTCPeerConnection

from models.base import EngineBroken
from rtc.dialogue_thread import DialogueThread
from signaling.client_secrets import ClientSecrets
from signaling.settings import Settings
from tests.client import RATE, Client
from tests.conftest import Answer, Server, serve
from tests.parrot import Parrot
from tests.test_conversation import loudness_at, state, tone, until_taken

CALLS = "/v1/realtime/calls"
SECRETS = "/v1/realtime/client_secrets"
KEY = "sk-the-key-of-this-server"
SETTINGS = Settings(translator="echo", http_rate=1000, grace=1000.0)  # nobody may wait for that


@pytest.fixture
def settings() -> Settings:
    """Tests that need other ones are parametrised with them."""
    return SETTINGS


@pytest.fixture
async def server(settings: Settings) -> AsyncIterator[Server]:
    async for running in serve(settings, dialogue=DialogueThread(Parrot(2))):
        yield running


class Phone(Client):
    """A client whose messages are the events of its data channel."""

    def __init__(self, server: Server) -> None:
        super().__init__(server.http, server.base, "call")
        self._server = server
        self.channel: RTCDataChannel | None = None
        self.location = ""
        self.lengths: list[int] = []

    async def dial(self, label: str | None = "oai-events", microphone: bool = True) -> str:
        """An offer with a microphone and a data channel, or without."""
        pc = self.pc = RTCPeerConnection()
        if microphone:
            pc.addTransceiver(self.microphone, direction="sendrecv")
        if label is not None:
            self.channel = pc.createDataChannel(label)
            self.channel.on("message", self._on_event)
            self.channel.on("close", self._news.set)
        pc.on("track", self._on_track)
        await pc.setLocalDescription(await pc.createOffer())
        return str(pc.localDescription.sdp)

    def _on_event(self, data: str) -> None:
        self.lengths.append(len(data.encode()))
        self.messages.append(json.loads(data))
        self._news.set()

    async def call(self, label: str | None = "oai-events") -> "Phone":
        """From the offer to media."""
        answer = await post(self._server, await self.dial(label))
        assert answer.status == 201, answer.text
        return await self.pick_up(answer)

    async def pick_up(self, answer: Answer) -> "Phone":
        assert answer.content_type == "application/sdp"
        self.location = answer.headers["Location"]
        await self.accept(answer.text)
        await self.connected()
        return self

    def say(self, event: Any) -> None:
        """An event, or what is none."""
        assert self.channel is not None
        self.channel.send(event if isinstance(event, str | bytes) else json.dumps(event))

    def voice(self) -> np.ndarray:
        return self.ears["0"].pcm() if "0" in self.ears else np.zeros(0, np.float32)

    async def hears(self, hertz: float) -> None:
        await self.until(lambda: len(self.voice()) > RATE and loudness_at(self.voice(), hertz) > 0.02, "a tone")

    async def hung_up(self) -> None:
        """Wait until the server has ended it."""
        await self.until(lambda: self.channel is not None and self.channel.readyState == "closed", "the end")


@contextlib.asynccontextmanager
async def calling(server: Server, label: str | None = "oai-events") -> AsyncIterator[Phone]:
    phone = Phone(server)
    try:
        yield await phone.call(label)
    finally:
        await phone.close()


def bearer(token: str | None) -> dict[str, str]:
    return {} if token is None else {"Authorization": f"Bearer {token}"}


async def post(server: Server, sdp: str, token: str | None = None) -> Answer:
    headers = {"Content-Type": "application/sdp", **bearer(token)}
    return await server.get(CALLS, "POST", data=sdp.encode(), headers=headers)


def error_of(answer: Answer) -> tuple[int, str]:
    """(status, code) of an error in that API's shape."""
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"} and error["message"]
    return answer.status, error["code"]


async def offer_of(server: Server, label: str | None = "oai-events", microphone: bool = True) -> str:
    """Of a client that is gone again."""
    phone = Phone(server)
    offer = await phone.dial(label, microphone)
    await phone.close()
    return offer


async def test_one_calls_hears_reads_and_hangs_up(server: Server) -> None:
    """The voice comes back on the microphone's m-line, its words in events; the hang-up frees the seat and is told."""
    async with calling(server) as ana:
        assert ana.location.startswith(f"{CALLS}/rtc_")
        ana.microphone.say(tone(440, 1.5))
        await ana.hears(440)
        delta = await ana.expect("response.output_audio_transcript.delta", lambda m: m["delta"] == " 2.")
        heard = await ana.expect("conversation.item.input_audio_transcription.completed")
        ana.say({"type": "conversation.item.retrieve", "item_id": heard["item_id"]})
        item = (await ana.expect("conversation.item.retrieved"))["item"]
        assert (item["role"], item["content"][0]["transcript"]) == ("user", "hello")
        started = await ana.expect("input_audio_buffer.speech_started")
        stopped = await ana.expect("input_audio_buffer.speech_stopped")
        assert started["item_id"] == stopped["item_id"] and stopped["audio_end_ms"] > started["audio_start_ms"]
        done = await ana.expect("response.done", lambda m: m["response"]["id"] == delta["response_id"])
        assert done["response"]["output"][0]["content"][0]["transcript"].startswith("0 1 2.")
        types = [message["type"] for message in ana.messages]
        assert types[0] == "session.created"
        assert types.index("output_audio_buffer.started") < types.index("output_audio_buffer.stopped")
        assert max(ana.lengths) < 1100

        assert (await server.get(f"{ana.location}/hangup", "POST")).status == 200
        await ana.hung_up()
        await until_taken(server, 0)
        assert error_of(await server.get(f"{ana.location}/hangup", "POST")) == (404, "call_not_found")


async def test_a_form_may_ask_for_a_session(server: Server) -> None:
    """What the voice has is echoed, what it has not is told: in the first events, and at each update."""
    phone = Phone(server)
    form = aiohttp.FormData()
    form.add_field("sdp", await phone.dial(), content_type="application/sdp", filename="offer")
    form.add_field("session", json.dumps({"type": "realtime", "instructions": "Sing."}))
    answer = await server.get(CALLS, "POST", data=form)
    assert answer.status == 201, answer.text
    await phone.pick_up(answer)
    error = (await phone.expect("error"))["error"]
    assert (error["code"], error["param"]) == ("unsupported", "session.instructions")
    phone.say({"type": "session.update", "event_id": "mine", "session": {"type": "realtime", "tools": [{}]}})
    error = (await phone.expect("error", lambda m: m["error"]["event_id"] == "mine"))["error"]
    assert error["param"] == "session.tools"
    updated = (await phone.expect("session.updated"))["session"]
    assert (updated["model"], updated["tools"], updated["audio"]["output"]["voice"]) == ("parrot", [], "parrot")
    await phone.close()
    await until_taken(server, 0)


@pytest.mark.parametrize(
    ("fields", "status", "code"),
    [
        ({}, 400, "missing_required_parameter"),
        ({"sdp": "v=0", "session": "{"}, 400, "invalid_json"),
        ({"sdp": "v=0", "session": "[]"}, 400, "invalid_type"),
        ({"sdp": "v=0", "session": '{"type": "transcription"}'}, 400, "invalid_value"),
        ({"sdp": "\ud800"}, 400, "invalid_value"),
        ({"sdp": "v=0", "session": "{}"}, 400, "no_audio"),
        ({"sdp": "hello", "session": "{}"}, 400, "bad_sdp"),
        ({"sdp": "v" * 1_000_000}, 413, "too_large"),
    ],
)
async def test_a_bad_form_costs_no_seat(server: Server, fields: dict[str, str], status: int, code: str) -> None:
    form = aiohttp.FormData(default_to_multipart=True)
    for name, value in {"unknown": "field", **fields}.items():
        form.add_field(name, io.BytesIO(value.encode(errors="surrogatepass")), content_type="application/octet-stream")
    assert error_of(await server.get(CALLS, "POST", data=form)) == (status, code)
    assert (await state(server))["seats_taken"] == 0


async def test_other_bad_calls_cost_no_seat(server: Server) -> None:
    """No audio, no SDP, another type, an address that is none: all in that API's shape."""
    assert error_of(await post(server, await offer_of(server, microphone=False))) == (400, "no_audio")
    assert error_of(await post(server, "")) == (400, "bad_sdp")
    assert error_of(await post(server, "v" * 1_000_000)) == (413, "too_large")
    assert error_of(await server.get(CALLS, "POST", json={})) == (415, "unsupported_content_type")
    broken = {"Content-Type": "multipart/form-data"}
    assert error_of(await server.get(CALLS, "POST", data=b"x", headers=broken)) == (400, "invalid_body")
    broken = {"Content-Type": "multipart/form-data; boundary=x"}
    for part in (b"--x\r\nno header\r\n\r\nv=0\r\n--x--", b"--x\r\nA: " + b"a" * 9000 + b"\r\n\r\nv=0\r\n--x--"):
        assert error_of(await server.get(CALLS, "POST", data=part, headers=broken)) == (400, "bad_message")
    assert error_of(await server.get(CALLS)) == (405, "method_not_allowed")
    assert error_of(await server.get("/v1/realtime/nothing")) == (404, "not_found")
    assert (await state(server))["seats_taken"] == 0


async def test_a_full_house_answers_at_once(server: Server) -> None:
    """503 with Retry-After; whoever hangs up, even by DELETE, leaves a seat to the next."""
    async with calling(server) as ana, calling(server):
        offer = await offer_of(server)
        full = await post(server, offer)
        assert error_of(full) == (503, "house_full") and int(full.headers["Retry-After"]) > 0
        assert (await state(server))["waiting"] == 0
        assert (await server.get(ana.location, "DELETE")).status == 200
        await until_taken(server, 1)
        async with calling(server) as cleo:
            cleo.microphone.say(tone(500))
            await cleo.hears(500)


@pytest.mark.parametrize("settings", [replace(SETTINGS, api_key=KEY)])
async def test_a_server_with_a_key_asks_for_it_or_for_a_secret(server: Server) -> None:
    """Secrets are given to those who show the key; calls are made, and ended, with either."""
    refused = (401, "invalid_api_key")
    for token in (None, "sk-another", "ek_nonsense"):
        assert error_of(await server.get(SECRETS, "POST", headers=bearer(token))) == refused
        assert error_of(await post(server, "v=0", token)) == refused
        assert error_of(await server.get(f"{CALLS}/rtc_x/hangup", "POST", headers=bearer(token))) == refused
    expired, _ = ClientSecrets(KEY).issue(10, time.time() - 10)
    assert error_of(await post(server, "v=0", expired)) == refused
    life = {"expires_after": {"anchor": "created_at", "seconds": 60}}
    given = (await server.get(SECRETS, "POST", json=life, headers=bearer(KEY))).json()
    assert given["value"].startswith("ek_") and 0 < given["expires_at"] - time.time() <= 60
    assert given["session"]["model"] == "parrot"
    assert error_of(await server.get(SECRETS, "POST", headers=bearer(given["value"]))) == refused
    for token in (given["value"], KEY):
        phone = Phone(server)
        await phone.pick_up(await post(server, await phone.dial(), token))
        assert (await server.get(f"{phone.location}/hangup", "POST", headers=bearer(token))).status == 200
        await phone.hung_up()
        await phone.close()


async def test_a_server_without_a_key_is_open_but_not_to_a_bad_secret(server: Server) -> None:
    """As clients insist on secrets, anybody gets one."""
    given = (await server.get(SECRETS, "POST")).json()["value"]
    assert error_of(await post(server, "v=0", given)) == (400, "no_audio")
    assert error_of(await post(server, "v=0", "sk-whatever")) == (400, "no_audio")
    assert error_of(await post(server, "v=0", given[:-2] + "xx")) == (401, "invalid_api_key")
    for bad in ({"seconds": 5}, {"seconds": True}, {"anchor": "tomorrow"}, "soon", []):
        answer = await server.get(SECRETS, "POST", json={"expires_after": bad})
        assert error_of(answer) == (400, "invalid_value"), bad
    assert error_of(await server.get(SECRETS, "POST", json={"session": 1})) == (400, "invalid_type")
    assert error_of(await server.get(SECRETS, "POST", data=b"[")) == (400, "bad_message")


async def test_nonsense_on_the_channel_is_answered_and_the_call_goes_on(server: Server) -> None:
    """Each with an error; what has an event_id gets it back."""
    async with calling(server) as ana:
        await ana.expect("session.created")
        nonsense: list[Any] = [b"\x00\xff", "", "{", "[1]", "7", "[" * 100_000, {"type": 5}, {"no": "type"}]
        nonsense += [{"type": type, "event_id": f"e{i}"} for i, type in enumerate(["nope", "response.create"])]
        nonsense += [{"type": "session.update", "event_id": "e2", "session": "loud"}, "x" * 200_000]
        nonsense += [{"type": "conversation.item.retrieve", "event_id": "e3", "item_id": {}}]
        for one in nonsense:
            ana.say(one)
        await ana.until(lambda: len(ana.of("error")) >= len(nonsense), "answers")
        errors = [message["error"] for message in ana.of("error")]
        assert {error["event_id"] for error in errors} == {None, "e0", "e1", "e2", "e3"}
        assert {"invalid_json", "invalid_type", "invalid_value", "unsupported", "too_large", "item_not_found"} == {
            error["code"] for error in errors
        }
        ana.microphone.say(tone(440))
        await ana.hears(440)


@pytest.mark.parametrize("settings", [replace(SETTINGS, message_rate=1.0)])
async def test_who_says_too_much_is_told_once(server: Server) -> None:
    async with calling(server) as ana:
        await ana.expect("session.created")
        for _ in range(50):
            ana.say({"type": "session.update", "session": {}})
        await ana.expect("error", lambda m: m["error"]["code"] == "rate_limit_exceeded")
        ana.microphone.say(tone(440))
        await ana.hears(440)
        assert len(ana.of("error")) == 1 and len(ana.of("session.updated")) < 20


async def test_a_response_can_be_cancelled(server: Server) -> None:
    """The rest of it is neither heard nor read, though the voice goes on."""
    async with calling(server) as ana:
        ana.microphone.say(tone(440))
        await ana.hears(440)
        ana.say({"type": "response.cancel", "event_id": "e1", "response_id": "resp_another"})
        assert (await ana.expect("error"))["error"]["code"] == "response_cancel_not_active"
        created = ana.of("response.created")[-1]["response"]["id"]
        ana.say({"type": "response.cancel"})
        done = await ana.expect("response.done", lambda m: m["response"]["status"] == "cancelled")
        assert done["response"]["id"] == created or len(ana.of("response.created")) > 1
        start = len(ana.messages)
        await ana.until(lambda: loudness_at(ana.voice(), 440) < 0.001, "silence")
        ana.say({"type": "output_audio_buffer.clear"})
        await ana.expect("output_audio_buffer.cleared", start=start)
        assert not [m for m in ana.messages[start:] if m["type"].startswith("response.")]


@pytest.mark.parametrize("label", [None, "something-else"])
async def test_without_our_channel_there_is_a_call_without_events(server: Server, label: str | None) -> None:
    """A channel of another name is closed."""
    async with calling(server, label) as ana:
        ana.microphone.say(tone(440))
        await ana.hears(440)
        if label is not None:
            await ana.hung_up()
        assert ana.messages == [] and (await state(server))["seats_taken"] == 1


async def test_a_seat_is_free_when_its_caller_closes(server: Server) -> None:
    """As the SDK does: without a word to us."""
    async with calling(server) as ana:
        assert ana.pc is not None
        await ana.pc.close()
        await until_taken(server, 0)


@pytest.mark.parametrize("settings", [replace(SETTINGS, connect_timeout=0.5)])
async def test_a_seat_is_free_when_nobody_picks_up(server: Server) -> None:
    assert (await post(server, await offer_of(server))).status == 201
    await until_taken(server, 0)
    assert (await server.stats())["sessions"]["media lost"] == 1


async def test_a_seat_is_free_when_its_caller_has_vanished(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """No goodbye at all, as when a machine loses its power: ICE notices, and there is no grace in which to return."""
    monkeypatch.setattr(aioice.ice, "CONSENT_INTERVAL", 0.1)
    async with calling(server) as ana:
        assert ana.pc is not None and ana.pc.sctp is not None
        for protocol in ana.pc.sctp.transport.transport._connection._protocols:
            protocol.transport.abort()
        await until_taken(server, 0)


@pytest.mark.parametrize("settings", [replace(SETTINGS, max_call=0.5)])
async def test_the_last_words_come_before_the_end(server: Server) -> None:
    """A call whose time is up is told so."""
    async with calling(server) as ana:
        await ana.hung_up()
        assert [message["error"]["code"] for message in ana.of("error")] == ["time_up"]


async def test_when_the_voice_breaks_callers_are_told(server: Server) -> None:
    """Those who talk in an event, those who come in an answer."""
    parlour = server.house.parlour
    assert parlour is not None
    async with calling(server) as ana:
        await ana.expect("session.created")
        parlour.engine.give_up(EngineBroken("The GPU is gone."))
        await ana.hung_up()
        assert "The GPU is gone." in (await ana.expect("error"))["error"]["message"]
    assert error_of(await post(server, await offer_of(server))) == (503, "engine_failed")


async def test_a_server_that_is_about_to_stop_takes_no_calls(server: Server) -> None:
    server.house.drain()
    assert error_of(await post(server, await offer_of(server))) == (503, "draining")


async def test_without_a_voice_there_are_no_calls() -> None:
    async for server in serve(SETTINGS):
        assert error_of(await server.get(SECRETS, "POST")) == (404, "no_dialogue")
        assert error_of(await post(server, "v=0")) == (404, "no_dialogue")
        assert error_of(await server.get(f"{CALLS}/rtc_x", "DELETE")) == (404, "no_dialogue")
