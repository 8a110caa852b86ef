"""Rooms spread over processes of this machine: each in the one with the fewest people, in another when that dies."""

import asyncio
import contextlib
import dataclasses
import logging
import secrets
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

from rtc.room import Mode, Room
from rtc.transcript import Entry
from signaling.ice import share_of
from signaling.lobby import Lobby
from signaling.placement import NoPlace, Placement, RoomCard
from signaling.settings import Settings
from signaling.worker_process import BAD_SETTINGS, WorkerProcess

PATIENCE = 10.0
"""Seconds for which somebody waits until a worker can take their room."""
STEADY = 5.0
"""Seconds after which a worker has shown that it works. The next is started at once; otherwise after a pause …"""
FIRST_PAUSE, LAST_PAUSE = 0.1, 10.0
"""… that doubles."""
FOR_EVER = 1e9
"""Seconds for which a worker keeps an empty room: that is decided here."""

log = logging.getLogger(__name__)


class _BadSettings(Exception):
    """No worker can be started with these."""


class _Home:
    """Where one room is."""

    def __init__(self, room: Room) -> None:
        self.room = room
        """What is known of it here: nobody is ever in it, and what is said in it is written down in it."""
        self.people = 0
        self.worker: WorkerProcess | None = None
        self.generation = 0
        self.moving = asyncio.Lock()

    def count(self, people: int, now: float) -> None:
        """So many are in it."""
        self.people = people
        self.room.empty_since = None if people else now

    def card(self, now: float) -> RoomCard:
        return dataclasses.replace(RoomCard.of(self.room, now), participant_count=self.people)


class ProcessPlacer:
    """A RoomPlacer, and the owner of the workers: `run` keeps them alive."""

    def __init__(self, settings: Settings) -> None:
        self.stopping = self.failed = False
        """`failed`: because no worker can be started with these settings; it has said why."""
        self.ended = asyncio.Event()
        self._stop = asyncio.Event()
        secret = settings.session_secret or secrets.token_hex()
        self._settings = dataclasses.replace(settings, workers=1, session_secret=secret, room_ttl=FOR_EVER)
        self._lobby = Lobby(settings.max_rooms, settings.room_capacity, settings.room_ttl, lambda source, target: False)
        self._homes: dict[str, _Home] = {}
        self._workers: list[WorkerProcess | None] = [None] * settings.workers
        self._changed = asyncio.Event()
        """Of a worker's state; a fresh one each time."""
        self._tasks: asyncio.TaskGroup | None = None

    # the workers

    def __iter__(self) -> Iterator[WorkerProcess]:
        """Those that take rooms."""
        return (worker for worker in self._workers if worker is not None and worker.takes_rooms)

    async def run(self) -> None:
        """Until `stop`; or until a worker says that with these settings none can be."""
        with tempfile.TemporaryDirectory(prefix="dragoman-") as folder:
            try:
                async with asyncio.TaskGroup() as self._tasks:
                    keeping = [
                        self._tasks.create_task(self._keep(number, Path(folder)))
                        for number in range(len(self._workers))
                    ]
                    await self._stop.wait()
                    for task in keeping:
                        task.cancel()
            except* _BadSettings:
                self.failed = True
            finally:
                self.stopping = True
                self.ended.set()

    async def stop(self) -> None:
        """End every worker: they say goodbye to everybody. Returns when none is left. Idempotent."""
        self.stopping = True
        self._stop.set()
        await self.ended.wait()

    async def _keep(self, number: int, folder: Path) -> None:
        """One worker after the other. The first holds the conversations: the voice to talk with is loaded once."""
        settings = dataclasses.replace(
            self._settings,
            media_ports=share_of(self._settings.media_ports, number, len(self._workers)),
            dialogue=self._settings.dialogue if number == 0 else "none",
        )
        clock, life, pause, served = asyncio.get_running_loop().time, 0, FIRST_PAUSE, False
        while True:
            started, life = clock(), life + 1
            worker = self._workers[number] = WorkerProcess(self, settings, folder / f"{number}-{life}")
            status = await worker.run()
            if status == BAD_SETTINGS and not served:
                raise _BadSettings  # else what they name has gone since, and the others go on as they are
            served |= worker.listening
            log.warning("worker %d of %d ended with %d", number + 1, len(self._workers), status)
            if clock() - started >= STEADY:
                pause = FIRST_PAUSE
            else:
                await asyncio.sleep(pause)
                pause = min(2 * pause, LAST_PAUSE)

    def news(self, worker: WorkerProcess) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
        if not worker.empty.is_set():
            return
        for room_id, home in self._homes.items():
            if home.worker is worker:
                if home.people and self._tasks is not None and not self.stopping:  # they will be back in a moment
                    self._tasks.create_task(self._place_again(room_id))
                home.count(0, _now())

    async def _place_again(self, room_id: str) -> None:
        try:
            await self.place(room_id)
        except (KeyError, NoPlace) as failure:
            log.warning("room %s is nowhere: %s", room_id, failure)

    def put(self, room_id: str, entry: Entry) -> None:
        if room_id in self._homes:
            self._homes[room_id].room.transcript.add(entry)

    def changed(self, worker: WorkerProcess, card: RoomCard) -> None:
        home = self._homes.get(card.id)
        if home is not None and home.worker is worker:
            home.room.mode = card.mode
            home.count(card.participant_count, _now())

    # the rooms

    async def create(self, name: str | None, mode: Mode) -> RoomCard:
        room = self._lobby.create(name, _now(), mode)
        home = self._homes[room.id] = _Home(room)
        self._forget()
        return home.card(_now())

    async def find(self, room_id: str) -> RoomCard | None:
        self._forget()
        home = self._homes.get(room_id)
        return None if home is None else home.card(_now())

    async def rooms(self) -> Sequence[RoomCard]:
        self._forget()
        return [home.card(_now()) for home in self._homes.values()]

    async def place(self, room_id: str) -> Placement:
        home = await self._settle(room_id)
        assert home.worker is not None, "it has settled"
        return Placement(f"unix:{home.worker.path}", "", home.generation)

    async def release(self, room_id: str, generation: int) -> None:
        home = self._homes.get(room_id)
        if home is not None and home.generation == generation and home.worker is not None:
            home.worker.drop(room_id)
            home.worker = None

    async def worker_of(self, room_id: str) -> WorkerProcess:
        """The process in which the room is. Raises as `place` does."""
        worker = (await self._settle(room_id)).worker
        assert worker is not None, "it has settled"
        return worker

    def room_of(self, utterance_id: str) -> str | None:
        """The room in which that was said or written."""
        said_in = (room_id for room_id, home in self._homes.items() if home.room.transcript.utterance(utterance_id))
        return next(said_in, None)

    async def any_worker(self, first: bool = False) -> WorkerProcess:
        """One that serves; `first`: the one that holds the conversations. Raises NoPlace."""

        def found() -> WorkerProcess | None:
            return next((worker for worker in self if not first or worker is self._workers[0]), None)

        async with self._patience():
            while (worker := found()) is None:
                await self._changed.wait()
        return worker

    async def _settle(self, room_id: str) -> _Home:
        """Wait until the room is somewhere. Raises KeyError, NoPlace."""
        self._forget()
        home = self._homes[room_id]
        async with self._patience(), home.moving:
            while home.worker is None or home.worker.empty.is_set() or home.worker.draining:
                if home.worker is not None and not home.worker.empty.is_set():
                    await home.worker.empty.wait()  # the last words there are still to come
                elif candidates := list(self):
                    await self._move(home, min([one for one in candidates if one.ready] or candidates, key=self._load))
                else:
                    await self._changed.wait()
        return home

    async def _move(self, home: _Home, worker: WorkerProcess) -> None:
        home.worker = worker  # at once, so that others who look for the least busy one count it
        home.generation += 1
        try:
            await worker.open(home.card(_now()), home.generation, home.room.transcript)
        except BaseException:
            home.worker = None
            worker.drop(home.room.id)  # it may open the room yet, when nobody waits for that any more
            raise

    def _load(self, worker: WorkerProcess) -> int:
        """People who are there, and one for each room that is still empty."""
        return sum(max(1, home.people) for home in self._homes.values() if home.worker is worker)

    @contextlib.asynccontextmanager
    async def _patience(self) -> AsyncIterator[None]:
        if self.stopping:
            raise NoPlace("The server is about to stop.", retry_after=60)
        try:
            async with asyncio.timeout(PATIENCE):
                yield
        except TimeoutError:
            raise NoPlace("The room is on its way to another process. Try again in a moment.") from None

    def _forget(self) -> None:
        """Rooms that have been empty for too long, or made way for others."""
        self._lobby.expire(_now())
        for room_id in self._homes.keys() - {room.id for room in self._lobby}:
            home = self._homes.pop(room_id)
            if home.worker is not None:
                home.worker.drop(room_id)


def _now() -> float:
    return asyncio.get_running_loop().time()
