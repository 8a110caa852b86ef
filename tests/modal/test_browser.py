"""A real browser goes from the lobby to a server with a sticky session, and comes back when that is gone."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Browser, async_playwright

pytest.importorskip("modal", reason="modal is not installed: pip install 'dragoman[test]'")

from tests.e2e.people import CHROMIUM, NETWORK_ERRORS, Person, chromium, write_microphone
from tests.modal.cloud import Cloud
from tests.modal.people import Visitor

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium")


@pytest.fixture
async def browser(tmp_path: Path) -> AsyncIterator[Browser]:
    async with (
        async_playwright() as playwright,
        chromium(playwright, write_microphone(tmp_path / "silent.wav", [])) as running,
    ):
        yield running


async def test_from_the_lobby_into_a_room_and_back_after_its_server_died(
    cloud: Cloud, visitor: Visitor, browser: Browser
) -> None:
    """The lobby's own button; the link that is shared leads to the lobby; nobody has to reload when a server dies."""
    async with contextlib.AsyncExitStack() as leaving:
        ana, bob = await Person.arrive(browser), await Person.arrive(browser)
        for person in (ana, bob):
            leaving.push_async_callback(person.go)
        await ana.page.goto(visitor.lobby)
        await ana.by("create-room").click()
        await ana.page.wait_for_url(f"{cloud.ingress['RoomServer'].url}/room/*")
        assert "token" not in ana.page.url
        room = ana.page.url.rpartition("/")[2]
        shared = f"{visitor.lobby}/room/{room}"
        assert await ana.page.get_by_label("Invite with this link").input_value() == shared
        await ana.enter(ana.page.url, "Ana", "es")
        await bob.enter(shared, "Bob", "en")
        for person in (ana, bob):
            person.forgive(f"{NETWORK_ERRORS}|status of 4|status of 5|WebSocket connection|CORS")
        before = await ana.page.evaluate("dragoman.call.participant.id")
        held = next(one for one in cloud.containers if one.name == "RoomServer" and one.alive)
        held.kill()
        await ana.by("connection-state", "[data-state=reconnecting]").wait_for()
        await asyncio.to_thread(cloud.serve, "RoomServer")
        for person in (ana, bob):
            await person.by("connection-state", "[data-state=connected]").wait_for(timeout=60_000)
        assert await ana.page.evaluate("dragoman.call.participant.id") == before
        await ana.by("participants").get_by_text("Bob").first.wait_for()
        assert (ana.complaints, bob.complaints) == ([], [])


async def test_a_page_that_waits_for_a_server_says_so(cloud: Cloud, visitor: Visitor, browser: Browser) -> None:
    room = await visitor.room()
    ana = await Person.arrive(browser)
    ana.forgive("status of 503")
    cloud.ingress["RoomServer"].refuse = 429
    try:
        await ana.page.goto(f"{visitor.lobby}/room/{room}")
        await ana.page.get_by_text("There is no server free for this room").wait_for()
    finally:
        cloud.ingress["RoomServer"].refuse = 0
    await ana.page.wait_for_url(f"{cloud.ingress['RoomServer'].url}/room/*")
    await ana.go()
