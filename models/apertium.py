"""Translation by Apertium: rules and dictionaries, in programs that stay running.

Apertium is GPL and runs outside this process. A translation is a chain of small programs joined by pipes. Starting one
takes 0.1 to 1 s and asking a running one 2 ms, so each chain is kept in its null-flush mode: a NUL ends a request, and
the answer ends with one too (https://wiki.apertium.org/wiki/NUL_flush).
"""

import contextlib
import itertools
import os
import re
import select
import shlex
import shutil
import subprocess
import threading
import time
from collections.abc import Mapping
from pathlib import Path

from models.base import EngineFailed
from models.languages import TONGUES, apertium_modes
from models.text import clean, polish

Pair = tuple[str, str]
"""BCP-47 tags: (source, target)."""

MODES = Path("/usr/share/apertium/modes")
"""Where Debian's packages put one file per direction. The environment's APERTIUM_MODES overrides it."""

ANSWER_TIMEOUT = 10.0
"""Seconds. A sentence takes milliseconds and the first one, with its dictionaries, a second on a busy machine."""

MAX_ANSWER = 1_000_000
"""Bytes, thirty times those of the longest request. A program that writes on and on is never late, but never done."""

MAX_RUNNING = 8
"""Chains kept running. One takes 80 to 700 MB, most of it dictionaries."""

PIVOTS = ("es", "ca")
"""Languages to go through, best first: nearly every language has a pair with Spanish."""

PIVOTS_OF_FRENCH = ("ca", "es")
"""Apertium's newer pair is French and Catalan: `we need` comes out as `avons besoin`, by Spanish as `précisons`."""

_RESERVED = re.compile(r"(~|(?<!\w)@|@(?!\w))|[\\\[\]{}^$@/<>]")
# The group: what programs swallow or make a tag of, though it be escaped. `~` wakes the one for contractions, and the
# dictionaries of Spanish and Galician have no word for an `@` that begins or ends one. In brackets nobody looks at it.
_MARKED = re.compile(r"\\(.)|[\[\]]", re.DOTALL)
_END = ".[][\n]"
# What apertium-destxt writes after a text: a full stop, so that the last sentence is seen as ended, and an empty
# "superblank" by which apertium-retxt knows that this full stop is not the writer's.
_ENDED = re.compile(r"\s*\.?\[\]\[\n\]\s*$")


def escape(text: str) -> str:
    """`text` (clean, one line) as Apertium's stream format: reserved characters after backslashes or in brackets."""
    return _RESERVED.sub(lambda match: f"[{match[0]}]" if match[1] else f"\\{match[0]}", text)


def unescape(stream: str) -> str:
    """The text in Apertium's stream format, without the end mark that a request carried."""
    return _MARKED.sub(r"\1", _ENDED.sub("", stream))


def read_mode(path: Path) -> list[list[str]]:
    """A mode file as the commands of its chain, each in null-flush mode.

    `$1` is how to generate (`-n`: unknown words without an asterisk), `$2` an option for showing tags (none)."""
    lines = [line for line in path.read_text("utf-8").splitlines() if line.strip()]
    commands: list[list[str]] = [[]]
    for word in shlex.split(lines[-1].replace("$1", "-n").replace("$2", "")):
        if word == "|":
            commands.append([])
        else:
            commands[-1].append(word)
    return [[command[0], "-z", *command[1:]] for command in commands if command]


def installed_pairs(modes: Path | None = None) -> dict[Pair, Path]:
    """Every direct translation between TONGUES that is installed here, with its mode file."""
    folder = modes or Path(os.environ.get("APERTIUM_MODES", MODES))
    if shutil.which("lt-proc") is None:
        return {}
    found: dict[Pair, Path] = {}
    for source in TONGUES:
        for target in TONGUES:
            paths = [folder / f"{name}.mode" for name in apertium_modes(source.code, target.code)]
            path = next((path for path in paths if source is not target and path.is_file()), None)
            if path is not None:
                found[source.code, target.code] = path
    return found


def find_route(pairs: Mapping[Pair, object], source: str, target: str) -> tuple[str, ...] | None:
    """The languages in between, at most one, the best pivot first. `()` is direct or the same; None is no way."""
    if source == target or (source, target) in pairs:
        return ()
    pivots = PIVOTS_OF_FRENCH if "fr" in (source, target) else PIVOTS
    others = [tongue.code for tongue in TONGUES if tongue.code not in pivots]
    between = (pivot for pivot in (*pivots, *others) if (source, pivot) in pairs and (pivot, target) in pairs)
    pivot = next(between, None)
    return None if pivot is None else (pivot,)


class Pipeline:
    """One direction: a chain of programs that starts when first needed and again whenever one of it has died.

    One request at a time: whoever calls while another waits, waits too."""

    def __init__(self, mode: Path, timeout: float) -> None:
        """`timeout`: seconds after which an answer is given up and the chain killed."""
        self.last_used = 0.0
        """time.monotonic() of the last request."""
        self._commands = read_mode(mode)
        self._timeout = timeout
        self._processes: list[subprocess.Popen[bytes]] = []
        self._lock = threading.Lock()
        self._closed = False

    @property
    def running(self) -> bool:
        """Whether the chain holds memory now."""
        return bool(self._processes)

    @property
    def pids(self) -> list[int]:
        """The programs of the chain, first to last."""
        return [process.pid for process in self._processes]

    def translate(self, text: str) -> str:
        """`text` (clean, one line), raw. Blocks for the answer. Raises EngineFailed if it does not come."""
        with self._lock:
            if self._closed:
                raise EngineFailed("The translator has been closed.")
            self.last_used = time.monotonic()
            try:
                try:
                    return self._ask(text)
                except (EOFError, BrokenPipeError):
                    # It died between two requests, or from this one: a fresh chain tells. Asking twice does no harm.
                    self._kill()
                    if self._closed:
                        raise
                    return self._ask(text)
            except (OSError, EOFError) as error:
                self._kill()
                raise EngineFailed("The translator stopped while it translated this sentence.") from error

    def stop(self) -> None:
        """Give the memory back; the next request starts the chain anew."""
        with self._lock:
            self._kill()

    def close(self) -> None:
        """Stop for good. Idempotent. Whoever waits for an answer gets EngineFailed, at once."""
        self._closed = True
        for process in list(self._processes):
            process.kill()  # a chain that hangs would keep the lock until its time is up
        with self._lock:
            self._kill()

    def _ask(self, text: str) -> str:
        """Raises EOFError if the chain died, TimeoutError if it hangs or does not end, OSError if it cannot start."""
        if not self._processes:
            self._start()
        stdin, stdout = self._processes[0].stdin, self._processes[-1].stdout
        assert stdin is not None and stdout is not None
        # A pipe holds 64 KiB and a clean text is smaller, so this cannot block: nothing else is on its way.
        stdin.write((escape(text) + _END).encode() + b"\0")
        deadline = time.monotonic() + self._timeout
        poll = select.poll()  # select() takes no descriptor from 1024 on, and a server has many connections
        poll.register(stdout, select.POLLIN)
        answer = bytearray()
        while b"\0" not in answer:
            if len(answer) > MAX_ANSWER or not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
                raise TimeoutError(f"no end of an answer in {self._timeout} s and {len(answer)} bytes")
            piece = os.read(stdout.fileno(), 65_536)
            if not piece:
                raise EOFError("the chain ended")
            answer += piece
        stream, _, rest = bytes(answer).partition(b"\0")
        # A program whose predecessor died ends what it had with a NUL too, as if that were an answer. And after two
        # answers to one request, whatever came next would belong to the wrong sentence.
        if rest or not _ENDED.search(written := stream.decode("utf-8", "replace")):
            raise EOFError(f"no whole answer, or {len(rest)} bytes too many")
        return unescape(written)

    def _start(self) -> None:
        before: subprocess.Popen[bytes] | None = None
        for command in self._commands:
            process = subprocess.Popen(
                command,
                stdin=before.stdout if before else subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                bufsize=0,
                process_group=0,  # Ctrl-C is for us; when we end, the chain reads its end of file
            )
            self._processes.append(process)
            if before is not None and before.stdout is not None:
                before.stdout.close()  # the next program has it: only then does it notice when the one before dies
            before = process

    def _kill(self) -> None:
        processes, self._processes = self._processes, []
        for process in processes:
            process.kill()
        for process in processes:
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    with contextlib.suppress(BrokenPipeError):
                        pipe.close()


class Apertium:
    """All directions that are installed here, one request at a time each. Thread-safe."""

    def __init__(self, timeout: float = ANSWER_TIMEOUT, max_running: int = MAX_RUNNING) -> None:
        """`timeout`: seconds for one answer; `max_running`: chains that may hold memory at the same time."""
        self.pipelines = {pair: Pipeline(path, timeout) for pair, path in installed_pairs().items()}
        self._max_running = max_running

    def route(self, source: str, target: str) -> tuple[str, ...] | None:
        """The languages in between: see find_route."""
        return find_route(self.pipelines, source, target)

    def translate(self, text: str, source: str, target: str) -> str:
        """`text` in `target`, over the route. Blocks. Raises EngineFailed, or KeyError if there is no route."""
        route = self.route(source, target)
        if route is None:
            raise KeyError(f"no route from {source} to {target}")
        stops = (source, *route, target) if source != target else (source,)
        for here, there in itertools.pairwise(stops):
            text = self.hop(text, here, there)
        return text

    def hop(self, text: str, source: str, target: str) -> str:
        """`text` by one direct translation. Blocks. Raises EngineFailed, or KeyError if it is not installed."""
        pipeline = self.pipelines[source, target]
        line = clean(text)
        if not line:
            return ""
        answer = polish(pipeline.translate(line), line, target)
        running = sorted((other for other in self.pipelines.values() if other.running), key=lambda one: one.last_used)
        for other in running[: -self._max_running]:
            other.stop()
        return answer

    def prepare(self, source: str, target: str) -> None:
        """Start every chain on the route, if there is one. Blocks for up to a second each. Raises EngineFailed."""
        if self.route(source, target) is not None:
            self.translate("1.", source, target)

    def close(self) -> None:
        """End every program. Idempotent."""
        for pipeline in self.pipelines.values():
            pipeline.close()
