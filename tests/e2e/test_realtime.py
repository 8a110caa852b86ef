"""An application made for OpenAI's Realtime API, and its unmodified SDK, in Chromium, with our address instead."""

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from aiohttp import web
from playwright.async_api import Browser

from tests.e2e.conftest import Meet, Start
from tests.e2e.people import Person
from tests.e2e.serving import Site

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(300)]

HERE = Path(__file__).parent
SDK = HERE.parent / "node_modules/@openai/agents-realtime/dist/bundle"
"""The package's own bundle, as it is on npm."""

KEY = "sk-of-this-server"
PAGE = """<!doctype html>
<title>An application</title>
<link rel="icon" href="data:,">
<body><script type="module" src="realtime.js"></script>
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def application() -> AsyncIterator[str]:
    """Another web site, whose pages use our server: its origin."""

    async def page(request: web.Request) -> web.Response:
        return web.Response(text=PAGE, content_type="text/html")

    async def script(request: web.Request) -> web.FileResponse:
        return web.FileResponse(HERE / "realtime.js")

    app = web.Application()
    app.add_routes([web.get("/", page), web.get("/realtime.js", script), web.static("/sdk", SDK)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield "http://{}:{}".format(*runner.addresses[0])
    await runner.cleanup()


async def secret(site: Site) -> str:
    """What the application's own server asks for, with the key that its pages never see."""
    headers = {"Authorization": f"Bearer {KEY}"}
    async with site.http.post(f"{site.url}/v1/realtime/client_secrets", json={}, headers=headers) as answer:
        assert answer.status == 200, await answer.text()
        return str((await answer.json())["value"])


async def call(person: Person, application: str, site: Site, key: str = "", instructions: str = "") -> str:
    """The page, and the SDK's connect: the call's id. Without a key the page gets a secret by itself."""
    await person.page.goto(application)
    await person.until("() => window.app")
    connect = "([url, key, instructions]) => app.connect(url, key, instructions)"
    return str(await person.page.evaluate(connect, [site.url, key, instructions]))


async def says(person: Person, role: str, words: str) -> None:
    """Wait until the SDK's history has it."""
    await person.until("([role, words]) => new RegExp(words, 'i').test(app.said(role))", [role, words])


async def until_free(site: Site) -> None:
    while (await site.get("/v1/stats"))["dialogue"]["seats_taken"]:
        pass  # each turn is an HTTP request; the test's time limit ends one that never comes true


async def test_the_sdk_talks_with_the_embedded_partner(
    asking: Browser, application: str, start: Start, meet: Meet
) -> None:
    """It connects, hears a voice, reads both sides' words; what it cannot set is told; it learns of the hang-up."""
    site = await start("--dialogue", "embedded", "--api-key", KEY, "--allow-origin", application)
    ana = await meet(asking)
    call_id = await call(ana, application, site, await secret(site), "Talk like a pirate.")
    assert re.fullmatch(r"rtc_[\w-]+", call_id)
    assert await ana.page.evaluate("app.states") == ["connecting", "connected"]
    await says(ana, "assistant", r"I am a simple program")
    await ana.until("() => app.heard.energy > 0.01")
    assert await ana.page.evaluate("!app.audio.paused && app.audio.srcObject.getAudioTracks().length === 1")
    await says(ana, "user", "time")
    await says(ana, "assistant", r"My clock says \d\d:\d\d\.")
    errors = await ana.page.evaluate("app.errors.map(({ error }) => error.error.param)")
    assert set(errors) == {"session.instructions"}

    types = await ana.page.evaluate("app.events.map(event => event.type)")
    assert types[0] == "session.created" and "session.updated" in types
    for before, after in (
        ("input_audio_buffer.speech_started", "input_audio_buffer.speech_stopped"),
        ("response.created", "response.output_audio_transcript.delta"),
        ("response.output_audio_transcript.delta", "response.output_audio_transcript.done"),
        ("response.output_audio_transcript.done", "response.done"),
        ("output_audio_buffer.started", "output_audio_buffer.stopped"),
        ("conversation.item.input_audio_transcription.completed", "conversation.item.retrieved"),
    ):
        assert types.index(before) < types.index(after)

    headers = {"Authorization": f"Bearer {KEY}"}
    async with site.http.post(f"{site.url}/v1/realtime/calls/{call_id}/hangup", headers=headers) as answer:
        assert answer.status == 200
    await ana.until("() => app.states.at(-1) === 'disconnected'")
    await until_free(site)


async def test_the_sdk_interrupts_the_voice(silent: Browser, application: str, start: Start, meet: Meet) -> None:
    """In the middle of its greeting: it is told so, and there is silence."""
    site = await start("--dialogue", "embedded", "--allow-origin", application)
    cleo = await meet(silent)
    await call(cleo, application, site)
    await cleo.until("() => app.heard.energy > 0.001")
    await cleo.page.evaluate("app.interrupt()")
    await cleo.until("() => app.events.some(event => event.type === 'output_audio_buffer.cleared')")
    words = "app.events.filter(event => event.type === 'response.output_audio_transcript.delta').length"
    before = await cleo.page.evaluate(words)
    await cleo.until("() => app.heard.silence > 3")
    assert await cleo.page.evaluate(words) == before
    assert await cleo.page.evaluate("app.errors") == []


async def test_the_sdk_is_told_why_it_may_not_call(silent: Browser, application: str, start: Start, meet: Meet) -> None:
    """A bad secret, in the SDK's own words; the page may read the answer, though it is of another origin."""
    site = await start("--dialogue", "embedded", "--api-key", KEY, "--allow-origin", application)
    bob = await meet(silent)
    bob.forgive("401")
    with pytest.raises(Exception, match="status 401: That key is not known here, or its time is over"):
        await call(bob, application, site, "ek_of_last_year")
    assert (await site.get("/v1/stats"))["dialogue"]["seats_taken"] == 0
