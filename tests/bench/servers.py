"""The servers that are compared: how each is started, and what to say when it is not there."""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.bench import namespace

PEERS = "tests.bench.peers"
VENVS = Path(".bench")
"""Where `make bench-peers` puts what must not share our dependencies."""
START_TIMEOUT = 30.0


@dataclass(frozen=True)
class Server:
    """One way to serve."""

    name: str
    module: str
    dialect: str
    path: str = "/offer"
    options: tuple[str, ...] = ()
    venv: Path | None = None
    """Its own Python, if not ours."""

    @property
    def python(self) -> str:
        return str(self.venv / "bin" / "python") if self.venv else sys.executable

    @property
    def missing(self) -> str:
        """Why it cannot run here; empty if it can."""
        if self.venv and not Path(self.python).exists():
            return "not installed: make bench-peers"
        if self.dialect == "janus":
            if not shutil.which("janus"):
                return "not installed: make bench-peers"
            if not namespace.inside():
                return "needs a network namespace, which cannot be made here"
        return ""


FORWARD = Server("ours: forward", f"{PEERS}.dragoman", "slots", options=("--mode", "forward"))
SPEECH = Server("ours: decode, encode", f"{PEERS}.dragoman", "slots", options=("--mode", "speech"))
VOICE = Server("ours: one voice, encoded once", f"{PEERS}.dragoman", "slots", options=("--mode", "voice"))
AIORTC = Server("aiortc MediaRelay", f"{PEERS}.stock", "post")
FASTRTC = Server("FastRTC", f"{PEERS}.fastrtc_echo", "fastrtc", "/webrtc/offer", venv=VENVS / "fastrtc")
PIPECAT = Server("Pipecat", f"{PEERS}.pipecat_echo", "post", venv=VENVS / "pipecat")
JANUS = Server("Janus", f"{PEERS}.janus", "janus", "/janus")
PRODUCT = Server(
    "Dragoman",
    "signaling",
    "websocket",
    "",
    ("serve", "--host", "127.0.0.1", "--translator", "echo", "--max-participants", "1000", "--http-rate", "1000"),
)
"""The whole product; its words do not matter, so that no engine's cost is in the figures."""


@contextlib.contextmanager
def running(server: Server) -> Iterator[tuple[str, int]]:
    """(URL, process id) of a fresh process, stopped at the end. Raises RuntimeError if it does not start."""
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        port = _free_port()
        command = [server.python, "-m", server.module, *server.options, "--port", str(port)]
        if server.dialect == "janus":
            command += ["--folder", folder]
        log = stack.enter_context(Path(folder, "log").open("w+"))
        environment = os.environ | {"PYTHONUNBUFFERED": "1"}
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
        try:
            until = time.monotonic() + START_TIMEOUT
            while not _listens(port):
                if process.poll() is not None or time.monotonic() > until:
                    log.seek(0)
                    raise RuntimeError(f"{server.name} did not start:\n{log.read()[-2000:]}")
                time.sleep(0.1)
            yield f"http://127.0.0.1:{port}{server.path}", process.pid
        finally:
            process.terminate()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 0.5).close()
    except OSError:
        return False
    return True
