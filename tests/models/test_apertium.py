"""Translation goes on, whatever is typed and whatever dies."""

import contextlib
import os
import re
import resource
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from models.apertium import Apertium, Pipeline, escape, find_route, installed_pairs, read_mode, unescape
from models.base import EngineFailed

pytestmark = pytest.mark.skipif(("en", "es") not in installed_pairs(), reason="apertium-eng-spa is not installed")

KNOWN = ("The results are very important.", "Los resultados son muy importantes.")


@pytest.fixture(scope="module")
def apertium() -> Iterator[Apertium]:
    translator = Apertium()
    yield translator
    translator.close()


@pytest.fixture
def pipeline() -> Iterator[Pipeline]:
    """English to Spanish, to be killed by a test."""
    one = Pipeline(installed_pairs()["en", "es"], timeout=20)
    yield one
    one.close()


def test_a_sentence(apertium: Apertium) -> None:
    translated = apertium.translate("I will send you the document after the call.", "en", "es")
    assert translated == "Te enviaré el documento después de la llamada."


@pytest.mark.parametrize(
    ("source", "target", "text", "word"),
    [
        ("es", "ca", "Tenemos que cambiar la fecha de la reunión.", "reunió"),
        ("ca", "fr", "Hem de canviar la data de la reunió.", "réunion"),
        ("es", "pt", "Tenemos que cambiar la fecha de la reunión.", "reunião"),
        ("it", "es", "Dobbiamo cambiare la data della riunione.", "reunión"),
        ("gl", "es", "Temos que cambiar a data da reunión.", "fecha"),
        ("es", "en", "Mañana tenemos una reunión.", "meeting"),
        ("en", "fr", "We have a problem with the computer.", "ordinateur"),
    ],
)
def test_other_languages(apertium: Apertium, source: str, target: str, text: str, word: str) -> None:
    if apertium.route(source, target) is None:
        pytest.skip(f"no way from {source} to {target} is installed")
    assert word in apertium.translate(text, source, target)


def test_unknown_words_come_through_unmarked(apertium: Apertium) -> None:
    assert apertium.translate("We like Zqwxyb.", "en", "es").endswith("Zqwxyb.")


@pytest.mark.parametrize(
    "text",
    [
        "[] {} ^$ @ / \\ <b>",
        "<script>alert('x')</script>",
        "^dog<n><sg>$",
        "[[t:b:1]]x[[/]]",
        ".[][\n]",
        "\\",
        "👩‍👧 🇪🇸",
        "日本語 عربى",
        "~5 ~/x 1~2 ~~ [~] \\~ x~",
        "@ @x x@ x@y.org @~@",
    ],
)
def test_reserved_characters_come_through(apertium: Apertium, text: str) -> None:
    translated = apertium.translate(text, "en", "es")
    reserved = "[]{}^$@/\\<>~"
    assert [mark for mark in translated if mark in reserved] == [mark for mark in text if mark in reserved]
    assert all(mark in translated for mark in text if not mark.isascii())


def test_no_direction_swallows_marks(apertium: Apertium) -> None:
    """In all that are installed, one after the other."""
    for source, target in apertium.pipelines:
        translated = apertium.translate("@1 ~2 3~ 4 @ 5@ <6>", source, target)
        assert [mark for mark in translated if mark in "@~<>"] == list("@~~@@<>"), (source, target, translated)


@given(st.text(st.characters(codec=None), max_size=200))
@example("\x00")
@example("a\x00b\x00")
@example("\ud800")
@example("[" * 500)
@example(".[][\n]\x00.[][\n]")
@example("word " * 3_000)
@example("x" * 20_000)
@settings(max_examples=150, deadline=None)
def test_no_text_puts_the_pipeline_out_of_step(apertium: Apertium, text: str) -> None:
    apertium.translate(text, "en", "es").encode()
    assert apertium.translate(KNOWN[0], "en", "es") == KNOWN[1]


@given(st.text())
def test_escaping_is_undone(text: str) -> None:
    assert unescape(escape(text) + ".[][\n]").rstrip() == text.rstrip()


def test_empty_texts(apertium: Apertium) -> None:
    assert apertium.translate("", "en", "es") == ""
    assert apertium.translate(" \n\x00", "en", "es") == ""
    assert apertium.translate("Same.", "en", "en") == "Same."


@pytest.mark.parametrize("position", [0, 5, -1])
def test_a_killed_program_is_not_noticed(pipeline: Pipeline, position: int) -> None:
    assert pipeline.translate(KNOWN[0]).strip() == KNOWN[1]
    before = pipeline.pids
    os.kill(before[position], signal.SIGKILL)
    assert pipeline.translate(KNOWN[0]).strip() == KNOWN[1]
    assert not set(before) & set(pipeline.pids)
    assert not any(Path(f"/proc/{pid}").exists() for pid in before)


def test_a_hanging_program_is_killed(pipeline: Pipeline) -> None:
    impatient = Pipeline(installed_pairs()["en", "es"], timeout=0.5)
    try:
        while not impatient.running:  # on a busy machine its start may itself take longer than that
            try:
                impatient.translate(KNOWN[0])
            except EngineFailed:
                continue
        before = impatient.pids
        os.kill(before[3], signal.SIGSTOP)
        with pytest.raises(EngineFailed, match="translator"):
            impatient.translate(KNOWN[0])
        assert not impatient.running
        assert not any(Path(f"/proc/{pid}").exists() for pid in before)
    finally:
        impatient.close()


def test_a_program_that_writes_without_end_is_killed(tmp_path: Path) -> None:
    """At once, with what it has written."""
    writer, mode = tmp_path / "writer", tmp_path / "eng-spa.mode"
    writer.write_text("#!/bin/sh\nexec yes\n")
    writer.chmod(0o755)
    mode.write_text(str(writer))
    endless = Pipeline(mode, timeout=30)
    with pytest.raises(EngineFailed, match="translator") as failed:
        endless.translate("hello")
    assert re.search(r" 1\d{6} bytes", str(failed.value.__cause__)) and not endless.running
    endless.close()


def test_descriptors_may_be_many(pipeline: Pipeline) -> None:
    """As of a server with a thousand connections."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 2048:
        pytest.skip(f"only {hard} files may be open here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2048), hard))
    with contextlib.ExitStack() as connections:
        connections.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        while connections.enter_context(open(os.devnull)).fileno() < 1024:
            pass
        assert pipeline.translate(KNOWN[0]).strip() == KNOWN[1]


def test_closing_does_not_wait_for_a_program_that_hangs() -> None:
    """Who waits for it is told at once."""
    patient = Pipeline(installed_pairs()["en", "es"], timeout=1_000)
    patient.translate(KNOWN[0])
    os.kill(patient.pids[3], signal.SIGSTOP)
    with ThreadPoolExecutor(1) as thread:
        waiting = thread.submit(patient.translate, KNOWN[0])
        while not patient._lock.locked():
            pass
        patient.close()
        with pytest.raises(EngineFailed):
            waiting.result()
    assert not patient.running


def test_a_program_that_cannot_start_is_an_engine_failure(tmp_path: Path) -> None:
    mode = tmp_path / "eng-spa.mode"
    mode.write_text("no-such-program-anywhere '/x.bin' | lt-proc $1 '/y.bin'\n")
    broken = Pipeline(mode, timeout=5)
    with pytest.raises(EngineFailed):
        broken.translate("hello")
    assert not broken.running
    broken.close()


def test_chains_beyond_the_limit_are_stopped(apertium: Apertium) -> None:
    few = Apertium(max_running=1)
    try:
        if ("es", "ca") not in few.pipelines:
            pytest.skip("apertium-spa-cat is not installed")
        few.translate(KNOWN[0], "en", "es")
        few.translate(KNOWN[1], "es", "ca")
        assert [pair for pair, one in few.pipelines.items() if one.running] == [("es", "ca")]
        assert few.translate(KNOWN[0], "en", "es") == KNOWN[1]
        assert [pair for pair, one in few.pipelines.items() if one.running] == [("en", "es")]
    finally:
        few.close()


def test_nothing_runs_after_close() -> None:
    translator = Apertium()
    translator.prepare("en", "es")
    pids = translator.pipelines["en", "es"].pids
    translator.close()
    translator.close()
    assert pids and not any(Path(f"/proc/{pid}").exists() for pid in pids)
    with pytest.raises(EngineFailed, match="closed"):
        translator.translate("hello", "en", "es")


def test_routes() -> None:
    pairs = dict.fromkeys([("en", "es"), ("es", "fr"), ("en", "ca"), ("ca", "fr"), ("es", "it"), ("en", "gl")])
    assert find_route(pairs, "en", "en") == ()
    assert find_route(pairs, "en", "es") == ()
    assert find_route(pairs, "en", "it") == ("es",)
    assert find_route(pairs, "en", "fr") == ("ca",)  # French is better by way of Catalan
    assert find_route(pairs, "it", "en") is None
    assert find_route({("en", "gl"): None, ("gl", "pt"): None}, "en", "pt") == ("gl",)
    # Two languages in between would leave nothing of the meaning.
    assert find_route({("en", "es"): None, ("es", "ca"): None, ("ca", "fr"): None}, "en", "fr") is None


def test_what_is_installed_is_found_under_either_name(tmp_path: Path) -> None:
    for name in ("eng-spa", "es-fr", "fra-cat_pre2017", "xxx-yyy"):
        (tmp_path / f"{name}.mode").touch()
    assert set(installed_pairs(tmp_path)) == {("en", "es"), ("es", "fr")}
    assert installed_pairs(tmp_path / "nowhere") == {}


def test_the_environment_says_where_modes_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APERTIUM_MODES", str(tmp_path))
    assert installed_pairs() == {}


def test_a_mode_file_is_read_as_null_flush_commands(tmp_path: Path) -> None:
    mode = tmp_path / "a-b.mode"
    mode.write_text("lt-proc '/data/a b.bin' | apertium-tagger -g $2 'x.prob' | lt-proc $1 'y.bin'\n\n")
    assert read_mode(mode) == [
        ["lt-proc", "-z", "/data/a b.bin"],
        ["apertium-tagger", "-z", "-g", "x.prob"],
        ["lt-proc", "-z", "-n", "y.bin"],
    ]
