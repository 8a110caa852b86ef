"""What strangers send: a clear error to them, nothing to the others, nothing left behind."""

import contextlib
import json
from collections.abc import AsyncIterator

import aiohttp
import pytest

from signaling.settings import Settings
from tests.client import Client, joined
from tests.conftest import Server


@pytest.fixture
async def stranger(server: Server) -> AsyncIterator[Client]:
    """Connected to a room, not joined."""
    client = await Client(server.http, server.base, await server.room()).open()
    yield client
    await client.close()


async def error_for(client: Client, message: str | bytes | dict) -> dict:
    """Send anything; the error that comes back."""
    start = len(client.messages)
    if isinstance(message, bytes):
        await client.ws.send_bytes(message)
    else:
        await client.ws.send_str(message if isinstance(message, str) else json.dumps(message))
    error = await client.expect("error", start=start)
    assert error["message"].strip() and error["message"][-1] in ".!", "a sentence for a person"
    return error


MALFORMED = [
    ("", "bad_message"),
    ("{", "bad_message"),
    ("null", "bad_message"),
    ("[1]", "bad_message"),
    ('{"type": 3}', "bad_message"),
    ("[" * 20_000, "bad_message"),
    (b"\x00\x01", "bad_message"),
    ({"type": "session.teleport"}, "unknown_type"),
    ({"type": "<img onerror=alert(1)>"}, "unknown_type"),
    ({"type": "chat.send", "text": "hi"}, "not_joined"),
    ({"type": "session.join"}, "bad_sdp"),
    ({"type": "session.join", "name": 5, "language": "es", "sdp": "v=0"}, "bad_message"),
    ({"type": "session.join", "name": "\u0000\u202e ", "language": "es", "sdp": "v=0"}, "bad_message"),
    ({"type": "session.join", "name": "x" * 65, "language": "es", "sdp": "v=0"}, "too_large"),
    ({"type": "session.join", "name": "Ana", "language": "tlh", "sdp": "v=0"}, "bad_language"),
    ({"type": "session.join", "name": "Ana", "language": "es", "speaks": "qq", "sdp": "v=0"}, "bad_language"),
    ({"type": "session.join", "name": "Ana", "language": "es", "sdp": "hello"}, "bad_sdp"),
    ({"type": "session.join", "name": "Ana", "language": "es", "sdp": ""}, "bad_sdp"),
    ({"type": "session.join", "name": "Ana", "language": "es", "sdp": "v=0\r\nm=audio"}, "bad_sdp"),
    ({"type": "session.join", "name": "Ana", "language": "es", "sdp": "v=0\r\n" + "a=x\r\n" * 80_000}, "too_large"),
    ({"type": "session.join", "name": "Ana", "language": "es", "resume": "r_nobody"}, "unknown_session"),
    ({"type": "ping", "t": "x" * 600_000}, "too_large"),
]


@pytest.mark.parametrize(("message", "code"), MALFORMED, ids=[f"{code}-{i}" for i, (_, code) in enumerate(MALFORMED)])
async def test_nonsense_gets_a_sentence_and_the_connection_lives(
    stranger: Client, message: str | bytes | dict, code: str
) -> None:
    """The error names what is wrong, and the same socket can still join."""
    error = await error_for(stranger, message)
    assert (error["code"], error["fatal"]) == (code, False)
    await stranger.join("Ana", "es")
    assert [m["seq"] for m in stranger.messages] == list(range(1, len(stranger.messages) + 1))


async def test_offers_that_cannot_be_answered(stranger: Client) -> None:
    """No audio, 200 m-lines, two m-lines with one mid, a codec we do not speak: each a code of its own, none fatal."""
    good = await stranger.offer(slots=1)
    head, first, second = good.replace("m=", "\0m=").split("\0")
    second = "".join(line for line in second.splitlines(keepends=True) if not line.startswith("a=candidate"))
    many = head + "".join(second.replace("a=mid:1", f"a=mid:{n}") for n in range(200))
    for offer, code in (
        (head, "no_audio"),
        (head + first.replace("m=audio", "m=video"), "no_audio"),
        (many, "bad_sdp"),
        (head + first + first, "bad_sdp"),
        (head + first.replace("opus/48000", "speex/16000"), "no_audio"),
        (head + first.replace("a=fingerprint", "a=x-fingerprint"), "bad_sdp"),
        (head + first.replace("a=ice-pwd", "a=x-ice-pwd"), "bad_sdp"),
    ):
        error = await error_for(stranger, {"type": "session.join", "name": "Ana", "language": "es", "sdp": offer})
        assert error["code"] == code, (error, offer[:300])
    assert stranger.of("session.joined") == []


async def test_video_and_slots_beyond_the_limit_are_rejected_in_the_answer(server: Server) -> None:
    """The call works with what is left; the client is told about the video."""
    client = await Client(server.http, server.base, await server.room()).open()
    try:
        await client.offer(slots=20)
        client.pc.addTransceiver("video", direction="sendrecv")
        client.pc.createDataChannel("chat")
        await client.pc.setLocalDescription(await client.pc.createOffer())
        await client.send("session.join", name="Ana", language="es", sdp=client.pc.localDescription.sdp)
        answer = (await client.expect("session.joined"))["sdp"]
        ports = [line.split()[:2] for line in answer.splitlines() if line.startswith("m=")]
        assert [port != "0" for _, port in ports] == [True] * 17 + [False] * 6
        assert [kind for kind, _ in ports[21:]] == ["m=video", "m=application"]
        bundle = next(line for line in answer.splitlines() if line.startswith("a=group:BUNDLE"))
        assert len(bundle.split()) == 18
        assert (await client.expect("error"))["code"] == "unsupported_media"
    finally:
        await client.close()


async def test_two_joins_on_one_socket(server: Server) -> None:
    """The second is an error; the first session goes on."""
    room = await server.room()
    async with joined(server.http, server.base, room, "Ana", "es") as ana:
        error = await error_for(ana, {"type": "session.join", "name": "Eva", "language": "es", "sdp": "v=0"})
        assert (error["code"], error["fatal"]) == ("already_joined", False)
        await ana.send("ping", t=1)
        await ana.expect("pong")
        assert (await server.get(f"/v1/rooms/{room}")).json()["participant_count"] == 1


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ({"type": "session.update", "language": "tlh"}, "bad_language"),
        ({"type": "session.update", "mix": "loud"}, "bad_message"),
        ({"type": "session.update", "name": ""}, "bad_message"),
        ({"type": "room.update"}, "bad_message"),
        ({"type": "room.update", "mode": "faster"}, "bad_message"),
        ({"type": "chat.send", "text": " \n\t "}, "bad_message"),
        ({"type": "chat.send", "text": "x" * 2001}, "too_large"),
        ({"type": "chat.send"}, "bad_message"),
        ({"type": "ice.candidate", "candidate": "not a candidate", "sdp_mid": "0"}, "bad_message"),
        ({"type": "ice.candidate", "candidate": "x" * 2000}, "too_large"),
        (
            {"type": "ice.candidate", "candidate": "candidate:1 1 udp 1 h 9 typ host", "sdp_mline_index": True},
            "bad_message",
        ),
        (b"\xff", "bad_message"),
    ],
)
async def test_nonsense_inside_a_call(server: Server, message: dict | bytes, code: str) -> None:
    """The sender gets the error, the other person nothing at all, and the call goes on."""
    room = await server.room()
    async with (
        joined(server.http, server.base, room, "Ana", "es") as ana,
        joined(server.http, server.base, room, "Bob", "en") as bob,
    ):
        before = len(bob.messages)
        assert (await error_for(ana, message))["code"] == code
        await ana.send("chat.send", text="still here")
        await bob.expect("chat.message")
        assert {m["type"] for m in bob.messages[before:]} == {"chat.message"}
        assert ana.pc.connectionState == "connected"


async def test_markup_in_names_is_text(server: Server) -> None:
    """Names keep their markup as it is and lose control characters."""
    room = await server.room("<script>alert(1)</script>\x07")
    async with (
        joined(server.http, server.base, room, "Ana", "es") as ana,
        joined(server.http, server.base, room, "<b>Bob\x1b[31m</b>\u202e", "en"),
    ):
        person = (await ana.expect("participant.joined"))["participant"]
        assert person["name"] == "<b>Bob[31m</b>"
        listed = (await server.get(f"/v1/rooms/{room}")).json()
        assert listed["name"] == "<script>alert(1)</script>"


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/v1/rooms/nowhere", None, 404),
        ("GET", "/v1/rooms/nowhere/signal", None, 404),
        ("GET", "/v1/rooms/nowhere/transcript", None, 404),
        ("GET", "/v1/rooms/..%2f..%2fetc", None, 404),
        ("GET", "/static/..%2f..%2fpyproject.toml", None, 404),
        ("GET", "/static/" + 300 * "x", None, 404),
        ("GET", "/nothing", None, 404),
        ("DELETE", "/v1/rooms", None, 405),
        ("POST", "/v1/rooms", b"{", 400),
        ("POST", "/v1/rooms", b"[]", 400),
        ("POST", "/v1/rooms", b'{"name": 5}', 400),
        ("POST", "/v1/rooms", b'{"mode": "faster"}', 400),
        ("POST", "/v1/rooms", b'{"mode": ["consecutive"]}', 400),
        ("POST", "/v1/rooms", b'{"name": "' + b"x" * 100 + b'"}', 400),
        ("POST", "/v1/rooms", b"x" * 20_000, 413),
    ],
)
async def test_http_refusals_are_problems(
    server: Server, method: str, path: str, body: bytes | None, status: int
) -> None:
    """application/problem+json with the status, a code and a sentence; never 200."""
    answer = await server.get(aiohttp.client.URL(path, encoded=True).raw_path, method, data=body)
    assert (answer.status, answer.content_type) == (status, "application/problem+json"), answer.text
    problem = answer.json()
    assert problem["status"] == status and problem["code"] and problem["detail"].endswith(".")


class TestLimits:
    """Small limits, each met."""

    @pytest.fixture
    def settings(self) -> Settings:
        return Settings(
            translator="echo", join_timeout=0.2, message_rate=2, http_rate=0.001, chat_rate=0.4, max_rooms=2
        )

    async def test_who_says_nothing_is_let_go(self, server: Server) -> None:
        """join_timeout, fatal."""
        client = await Client(server.http, server.base, await server.room()).open()
        error = await client.expect("error")
        assert (error["code"], error["fatal"]) == ("join_timeout", True)
        await client.closed()
        await client.close()

    async def test_who_floods_is_let_go(self, server: Server) -> None:
        """rate_limited, fatal; the room is empty afterwards."""
        room = await server.room()
        async with joined(server.http, server.base, room, "Ana", "es") as ana:
            for t in range(20):
                await ana.send("ping", t=t)
            error = await ana.expect("error")
            assert (error["code"], error["fatal"]) == ("rate_limited", True)
            await ana.closed()

    async def test_chat_has_a_rate_of_its_own(self, server: Server) -> None:
        """The message too many is refused, not the person."""
        room = await server.room()
        async with joined(server.http, server.base, room, "Ana", "es") as ana:
            for text in ("one", "two", "three"):
                await ana.send("chat.send", text=text)
            error = await ana.expect("error")
            assert (error["code"], error["fatal"]) == ("rate_limited", False)
            assert [m["text"] for m in ana.of("chat.message")] == ["one", "two"]

    async def test_whoever_changes_the_room_does_so_no_more_often_than_they_write(self, server: Server) -> None:
        """Everybody is told each time."""
        room = await server.room()
        async with joined(server.http, server.base, room, "Ana", "es") as ana:
            for mode in ("consecutive", "simultaneous", "consecutive"):
                await ana.send("room.update", mode=mode)
            error = await ana.expect("error")
            assert (error["code"], error["fatal"]) == ("rate_limited", False)
            assert (await server.get(f"/v1/rooms/{room}")).json()["mode"] == "simultaneous"

    async def test_rooms_are_limited_and_unused_ones_make_way(self, server: Server) -> None:
        """A full house answers 503 with Retry-After; an empty room nobody ever spoke in is replaced."""
        first = await server.room()
        async with joined(server.http, server.base, first, "Ana", "es"):
            second, third = await server.room(), await server.room()
            assert (await server.get(f"/v1/rooms/{second}")).status == 404
            async with joined(server.http, server.base, third, "Bob", "en"):
                answer = await server.get("/v1/rooms", "POST")
                assert (answer.status, answer.json()["code"]) == (503, "house_full")

    async def test_http_requests_are_limited_by_address(self, server: Server) -> None:
        """429 with Retry-After once the burst is used up."""
        answers = [await server.get("/v1/rooms", "POST") for _ in range(62)]
        refused = [answer for answer in answers if answer.status == 429]
        assert refused and int(refused[0].headers["Retry-After"]) >= 1


async def test_a_long_message_counts_as_several(stranger: Client) -> None:
    """Ten of half a million characters are not the 150 messages that may come at once, but cost us as much to read."""
    with contextlib.suppress(ConnectionError):
        for _ in range(40):
            await stranger.ws.send_str(json.dumps({"type": "chat.send", "text": "x" * 500_000}))
    await stranger.closed()
    codes = [error["code"] for error in stranger.of("error")]
    assert codes[0] == "too_large" and codes[-1] == "rate_limited" and len(codes) < 40


async def test_a_client_that_makes_no_sense_fifty_times_is_let_go(stranger: Client) -> None:
    """Errors cost us something: there is an end to it."""
    for _ in range(55):
        await stranger.ws.send_str("nonsense")
    await stranger.closed()
    assert stranger.messages[-1]["fatal"] is True
