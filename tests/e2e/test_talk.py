"""Talking with a voice on /talk, in Chromium: the embedded partner, and a tiny random Moshi with two who talk."""

import re

import pytest
from playwright.async_api import Browser

from tests.e2e.conftest import Meet, Start
from tests.e2e.people import Person

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(300)]

VOICE = "original en"


async def begin(person: Person, url: str) -> None:
    await person.page.goto(url)
    await person.by("mic-status").filter(has_text=re.compile("Say something")).wait_for()
    await person.by("begin-button").click()


async def test_one_talks_with_the_embedded_partner(asking: Browser, start: Start, meet: Meet) -> None:
    """From the lobby's link: it says what it is, hears a question, answers it, aloud and in writing; one hangs up."""
    site = await start("--dialogue", "embedded")
    ana = await meet(asking)
    await ana.page.goto(site.url)
    await ana.by("talk-link").click()
    await ana.by("engine-notice").filter(has_text="not Moshi").wait_for()
    await begin(ana, ana.page.url)
    await ana.connected()
    await ana.by("caption").filter(has_text="I am a simple program").wait_for()
    await ana.hear(VOICE, 1.0)
    await ana.by("voice-state").filter(has_text="Speaking").wait_for()
    await ana.by("caption").filter(has_text="You").filter(has_text=re.compile("time", re.IGNORECASE)).first.wait_for()
    await ana.by("caption").filter(has_text=re.compile(r"My clock says \d\d:\d\d\.")).first.wait_for()
    await ana.by("leave-button").click()
    await ana.by("left").wait_for()
    while (await site.get("/v1/stats"))["dialogue"]["seats_taken"]:
        pass  # each turn is an HTTP request; the test's time limit ends one that never comes true


async def test_two_talk_with_moshi_and_a_third_waits_for_a_seat(silent: Browser, start: Start, meet: Meet) -> None:
    """A random Moshi of a few hundred kilobytes: noise, but each hears a voice of their own, and the line moves."""
    pytest.importorskip("moshi")
    from tests.models.tiny_moshi import checkpoint

    model = str(checkpoint("moshi"))
    site = await start("--dialogue", "moshi", "--moshi-model", model, "--moshi-seats", "2")
    ana, bob, cleo = await meet(silent), await meet(silent), await meet(silent)
    for person in (ana, bob):
        await begin(person, f"{site.url}/talk")
        await person.connected()
        await person.hear(VOICE, 0.5)
    await begin(cleo, f"{site.url}/talk")
    await cleo.by("voice-state").filter(has_text="You are next").wait_for()
    await ana.by("leave-button").click()
    await cleo.connected()
    await cleo.hear(VOICE, 0.5)
    assert await bob.by("connection-state").get_attribute("data-state") == "connected"
