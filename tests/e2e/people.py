"""People in front of real browsers: what they do with the page, and what they saw and heard there."""

import contextlib
import os
import re
import shutil
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from playwright.async_api import Browser, BrowserContext, Dialog, Locator, Page, Playwright

from tests.e2e.serving import PATIENCE
from tests.speech import flite, peak, write_wav

PATIENCE_MS = PATIENCE * 1000
MICROPHONE_RATE = 48_000
WITNESS = Path(__file__).with_name("witness.js")

Sound = tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]
"""(milliseconds since 1970, RMS) of every 10 ms."""

CHROMIUM = next(
    filter(None, [os.environ.get("CHROMIUM"), *map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))]),
    None,
)
FLAGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --use-fake-device-for-media-stream "
    "--autoplay-policy=no-user-gesture-required"
).split()
"""Not --use-fake-ui-for-media-stream: it would allow the microphone to everybody, and one test is about being refused.
The contexts that may use it say so."""

NETWORK_ERRORS = r"net::ERR_|WebSocket connection to .* failed"
"""What Chromium itself writes to the console when nobody answers."""


def write_microphone(path: Path, sentences: Iterable[str], lead: float = 2.0, pause: float = 3.0) -> Path:
    """A WAV file for Chromium to play as a microphone, from when the page opens it on, again and again.

    Each sentence is followed by `pause` seconds for the interpreter to have its say.
    """
    after = np.zeros(int(pause * MICROPHONE_RATE), np.float32)
    parts = [part for sentence in sentences for part in (peak(flite(sentence, rate=MICROPHONE_RATE)), after)]
    write_wav(path, np.concatenate([np.zeros(int(lead * MICROPHONE_RATE), np.float32), *parts]), MICROPHONE_RATE)
    return path


@contextlib.asynccontextmanager
async def chromium(playwright: Playwright, microphone: Path, loop: bool = True) -> AsyncIterator[Browser]:
    """A Chromium of its own: the microphone's file belongs to the process."""
    source = f"{microphone}" if loop else f"{microphone}%noloop"
    browser = await playwright.chromium.launch(
        executable_path=CHROMIUM,
        args=[*FLAGS, f"--use-file-for-fake-audio-capture={source}"],
        ignore_default_args=["--mute-audio"],  # Playwright's default; muted, nothing can be heard
        timeout=PATIENCE_MS,
    )
    try:
        yield browser
    finally:
        await browser.close()


class Person:
    """One page of one browser context."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.problems: list[str] = []
        """What a developer would find in the console, and dialogs. A test that provokes some forgives them."""
        self._forgiven: list[str] = []
        page.on("console", lambda message: message.type == "error" and self.problems.append(message.text))
        page.on("pageerror", lambda error: self.problems.append(f"uncaught: {error}"))
        page.on("dialog", self._on_dialog)
        page.on("crash", lambda _: self.problems.append("the page crashed"))

    async def _on_dialog(self, dialog: Dialog) -> None:
        self.problems.append(f"dialog: {dialog.message}")
        await dialog.dismiss()

    @classmethod
    async def arrive(cls, browser: Browser, microphone: bool = True, **options: Any) -> "Person":
        """A new profile, and an empty page in it. Without `microphone` the page may not use it."""
        options = {"permissions": ["microphone"] if microphone else [], "locale": "en-GB", **options}
        context: BrowserContext = await browser.new_context(**options)
        context.set_default_timeout(PATIENCE_MS)
        await context.add_init_script(path=WITNESS)
        return cls(await context.new_page())

    def forgive(self, pattern: str) -> None:
        """The test breaks something, and the browser will say so."""
        self._forgiven.append(pattern)

    @property
    def complaints(self) -> list[str]:
        """Problems that no test asked for."""
        return [problem for problem in self.problems if not any(re.search(one, problem) for one in self._forgiven)]

    def by(self, testid: str, more: str = "") -> Locator:
        """Elements with that data-testid."""
        return self.page.locator(f"[data-testid={testid}]{more}")

    # doing

    async def prepare(self, room: str, name: str, hear: str, speaks: str = "") -> None:
        """The room's page, filled in up to the join button."""
        await self.page.goto(room)
        await self.fill_in(name, hear, speaks)

    async def fill_in(self, name: str, hear: str, speaks: str = "") -> None:
        """Name and languages, before joining; the microphone is open or known to be refused."""
        await self.by("name-input").fill(name)
        await self.choose("language-select", hear)
        await self.choose("speaks-select", speaks)
        await self.by("mic-status").filter(has_text=re.compile(r"Say something|only listen")).wait_for()

    async def choose(self, testid: str, value: str) -> None:
        """A language, from one of the pickers."""
        await self.by(testid).click()
        await self.by(f"{testid}-dialog").locator(f"[role=option][data-value='{value}']").click()

    async def join(self) -> None:
        """From the join button into the call."""
        await self.by("join-button").click()
        await self.connected()

    async def enter(self, room: str, name: str, hear: str, speaks: str = "") -> "Person":
        """All of it."""
        await self.prepare(room, name, hear, speaks)
        await self.join()
        return self

    async def connected(self) -> None:
        await self.by("connection-state", "[data-state=connected]").wait_for()

    async def write(self, text: str) -> None:
        """A chat message."""
        await self.by("chat-input").fill(text)
        await self.by("chat-send").click()

    async def go(self) -> None:
        """Out of the room, and out of the browser."""
        await self.page.evaluate("() => window.dragoman?.call?.leave()")
        await self.page.context.close()

    # seeing

    async def until(self, expression: str, argument: Any = None) -> Any:
        """Wait until a JavaScript function of `argument` returns something true: that."""
        handle = await self.page.wait_for_function(expression, arg=argument, polling=50)
        return await handle.json_value()

    def caption(self, translated: str, original: str) -> Locator:
        """Turns whose final words in one's own language hold these, and so do the original's."""
        entry = self.by("caption")
        for flag, text in (("true", translated), ("false", original)):
            entry = entry.filter(
                has=self.page.locator(f"[data-kind=final][data-translated={flag}]", has_text=text.rstrip("."))
            )
        return entry

    def participant(self, name: str) -> Locator:
        """Somebody's tile."""
        return self.by("participant").filter(has_text=name)

    async def participant_id(self) -> str:
        return str(await self.page.evaluate("() => dragoman.call.participant.id"))

    async def texts(self, testid: str) -> list[str]:
        return await self.by(testid).all_inner_texts()

    async def seen(self, what: str) -> Any:
        """What the witness noted: `states`, `captions`, `played`."""
        return await self.page.evaluate("what => witness[what]", what)

    # hearing

    async def now(self) -> float:
        """Milliseconds since 1970 by the witness's clock."""
        return float(await self.page.evaluate("() => witness.now()"))

    async def hear(self, sound: str, seconds: float, since: float = 0.0) -> None:
        """Wait until that much of it was louder than -40 dBFS."""
        await self.until("([sound, since, seconds]) => witness.loud(sound, since) >= seconds", [sound, since, seconds])

    async def listen(self, sound: str, seconds: float, since: float) -> float:
        """Wait until that much of it went by, silent or not; the seconds of it that were loud."""
        await self.until("([sound, since, s]) => witness.seconds(sound, since) >= s", [sound, since, seconds])
        return float(await self.page.evaluate("([sound, since]) => witness.loud(sound, since)", [sound, since]))

    async def sound(self, name: str) -> Sound:
        """All that was heard of it."""
        frames = await self.page.evaluate("name => witness.sounds[name] ?? []", name)
        table = np.array(frames, np.float64).reshape(-1, 2)
        return table[:, 0], table[:, 1]

    async def first_loud(self, name: str) -> float:
        """When it was louder than -40 dBFS for the first time, in milliseconds since 1970."""
        at, rms = await self.sound(name)
        return float(at[rms > 0.01][0])
