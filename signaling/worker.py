"""A process that holds rooms for another: the ordinary server on a Unix socket, and a line to who started it.

    to it    settings {settings} once · open {card, generation, entries} · drop {room} · ping
    from it  pong · listening · engine {ready} · opened {room, generation} · changed {card} · entry {room, entry}
             draining: place no more rooms here · empty: its rooms may be opened elsewhere

It ends on SIGTERM, politely, and when the line does, for then nobody can reach it any more.
"""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Sequence
from dataclasses import asdict

from aiohttp import web

from rtc.engine_thread import Engine
from rtc.stats import Stats
from rtc.transcript import Entry
from signaling.control import Control
from signaling.engines import build_dialogue, build_engine, build_streaming
from signaling.house import House
from signaling.http import Handler
from signaling.placement import RoomCard
from signaling.runtime import event_loop, log_to_stderr
from signaling.server import HOUSE, create_app, freeze_when_settled
from signaling.settings import Settings
from signaling.worker_process import BAD_SETTINGS


class LineRecords:
    """Written over the line; what was written before came with the room."""

    def __init__(self, control: Control, stats: Stats) -> None:
        self._control = control
        self._stats = stats
        self._brought: dict[str, list[Entry]] = {}

    def bring(self, room_id: str, entries: list[Entry]) -> None:
        """For the next `load`."""
        self._brought[room_id] = entries

    def changed(self, card: RoomCard) -> None:
        self._control.send("changed", card=asdict(card))

    def put(self, room_id: str, entry: Entry) -> None:
        self._control.send("entry", room=room_id, entry=asdict(entry))
        self._stats.records_dropped = self._control.dropped

    async def load(self, room_id: str) -> Sequence[Entry]:
        return self._brought.pop(room_id, [])


@web.middleware
async def _asked_by(request: web.Request, handler: Handler) -> web.StreamResponse:
    """The front says whom: on its socket everybody would be the same."""
    return await handler(request.clone(remote=request.headers.get("X-Forwarded-For", "")))


async def _serve(control: Control, settings: Settings, path: str) -> None:
    stats = Stats()
    records = LineRecords(control, stats)
    dialogue, streaming = build_dialogue(settings), build_streaming(settings)
    app = create_app(build_engine(settings), settings, dialogue, streaming, records, stats)
    app.middlewares.insert(0, _asked_by)
    freeze_when_settled(app)
    house = app[HOUSE]
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=5)
    await runner.setup()
    try:
        await web.UnixSite(runner, path).start()
        control.send("listening")
        async with asyncio.TaskGroup() as tasks:
            others = [
                tasks.create_task(_obey(control, records, house, stop)),
                tasks.create_task(_tell_ready(control, house.engine)),
            ]
            await stop.wait()
            control.send("draining")
            house.drain()
            house.close()
            await house.emptied()
            control.send("empty")
            for task in others:
                task.cancel()
    finally:
        await runner.cleanup()


async def _obey(control: Control, records: LineRecords, house: House, stop: asyncio.Event) -> None:
    while (message := await control.receive()) is not None:
        if message["type"] == "open":
            card = RoomCard(**message["card"])
            records.bring(card.id, [Entry(**entry) for entry in message["entries"]])
            await house.open_room(card, message["generation"])
            control.send("opened", room=card.id, generation=message["generation"])
        elif message["type"] == "drop":
            house.lobby.drop(message["room"])
        elif message["type"] == "ping":
            control.send("pong")
    stop.set()


async def _tell_ready(control: Control, engine: Engine) -> None:
    await engine.settled.wait()
    control.send("engine", ready=engine.state == "ready")
    await engine.broken.wait()
    control.send("engine", ready=False)


async def _work(sock: socket.socket, path: str) -> None:
    control = await Control.over(sock)
    try:
        first = await control.receive()
        if first is not None:
            await _serve(control, Settings.of(first["settings"]), path)
    finally:
        control.close()


def main(descriptor: str, path: str) -> int:
    """`python -m signaling.worker DESCRIPTOR PATH`: the inherited end of the line, and where to listen."""
    line = socket.socket(fileno=int(descriptor))
    line.set_inheritable(False)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to all of us; who started us ends us
    log_to_stderr(str(os.getpid()))
    try:
        with asyncio.Runner(loop_factory=event_loop()) as runner:
            runner.run(_work(line, path))
    except ValueError as error:
        sys.stderr.write(f"dragoman: {error}\n")
        return BAD_SETTINGS
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
