"""What is committed of a growing translation only grows, in whole words, and is said in clauses."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.commit import CLAUSE_WORDS, clause_end, local_agreement, whole_words

TOKENS = st.lists(st.integers(0, 5), max_size=12)
PIECES = st.lists(
    st.sampled_from(["▁the", "▁big", "do", "g", ".", ",", "▁", "犬", "が", "ー", "。", "▁犬", "ไทย"]), max_size=12
)
TEXT = st.text(st.sampled_from("ab3.,!?。、犬がー\u0301)» \u00a0؟।…"), max_size=40)


@pytest.mark.parametrize(
    ("previous", "current", "agreed"),
    [
        ([], [], 0),
        ([1, 2], [], 0),
        ([1, 2], [1, 2, 3], 2),
        ([1, 2, 3], [1, 4, 3], 1),
        ([5], [5], 1),
        ([2, 1], [1, 2], 0),
    ],
)
def test_agreement_is_the_common_beginning(previous: list[int], current: list[int], agreed: int) -> None:
    assert local_agreement(previous, current) == agreed


@given(TOKENS, TOKENS)
def test_agreement_is_the_same_both_ways_and_the_longest(one: list[int], other: list[int]) -> None:
    agreed = local_agreement(one, other)
    assert agreed == local_agreement(other, one) <= min(len(one), len(other))
    assert one[:agreed] == other[:agreed]
    assert one[agreed : agreed + 1] != other[agreed : agreed + 1] or agreed == len(one) == len(other)


@given(st.lists(TOKENS, min_size=3, max_size=6))
def test_three_that_agree_settle_no_more_than_two(hypotheses: list[list[int]]) -> None:
    pairs = [local_agreement(one, other) for one, other in pairwise(hypotheses)]
    assert min(pairs[-2:]) <= pairs[-1]


@pytest.mark.parametrize(
    ("pieces", "count", "whole"),
    [
        (["▁the", "▁do", "g", "▁runs"], 2, 1),
        (["▁the", "▁do", "g", "▁runs"], 3, 3),
        (["▁the", "▁do", "g"], 3, 3),  # it ends there
        (["▁the", "▁do", "g"], 9, 3),
        (["▁the", "▁dog", ".", "▁it"], 2, 1),  # its full stop is still open
        (["do", "g", "▁it"], 1, 0),
        (["▁", "今日", "は", "。", "雨"], 2, 2),
        (["▁", "今日", "は", "。", "雨"], 3, 2),
        (["▁", "コ", "ー", "ヒー"], 2, 1),
        (["▁ราคา", "สูง", "▁มาก"], 1, 0),
        ([], 0, 0),
    ],
)
def test_only_whole_words(pieces: list[str], count: int, whole: int) -> None:
    assert whole_words(pieces, count) == whole


@given(PIECES, st.integers(-2, 15))
def test_whole_words_never_exceed(pieces: list[str], count: int) -> None:
    whole = whole_words(pieces, count)
    assert 0 <= whole <= max(0, min(count, len(pieces)))
    assert whole_words(pieces, whole) == whole
    assert whole_words(pieces, count + 1) >= whole
    rest = "".join(pieces[whole:])
    assert not rest or whole == 0 or rest[0] in "▁犬が"


@given(st.lists(PIECES, max_size=6))
def test_commits_only_grow_when_the_committed_words_are_forced(continuations: list[list[str]]) -> None:
    """The product's loop: each hypothesis begins with what is committed, LocalAgreement-2 commits whole words of it."""
    committed: list[str] = []
    before: list[int] | None = None
    numbers: dict[str, int] = {}
    for continuation in continuations:
        hypothesis = committed + continuation
        tokens = [numbers.setdefault(piece, len(numbers)) for piece in hypothesis]
        agreed = local_agreement(before, tokens) if before is not None else 0
        settled = whole_words(hypothesis, agreed)
        # A new continuation may make half a word of the last committed one ("dog" + "s"): what was said stays said.
        grown = hypothesis[: max(settled, len(committed))]
        assert grown[: len(committed)] == committed and len(grown) <= max(agreed, len(committed))
        committed, before = grown, tokens


@pytest.mark.parametrize(
    ("text", "committed", "clauses"),
    [
        ("", 0, ""),
        ("The dog sleeps. It", 18, "The dog sleeps."),
        ("The dog sleeps, and it", 22, "The dog sleeps,"),
        ("The dog sleeps. It", 14, ""),
        ("The dog", 7, ""),
        ("It costs 3.5 euros", 11, ""),
        ("It costs 3.5 euros", 18, ""),
        ("It costs 3,", 11, "It costs 3,"),
        ("He said «stop.» Then", 20, "He said «stop.»"),
        ("今日は雨です。明日", 9, "今日は雨です。"),
        ("本当！？はい", 3, ""),
        ("本当！？はい", 4, "本当！？"),
        ("هل أنت هنا؟ نعم", 15, "هل أنت هنا؟"),
        ("यह घर है। वह", 12, "यह घर है।"),
        ("els col·legues", 14, ""),
        ("one two three four five six seven", 27, "one two three four five six"),
        ("one two three four five six seven", 30, "one two three four five six "),
        ("one two three four five six seven", 26, ""),
        ("one. two three four five six seven", 34, "one. two three four five six seven"),
        ("พรุ่งนี้ถ้าคุณว่างตอนเก้าโมงเช้า เราจะนั่งคุยกัน", 38, "พรุ่งนี้ถ้าคุณว่างตอนเก้าโมงเช้า "),
        ("พรุ่งนี้ถ้า คุณว่าง", 12, ""),
        ("今日私達東京大学行", 9, ""),
        ("今日私達東京大学行電車乗換", 13, "今日私達東京大学行電車乗換"),
    ],
)
def test_clauses(text: str, committed: int, clauses: str) -> None:
    assert text[: clause_end(text, committed)] == clauses


def test_what_was_said_is_not_said_again() -> None:
    text = "The dog sleeps. It sings, and"
    assert clause_end(text, 20, start=15) == 15
    assert text[15 : clause_end(text, len(text), start=15)] == " It sings,"
    assert clause_end(text, 10, start=15) == 15


@given(TEXT, st.integers(0, 45), st.integers(0, 20), st.integers(1, 8))
def test_clauses_stay_within_what_is_committed(text: str, committed: int, start: int, words: int) -> None:
    start = min(start, committed, len(text))
    end = clause_end(text, committed, start, words)
    assert start <= end <= min(committed, len(text))
    assert clause_end(text, committed + 1, start, words) >= end
    assert clause_end(text, committed, end, words) >= end


def test_a_long_clause_needs_no_punctuation() -> None:
    words = "word " * (CLAUSE_WORDS + 2)
    assert clause_end(words, len(words)) == len(words)
