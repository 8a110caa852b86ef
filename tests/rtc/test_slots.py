"""Who is heard where."""

from hypothesis import given
from hypothesis import strategies as st

from rtc.slots import Speaker, StreamKey, assign, wanted

INF = float("inf")
ANA = Speaker("ana", "es", 10.0, translatable=True)
BOB = Speaker("bob", "en", INF, translatable=True)
EVE = Speaker("eve", "de", 20.0, translatable=False)


def original(speaker: Speaker) -> StreamKey:
    return StreamKey(speaker.participant_id, "original", speaker.speaks)


def translation(speaker: Speaker, language: str) -> StreamKey:
    return StreamKey(speaker.participant_id, "translation", language)


def test_who_speaks_now_comes_first_then_who_spoke_last() -> None:
    """The most relevant voice gets the first slot."""
    assert wanted("es", "both", [ANA, EVE, BOB]) == [
        translation(BOB, "es"),
        original(BOB),
        original(EVE),
        original(ANA),
    ]


def test_one_s_own_language_is_heard_in_the_original_alone() -> None:
    """Whatever mix was asked for."""
    for mix in ("both", "translated", "original"):
        assert wanted("es", mix, [ANA]) == [original(ANA)]


def test_the_mix_decides_what_a_stranger_s_voice_is() -> None:
    """Both, only the translation, or only the original."""
    assert wanted("es", "both", [BOB]) == [translation(BOB, "es"), original(BOB)]
    assert wanted("es", "translated", [BOB]) == [translation(BOB, "es")]
    assert wanted("es", "original", [BOB]) == [original(BOB)]


def test_without_translation_the_original_stands_in() -> None:
    """Nobody is mute because the engine does not have their language."""
    assert wanted("es", "translated", [EVE]) == [original(EVE)]


def test_order_of_equals_is_stable() -> None:
    """Two who never spoke do not swap places with the order in which they are listed."""
    a, b = Speaker("a", "en", 0.0, True), Speaker("b", "en", 0.0, True)
    assert wanted("en", "both", [a, b]) == wanted("en", "both", [b, a])


keys = st.lists(st.builds(StreamKey, st.sampled_from("abcdefgh"), st.just("original"), st.just("en")), unique=True)
mids = st.lists(st.sampled_from("0123456"), unique=True)


@given(mids, st.lists(keys, min_size=1, max_size=8))
def test_streams_stay_where_they_are(slots: list[str], history: list[list[StreamKey]]) -> None:
    """Over any history: the most relevant are heard, each once, never more than there are slots, and sticky."""
    current: dict[str, StreamKey] = {}
    for relevant in history:
        result = assign(slots, current, relevant)
        assert set(result.values()) == set(relevant[: len(slots)])
        assert len(set(result.values())) == len(result) <= len(slots)
        assert set(result) <= set(slots)
        for mid, key in current.items():
            if key in relevant[: len(slots)]:
                assert result[mid] == key
        current = result


@given(mids, mids, keys)
def test_slots_that_are_gone_are_given_up(before: list[str], after: list[str], relevant: list[StreamKey]) -> None:
    """After a reconnection with other m-lines, nothing is assigned to one that no longer exists."""
    result = assign(after, assign(before, {}, relevant), relevant)
    assert set(result) <= set(after)
    assert len(result) == min(len(after), len(relevant))
