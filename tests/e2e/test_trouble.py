"""What people are told when there is no way in, or the way is lost."""

import re

import pytest
from playwright.async_api import Browser

from tests.e2e.conftest import Meet, Start
from tests.e2e.people import NETWORK_ERRORS

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(300)]


async def test_a_room_that_is_not_there(start: Start, silent: Browser, meet: Meet) -> None:
    site = await start()
    ana = await meet(silent)
    ana.forgive("404")
    await ana.page.goto(f"{site.url}/room/nowhere-at-all")
    await ana.by("error").get_by_role("heading", name="This room is gone").wait_for()
    await ana.by("error").get_by_role("link", name="Back to the lobby").click()
    await ana.by("create-room").wait_for()


async def test_a_full_room(start: Start, silent: Browser, meet: Meet) -> None:
    """The lobby and the room say so; when somebody has left, the same button leads in."""
    site = await start("--room-capacity", "1")
    room = await site.room("Small")
    ana, bob = await meet(silent), await meet(silent)
    await bob.prepare(room, "Bob", "en")
    await ana.enter(room, "Ana", "es")
    await bob.by("join-button").click()
    refusal = bob.by("error")
    await refusal.get_by_role("heading", name="This room is full").wait_for()
    assert "Try again when somebody has left." in await refusal.inner_text()
    await bob.page.goto(site.url)
    await bob.by("room-list").get_by_text(re.compile("1 person, full")).wait_for()
    await bob.prepare(room, "Bob", "en")
    await bob.by("join-button").click()
    await refusal.wait_for()
    await ana.by("leave-button").click()
    await ana.by("left").wait_for()
    await refusal.get_by_role("button", name="Try again").click()
    await bob.join()


async def test_the_server_is_gone(start: Start, silent: Browser, meet: Meet) -> None:
    """In the call, before it and in the lobby; the lobby finds the next server by itself."""
    site = await start()
    room = await site.room()
    ana, bob, eva = [await meet(silent) for _ in range(3)]
    for person in (ana, bob, eva):
        person.forgive(f"{NETWORK_ERRORS}|status of 404")
    await eva.page.goto(site.url)
    await eva.by("room-list").get_by_role("link").wait_for()
    await bob.prepare(room, "Bob", "en")
    await ana.enter(room, "Ana", "es")
    site.kill()
    await ana.by("connection-state").filter(has_text="Reconnecting…").wait_for()
    await bob.by("join-button").click()
    await bob.by("error").get_by_role("heading", name="The server does not answer").wait_for()
    await eva.by("error").filter(has_text="The server does not answer.").wait_for()
    await start("--port", site.url.rpartition(":")[2])
    await eva.page.get_by_text("No room is open.").wait_for()
    await ana.page.get_by_role("heading", name="This room is gone").wait_for(timeout=90_000)
