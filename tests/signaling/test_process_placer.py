"""Workers that do not come up, and rooms that nobody can take: real processes, some of them not ours."""

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from rtc.transcript import MAX_CHARACTERS, Entry
from signaling import process_placer, worker_process
from signaling.control import Control
from signaling.placement import NoPlace
from signaling.process_placer import ProcessPlacer
from signaling.settings import Settings
from tests.client import PATIENCE
from tests.conftest import until


@pytest.fixture
def settings() -> Settings:
    return Settings(translator="echo", dialogue="none", workers=2)


@pytest.fixture
async def placer(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ProcessPlacer]:
    """Running; its workers are gone at the end."""
    monkeypatch.setattr(process_placer, "PATIENCE", 3 * PATIENCE)  # a busy machine starts a process slowly
    placer = ProcessPlacer(settings)
    running = asyncio.ensure_future(placer.run())
    yield placer
    await placer.stop()
    await running
    assert not list(placer)


@pytest.mark.parametrize("command", ["false", "/nowhere/python"])
async def test_a_worker_that_does_not_come_up_is_tried_again(
    monkeypatch: pytest.MonkeyPatch, placer: ProcessPlacer, command: str
) -> None:
    """Who asks for a room meanwhile is told so, in time, and may ask again; once a worker works the room is there."""
    monkeypatch.setattr(process_placer, "PATIENCE", 0.3)
    python = sys.executable
    monkeypatch.setattr(sys, "executable", shutil.which(command) or command)
    card = await placer.create(None, "simultaneous")
    with pytest.raises(NoPlace):
        await placer.place(card.id)
    with pytest.raises(NoPlace):
        await placer.any_worker()
    monkeypatch.setattr(process_placer, "PATIENCE", 3 * PATIENCE)
    monkeypatch.setattr(sys, "executable", python)
    placement = await placer.place(card.id)
    assert placement.generation == 1 and placement == await placer.place(card.id)


async def test_a_worker_that_cannot_be_replaced_ends_nobody_else(
    monkeypatch: pytest.MonkeyPatch, placer: ProcessPlacer, tmp_path: Path
) -> None:
    """The weights are gone from the disk, say: the other worker goes on, and the lost one comes when they are back."""
    async with asyncio.timeout(3 * PATIENCE):
        while len(workers := list(placer)) < 2:
            await placer._changed.wait()
    tries = tmp_path / "tries"
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\necho >> {tries}\nexit {worker_process.BAD_SETTINGS}\n")
    python.chmod(0o755)
    real = sys.executable
    monkeypatch.setattr(sys, "executable", str(python))
    assert workers[0].pid is not None
    os.kill(workers[0].pid, signal.SIGKILL)
    await until(lambda: placer.ended.is_set() or (tries.exists() and len(tries.read_text()) > 1))
    assert not placer.stopping and [*placer] == workers[1:]
    monkeypatch.setattr(sys, "executable", real)
    await until(lambda: len([*placer]) == 2)


async def test_a_place_is_taken_once_by_however_many_ask(placer: ProcessPlacer) -> None:
    """One generation for all of them; the next only when its worker is gone."""
    card = await placer.create("Blue", "consecutive")
    placements = await asyncio.gather(*(placer.place(card.id) for _ in range(20)))
    assert {one.generation for one in placements} == {1} and len(set(placements)) == 1
    worker = await placer.worker_of(card.id)
    assert worker.pid is not None
    os.kill(worker.pid, signal.SIGKILL)
    await worker.empty.wait()
    placements = await asyncio.gather(*(placer.place(card.id) for _ in range(20)))
    assert {one.generation for one in placements} == {2} and len(set(placements)) == 1
    assert placements[0].url != f"unix:{worker.path}"
    found = await placer.find(card.id)
    assert found is not None and (found.name, found.mode, found.participant_count) == ("Blue", "consecutive", 0)


async def test_a_worker_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch, placer: ProcessPlacer) -> None:
    """It would keep its rooms for ever, and take new ones: the room that it never opens is opened elsewhere."""
    monkeypatch.setattr(worker_process, "PING_EVERY", 0.5)
    async with asyncio.timeout(3 * PATIENCE):
        while [worker.ready for worker in placer] != [True, True]:
            await placer._changed.wait()
    settled = await placer.create(None, "simultaneous")
    await placer.place(settled.id)
    hung = await placer.worker_of(settled.id)
    for worker in placer:  # whichever is asked, it does not answer
        assert worker.pid is not None
        os.kill(worker.pid, signal.SIGSTOP)
    card = await placer.create(None, "simultaneous")
    async with asyncio.timeout(PATIENCE):
        await hung.empty.wait()
        while True:
            with contextlib.suppress(NoPlace):
                assert (await placer.place(card.id)).url != f"unix:{hung.path}"
                break
    assert (await placer.place(settled.id)).generation > 1


async def test_a_worker_of_another_version_ends_nobody_else(settings: Settings, tmp_path: Path) -> None:
    """It was started after an update, and says of a room's words what this version does not know."""
    ours, its = socket.socketpair()
    worker = worker_process.WorkerProcess(ProcessPlacer(settings), settings, tmp_path / "worker")
    control, other = await Control.over(ours), await Control.over(its)
    hearing = asyncio.ensure_future(worker._hear(control))
    other.send("entry", room="blue", entry={"kind": "speech", "mood": "glad"})
    other.send("changed", card={"id": "blue"})
    other.send("of another time")
    other.send("draining")
    await until(lambda: worker.draining or hearing.done())
    other.close()
    await hearing
    assert worker.draining
    control.close()


async def test_a_room_full_of_words_moves(placer: ProcessPlacer) -> None:
    """Whoever fills a room with words ends no worker with them, and so nobody else's call."""
    async with asyncio.timeout(3 * PATIENCE):
        while len(workers := list(placer)) < 2:
            await placer._changed.wait()
    card = await placer.create("Blue", "simultaneous")
    words = "\N{GRINNING FACE}" * 2000  # 12 bytes of JSON each
    kept = MAX_CHARACTERS // (2 * len(words))
    for number in range(kept + 10):
        entry = Entry(
            "chat", f"msg_{number}", f"utt_{number}", "p_1", "Ana", "en", words, number, number, {"es": words}
        )
        placer.put(card.id, entry)
    worker = await placer.worker_of(card.id)
    assert worker.http is not None and [*placer] == workers
    async with worker.http.get(f"http://worker/v1/rooms/{card.id}/transcript") as answer:
        lines = await answer.json()
    assert [line["segment_id"] for line in lines] == [f"msg_{number}" for number in range(10, kept + 10)]


async def test_who_stops_waiting_leaves_the_room_to_others(placer: ProcessPlacer) -> None:
    """Cancelled anywhere on the way to a place, it is still to be had."""
    await placer.any_worker()
    for turns in range(12):
        card = await placer.create(None, "simultaneous")
        placing = asyncio.ensure_future(placer.place(card.id))
        for _ in range(turns):
            await asyncio.sleep(0)
        placing.cancel()
        await asyncio.wait([placing])
        assert (await placer.place(card.id)).generation in (1, 2)


async def test_a_room_is_in_one_worker_though_another_was_slow(
    monkeypatch: pytest.MonkeyPatch, placer: ProcessPlacer
) -> None:
    """Who was asked first opens it after all, when it is elsewhere already: and would keep it for ever."""
    async with asyncio.timeout(3 * PATIENCE):
        while [worker.ready for worker in placer] != [True, True]:
            await placer._changed.wait()
    cards = [await placer.create(None, "simultaneous") for _ in range(4)]
    workers = list(placer)
    for worker in workers:
        assert worker.pid is not None
        os.kill(worker.pid, signal.SIGSTOP)
    monkeypatch.setattr(process_placer, "PATIENCE", 0.05)
    for card in cards:
        with pytest.raises(NoPlace):
            await placer.place(card.id)
    monkeypatch.setattr(process_placer, "PATIENCE", 3 * PATIENCE)
    for worker in workers:
        assert worker.pid is not None
        os.kill(worker.pid, signal.SIGCONT)
    for card in cards:
        await placer.place(card.id)
    held = []
    for worker in placer:
        assert worker.http is not None
        async with worker.http.get("http://worker/v1/stats") as answer:
            held.append((await answer.json())["rooms"])
    assert held == [2, 2]


async def test_a_room_that_is_released_is_placed_anew(placer: ProcessPlacer) -> None:
    """But not by somebody who speaks of an earlier place."""
    card = await placer.create(None, "simultaneous")
    await placer.place(card.id)
    await placer.release(card.id, 0)
    assert (await placer.place(card.id)).generation == 1
    await placer.release(card.id, 1)
    await placer.release("nowhere", 1)
    assert (await placer.place(card.id)).generation == 2


async def test_after_the_end_nothing_is_placed(placer: ProcessPlacer) -> None:
    """It says so."""
    card = await placer.create(None, "simultaneous")
    await placer.any_worker()
    await placer.stop()
    with pytest.raises(NoPlace, match="stop"):
        await placer.place(card.id)


class TestShortLife:
    @pytest.fixture
    def settings(self) -> Settings:
        return Settings(translator="echo", dialogue="none", workers=2, room_ttl=2.0)

    async def test_an_empty_room_is_forgotten(self, placer: ProcessPlacer) -> None:
        """After its time, here and in the worker."""
        await placer.any_worker()
        card = await placer.create(None, "simultaneous")
        worker = await placer.worker_of(card.id)
        assert worker.http is not None
        async with asyncio.timeout(PATIENCE):
            status = 200
            while status == 200:
                await placer.find(card.id)  # that is when it is noticed
                async with worker.http.get(f"http://worker/v1/rooms/{card.id}") as answer:
                    status = answer.status
        assert status == 404
        with pytest.raises(KeyError):
            await placer.place(card.id)
