"""A Modal of our own: the control plane, an ingress for each server, and containers, all on this machine.

Containers are what Modal's are but for the image: `python -m modal._container_entrypoint` with the arguments that
Modal's worker gives it. What starts and stops them is the test; there is no autoscaler.
"""

import asyncio
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import grpclib.server
from modal_proto import api_pb2

from tests.modal.calls import Calls
from tests.modal.ingress import Ingress, free_ports, listens

ROOT = Path(__file__).parent.parent.parent
PATIENCE = 90.0
"""Seconds for what must come."""

T = TypeVar("T")


class Container:
    """One process."""

    def __init__(self, name: str, port: int, process: "subprocess.Popen[bytes]", log: Path) -> None:
        self.name = name
        self.port = port
        self.process = process
        self._log = log

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def kill(self) -> None:
        """As a machine that loses power."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """As Modal does when it is not needed any more; its exit status."""
        self.process.terminate()
        return self.process.wait(PATIENCE)


class Cloud:
    """Use `with`; then `deploy`, and `start` containers."""

    def __init__(self, limits: dict[str, int], environment: dict[str, str] | None = None) -> None:
        """`limits`: sessions that a container of that server takes; 0: it has no sessions. `environment`: of
        deployment and containers."""
        self.plane = Calls()
        self.ingress = {name: Ingress(limit > 0, limit) for name, limit in limits.items()}
        self.containers: list[Container] = []
        self._environment = environment or {}
        self._ports = free_ports()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> "Cloud":
        self._folder = tempfile.TemporaryDirectory()
        self._thread.start()
        self._run(self._open())
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("MODAL_", "DRAGOMAN_"))},
            "MODAL_SERVER_URL": f"http://127.0.0.1:{self.port}",
            "MODAL_TOKEN_ID": "ak-test",
            "MODAL_TOKEN_SECRET": "as-test",
            "MODAL_CONFIG_PATH": str(Path(self._folder.name, "none.toml")),
            "PYTHONPATH": str(ROOT),
            **self._environment,
        }
        return self

    def __exit__(self, *_: object) -> None:
        for container in self.containers:
            if container.alive:
                container.process.terminate()
        for container in self.containers:
            try:
                container.process.wait(10)
            except subprocess.TimeoutExpired:
                container.kill()
        self._run(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._folder.cleanup()

    def _run(self, work: Awaitable[T]) -> T:
        async def wait() -> T:
            return await work

        return asyncio.run_coroutine_threadsafe(wait(), self._loop).result(PATIENCE)

    async def _open(self) -> None:
        self._server = grpclib.server.Server([self.plane])
        self.port = next(self._ports)
        await self._server.start("127.0.0.1", self.port)
        for name, ingress in self.ingress.items():
            await ingress.open()
            self.plane.server_urls[name] = ingress.url

    async def _close(self) -> None:
        for ingress in self.ingress.values():
            await ingress.close()
        self._server.close()
        await self._server.wait_closed()

    def deploy(self, module: str, **environment: str) -> "subprocess.CompletedProcess[str]":
        """`modal deploy -m MODULE`, the real one."""
        return subprocess.run(
            [sys.executable, "-m", "modal", "deploy", "-m", module],
            env=self.environment | environment,
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=120,
        )

    def start(self, name: str, **environment: str) -> Container:
        """Another container of that function, class or server. Returns at once."""
        function_id = self.plane.function(name)
        app_id, layout = next(iter(self.plane.layouts.items()))
        task = self.plane.new_id("ta")
        arguments = api_pb2.ContainerArguments(
            task_id=task,
            function_id=function_id,
            app_id=app_id,
            function_def=self.plane.functions[function_id],
            app_layout=layout,
        )
        folder = Path(self._folder.name)
        (folder / f"{task}.bin").write_bytes(arguments.SerializeToString())
        port = next(self._ports)
        log = folder / f"{task}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "modal._container_entrypoint"],
                env={
                    **{key: value for key, value in self.environment.items() if not key.startswith("MODAL_TOKEN")},
                    "MODAL_TASK_ID": task,
                    "MODAL_IS_REMOTE": "1",
                    "MODAL_CONTAINER_ARGUMENTS_PATH": str(folder / f"{task}.bin"),
                    "MODAL_REGION": "here",
                    "MODAL_CLOUD_PROVIDER": "none",
                    "PYTHONUNBUFFERED": "1",
                    "DRAGOMAN_MODAL_PORT": str(port),
                    **environment,
                },
                cwd=ROOT,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        container = Container(name, port, process, log)
        self.containers.append(container)
        if name in self.ingress:
            self.ingress[name].backends.append(container)
        return container

    def serve(self, name: str, **environment: str) -> Container:
        """`start` it, and wait until it takes requests."""
        return self.listening(self.start(name, **environment))

    def listening(self, container: Container) -> Container:
        """Wait until it takes requests."""
        self.wait(lambda: listens(container.port) or not container.alive)
        assert container.alive, container.log
        return container

    def wait(self, condition: Callable[[], bool]) -> None:
        """Until it holds. For what tells nobody: processes and ports."""
        until = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < until, "".join(one.log[-3000:] for one in self.containers)
            time.sleep(0.05)
