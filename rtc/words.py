"""A voice's words as they come, a piece with each frame, cut into sentences that can be read. Pure; time is given.

A piece is a word or part of one; a new word begins with a space. A sentence ends where its last mark says so and
another word or a short pause follows, or in a longer pause.
"""

from rtc.events import TranscriptFinal, TranscriptInterim
from rtc.room import new_id

BREATH_MS = 400
"""Without a word for so long, a sentence that has its mark is over: it need not wait for what comes next."""

PAUSE_MS = 1_200
"""Without a word for so long, a sentence is over, and what comes next is another turn."""

MARKS = (".", "?", "!")
"""Ends of sentences."""

MAX_LENGTH = 400
"""Characters after which a sentence is cut before its next word: not every voice says full stops."""

LANGUAGE = "en"
"""What voices that talk speak: no other one is known."""


class Words:
    """`add` the pieces, one a frame, the empty ones too: pauses are made of those."""

    def __init__(self, participant_id: str) -> None:
        self._participant_id = participant_id
        self._utterance_id = ""
        self._segment_id = ""
        self._text = ""
        self._start_ms = self._end_ms = 0
        self._revision = 0

    def add(self, piece: str, now_ms: int) -> list[TranscriptInterim | TranscriptFinal]:
        """What is to be told when this piece has come. `now_ms`: milliseconds since the conversation began."""
        told: list[TranscriptInterim | TranscriptFinal] = []
        if not piece:
            pause = now_ms - self._end_ms
            if pause >= PAUSE_MS or (pause >= BREATH_MS and self._text.endswith(MARKS)):
                told += self.flush()
            if pause >= PAUSE_MS:
                self._utterance_id = ""
            return told
        begins = piece[0].isspace()
        if begins and (self._text.endswith(MARKS) or len(self._text) > MAX_LENGTH):
            told += self.flush()
        if not self._text:
            self._utterance_id = self._utterance_id or new_id("utt")
            self._segment_id, self._start_ms, self._revision = new_id("seg"), now_ms, 0
        self._text += piece
        self._end_ms = now_ms
        self._revision += 1
        if self._text.strip():
            told.append(TranscriptInterim(*self._fields(), revision=self._revision, committed=len(self._text.strip())))
        return told

    def flush(self) -> list[TranscriptFinal]:
        """Nothing follows on what was said: the sentence as it is, if there is one."""
        final = [TranscriptFinal(*self._fields())] if self._text.strip() else []
        self._text = ""
        return final

    def _fields(self) -> tuple[str, str, str, str, str, bool, str, int, int]:
        text = self._text.strip()
        ids = (self._segment_id, self._utterance_id, self._participant_id)
        return (*ids, LANGUAGE, LANGUAGE, False, text, self._start_ms, self._end_ms)


def whole(participant_id: str, text: str, now_ms: int) -> TranscriptFinal:
    """Words that came all at once."""
    ids = (new_id("seg"), new_id("utt"), participant_id)
    return TranscriptFinal(*ids, LANGUAGE, LANGUAGE, False, text, now_ms, now_ms)
