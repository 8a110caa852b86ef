"""One worker as its parent sees it: started, told, heard, and gone."""

import asyncio
import contextlib
import logging
import signal
import socket
import sys
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

import aiohttp

from rtc.transcript import Entry
from signaling.control import Control
from signaling.placement import RoomCard
from signaling.settings import Settings

BAD_SETTINGS = 2
"""Exit status of a worker that no second try would help."""
NOT_STARTED = 127
"""As shells say of a command that is not there."""
PING_EVERY = 2.0
"""Seconds between two pings."""
UNANSWERED, UNANSWERED_WARMING = 5, 100
"""So many without an answer, and a worker counts as hung; one that still loads its engine may be busy with that."""
STOP_PATIENCE = 10.0
"""Seconds a worker has to say goodbye to everybody."""

log = logging.getLogger(__name__)


class Owner(Protocol):
    """Whom a worker tells. Never blocks."""

    def changed(self, worker: "WorkerProcess", card: RoomCard) -> None:
        """People came or went, or a room has another mode."""

    def put(self, room_id: str, entry: Entry) -> None:
        """An entry of a transcript is new, or has more words."""

    def news(self, worker: "WorkerProcess") -> None:
        """It listens, its engine is ready or is no more, it drains, or is empty."""


class WorkerProcess:
    """`run` is its whole life."""

    def __init__(self, owner: Owner, settings: Settings, path: Path) -> None:
        """`path`: of the Unix socket on which it is to serve."""
        self.path = path
        self._owner = owner
        self._settings = settings
        self._control: Control | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._unanswered = 0
        self._opened: dict[tuple[str, int], asyncio.Event] = {}  # by room and generation
        self.http: aiohttp.ClientSession | None = None
        """Requests to it, while it listens."""
        self.listening = self.ready = self.draining = False
        """`ready`: its engine is."""
        self.empty = asyncio.Event()
        """No room is there any more: it is gone, or nearly."""

    @property
    def pid(self) -> int | None:
        """Of its process, if it has been started."""
        return None if self._process is None else self._process.pid

    @property
    def takes_rooms(self) -> bool:
        """It serves, and means to go on."""
        return self.listening and not self.draining and not self.empty.is_set()

    async def run(self) -> int:
        """From its start to its death: the exit status. When cancelled, it is ended, politely at first."""
        ours, its = socket.socketpair()
        try:
            with its:
                command = [sys.executable, "-m", "signaling.worker", str(its.fileno()), str(self.path)]
                self._process = await asyncio.create_subprocess_exec(*command, pass_fds=[its.fileno()])
            self._control = await Control.over(ours)
            self._control.send("settings", settings=asdict(self._settings))
            async with (
                aiohttp.ClientSession(
                    connector=aiohttp.UnixConnector(str(self.path), limit=0),
                    auto_decompress=False,
                    cookie_jar=aiohttp.DummyCookieJar(),
                ) as self.http,
                asyncio.TaskGroup() as tasks,
            ):
                hearing = tasks.create_task(self._hear(self._control))
                watching = tasks.create_task(self._watch(self._control, self._process))
                try:
                    status = await self._process.wait()
                except asyncio.CancelledError:
                    await asyncio.shield(self._end(self._process))
                    raise
                finally:
                    watching.cancel()
                    with contextlib.suppress(TimeoutError):  # a child of its own may hold the line
                        async with asyncio.timeout(1):
                            await asyncio.shield(hearing)  # what it wrote before it died
                    hearing.cancel()
                    self._emptied()  # before requests to it are impossible
            return status
        except OSError as error:
            log.error("a worker cannot be started: %s", error)
            return NOT_STARTED
        finally:
            ours.close()  # where nothing has taken it over
            self._emptied()
            if self._control is not None:
                self._control.close()
            self.path.unlink(missing_ok=True)

    async def _end(self, process: asyncio.subprocess.Process) -> None:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
            try:
                async with asyncio.timeout(STOP_PATIENCE):
                    await process.wait()
            except TimeoutError:
                log.warning("worker %d does not stop: killed", process.pid)
                process.kill()
                await process.wait()

    async def _hear(self, control: Control) -> None:
        while (message := await control.receive()) is not None:
            self._unanswered = 0
            try:
                self._told(message)
            except (TypeError, ValueError) as error:  # it may be of another version, if ours was replaced on the disk
                log.error("worker %s says what cannot be understood: %s", self.pid, error)

    async def _watch(self, control: Control, process: asyncio.subprocess.Process) -> None:
        """One that lives and does nothing is worse than one that is dead: its rooms would stay in it."""
        while self._unanswered < (UNANSWERED if self.ready else UNANSWERED_WARMING):
            await asyncio.sleep(PING_EVERY)
            self._unanswered += 1
            control.send("ping")
        log.error("worker %d does not answer: killed", process.pid)
        process.kill()

    def _told(self, message: dict[str, Any]) -> None:
        match message:
            case {"type": "entry", "room": room, "entry": entry}:
                self._owner.put(room, Entry(**entry))
            case {"type": "changed", "card": card}:
                self._owner.changed(self, RoomCard(**card))
            case {"type": "opened", "room": room, "generation": number} if (room, number) in self._opened:
                self._opened[room, number].set()
            case {"type": "listening"}:
                self.listening = True
                self._owner.news(self)
            case {"type": "engine", "ready": ready}:
                self.ready = ready
                self._owner.news(self)
            case {"type": "draining"}:
                self.draining = True
                self._owner.news(self)
            case {"type": "empty"}:
                self._emptied()

    def _emptied(self) -> None:
        if not self.empty.is_set():
            self.empty.set()
            self._owner.news(self)

    async def open(self, card: RoomCard, generation: int, entries: Iterable[Entry]) -> None:
        """Have it hold a room. Returns once it does, or is no more."""
        assert self._control is not None, "it listens before it is asked"
        opened = self._opened[card.id, generation] = asyncio.Event()
        self._control.send(
            "open", card=asdict(card), generation=generation, entries=[asdict(entry) for entry in entries]
        )
        waiting = [asyncio.ensure_future(event.wait()) for event in (opened, self.empty)]  # cancelled below
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waiting:
                wait.cancel()
            del self._opened[card.id, generation]

    def drop(self, room_id: str) -> None:
        """It need not hold that room any more."""
        if self._control is not None:
            self._control.send("drop", room=room_id)
