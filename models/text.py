"""Text between the engines: from a recogniser's bare words to a sentence, and from a translator's output to prose.

Pure functions. The recogniser writes lower case without punctuation, but a translator by rules needs the case: Apertium
turns `on Tuesday` into Spanish and leaves `on tuesday` alone.
"""

import re
import unicodedata

MAX_CHARACTERS = 4_000
"""A text beyond this is cut at a word: nobody says so much in one go, and a translator must not work for minutes."""

# Words that English writes with a capital and that mean nothing else in a meeting: no `polish`, `turkey` or `china`.
_PROPER = frozenset(
    """
    monday tuesday wednesday thursday friday saturday sunday mondays tuesdays wednesdays thursdays fridays saturdays
    sundays january february april june july august september october november december christmas easter
    english spanish french german italian portuguese catalan galician basque dutch danish swedish norwegian finnish
    greek turkish russian ukrainian romanian hungarian bulgarian chinese japanese korean arabic hebrew hindi vietnamese
    american british irish scottish european african asian canadian mexican brazilian indian australian swiss belgian
    england spain france germany italy portugal catalonia galicia ireland scotland britain belgium holland denmark
    sweden norway finland greece poland russia ukraine romania hungary austria switzerland europe africa asia america
    canada mexico brazil argentina chile colombia peru india japan korea australia egypt morocco israel
    london madrid barcelona paris berlin rome lisbon brussels vienna geneva amsterdam dublin moscow athens valencia
    boston chicago washington tokyo
    """.split()
)
_MONTHS_THAT_ARE_VERBS = frozenset({"may", "march"})
_BEFORE_A_MONTH = frozenset("in of by until since during early mid late next last every".split())

_SUBJECTS = frozenset(
    "i you he she it we they this that these those there somebody someone everybody everyone anybody anyone".split()
)
_DETERMINERS = frozenset("the my your his her its our their a an any all some".split())
_QUESTION_WORDS = frozenset("what where who whose whom which why how".split())
# With these a noun may follow (`is the report ready`); `do`, `have` and `may` with a noun are commands or wishes.
_AUXILIARIES = frozenset(
    "is are was were does did has can could will would shall should must isn't aren't wasn't weren't doesn't didn't "
    "hasn't can't couldn't won't wouldn't shouldn't".split()
)
_AUXILIARIES_OF_PERSONS = frozenset("do have had may might am don't haven't hadn't".split())
_PERSONS = frozenset("i you we they he she".split())


def is_question(words: list[str]) -> bool:
    """Whether English `words` (lower case) begin like a question. Wrong at times: it hears no intonation."""
    first, second = (*words[:2], "", "")[:2]
    if first == "when" or first in _QUESTION_WORDS:
        # `what i want is` and `when he comes` are no questions, `what a day` is none either.
        inverted = second in _AUXILIARIES or second in _AUXILIARIES_OF_PERSONS
        return inverted or (first != "when" and bool(second) and second not in _SUBJECTS | {"a", "an", "the"})
    if first in _AUXILIARIES_OF_PERSONS:
        return second in _PERSONS
    return first in _AUXILIARIES and second in _SUBJECTS | _DETERMINERS


_FILLERS = frozenset("a an and the of in on to uh um er ah".split())


def is_noise(hypothesis: str) -> bool:
    """Whether a hypothesis is what a recogniser makes of a cough or a chair: words that nobody says alone."""
    return all(word in _FILLERS for word in hypothesis.lower().split())


def restore(hypothesis: str, ended: bool = True) -> str:
    """English words as a recogniser gives them (`i will call you on monday`) as a sentence, or empty for none.

    Adds the first capital, `I`, days, months, languages, places, and if it has ended a full stop or question mark."""
    words = hypothesis.lower().split()
    if not words:
        return ""
    ending = "" if not ended else "?" if is_question(words) else "."
    written = [_written(word, before) for word, before in zip(words, ["", *words], strict=False)]
    written[0] = written[0][0].upper() + written[0][1:]
    return " ".join(written) + ending


def _written(word: str, before: str) -> str:
    """One lower-case English word as it is written after the word `before`."""
    stem, apostrophe, rest = word.partition("'")
    is_month = stem in _MONTHS_THAT_ARE_VERBS and before in _BEFORE_A_MONTH
    if stem == "i" or stem in _PROPER or is_month:
        return stem.capitalize() + apostrophe + rest
    return word


def clean(text: str) -> str:
    """`text` in one line without control, format and unassigned characters, at most MAX_CHARACTERS; NFC.

    NUL frames what a translator reads, and lone surrogates (JSON can carry them) have no UTF-8."""
    kept = (" " if unicodedata.category(mark) in _UNSENT else mark for mark in unicodedata.normalize("NFC", text))
    line = " ".join("".join(kept).split())
    if len(line) <= MAX_CHARACTERS:
        return line
    head = line[:MAX_CHARACTERS]
    return head.rpartition(" ")[0] or head


_UNSENT = frozenset({"Cc", "Cs", "Cn", "Co", "Zl", "Zp"})
"""Unicode categories that are neither written nor spoken. Cf stays: it holds the joiners inside emoji and scripts."""

_SPACE_BEFORE = re.compile(r"\s+([.,;:!?…)\]}»])")
_SPACE_AFTER = re.compile(r"([(\[{«¿¡])\s+")
# French writes a space before these marks: only the others are closed up.
_SPACE_BEFORE_FRENCH = re.compile(r"\s+([.,…)\]}])")
_INVERTED = {"es": "¿", "gl": "¿"}
_LAST_SENTENCE = re.compile(r"[^.!?…]+[?]$")


def polish(text: str, source: str, language: str) -> str:
    """A translator's raw output for `source` as prose: single spaces, none before a full stop, the source's capital.

    Spanish and Galician get the mark that opens a question when the text is one sentence."""
    line = " ".join(text.split())
    line = (_SPACE_BEFORE_FRENCH if language == "fr" else _SPACE_BEFORE).sub(r"\1", line)
    if language != "fr":
        line = _SPACE_AFTER.sub(r"\1", line)
    if source[:1].isupper() and line[:1].islower():
        line = line[0].upper() + line[1:]
    opening = _INVERTED.get(language)
    if opening and opening not in line and _LAST_SENTENCE.fullmatch(line):
        line = opening + line
    return line
