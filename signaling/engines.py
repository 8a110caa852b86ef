"""The composition root: the one file that names engines."""

import contextlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from models import moshi_checkpoint, weights
from models.base import EngineError, Translator
from models.vad import SileroDetector
from rtc.dialogue_thread import DialogueThread
from rtc.engine_thread import Engine
from rtc.streaming_translation import StreamingTranslator
from signaling.remote_translator import Calls, RemoteTranslator
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
    try:
        weights.locate(settings.seamless_model)
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

MOSHI_VOICES = {"moshiko": "kyutai/moshiko-pytorch-bf16", "moshika": "kyutai/moshika-pytorch-bf16"}
"""By the name that `--voice` takes. Moshi's voice is part of its weights."""


def _moshi(settings: Settings) -> DialogueThread:
    _assert_voice(settings, MOSHI_VOICES)
    from models.moshi import Moshi

    try:
        folder = _moshi_folder(settings)
        moshi = Moshi(folder, settings.moshi_seats, settings.moshi_context or None)
    except EngineError as error:
        raise ValueError(str(error)) from error
    if moshi.name != "moshi":
        raise ValueError(f"{folder} holds a Hibiki, which interprets and answers nobody: give it to --hibiki.")
    return DialogueThread(moshi, settings.voice or ("" if settings.moshi_model else "moshiko"))


def _moshi_folder(settings: Settings) -> Path:
    """Raises EngineError if the weights are not here."""
    folder = Path(settings.moshi_model).expanduser()
    if settings.moshi_model and folder.is_dir():
        return folder  # its config.json says what must be in it
    repository = settings.moshi_model or MOSHI_VOICES[settings.voice or "moshiko"]
    return weights.locate(repository, checkpoint=weights.MOSHI)


def _assert_voice(settings: Settings, voices: Iterable[str]) -> None:
    """Raise ValueError unless the voice that was asked for, if one was, is among those of the dialogue."""
    if settings.voice not in ("", *voices):
        known = ", ".join(voices) or "none"
        raise ValueError(f"--dialogue {settings.dialogue} has no voice {settings.voice!r}; there are: {known}.")


PARTNER_VOICE = "partner"


def _partner(settings: Settings) -> DialogueThread:
    _assert_voice(settings, [PARTNER_VOICE])
    from models.partner import Partner

    return DialogueThread(Partner(recognizers=settings.recognizers), PARTNER_VOICE)


def _no_dialogue(settings: Settings) -> None:
    _assert_voice(settings, [])


def _auto_dialogue(settings: Settings) -> DialogueThread:
    """Moshi where its weights and a GPU are, else the embedded partner, which has a voice of its own whatever Moshi's
    is to be."""
    _assert_voice(settings, [*MOSHI_VOICES, PARTNER_VOICE])
    if settings.voice != PARTNER_VOICE and weights.has_gpu():
        with contextlib.suppress(EngineError):
            _moshi_folder(settings)
            return _moshi(settings)
    return _partner(replace(settings, voice=""))


DIALOGUES: dict[str, Callable[[Settings], DialogueThread | None]] = {
    "auto": _auto_dialogue,
    "moshi": _moshi,
    "embedded": _partner,
    "none": _no_dialogue,
}
"""By the name that `--dialogue` takes."""

CHECKPOINTS = {"seamless": weights.SEAMLESS, "moshi": weights.MOSHI, "hibiki": weights.HIBIKI}
"""What engines load that does not come with this package, by the engine's name."""


def fetch_weights(engine: str, model: str, say: Callable[[str], None]) -> Path:
    """Bring an engine's checkpoint here from a repository, or check that a directory holds one: where it is.

    Blocks for as long as gigabytes take. Raises EngineError."""
    folder = weights.fetch(model, say, checkpoint=CHECKPOINTS[engine])
    if engine == "hibiki":
        moshi_checkpoint.read(folder)  # its config.json says what must be in it
    return folder


def build_engine(settings: Settings) -> Engine:
    """The engine the settings ask for, not loaded yet. Raises ValueError for an unknown name."""
    try:
        make = TRANSLATORS[settings.translator]
    except KeyError:
        known = ", ".join(sorted(TRANSLATORS))
        raise ValueError(f"There is no translator {settings.translator!r}; there are: {known}.") from None
    return Engine(make(settings), SileroDetector())


def remote_engine(calls: Calls, known: Mapping[str, Any] | None) -> Engine:
    """An engine whose translator is in other containers. `known`: what it said of itself the last time."""
    return Engine(RemoteTranslator(calls, known), SileroDetector())


def build_dialogue(settings: Settings) -> DialogueThread | None:
    """The voice to talk with that the settings ask for, not loaded yet. Raises ValueError when there is no such."""
    try:
        make = DIALOGUES[settings.dialogue]
    except KeyError:
        known = ", ".join(sorted(DIALOGUES))
        raise ValueError(f"There is no dialogue {settings.dialogue!r}; there are: {known}.") from None
    return make(settings)


def build_streaming(settings: Settings) -> StreamingTranslator | None:
    """Hibiki, not loaded yet, if the settings ask for it. Raises ValueError when it is not there, or is no Hibiki."""
    if not settings.hibiki_model:
        return None
    from models.moshi import Moshi

    try:
        folder = weights.locate(settings.hibiki_model, checkpoint=weights.HIBIKI)
        return StreamingTranslator(DialogueThread(Moshi(folder, settings.hibiki_seats)))
    except EngineError as error:
        raise ValueError(str(error)) from error
