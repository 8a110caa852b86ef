"""What a server's processes use, read from /proc."""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Usage:
    """Of a process and all its descendants."""

    cpu: float
    """Seconds on a CPU of all threads alive, to the nanosecond (schedstat); `ps` has hundredths."""
    resident: int
    """Bytes."""
    threads: int
    files: int
    """Open descriptors."""


def usage(pid: int) -> Usage:
    """Now. Raises FileNotFoundError if the process is gone."""
    cpu = resident = threads = files = 0
    for process in tree(pid):
        for task in (process / "task").iterdir():
            try:
                cpu += int((task / "schedstat").read_text().split()[0])
            except OSError:  # the thread ended meanwhile
                continue
            threads += 1
        resident += int((process / "statm").read_text().split()[1]) * PAGE
        files += len(os.listdir(process / "fd"))
    return Usage(cpu / 1e9, resident, threads, files)


def tree(pid: int) -> Iterator[Path]:
    """`/proc` of the process and of all its descendants."""
    process = Path("/proc", str(pid))
    yield process
    for task in (process / "task").iterdir():
        with contextlib.suppress(FileNotFoundError):  # the thread ended meanwhile
            for child in (task / "children").read_text().split():
                yield from tree(int(child))
