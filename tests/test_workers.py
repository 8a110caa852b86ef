"""`--workers 2`: the real command, its processes, people on real WebSockets and RTP; and what happens when one dies."""

import asyncio
import contextlib
import os
import re
import signal
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from tests.client import PATIENCE, Client, joined
from tests.e2e.serving import Site, serving
from tests.test_sessions import speech

ECHO = ("--translator", "echo", "--dialogue", "none", "--http-rate", "100000")


async def workers(site: Site, ready: int = 0) -> list[dict[str, Any]]:
    """Those that serve now; or wait until so many are ready."""
    async with asyncio.timeout(PATIENCE):
        while True:  # each turn is an HTTP request
            found: list[dict[str, Any]] = (await site.get("/v1/stats"))["workers"]
            if not ready or [one["state"] for one in found] == ["ready"] * ready:
                return found


async def holder(site: Site, people: int) -> int:
    """The process in which so many people are."""
    (pid,) = [one["pid"] for one in await workers(site) if one["participants"] == people]
    return int(pid)


async def new_room(site: Site, **fields: str) -> str:
    """Its id."""
    async with site.http.post(f"{site.url}/v1/rooms", json=fields) as answer:
        assert answer.status == 201
        return str((await answer.json())["id"])


async def ended(pid: int) -> None:
    """Wait until that process is gone. It need not be our child."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    gone = asyncio.Event()
    asyncio.get_running_loop().add_reader(descriptor, gone.set)
    try:
        async with asyncio.timeout(PATIENCE):
            await gone.wait()
    finally:
        asyncio.get_running_loop().remove_reader(descriptor)
        os.close(descriptor)


@contextlib.asynccontextmanager
async def front(*flags: str) -> AsyncIterator[Site]:
    """With two workers, both ready; they are gone at its end."""
    async with serving(*ECHO, "--workers", "2", *flags) as site:
        await workers(site, ready=2)
        yield site
        last = [one["pid"] for one in await workers(site)]
    for pid in last:
        await ended(pid)


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with front() as running:
        yield running


def words(client: Client) -> list[tuple[str, str, str]]:
    """(segment or message, language, text) of everything final that was shown, in order."""
    shown = [message for message in client.messages if message["type"] in ("transcript.final", "chat.message")]
    return [(one.get("segment_id") or one["message_id"], one["language"], one["text"]) for one in shown]


async def test_rooms_are_spread_and_all_of_http_works_through_the_front(site: Site) -> None:
    """Two rooms with people are in two processes; each address answers as one process does."""
    blue, red = await new_room(site, name="Blue"), await new_room(site, mode="consecutive")
    async with (
        joined(site.http, site.url, blue, "Ana", "es") as ana,
        joined(site.http, site.url, red, "Zoë", "fr"),
        joined(site.http, site.url, blue, "Bob", "en") as bob,
    ):
        assert sorted(one["participants"] for one in await workers(site)) == [1, 2]
        assert {room["id"]: (room["participant_count"], room["mode"]) for room in await site.get("/v1/rooms")} == {
            blue: (2, "simultaneous"),
            red: (1, "consecutive"),
        }
        assert [one["name"] for one in (await site.get(f"/v1/rooms/{blue}"))["participants"]] == ["Ana", "Bob"]
        bob.microphone.say(speech())
        final = await ana.expect("transcript.final", lambda m: m["translated"])
        ear = ana.ear(bob.id, "translation")
        assert ear is not None
        await ana.until(lambda: ear.loudness() > 0.5, "the translated voice")
        await bob.send("room.update", mode="consecutive")
        await ana.expect("room.updated")
        lines = await site.get(f"/v1/rooms/{blue}/transcript?language=es")
        assert [line["text"] for line in lines] == [final["text"]]
        async with site.http.get(f"{site.url}/v1/utterances/{final['utterance_id']}/audio?language=es") as answer:
            assert answer.content_type == "audio/ogg" and (await answer.read()).startswith(b"OggS")
        assert {room["mode"] for room in await site.get("/v1/rooms")} == {"consecutive"}
        stats = await site.get("/v1/stats")
        assert stats["participants"] == 3 and len(stats["media"]) == 3 and stats["rooms"] == 2
        async with site.http.get(f"{site.url}/metrics") as answer:
            assert "dragoman_participants 3.0\n" in await answer.text()
        assert [one["code"] for one in await site.get("/v1/languages")] and (await site.get("/v1/engine"))[
            "name"
        ] == "echo"
        assert await site.get("/v1/ice-servers") == []


async def test_workers_share_a_range_of_media_ports() -> None:
    """No two have one port: people in two rooms are on the two halves of the range."""
    async with front("--media-ports", "47210-47213") as site:
        async with (
            joined(site.http, site.url, await new_room(site), "Ana", "es") as ana,
            joined(site.http, site.url, await new_room(site), "Bob", "en") as bob,
        ):
            used = [
                {int(port) for port in re.findall(r"a=candidate:\S+ 1 udp \d+ \S+ (\d+)", one.joined["sdp"])}
                for one in (ana, bob)
            ]
        assert {tuple(sorted(port < 47212 for port in set(ports))) for ports in used} >= {(True,), (False,)}, used
        assert set.union(*used) <= set(range(47210, 47214))


async def test_what_the_front_refuses(site: Site) -> None:
    """In the same words as one process: no such room or utterance, a stranger's page, a wrong method, no voice."""
    room = await new_room(site)
    for method, path, status, code, headers in (
        ("GET", "/v1/rooms/nowhere", 404, "room_not_found", {}),
        ("GET", "/v1/rooms/nowhere/signal", 404, "room_not_found", {}),
        ("GET", "/v1/utterances/utt_x/audio", 404, "utterance_not_found", {}),
        ("GET", f"/v1/rooms/{room}/signal", 426, "websocket_needed", {}),
        ("GET", f"/v1/rooms/{room}/transcript?format=doc", 400, "bad_format", {}),
        ("GET", f"/v1/rooms/{room}", 403, "origin_not_allowed", {"Origin": "https://evil.example"}),
        ("POST", f"/v1/rooms/{room}", 405, "method_not_allowed", {}),
        ("GET", "/v1/conversation", 404, "no_dialogue", {}),
        ("GET", "/nothing", 404, "not_found", {}),
    ):
        async with site.http.request(method, site.url + path, headers=headers) as answer:
            assert (answer.status, (await answer.json())["code"]) == (status, code), path
    for path in ("/v1/rooms/nowhere/signal", "/v1/conversation/signal"):
        with pytest.raises(aiohttp.WSServerHandshakeError) as refusal:
            await site.http.ws_connect(site.url + path)
        assert refusal.value.status == 404


async def test_conversations_are_in_one_worker() -> None:
    """The voice to talk with is loaded once: whoever asks finds it, and it may be the only thing that is said to be."""
    async with front("--dialogue", "embedded", "--recognizers", "1") as site:
        voice = await site.get("/v1/conversation")
        assert voice["seats"] >= 1
        talker = Client(site.http, site.url, "", path="/v1/conversation/signal")
        await talker.open()
        await talker.send("session.join", name="Ana", sdp=await talker.offer(slots=1))
        await talker.expect("session.joined")
        assert (await site.get("/v1/stats"))["dialogue"]["seats_taken"] == 1
        async with site.http.post(f"{site.url}/v1/realtime/calls", data="no offer") as answer:
            assert answer.status >= 400 and "error" in await answer.json(), "and so is OpenAI's API"
        await talker.close()


async def test_requests_are_limited_by_who_asks_and_not_by_who_they_say_they_are() -> None:
    """The worker counts the address that the front sees, whatever X-Forwarded-For claims."""
    async with front("--http-rate", "0.001") as site:
        room = await new_room(site)
        answers = []
        for number in range(70):
            headers = {"X-Forwarded-For": f"10.0.0.{number}"}
            async with site.http.get(f"{site.url}/v1/rooms/{room}/transcript", headers=headers) as answer:
                answers.append(answer.status)
        assert answers == [200] * 60 + [429] * 10
        with pytest.raises(aiohttp.WSServerHandshakeError) as refusal:
            await site.http.ws_connect(f"{site.url}/v1/rooms/{room}/signal")
        assert refusal.value.status == 429


async def test_a_worker_dies_in_the_middle_of_a_call(site: Site) -> None:
    """Both come back as who they were and hear each other; no word is lost, none comes twice, nobody is there twice."""
    room = await new_room(site, name="Blue")
    async with (
        joined(site.http, site.url, room, "Ana", "es") as ana,
        joined(site.http, site.url, room, "Bob", "en") as bob,
        joined(site.http, site.url, room, "Eve", "en") as eve,
    ):
        people = {"Ana": (ana, "es"), "Bob": (bob, "en")}
        before = {name: (one.id, one.joined["session_id"]) for name, (one, _) in people.items()}
        bob.microphone.say(speech())
        await ana.expect("transcript.final", lambda m: m["translated"])
        await ana.send("chat.send", text="¿Seguimos?")
        await ana.expect("chat.message")
        os.kill(await holder(site, 3), signal.SIGKILL)  # Bob may have the translated message, or not
        assert await eve.closed() == aiohttp.WSCloseCode.SERVICE_RESTART
        for name, (one, language) in people.items():
            again = await one.come_back(name, language)
            assert (again["participant"]["id"], again["session_id"]) == before[name]
            assert again["room"]["name"] == "Blue"
        assert await ana.expect("participant.joined", lambda m: m["participant"]["id"] == bob.id)
        assert [one["name"] for one in bob.joined["participants"]] == ["Ana", "Bob"], "Eve has not come back"
        start = len(ana.messages)
        bob.microphone.say(speech())
        await ana.expect("transcript.final", lambda m: m["translated"], start=start)
        await ana.until(lambda: (ear := ana.ear(bob.id, "translation")) and ear.loudness() > 0.5, "his voice")
        await bob.expect("chat.message")
        for one, _ in people.values():
            assert [m["seq"] for m in one.messages] == list(range(1, len(one.messages) + 1)), "a gap"
            shown = [word[:2] for word in words(one)]
            assert len(set(shown)) == len(shown), "shown twice"
        assert (await site.get(f"/v1/rooms/{room}"))["participant_count"] == 2
        lines = await site.get(f"/v1/rooms/{room}/transcript?language=es")
        assert [(line["name"], line["segment_id"]) for line in lines] == [
            (name, segment) for name, segment in zip(("Bob", "Ana", "Bob"), _segments(ana), strict=True)
        ]
        async with site.http.get(f"{site.url}/v1/utterances/{lines[0]['utterance_id']}/audio?language=es") as answer:
            assert (await answer.read()).startswith(b"OggS"), "what was said before can be heard again"
        await workers(site, ready=2)
        assert "ended with -9" in site.log


def _segments(client: Client) -> list[str]:
    return list(dict.fromkeys(segment for segment, _, _ in words(client)))


async def test_counters_never_step_back(site: Site) -> None:
    """A worker is gone: what it counted is not."""
    room = await new_room(site)
    async with joined(site.http, site.url, room, "Ana", "es") as ana:
        for pid in [await holder(site, 1), 0]:
            async with site.http.get(f"{site.url}/metrics") as answer:
                text = await answer.text()
            assert 'dragoman_sessions_total{result="joined"} 1.0' in text.splitlines()
            if pid:
                os.kill(pid, signal.SIGKILL)
                await ana.closed()
                await workers(site, ready=2)


async def test_words_of_while_one_was_away_come_once(site: Site) -> None:
    """Whoever comes back late, after others have gone on, is told what they missed, in their language; no more."""
    room = await new_room(site)
    async with (
        joined(site.http, site.url, room, "Ana", "es") as ana,
        joined(site.http, site.url, room, "Bob", "en") as bob,
    ):
        await bob.send("chat.send", text="before")
        await ana.expect("chat.message")
        await bob.expect("chat.message")
        os.kill(await holder(site, 2), signal.SIGKILL)
        await bob.come_back("Bob", "en")
        for number in range(5):
            start = len(bob.messages)
            await bob.send("chat.send", text=f"while away {number}")
            await bob.expect("chat.message", start=start)
        await ana.come_back("Ana", "es")
        await ana.until(lambda: len(ana.of("chat.message")) == 6, "what she missed")
        texts = [message["original_text"] for message in ana.of("chat.message")]
        assert texts == ["before", *(f"while away {number}" for number in range(5))]
        assert {message["language"] for message in ana.of("chat.message")} == {"es"}


async def test_a_drained_worker_moves_its_people(site: Site) -> None:
    """SIGTERM to one worker: its people are told, then sent away, and come back elsewhere; others notice nothing."""
    blue, red = await new_room(site), await new_room(site)
    async with (
        joined(site.http, site.url, blue, "Ana", "es") as ana,
        joined(site.http, site.url, blue, "Bob", "en") as bob,
        joined(site.http, site.url, red, "Zoë", "fr") as zoe,
    ):
        await bob.send("chat.send", text="hello")
        await ana.expect("chat.message")
        await bob.expect("chat.message")
        drained = await holder(site, 2)
        os.kill(drained, signal.SIGTERM)
        for one in (ana, bob):
            await one.expect("session.state", lambda m: m["state"] == "draining")
            assert await one.closed() == aiohttp.WSCloseCode.GOING_AWAY
            assert not one.of("participant.left")
        await ana.come_back("Ana", "es")
        await bob.come_back("Bob", "en")
        assert [one["name"] for one in bob.joined["participants"]] == ["Ana", "Bob"]
        await zoe.send("ping", t=1)
        await zoe.expect("pong")
        assert len(zoe.of("session.joined")) == 1
        assert drained not in [one["pid"] for one in await workers(site, ready=2)]


async def test_forged_expired_and_foreign_tokens_let_nobody_in() -> None:
    """After a move too, where a token is all that the new process knows of somebody."""
    async with front("--session-ttl", "0") as site:
        room, other = await new_room(site), await new_room(site)
        async with (
            joined(site.http, site.url, room, "Ana", "es") as ana,
            joined(site.http, site.url, room, "Bob", "en") as bob,
            joined(site.http, site.url, other, "Eve", "en") as eve,
        ):
            os.kill(await holder(site, 2), signal.SIGKILL)
            await ana.closed()
            body, _, signature = ana.joined["resume"].partition(".")
            for token in (
                ana.joined["resume"],
                f"{body}.{bob.joined['resume'].partition('.')[2]}",
                f"{body}.{signature[::-1]}",
                eve.joined["resume"],
                "",
                "r_" + "x" * 5000,
            ):
                late = await Client(site.http, site.url, room).open()
                await late.send("session.join", resume=token, name="Ana", language="es", sdp=await late.offer())
                error = await late.expect("error")
                assert (error["code"], error["fatal"]) == ("unknown_session", False), token
                await late.close()
            assert (await site.get(f"/v1/rooms/{room}"))["participant_count"] == 0


async def test_two_hundred_rooms_are_placed_once_each() -> None:
    """Made and asked for by four clients at once, each room by several: two hundred places, half of them in each."""
    async with front("--max-rooms", "400") as site:

        async def make() -> list[str]:
            rooms = [await new_room(site, name="meeting") for _ in range(50)]
            for room in rooms:
                await asyncio.gather(*(site.get(f"/v1/rooms/{room}") for _ in range(3)))
            return rooms

        made = [room for rooms in await asyncio.gather(*(make() for _ in range(4))) for room in rooms]
        assert len(set(made)) == 200 == len(await site.get("/v1/rooms"))
        assert [one["rooms"] for one in await workers(site)] == [100, 100]


async def test_a_message_too_large_for_anybody_ends_its_own_socket_only(site: Site) -> None:
    """One beyond the limit is refused by the worker, one far beyond it is not even passed on (1009)."""
    room = await new_room(site)
    async with joined(site.http, site.url, room, "Ana", "es") as ana:
        await ana.send("chat.send", text="x" * 600_000)
        assert (await ana.expect("error"))["code"] == "too_large"
        rude = await Client(site.http, site.url, room).open()
        await rude.send("ping", t="x" * 3_000_000)
        assert await rude.closed() == aiohttp.WSCloseCode.MESSAGE_TOO_BIG
        await rude.close()
        await ana.send("ping", t=1)
        await ana.expect("pong")


async def test_a_client_that_reads_nothing_is_let_go() -> None:
    """When its outbox in the worker is full, or before that when it leaves the front's pings unanswered: nothing is
    kept for it that has no bound. The others go on."""
    async with front("--message-rate", "9999", "--chat-rate", "9999", "--max-chat", "5000", "--grace", "5") as site:
        room = await new_room(site)
        async with (
            joined(site.http, site.url, room, "Bob", "en") as bob,
            joined(site.http, site.url, room, "Ana", "en") as slow,
        ):
            assert slow.ws is not None
            slow.ws._response.connection.transport.pause_reading()
            async with asyncio.timeout(3 * PATIENCE):
                while not bob.of("participant.left"):
                    start = len(bob.messages)
                    await bob.send("chat.send", text="語" * 5000)
                    await bob.expect("chat.message", start=start)
            sessions = (await site.get("/v1/stats"))["sessions"]
            assert sessions.get("slow", 0) + sessions.get("lost", 0) == 1, sessions


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_when_the_front_ends_so_do_its_workers(number: int) -> None:
    """Politely: everybody is told, and it exits with 0 when its children have."""
    async with serving(*ECHO, "--workers", "2") as site:
        pids = [one["pid"] for one in await workers(site, ready=2)]
        async with joined(site.http, site.url, await new_room(site), "Ana", "es") as ana:
            os.kill(site.pid, number)
            await ana.expect("session.state", lambda m: m["state"] == "draining")
            assert await ana.closed() == aiohttp.WSCloseCode.GOING_AWAY
        assert await site.ended() == 0
        for pid in pids:
            with pytest.raises(ProcessLookupError):
                os.kill(pid, 0)


async def test_workers_do_not_outlive_a_front_that_is_killed() -> None:
    """Nobody could reach them any more."""
    async with serving(*ECHO, "--workers", "2") as site:
        pids = [one["pid"] for one in await workers(site, ready=2)]
        os.kill(site.pid, signal.SIGKILL)
        for pid in pids:
            await ended(pid)
