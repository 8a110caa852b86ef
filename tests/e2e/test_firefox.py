"""The same page in Firefox, with somebody in Chromium at the other end."""

import asyncio
import contextlib
import json
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Browser

from tests.e2e.conftest import Meet
from tests.e2e.serving import Site, stop
from tests.sentences import SURE

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(300)]

DRIVER = Path(__file__).with_name("firefox.mjs")
PUPPETEER = DRIVER.parents[1] / "node_modules" / "puppeteer-core"
FIREFOX = next(filter(None, [os.environ.get("FIREFOX"), *map(shutil.which, ("firefox-esr", "firefox"))]), None)
NODE = shutil.which("node")


@contextlib.asynccontextmanager
async def driving(folder: Path, **task: object) -> AsyncIterator[asyncio.subprocess.Process]:
    """The driver at its task; it, its browser and its profile are gone afterwards."""
    assert NODE is not None
    process = await asyncio.create_subprocess_exec(
        NODE,
        str(DRIVER),
        json.dumps(task),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "TMPDIR": str(folder), "HOME": str(folder)},
        start_new_session=True,
    )
    try:
        yield process
    finally:
        await stop(process)


@pytest.mark.skipif(FIREFOX is None, reason="there is no Firefox: install one, or name it in FIREFOX")
@pytest.mark.skipif(NODE is None or not PUPPETEER.exists(), reason="no puppeteer-core: npm install --prefix tests")
async def test_a_spanish_listener_in_firefox(site: Site, talking: Browser, meet: Meet, tmp_path: Path) -> None:
    """Joins through the page, reads and hears Bob in Spanish, and they write to each other."""
    room = await site.room()
    bob = await (await meet(talking)).enter(room, "Bob", "en")
    async with driving(
        tmp_path,
        executable=FIREFOX,
        room=room,
        name="Lucía",
        language="es",
        captions=SURE,
        writes="Los resultados son muy importantes.",
        reads="Tenemos un problema con el ordenador.",
    ) as firefox:
        reading = asyncio.ensure_future(firefox.communicate())  # from the start: its pipes must not fill up
        await bob.participant("Lucía").wait_for()
        await bob.write("We have a problem with the computer.")
        await bob.by("chat-message").filter(has_text="The results are very important.").wait_for()
        out, complaints = await reading
        assert firefox.returncode == 0, complaints.decode()
    seen = json.loads(out)
    assert seen["problems"] == []
    packets = {(slot["variant"], slot["language"]): slot["packets"] for slot in seen["slots"]}
    assert set(packets) == {("original", "en"), ("translation", "es")}
    assert min(packets.values()) > 50, "a second of each voice"
    await bob.participant("Lucía").wait_for(state="detached")
