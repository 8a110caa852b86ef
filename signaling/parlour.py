"""Where people talk with the duplex voice: its engine, its seats, the line before them, and who is inside."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

from rtc.conversation import Stage
from rtc.dialogue_thread import DialogueThread
from rtc.stats import Stats
from rtc.ticker import Ticker
from signaling.conversation import Talker
from signaling.line import Line, LineFull, Ticket
from signaling.protocol import ProtocolError, TalkJoin, error_message
from signaling.session import Connector, unknown_session
from signaling.settings import Settings
from signaling.states import state_message, tell_progress


class Waiting(Ticket):
    """Somebody's place, and a way to wake who waits for it."""

    def __init__(self) -> None:
        self.changed = asyncio.Event()
        super().__init__(self.changed.set)
        self.refusal: ProtocolError | None = None
        """Why there is no point in waiting any longer."""

    def refuse(self, error: ProtocolError) -> None:
        """Send them away."""
        self.refusal = error
        self.changed.set()


class Parlour:
    """`enter` gives a place, `join` lets somebody in who has a seat."""

    def __init__(
        self,
        engine: DialogueThread,
        settings: Settings,
        stats: Stats,
        connector: Connector,
    ) -> None:
        self.engine = engine
        self.stage = Stage(engine)
        self.draining = False
        self._settings = settings
        self._stats = stats
        self._connector = connector
        self._line = Line(engine.dialogue.seats, settings.max_waiting)
        self._places: set[Waiting] = set()
        self._sessions: dict[str, Talker] = {}  # by resume token
        self._ticker = Ticker(stats)
        self._tasks: asyncio.TaskGroup | None = None
        self._own: list[asyncio.Task[None]] = []
        self.refused = 0
        """People sent away because the house was full."""

    def __iter__(self) -> Iterator[Talker]:
        """Everybody who talks."""
        return iter(list(self._sessions.values()))

    @property
    def taken(self) -> int:
        """Seats that are taken, by people whose media are still on their way too."""
        return self._line.seated

    @property
    def waiting(self) -> int:
        """People in the line."""
        return self._line.waiting

    def start(self, tasks: asyncio.TaskGroup) -> None:
        """Begin, in the group that owns everything."""
        self._tasks = tasks
        self._own = [tasks.create_task(work) for work in (self._ticker.run(), self.stage.run(), self._keep_engine())]

    def stop(self) -> None:
        """End everybody's session; idempotent. `close` follows when they are gone."""
        for place in self._places:
            place.refuse(ProtocolError("draining", "The server is about to stop.", retry_after=60))
        for talker in self:
            talker.end("closed")
        for task in self._own:
            task.cancel()

    async def close(self) -> None:
        """Free the engine."""
        await self.engine.close()

    async def _keep_engine(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            telling = tasks.create_task(tell_progress(self.engine, self.announce))
            await self.engine.load()
            telling.cancel()
        self.stage.wake()
        if self.engine.state == "ready":
            self.announce()
            await self.engine.broken.wait()
        broken = self._broken()
        for place in self._places:
            place.refuse(broken)
        for talker in self:
            talker.send(error_message(broken.code, str(broken), fatal=True))
            talker.end("failed")

    def _broken(self) -> ProtocolError:
        return ProtocolError("engine_failed", f"The voice does not work: {self.engine.error}")

    def drain(self) -> None:
        """Let nobody in any more."""
        self.draining = True
        self.announce()

    def announce(self) -> None:
        """Tell everybody what state we are in."""
        for talker in self:
            talker.send(self.state_message())

    def state_message(self) -> dict[str, Any]:
        """`session.state`."""
        return state_message(self.engine, self.draining)

    # coming in

    def enter(self, message: TalkJoin) -> Waiting:
        """A place, in a seat or in the line. Raises ProtocolError; otherwise `leave` it, unless `join` succeeds."""
        if message.voice not in (None, self.engine.voice):
            raise ProtocolError("bad_voice", f"There is one voice here: {self.engine.voice}.")
        return self.take_place(message.wait)

    def take_place(self, wait: bool) -> Waiting:
        """For whoever needs a seat; who cannot `wait` gets one now or never. Raises ProtocolError."""
        if self.draining:
            raise ProtocolError("draining", "The server is about to stop. Try again in a minute.", retry_after=60)
        if self.engine.state == "failed":
            raise self._broken()
        line, place = self._line, Waiting()
        position = line.waiting + 1
        if line.is_full and not wait:
            raise self._house_full(position)
        try:
            line.enter(place, _now())
        except LineFull:
            raise self._house_full(position) from None
        self._places.add(place)
        return place

    def _house_full(self, position: int) -> ProtocolError:
        self.refused += 1
        eta = self._line.eta(position)
        return ProtocolError("house_full", "The voice talks with as many as it can.", eta, position)

    def leave(self, place: Waiting) -> None:
        """They are gone, or need the place no more. Idempotent."""
        self._places.discard(place)
        self._line.leave(place, _now())

    def queue_message(self, place: Waiting) -> dict[str, Any]:
        """`queue.position`."""
        position = self._line.position(place)
        return {"type": "queue.position", "position": position, "eta_s": round(self._line.eta(position), 1)}

    async def join(self, place: Waiting, message: TalkJoin, kind: Callable[..., Talker] = Talker) -> Talker:
        """Let somebody in who has a seat; `session.joined` is in their outbox. `kind` makes their session. Raises
        ProtocolError, and leaves nothing behind then but the place."""
        assert self._tasks is not None, "start comes before join"
        assert place.seated_at is not None and message.sdp is not None
        talker = kind(
            self.stage,
            self._stats,
            self._settings,
            self._connector,
            self._ticker,
            message,
            lambda: self.leave(place),
        )
        answer = await talker.connect(message.sdp)
        if place.refusal is not None:  # meanwhile
            await talker.hang_up()
            raise place.refusal
        talker.outbox.resume(None, talker.joined(answer))
        talker.send(self.state_message())
        self._sessions[talker.resume_token] = talker
        self._stats.sessions["joined"] += 1
        self._tasks.create_task(self._live(talker))
        return talker

    async def resume(self, message: TalkJoin) -> Talker:
        """Give somebody their session back. Raises ProtocolError."""
        talker = self._sessions.get(message.resume or "")
        if talker is None or talker.over:
            raise unknown_session()
        answer = None if message.sdp is None else await talker.connect(message.sdp)
        self._stats.sessions["resumed"] += 1
        talker.outbox.resume(message.last_seq, talker.joined(answer))
        talker.wake.set()
        return talker

    async def _live(self, talker: Talker) -> None:
        try:
            await talker.run()
        finally:
            self._sessions.pop(talker.resume_token, None)


def _now() -> float:
    return asyncio.get_running_loop().time()
