"""Choosing a language: few and many, by pointer, keyboard and ear, on a desk and on a phone."""

import json

import pytest
from playwright.async_api import Browser, Locator, Route

from models.languages import LANGUAGES
from tests.e2e.conftest import Meet, Start
from tests.e2e.people import Person

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(300)]

MANY = [
    {
        "code": code,
        "name": tongue.name,
        "english": tongue.english,
        "speech_in": tongue.heard,
        "speech_out": tongue.speaker is not None,
        "text": tongue.text,
        "from": {source: [] for source in LANGUAGES} if tongue.text else {},
    }
    for code, tongue in LANGUAGES.items()
]
"""As an engine that knows all of SeamlessM4T-v2's languages would list them."""

VOICE, CAPTIONS = "Voice and captions", "Captions only"


async def before_joining(start: Start, meet: Meet, browser: Browser, **options: object) -> Person:
    """Somebody on the page of a room whose engine knows a hundred languages."""
    site = await start()
    ana = await meet(browser, **options)

    async def answer(route: Route) -> None:
        await route.fulfill(content_type="application/json", body=json.dumps(MANY))

    await ana.page.route("**/v1/languages", answer)
    await ana.page.goto(await site.room())
    await ana.by("language-select").wait_for()
    return ana


def group(person: Person, heading: str) -> Locator:
    return person.page.get_by_role("dialog").get_by_role("group", name=heading, exact=True)


async def values(options: Locator) -> list[str]:
    return [str(value) for value in await options.evaluate_all("all => all.map(one => one.dataset.value)")]


async def offered(person: Person) -> list[str]:
    """Codes, in the order shown."""
    return await values(person.page.get_by_role("dialog").get_by_role("option"))


async def active(person: Person) -> str:
    """What Enter would choose, by what a screen reader is told."""
    at = "document.activeElement.getAttribute('aria-activedescendant')"
    return str(await person.page.evaluate(f"() => document.getElementById({at})?.dataset.value"))


async def test_one_sees_what_is_spoken_and_what_is_written_only(start: Start, silent: Browser, meet: Meet) -> None:
    """Of a hundred languages; those that are only understood are not to be heard, but can be spoken."""
    ana = await before_joining(start, meet, silent)
    await ana.by("language-select").click()
    spoken = await values(group(ana, VOICE).get_by_role("option"))
    written = await values(group(ana, CAPTIONS).get_by_role("option"))
    assert set(spoken) == {code for code, tongue in LANGUAGES.items() if tongue.speaker is not None}
    assert set(written) == {code for code, tongue in LANGUAGES.items() if tongue.text} - set(spoken)
    assert await offered(ana) == spoken + written
    await group(ana, CAPTIONS).get_by_role("option", name="Euskara Basque").click()
    assert await ana.by("language-select").inner_text() == "Euskara — Basque"
    await ana.page.get_by_text("Captions only: Basque has no voice here.").wait_for()

    await ana.by("speaks-select").click()
    assert (await offered(ana))[:2] == ["", "auto"]
    understood = await values(group(ana, "Understood when spoken").get_by_role("option"))
    assert "ast" in understood and "sat" not in understood
    assert await values(group(ana, "Only typed words are translated").get_by_role("option")) == ["sat"]
    await ana.page.keyboard.press("Escape")


SEARCHES = [
    *[("español", "es"), ("espanol", "es"), ("SPAN", "es"), ("es", "es"), ("turkce", "tr"), ("日本", "ja")],
    *[("zh-hant", "zh-Hant"), ("farsi", "fa"), ("العر", "ar"), ("o'zbek", "uz"), ("azerb", "az"), ("tieng", "vi")],
    *[("hindi", "hi"), ("bokmal", "nb"), ("spanisch", "es"), ("niederl", "nl")],
]


async def test_searching(start: Start, silent: Browser, meet: Meet) -> None:
    """By its own name, its English one, that in the browser's language (German here), its code; accents optional."""
    ana = await before_joining(start, meet, silent, locale="de-DE")
    await ana.by("language-select").click()
    everything = await offered(ana)
    search = ana.by("language-select-search")
    found = {}
    for typed, _ in SEARCHES:
        await search.fill(typed)
        found[typed] = await active(ana)
        assert 1 <= len(await offered(ana)) < len(everything) / 2
    assert found == dict(SEARCHES)
    await search.fill("ivrit")
    await ana.page.get_by_text("Nothing matches “ivrit”.").wait_for()
    assert await offered(ana) == []
    await ana.page.keyboard.press("Enter")
    await search.fill("")
    assert await offered(ana) == everything and await active(ana) == "de"
    await search.fill("nie")
    await ana.page.keyboard.press("Enter")
    assert await ana.by("language-select").get_attribute("value") == "nl"


async def test_with_keys_alone(start: Start, silent: Browser, meet: Meet) -> None:
    """Arrows, pages and ends move; Enter chooses; Escape leaves all as it was; letters open it and search."""
    ana = await before_joining(start, meet, silent)
    button, press = ana.by("language-select"), ana.page.keyboard.press
    await button.focus()
    assert await button.get_attribute("value") == "en" and await button.get_attribute("aria-expanded") == "false"
    await press("ArrowDown")
    assert await button.get_attribute("aria-expanded") == "true"
    everything = await offered(ana)
    at = everything.index("en")
    assert await active(ana) == "en"
    await press("ArrowDown")
    assert await active(ana) == everything[at + 1]
    await press("ArrowUp")
    await press("ArrowUp")
    assert await active(ana) == everything[at - 1]
    await press("End")
    await press("ArrowDown")
    assert await active(ana) == everything[-1]
    last = ana.page.locator(f"[data-testid=language-select-dialog] [data-value={everything[-1]}]")
    assert await last.evaluate(
        "one => one.getBoundingClientRect().bottom <= one.closest('dialog').getBoundingClientRect().bottom"
    )
    await press("PageUp")
    await press("PageDown")
    assert await active(ana) == everything[-1]
    await press("Home")
    assert await active(ana) == everything[0]
    await press("Escape")
    assert await button.get_attribute("value") == "en"
    assert await ana.page.evaluate("() => document.activeElement.dataset.testid") == "language-select"
    await ana.page.wait_for_selector("[data-testid=language-select][aria-expanded=false]")
    await ana.page.keyboard.type("cata")
    assert await active(ana) == "ca"
    await press("Enter")
    assert await button.get_attribute("value") == "ca"
    assert await ana.page.evaluate("() => document.activeElement.dataset.testid") == "language-select"
    assert await ana.by("join-button").is_visible(), "Enter in the field sent no form"


async def test_by_ear(start: Start, silent: Browser, meet: Meet) -> None:
    """The button says what is chosen, the list how it is divided, a search how much it found."""
    ana = await before_joining(start, meet, silent)
    await ana.page.get_by_role("button", name="I want to hear English").click()
    dialog = ana.page.get_by_role("dialog", name="I want to hear")
    field = dialog.get_by_role("combobox", name="Search: I want to hear")
    assert await field.get_attribute("aria-controls") == await dialog.get_by_role("listbox").get_attribute("id")
    assert await dialog.get_by_role("option", selected=True).all_inner_texts() == ["English"]
    await dialog.get_by_role("option", name="Bahasa Indonesia Indonesian").wait_for()
    assert await dialog.locator("bdi[lang=ar]").inner_text() == "العربية"
    await field.fill("norweg")
    await dialog.get_by_role("status").get_by_text("2 matches").wait_for(state="attached")
    await ana.page.keyboard.press("Escape")


async def test_the_choice_is_remembered(start: Start, silent: Browser, meet: Meet) -> None:
    """Over a reload, without joining. An engine that does not have it gets what the browser asks for."""
    ana = await before_joining(start, meet, silent, locale="zh-TW")
    assert await ana.by("language-select").get_attribute("value") == "zh-Hant", "the browser's own, by its script"
    await ana.choose("language-select", "sw")
    await ana.choose("speaks-select", "auto")
    await ana.page.reload()
    assert await ana.by("language-select").get_attribute("value") == "sw"
    assert await ana.by("speaks-select").get_attribute("value") == "auto"
    await ana.page.unroute("**/v1/languages")
    await ana.page.reload()
    assert await ana.by("language-select").get_attribute("value") == "en"


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_on_a_phone(start: Start, silent: Browser, meet: Meet, scheme: str) -> None:
    """A sheet over the page: the keyboard does not jump up, fingers find their aim, and a way back is in sight."""
    phone = {"width": 390, "height": 844}
    ana = await before_joining(
        start, meet, silent, viewport=phone, has_touch=True, is_mobile=True, color_scheme=scheme, device_scale_factor=2
    )
    await ana.by("language-select").tap()
    dialog = ana.page.get_by_role("dialog")
    box = await dialog.bounding_box()
    assert box is not None and (box["x"], box["width"]) == (0, 390) and 700 < box["height"] < 844
    assert await ana.page.evaluate("() => document.activeElement.getAttribute('role')") == "listbox"
    heights = await dialog.get_by_role("option").evaluate_all("all => all.map(one => one.offsetHeight)")
    assert min(heights) >= 44
    assert await ana.page.evaluate("() => document.scrollingElement.scrollWidth") <= 390
    colours = await dialog.evaluate("one => [getComputedStyle(one).color, getComputedStyle(one).backgroundColor]")
    ink, paper = (sum(map(int, colour.removeprefix("rgb(").rstrip(")").split(", "))) for colour in colours)
    assert (ink < 200 and paper > 600) if scheme == "light" else (ink > 600 and paper < 200)
    await dialog.get_by_role("button", name="Close").tap()
    await dialog.wait_for(state="hidden")
    await ana.by("language-select").tap()
    await ana.page.touchscreen.tap(195, 10)  # beside it
    await dialog.wait_for(state="hidden")
    await ana.by("language-select").tap()
    await dialog.get_by_role("option", name="Italiano Italian").tap()
    assert await ana.by("language-select").get_attribute("value") == "it"


async def test_in_the_call_letters_are_for_the_search(start: Start, silent: Browser, meet: Meet) -> None:
    """M mutes nobody, Escape closes the list and not what it was opened from."""
    site = await start()
    ana = await (await meet(silent)).enter(await site.room(), "Ana", "en")
    await ana.by("language-switch").focus()
    await ana.page.keyboard.type("m")
    await ana.page.keyboard.type("m")
    assert await ana.by("language-switch-search").input_value() == "mm"
    await ana.page.keyboard.press("Escape")
    assert "Unmute" not in await ana.by("mute-button").inner_text()
    await ana.by("sound-button").click()
    await ana.by("speaks-switch").click()
    await ana.by("speaks-switch-dialog").wait_for()
    await ana.page.keyboard.press("Escape")
    await ana.by("speaks-switch-dialog").wait_for(state="hidden")
    assert await ana.by("balance").is_visible()
    await ana.page.keyboard.press("Escape")
    await ana.by("balance").wait_for(state="hidden")
