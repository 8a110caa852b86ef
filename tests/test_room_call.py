"""People in a room, over real WebRTC: who hears what, in which language, and what it costs."""

import contextlib
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from signaling.settings import Settings
from tests.client import RATE, Client, joined
from tests.conftest import Server
from tests.sentences import PARAGRAPH, SURE
from tests.speech import flite

SENTENCE = "The results are very important."


def speech(text: str = SENTENCE) -> np.ndarray:
    """Flite at 48 kHz, with half a second of silence before it."""
    return np.concatenate([np.zeros(RATE // 2, np.float32), flite(text, rate=RATE)])


def children(program: str) -> list[int]:
    """Processes that this one started and that have the word in their command line."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it ended while we looked
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == os.getpid() and program in (folder / "cmdline").read_text():
                found.append(int(folder.name))
    return found


def likeness(heard: np.ndarray, said: np.ndarray) -> float:
    """Peak of the normalised cross-correlation: 1.0 for the same sound, wherever it lies."""
    heard = np.concatenate([np.zeros(len(said)), heard, np.zeros(len(said))])
    size = 1 << (len(heard) + len(said)).bit_length()
    correlation = np.fft.irfft(np.fft.rfft(heard, size) * np.conj(np.fft.rfft(said, size)), size)
    offsets = len(heard) - len(said)
    energy = np.concatenate([[0.0], np.cumsum(heard**2)])
    under = energy[len(said) : len(said) + offsets] - energy[:offsets]
    return float((np.abs(correlation[:offsets]) / np.sqrt((said**2).sum() * np.maximum(under, 1.0))).max())


async def test_everybody_hears_the_original_and_the_translation_follows(server: Server) -> None:
    """The Spanish listener gets the English voice as it is, then, in another slot, the Spanish one."""
    room = await server.room()
    async with (
        joined(server.http, server.base, room, "Ana", "es") as ana,
        joined(server.http, server.base, room, "Bob", "en") as bob,
    ):
        said = speech()
        bob.microphone.say(said)
        final = await ana.expect("transcript.final", lambda m: m["translated"])
        original_final = await ana.expect("transcript.final", lambda m: not m["translated"])
        await ana.expect("speech.stopped", lambda m: m["variant"] == "translation")
        original, translation = ana.ear(bob.id, "original"), ana.ear(bob.id, "translation")
        assert original is not None and translation is not None
        await ana.until(lambda: translation.loudness() > 1.0, "the translated voice")
        assert final["text"] == f"[es] {original_final['text']}"
        assert final["segment_id"] == original_final["segment_id"]
        assert likeness(original.pcm(), said) > 0.5
        first_loud = {
            name: next(at for at, pcm in ear.chunks if np.abs(pcm).max() > 0.05)
            for name, ear in (("original", original), ("translation", translation))
        }
        assert first_loud["translation"] > first_loud["original"]
        slot = next(slot for slot in ana.slots if slot["variant"] == "translation")
        assert (slot["participant_id"], slot["language"], final["mid"]) == (bob.id, "es", slot["mid"])
        assert 0 <= final["rtp_timestamp"] < 2**32
        lag = await ana.expect("translation.lag")
        assert lag["lag_ms"] == pytest.approx(sum(lag["stages"].values()), abs=4)


async def test_events_arrive_in_the_order_of_the_talk(server: Server) -> None:
    """started → interims with growing revisions → final → translated voice starts → stops; seq without gaps."""
    room = await server.room(mode="consecutive")
    async with (
        joined(server.http, server.base, room, "Ana", "es") as ana,
        joined(server.http, server.base, room, "Bob", "en") as bob,
    ):
        bob.microphone.say(speech())
        await ana.expect("speech.stopped", lambda m: m["variant"] == "translation")
        await ana.expect("speech.stopped", lambda m: m["variant"] == "original")
        original = [m for m in ana.messages if m["type"].startswith("transcript") and not m["translated"]]
        revisions = [m["revision"] for m in original if m["type"] == "transcript.interim"]
        assert revisions and revisions == sorted(set(revisions))
        kinds = [m["type"] for m in original]
        assert kinds == ["transcript.interim"] * len(revisions) + ["transcript.final"]
        marks = [
            next(i for i, m in enumerate(ana.messages) if m["type"] == kind and m.get("variant", variant) == variant)
            for kind, variant in (
                ("speech.started", "original"),
                ("transcript.final", "original"),
                ("speech.started", "translation"),
                ("speech.stopped", "translation"),
            )
        ]
        assert marks == sorted(marks)
        for client in (ana, bob):
            assert [m["seq"] for m in client.messages] == list(range(1, len(client.messages) + 1))


async def test_same_language_listeners_get_only_the_original(server: Server) -> None:
    """Nothing is translated when everybody speaks one language."""
    room = await server.room()
    async with (
        joined(server.http, server.base, room, "Cat", "en") as cat,
        joined(server.http, server.base, room, "Bob", "en") as bob,
    ):
        bob.microphone.say(speech())
        await cat.expect("transcript.final")
        assert {slot["variant"] for slot in cat.slots} == {"original"}
        stats = await server.stats()
        assert (stats["translations"], stats["opus_encodes"]) == ({}, 0)


async def test_a_third_listener_of_a_language_costs_nothing(server: Server) -> None:
    """Two Spanish listeners: one translation, one encoding; both hear it."""
    room = await server.room(mode="consecutive")  # said in one go: when it has stopped, all is counted
    async with (
        joined(server.http, server.base, room, "Ana", "es") as ana,
        joined(server.http, server.base, room, "Eva", "es") as eva,
        joined(server.http, server.base, room, "Bob", "en") as bob,
    ):
        bob.microphone.say(speech())
        for listener in (ana, eva):
            await listener.expect("speech.stopped", lambda m: m["variant"] == "translation")
            ear = listener.ear(bob.id, "translation")
            await listener.until(lambda ear=ear: ear.loudness() > 0.5, "the translated voice")
        stats = await server.stats()
        assert stats["translations"] == {"en>es": 1}
        sent = [
            slot["packets"]
            for media in stats["media"]
            for slot in media["slots"].values()
            if media["participant_id"] in (ana.id, eva.id) and slot["packets"] == stats["opus_encodes"]
        ]
        assert len(sent) == 2, "each listener was sent every packet that was encoded once"


async def test_language_switched_in_the_middle_of_a_call(server: Server) -> None:
    """From the next sentence on the listener hears the new language, in a slot that says so."""
    room = await server.room()
    async with (
        joined(server.http, server.base, room, "Ana", "es") as ana,
        joined(server.http, server.base, room, "Bob", "en") as bob,
    ):
        bob.microphone.say(speech())
        await ana.expect("transcript.final", lambda m: m["language"] == "es")
        await ana.send("session.update", language="fr", name="Anne")
        updated = await ana.expect("session.updated")
        assert (updated["participant"]["language"], updated["participant"]["name"]) == ("fr", "Anne")
        seen = await bob.expect("participant.updated", lambda m: m["participant"]["id"] == ana.id)
        assert seen["participant"]["name"] == "Anne"
        start = len(ana.messages)
        bob.microphone.say(speech())
        final = await ana.expect("transcript.final", lambda m: m["translated"], start=start)
        assert (final["language"], final["text"][:4]) == ("fr", "[fr]")
        assert any(slot["language"] == "fr" and slot["variant"] == "translation" for slot in ana.slots)
        ear = ana.ear(bob.id, "translation")
        await ana.until(lambda: ear.loudness() > 0.5, "the French voice")


async def test_mix_chooses_what_fills_the_slots(server: Server) -> None:
    """`original` takes the translated voice away, `translated` the original; captions come all the same."""
    room = await server.room()
    async with (
        joined(server.http, server.base, room, "Ana", "es") as ana,
        joined(server.http, server.base, room, "Bob", "en") as bob,
    ):
        for mix, expected in (
            ("original", {"original"}),
            ("translated", {"translation"}),
            ("both", {"original", "translation"}),
        ):
            await ana.send("session.update", mix=mix)
            await ana.until(lambda e=expected: {slot["variant"] for slot in ana.slots} == e, f"slots for {mix}")
        await ana.send("session.update", mix="original")
        bob.microphone.say(speech())
        await ana.expect("transcript.final", lambda m: m["translated"])


async def test_fewer_slots_than_voices_follow_the_talk(server: Server) -> None:
    """With one slot, whoever speaks takes it."""
    room = await server.room()
    async with (
        joined(server.http, server.base, room, "Ana", "en", slots=1) as ana,
        joined(server.http, server.base, room, "Bob", "en") as bob,
        joined(server.http, server.base, room, "Cat", "en") as cat,
    ):
        for speaker in (bob, cat, bob):
            start = len(ana.messages)
            speaker.microphone.say(speech())
            await ana.expect("speech.started", lambda m, s=speaker: m["participant_id"] == s.id, start=start)
            await ana.until(lambda s=speaker: [slot["participant_id"] for slot in ana.slots] == [s.id], "the slot")
            await ana.expect("speech.stopped", lambda m, s=speaker: m["participant_id"] == s.id, start=start)
        assert {slot["mid"] for slot in ana.slots} == {"1"}


async def test_a_thin_client_hears_a_mix_on_its_only_line(server: Server) -> None:
    """One sendrecv m-line: the server mixes original and translation into it."""
    room = await server.room()
    async with (
        joined(server.http, server.base, room, "Ana", "es", slots=0) as ana,
        joined(server.http, server.base, room, "Bob", "en") as bob,
    ):
        assert {slot["mid"] for slot in ana.slots} == {"0"}
        said = speech()
        bob.microphone.say(said)
        await ana.expect("speech.stopped", lambda m: m["variant"] == "translation")
        ear = ana.ears["0"]
        duration = len(flite(SENTENCE, rate=RATE)) / RATE
        await ana.until(lambda: ear.loudness() > 1.5 * 0.6 * duration, "original and translation, one after the other")
        assert likeness(ear.pcm(), said) > 0.4


async def test_muted_nothing_is_forwarded_or_understood(server: Server) -> None:
    """track.mute stops voice and words, others are told; unmute brings both back."""
    room = await server.room()
    async with (
        joined(server.http, server.base, room, "Ana", "es") as ana,
        joined(server.http, server.base, room, "Bob", "en") as bob,
    ):
        await bob.send("track.mute")
        assert (await ana.expect("participant.updated"))["participant"]["muted"] is True
        muted_at = time.monotonic()
        bob.microphone.say(speech())
        await bob.microphone.finished.wait()
        await bob.send("track.unmute")
        await ana.expect("participant.updated", lambda m: m["participant"]["muted"] is False)
        assert not ana.of("speech.started") and not ana.of("transcript.interim")
        assert ana.ear(bob.id, "original").loudness(muted_at) == 0
        bob.microphone.say(speech())
        await ana.expect("transcript.final", lambda m: m["translated"])
        assert ana.ear(bob.id, "original").loudness(muted_at) > 0.5


async def test_chat_arrives_translated_and_can_be_replayed(server: Server) -> None:
    """Everybody reads the message in their language; either version can be heard."""
    room = await server.room()
    async with (
        joined(server.http, server.base, room, "Ana", "es") as ana,
        joined(server.http, server.base, room, "Bob", "en") as bob,
    ):
        await bob.send("chat.send", text="Hello <b>all</b>")
        own = await bob.expect("chat.message")
        theirs = await ana.expect("chat.message")
        assert (own["text"], own["language"]) == ("Hello <b>all</b>", "en")
        assert (theirs["text"], theirs["language"], theirs["source_language"]) == ("[es] Hello <b>all</b>", "es", "en")
        assert theirs["original_text"] == "Hello <b>all</b>" and theirs["message_id"] == own["message_id"]
        for language in ("es", "en", "fr"):
            answer = await server.get(f"/v1/utterances/{theirs['utterance_id']}/audio?language={language}")
            assert (answer.status, answer.content_type) == (200, "audio/ogg"), answer.text
            assert answer.body[:4] == b"OggS"
        assert (await server.get(f"/v1/utterances/{theirs['utterance_id']}/audio?language=xx")).status == 400
        assert (await server.get("/v1/utterances/utt_never/audio")).status == 404


async def test_the_transcript_keeps_speech_and_chat_in_every_language(server: Server) -> None:
    """JSON, text and WebVTT, in the original or translated on demand; a spoken utterance can be replayed."""
    room = await server.room("Planning: <Q4>")
    async with joined(server.http, server.base, room, "Bob <i>", "en") as bob:
        bob.microphone.say(speech())
        final = await bob.expect("transcript.final")
        await bob.send("chat.send", text="noted")
        await bob.expect("chat.message")
        lines = (await server.get(f"/v1/rooms/{room}/transcript?language=fr")).json()
        assert [(line["kind"], line["translated"], line["text"][:4]) for line in lines] == [
            ("speech", True, "[fr]"),
            ("chat", True, "[fr]"),
        ]
        assert lines[0]["end_ms"] > lines[0]["start_ms"] >= 0
        text = (await server.get(f"/v1/rooms/{room}/transcript?format=txt")).text
        assert text.splitlines()[1].endswith("Bob <i>: noted")
        subtitles = (await server.get(f"/v1/rooms/{room}/transcript?format=vtt")).text
        assert subtitles.startswith("WEBVTT\n") and "<v Bob &lt;i&gt;>noted" in subtitles
        assert (await server.get(f"/v1/rooms/{room}/transcript?format=pdf")).status == 400
        audio = await server.get(f"/v1/utterances/{final['utterance_id']}/audio?language=es")
        assert audio.body[:4] == b"OggS"


async def test_join_and_leave_are_told_to_the_others(server: Server) -> None:
    """participant.joined, participant.left; the slots of who left are free; the lobby counts."""
    room = await server.room()
    async with joined(server.http, server.base, room, "Ana", "es") as ana:
        async with joined(server.http, server.base, room, "Bob", "en") as bob:
            assert (await ana.expect("participant.joined"))["participant"]["name"] == "Bob"
            assert {p["name"] for p in bob.joined["participants"]} == {"Ana", "Bob"}
            listed = (await server.get("/v1/rooms")).json()
            assert [one["participant_count"] for one in listed if one["id"] == room] == [2]
            await bob.send("session.leave")
            assert await bob.closed() == 1000
        left = await ana.expect("participant.left")
        assert left["participant"]["id"] == bob.id
        await ana.until(lambda: ana.slots == [], "free slots")


class TestEmbedded:
    """The same room with the engine that a newcomer gets."""

    @pytest.fixture
    def settings(self) -> Settings:
        return Settings(translator="embedded")

    async def test_english_is_heard_in_spanish(self, server: Server) -> None:
        """Every word of a clear sentence arrives right, as caption and as voice."""
        english, spanish = SURE[0]
        room = await server.room()
        async with (
            joined(server.http, server.base, room, "Ana", "es") as ana,
            joined(server.http, server.base, room, "Bob", "en") as bob,
        ):
            bob.microphone.say(speech(english))
            final = await ana.expect("transcript.final", lambda m: m["translated"])
            assert spanish in final["text"].lower()
            await ana.expect("speech.stopped", lambda m: m["variant"] == "translation")
            ear = ana.ear(bob.id, "translation")
            await ana.until(lambda: ear.loudness() > 0.5, "the Spanish voice")

    async def test_words_appear_while_the_speaker_is_still_talking(self, server: Server) -> None:
        """Interim transcripts in both languages, before the first final one."""
        room = await server.room()
        async with (
            joined(server.http, server.base, room, "Ana", "es") as ana,
            joined(server.http, server.base, room, "Bob", "en") as bob,
        ):
            bob.microphone.say(speech(PARAGRAPH))
            await ana.expect("transcript.interim", lambda m: m["translated"] and m["language"] == "es")
            assert [m["type"] for m in ana.messages if m["type"].startswith("transcript")].count(
                "transcript.final"
            ) == 0

    async def test_a_killed_recogniser_loses_one_sentence_only(self, server: Server) -> None:
        """The speaker is told; the next sentence is understood again; the others never notice."""
        room = await server.room()
        async with (
            joined(server.http, server.base, room, "Ana", "es") as ana,
            joined(server.http, server.base, room, "Bob", "en") as bob,
        ):
            bob.microphone.say(speech(PARAGRAPH))
            await ana.expect("transcript.interim")
            for pid in children("pocketsphinx"):
                os.kill(pid, signal.SIGKILL)
            error = await bob.expect("error")
            assert (error["code"], error["fatal"]) == ("engine_failed", False)
            assert not ana.of("error")
            await bob.microphone.finished.wait()
            bob.microphone.say(speech(SURE[1][0]))
            await ana.expect("transcript.final", lambda m: m["translated"] and SURE[1][1] in m["text"].lower())

    async def test_what_the_engine_can_do_is_said(self, server: Server) -> None:
        """Spoken English only, translated voices in all its languages, pivots marked."""
        languages = {one["code"]: one for one in (await server.get("/v1/languages")).json()}
        assert [code for code, one in languages.items() if one["speech_in"]] == ["en"]
        assert languages["es"]["from"]["en"] == [] and languages["fr"]["from"]["en"] == ["ca"]
        assert all(languages[code]["speech_out"] for code in ("en", "es", "ca", "gl"))
        engine = (await server.get("/v1/engine")).json()
        assert "English only" in engine["notice"] and engine["state"] == "ready"


async def test_client_is_told_when_the_engine_is_still_warming(settings: Settings) -> None:
    """One can join before the engine is ready; session.state says when it is."""
    from tests.conftest import serve

    async for server in serve(settings):
        server.house.engine.state = "warming"
        room = await server.room()
        client = await Client(server.http, server.base, room).open()
        try:
            await client.join("Ana", "es")
            assert client.joined["state"] == "warming"
            assert (await client.expect("session.state"))["state"] == "warming"
            assert (await server.get("/readyz")).status == 503
            server.house.engine.state = "ready"
            server.house.announce()
            await client.expect("session.state", lambda m: m["state"] == "ready")
        finally:
            await client.close()
