"""The HTTP half of wire protocol v1, as far as it is about this process: its rooms, its engines, its counters."""

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

from aiohttp import web

from models.base import EngineError, Transcript
from rtc.opus import to_ogg
from rtc.room import Room
from rtc.transcript import Entry, as_text, as_webvtt
from signaling.house import House
from signaling.http import HEARTBEAT, Problem, limit, room_not_found
from signaling.limits import Limiter
from signaling.lobby_api import dump_card
from signaling.metrics import metrics_text, stats
from signaling.parlour import Parlour
from signaling.participant import present
from signaling.placement import RoomCard
from signaling.protocol import clean
from signaling.room_socket import RoomConnection
from signaling.talk_socket import TalkConnection

MAX_CACHED_AUDIO = 64
"""Replays kept: about 10 kB each."""

MAX_REPLAYS = 4
"""Made at a time: a long message is minutes of speech, and who speaks now needs the engine too."""


class Api:
    """Handlers; `routes` is the table."""

    def __init__(self, house: House, limiter: Limiter) -> None:
        self._house = house
        self._limiter = limiter
        self._audio: OrderedDict[tuple[str, str], bytes] = OrderedDict()
        self._reading = asyncio.Lock()
        self._replays = asyncio.Semaphore(MAX_REPLAYS)

    def routes(self) -> list[web.AbstractRouteDef]:
        """Every address."""
        return [
            web.get("/v1/engine", self.engine),
            web.get("/v1/languages", self.languages),
            web.get("/v1/rooms/{room}", self.room),
            web.get("/v1/rooms/{room}/transcript", self.transcript),
            web.get("/v1/rooms/{room}/signal", self.signal),
            web.get("/v1/conversation", self.conversation),
            web.get("/v1/conversation/signal", self.talk),
            web.get("/v1/utterances/{id}/audio", self.audio),
            web.get("/v1/ice-servers", self.ice_servers),
            web.get("/v1/stats", self.stats),
            web.get("/metrics", self.metrics),
            web.get("/readyz", self.readyz),
        ]

    # engine

    async def engine(self, request: web.Request) -> web.Response:
        translator = self._house.engine.translator
        state = {key: value for key, value in self._house.state_message().items() if key != "type"}
        return web.json_response({"name": translator.name, "notice": translator.notice, **state})

    async def languages(self, request: web.Request) -> web.Response:
        translator = self._house.engine.translator
        codes = [language.code for language in translator.languages]
        return web.json_response(
            [
                {
                    "code": language.code,
                    "name": language.name,
                    "english": language.english,
                    "speech_in": language.speech_in,
                    "speech_out": language.speech_out,
                    "text": language.text,
                    "from": {
                        source: route
                        for source in codes
                        if source != language.code and (route := translator.route(source, language.code)) is not None
                    },
                }
                for language in translator.languages
            ]
        )

    # rooms

    async def room(self, request: web.Request) -> web.Response:
        room = self._room(request)
        card = dump_card(RoomCard.of(room, _now()), self._house.settings.public_url)
        return web.json_response({**card, "participants": present(room)})

    async def transcript(self, request: web.Request) -> web.Response:
        limit(self._limiter, request)
        room = self._room(request)
        language = self._language(request)
        form = request.query.get("format", "json")
        if form not in ("json", "txt", "vtt"):
            raise Problem(400, "bad_format", "format is json, txt or vtt.")
        entries = [entry for entry in room.transcript if entry.belongs_in(language)]
        lines = [(entry, *await self._read(request, room, entry, language)) for entry in entries]
        lines = [line for line in lines if line[-1]]
        if form == "json":
            return web.json_response([_line(*line) for line in lines])
        words = ((entry, text) for entry, _, text in lines)
        name = f'attachment; filename="{room.id}.{form}"'
        return web.Response(
            text=as_text(words) if form == "txt" else as_webvtt(words),
            content_type="text/plain" if form == "txt" else "text/vtt",
            headers={"Content-Disposition": name},
        )

    async def _read(self, request: web.Request, room: Room, entry: Entry, language: str | None) -> tuple[str, str]:
        """As `_words`; what had to be translated is kept. One at a time: who speaks needs the engine too, and who asks
        for the same finds it there."""
        if language is None or entry.in_language(language):
            return await self._words(entry, language)
        async with self._reading:
            _still_there(request)
            found, text = await self._words(entry, language)
            if found == language:
                room.transcript.translated(entry, language, text)
            return found, text

    async def audio(self, request: web.Request) -> web.Response:
        """An utterance or message, read aloud."""
        limit(self._limiter, request)
        utterance_id = request.match_info["id"]
        entries = self._house.lobby.utterance(utterance_id)
        if not entries:
            raise Problem(404, "utterance_not_found", "That was never said, or it is forgotten.")
        language = self._language(request) or entries[0].language
        key = (utterance_id, language)
        if (speech := self._audio.get(key)) is None:
            async with self._replays:
                _still_there(request)
                speech = self._audio.get(key) or await self._spoken(entries, language)
            self._audio[key] = speech
            if len(self._audio) > MAX_CACHED_AUDIO:
                self._audio.popitem(last=False)
        return web.Response(body=speech, content_type="audio/ogg", headers={"Cache-Control": "private"})

    async def _spoken(self, entries: Sequence[Entry], language: str) -> bytes:
        engine = self._house.engine
        self._ready()
        known = {one.code: one for one in engine.translator.languages}
        if not known[language].speech_out:
            raise Problem(422, "no_voice", f"The engine in use has no voice for {known[language].english}.")
        chosen = [entry for entry in entries if entry.belongs_in(language)] or entries
        words = [await self._words(entry, language) for entry in chosen]
        if any(found != language for found, _ in words):
            raise Problem(422, "no_translation", f"That cannot be translated into {known[language].english}.")
        text = " ".join(text for _, text in words)

        def speak() -> bytes:
            speech = engine.translator.speak(text, language)
            return to_ogg(speech.pcm, speech.sample_rate)

        try:
            return await engine.run(speak)
        except EngineError as error:
            raise Problem(503, "engine_failed", str(error), retry_after=1) from error

    async def _words(self, entry: Entry, language: str | None) -> tuple[str, str]:
        """(language, text) of an entry in the language asked for, or as it was said if there is no way there."""
        source, words = entry.words
        if language is None:
            return source, words
        engine = self._house.engine
        if words and not entry.in_language(language) and engine.state == "ready":
            renderings = engine.translator.render(Transcript(words, source), [language], speech=False)
            try:
                rendering = await engine.run(next, renderings, None)
            except EngineError as error:
                raise Problem(503, "engine_failed", str(error), retry_after=1) from error
            if rendering is not None and rendering.text:
                return language, rendering.text
        text = entry.in_language(language)
        return (language, text) if text else (source, words)

    # sockets

    async def signal(self, request: web.Request) -> web.StreamResponse:
        limit(self._limiter, request)
        room = self._room(request)
        ws = await self._socket(request)
        await RoomConnection(ws, room, self._house).serve()
        return ws

    async def talk(self, request: web.Request) -> web.StreamResponse:
        """One conversation with the duplex voice."""
        limit(self._limiter, request)
        parlour = self._parlour()
        ws = await self._socket(request)
        await TalkConnection(ws, self._house, parlour).serve()
        return ws

    async def _socket(self, request: web.Request) -> web.WebSocketResponse:
        if request.headers.get("Upgrade", "").lower() != "websocket":
            raise Problem(426, "websocket_needed", "This address takes WebSockets only.")
        ws = web.WebSocketResponse(heartbeat=HEARTBEAT, max_msg_size=4 * self._house.settings.max_message)
        await ws.prepare(request)
        return ws

    async def conversation(self, request: web.Request) -> web.Response:
        """The voice that one can talk with, and whether there is a seat."""
        parlour = self._parlour()
        dialogue = parlour.engine.dialogue
        state = {key: value for key, value in parlour.state_message().items() if key != "type"}
        return web.json_response(
            {
                "name": dialogue.name,
                "url": f"{self._house.settings.public_url}/talk",
                "notice": dialogue.notice,
                "voice": parlour.engine.voice,
                **state,
                "seats": dialogue.seats,
                "seats_taken": parlour.taken,
                "waiting": parlour.waiting,
            }
        )

    async def ice_servers(self, request: web.Request) -> web.Response:
        return web.json_response(self._house.ice.for_clients(), headers={"Cache-Control": "no-store"})

    # operations

    async def stats(self, request: web.Request) -> web.Response:
        return web.json_response(stats(self._house))

    async def metrics(self, request: web.Request) -> web.Response:
        return web.Response(body=metrics_text(self._house), headers={"Content-Type": "text/plain; version=0.0.4"})

    async def readyz(self, request: web.Request) -> web.Response:
        """200 once rooms are interpreted. What the voice to talk with is doing is told beside it and decides nothing:
        a load balancer that waited for it would keep people out of rooms for the minutes that its weights take, and who
        comes for it is told how far it is, and waits in line. Whoever wants to know looks at `dialogue.state`, or at
        `dragoman_dialogue_ready` in the metrics."""
        state = {key: value for key, value in self._house.state_message().items() if key != "type"}
        parlour = self._house.parlour
        if parlour is not None:
            state["dialogue"] = {key: value for key, value in parlour.state_message().items() if key != "type"}
        return web.json_response(state, status=200 if self._house.state == "ready" else 503)

    # helpers

    def _ready(self) -> None:
        if self._house.engine.state == "failed":
            raise Problem(503, "engine_failed", self._house.engine.error)
        if self._house.engine.state != "ready":
            raise Problem(503, "warming", "The interpreter is still warming up.", retry_after=3)

    def _parlour(self) -> Parlour:
        if self._house.parlour is None:
            raise Problem(404, "no_dialogue", "There is nobody to talk with here: the server runs without a dialogue.")
        return self._house.parlour

    def _room(self, request: web.Request) -> Room:
        room = self._house.lobby.find(request.match_info["room"], _now())
        if room is None:
            raise room_not_found()
        return room

    def _language(self, request: web.Request) -> str | None:
        code = request.query.get("language")
        if code is not None and not any(one.code == code for one in self._house.engine.translator.languages):
            raise Problem(400, "bad_language", f"The engine in use does not know the language {clean(code)[:40]!r}.")
        return code


def _still_there(request: web.Request) -> None:
    """Raises ConnectionResetError if nobody waits for the answer any more: the engine is there for those who do."""
    if request.transport is None:
        raise ConnectionResetError("Nobody waits for it.")


def _now() -> float:
    return asyncio.get_running_loop().time()


def _line(entry: Entry, language: str, text: str) -> dict[str, Any]:
    return {
        "kind": "chat" if entry.kind == "chat" else "speech",
        "segment_id": entry.segment_id,
        "utterance_id": entry.utterance_id,
        "participant_id": entry.participant_id,
        "name": entry.name,
        "language": language,
        "source_language": entry.language,
        "translated": language != entry.language,
        "text": text,
        "original_text": entry.text,
        "start_ms": entry.start_ms,
        "end_ms": entry.end_ms,
    }
