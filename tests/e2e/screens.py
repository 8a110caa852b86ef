"""Pictures of the client, taken from the real thing: `python -m tests.e2e.screens OUT_DIR`.

A server, a Chromium whose microphone is a WAV file and who speaks English, somebody who writes French, and one who
listens in Spanish, on a desk and on a phone, by day and by night. Each picture waits for what it shows.
"""

import argparse
import contextlib
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np
from playwright.sync_api import Browser, Page, Playwright, sync_playwright

from tests.sentences import SURE
from tests.speech import flite, peak, write_wav

RATE = 48_000
PAUSE = 3.0
"""Seconds between two sentences: enough for the interpreter to have its say."""

CHROMIUM = "/usr/bin/chromium"
FLAGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --use-fake-ui-for-media-stream --use-fake-device-for-media-stream"
).split()

SIZES = {"desk": (1280, 800), "phone": (390, 844)}
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
PATIENCE_MS = 60_000


@contextlib.contextmanager
def serving() -> Iterator[str]:
    """A server on a free port: its address."""
    command = [sys.executable, "-m", "signaling", "serve", "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert process.stdout is not None
        address = re.search(r"http://\S+", process.stdout.readline())
        if address is None:
            raise RuntimeError(f"{' '.join(command)} did not say where it is")
        yield address[0].rstrip("/")
    finally:
        process.terminate()
        process.wait(timeout=20)


def microphones(folder: Path) -> tuple[Path, Path]:
    """(somebody who says sentence after sentence, somebody who is silent) as WAV files that Chromium repeats."""
    talk, silence = folder / "talk.wav", folder / "silence.wav"
    pause = np.zeros(int(PAUSE * RATE), np.float32)
    pieces = [part for sentence, _ in SURE for part in (pause, peak(flite(sentence, rate=RATE)))]
    write_wav(talk, np.concatenate(pieces), RATE)
    write_wav(silence, pause, RATE)
    return talk, silence


def launch(playwright: Playwright, microphone: Path) -> Browser:
    """Chromium with that file as its microphone."""
    return playwright.chromium.launch(
        executable_path=CHROMIUM,
        args=[*FLAGS, f"--use-file-for-fake-audio-capture={microphone}"],
        ignore_default_args=["--mute-audio"],
    )


def by(page: Page, testid: str, more: str = "") -> str:
    """Wait until the first such element shows; its selector."""
    selector = f"[data-testid={testid}]{more}"
    page.locator(selector).first.wait_for(timeout=PATIENCE_MS)
    return selector


def get_ready(page: Page, room: str, name: str, hear: str, speaks: str) -> None:
    """The room's prejoin screen, filled in."""
    page.goto(room)
    page.fill(by(page, "name-input"), name)
    for testid, value in (("language-select", hear), ("speaks-select", speaks)):
        page.click(by(page, testid))
        page.click(by(page, f"{testid}-dialog", f" [data-value='{value}']"))


def join(page: Page) -> None:
    """From prejoin into the call."""
    page.click(by(page, "join-button"))
    by(page, "connection-state", "[data-state=connected]")


def say(page: Page, text: str) -> None:
    """Write a message."""
    page.fill(by(page, "chat-input"), text)
    page.click(by(page, "chat-send"))


def picture_all(page: Page, guest: Page, address: str, room: str, save: Path, tag: str) -> None:
    """Every state of one look, as `save/STATE-tag.png`."""

    def picture(state: str) -> None:
        page.wait_for_timeout(300)  # transitions
        page.screenshot(path=save / f"{state}-{tag}.png")

    page.goto(address)
    by(page, "room-list", " a")
    picture("lobby")
    page.goto(f"{address}/room/nowhere")
    by(page, "error")
    picture("gone")
    get_ready(page, room, "Lucía Ferrer", "es", "")
    by(page, "mic-status", ":has-text('Say something')")
    picture("prejoin")
    join(page)
    say(guest, "Merci beaucoup, à demain.")
    page.locator("[data-testid=chat-message]").wait_for(state="attached", timeout=PATIENCE_MS)  # on a phone: in its tab
    translated = page.locator("[data-testid=caption] [data-translated=true][data-kind=final]")
    translated.nth(2).wait_for(timeout=PATIENCE_MS)
    picture("room")
    page.click(by(page, "sound-button"))
    picture("sound")
    page.keyboard.press("Escape")
    if page.locator("[data-testid=tab-chat]").is_visible():
        page.click("[data-testid=tab-chat]")
        picture("messages")
        page.click("[data-testid=tab-people]")
        picture("people")
    page.click(by(page, "leave-button"))
    by(page, "left")
    picture("left")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("out", type=Path, help="folder for the PNG files")
    save: Path = parser.parse_args().out
    save.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, serving() as address, sync_playwright() as playwright:
        talk, silence = microphones(Path(folder))
        speaking, listening = launch(playwright, talk), launch(playwright, silence)
        speaker = speaking.new_page(permissions=["microphone"])
        speaker.goto(address)
        speaker.fill(by(speaker, "room-name-input"), "Harbour planning")
        speaker.click(by(speaker, "create-room"))
        speaker.wait_for_url("**/room/*")
        room = speaker.url
        get_ready(speaker, room, "John Carter", "en", "en")
        join(speaker)
        guest = listening.new_page(permissions=["microphone"])
        get_ready(guest, room, "Mélanie Dubois", "fr", "fr")
        join(guest)
        guest.click(by(guest, "mute-button"))
        for size, (width, height) in SIZES.items():
            for scheme in SCHEMES:
                page = listening.new_page(
                    viewport={"width": width, "height": height},
                    color_scheme=scheme,
                    has_touch=size == "phone",
                    permissions=["microphone"],
                )
                picture_all(page, guest, address, room, save, f"{size}-{scheme}")
                page.close()
        speaking.close()
        listening.close()


if __name__ == "__main__":
    main()
