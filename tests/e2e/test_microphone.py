"""The microphone: when it is allowed late, refused, held to talk; and that nobody is heard, or recorded, unawares."""

import re

import pytest
from playwright.async_api import Browser

from tests.e2e.conftest import Meet, Start
from tests.e2e.people import Person

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(300)]

HESITATE = """(() => {
  const ask = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
  window.opened = [];
  const allowed = new Promise((resolve) => { window.allow = resolve; });
  navigator.mediaDevices.getUserMedia = async (what) => {
    await allowed;
    const stream = await ask(what);
    opened.push(...stream.getTracks());
    return stream;
  };
})()"""
"""The browser's question for the microphone stands until `allow()`; `opened` are the tracks that came of it."""


async def hesitating(meet: Meet, browser: Browser, room: str) -> Person:
    """Somebody who has joined, and has not answered the browser's question."""
    ana = await meet(browser)
    await ana.page.add_init_script(HESITATE)
    await ana.page.goto(room)
    await ana.by("name-input").fill("Ana")
    await ana.join()
    return ana


async def test_allowed_when_one_has_joined_already(start: Start, talking: Browser, silent: Browser, meet: Meet) -> None:
    """The microphone that the browser shows as in use is the one that the others hear."""
    room = await (await start()).room()
    bob = await (await meet(silent)).enter(room, "Bob", "en")
    ana = await hesitating(meet, talking, room)
    await ana.by("mute-button").filter(has_text="Turn on microphone").wait_for()
    await ana.page.evaluate("() => allow()")
    await ana.by("mute-button").filter(has_text=re.compile("^Mute")).wait_for()
    await bob.participant("Ana").get_by_role("img", name="muted").wait_for(state="hidden")
    await bob.hear("original en", 0.5)


async def test_allowed_when_one_has_left_already(start: Start, silent: Browser, meet: Meet) -> None:
    """No microphone stays open behind the screen that says that one left."""
    ana = await hesitating(meet, silent, await (await start()).room())
    await ana.by("leave-button").click()
    await ana.by("left").wait_for()
    await ana.page.evaluate("() => allow()")
    await ana.until("() => opened.length === 1 && opened[0].readyState === 'ended'")
