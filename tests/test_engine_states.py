"""Engines that take long to load, that break, or that cannot write what they hear; as people in a room see it."""

import asyncio
import gc
import queue
from collections.abc import AsyncIterator, Iterator

import aiohttp
import pytest
from aiohttp import web

from models.base import EngineBroken, Progress
from models.echo import EchoRecognition, EchoTranslator
from models.vad import SileroDetector
from rtc.engine_thread import Engine
from rtc.transcript import Entry
from signaling.api import MAX_REPLAYS
from signaling.engines import TRANSLATORS
from signaling.server import create_app, freeze_when_settled
from signaling.settings import Settings
from tests.client import PATIENCE, RATE, Client, joined
from tests.conftest import Server, serve, until
from tests.speech import flite


class Slow(EchoTranslator):
    """Loads as far as it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.told: queue.Queue[tuple[float, str] | None] = queue.Queue()

    def load(self, progress: Progress) -> None:
        while (step := self.told.get()) is not None:
            progress(*step)


class Unwritten(EchoTranslator):
    """Speech in, translations out: it never writes what was said."""

    def hear(self, speaker: str, source: str, room: str = "", simultaneous: bool = True) -> EchoRecognition:
        return _Unwritten(self, source, simultaneous)


class _Unwritten(EchoRecognition):
    def _languages(self) -> Iterator[str]:
        return (language for language in super()._languages() if language != self._language)


class TestLoading:
    @pytest.fixture
    async def slow(self, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Server, Slow]]:
        translator = Slow()
        monkeypatch.setitem(TRANSLATORS, "slow", lambda settings: translator)
        async for server in serve(Settings(translator="slow"), ready=False):
            try:
                yield server, translator
            finally:
                translator.told.put(None)

    async def test_people_see_how_far_it_is(self, slow: tuple[Server, Slow]) -> None:
        """Who joins while it loads, whoever asks, and those who wait: until it is ready."""
        server, translator = slow
        translator.told.put((0.25, "reading weights"))
        client = await Client(server.http, server.base, await server.room()).open()
        try:
            await client.join("Ana", "es")
            state = await client.expect("session.state", lambda m: m.get("progress") == 0.25)
            assert (state["state"], state["doing"]) == ("warming", "reading weights")
            assert state["eta_s"] >= 0
            answer = await server.get("/readyz")
            assert answer.status == 503
            assert (answer.json()["progress"], answer.json()["doing"]) == (0.25, "reading weights")
            assert (await server.get("/v1/engine")).json()["progress"] == 0.25
            translator.told.put((0.5, "warming up"))
            await client.expect("session.state", lambda m: m.get("progress") == 0.5 and m["doing"] == "warming up")
            translator.told.put(None)
            await client.expect(
                "session.state", lambda m: m == {"type": "session.state", "seq": m["seq"], "state": "ready"}
            )
            assert (await server.get("/readyz")).json() == {"state": "ready"}
        finally:
            await client.close()

    async def test_once_loaded_it_is_no_burden_to_garbage_collection(self) -> None:
        """A full collection looks at what came later only; not before, since loading leaves much behind."""
        translator = Slow()
        app = create_app(Engine(translator, SileroDetector()), Settings(translator="slow"))
        freeze_when_settled(app)
        runner, collected = web.AppRunner(app), asyncio.Event()

        def watch(phase: str, collection: dict[str, int]) -> None:
            if phase == "stop" and collection["generation"] == 2:
                collected.set()

        gc.callbacks.append(watch)
        try:
            await runner.setup()
            before = len(gc.get_objects())
            assert gc.get_freeze_count() == 0
            translator.told.put(None)
            async with asyncio.timeout(PATIENCE):
                while not gc.get_freeze_count():  # another full collection may come before the one that freezes
                    collected.clear()
                    await collected.wait()
            assert len(gc.get_objects()) < before / 10
        finally:
            gc.unfreeze()
            gc.callbacks.remove(watch)
            translator.told.put(None)
            await runner.cleanup()

    async def test_without_progress_nothing_is_promised(self, slow: tuple[Server, Slow]) -> None:
        """Not even a guess at how long it takes."""
        server, _ = slow
        answer = await server.get("/readyz")
        assert answer.status == 503 and answer.json() == {"state": "warming", "progress": 0.0, "doing": ""}


async def test_a_broken_engine_is_told_to_all_and_the_call_goes_on(server: Server) -> None:
    """Not ready any more, with the reason; the original voices are still heard, and nobody is told twice."""
    translator = server.house.engine.translator
    assert isinstance(translator, EchoTranslator)
    room = await server.room()
    async with (
        joined(server.http, server.base, room, "Ana", "es") as ana,
        joined(server.http, server.base, room, "Bob", "en") as bob,
    ):
        translator.fail_next = EngineBroken("The GPU has lost its context.")
        bob.microphone.say(flite("The results are very important.", rate=RATE))
        for client in (ana, bob):
            state = await client.expect("session.state", lambda m: "error" in m)
            assert state["error"] == "The GPU has lost its context."
        assert (await bob.expect("error"))["code"] == "engine_failed"
        answer = await server.get("/readyz")
        assert answer.status == 503 and answer.json()["error"] == "The GPU has lost its context."
        assert (await server.stats())["engine"]["state"] == "failed"
        await bob.send("chat.send", text="Still here")
        message = await ana.expect("chat.message")
        assert message["text"] == "Still here", "as it is: better than not at all"
        replay = await server.get(f"/v1/utterances/{message['utterance_id']}/audio?language=en")
        assert (replay.status, replay.json()["code"]) == (503, "engine_failed")
        start = len(ana.messages)
        bob.microphone.say(flite("We have a problem with the computer.", rate=RATE))
        await ana.expect("speech.stopped", lambda m: m["variant"] == "original", start=start)
        ear = ana.ear(bob.id, "original")
        assert ear is not None
        await ana.until(lambda: ear.loudness() > 2.0, "both sentences in Bob's own voice")
        assert len(bob.of("error")) == 1 and not ana.of("error")


class Reader(EchoTranslator):
    """Renders text when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.told: queue.Queue[None] = queue.Queue()

    def on_rendering(self, source: str, target: str) -> None:
        super().on_rendering(source, target)
        self.told.get()


class TestTranscripts:
    """In a language that nobody listened in."""

    @pytest.fixture
    async def reading(self, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Server, Reader, str]]:
        """With the address of three entries in French."""
        translator = Reader()
        monkeypatch.setitem(TRANSLATORS, "reader", lambda settings: translator)
        async for server in serve(Settings(translator="reader")):
            room = server.house.lobby.find(await server.room(), 0)
            assert room is not None
            for number in range(3):
                entry = Entry("speech", f"s{number}", f"u{number}", "p", "Ana", "es", "", 0, 0)
                room.transcript.record(entry, "es", str(number))
            yield server, translator, f"/v1/rooms/{room.id}/transcript?language=fr"

    async def test_nothing_is_translated_for_who_has_gone(self, reading: tuple[Server, Reader, str]) -> None:
        """The engine is there for those who speak; what was done already is kept for the next who asks."""
        server, translator, path = reading
        async with aiohttp.ClientSession() as http:
            asking = asyncio.create_task(http.get(server.base + path))  # ended below
            await until(lambda: len(translator.rendered) == 1)
            asking.cancel()
        await server.get("/healthz")  # it has come after the end of that connection
        translator.told.put(None)
        await until(lambda: not server.house.engine.pending)
        assert len(translator.rendered) == 1
        asking = asyncio.create_task(server.get(path))
        await until(lambda: len(translator.rendered) == 2)
        translator.told.put(None)
        await until(lambda: len(translator.rendered) == 3)
        translator.told.put(None)
        assert [line["text"] for line in (await asking).json()] == ["[fr] 0", "[fr] 1", "[fr] 2"]
        assert len(translator.rendered) == 3

    async def test_two_who_ask_for_the_same_cost_what_one_does(self, reading: tuple[Server, Reader, str]) -> None:
        """Each entry is translated once."""
        server, translator, path = reading
        for _ in range(3):
            translator.told.put(None)
        first, second = await asyncio.gather(server.get(path), server.get(path))
        assert first.json() == second.json() and len(first.json()) == 3
        assert translator.rendered == [("es", "fr")] * 3

    async def test_a_few_are_read_aloud_at_a_time_and_none_for_who_has_gone(
        self, reading: tuple[Server, Reader, str]
    ) -> None:
        """The others wait outside of the engine: it is there for those who speak."""
        server, translator, _ = reading
        *first, left, last = (f"/v1/utterances/u{n}/audio?language={code}" for n in range(3) for code in ("fr", "en"))
        assert len(first) == MAX_REPLAYS
        async with asyncio.TaskGroup() as group:
            asking = [group.create_task(server.get(path)) for path in first]
            await until(lambda: server.house.engine.pending == MAX_REPLAYS)
            _, writer = await asyncio.open_connection(*server.base.removeprefix("http://").split(":"))
            writer.write(f"GET {left} HTTP/1.1\r\nHost: here\r\n\r\n".encode())
            await server.get("/healthz")
            asking.append(group.create_task(server.get(last)))
            await server.get("/healthz")
            assert server.house.engine.pending == MAX_REPLAYS
            writer.close()
            for _ in asking:
                translator.told.put(None)
        assert [task.result().content_type for task in asking] == ["audio/ogg"] * (MAX_REPLAYS + 1)
        assert len(translator.rendered) == MAX_REPLAYS + 1


class TestUnwritten:
    @pytest.fixture
    def settings(self, monkeypatch: pytest.MonkeyPatch) -> Settings:
        monkeypatch.setitem(TRANSLATORS, "unwritten", lambda settings: Unwritten())
        return Settings(translator="unwritten")

    async def test_what_cannot_be_written_is_still_interpreted(self, server: Server) -> None:
        """The original's text is empty; the translation is read, heard and kept."""
        room = await server.room()
        async with (
            joined(server.http, server.base, room, "Ana", "es") as ana,
            joined(server.http, server.base, room, "Bob", "en") as bob,
        ):
            bob.microphone.say(flite("The results are very important.", rate=RATE))
            final = await ana.expect("transcript.final", lambda m: m["translated"])
            assert final["text"].startswith("[es] heard")
            original = await ana.expect("transcript.final", lambda m: not m["translated"])
            assert (original["text"], original["segment_id"]) == ("", final["segment_id"])
            await ana.expect("translation.lag")
            lines = (await server.get(f"/v1/rooms/{room}/transcript")).json()
            assert [(line["text"], line["original_text"], line["language"]) for line in lines] == [
                (final["text"], "", "es")
            ]
            french = (await server.get(f"/v1/rooms/{room}/transcript?language=fr")).json()
            assert [line["text"] for line in french] == [f"[fr] {final['text']}"]


async def test_what_the_engine_counts_is_told_to_operators(server: Server) -> None:
    """In `/v1/stats` and `/metrics`, with how much speech there was."""
    room = await server.room()
    async with (
        joined(server.http, server.base, room, "Ana", "es") as ana,
        joined(server.http, server.base, room, "Bob", "en") as bob,
    ):
        bob.microphone.say(flite("The results are very important.", rate=RATE))
        await ana.expect("transcript.final", lambda m: m["translated"])
        stats = await server.stats()
        assert stats["engine"]["counters"]["segments"] == stats["segments"] == 1
        assert 0.5 < stats["speech_s"] < 3
        metrics = (await server.get("/metrics")).text
        assert 'dragoman_engine_total{counter="segments"} 1.0' in metrics
