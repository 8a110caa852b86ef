"""What goes wrong in the interpreter's thread: a segment fails alone, and nobody waits for ever for an answer."""

import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from models.base import SPEECH_RATE, EngineBroken, EngineError, EngineFailed, Pcm

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from models.seamless import SeamlessRecognition  # noqa: E402  # after the skips
from models.seamless_model import Encoded, Row, SeamlessModel, Sentence, Units  # noqa: E402
from models.seamless_worker import Work, Worker  # noqa: E402
from tests.models.tiny_seamless import noise  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_thread")


class Faulty(SeamlessModel):
    """Fails as told, when it encodes or makes voices."""

    fault: Callable[[Sequence[Pcm]], None] = staticmethod(lambda clips: None)
    fault_of_voices: Callable[[Sequence[Sentence]], None] = staticmethod(lambda sentences: None)

    def encode_speech(self, clips: Sequence[Pcm]) -> list[Encoded]:
        self.fault(clips)
        return super().encode_speech(clips)

    def units(self, rows: Sequence[Sentence]) -> list[Units]:
        self.fault_of_voices(rows)
        return super().units(rows)


@pytest.fixture
def faulty(tiny_seamless: Path) -> Faulty:
    return Faulty(tiny_seamless, "cpu")


def submitted(worker: Worker, seconds: Sequence[float]) -> list[Work]:
    return [
        worker.submit(Work("en", lambda: ["es"], speech=False, clip=noise(length)), f"room {number}")
        for number, length in enumerate(seconds)
    ]


def outcome(work: Work) -> list[str] | EngineError:
    try:
        return [rendering.language for rendering in work.results()]
    except EngineError as error:
        return error


def test_one_bad_segment_fails_alone(faulty: Faulty) -> None:
    def fault(clips: Sequence[Pcm]) -> None:
        if any(len(clip) == 3 * SPEECH_RATE for clip in clips):
            raise RuntimeError("the test's fault")

    faulty.fault = fault
    worker = Worker(faulty)
    works = submitted(worker, [2.8, 3.0, 3.2])
    worker.start()
    outcomes = [outcome(work) for work in works]
    statistics = worker.statistics()
    worker.close()
    assert outcomes[0] == outcomes[2] == ["en", "es"]
    assert isinstance(outcomes[1], EngineFailed)
    assert statistics["failed"] == 1


def test_a_batch_too_large_for_the_memory_is_done_one_by_one(faulty: Faulty) -> None:
    def fault(clips: Sequence[Pcm]) -> None:
        if len(clips) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")

    faulty.fault = fault
    worker = Worker(faulty)
    works = submitted(worker, [2.8, 3.0])
    worker.start()
    assert [outcome(work) for work in works] == [["en", "es"], ["en", "es"]]
    assert worker.statistics()["alone"] == 2
    worker.close()


def test_what_is_translated_again_after_a_failure_does_not_agree_with_itself(faulty: Faulty) -> None:
    """Nothing is settled by one look at the sound, though it was looked at twice."""

    def fault(sentences: Sequence[Sentence]) -> None:
        faulty.fault_of_voices = lambda sentences: None
        raise RuntimeError("the test's fault, after the words were settled")

    faulty.fault_of_voices = fault
    worker = Worker(faulty)
    interims = []
    for room in ("one", "two"):
        recognition = SeamlessRecognition(worker, "en", room, simultaneous=True)
        recognition.want(["es"])
        recognition.push(noise(3.0))
        interims.append(recognition.interim())
    worker.start()
    for interim in interims:
        assert interim is not None
        renderings = list(interim)
        assert {rendering.language for rendering in renderings} == {"en", "es"}
        assert all(rendering.committed == 0 and rendering.speech is None for rendering in renderings)
    assert worker.statistics()["alone"] == 2
    worker.close()


def test_a_gpu_that_lost_its_context_breaks_the_engine_and_all_are_told(faulty: Faulty) -> None:
    def fault(clips: Sequence[Pcm]) -> None:
        raise RuntimeError("CUDA error: device-side assert triggered")

    faulty.fault = fault
    worker = Worker(faulty)
    works = submitted(worker, [1.0, 9.0])
    worker.start()
    assert all(isinstance(outcome(work), EngineBroken) for work in works)
    assert all(isinstance(outcome(work), EngineBroken) for work in submitted(worker, [1.0]))
    worker.close()


def test_a_gpu_that_fails_once_more_when_its_memory_is_freed_leaves_nobody_waiting(
    faulty: Faulty, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A library's own error, as cuDNN's, does not tell that the context is lost. What is called next does."""

    def fault(clips: Sequence[Pcm]) -> None:
        faulty.device = torch.device("cuda")
        raise RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED")

    def lost() -> None:
        called.set()
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    called = threading.Event()
    faulty.fault = fault
    monkeypatch.setattr(torch.cuda, "empty_cache", lost)
    worker = Worker(faulty)
    works = submitted(worker, [1.0, 1.2, 9.0])
    worker.start()
    called.wait()
    worker.close()  # its thread has ended, well or not
    assert all(work.done for work in works)
    assert all(isinstance(outcome(work), EngineBroken) for work in [*works, *submitted(worker, [1.0])])


def test_a_translation_that_ends_at_the_bound_is_counted(model: SeamlessModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its last words are lost, and nobody else would know."""
    worker = Worker(model)
    worker.start()
    outcome(submitted(worker, [3.0])[0])
    whole = worker.statistics()
    monkeypatch.setattr("models.seamless_worker.TOKENS_PER_SECOND", 1)
    monkeypatch.setattr("models.seamless_worker.TOKENS_AT_LEAST", 0)
    outcome(submitted(worker, [3.0])[0])
    cut = worker.statistics()
    worker.close()
    assert (whole["cut_short"], cut["cut_short"]) == (0, 2), "in both languages"


TYPED = (
    "人人生而自由，在尊严和权利上一律平等，他们赋有理性和良心，并应以兄弟关系的精神相对待，人人有资格享有本宣言所载的一切权利和自由，"
    "不分种族、肤色、性别、语言、宗教、政治或其他见解、国籍或社会出身、财产、出生或其他身分等任何区别"
)
MEANT = (
    "all human beings are born free and equal in dignity and rights they are endowed with reason and conscience and "
    "should act towards one another in a spirit of brotherhood and everyone is entitled to all the rights and freedoms "
    "set forth in this declaration without distinction of any kind such as race colour sex language religion political "
    "or other opinion national or social origin property birth or other status"
)
"""The Universal Declaration of Human Rights, with four letters for each character of the Chinese."""


def test_a_long_sentence_of_chinese_has_room_in_other_languages(tiny_seamless: Path) -> None:
    class Knowing(SeamlessModel):
        def decode(self, rows: Sequence[Row], max_tokens: int) -> list[tuple[int, ...]]:
            granted.append(max_tokens)
            return [self.tokenize(MEANT) for _ in rows]

    granted: list[int] = []
    worker = Worker(Knowing(tiny_seamless, "cpu"))
    worker.start()
    (translation,) = worker.submit(Work("zh", lambda: ["en"], speech=False, text=TYPED), "").results()
    worker.close()
    assert len(translation.text) > 350, "it is not taken for made up"
    assert granted[0] > 1.5 * len(MEANT.split()), "an English word takes 1.3 of the real tokens"


def test_closing_answers_those_who_wait(model: SeamlessModel) -> None:
    worker = Worker(model)
    (work,) = submitted(worker, [1.0])
    answers: list[list[str] | EngineError] = []
    waiting = threading.Thread(target=lambda: answers.append(outcome(work)))
    waiting.start()
    worker.close()
    worker.close()
    worker.start()
    waiting.join()
    assert isinstance(answers[0], EngineFailed)
    assert isinstance(outcome(submitted(worker, [1.0])[0]), EngineFailed)
