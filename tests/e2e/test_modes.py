"""How a room is interpreted, as its people see it and decide it."""

import pytest
from playwright.async_api import Browser

from tests.e2e.conftest import Meet, Start

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(300)]


async def test_what_stays_is_seen_and_anybody_may_ask_for_whole_sentences(
    start: Start, talking: Browser, silent: Browser, meet: Meet
) -> None:
    """Of an interim the beginning that stays is as dark as a final, the rest paler. Bob's setting is Ana's, too."""
    site = await start()
    room = await site.room()
    ana = await (await meet(silent)).enter(room, "Ana", "es")
    bob = await (await meet(talking)).enter(room, "Bob", "en")
    colours = await ana.until(
        """() => {
            const settled = document.querySelector('.said [data-kind=interim] .settled');
            return settled && [settled, settled.parentElement, document.body].map(e => getComputedStyle(e).color);
        }"""
    )
    assert colours[0] == colours[2] != colours[1]
    await ana.by("caption").locator("[data-kind=final]", has_text="[es] heard 1 s").first.wait_for()
    for person in (ana, bob):
        await person.by("sound-button").click()
        assert await person.by("mode-select").input_value() == "simultaneous"
    await bob.by("mode-select").select_option("consecutive")
    await ana.until("() => document.querySelector('[data-testid=mode-select]').value === 'consecutive'")
    eva = await (await meet(silent)).enter(room, "Eva", "fr")
    await eva.by("sound-button").click()
    assert await eva.by("mode-select").input_value() == "consecutive"
