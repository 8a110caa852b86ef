"""What was said and written in a room, and how it reads as text or subtitles. Pure."""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal

MAX_ENTRIES = 5_000
"""Of one room: about five hours of talk."""

MAX_CHARACTERS = 2_000_000
"""Of all words of a room, in every language: what so many entries have in six. They are sent in one piece, and move so
when the room does: at 12 bytes of JSON for each, `signaling.control.MAX_LINE` holds them."""


@dataclass(slots=True)
class Entry:
    """One segment of speech, or one chat message."""

    kind: Literal["speech", "chat", "stream"]
    """`stream`: words of a translation that goes on while its speaker does, and knows no segments; in its language."""
    segment_id: str
    utterance_id: str
    participant_id: str
    name: str
    language: str
    text: str
    start_ms: int
    """Milliseconds since the room opened."""
    end_ms: int
    translations: dict[str, str] = field(default_factory=dict)
    """Language → text, as far as anybody needed it."""
    streamed: str = ""
    """A language in which entries of kind `stream` say what this one says."""
    records: dict[str, int] = field(default_factory=dict)
    """Language → the number under which those words were recorded. Who has seen a number has seen all before it."""

    @property
    def words(self) -> tuple[str, str]:
        """(language, text) as it was said; in the first translation, where the engine cannot write what it hears."""
        return (self.language, self.text) if self.text else next(iter(self.translations.items()), (self.language, ""))

    def belongs_in(self, language: str | None) -> bool:
        """It is part of the transcript in a language; in what was said, as it was said, for None."""
        return language == self.language if self.kind == "stream" else not self.streamed or language != self.streamed

    def in_language(self, language: str) -> str | None:
        """The words in a language, None if they were not translated into it."""
        return self.text if language == self.language and self.text else self.translations.get(language)


class TranscriptLog:
    """Entries in the order in which they were said; the oldest go when it is full."""

    def __init__(self, kept: Callable[[Entry], None] = lambda entry: None, first: int = 0) -> None:
        """`kept` is told of every entry that is new or has more words. Numbers begin after `first`."""
        self._entries: OrderedDict[str, Entry] = OrderedDict()  # by segment
        self._sizes: dict[str, int] = {}  # characters of each
        self._characters = 0
        self._kept = kept
        self.last_record = first
        """The number given last."""

    def add(self, entry: Entry) -> None:
        """An entry as it is; a later version of one replaces it where it stands."""
        self._entries[entry.segment_id] = entry
        self._weigh(entry)

    def record(self, entry: Entry, language: str, text: str | None) -> int:
        """Final words of an entry, which is added if it is new: the number under which they are kept. None: there are
        no words in that language, and who listens in it is told them as they are."""
        if language == entry.language:
            entry.text = text or ""
        elif text is not None:
            entry.translations[language] = text
        if not entry.records:
            self.add(entry)
        elif entry.segment_id in self._entries:
            self._weigh(entry)
        self.last_record += 1
        entry.records[language] = self.last_record
        self._kept(entry)
        return self.last_record

    def translated(self, entry: Entry, language: str, text: str) -> None:
        """Words that somebody asked for later, so that nobody else has to: kept if there is room, as nothing that was
        said is to go for them, and not recorded."""
        if entry.segment_id in self._entries and self._characters + len(text) <= MAX_CHARACTERS:
            entry.translations.setdefault(language, text)
            self._weigh(entry)

    def _weigh(self, entry: Entry) -> None:
        """It has more words, perhaps too many with all others."""
        size = len(entry.text) + sum(map(len, entry.translations.values()))
        self._characters += size - self._sizes.get(entry.segment_id, 0)
        self._sizes[entry.segment_id] = size
        while len(self._entries) > MAX_ENTRIES or self._characters > MAX_CHARACTERS:
            oldest, _ = self._entries.popitem(last=False)
            self._characters -= self._sizes.pop(oldest)

    def since(self, number: int) -> list[tuple[int, Entry, str]]:
        """(number, entry, language) of what was recorded after that number, in order."""
        return sorted(
            (
                (recorded, entry, language)
                for entry in self
                for language, recorded in entry.records.items()
                if recorded > number
            ),
            key=lambda found: found[0],
        )

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._entries.values())

    def __len__(self) -> int:
        return len(self._entries)

    def utterance(self, utterance_id: str) -> list[Entry]:
        """The segments of one utterance, or the one chat message, in order; empty if unknown."""
        return [entry for entry in self if entry.utterance_id == utterance_id]


def as_text(lines: Iterable[tuple[Entry, str]]) -> str:
    """`[00:01:02] Ana: words`, one line an entry."""
    return "".join(f"[{_clock(entry.start_ms)[:-4]}] {entry.name}: {' '.join(text.split())}\n" for entry, text in lines)


def as_webvtt(lines: Iterable[tuple[Entry, str]]) -> str:
    """WebVTT (W3C) with the speaker as voice tag."""
    cues = ["WEBVTT\n"]
    for entry, text in lines:
        end = max(entry.end_ms, entry.start_ms + 1000)
        cues.append(f"{_clock(entry.start_ms)} --> {_clock(end)}\n<v {_escape(entry.name)}>{_escape(text)}\n")
    return "\n".join(cues)


def _clock(ms: int) -> str:
    seconds, ms = divmod(ms, 1000)
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}.{ms:03}"


def _escape(text: str) -> str:
    return " ".join(text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").split())
