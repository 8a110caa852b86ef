"""One deployment for all tests here: its containers are started once, but for those that a test kills."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import aiohttp
import pytest

pytest.importorskip("modal", reason="modal is not installed: pip install 'dragoman[test]'")

from tests.modal.cloud import Cloud
from tests.modal.people import Visitor

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


@pytest.fixture(scope="session")
def cloud() -> Iterator[Cloud]:
    """Deployed by the command that everybody uses, with a lobby, a server for rooms and a translator."""
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
async def visitor(cloud: Cloud) -> AsyncIterator[Visitor]:
    """Somebody at the lobby; a room server is there when they come."""
    if not any(one.name == "RoomServer" and one.alive for one in cloud.containers):
        await asyncio.to_thread(cloud.serve, "RoomServer")
    async with aiohttp.ClientSession() as http, Visitor(http, cloud.ingress["Lobby"].url) as running:
        yield running
