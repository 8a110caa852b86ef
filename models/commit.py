"""What of a translation may be said before its speaker has finished: pure decisions over tokens.

While somebody speaks, all that was heard so far is translated anew about once a second. Each such hypothesis begins
with what was committed before (the decoder is forced), and a policy says how much more of it is settled.

LocalAgreement-2 settles what two hypotheses in a row have in common at their beginning. Liu et al. 2020, "Low-Latency
Sequence-to-Sequence Speech Recognition and Translation by Partial Hypothesis Selection" (arXiv 2005.11185); as in
Macháček et al. 2023, "Turning Whisper into Real-Time Transcription System" (arXiv 2307.14743). tests/bench/policy.py
compares it with others, AlignAtt among them.

A count is of leading tokens throughout: "the first k of these are settled". Committing token counts is not yet enough:
`whole_words` cuts to words, since half a word cannot be spoken, and `clause_end` to what sounds well when said alone.
"""

import re
import unicodedata
from collections.abc import Sequence

WORD_START = "▁"
"""What sentencepiece puts where a word begins (U+2581)."""

CLAUSE_WORDS = 6
"""Words without any punctuation after which a clause is long enough to be said."""

_CJK = re.compile(
    "[\u3005-\u3007\u3041-\u312f\u31f0-\u31ff\u3400-\u9fff\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff]"
)
"""Kana, Bopomofo and Han: a word may begin with any of these. Thai, Lao, Khmer and Burmese write no spaces between
words either, but cannot be cut between any two characters; they do write spaces between phrases, and wait for those."""
_CJK_CHARACTERS_A_WORD = 2
"""About."""
_UNSPACED = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff]")
"""Thai, Lao, Burmese and Khmer, signs above and below counted."""
_UNSPACED_CHARACTERS_A_WORD = 5
"""About. A phrase is no word: six of them would be half a minute of Thai, which knows no full stop either."""

_MARKS = frozenset(".,;:!?—؟،؛۔।॥։՝;·።፣፤፥፧")
"""End a clause when a space or nothing follows: `3.5` and `3,5` go on, and so does Catalan's `col·lega`."""
_WIDE_MARKS = frozenset("。、，．！？；：｡､…")
"""End a clause wherever they are: no space follows these."""
_CLOSING = frozenset({"Pe", "Pf"})
"""Unicode categories of what closes a bracket or a quotation."""


def local_agreement(previous: Sequence[int], current: Sequence[int]) -> int:
    """How many leading tokens two consecutive hypotheses share: LocalAgreement-2 settles those.

    LocalAgreement-n settles the least of this over the last n - 1 pairs."""
    count = 0
    for one, other in zip(previous, current, strict=False):
        if one != other:
            break
        count += 1
    return count


def whole_words(pieces: Sequence[str], count: int) -> int:
    """The most tokens, up to `count`, that end with a word: the next piece begins one, or there is none.

    `pieces`: the hypothesis as sentencepiece's pieces, without language and end tokens. A full stop belongs to the word
    before it. Between Chinese and Japanese characters a word may end anywhere."""
    count = min(count, len(pieces))
    while 0 < count < len(pieces) and not _begins_word(pieces[count]):
        count -= 1
    return max(0, count)


def _begins_word(piece: str) -> bool:
    # The long vowel of katakana and the repetition sign of kanji are modifiers (Lm) of what is before them.
    return piece.startswith(WORD_START) or (bool(_CJK.match(piece)) and unicodedata.category(piece[0]) == "Lo")


def clause_end(text: str, committed: int, start: int = 0, words: int = CLAUSE_WORDS) -> int:
    """Up to which character of `text` there are settled clauses, when its first `committed` characters are settled and
    its first `start` were said before: never less than `start`, never more than `committed`.

    A clause ends with punctuation of any script or, since not every model writes any, after at least `words` words. Of
    what follows the committed part this only looks whether a word or a number goes on there."""
    committed = min(committed, len(text))
    end = start
    for at in range(start, committed):
        if _ends_clause(text, at):
            end = at + 1
            while end < committed and unicodedata.category(text[end]) in _CLOSING:
                end += 1
    last_word = _last_word_end(text, end, committed)
    return last_word if _count_words(text[end:last_word]) >= words else end


def _ends_clause(text: str, at: int) -> bool:
    mark, following = text[at], text[at + 1 : at + 2]
    if mark in _WIDE_MARKS:
        return following not in _WIDE_MARKS or not following
    return mark in _MARKS and (not following or following.isspace() or unicodedata.category(following) in _CLOSING)


def _last_word_end(text: str, start: int, committed: int) -> int:
    """The last place from `start` to `committed` that is not inside a word."""
    end = committed
    while start < end < len(text) and not (text[end].isspace() or text[end - 1].isspace() or _begins_word(text[end])):
        end -= 1
    return end


def _count_words(text: str) -> int:
    spaced = _UNSPACED.sub(" ", _CJK.sub(" ", text)).split()
    return (
        len(spaced)
        + len(_CJK.findall(text)) // _CJK_CHARACTERS_A_WORD
        + len(_UNSPACED.findall(text)) // _UNSPACED_CHARACTERS_A_WORD
    )
