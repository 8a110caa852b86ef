"""The composition root: the one file that names engines."""

from collections.abc import Callable
from pathlib import Path

from models import weights
from models.base import EngineError, SpeechDetector, Translator
from rtc.engine_thread import Engine
from signaling.settings import Settings


def _embedded(settings: Settings) -> Translator:
    from models.embedded import EmbeddedTranslator

    return EmbeddedTranslator(workers=settings.recognizers)


def _echo(settings: Settings) -> Translator:
    from models.echo import EchoTranslator

    return EchoTranslator()


def _seamless(settings: Settings) -> Translator:
    try:
        from models.seamless import SeamlessTranslator
    except ImportError as error:
        raise ValueError(f"SeamlessM4T needs `pip install 'dragoman[seamless]'` ({error}).") from error
    return SeamlessTranslator(settings.seamless_model)


def _auto(settings: Settings) -> Translator:
    """The best that this machine can do: SeamlessM4T where its weights and a GPU are, else the embedded engine."""
    from models.weights import locate

    try:
        locate(settings.seamless_model)
    except EngineError:
        return _embedded(settings)
    return _seamless(settings) if weights.has_gpu() else _embedded(settings)


TRANSLATORS: dict[str, Callable[[Settings], Translator]] = {
    "auto": _auto,
    "embedded": _embedded,
    "seamless": _seamless,
    "echo": _echo,
}
"""By the name that `--translator` takes. Imported when chosen: no engine pays for another's libraries."""

CHECKPOINTS = {"seamless": weights.SEAMLESS, "moshi": weights.MOSHI}
"""What engines load that does not come with this package, by the engine's name."""


def fetch_weights(engine: str, model: str, say: Callable[[str], None]) -> Path:
    """Bring an engine's checkpoint here from a repository, or check that a directory holds one: where it is.

    Blocks for as long as gigabytes take. Raises EngineError."""
    return weights.fetch(model, say, checkpoint=CHECKPOINTS[engine])


def _new_detector() -> SpeechDetector:
    from models.vad import SileroDetector

    return SileroDetector()


def build_engine(settings: Settings) -> Engine:
    """The engine the settings ask for, not loaded yet. Raises ValueError for an unknown name."""
    try:
        make = TRANSLATORS[settings.translator]
    except KeyError:
        known = ", ".join(sorted(TRANSLATORS))
        raise ValueError(f"There is no translator {settings.translator!r}; there are: {known}.") from None
    return Engine(make(settings), _new_detector)
