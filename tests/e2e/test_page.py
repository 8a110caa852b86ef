"""What the page makes of a call's less happy hours, and of what one wants to hear."""

import pytest
from playwright.async_api import Browser

from tests.e2e.conftest import Meet
from tests.e2e.serving import Site

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(300)]

NOTE_GAINS = """(() => {
  const glide = AudioParam.prototype.setTargetAtTime;
  window.gains = [];
  AudioParam.prototype.setTargetAtTime = function (target, ...rest) {
    gains.push(target);
    return glide.call(this, target, ...rest);
  };
})()"""


async def test_an_original_is_softened_only_under_an_interpreter_that_is_heard(
    site: Site, talking: Browser, silent: Browser, meet: Meet
) -> None:
    """Who chose the original voices only hears them as loud as ever while the interpreter speaks to others."""
    room = await site.room()
    await (await meet(talking)).enter(room, "Bob", "en")
    ana = await meet(silent)
    await ana.page.add_init_script(NOTE_GAINS)
    await ana.enter(room, "Ana", "es")
    interpreted = ana.participant("Bob").get_by_text("interpreter speaks")
    await interpreted.wait_for()
    await interpreted.wait_for(state="hidden")
    assert 0.1 < await ana.page.evaluate("() => Math.min(...gains)") < 0.2, "15 dB softer"
    await ana.by("sound-button").click()
    await ana.by("mix-select").select_option("original")
    await ana.until("() => dragoman.call.slots.size === 1")
    await ana.page.evaluate("() => { gains.length = 0; }")
    await interpreted.wait_for()
    await interpreted.wait_for(state="hidden")
    assert await ana.page.evaluate("() => Math.min(...gains)") == 1
