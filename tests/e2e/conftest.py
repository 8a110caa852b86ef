"""A server, browsers and people for one module's tests."""

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Playwright, async_playwright

from tests.e2e.people import CHROMIUM, Person, chromium, write_microphone
from tests.e2e.serving import Network, Site, serving
from tests.sentences import SURE

Meet = Callable[..., Awaitable[Person]]
"""`meet(browser, **context_options)`: a person with a page of their own."""

Start = Callable[..., Awaitable[Site]]
"""`start(*flags)`: a server of one's own."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site() -> AsyncIterator[Site]:
    """The real server with the embedded engine, ready."""
    async with serving() as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def playwright() -> AsyncIterator[Playwright]:
    if CHROMIUM is None:
        pytest.fail("there is no Chromium: install one, or name it in CHROMIUM")
    async with async_playwright() as running:
        yield running


@pytest.fixture(scope="module")
def microphones(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for WAV files."""
    return tmp_path_factory.mktemp("microphones")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def talking(playwright: Playwright, microphones: Path) -> AsyncIterator[Browser]:
    """A Chromium whose microphone says sentence after sentence in English."""
    sentences = [english for english, _ in SURE]
    async with chromium(playwright, write_microphone(microphones / "talking.wav", sentences)) as browser:
        yield browser


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def silent(playwright: Playwright, microphones: Path) -> AsyncIterator[Browser]:
    """A Chromium in a quiet room."""
    async with chromium(playwright, write_microphone(microphones / "silent.wav", [])) as browser:
        yield browser


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def asking(playwright: Playwright, microphones: Path) -> AsyncIterator[Browser]:
    """A Chromium whose microphone asks for the time, again and again, with enough room for an answer."""
    path = write_microphone(microphones / "asking.wav", ["Do you know what time it is now?"], lead=12.0, pause=6.0)
    async with chromium(playwright, path) as browser:
        yield browser


@pytest_asyncio.fixture(loop_scope="module")
async def start() -> AsyncIterator[Start]:
    """Starts servers that need no recogniser. Ask for it before `meet`, so that people leave before their server."""
    async with contextlib.AsyncExitStack() as servers:

        async def run(*flags: str) -> Site:
            return await servers.enter_async_context(serving("--translator", "echo", *flags))

        yield run


@pytest_asyncio.fixture(loop_scope="module")
async def network(site: Site) -> AsyncIterator[Network]:
    """Another way to the server, which can fail. Ask for it before `meet`, or people find no way to say goodbye."""
    async with Network(site) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def meet() -> AsyncIterator[Meet]:
    """Lets people arrive; at the end they leave, and none of their browsers has had anything to complain about."""
    people: list[Person] = []
    async with contextlib.AsyncExitStack() as leaving:

        async def arrive(browser: Browser, **options: Any) -> Person:
            person = await Person.arrive(browser, **options)
            leaving.push_async_callback(person.go)
            people.append(person)
            return person

        yield arrive
    assert [person.complaints for person in people] == [[]] * len(people)
