"""The composition root."""

import pytest

from signaling.engines import TRANSLATORS, build_engine
from signaling.settings import Settings


@pytest.mark.parametrize("name", sorted(TRANSLATORS))
async def test_every_engine_can_be_built_and_closed_without_loading(name: str) -> None:
    """Its languages and its notice are known before it is ready: the page shows them while it warms up."""
    engine = build_engine(Settings(translator=name))
    assert engine.state == "warming"
    assert any(language.speech_in for language in engine.translator.languages)
    assert name in (engine.translator.name, "auto")
    await engine.close()


def test_an_unknown_engine_is_named_with_those_there_are() -> None:
    """The sentence helps."""
    with pytest.raises(ValueError, match=r"'babelfish'.*echo, embedded"):
        build_engine(Settings(translator="babelfish"))
