"""The composition root."""

from pathlib import Path

import pytest

from signaling.engines import TRANSLATORS, build_dialogue, build_engine, build_streaming
from signaling.settings import Settings


@pytest.mark.parametrize("name", sorted(set(TRANSLATORS) - {"auto"}))
async def test_every_engine_can_be_built_and_closed_without_loading(name: str) -> None:
    """Its languages and its notice are known before it is ready: the page shows them while it warms up."""
    engine = build_engine(Settings(translator=name))
    assert engine.state == "warming"
    assert any(language.speech_in for language in engine.translator.languages)
    assert name in (engine.translator.name, "auto")
    await engine.close()


def test_left_to_itself_it_takes_what_the_machine_has(tmp_path: Path) -> None:
    """Without SeamlessM4T's weights, the embedded engine."""
    assert build_engine(Settings(seamless_model=str(tmp_path))).translator.name == "embedded"


@pytest.mark.parametrize("name", ["auto", "embedded"])
async def test_where_there_is_no_gpu_the_embedded_partner_talks(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without loading anything."""
    monkeypatch.setattr("models.weights.has_gpu", lambda: False)
    dialogue = build_dialogue(Settings(dialogue=name))
    assert dialogue is not None and (dialogue.dialogue.name, dialogue.state) == ("embedded", "warming")
    await dialogue.close()


@pytest.mark.parametrize("settings", [Settings(voice="moshika"), Settings(dialogue="embedded", voice="partner")])
async def test_a_voice_of_moshi_is_no_obstacle_where_it_is_not(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who leaves the choice to the machine has the voice that it has."""
    monkeypatch.setattr("models.weights.has_gpu", lambda: False)
    dialogue = build_dialogue(settings)
    assert dialogue is not None and dialogue.voice == "partner"
    await dialogue.close()


def test_a_voice_may_be_left_out() -> None:
    assert build_dialogue(Settings(dialogue="none")) is None


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (Settings(dialogue="moshi", voice="caruso"), "moshi has no voice 'caruso'; there are: moshiko, moshika"),
        (Settings(dialogue="moshi", voice="caruso", moshi_model="my/moshi"), "there are: moshiko, moshika"),
        (Settings(dialogue="embedded", voice="moshika"), "embedded has no voice 'moshika'; there are: partner"),
        (Settings(dialogue="auto", voice="caruso"), "there are: moshiko, moshika, partner"),
        (Settings(dialogue="none", voice="moshiko"), "none has no voice 'moshiko'; there are: none"),
        (Settings(dialogue="moshi", moshi_model="no/where"), "fetch-models --dialogue moshi"),
        (Settings(dialogue="babelfish"), "'babelfish'.*auto, embedded, moshi, none"),
    ],
)
def test_a_voice_that_is_not_there_is_explained(settings: Settings, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        build_dialogue(settings)


def test_a_hibiki_is_nobody_to_talk_with() -> None:
    pytest.importorskip("moshi")
    from tests.models.tiny_moshi import checkpoint

    with pytest.raises(ValueError, match="holds a Hibiki, which interprets and answers nobody: give it to --hibiki"):
        build_dialogue(Settings(dialogue="moshi", moshi_model=str(checkpoint("hibiki"))))


@pytest.mark.parametrize(
    ("model", "said"),
    [("no/where", r"`dragoman fetch-models --hibiki no/where` fetches it"), ("moshi", "type 'moshi', not Hibiki")],
)
def test_a_hibiki_that_is_not_there_or_none_is_explained(tmp_path: Path, model: str, said: str) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "moshi"}')
    with pytest.raises(ValueError, match=said):
        build_streaming(Settings(hibiki_model=str(tmp_path) if model == "moshi" else model))


def test_without_hibiki_nothing_is_streamed() -> None:
    assert build_streaming(Settings()) is None


def test_an_unknown_engine_is_named_with_those_there_are() -> None:
    """The sentence helps."""
    with pytest.raises(ValueError, match=r"'babelfish'.*auto, echo, embedded, seamless"):
        build_engine(Settings(translator="babelfish"))
