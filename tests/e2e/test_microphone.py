"""The microphone: when it is allowed late, refused, held to talk; and that nobody is heard, or recorded, unawares."""

import json
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


HELD = {"pushToTalk": True, "name": "Ana"}


async def with_push_to_talk(meet: Meet, browser: Browser, room: str, mic: str = "") -> Person:
    """Somebody in a room who has chosen to be heard only while a key is held."""
    ana = await meet(browser)
    await ana.page.goto(room)
    await ana.page.evaluate("kept => { localStorage.dragoman = kept; }", json.dumps({**HELD, "mic": mic}))
    await ana.page.reload()
    await ana.by("mic-status").filter(has_text=re.compile("Say something|Nobody hears you")).wait_for()
    await ana.join()
    return ana


async def test_push_to_talk_ends_wherever_the_key_is_released(start: Start, silent: Browser, meet: Meet) -> None:
    """Held on the button itself, too: when another window, or another control, has the keyboard by then."""
    ana = await with_push_to_talk(meet, silent, await (await start()).room())
    keyboard, button = ana.page.keyboard, ana.by("mute-button")
    await button.focus()
    await keyboard.down("Space")
    await button.filter(has_text="Talking").wait_for()
    await ana.page.evaluate("() => window.dispatchEvent(new Event('blur'))")
    await button.filter(has_text="Hold to talk").wait_for()
    await keyboard.up("Space")
    await keyboard.down("Space")
    await button.filter(has_text="Talking").wait_for()
    await ana.page.locator("h1").focus()
    await keyboard.up("Space")
    await button.filter(has_text="Hold to talk").wait_for()
    assert not await ana.page.evaluate("() => dragoman.call.microphone.track.enabled")


async def test_push_to_talk_with_no_microphone_yet(start: Start, silent: Browser, meet: Meet) -> None:
    """The button opens one, which nobody hears before it is held."""
    ana = await with_push_to_talk(meet, silent, await (await start()).room(), mic="none")
    button = ana.by("mute-button")
    await button.filter(has_text="Turn on microphone").click()
    await button.filter(has_text="Hold to talk").wait_for()
    assert not await ana.page.evaluate("() => dragoman.call.microphone.track.enabled")
    await button.hover()
    await ana.page.mouse.down()
    await button.filter(has_text="Talking").wait_for()
    await ana.page.mouse.up()
    await button.filter(has_text="Hold to talk").wait_for()


async def test_a_refusal_is_not_remembered_as_a_choice(start: Start, silent: Browser, meet: Meet) -> None:
    """Who allows the microphone after all is asked for it next time; who chose to have none is not."""
    ana = await meet(silent, microphone=False)
    await ana.prepare(await (await start()).room(), "Ana", "en")
    await ana.join()
    await ana.by("leave-button").click()
    await ana.page.context.grant_permissions(["microphone"])
    await ana.by("rejoin").click()
    await ana.by("mic-status").filter(has_text="Say something").wait_for()
    await ana.by("mic-select").select_option("none")
    await ana.join()
    await ana.by("leave-button").click()
    await ana.by("rejoin").click()
    await ana.by("mic-status").filter(has_text="Nobody hears you.").wait_for()


async def test_unplugged_before_joining(start: Start, silent: Browser, meet: Meet) -> None:
    """One is told, and not to say something to a microphone that is gone; another one can be opened."""
    ana = await meet(silent)
    await ana.page.add_init_script(HESITATE)
    await ana.page.goto(await (await start()).room())
    await ana.page.evaluate("() => allow()")
    await ana.by("mic-status").filter(has_text="Say something").wait_for()
    await ana.page.evaluate("() => opened[0].dispatchEvent(new Event('ended'))")
    await ana.by("mic-status").filter(has_text="The microphone is gone.").wait_for()
    assert await ana.by("mic-select").input_value() == "none"
    await ana.page.get_by_role("button", name="Try the microphone again").click()
    await ana.by("mic-status").filter(has_text="Say something").wait_for()
