"""One deployment for all tests here: its containers are started once, but for those that a test kills."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING

import aiohttp
import pytest

from tests.modal.people import Visitor

if TYPE_CHECKING:
    from tests.modal.cloud import Cloud  # needs modal: where it is not installed, the tests are skipped, and say so

MODULE = "signaling.modal_app"
ENVIRONMENT = {
    "DRAGOMAN_TRANSLATOR": "echo",
    "DRAGOMAN_DIALOGUE": "embedded",
    "DRAGOMAN_SESSION_SECRET": "known to all containers",
    "DRAGOMAN_MODAL_TRANSLATOR_GPU": "",
    "DRAGOMAN_MODAL_MOSHI_GPU": "",
    "DRAGOMAN_MODAL_ROOMS_PER_CONTAINER": "50",
    "DRAGOMAN_MAX_ROOMS": "1000",
    "DRAGOMAN_HTTP_RATE": "1000",
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "tests/modal/" in item.path.as_posix():
            item.add_marker("modal")
            item.add_marker(pytest.mark.timeout(120))


@pytest.fixture(scope="package")
def cloud() -> "Iterator[Cloud]":
    """Deployed by the command that everybody uses, with a lobby, a server for rooms and a translator."""
    from tests.modal.cloud import Cloud

    with Cloud({"Lobby": 0, "RoomServer": 50, "MoshiServer": 1}, ENVIRONMENT) as running:
        running.plane.secrets.add("dragoman")
        deployed = running.deploy(MODULE)
        assert deployed.returncode == 0, deployed.stdout + deployed.stderr
        running.start("Translator")
        running.start("RoomServer")
        running.serve("Lobby")
        yield running
        assert not running.plane.missing, f"the control plane lacks {running.plane.missing}"
        for container in running.containers:
            assert "Traceback" not in container.log, f"{container.name}:\n{container.log}"


@pytest.fixture
async def visitor(cloud: "Cloud") -> AsyncIterator[Visitor]:
    """Somebody at the lobby; a room server is there when they come."""
    if not any(one.name == "RoomServer" and one.alive for one in cloud.containers):
        await asyncio.to_thread(cloud.serve, "RoomServer")
    async with aiohttp.ClientSession() as http, Visitor(http, cloud.ingress["Lobby"].url) as running:
        yield running
