"""Speech recognition by PocketSphinx in worker processes: English, on a CPU, with the model that its wheel holds.

A worker hears one segment at a time. What it knows of the speaker (cepstral means, loudness) comes back with each final
text and is handed to whichever worker hears that speaker next.

Measured by tests/bench/wer.py. Source: https://pocketsphinx.readthedocs.io/en/latest/
"""

import json
import logging
import threading
from collections import OrderedDict
from typing import Any

from models.base import EngineBusy, EngineError, EngineFailed, Pcm, Transcript
from models.recognizer_process import Segment, Worker
from models.text import is_noise, restore

logger = logging.getLogger(__name__)

LANGUAGE = "en"
"""The only one whose model is in the wheel."""

START_TIMEOUT = 60.0
"""Seconds for a worker to become ready. It takes 0.5 s on an idle machine."""

ANSWER_TIMEOUT = 30.0
"""Seconds for the final words. They take 20 ms, or as long as an overloaded computer needs for what still waits
(MAX_WAITING); a worker that needs longer hangs, and is killed."""

MAX_WAITING = 500
"""Messages (10 s of 20 ms pieces) that may wait for a worker. Beyond, audio is dropped and counted."""

MAX_VOICES = 1_000
"""Speakers remembered; the one who has not spoken for longest is forgotten first."""

RESTART_DELAY = 1.0
"""Seconds before a worker is replaced that died before it was ready, or could not even be started: its successor will
most likely do the same."""


class PocketSphinxRecognition:
    """The words of one segment; the pool makes it. Use: push* (interim)* end, then finish; or cancel at any time."""

    def __init__(self, pool: "RecognizerPool", worker: Worker, segment: Segment) -> None:
        self.dropped = 0
        """Samples dropped because the worker could not keep up."""
        self._pool = pool
        self._worker = worker
        self._segment = segment
        self._told: str | None = None
        self._ended = self._done = False

    def push(self, pcm: Pcm) -> None:
        """Hand over samples at SPEECH_RATE. Never blocks; counts in `dropped` what finds no room."""
        if self._ended or self._done or self._segment.failed or not len(pcm):
            return
        if self._worker.waiting > MAX_WAITING:
            self.dropped += len(pcm)
            self._pool.count_dropped(len(pcm))
            return
        self._worker.send(b"A", pcm.astype("<f4", copy=False).tobytes())

    def interim(self) -> str | None:
        """The newest words as an unfinished sentence, or None if nothing is new. Never blocks."""
        words = self._segment.interim
        if not words or words == self._told:
            return None
        self._told = words
        return restore(words, ended=False)

    def end(self) -> None:
        """Nothing more is pushed: the worker may begin with the final words. Never blocks. Idempotent."""
        if not (self._ended or self._done):
            self._ended = True
            self._worker.send(b"E")

    def finish(self) -> Transcript:
        """The final words as a sentence. Blocks for about 20 ms. Raises EngineFailed if the worker died or hangs."""
        if self._done:
            raise EngineFailed("This segment is over.")
        self.end()
        self._done = True
        if not self._segment.over.wait(ANSWER_TIMEOUT):
            self._pool.give_up(self._worker)
        self._pool.release(self._worker, self._segment)
        if self._segment.final is None:
            raise EngineFailed("The recogniser stopped while it listened to this sentence.")
        words = self._segment.final
        return Transcript("" if is_noise(words) else restore(words), LANGUAGE)

    def cancel(self) -> None:
        """Forget the segment. Idempotent, allowed after finish. The worker is free at once."""
        if not self._done:
            self._done = True
            self._worker.send(b"C")
            self._pool.release(self._worker, self._segment)


class RecognizerPool:
    """A fixed number of workers. Thread-safe."""

    def __init__(self, size: int) -> None:
        """`size`: how many may speak at the same moment. Each costs 120 MB, and 0.15 of a core while one does."""
        self.dropped = 0
        """Samples dropped in all, because a worker could not keep up."""
        self.segments = self.deaths = 0
        """Segments begun; workers that died and were not told to."""
        self._size = size
        self._workers: list[Worker] = []
        self._voices: OrderedDict[str, dict[str, Any]] = OrderedDict()
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        """Notified when a worker has become ready or died, and at close."""
        self._failed_starts = 0
        self._closed = False

    @property
    def pids(self) -> list[int]:
        """The workers' process numbers."""
        with self._lock:
            return [worker.process.pid for worker in self._workers]

    def load(self) -> None:
        """Start all workers and wait until they are ready. Idempotent. Raises EngineError if they do not start."""
        with self._changed:
            try:
                while not self._closed and len(self._workers) < self._size:
                    self._workers.append(Worker(self))
            except OSError as error:
                raise EngineError(f"The speech recogniser did not start: {error.strerror}.") from error
            self._changed.wait_for(self._is_settled, START_TIMEOUT)
            if not (self._workers and all(worker.ready for worker in self._workers)):
                raise EngineError("The speech recogniser did not start: is pocketsphinx installed?")

    def hear(self, speaker: str) -> PocketSphinxRecognition:
        """Begin a segment of `speaker`. Never blocks. Raises EngineBusy if every worker hears somebody."""
        with self._lock:
            free = [one for one in self._workers if one.ready and one.segment is None]
            worker = min(free, key=lambda one: one.waiting, default=None)  # one may be behind with what was cancelled
            if worker is None:
                raise EngineBusy("Too many people are speaking at once for this computer.")
            self.segments += 1
            segment = worker.segment = Segment(self.segments, speaker)
            fields = {"segment": segment.number, "voice": self._voices.get(speaker, {})}
        worker.send(b"S", json.dumps(fields).encode())
        return PocketSphinxRecognition(self, worker, segment)

    def close(self) -> None:
        """Kill the workers. Idempotent. Their segments fail."""
        with self._changed:
            self._closed = True
            workers = list(self._workers)
            self._changed.notify_all()
        for worker in workers:
            worker.process.kill()
        for worker in workers:
            for thread in worker.threads:
                thread.join()

    # What workers and recognitions report.

    def release(self, worker: Worker, segment: Segment) -> None:
        """`worker` has nothing to do with `segment` any more."""
        with self._lock:
            if worker.segment is segment:
                worker.segment = None

    def give_up(self, worker: Worker) -> None:
        """`worker` hangs: nobody gets it any more, and its death brings the next one."""
        with self._lock:
            worker.ready = False
        worker.process.kill()

    def count_dropped(self, samples: int) -> None:
        """So many samples found no room."""
        with self._lock:
            self.dropped += samples

    def on_answer(self, worker: Worker, answer: dict[str, Any]) -> None:
        """One line from `worker`, in its reading thread."""
        with self._changed:
            if answer.get("ready"):
                worker.born = worker.ready = True
                self._changed.notify_all()
            segment = worker.segment
            if segment is None or segment.number != answer.get("segment"):
                return  # about a segment that was cancelled
            if "interim" in answer:
                segment.interim = answer["interim"]
            if "final" in answer:
                segment.final = answer["final"]
                self._remember(segment.speaker, answer["voice"])
                segment.over.set()

    def on_death(self, worker: Worker, code: int) -> None:
        """`worker` is gone; runs in its reading thread, which ends with this. Its segment fails, a new one starts."""
        with self._changed:
            worker.ready = False
            if worker.segment is not None:
                worker.segment.fail()
            if self._closed:
                return
            self.deaths += 1
            logger.warning("recogniser %d ended with code %d and is replaced", worker.process.pid, code)
            if not worker.born:
                self._failed_starts += 1
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._closed, RESTART_DELAY)
            while worker in self._workers and not self._closed:
                try:
                    self._workers[self._workers.index(worker)] = Worker(self)
                except OSError as error:  # too many processes or files, for now
                    logger.warning("no recogniser can be started: %s", error)
                    self._changed.wait_for(lambda: self._closed, RESTART_DELAY)

    def _is_settled(self) -> bool:
        return self._closed or self._failed_starts > 0 or all(worker.ready for worker in self._workers)

    def _remember(self, speaker: str, voice: dict[str, Any]) -> None:
        self._voices[speaker] = {**self._voices.get(speaker, {}), **voice}
        self._voices.move_to_end(speaker)
        while len(self._voices) > MAX_VOICES:
            self._voices.popitem(last=False)
