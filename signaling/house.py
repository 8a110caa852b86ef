"""Everything one process holds: the engines, the rooms, the people; and who may come in."""

import asyncio
import logging
import secrets
import time
from collections import Counter
from typing import Any

from rtc.channel import Channel
from rtc.dialogue_thread import DialogueThread
from rtc.engine_thread import Engine
from rtc.peer_connection import PeerConnection
from rtc.ports import Ports
from rtc.room import Room, RoomFull
from rtc.rtp import OnPacket
from rtc.stats import Stats
from rtc.streaming_translation import StreamingTranslator
from rtc.ticker import Ticker
from signaling.ice import port_range
from signaling.ice_servers import IceServers
from signaling.lobby import Lobby
from signaling.parlour import Parlour
from signaling.participant import Participant, announce, public
from signaling.placement import NoRecords, Records, RoomCard
from signaling.protocol import Join, ProtocolError
from signaling.session import unknown_session
from signaling.session_token import BadToken, SessionToken
from signaling.settings import Settings
from signaling.states import state_message, tell_progress
from signaling.visit import Visit

MOVING = 0.2
"""Seconds after which the next process may know the room."""

log = logging.getLogger(__name__)


class House:
    """`run` owns every participant; `join` lets one in."""

    def __init__(
        self,
        engine: Engine,
        settings: Settings,
        dialogue: DialogueThread | None = None,
        streaming: StreamingTranslator | None = None,
        records: Records | None = None,
        stats: Stats | None = None,
    ) -> None:
        """Without a `dialogue` there is nobody to talk with; without `streaming` all is translated in segments; without
        `records` rooms end with this process."""
        self.engine = engine
        self.streaming = streaming
        self.settings = settings
        self.stats = stats or Stats()
        self._records = records or NoRecords()
        self.lobby = Lobby(
            settings.max_rooms, settings.room_capacity, settings.room_ttl, self._has_voice, self._records.put
        )
        self.ice = IceServers(settings)
        self._ports = Ports(port_range(settings.media_ports) if settings.media_ports else ())
        self.parlour = None if dialogue is None else Parlour(dialogue, settings, self.stats, self.connect)
        self.draining = False
        self._secret = (settings.session_secret or secrets.token_hex()).encode()
        self._sessions: dict[str, Participant] = {}  # by session id
        self._tickers: dict[str, tuple[Ticker, asyncio.Task[None]]] = {}  # by room
        self._visits: dict[str, Visit] = {}  # of the voice, by room
        self._entering: Counter[str] = Counter()  # people, by room
        self._tasks: asyncio.TaskGroup | None = None
        self._open = asyncio.Event()
        self._close = asyncio.Event()

    @property
    def state(self) -> str:
        """`warming`, `ready`, `draining` or `failed`."""
        return "draining" if self.draining else self.engine.state

    @property
    def participants(self) -> int:
        return sum(len(room) for room in self.lobby)

    async def run(self) -> None:
        """Owns all tasks; returns after `close`."""
        async with asyncio.TaskGroup() as self._tasks:
            engine = self._tasks.create_task(self._keep_engine())
            ice = self._tasks.create_task(self.ice.run())
            if self.parlour is not None:
                self.parlour.start(self._tasks)
            streaming = self._tasks.create_task(self._keep_streaming())
            await self.ice.opened()
            self._open.set()
            await self._close.wait()
            if self.parlour is not None:
                self.parlour.stop()
            for participant in list(self._sessions.values()):
                participant.end("closed")
            for _, task in self._tickers.values():
                task.cancel()
            engine.cancel()
            streaming.cancel()
            ice.cancel()
        await self.engine.close()
        if self.streaming is not None:
            await self.streaming.engine.close()
        if self.parlour is not None:
            await self.parlour.close()

    async def opened(self) -> None:
        """Wait until people may come."""
        await self._open.wait()

    async def settled(self) -> None:
        """Wait until nothing loads any more, whether it can be used or not."""
        await self.engine.settled.wait()
        if self.parlour is not None:
            await self.parlour.engine.settled.wait()
        if self.streaming is not None:
            await self.streaming.engine.settled.wait()

    async def _keep_engine(self) -> None:
        """Make it ready, and tell everybody how far that is; tell them, too, if it breaks."""
        async with asyncio.TaskGroup() as tasks:
            telling = tasks.create_task(tell_progress(self.engine, self.announce))
            await self.engine.load()
            telling.cancel()
        self.announce()
        for room in self.lobby:
            room.reassign()
        self._routes_changed()
        await self.engine.broken.wait()
        self.announce()

    async def _keep_streaming(self) -> None:
        if self.streaming is not None:
            await self.streaming.run(self._routes_changed)

    def _routes_changed(self) -> None:
        """An engine became ready, or broke."""
        for room in self.lobby:
            room.changed()

    def announce(self) -> None:
        """Tell everybody what state we are in."""
        for participant in self._sessions.values():
            participant.send(self.state_message())

    def state_message(self) -> dict[str, Any]:
        """`session.state`."""
        return state_message(self.engine, self.draining)

    def drain(self) -> None:
        """Let nobody in any more."""
        self.draining = True
        self.announce()
        if self.parlour is not None:
            self.parlour.drain()

    def close(self) -> None:
        """End `run`. Idempotent."""
        self._close.set()

    async def emptied(self) -> None:
        """After `close`: wait until nothing more happens in any room."""
        for participant in list(self._sessions.values()):
            await participant.departed.wait()

    async def open_room(self, card: RoomCard, generation: int) -> Room:
        """A room that a placer has put here, with all that was said in it before. Idempotent."""
        entries = await self._records.load(card.id)
        room = self.lobby.open(card.id, card.name, card.mode, _now(), generation)
        if not len(room.transcript):
            room.opened_at = _now() - (time.time() - card.opened_at)
            for entry in entries:
                room.transcript.add(entry)
        return room

    def write_down(self, room: Room) -> None:
        """People came or went, or it has another mode: that must outlive us. But not if the room is held elsewhere by
        now, though its people are still on their way out here."""
        if self.lobby.find(room.id, _now()) is room:
            self._records.changed(RoomCard.of(room, _now()))

    async def join(self, room: Room, message: Join, moved: SessionToken | None = None) -> Participant:
        """Let somebody in: checks, media connection, place in the room; `session.joined` is in their outbox. `moved`:
        who they were where the room was before.

        Raises ProtocolError, and leaves nothing behind then.
        """
        self._check_open(room)
        full = len(room) >= room.capacity
        if full or self.participants + self._entering.total() >= self.settings.max_participants:
            where = f"All {room.capacity} places in this room are taken." if full else "The house is full."
            self.stats.sessions["refused"] += 1
            raise ProtocolError("room_full", f"{where} Try again when somebody has left.", retry_after=15)
        assert self._tasks is not None, "run comes before join"
        assert message.sdp is not None, "the parser wants an offer of who does not resume"
        ticker = self._ticker_of(room)
        participant = Participant(
            room,
            self.engine,
            self.stats,
            self.settings,
            self.connect,
            ticker,
            message,
            None if self.parlour is None else self.parlour.engine,
            self._secret,
            moved,
            self.streaming,
        )
        self._entering[room.id] += 1
        try:
            answer = await participant.connect(message.sdp)
            try:
                self._check_open(room)  # still
                if participant.session_id in self._sessions:  # they came twice, and the other was faster
                    raise _moved()
                room.join(participant)
            except (ProtocolError, RoomFull):
                await participant.hang_up()
                raise
        except RoomFull as full_now:
            raise ProtocolError("room_full", str(full_now), retry_after=15) from None
        finally:
            self._entering -= Counter([room.id])
            self._rest(room)
        joined = participant.joined(answer)
        if moved is None:
            joined["record"] = room.transcript.last_record
        else:
            participant.outbox.begin_at(message.last_seq or 0)
        participant.outbox.resume(None, joined)  # before the slots told while joining
        participant.send(self.state_message())
        if moved is not None and message.last_record is not None:
            participant.catch_up(message.last_record)
        announce(room, {"type": "participant.joined", "participant": public(participant)}, but=participant)
        room.changed()
        self._sessions[participant.session_id] = participant
        self.stats.sessions["joined" if moved is None else "moved"] += 1
        self.write_down(room)
        self._tasks.create_task(self._live(participant))
        return participant

    def _check_open(self, room: Room) -> None:
        """Raises ProtocolError if nobody can come in any more, or nobody else could find them there."""
        closing = self.draining or self._close.is_set()
        if not closing and self.lobby.find(room.id, _now()) is room:
            return
        if not isinstance(self._records, NoRecords):  # who placed the room here knows where it is now, if anywhere
            raise ProtocolError("room_moving", "The room is on its way to another process.", retry_after=MOVING)
        if closing:
            raise ProtocolError("draining", "The server is about to stop. Try again in a minute.", retry_after=60)
        raise ProtocolError("room_not_found", "The room has closed. Open a new one.")

    def invite(self, room: Room) -> None:
        """Bring the voice that one can talk with into the room. Harmless if it is there. Raises ProtocolError."""
        if self.parlour is None:
            raise ProtocolError("no_dialogue", "There is nobody to invite: the server runs without a dialogue.")
        if room.id in self._visits or not len(room):
            return
        assert self._tasks is not None, "run comes before somebody who invites"
        ticker = self._ticker_of(room)
        visit = Visit(room, self.parlour, self.engine, self.stats, self.settings, ticker, self._visited)
        self._visits[room.id] = visit
        self._tasks.create_task(visit.run())

    def dismiss(self, room: Room) -> None:
        """Ask the voice to leave the room. Harmless if it is not there."""
        if (visit := self._visits.get(room.id)) is not None:
            visit.end()

    def _visited(self, room: Room) -> None:
        self._visits.pop(room.id, None)
        self._rest(room)

    def _ticker_of(self, room: Room) -> Ticker:
        """The room's timer, started on first use."""
        assert self._tasks is not None, "run comes before join"
        if room.id not in self._tickers:
            ticker = Ticker(self.stats)
            self._tickers[room.id] = (ticker, self._tasks.create_task(ticker.run()))
        return self._tickers[room.id][0]

    def _rest(self, room: Room) -> None:
        """A room without people needs no timer."""
        if not len(room) and not self._entering[room.id] and room.id in self._tickers:
            self._tickers.pop(room.id)[1].cancel()

    async def resume(self, room: Room, message: Join) -> Participant:
        """Give somebody their session back; or take it over, if it is from where the room was before. Raises
        ProtocolError."""
        try:
            token = SessionToken.read(message.resume or "", self._secret, time.time())
        except BadToken:
            raise unknown_session() from None
        if token.room != room.id:
            raise unknown_session()
        participant = self._sessions.get(token.session)
        if participant is None or participant.over:
            if token.generation >= room.generation:
                raise unknown_session()
            if message.sdp is None or not message.name:
                raise _moved()
            return await self.join(room, message, token)
        answer = None if message.sdp is None else await participant.connect(message.sdp)
        self.stats.sessions["resumed"] += 1
        if answer is not None:
            room.reassign()
        participant.outbox.resume(message.last_seq, participant.joined(answer))
        participant.wake.set()
        return participant

    async def _live(self, participant: Participant) -> None:
        try:
            await participant.run()
        finally:
            del self._sessions[participant.session_id]
            self._rest(participant.room)
            self.write_down(participant.room)

    def connect(
        self, max_slots: int, on_packet: OnPacket, ticker: Ticker, channel: Channel | None = None
    ) -> PeerConnection:
        """A media connection with our ICE servers, on our ports."""
        return PeerConnection(self.ice.for_server(), max_slots, on_packet, ticker, self._ports, channel)

    def _has_voice(self, source: str, target: str) -> bool:
        translator = self.engine.translator
        by_code = {language.code: language for language in translator.languages}
        heard, spoken = by_code.get(source), by_code.get(target)
        return (
            heard is not None
            and spoken is not None
            and source.partition("-")[0] != target.partition("-")[0]  # zh and zh-Hant sound the same
            and heard.speech_in
            and spoken.speech_out
            and translator.route(source, target) is not None
        )


def _now() -> float:
    return asyncio.get_running_loop().time()


def _moved() -> ProtocolError:
    return ProtocolError("session_moved", "The room has moved: join it with the same session, and a new offer.")
