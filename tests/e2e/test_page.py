"""What the page makes of a call's less happy hours, and of what one wants to hear."""

import asyncio

import pytest
from playwright.async_api import Browser, Route

from tests.e2e.conftest import Meet
from tests.e2e.people import NETWORK_ERRORS
from tests.e2e.serving import Network, Site

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


async def test_what_one_does_while_there_is_no_connection(
    site: Site, network: Network, silent: Browser, meet: Meet
) -> None:
    """A message is not lost, and another language is what one gets as soon as there is a connection again."""
    path = (await site.room()).removeprefix(site.url)
    bob = await (await meet(silent)).enter(site.url + path, "Bob", "en")
    ana, told = await meet(silent), list[str]()
    ana.page.on("websocket", lambda ws: ws.on("framereceived", lambda frame: told.append(str(frame))))
    await ana.enter(network.url + path, "Ana", "es")
    ana.forgive(NETWORK_ERRORS)
    network.cut()
    await ana.by("connection-state", "[data-state=reconnecting]").wait_for()
    await ana.write("Are you there?")
    await ana.by("error").filter(has_text="You are not connected just now.").wait_for()
    await ana.choose("language-switch", "fr")
    await ana.by("sound-button").click()
    await ana.by("mix-select").select_option("translated")
    network.mend()
    await ana.connected()
    await bob.participant("Ana").get_by_text("French").wait_for()
    assert any('"session.updated"' in frame and '"mix": "translated"' in frame for frame in told)
    await ana.by("chat-send").click()
    await bob.by("chat-message").filter(has_text="Are you there?").wait_for()
    assert await ana.by("chat-input").input_value() == ""
    await bob.write("The results are very important.")
    await ana.by("chat-message").filter(has_text="Bob").locator(".body[lang=fr]").wait_for()


async def test_connections_that_died_unnoticed(site: Site, network: Network, silent: Browser, meet: Meet) -> None:
    """Neither the WebSocket nor the browser's idle HTTP connections ever hear of it: new ones are made."""
    path = (await site.room()).removeprefix(site.url)
    ana = await (await meet(silent)).enter(network.url + path, "Ana", "es")
    network.forget()
    await ana.page.evaluate("() => dragoman.call.pc.close()")
    await ana.by("connection-state", "[data-state=reconnecting]").wait_for()
    await ana.connected()


async def test_who_leaves_while_the_page_looks_for_the_room_has_left(
    site: Site, network: Network, silent: Browser, meet: Meet
) -> None:
    """What is found out afterwards does not take the screen: somebody may have joined again by then."""
    path = (await site.room()).removeprefix(site.url)
    ana = await (await meet(silent)).enter(network.url + path, "Ana", "es")
    ana.forgive(f"{NETWORK_ERRORS}|404")
    asked, answer = asyncio.Event(), asyncio.Event()

    async def look(route: Route) -> None:
        asked.set()
        await answer.wait()
        await route.fulfill(status=404, content_type="application/problem+json", body="{}")

    await ana.page.route("**/v1/rooms/*", look)
    network.cut()
    await asked.wait()
    await ana.by("leave-button").click()
    await ana.by("left").wait_for()
    async with ana.page.expect_request_finished():
        answer.set()
    await ana.page.evaluate("() => new Promise(requestAnimationFrame)")
    assert await ana.page.get_by_role("heading", name="You left").count() == 1


async def test_screen_readers_are_told_each_thing_once(site: Site, silent: Browser, meet: Meet) -> None:
    """Not all that was said before again with it, as an atomic live region does."""
    ana = await (await meet(silent)).enter(await site.room(), "Ana", "es")
    devtools = await ana.page.context.new_cdp_session(ana.page)
    tree = await devtools.send("Accessibility.getFullAXTree")
    told = {
        node["role"]["value"]: {one["name"]: one["value"].get("value") for one in node["properties"]}
        for node in tree["nodes"]
        if not node["ignored"] and any(one["name"] == "live" for one in node.get("properties", []))
    }
    assert told["log"]["live"] == "polite" and not told["log"].get("atomic"), told


async def test_a_day_of_messages(site: Site, silent: Browser, meet: Meet) -> None:
    """The last few hundred stay on the page."""
    ana = await (await meet(silent)).enter(await site.room(), "Ana", "es")
    await ana.page.evaluate(
        """() => {
          const rest = { participant_id: 'p', name: 'Bob', language: 'es', source_language: 'es', utterance_id: null };
          for (let i = 0; i < 1000; i += 1) {
            const text = `hola ${i}`;
            dragoman.call.receive({ type: 'chat.message', message_id: `m${i}`, text, original_text: text, ...rest });
          }
        }"""
    )
    assert await ana.by("chat-message").count() == 300
    assert "hola 999" in await ana.by("chat-message").last.inner_text()


@pytest.mark.parametrize("size", [(320, 568), (640, 400)], ids=["a small phone", "a desk at 200 %"])
async def test_on_a_small_screen(site: Site, silent: Browser, meet: Meet, size: tuple[int, int]) -> None:
    """Everything can be reached, nothing lies over another thing, and there is room left for what is said."""
    ana = await meet(silent, viewport={"width": size[0], "height": size[1]})
    await ana.prepare(await site.room("A rather long name for a room on a small screen"), "Ana", "es")
    card, button = await ana.page.locator("form.card").bounding_box(), await ana.by("join-button").bounding_box()
    assert card is not None and button is not None and button["x"] + button["width"] < card["x"] + card["width"]
    await ana.join()
    lag = {"type": "translation.lag", "segment_id": "s", "participant_id": "p", "language": "es", "lag_ms": 2300}
    await ana.page.evaluate("lag => dragoman.call.receive(lag)", lag)
    ends = [0.0]
    for control in ("mute-button", "language-switch", "sound-button", "leave-button"):
        box = await ana.by(control).bounding_box()
        assert box is not None and ends[-1] <= box["x"], (control, box, ends)
        ends.append(box["x"] + box["width"])
    assert ends[-1] <= size[0]
    captions = await ana.by("captions").bounding_box()
    assert captions is not None and captions["height"] > size[1] / 4, captions


async def test_a_link_that_was_cut_in_the_midst_of_a_character(site: Site, silent: Browser, meet: Meet) -> None:
    ana = await meet(silent)
    ana.forgive("404")
    await ana.page.goto(f"{site.url}/room/caf%C3")
    await ana.by("error").get_by_role("heading", name="This room is gone").wait_for()


async def test_a_browser_whose_languages_are_no_tags(site: Site, silent: Browser, meet: Meet) -> None:
    """As some take them from the system's locale."""
    ana = await meet(silent)
    await ana.page.add_init_script("Object.defineProperty(navigator, 'languages', { value: ['ca', 'en_US@posix'] })")
    await ana.page.goto(await site.room())
    await ana.by("language-select").get_by_text("Català").wait_for()


async def test_a_volume_stays_with_the_person(site: Site, silent: Browser, meet: Meet) -> None:
    """Gone for a moment, as when a room moves, they are as loud as they were, and the slider says so."""
    ana = await (await meet(silent)).enter(await site.room(), "Ana", "es")
    person = {"id": "p_zoe", "name": "Zoe", "language": "en", "speaks": "en", "muted": False}
    tell = "([type, participant]) => dragoman.call.receive({ type, participant })"
    zoe = ana.participant("Zoe")
    await ana.page.evaluate(tell, ["participant.joined", person])
    await zoe.get_by_role("button", name="Volume of Zoe").click()
    await zoe.get_by_test_id("volume").fill("30")
    await ana.page.evaluate(tell, ["participant.left", person])
    await ana.page.evaluate(tell, ["participant.joined", person])
    await zoe.get_by_role("button", name="Volume of Zoe").click()
    assert await zoe.get_by_test_id("volume").input_value() == "30"
    await zoe.get_by_text("30 %").wait_for()


async def test_one_writes_from_the_right_where_one_does(site: Site, silent: Browser, meet: Meet) -> None:
    """Arabic, Hebrew, Persian, Urdu: the field follows what is typed into it."""
    ana = await meet(silent)
    ways: list[str] = []

    async def write(testid: str, text: str) -> None:
        await ana.by(testid).fill(text)
        ways.append(await ana.by(testid).evaluate("field => getComputedStyle(field).direction"))

    await ana.page.goto(site.url)
    await write("room-name-input", "ميناء (PC)")
    await ana.page.goto(await site.room())
    await write("name-input", "ليلى")
    await ana.join()
    await write("chat-input", "مرحبا PC!")
    await write("chat-input", "Hello, ليلى")
    assert ways == ["rtl", "rtl", "rtl", "ltr"]
