"""The real server as a process of its own, and a network in front of it that can fail."""

import asyncio
import contextlib
import os
import re
import signal
import socket
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import aiohttp

ROOT = Path(__file__).parents[2]
PATIENCE = 60.0
"""Seconds a test waits for what must come. No test asserts on time: this only ends one that hangs."""


def free_port() -> int:
    """One that nobody listens on, of TCP and most likely of UDP."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Site:
    """A running server."""

    def __init__(
        self, url: str, process: asyncio.subprocess.Process, http: aiohttp.ClientSession, log: IO[str]
    ) -> None:
        self.url = url
        self.http = http
        self._process = process
        self._log = log

    @property
    def pid(self) -> int:
        """Of the server."""
        return self._process.pid

    async def get(self, path: str) -> Any:
        """The JSON at an address."""
        async with self.http.get(self.url + path) as answer:
            return await answer.json()

    async def room(self, name: str = "") -> str:
        """A new room's address in the browser."""
        async with self.http.post(f"{self.url}/v1/rooms", json={"name": name} if name else None) as answer:
            assert answer.status == 201, await answer.text()
            return self.url + str((await answer.json())["url"])

    async def ready(self) -> None:
        """Wait until the engine is there, and the voice to talk with, if there is one."""
        async with asyncio.timeout(PATIENCE):
            while True:
                async with self.http.get(f"{self.url}/readyz") as answer:
                    if answer.status == 200 and "doing" not in (await answer.json()).get("dialogue", {}):
                        return

    async def ended(self) -> int:
        """Wait for its end: its exit status."""
        return await self._process.wait()

    def kill(self) -> None:
        """As a crash does: no goodbye."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)

    @property
    def log(self) -> str:
        """What the server has written so far."""
        self._log.seek(0)
        return self._log.read()


@contextlib.asynccontextmanager
async def serving(*flags: str) -> AsyncIterator[Site]:
    """A server on a free port, ready; it and its children are gone afterwards, and it never met a bug."""
    command = [sys.executable, "-m", "signaling", "serve", "--host", "127.0.0.1", "--port", "0", *flags]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DRAGOMAN_")}
    with tempfile.TemporaryFile("w+") as log:
        process = await asyncio.create_subprocess_exec(
            *command, stdout=asyncio.subprocess.PIPE, stderr=log, cwd=ROOT, env=environment, start_new_session=True
        )
        try:
            assert process.stdout is not None
            said = (await process.stdout.readline()).decode()
            address = re.search(r"http://[^\s/]+", said)
            log.seek(0)
            assert address is not None, f"{' '.join(command)} said {said!r} and {log.read()}"
            async with aiohttp.ClientSession() as http:
                site = Site(address[0], process, http, log)
                await site.ready()
                yield site
                assert "Traceback" not in site.log, site.log
        finally:
            await stop(process)


def child_of(pid: int, name: str) -> int | None:
    """A process of that name which that one has started."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    named = (int(child) for child in children if Path(f"/proc/{child}/comm").read_text().strip() == name)
    return next(named, None)


async def stop(process: asyncio.subprocess.Process) -> None:
    """End a process that leads its own group, kindly, then not."""
    if process.returncode is None:
        process.terminate()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), 15)
    with contextlib.suppress(ProcessLookupError):  # the group: whatever it started and did not end
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()


class Network:
    """A TCP proxy between browsers and the server: `cut` breaks every connection and lets none through until `mend`,
    `forget` leaves those there are open and dead, as a NAT does that started again.

    Only pages and signaling go through it; media find their own way, over UDP.
    """

    def __init__(self, site: Site) -> None:
        self._host, _, port = site.url.removeprefix("http://").partition(":")
        self._port = int(port)
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._down = False
        self._forgotten = 0
        self.url = ""

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        host, port = self._server.sockets[0].getsockname()
        self.url = f"http://{host}:{port}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self) -> None:
        """No close frame, no FIN: the connections are reset."""
        self._down = True
        for writer in self._writers:
            writer.transport.abort()

    def forget(self) -> None:
        """Nothing comes through the connections there are; new ones are well."""
        self._forgotten += 1

    def mend(self) -> None:
        """Let connections through again."""
        self._down = False

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        with contextlib.suppress(OSError):
            self._writers.add(writer)
            if self._down:
                writer.transport.abort()
                return
            there_reader, there_writer = await asyncio.open_connection(self._host, self._port)
            self._writers.add(there_writer)
            await asyncio.gather(self._pump(reader, there_writer), self._pump(there_reader, writer))
            there_writer.close()  # if not yet
            self._writers.discard(there_writer)
        writer.close()
        self._writers.discard(writer)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        forgotten = self._forgotten
        with contextlib.suppress(OSError):
            while data := await reader.read(65_536):
                if forgotten == self._forgotten:
                    writer.write(data)
                    await writer.drain()
        if forgotten == self._forgotten:
            writer.close()
            self._writers.discard(writer)
