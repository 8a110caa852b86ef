"""Cores for a server, so that the people who load it take none of them.

Where there are more cores than the server gets, it is held to its own, and the load to the others. Where there are not,
its cores are slow ones: each event loop has `SPEED` of a core at most, and the whole server that much of as many cores
as it gets, by the kernel's CPU bandwidth control (cgroup v1, `cpu.cfs_quota_us`), which root may set.
"""

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

from tests.bench.usage import tree

SPEED = 0.5
PERIOD = 2000
"""Microseconds. A loop that has used up its share stands still for the rest of one: far less than a packet is long."""

_CONTROLLER = Path("/sys/fs/cgroup/cpu")


def can_hold(cores: int) -> bool:
    """A server can be held to so many here."""
    return len(os.sched_getaffinity(0)) > cores or os.access(_CONTROLLER / "cpu.cfs_quota_us", os.W_OK)


@contextlib.contextmanager
def held(pid: int, cores: int) -> Iterator[str]:
    """Hold that server, as it is now, to so many cores, until the end; how that was done."""
    everything = sorted(os.sched_getaffinity(0))
    if len(everything) > cores:
        with _pinned(pid, everything[:cores], everything[cores:]):
            yield f"{cores} of {len(everything)} cores"
    else:
        with _slowed(pid, cores):
            yield f"{cores} cores of {SPEED:.0%} of their speed"


@contextlib.contextmanager
def _pinned(pid: int, its: list[int], ours: list[int]) -> Iterator[None]:
    try:
        _pin(_threads(pid), its)
        _pin([0], ours)
        yield
    finally:
        _pin([0, *_threads(pid)], its + ours)


def _pin(threads: list[int], cores: list[int]) -> None:
    for thread in threads:
        with contextlib.suppress(ProcessLookupError):  # it ended meanwhile
            os.sched_setaffinity(thread, cores)


@contextlib.contextmanager
def _slowed(pid: int, cores: int) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        whole = stack.enter_context(_group(_CONTROLLER / f"dragoman-{pid}", cores))
        loops = {process: stack.enter_context(_group(whole / str(process), 1)) for process in _processes(pid)}
        for process, loop in loops.items():
            for thread in _threads_of(process):
                _move(thread, loop if thread == process else whole)
        yield


@contextlib.contextmanager
def _group(folder: Path, cores: int) -> Iterator[Path]:
    folder.mkdir()
    try:
        (folder / "cpu.cfs_period_us").write_text(str(PERIOD))
        (folder / "cpu.cfs_quota_us").write_text(str(round(PERIOD * SPEED * cores)))
        yield folder
    finally:
        for last in [False] * 100 + [True]:
            for thread in (folder / "tasks").read_text().split():
                _move(int(thread), _CONTROLLER)
            try:
                folder.rmdir()
                break
            except OSError:  # a thread began meanwhile, or one that has ended is not quite gone
                if last:
                    raise
                time.sleep(0.01)


def _move(thread: int, group: Path) -> None:
    with contextlib.suppress(ProcessLookupError):  # it ended meanwhile
        (group / "tasks").write_text(str(thread))


def _processes(pid: int) -> list[int]:
    return [int(process.name) for process in tree(pid)]


def _threads_of(process: int) -> list[int]:
    return [int(task.name) for task in Path(f"/proc/{process}/task").iterdir()]


def _threads(pid: int) -> list[int]:
    return [thread for process in _processes(pid) for thread in _threads_of(process)]
