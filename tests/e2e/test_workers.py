"""A worker dies under two browsers: their pages come back by themselves, and nothing that was said is missing."""

import os
import signal

import pytest
from playwright.async_api import Browser

from tests.e2e.conftest import Meet, Start
from tests.e2e.people import NETWORK_ERRORS

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(300)]

NOTE_FINALS = """() => {
  window.finals = [];
  dragoman.call.addEventListener('caption', ({ detail: { final } }) => {
    if (final) finals.push(`${final.segment_id} ${final.language}`);
  });
}"""

NEW_CONNECTION = "() => dragoman.call.pc?.connectionState === 'connected' && dragoman.call.pc !== firstConnection"


async def test_the_page_comes_back_when_its_worker_is_killed(
    start: Start, talking: Browser, silent: Browser, meet: Meet
) -> None:
    """No click: the same person, the voice again, every caption once."""
    site = await start("--workers", "2", "--dialogue", "none")
    room = await site.room()
    bob = await (await meet(talking)).enter(room, "Bob", "en")
    ana = await (await meet(silent)).enter(room, "Ana", "es")
    ids = [await person.participant_id() for person in (bob, ana)]
    for person in (bob, ana):
        person.forgive(NETWORK_ERRORS)
        await person.page.evaluate("() => { window.firstConnection = dragoman.call.pc; }")
    await ana.page.evaluate(NOTE_FINALS)
    await ana.until("() => finals.length >= 2")
    await ana.hear("original en", 0.5)

    (victim,) = [one["pid"] for one in (await site.get("/v1/stats"))["workers"] if one["participants"]]
    os.kill(victim, signal.SIGKILL)
    for person in (bob, ana):
        await person.until(NEW_CONNECTION)
        await person.connected()
    since = await ana.now()
    for variant in ("original en", "translation es"):
        await ana.hear(variant, 0.5, since)
    assert [await person.participant_id() for person in (bob, ana)] == ids
    for person in (bob, ana):
        assert await person.by("participant").count() == 2
        assert (await person.seen("states"))[-3:] == ["connected", "reconnecting", "connected"]

    count = await ana.page.evaluate("() => finals.length")
    await ana.until("count => finals.length >= count + 2", count)
    lines = await site.get(f"/v1/rooms/{room.rpartition('/')[2]}/transcript?language=es")
    said = [f"{line['segment_id']} {language}" for line in lines for language in ("en", "es")]
    said = said[said.index(await ana.page.evaluate("() => finals[0]")) :]  # not what was said before she looked
    await ana.until("said => said.every((one) => finals.includes(one))", said)
    assert await ana.page.evaluate("() => new Set(finals).size === finals.length"), "a caption came twice"
