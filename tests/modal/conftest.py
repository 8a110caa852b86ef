"""One deployment for all tests here: its containers are started once, but for those that a test kills."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING

import aiohttp
import pytest

from tests.modal.people import Visitor

if TYPE_CHECKING:
    from tests.modal.cloud import Cloud  # needs modal: where it is not installed, the tests are skipped, and say so


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "tests/modal/" in item.path.as_posix():
            item.add_marker("modal")
            item.add_marker(pytest.mark.timeout(240))


@pytest.fixture(scope="package")
def cloud() -> "Iterator[Cloud]":
    """With a lobby, a server for rooms and a translator."""
    from tests.modal.product import deployed

    with deployed() as running:
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
