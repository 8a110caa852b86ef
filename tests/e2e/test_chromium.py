"""Two people and more in a room, each in a Chromium of their own, through the page as it is served."""

import asyncio
import re

import numpy as np
import pytest
from playwright.async_api import Browser, Locator

from tests.e2e.conftest import Meet
from tests.e2e.people import NETWORK_ERRORS, PATIENCE_MS, Person, Sound
from tests.e2e.serving import PATIENCE, Network, Site
from tests.sentences import SURE

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(300)]

CATALAN = (
    (SURE[0][0], "tenim un problema amb l'ordinador"),
    (SURE[1][0], "els resultats són molt importants"),
    (SURE[2][0], "l'empresa té oficines en molts països"),
    (SURE[3][0], "et trucaré en dilluns"),
)


async def understood(person: Person, pairs: tuple[tuple[str, str], ...] = SURE) -> Locator:
    """Wait until one of the sentences is there, every word of it, in both languages: the turn that holds it."""
    first, *others = (person.caption(translated, original) for original, translated in pairs)
    for other in others:
        first = first.or_(other)
    await first.first.wait_for()
    return first.first


def likeness(said: Sound, heard: Sound) -> float:
    """How alike the loudness of two sounds goes up and down in one utterance, the best of all: 1.0 is the same.

    Not the samples: a browser's jitter buffer stretches time, more so on a busy machine."""
    start, end = max(said[0][0], heard[0][0]), min(said[0][-1], heard[0][-1])
    grid = np.arange(start, end, 10.0)
    first, second = (np.convolve(np.interp(grid, at, rms), np.ones(5) / 5, "same") for at, rms in (said, heard))
    loud = np.flatnonzero(first > 0.01)
    best = 0.0
    for utterance in np.split(loud, np.flatnonzero(np.diff(loud) > 100) + 1):
        piece = first[utterance[0] : utterance[-1] + 1] if len(utterance) else first[:0]
        for lag in range(min(100, len(second) - utterance[-1] - 1) if len(piece) > 50 else 0):
            other = second[utterance[0] + lag :][: len(piece)]
            best = max(best, float(np.corrcoef(piece, other)[0, 1]) if other.std() > 0 else 0.0)
    return best


async def test_a_spanish_listener_hears_and_reads_english_in_spanish(
    site: Site, talking: Browser, silent: Browser, meet: Meet
) -> None:
    """From the lobby to the translated voice, with nothing but clicks: the product's whole promise."""
    bob, ana = await meet(talking), await meet(silent)
    await bob.page.goto(site.url)
    await bob.by("room-name-input").fill("Harbour planning")
    await bob.by("create-room").click()
    await bob.page.wait_for_url("**/room/*")
    await bob.fill_in("Bob", "en")
    await bob.join()
    await ana.page.goto(site.url)
    await ana.by("room-list").get_by_role("link", name="Harbour planning").click()
    await ana.fill_in("Ana", "es")
    assert "1 person is inside" in await ana.page.locator("main, body").first.inner_text()
    await ana.join()
    assert ana.page.url == bob.page.url

    turn = await understood(ana)
    assert await turn.get_by_text("Bob", exact=True).count() == 1
    for variant in ("original en", "translation es"):
        await ana.hear(variant, 1.0)
    first = [await person.first_loud(sound) for person, sound in ((bob, "mic"), (ana, "original en"))]
    assert first == sorted(first) and first[-1] < await ana.first_loud("translation es")
    async with asyncio.timeout(PATIENCE):
        while likeness(said := await bob.sound("mic"), await ana.sound("original en")) < 0.75:
            await ana.listen("original en", 1.0, await ana.now())
    assert likeness(said, await ana.sound("translation es")) < 0.75, "it is Bob's voice in one slot only"

    await ana.until(
        """() => Object.values(Object.groupBy(witness.captions.filter(({ translated }) => !translated), c => c.segment))
            .some(shown => shown.length > 1 && shown[0].kind === 'interim' && shown.at(-1).kind === 'final')"""
    )  # words appear while Bob is still talking
    translated = [caption["lang"] for caption in await ana.seen("captions") if caption["translated"]]
    assert set(translated) == {"es"}


async def test_before_joining_one_can_try_everything(site: Site, talking: Browser, meet: Meet) -> None:
    """The bar moves when one speaks, the loudspeaker can be tried, and the link to the room copied."""
    room = await site.room()
    bob = await meet(talking)
    await bob.page.context.grant_permissions(["microphone", "clipboard-read", "clipboard-write"])
    await bob.prepare(room, "Bob", "en")
    await bob.until("() => document.querySelector('[role=meter]').ariaValueNow > 30")
    await bob.by("test-sound").click()
    await bob.by("toast").filter(has_text="Did you hear three tones?").wait_for()
    await bob.by("share-link").click()
    await bob.by("toast").filter(has_text="Link copied.").wait_for()
    assert await bob.page.evaluate("() => navigator.clipboard.readText()") == room


async def test_everybody_sees_who_speaks_and_how_far_behind_the_interpreter_is(
    site: Site, talking: Browser, silent: Browser, meet: Meet
) -> None:
    room = await site.room()
    ana = await (await meet(silent)).enter(room, "Ana", "es")
    bob = await (await meet(talking)).enter(room, "Bob", "en")
    await ana.participant("Bob").get_by_text("being translated…").wait_for()
    await ana.participant("Bob").get_by_text("interpreter speaks").wait_for()
    await ana.by("lag-badge").filter(has_text=re.compile(r"\d\.\d s behind")).wait_for()
    await bob.page.locator("[data-testid=participant].is-speaking", has_text="Bob (you)").wait_for()
    await bob.by("caption").filter(has_text="Bob").first.wait_for()


async def test_the_language_switched_in_the_call(site: Site, talking: Browser, silent: Browser, meet: Meet) -> None:
    """What comes next is in the new language, in words and in sound; what came before stays."""
    room = await site.room()
    await (await meet(talking)).enter(room, "Bob", "en")
    ana = await (await meet(silent)).enter(room, "Ana", "es")
    await ana.by("caption").locator("[lang=es][data-kind=final]").first.wait_for()
    await ana.choose("language-switch", "ca")
    since = await ana.now()
    await understood(ana, CATALAN)
    await ana.hear("translation ca", 0.5, since)
    languages = await ana.page.evaluate("() => [...dragoman.call.slots.values()].map(slot => slot.language).sort()")
    assert languages == ["ca", "en"]
    finals = [c["lang"] for c in await ana.seen("captions") if c["kind"] == "final" and c["translated"]]
    assert finals == sorted(finals, reverse=True) and set(finals) == {"es", "ca"}
    assert await ana.by("caption").locator("[lang=es]").count() > 0


async def test_chat_arrives_translated_and_can_be_heard(site: Site, silent: Browser, meet: Meet) -> None:
    room = await site.room()
    ana = await (await meet(silent)).enter(room, "Ana", "es")
    bob = await (await meet(silent)).enter(room, "Bob", "en")
    await bob.write("The results are very important.")
    message = ana.by("chat-message").filter(has_text="Los resultados son muy importantes.")
    await message.wait_for()
    assert await message.get_by_text("The results are very important.").count() == 1, "the original is within reach"
    await bob.by("chat-message").filter(has_text="The results are very important.").wait_for()
    async with ana.page.expect_response(re.compile(r"/v1/utterances/[^/]+/audio\?language=es")) as answering:
        await message.get_by_test_id("replay").click()
    answer = await answering.value
    assert (answer.status, answer.headers["content-type"]) == (200, "audio/ogg")
    assert await ana.until("() => witness.played[0]") > 1.0, "seconds of speech were played to the end"


async def test_a_lost_socket_is_resumed_and_the_voice_never_stops(
    site: Site, network: Network, talking: Browser, silent: Browser, meet: Meet
) -> None:
    """The network drops every TCP connection for a while: same person, same media, nobody else notices."""
    path = (await site.room()).removeprefix(site.url)
    bob = await (await meet(talking)).enter(site.url + path, "Bob", "en")
    ana = await (await meet(silent)).enter(network.url + path, "Ana", "es")
    ana.forgive(NETWORK_ERRORS)
    who = await ana.participant_id()
    await ana.page.evaluate("() => { window.firstConnection = dragoman.call.pc; }")
    await ana.by("caption").first.wait_for()

    network.cut()
    await ana.by("connection-state", "[data-state=reconnecting]").wait_for()
    assert await ana.by("connection-state").inner_text() == "Reconnecting…"
    since = await ana.now()
    await ana.hear("original en", 0.5, since)
    await ana.hear("translation es", 0.5, since)
    assert (await ana.seen("states"))[-1] == "reconnecting", "heard with no signaling at all"
    turns = await ana.by("caption").count()
    network.mend()
    await ana.connected()
    await ana.until("turns => document.querySelectorAll('[data-testid=caption]').length > turns", turns)
    assert await ana.participant_id() == who
    assert await ana.page.evaluate("() => dragoman.call.pc === firstConnection"), "media were left alone"
    for person in (ana, bob):
        assert await person.by("participant").count() == 2
    assert (await ana.seen("states"))[-3:] == ["connected", "reconnecting", "connected"]


async def test_a_broken_media_path_is_replaced(site: Site, talking: Browser, silent: Browser, meet: Meet) -> None:
    """The listener's peer connection dies: the page offers another one by itself, and the sound is back."""
    room = await site.room()
    bob = await (await meet(talking)).enter(room, "Bob", "en")
    ana = await (await meet(silent)).enter(room, "Ana", "es")
    who = await ana.participant_id()
    await ana.hear("original en", 0.5)
    await ana.page.evaluate("() => { window.firstConnection = dragoman.call.pc; dragoman.call.pc.close(); }")
    await ana.until("() => dragoman.call.pc?.connectionState === 'connected' && dragoman.call.pc !== firstConnection")
    await ana.connected()
    since = await ana.now()
    await ana.hear("original en", 0.5, since)
    await ana.hear("translation es", 0.5, since)
    assert await ana.participant_id() == who
    for person in (ana, bob):
        assert await person.by("participant").count() == 2


async def test_a_third_listener_of_a_language_costs_no_translation(
    site: Site, talking: Browser, silent: Browser, meet: Meet
) -> None:
    room = await site.room()
    listeners = [await (await meet(silent)).enter(room, name, "es") for name in ("Ana", "Eva")]
    before = await site.get("/v1/stats")
    await (await meet(talking)).enter(room, "Bob", "en")
    for listener in listeners:
        await understood(listener)
        await listener.hear("translation es", 0.5)
    after = await site.get("/v1/stats")
    translated = after["translations"]["en>es"] - before["translations"].get("en>es", 0)
    assert 1 <= translated <= after["segments"] - before["segments"]


async def test_muted_nobody_hears_a_word(site: Site, talking: Browser, silent: Browser, meet: Meet) -> None:
    room = await site.room()
    bob = await (await meet(talking)).enter(room, "Bob", "en")
    ana = await (await meet(silent)).enter(room, "Ana", "en")
    await ana.hear("original en", 0.5)
    await bob.by("mute-button").filter(has_text="Mute").click()
    await bob.by("mute-button").filter(has_text="Unmute").wait_for()
    muted = ana.participant("Bob").get_by_role("img", name="muted")
    await muted.wait_for()
    since = await ana.now() + 500  # what was under way
    assert await ana.listen("original en", 6.0, since) == 0, "longer than Bob's longest pause"
    await bob.page.keyboard.press("m")
    await muted.wait_for(state="hidden")
    await ana.hear("original en", 0.5, await ana.now())


async def test_names_and_messages_are_text_whatever_they_hold(site: Site, silent: Browser, meet: Meet) -> None:
    """Markup in a room's name, a person's name and a message is shown, never obeyed."""
    markup = "<img src=x onerror=alert(1)>"
    ana, bob = await meet(silent), await meet(silent)
    await ana.page.goto(site.url)
    await ana.by("room-name-input").fill(f"{markup}<script>alert(2)</script>")
    await ana.by("create-room").click()
    await ana.page.wait_for_url("**/room/*")
    await ana.fill_in(f"Ana {markup}", "es")
    await ana.join()
    await bob.page.goto(site.url)
    await bob.by("room-list").get_by_role("link", name=f"{markup}<script>alert(2)</script>").click()
    await bob.fill_in("Bob", "en")
    await bob.page.get_by_text(f"Ana {markup}").wait_for()
    await bob.join()
    await bob.participant(f"Ana {markup}").wait_for()
    await ana.write(f"{markup} **hola**")
    message = bob.by("chat-message").filter(has_text=f"Ana {markup}")
    await message.wait_for()
    assert await message.locator("details").evaluate("details => details.textContent.includes('<img src=x')")
    for person in (ana, bob):
        assert await person.page.locator("img[src=x], [onerror]").count() == 0


async def test_with_the_microphone_refused_one_can_still_listen(
    site: Site, talking: Browser, silent: Browser, meet: Meet
) -> None:
    room = await site.room()
    bob = await (await meet(talking)).enter(room, "Bob", "en")
    ana = await meet(silent, microphone=False)
    await ana.prepare(room, "Ana", "es")
    assert "The microphone is blocked for this page." in await ana.by("mic-status").inner_text()
    await ana.join()
    await understood(ana)
    await ana.hear("translation es", 0.5)
    assert await ana.by("mute-button").inner_text() == "Turn on microphone"
    await bob.participant("Ana").get_by_role("img", name="muted").wait_for()
    await ana.by("mute-button").click()
    await ana.by("error").filter(has_text="The microphone is blocked").wait_for()


async def test_keyboard_only(site: Site, silent: Browser, meet: Meet) -> None:
    """From the lobby to a message sent, without a pointer."""
    ana = await meet(silent)
    keyboard = ana.page.keyboard

    async def tab_to(testid: str) -> None:
        for _ in range(40):
            if await ana.page.evaluate("() => document.activeElement?.dataset.testid") == testid:
                return
            await keyboard.press("Tab")
        raise AssertionError(f"{testid} is out of the keyboard's reach")

    await ana.page.goto(site.url)
    await tab_to("room-name-input")
    await keyboard.type("Keys")
    await keyboard.press("Enter")
    await ana.page.wait_for_url("**/room/*")
    await ana.by("join-button").wait_for()
    await tab_to("name-input")
    await keyboard.type("Ana")
    await tab_to("language-select")
    await keyboard.type("Esp\n")
    assert await ana.by("language-select").get_attribute("value") == "es"
    await tab_to("join-button")
    await keyboard.press("Enter")
    await ana.connected()
    await tab_to("chat-input")
    await keyboard.type("hola")
    await keyboard.press("Enter")
    await ana.by("chat-message").filter(has_text="hola").wait_for()
    await tab_to("mute-button")
    await keyboard.press("Space")
    await ana.by("mute-button").filter(has_text="Unmute").wait_for()
    await tab_to("leave-button")
    await keyboard.press("Enter")
    await ana.by("left").wait_for()


async def test_on_a_phone(site: Site, silent: Browser, meet: Meet) -> None:
    """390 × 844: nothing to scroll sideways for, and the call's controls are all on the screen."""
    size = {"width": 390, "height": 844}
    ana = await meet(silent, viewport=size, has_touch=True, is_mobile=True, device_scale_factor=2)

    async def fits() -> None:
        wide = await ana.page.evaluate("() => document.scrollingElement.scrollWidth")
        assert wide <= size["width"], f"{ana.page.url} is {wide} pixels wide"

    await ana.page.goto(site.url)
    await ana.by("create-room").wait_for()
    await fits()
    await ana.prepare(await site.room("A rather long name for a room on a phone"), "Ana María Fernández", "es")
    await fits()
    await ana.by("join-button").tap()
    await ana.connected()
    await fits()
    for control in ("mute-button", "language-switch", "sound-button", "leave-button", "connection-state"):
        box = await ana.by(control).bounding_box()
        assert box is not None, f"{control} is hidden"
        inside = box["x"] >= 0 and box["y"] >= 0
        inside &= box["x"] + box["width"] <= size["width"] and box["y"] + box["height"] <= size["height"]
        assert inside, f"{control} is off the screen: {box}"
    await ana.by("tab-chat").tap()
    await ana.write("hola")
    await ana.by("chat-message").filter(has_text="hola").wait_for()
    await fits()
    await ana.by("tab-people").tap()
    await ana.participant("Ana María Fernández (you)").wait_for()
    await fits()
    await ana.by("sound-button").tap()
    await ana.by("balance").wait_for()
    await fits()


CONTROLS = "button checkbox combobox link listbox searchbox slider spinbutton switch textbox".split()


async def test_every_control_has_a_name(site: Site, silent: Browser, meet: Meet) -> None:
    """As a screen reader is told: the accessibility tree of lobby, prejoin and room, with everything opened."""
    ana, bob = await meet(silent), await meet(silent)
    devtools = await ana.page.context.new_cdp_session(ana.page)

    async def named(least: int) -> None:
        tree = await devtools.send("Accessibility.getFullAXTree")
        found = [
            (node["role"]["value"], node.get("name", {}).get("value", "").strip())
            for node in tree["nodes"]
            if not node["ignored"] and node.get("role", {}).get("value") in CONTROLS
        ]
        assert len(found) >= least, found
        assert [role for role, name in found if not name] == [], found

    room = await site.room()
    await ana.page.goto(site.url)
    await ana.by("room-list").get_by_role("link").first.wait_for()
    await named(3)
    await ana.prepare(room, "Ana", "es")
    await named(7)
    await ana.join()
    await bob.enter(room, "Bob", "en")
    await bob.write("Hello")
    await ana.by("chat-message").wait_for()
    await ana.by("sound-button").click()
    await ana.by("balance").wait_for()
    await named(15)


async def test_screen_readers_are_told_what_was_said(site: Site, talking: Browser, silent: Browser, meet: Meet) -> None:
    """Each final sentence and each message, once, in one's own language, with who said it."""
    room = await site.room()
    bob = await (await meet(talking)).enter(room, "Bob", "en")
    ana = await (await meet(silent)).enter(room, "Ana", "es")
    told = ana.page.locator("[aria-live=polite]")
    said = re.compile("Bob: (" + "|".join(spanish for _, spanish in SURE) + ")", re.IGNORECASE)
    await told.get_by_text(said).first.wait_for(state="attached")
    await bob.write("The results are very important.")
    await told.get_by_text("Message from Bob: Los resultados son muy importantes.").wait_for(state="attached")


async def test_leaving_and_coming_back(site: Site, silent: Browser, meet: Meet) -> None:
    room = await site.room()
    ana = await (await meet(silent)).enter(room, "Ana", "es")
    bob = await (await meet(silent)).enter(room, "Bob", "en")
    await bob.participant("Ana").wait_for()
    await ana.by("leave-button").click()
    await ana.page.get_by_role("heading", name="You left").wait_for()
    await bob.participant("Ana").wait_for(state="detached", timeout=PATIENCE_MS)
    await ana.by("rejoin").click()
    assert await ana.by("name-input").input_value() == "Ana", "the page remembers who one is"
    await ana.join()
    await bob.participant("Ana").wait_for()
    await ana.page.close(run_before_unload=False)
    await bob.participant("Ana").wait_for(state="detached", timeout=PATIENCE_MS)
    ana.page = await ana.page.context.new_page()
