"""The composition root."""

from pathlib import Path

import pytest

from signaling.engines import TRANSLATORS, build_dialogue, build_engine
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


def test_a_voice_may_be_left_out() -> None:
    assert build_dialogue(Settings(dialogue="none")) is None


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (Settings(dialogue="moshi", voice="caruso"), "moshiko, moshika"),
        (Settings(dialogue="moshi", moshi_model="no/where"), "fetch-models --dialogue moshi"),
        (Settings(dialogue="babelfish"), "'babelfish'.*auto, embedded, moshi, none"),
    ],
)
def test_a_voice_that_is_not_there_is_explained(settings: Settings, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        build_dialogue(settings)


def test_an_unknown_engine_is_named_with_those_there_are() -> None:
    """The sentence helps."""
    with pytest.raises(ValueError, match=r"'babelfish'.*auto, echo, embedded, seamless"):
        build_engine(Settings(translator="babelfish"))
