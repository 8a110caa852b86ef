"""The voice in a room, in Chromium: invited, heard, translated, asked to leave; and when it cannot come, or breaks."""

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Locator

from models.base import EngineBroken
from models.partner import Partner
from rtc.dialogue_thread import DialogueThread
from signaling.settings import Settings
from tests.conftest import Server, serve
from tests.e2e.conftest import Meet, Start
from tests.e2e.people import Person

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(300)]

PICTURES = os.environ.get("PICTURES")
"""A folder for what the call looks like then, if one is wanted."""


@pytest_asyncio.fixture(loop_scope="module")
async def server() -> AsyncIterator[Server]:
    """In this process, with one seat. Ask for it before `meet`, so that people leave before their server."""
    partner = DialogueThread(Partner(seats=1, recognizers=1), "partner")
    async for running in serve(Settings(translator="echo"), dialogue=partner):
        yield running


def button(person: Person, name: str) -> Locator:
    """As a screen reader names it."""
    return person.page.get_by_role("button", name=name)


async def picture(person: Person, name: str) -> None:
    if PICTURES:
        await person.page.screenshot(path=Path(PICTURES) / f"{name}.png")


async def test_the_voice_is_invited_and_asked_to_leave(server: Server, silent: Browser, meet: Meet) -> None:
    """By the keyboard. One hears it, one its translation; whoever asks for it meanwhile learns that it is not free."""
    rooms = [f"{server.base}/room/{await server.room()}" for _ in range(2)]
    ana, bob, cleo = await meet(silent), await meet(silent), await meet(silent)
    await ana.enter(rooms[0], "Ana", "es")
    await bob.enter(rooms[0], "Bob", "en")
    await cleo.enter(rooms[1], "Cleo", "en")
    await button(bob, "Invite Partner").focus()
    await bob.page.keyboard.press("Enter")
    for person in (ana, bob):
        await person.participant("Partner").get_by_text("A program that talks").wait_for()
        await person.page.get_by_role("heading", name="2 people here, and Partner").wait_for()
    assert await button(bob, "Ask Partner to leave").evaluate("button => button === document.activeElement")
    await bob.by("caption").filter(has_text="I am a simple program").wait_for()
    await ana.by("caption").filter(has_text="[es] Hello.").wait_for()
    await bob.hear("original en", 1.0)
    await ana.hear("translation es", 1.0)
    await picture(bob, "voice-desk")
    await button(cleo, "Invite Partner").click()
    await cleo.by("voice-note").filter(has_text="talks with as many as it can").wait_for()
    await picture(cleo, "voice-refused")
    assert await button(cleo, "Invite Partner").get_attribute("aria-disabled") == "false"
    await button(ana, "Ask Partner to leave").click()
    for person in (ana, bob):
        await person.page.get_by_role("heading", name="2 people here", exact=True).wait_for()
    await button(cleo, "Invite Partner").click()
    await cleo.participant("Partner").wait_for()


async def test_where_there_is_no_voice_there_is_no_button(start: Start, silent: Browser, meet: Meet) -> None:
    site = await start("--dialogue", "none")
    ana = await meet(silent)
    await ana.enter(await site.room(), "Ana", "es")
    await ana.participant("Ana").wait_for()
    assert not await ana.by("voice-invite").is_visible()


async def test_a_voice_that_breaks_ends_the_conversation_and_not_the_room(
    server: Server, silent: Browser, meet: Meet
) -> None:
    """On /talk there is nothing left to try; in the room it has left, and one is told why."""
    assert server.house.parlour is not None
    room = f"{server.base}/room/{await server.room()}"
    ana, bob = await meet(silent), await meet(silent)
    await bob.enter(room, "Bob", "en")
    await ana.page.goto(f"{server.base}/talk")
    await ana.by("mic-select").select_option("none")
    await ana.by("mic-status").filter(has_text="You will hear the voice, and it will not hear you.").wait_for()
    await ana.by("begin-button").click()
    await ana.connected()
    server.house.parlour.engine.give_up(EngineBroken("The GPU is gone."))
    await ana.by("error").filter(has_text="The GPU is gone.").wait_for()
    assert "reconnecting" not in await ana.seen("states")
    await button(bob, "Invite Partner").click()
    await bob.by("voice-note").filter(has_text="The GPU is gone.").wait_for()
    assert await bob.by("connection-state").get_attribute("data-state") == "connected"
