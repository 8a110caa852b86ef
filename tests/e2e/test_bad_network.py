"""The product on bad networks: Bob talks and Ana listens, both in a Chromium behind a link that the test makes bad."""

import asyncio
import contextlib
import json
import logging
import shlex
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import jiwer
import pytest
import pytest_asyncio
from playwright.async_api import Browser, Playwright

from tests.bench.wer import words
from tests.e2e.conftest import Meet, Start
from tests.e2e.netem import Impairment, Link, Version, emulating, missing
from tests.e2e.people import CHROMIUM, FLAGS, NETWORK_ERRORS, PATIENCE_MS, Person, write_microphone
from tests.e2e.serving import PATIENCE, Site, serving
from tests.sentences import SURE

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.timeout(600),
    pytest.mark.skipif(missing() is not None, reason=f"no network emulator: {missing()}"),
]

T = TypeVar("T")

log = logging.getLogger(__name__)

SAID = [words(english) for english, _ in SURE]
"""By Bob, round and round."""


@dataclass(frozen=True)
class Phase:
    """A while of one call."""

    name: str
    impairment: Impairment
    """Both ways: Bob's voice passes it once, Ana hears the original through it twice."""
    wer: float
    """Word error rate of the captions that is still good; up to 0.1 is the recogniser's own on a busy machine."""


PHASES = [
    Phase("clean", Impairment(), 0.25),
    Phase("1 % lost", Impairment(loss=0.01, delay=0.02), 0.25),
    Phase("5 % lost", Impairment(loss=0.05, delay=0.02), 0.3),
    Phase("10 % lost", Impairment(loss=0.10, delay=0.02), 0.35),
    Phase("5 % lost, 4 in a row", Impairment(loss=0.05, burst=4, delay=0.02), 0.45),
    Phase("30 ms jitter", Impairment(delay=0.05, jitter=0.03), 0.3),
    Phase("60 ms jitter", Impairment(delay=0.08, jitter=0.06), 0.4),
    Phase("mended", Impairment(), 0.25),
]

INBOUND = """async () => [...(await dragoman.call.pc.getStats()).values()]
    .filter(({ type, packetsReceived }) => type === 'inbound-rtp' && packetsReceived)
    .map((report) => ({ ...report, variant: dragoman.call.slots.get(report.mid)?.variant }))"""

ADDRESSES = """async () => {
  const reports = await dragoman.call.pc.getStats();
  const transport = [...reports.values()].find(({ type }) => type === 'transport');
  const pair = reports.get(transport.selectedCandidatePairId);
  return [reports.get(pair.localCandidateId).address, reports.get(pair.remoteCandidateId).address];
}"""

WATCH = """() => {
  window.first = dragoman.call.pc;
  window.left = [];
  dragoman.call.addEventListener('left', ({ detail }) => left.push(detail.name));
}"""

FINALS = """() => Object.fromEntries(witness.captions
    .filter(({ kind, translated }) => kind === 'final' && !translated).map(({ segment, text }) => [segment, text]))"""


@dataclass
class Edge:
    """A link, and a Chromium at its other end whose microphone talks."""

    link: Link
    browser: Browser
    port: int
    """Of the server, here."""

    def url(self, path: str) -> str:
        """Of a page of the server, seen from the other end."""
        return f"{origin(self.link.here, self.port)}{path}"


def origin(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


@contextlib.asynccontextmanager
async def edge_of_the_network(version: Version, playwright: Playwright, folder: Path) -> AsyncIterator[Edge]:
    """A Chromium behind a link of its own, made for a server on a port that was free."""
    with socket.socket() as probe:
        probe.bind(("", 0))
        port = int(probe.getsockname()[1])
    async with emulating(version, seed=1) as link:
        sentences = [english for english, _ in SURE]
        microphone = write_microphone(folder / f"talking-{link.interface}.wav", sentences, pause=2.0)
        chromium = folder / f"chromium-{link.interface}"
        chromium.write_text(f'#!/bin/sh\nexec {shlex.join([*link.enter, str(CHROMIUM)])} "$@"\n')
        chromium.chmod(0o755)
        flags = {
            "use-file-for-fake-audio-capture": microphone,
            "unsafely-treat-insecure-origin-as-secure": origin(link.here, port),  # or there is no microphone
        }
        browser = await playwright.chromium.launch(
            executable_path=chromium,
            args=[*FLAGS, *(f"--{name}={value}" for name, value in flags.items())],
            ignore_default_args=["--mute-audio"],
            timeout=PATIENCE_MS,
        )
        try:
            yield Edge(link, browser, port)
        finally:
            await browser.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def edge(playwright: Playwright, microphones: Path) -> AsyncIterator[Edge]:
    async with edge_of_the_network(4, playwright, microphones) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def edge6(playwright: Playwright, microphones: Path) -> AsyncIterator[Edge]:
    async with edge_of_the_network(6, playwright, microphones) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def clean(edge: Edge) -> AsyncIterator[Link]:
    """The link; good again when people say goodbye, if asked for before `meet`."""
    yield edge.link
    await edge.link.impair(Impairment(), Impairment())


@pytest_asyncio.fixture(loop_scope="module")
async def interpreting(edge: Edge) -> AsyncIterator[Site]:
    """A server that understands what is said."""
    async with serving("--host", "0.0.0.0", "--port", str(edge.port)) as site:
        yield site


def wer(heard: list[str]) -> float:
    """Word error rate of segments, against that stretch of what Bob says which they fit best."""
    rounds = SAID * (len(heard) + 2)
    text = words(" ".join(heard))
    stretches = (
        " ".join(rounds[first : first + count]) for first in range(len(SAID)) for count in range(1, 2 * len(heard) + 2)
    )
    return min(jiwer.wer(stretch, text) for stretch in stretches)


class Listening:
    """What a person heard and read from some time on."""

    def __init__(self, person: Person, since: float, finals: dict[str, str], inbound: list[dict[str, Any]]) -> None:
        self.person = person
        self.since = since
        self._finals = finals
        self._inbound = {report["ssrc"]: report for report in inbound}

    @classmethod
    async def begin(cls, person: Person) -> "Listening":
        page = person.page
        return cls(person, await person.now(), await page.evaluate(FINALS), await page.evaluate(INBOUND))

    async def segments(self) -> list[str]:
        """Final captions in the speaker's language."""
        finals = await self.person.page.evaluate(FINALS)
        return [text for segment, text in finals.items() if segment not in self._finals]

    async def figures(self, variant: str) -> dict[str, float]:
        """Of the receiver of a voice; of the one with most packets, should several carry that variant."""
        best = {"packets": 0.0}
        for report in await self.person.page.evaluate(INBOUND):
            before = self._inbound.get(report["ssrc"], {})

            def gone(name: str, report: dict[str, Any] = report, before: dict[str, Any] = before) -> float:
                return float(report[name] - before.get(name, 0))

            packets, emitted = gone("packetsReceived"), gone("jitterBufferEmittedCount") or 1
            if report["variant"] != variant or packets <= best["packets"]:
                continue
            voiced = gone("totalSamplesReceived") - gone("silentConcealedSamples") or 1
            best = {
                "packets": packets,
                "lost": gone("packetsLost"),
                "fec": gone("fecPacketsReceived"),
                "made_up": round((gone("concealedSamples") - gone("silentConcealedSamples")) / voiced, 4),
                "jitter_buffer_ms": round(gone("jitterBufferDelay") / emitted * 1000),
                "jitter_buffer_target_ms": round(gone("jitterBufferTargetDelay") / emitted * 1000),
                "jitter_ms": round(report["jitter"] * 1000),
                "audio_energy": gone("totalAudioEnergy"),
            }
        return best

    async def understands(self, at_most: float) -> list[str]:
        """Wait for segments, three at least, with no higher word error rate: those."""
        return await self._eventually(self.segments, lambda texts: len(texts) >= 3 and wer(texts) <= at_most)

    async def receives(self, variant: str, made_up: float) -> dict[str, float]:
        """Wait for more than a second of that voice, of which no more was `made_up` to fill holes: its figures."""
        return await self._eventually(
            lambda: self.figures(variant), lambda voice: voice["packets"] > 75 and voice["made_up"] < made_up
        )

    async def _eventually(self, ask: Callable[[], Awaitable[T]], good: Callable[[T], bool]) -> T:
        """Ask until the answer is good."""
        answer = await ask()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE):
                while not good(answer):
                    await self.person.listen("original en", 0.5, await self.person.now())
                    answer = await ask()
        assert good(answer), answer
        return answer


async def test_words_and_voices_come_through(edge: Edge, clean: Link, interpreting: Site, meet: Meet) -> None:
    """One call, on a link that gets worse in one way after the other: read in English, heard in Spanish.

    pytest's --log-cli-level=INFO shows the figures of each phase."""
    room = edge.url((await interpreting.room()).removeprefix(interpreting.url))
    bob = await (await meet(edge.browser)).enter(room, "Bob", "en")
    ana = await (await meet(edge.browser, microphone=False)).enter(room, "Ana", "es")
    everybody = [await person.participant_id() for person in (ana, bob)]
    await ana.page.evaluate(WATCH)
    await ana.by("caption").first.wait_for()
    for phase in PHASES:
        to = phase.impairment
        before = await clean.impair(up=to, down=to)
        ear = await Listening.begin(ana)
        heard = await ear.understands(phase.wer)
        await ana.hear("translation es", 1.5, ear.since)
        voice = await ear.receives("translation", made_up=to.loss + 0.15)
        after = await clean.impair()
        lost = [sum(way.lost for way in ways) for ways in (before, after)]
        overtaken = [sum(way.overtaken for way in ways) for ways in (before, after)]
        assert (lost[1] > lost[0]) == (to.loss > 0), "the link was not as it should be"
        assert to.jitter == 0 or overtaken[1] > overtaken[0], "all packets came in order"
        original, stats = await ear.figures("original"), await interpreting.get("/v1/stats")
        figures = {"wer": wer(heard), "translation": voice, "original": original, "lag_ms": stats["lag_ms"]}
        log.info("%s: %s", phase.name, json.dumps({**figures, "media": stats["media"], "heard": heard}))
    assert [await person.participant_id() for person in (ana, bob)] == everybody
    assert await ana.page.evaluate("() => left") == []
    assert await bob.page.evaluate(ADDRESSES) == [clean.there, clean.here]


async def in_a_call(start: Start, edge: Edge, meet: Meet, silent: Browser) -> tuple[Person, Person, Person]:
    """Bob talks to Ana, who is behind the link as he is, and to Eva, who is close to the server.

    Ana has no microphone: her browser then makes its connections in another way (RFC 8828 §5.2, mode 2)."""
    site = await start("--host", "0.0.0.0", "--port", str(edge.port))
    path = (await site.room()).removeprefix(site.url)
    bob = await (await meet(edge.browser)).enter(edge.url(path), "Bob", "en")
    ana = await (await meet(edge.browser, microphone=False)).enter(edge.url(path), "Ana", "es")
    eva = await (await meet(silent)).enter(origin("127.0.0.1", edge.port) + path, "Eva", "es")
    await hear_english_in_spanish(ana, eva)
    for person in (ana, bob, eva):
        await person.page.evaluate(WATCH)
    return bob, ana, eva


async def hear_english_in_spanish(*listeners: Person) -> None:
    """From now on, the voice and its translation; and they read what is said from now on."""
    for listener in listeners:
        since, finals = await listener.now(), await listener.page.evaluate(FINALS)
        for sound in ("original en", "translation es"):
            await listener.hear(sound, 0.5, since)
        await listener.until(f"(known) => Object.keys(({FINALS})()).some((segment) => !(segment in known))", finals)


async def test_two_seconds_without_a_network(
    start: Start, edge: Edge, clean: Link, silent: Browser, meet: Meet
) -> None:
    """The call goes on by itself, on the same connections, and nobody was ever gone."""
    people = _, ana, eva = await in_a_call(start, edge, meet, silent)
    everybody = [await person.participant_id() for person in people]
    outage = Impairment(loss=1)
    before, _ = await clean.impair(outage, outage)
    await asyncio.sleep(2)  # the outage
    after, _ = await clean.impair(Impairment(), Impairment())
    assert after.delivered - before.delivered <= 1, "there was a network"
    await hear_english_in_spanish(ana, eva)
    for person in people:
        await person.connected()
        assert await person.page.evaluate("() => dragoman.call.pc === first"), "media were left alone"
        assert await person.page.evaluate("() => left") == []
        assert await person.by("participant").count() == 3
        assert await person.by("error").count() == 0
    assert [await person.participant_id() for person in people] == everybody


async def test_another_address(start: Start, edge: Edge, clean: Link, silent: Browser, meet: Meet) -> None:
    """From Wi-Fi to the mobile network, while talking: the pages come back as who they were, with sound both ways."""
    people = bob, ana, eva = await in_a_call(start, edge, meet, silent)
    everybody = [await person.participant_id() for person in people]
    for person in (bob, ana):
        person.forgive(NETWORK_ERRORS)
    await clean.move()
    await bob.until(
        "() => dragoman.call.pc !== first && witness.states.slice(-3).join() === 'connected,reconnecting,connected'"
    )
    assert await bob.page.evaluate(ADDRESSES) == [clean.there, clean.here]
    await hear_english_in_spanish(ana, eva)
    for person in people:
        await person.connected()
        assert await person.by("participant").count() == 3, "a ghost"
        assert await person.page.evaluate("() => left") == []
    assert [await person.participant_id() for person in people] == everybody


@pytest.mark.skipif(not Path("/proc/net/if_inet6").exists(), reason="this kernel has no IPv6")
async def test_ipv6_only(start: Start, edge6: Edge, meet: Meet) -> None:
    """Both talk, and hear each other."""
    site = await start("--host", "::", "--port", str(edge6.port))
    room = edge6.url((await site.room()).removeprefix(site.url))
    people = [await (await meet(edge6.browser)).enter(room, name, "es", "en") for name in ("Ana", "Bob")]
    await hear_english_in_spanish(*people)
    for person in people:
        assert await person.page.evaluate(ADDRESSES) == [edge6.link.there, edge6.link.here]
