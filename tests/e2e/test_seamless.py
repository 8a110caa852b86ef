"""SeamlessM4T-v2 in the browser, a random one in the real layout: two people hear each other's language, and see which
languages have a voice."""

from pathlib import Path

import pytest
from playwright.async_api import Browser

from tests.e2e.conftest import Meet, Start

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(300)]


async def test_two_people_hear_and_read_each_other_in_their_languages(
    start: Start, talking: Browser, silent: Browser, meet: Meet, tiny_seamless: Path
) -> None:
    site = await start("--translator", "seamless", "--seamless-model", str(tiny_seamless))
    room = await site.room()
    ana = await (await meet(silent)).enter(room, "Ana", "es")
    bob = await (await meet(talking)).enter(room, "Bob", "en")
    await ana.hear("translation es", 0.5)
    await ana.by("caption").locator("[data-kind=final]").first.wait_for()
    await bob.write("hello how are you")
    await ana.by("chat-message").filter(has_text="hello how are you").wait_for()
    assert (await site.get("/v1/stats"))["engine"]["counters"]["rows_decoded"] >= 4


async def test_the_picker_says_which_languages_have_a_voice(
    start: Start, silent: Browser, meet: Meet, tiny_seamless: Path
) -> None:
    """Greek comes as captions only; it is found by its English name, and remembered for the next time."""
    site = await start("--translator", "seamless", "--seamless-model", str(tiny_seamless))
    room = await site.room()
    ana = await meet(silent)
    await ana.enter(room, "Ana", "el")
    await ana.page.goto(room)
    await ana.by("language-select").wait_for()
    assert await ana.by("language-select").evaluate("picker => picker.value") == "el"
    await ana.by("language-select").click()
    await ana.by("language-select-search").fill("gree")
    await ana.page.get_by_role("dialog").get_by_role("group", name="Captions only").get_by_role("option").wait_for()
