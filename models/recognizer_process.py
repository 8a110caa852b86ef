"""One recogniser's process as its parent sees it: started, written to and read from without anybody having to wait."""

import contextlib
import json
import queue
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, Protocol

from models.pocketsphinx_worker import HEADER

PROGRAM = Path(__file__).with_name("pocketsphinx_worker.py")


class WorkerOwner(Protocol):
    """Whom a worker tells. Both are called in its reading thread."""

    def on_answer(self, worker: "Worker", answer: dict[str, Any]) -> None:
        """One line came from it."""

    def on_death(self, worker: "Worker", code: int) -> None:
        """It has ended; nothing more comes."""


class Segment:
    """What has come back from a worker about one segment."""

    def __init__(self, number: int, speaker: str) -> None:
        self.number = number
        self.speaker = speaker
        self.interim: str | None = None
        self.final: str | None = None
        self.failed = False
        self.over = threading.Event()
        """Set once it has its final words or has failed."""

    def fail(self) -> None:
        self.failed = True
        self.over.set()


class Worker:
    """One process, from its start to its death, and the two threads that write to it and read from it."""

    def __init__(self, owner: WorkerOwner) -> None:
        self._owner = owner
        self.segment: Segment | None = None
        """The segment it hears now. Guarded by the owner's lock."""
        self.born = False
        """It has been ready once."""
        self.ready = False
        """It can hear somebody, or does."""
        # Popen rather than multiprocessing: its children import the main module again, here a whole web server.
        self.process = subprocess.Popen(
            [sys.executable, "-P", str(PROGRAM)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            process_group=0,  # Ctrl-C is for us; when we end, the worker reads its end of file
        )
        self._outbox: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self.threads = [
            threading.Thread(target=target, name=f"{name}-{self.process.pid}", daemon=True)
            for name, target in (("recognizer-write", self._write), ("recognizer-read", self._read))
        ]
        for thread in self.threads:
            thread.start()

    @property
    def waiting(self) -> int:
        """Messages that the worker has not taken yet."""
        return self._outbox.qsize()

    def send(self, kind: bytes, payload: bytes = b"") -> None:
        """Never blocks."""
        self._outbox.put(HEADER.pack(kind, len(payload)) + payload)

    def _write(self) -> None:
        stdin = self.process.stdin
        assert stdin is not None
        # The worker may die at any moment: the reader notices and says so.
        with contextlib.suppress(BrokenPipeError), stdin:
            while (message := self._outbox.get()) is not None:
                view = memoryview(message)
                while view:  # an unbuffered pipe may take less than it is given
                    view = view[stdin.write(view) :]

    def _read(self) -> None:
        stdout = self.process.stdout
        assert stdout is not None
        with open(stdout.fileno(), encoding="utf-8", closefd=False) as lines:
            for line in lines:
                with contextlib.suppress(json.JSONDecodeError):  # the last line of one that was killed
                    self._owner.on_answer(self, json.loads(line))
        stdout.close()
        self._outbox.put(None)
        try:
            code = self.process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self.process.kill()  # it closed its output: whatever it does now is of no use
            code = self.process.wait()
        self._owner.on_death(self, code)
