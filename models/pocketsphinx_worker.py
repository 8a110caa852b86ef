"""The program in which one PocketSphinx decoder runs: models/recognizer_process.py starts it.

A process of its own because the decoder holds Python's interpreter lock while it works, 200 ms at a time. It reads
messages from stdin and ends with them: nobody has to end it when its parent dies.

A message to it is a kind (1 byte), the length of what follows (4 bytes), and that: `S` begins a segment (JSON:
`segment`, a number, and `voice`, what is known of the speaker), `A` is audio (float32 at 16 kHz), `E` asks for the
final words, `C` forgets the segment. It answers with lines of JSON: `{"ready": true}` once, then
`{"segment", "interim"}` whenever the words change, and `{"segment", "final", "voice"}`.
"""

import json
import os
import struct
import sys
from typing import Any

import numpy as np
import numpy.typing as npt

HEADER = struct.Struct("<cI")

SETTINGS = {
    "loglevel": "FATAL",
    "cmn": "live",  # adapt to the speaker while they speak: the batch kind needs the whole segment first
    "fwdflat": False,  # no second search at the end: the answer comes 120 ms sooner for 0 to 3 points of WER
    "maxhmmpf": 3_000,  # a tenth of the default: half the time, the same WER (tests/bench/wer.py)
}

INTERIM_EVERY = 2_880
"""Samples between two looks at the words so far (180 ms)."""

FRAME = 320
"""Samples over which loudness is measured (20 ms): a click is shorter than that and counts for little."""

TARGET_RMS = 0.15
"""What the loudest frame of a speaker is brought to. Speech at a tenth of it costs most of the words."""

MIN_RMS = 0.003
"""A speaker more quiet than this is not made louder any more: that would be the room's noise."""

UNKNOWN_MEANS = "52,2,5,10,1,1,2.5,-2,-2,-1,2,1.5,1"
"""Cepstral means of somebody who has not spoken yet: halfway from the model's own guess to what three voices came to,
and at the loudness that TARGET_RMS gives. It spares a new speaker a third of their errors (Flite, and five recordings
of one person)."""

FIRST_LOOK = 16_000
"""Samples (1 s) of a new speaker that are measured before the first is decoded. It halves a Flite voice's errors in its
first sentence; five recordings of one person showed no gain. The price, for that sentence only: 0.25 s of work in one
go, while they usually speak on, and a first segment shorter than this is answered 0.2 s later."""

FLOOR = 1e-3
"""RMS of the noise that is added (-60 dBFS): digital silence, which DTX and muting produce, misleads the model."""


class Listener:
    """One decoder and the segment that it hears."""

    def __init__(self) -> None:
        from pocketsphinx import Decoder  # here: the parent imports this module too, for its message format only

        self._decoder = Decoder(**SETTINGS)
        self._segment: int | None = None
        self._held: list[npt.NDArray[np.float32]] | None = None
        """What a new speaker has said in their first FIRST_LOOK samples; None once it has been looked at."""

    def start(self, segment: int, voice: dict[str, Any]) -> None:
        """`voice`: what `finish` said of this speaker the last time, or nothing."""
        self.cancel()
        self._segment = segment
        # Cepstral means are all that a decoder remembers of a speaker: any worker can go on where another was.
        self._decoder.set_cmn(voice.get("means", UNKNOWN_MEANS))
        self._rms = max(float(voice.get("rms", 0.0)), MIN_RMS)
        self._held = None if "rms" in voice else []
        self._loudest = 0.0
        self._noise = np.random.default_rng(0)
        self._unreported = 0
        self._words = ""
        self._decoder.start_utt()

    def hear(self, pcm: npt.NDArray[np.float32]) -> str | None:
        """The words so far, if it is time to tell and they have changed."""
        if self._segment is None or not len(pcm):
            return None
        if self._held is not None:
            self._held.append(pcm)
            if sum(map(len, self._held)) < FIRST_LOOK:
                return None
            pcm = self._look()
        self._decode(pcm)
        if self._unreported < INTERIM_EVERY:
            return None
        self._unreported = 0
        words = self._hypothesis()
        if words == self._words:
            return None
        self._words = words
        return words

    def finish(self) -> tuple[str, dict[str, Any]]:
        """The final words and what is known of the speaker now."""
        if self._held:
            self._decode(self._look())
        self._decoder.end_utt()
        self._segment = None
        voice: dict[str, Any] = {"means": self._decoder.get_cmn(True)}
        if self._loudest > MIN_RMS:
            voice["rms"] = self._loudest
        return self._hypothesis(), voice

    def cancel(self) -> None:
        """Forget the segment, if there is one."""
        if self._segment is not None:
            self._decoder.end_utt()
            self._segment = None

    @property
    def segment(self) -> int | None:
        """The number of the segment that is being heard."""
        return self._segment

    def _look(self) -> npt.NDArray[np.float32]:
        """Adapt to a new speaker by what they have said, which is returned: it has yet to be decoded."""
        pcm = np.concatenate(self._held or [np.zeros(0, np.float32)])
        self._held = None
        if len(pcm):
            self._decode(pcm, search=False)
            self._decoder.end_utt()
            self._decoder.set_cmn(self._decoder.get_cmn(True))
            self._decoder.start_utt()
            self._unreported = 0
        return pcm

    def _decode(self, pcm: npt.NDArray[np.float32], search: bool = True) -> None:
        """Bring to the right loudness and hand over; without `search` the decoder only takes the speaker's measure."""
        frames = np.array_split(pcm, -(-len(pcm) // FRAME))
        self._loudest = max(self._loudest, *(float(np.sqrt(np.mean(frame**2))) for frame in frames))
        self._rms = max(self._rms, self._loudest)
        loud = pcm * (TARGET_RMS / self._rms) + FLOOR * self._noise.standard_normal(len(pcm), np.float32)
        samples = (np.clip(loud, -1.0, 1.0) * 32_767).astype("<i2")
        self._decoder.process_raw(samples.tobytes(), not search)
        self._unreported += len(pcm)

    def _hypothesis(self) -> str:
        hypothesis = self._decoder.hyp()
        return "" if hypothesis is None else str(hypothesis.hypstr)


def main() -> None:
    """Serve stdin until it ends."""
    # What C code may print must not get between the answers: they get a descriptor of their own.
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as answers:
        os.dup2(2, 1)

        def answer(**fields: Any) -> None:
            answers.write(json.dumps(fields) + "\n")
            answers.flush()

        listener = Listener()
        answer(ready=True)
        while len(header := sys.stdin.buffer.read(HEADER.size)) == HEADER.size:
            kind, length = HEADER.unpack(header)
            payload = sys.stdin.buffer.read(length)
            if len(payload) < length:
                return
            segment = listener.segment
            if kind == b"S":
                listener.start(**json.loads(payload))
            elif kind == b"A":
                words = listener.hear(np.frombuffer(payload, "<f4"))
                if words is not None:
                    answer(segment=segment, interim=words)
            elif kind == b"E" and segment is not None:
                words, voice = listener.finish()
                answer(segment=segment, final=words, voice=voice)
            elif kind == b"C":
                listener.cancel()


if __name__ == "__main__":
    main()
