"""Speakers are understood, side by side, and a worker's death is one segment's loss."""

import os
import resource
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import jiwer
import numpy as np
import pytest

from models.base import EngineBusy, EngineError, EngineFailed, Pcm
from models.recognizer import PocketSphinxRecognition, RecognizerPool
from tests.bench.wer import PIECE, words
from tests.sentences import SENTENCES, SURE
from tests.speech import flite, peak

SENTENCE = "The results are very important."


def speech(text: str, voice: str = "slt", level: float = 0.5) -> Pcm:
    return peak(flite(text, voice), level)


def push(recognition: PocketSphinxRecognition, pcm: Pcm) -> None:
    for at in range(0, len(pcm), PIECE):
        recognition.push(pcm[at : at + PIECE])


def understood(pool: RecognizerPool, speaker: str, pcm: Pcm) -> str:
    recognition = pool.hear(speaker)
    push(recognition, pcm)
    return recognition.finish().text


@pytest.fixture(scope="module")
def pool() -> Iterator[RecognizerPool]:
    one = RecognizerPool(2)
    one.load()
    yield one
    one.close()


@pytest.fixture
def mortal() -> Iterator[RecognizerPool]:
    """A pool of two for one test, which may do to it what it likes."""
    one = RecognizerPool(2)
    one.load()
    yield one
    one.close()


def test_most_words_are_right(pool: RecognizerPool) -> None:
    said = SENTENCES[::3]
    heard = [understood(pool, "wer", speech(text)) for text in said]
    assert jiwer.wer([words(text) for text in said], [words(text) for text in heard]) < 0.25


@pytest.mark.parametrize("voice", ["slt", "rms", "awb"])
def test_the_sure_sentences_are_sure(pool: RecognizerPool, voice: str) -> None:
    for said, _ in SURE:
        assert understood(pool, "", speech(said, voice)) == said


@pytest.mark.parametrize("level", [0.02, 0.1, 0.99])
def test_quiet_and_loud_speakers_are_understood(pool: RecognizerPool, level: float) -> None:
    assert understood(pool, f"level {level}", speech(SENTENCE, level=level)) == SENTENCE


def test_interim_words_grow(pool: RecognizerPool) -> None:
    recognition = pool.hear("interim")
    told = []
    for text in (SENTENCES[7], SENTENCES[8]):
        pcm = speech(text)
        for at in range(0, len(pcm), PIECE):
            recognition.push(pcm[at : at + PIECE])
        # The worker tells by itself: ask until it has told of this sentence.
        while True:
            words_so_far = recognition.interim()
            if words_so_far is not None:
                told.append(words_so_far)
            if told and len(told[-1].split()) > (3 if text is SENTENCES[7] else 9):
                break
            recognition.push(np.zeros(PIECE, np.float32))
            threading.Event().wait(0.001)
    final = recognition.finish().text
    assert len(told) == len(set(told)) > 2
    assert told[0][0].isupper() and told[0][-1].isalpha() and final.endswith(".")
    assert recognition.interim() is None or len(told[-1]) <= len(final)


def test_silence_and_nothing_are_empty(pool: RecognizerPool) -> None:
    assert pool.hear("quiet").finish().text == ""
    assert understood(pool, "quiet", np.zeros(0, np.float32)) == ""
    assert understood(pool, "quiet", np.zeros(16_000, np.float32)) == ""


def test_two_speak_at_once_and_a_third_is_told(pool: RecognizerPool) -> None:
    one, other = pool.hear("one"), pool.hear("other")
    with pytest.raises(EngineBusy):
        pool.hear("third")
    pcm, other_pcm = speech(SENTENCE), speech(SURE[0][0], "rms")
    for at in range(0, max(len(pcm), len(other_pcm)), PIECE):
        one.push(pcm[at : at + PIECE])
        other.push(other_pcm[at : at + PIECE])
    assert one.finish().text == SENTENCE
    third = pool.hear("third")  # a place is free at once
    assert other.finish().text == SURE[0][0]
    third.cancel()


def test_the_end_is_asked_for_before_anybody_waits_for_it(pool: RecognizerPool) -> None:
    """What is pushed after it is not heard; asking twice changes nothing."""
    recognition = pool.hear("end")
    push(recognition, speech(SENTENCE))
    recognition.end()
    push(recognition, speech(SENTENCES[3]))
    recognition.end()
    assert recognition.finish().text == SENTENCE


def test_a_cancelled_segment_leaves_nothing_behind(pool: RecognizerPool) -> None:
    for _ in range(5):
        recognition = pool.hear("cancel")
        push(recognition, speech(SENTENCES[3])[:16_000])
        recognition.cancel()
        recognition.cancel()
        recognition.push(speech(SENTENCE))
        with pytest.raises(EngineFailed):
            recognition.finish()
    assert understood(pool, "cancel", speech(SENTENCE)) == SENTENCE
    finished = pool.hear("cancel")
    finished.finish()
    finished.cancel()


def test_a_killed_worker_loses_its_segment_only(mortal: RecognizerPool) -> None:
    lost, kept = mortal.hear("lost"), mortal.hear("kept")
    pcm = speech(SENTENCE)
    half = len(pcm) // 2
    push(lost, pcm[:half])
    push(kept, pcm[:half])
    killed = mortal.pids[0]
    os.kill(killed, signal.SIGKILL)
    push(lost, pcm[half:])
    push(kept, pcm[half:])
    with pytest.raises(EngineFailed):
        lost.finish()
    assert kept.finish().text == SENTENCE
    assert understood(mortal, "lost", pcm) == SENTENCE  # by the worker that is left
    mortal.load()  # waits for the one that comes
    assert killed not in mortal.pids and len(mortal.pids) == 2
    first, second = mortal.hear("lost"), mortal.hear("kept")
    push(first, pcm)
    push(second, pcm)
    assert (first.finish().text, second.finish().text) == (SENTENCE, SENTENCE)


def test_who_comes_next_does_not_wait_for_what_was_cancelled(mortal: RecognizerPool) -> None:
    """While another worker is free."""
    cancelled = mortal.hear("cancelled")
    os.kill(mortal.pids[0], signal.SIGSTOP)
    for _ in range(510):
        cancelled.push(np.zeros(PIECE, np.float32))
    cancelled.cancel()
    assert understood(mortal, "next", speech(SENTENCE)) == SENTENCE


def test_a_worker_that_cannot_be_replaced_now_is_replaced_later(
    mortal: RecognizerPool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """When there may be a file more."""
    monkeypatch.setattr("models.recognizer.RESTART_DELAY", 0.01)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, limits[1]))
    try:
        other = RecognizerPool(1)
        with pytest.raises(EngineError, match="did not start: Too many open files"):
            other.load()
        other.close()
        killed = mortal.pids[0]
        os.kill(killed, signal.SIGKILL)
        while "no recogniser can be started" not in caplog.text:
            threading.Event().wait(0.01)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    while killed in mortal.pids:
        threading.Event().wait(0.01)
    mortal.load()
    first, second = mortal.hear("first"), mortal.hear("second")
    push(first, speech(SENTENCE))
    push(second, speech(SENTENCE))
    assert (first.finish().text, second.finish().text) == (SENTENCE, SENTENCE)


def test_a_hanging_worker_is_replaced(mortal: RecognizerPool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models.recognizer.ANSWER_TIMEOUT", 0.2)
    recognition = mortal.hear("hanging")
    hanging = mortal.pids[0]
    os.kill(hanging, signal.SIGSTOP)
    for _ in range(2_000):  # 40 s of audio that nobody takes: the caller does not wait
        recognition.push(np.zeros(PIECE, np.float32))
    assert recognition.dropped > 0 and mortal.dropped == recognition.dropped
    with pytest.raises(EngineFailed):
        recognition.finish()
    monkeypatch.undo()
    assert understood(mortal, "hanging", speech(SENTENCE)) == SENTENCE
    mortal.load()
    assert hanging not in mortal.pids


def test_nothing_is_left_after_close() -> None:
    threads = threading.active_count()
    pool = RecognizerPool(2)
    pool.load()
    pids = pool.pids
    recognition = pool.hear("late")
    recognition.push(speech(SENTENCE))
    pool.close()
    pool.close()
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
    assert threading.active_count() == threads
    with pytest.raises(EngineFailed):
        recognition.finish()
    with pytest.raises(EngineBusy):
        pool.hear("later")
    with pytest.raises(EngineError):
        pool.load()


def test_a_worker_ends_with_its_parent() -> None:
    """By end of file: also when the parent is killed and can tell nobody."""
    pool = RecognizerPool(1)
    pool.load()
    (worker,) = pool._workers
    assert worker.process.stdin is not None
    worker._outbox.put(None)  # its writer closes stdin, as the death of this process would
    assert worker.process.wait(timeout=30) == 0
    pool.close()


def test_a_recogniser_that_cannot_start_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    broken = tmp_path / "broken.py"
    broken.write_text("raise SystemExit(3)")
    monkeypatch.setattr("models.recognizer_process.PROGRAM", broken)
    pool = RecognizerPool(1)
    with pytest.raises(EngineError, match="did not start"):
        pool.load()
    pool.close()
