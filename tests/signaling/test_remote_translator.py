"""An engine behind a line: the same words and samples as beside it, and what happens when the line is bad."""

import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import pytest

from models.base import SPEECH_RATE, EngineBroken, EngineBusy, EngineError, EngineFailed, Pcm, Rendering, Transcript
from models.echo import EchoTranslator
from signaling import remote_translator
from signaling.remote_translator import MAX_CALLS, RemoteTranslator, TranslatorService, pack, unpack

TONE = (0.5 * np.sin(np.arange(SPEECH_RATE) / 10)).astype(np.float32)


class Line:
    """`remote_translator.Calls`, with a service at the other end; or with what `instead` does."""

    def __init__(self) -> None:
        self.engine = EchoTranslator()
        self.broken = threading.Event()
        self.service = TranslatorService(self.engine, self.broken.set)
        self.instead: Callable[[], Iterator[Mapping[str, Any]]] | None = None
        self.descriptions = 0
        self.down = 0
        """So many descriptions fail."""

    def describe(self) -> Mapping[str, Any]:
        self.descriptions += 1
        if self.descriptions <= self.down:
            raise ConnectionError
        return self.service.describe()

    def interpret(self, request: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
        return self.instead() if self.instead else self.service.interpret(request)

    def render(self, request: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
        return self.instead() if self.instead else self.service.render(request)


@pytest.fixture
def line() -> Line:
    return Line()


@pytest.fixture
def remote(line: Line) -> Iterator[RemoteTranslator]:
    translator = RemoteTranslator(line, patience=5)
    translator.load(lambda done, doing: None)
    yield translator
    translator.close()


def finish(translator: RemoteTranslator, pcm: Pcm = TONE) -> list[Rendering]:
    recognition = translator.hear("ana", "en", "blue")
    recognition.push(pcm[:8000])
    recognition.push(pcm[8000:])
    recognition.want(["es", "fr"])
    return list(recognition.finish())


def test_a_segment_comes_back_in_all_languages_from_one_call(line: Line, remote: RemoteTranslator) -> None:
    renderings = finish(remote)
    assert [(one.language, one.text) for one in renderings] == [
        ("en", "heard 1.0 s"),
        ("es", "[es] heard 1.0 s"),
        ("fr", "[fr] heard 1.0 s"),
    ]
    speech = renderings[1].speech
    assert speech is not None and speech.sample_rate == SPEECH_RATE
    np.testing.assert_allclose(speech.pcm, TONE, atol=1e-4)
    assert remote.counters()["calls"] == 1 and len(line.engine.heard) == 1


def test_it_is_who_the_engine_is(line: Line, remote: RemoteTranslator) -> None:
    assert (remote.name, remote.notice) == ("echo", line.engine.notice)
    assert list(remote.languages) == list(line.engine.languages)
    assert remote.route("en", "es") == () and remote.route("en", "xx") is None


def test_languages_are_known_before_the_other_end_is_awake(line: Line) -> None:
    assert [one.code for one in RemoteTranslator(line, line.service.describe()).languages][:2] == ["en", "es"]
    assert line.descriptions == 0


@pytest.mark.parametrize("left", ["a string", None, {"name": "old"}, {"languages": [{"code": "en"}]}, {"indirect": 7}])
def test_what_another_version_said_is_asked_anew(line: Line, left: object) -> None:
    """A new version's servers start, whatever the last one has left."""
    known: Any = {**line.service.describe(), "languages": ["en"], **left} if isinstance(left, dict) else left
    remote = RemoteTranslator(line, known)
    assert (remote.languages, remote.route("en", "es"), remote.described) == ([], None, None)
    remote.load(lambda done, doing: None)
    assert remote.route("en", "es") == ()


def test_text_is_translated_and_spoken(remote: RemoteTranslator) -> None:
    texts = list(remote.render(Transcript("hi", "en"), ["es", "xx"], speech=False))
    assert [(one.language, one.text, one.speech) for one in texts] == [("es", "[es] hi", None)]
    assert len(remote.speak("hello", "es").pcm) > 1000
    with pytest.raises(ValueError, match="no voice"):
        remote.speak("hello", "xx")
    assert list(remote.render(Transcript("hi", "en"), ["xx"], speech=False)) == []


def test_interims_are_asked_for_one_at_a_time(line: Line, remote: RemoteTranslator) -> None:
    recognition = remote.hear("ana", "en", "blue")
    recognition.push(TONE)
    assert recognition.interim() is None, "too little is new"
    recognition.push(TONE)
    first = recognition.interim()
    assert first is not None
    assert next(first).text == "heard 2.0 s"
    recognition.cancel()
    assert line.engine.heard == []


def test_many_segments_are_under_way_at_once(line: Line, remote: RemoteTranslator) -> None:
    """Each answers only when all have come: with fewer threads than segments nothing would."""
    everybody = threading.Barrier(8)

    def together() -> Iterator[Mapping[str, Any]]:
        everybody.wait(10)
        yield {"language": "en", "text": "together", "via": (), "speech": None}

    line.instead = together
    lines = []
    for _ in range(8):
        recognition = remote.hear("ana", "en")
        recognition.push(TONE)
        lines.append(recognition.finish())
    assert [next(one).text for one in lines] == ["together"] * 8


def test_too_many_are_refused_at_once(line: Line, remote: RemoteTranslator) -> None:
    gate = threading.Event()

    def wait() -> Iterator[Mapping[str, Any]]:
        gate.wait(10)
        return iter(())

    line.instead = wait
    waiting = []
    for _ in range(MAX_CALLS):
        recognition = remote.hear("ana", "en")
        recognition.push(TONE)
        waiting.append(recognition.finish())
    with pytest.raises(EngineBusy):
        remote.hear("bob", "en")
    gate.set()
    assert [list(one) for one in waiting] == [[]] * MAX_CALLS


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (EngineBusy("later"), EngineBusy),
        (EngineFailed("lost"), EngineFailed),
        (EngineBroken("gone for good"), EngineFailed),
        (EngineError("any"), EngineFailed),
    ],
)
def test_what_an_engine_raises_there_is_raised_here(
    line: Line, remote: RemoteTranslator, raised: EngineError, expected: type[EngineError]
) -> None:
    """But an engine that is broken is one container's: the next call goes to another."""
    line.engine.fail_next = raised
    with pytest.raises(expected, match=str(raised)):
        finish(remote)
    assert line.broken.is_set() is isinstance(raised, EngineBroken)
    assert len(finish(remote)) == 3


def test_a_line_that_breaks_costs_one_segment(line: Line, remote: RemoteTranslator) -> None:
    def die() -> Iterator[Mapping[str, Any]]:
        yield {"language": "en", "text": "half", "via": (), "speech": None}
        raise ConnectionResetError("the container is gone")

    line.instead = die
    recognition = remote.hear("ana", "en")
    recognition.push(TONE)
    answers = recognition.finish()
    assert next(answers).text == "half"
    with pytest.raises(EngineFailed, match="could not be reached"):
        next(answers)
    line.instead = None
    assert len(finish(remote)) == 3
    assert remote.counters()["calls_failed"] == 1


def test_nobody_waits_for_ever(line: Line) -> None:
    remote = RemoteTranslator(line, line.service.describe(), patience=0.05)
    gate = threading.Event()

    def wait() -> Iterator[Mapping[str, Any]]:
        gate.wait(10)
        return iter(())

    line.instead = wait
    with pytest.raises(EngineFailed, match="too long"):
        finish(remote)
    assert remote.counters()["calls_given_up"] == 1
    gate.set()
    remote.close()
    with pytest.raises(EngineFailed, match="closed"):
        finish(remote)


def test_who_cancels_waits_no_more(line: Line, remote: RemoteTranslator) -> None:
    gate = threading.Event()

    def wait() -> Iterator[Mapping[str, Any]]:
        gate.wait(10)
        yield {"language": "en", "text": "too late", "via": (), "speech": None}

    line.instead = wait
    recognition = remote.hear("ana", "en")
    recognition.push(TONE)
    answers = recognition.finish()
    recognition.cancel()
    assert list(answers) == []
    gate.set()


def test_loading_tries_again_and_says_so(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    """For as long as it takes: a server that gave up would interpret nothing as long as it lives."""
    monkeypatch.setattr(remote_translator, "LOAD_PAUSES", (0.0, 0.0, 0.0))
    said: list[str] = []
    line.down = 20
    remote = RemoteTranslator(line)
    remote.load(lambda done, doing: said.append(doing))
    assert remote.name == "echo" and "the interpreter's container does not answer, trying again" in said
    line.down = 99
    closed = RemoteTranslator(line)
    closed.close()
    with pytest.raises(EngineError, match="closed"):
        closed.load(lambda done, doing: None)


def test_an_other_end_that_sleeps_is_woken_once(line: Line, remote: RemoteTranslator) -> None:
    """Not while it has just been heard of."""
    woken = line.descriptions
    remote.prepare("en", "es")
    assert line.descriptions == woken
    asleep = RemoteTranslator(line, line.service.describe())
    asleep.prepare("en", "es")
    asleep.prepare("en", "fr")
    assert line.descriptions == woken + 1


def test_samples_survive_the_way() -> None:
    loud = np.array([-2.0, -1.0, 0.0, 0.25, 1.0, 2.0], np.float32)
    np.testing.assert_allclose(unpack(pack(loud)), np.clip(loud, -1, 1), atol=1 / 32767)
