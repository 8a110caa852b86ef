"""Where speech is cut."""

from hypothesis import given
from hypothesis import strategies as st

from rtc.segmenter import Cut, Segmenter, SegmenterSettings

SETTINGS = SegmenterSettings()
SPEECH, SILENCE, DOUBT = 0.9, 0.05, 0.4


def cuts(*runs: tuple[float, int], segmenter: Segmenter | None = None) -> list[tuple[int, Cut]]:
    """(window, what it meant) for runs of (probability, windows)."""
    segmenter = segmenter or Segmenter()
    windows = [probability for probability, count in runs for _ in range(count)]
    return [(index, cut) for index, probability in enumerate(windows) for cut in segmenter.push(probability)]


def kinds(found: list[tuple[int, Cut]]) -> list[Cut]:
    return [cut for _, cut in found]


ONE = [Cut.UTTERANCE_STARTED, Cut.SEGMENT_STARTED, Cut.SEGMENT_ENDED, Cut.UTTERANCE_ENDED]


def test_one_sentence_is_one_segment_of_one_utterance() -> None:
    """It starts after two windows, its segment ends after 224 ms of silence, the turn after 896 ms."""
    found = cuts((SILENCE, 10), (SPEECH, 40), (SILENCE, 60))
    assert kinds(found) == ONE
    assert [index for index, _ in found] == [11, 11, 49 + SETTINGS.endpoint, 49 + SETTINGS.turn]


def test_a_short_word_is_waited_for_longer() -> None:
    """After less than 640 ms of speech, a pause of 384 ms ends the segment: people stop after their first word."""
    found = cuts((SPEECH, 10), (SILENCE, 60))
    assert found[2] == (9 + SETTINGS.patient_endpoint, Cut.SEGMENT_ENDED)
    assert kinds(cuts((SPEECH, 10), (SILENCE, SETTINGS.endpoint + 1), (SPEECH, 20), (SILENCE, 60))) == ONE


def test_it_knows_how_much_of_a_segment_was_speech() -> None:
    """Pauses within it and the silence that ended it are none; the next segment is counted anew."""
    segmenter = Segmenter()
    cuts((SPEECH, 30), (SILENCE, 3), (DOUBT, 5), (SILENCE, SETTINGS.endpoint), segmenter=segmenter)
    assert not segmenter.in_segment and segmenter.speech == 35
    cuts((SPEECH, 10), segmenter=segmenter)
    assert segmenter.in_segment and segmenter.speech == 10


def test_one_utterance_may_have_several_segments() -> None:
    """A pause longer than the endpoint, shorter than the turn, cuts a segment and keeps the turn."""
    found = kinds(cuts((SPEECH, 40), (SILENCE, 15), (SPEECH, 40), (SILENCE, 15), (SPEECH, 40), (SILENCE, 60)))
    assert found == [Cut.UTTERANCE_STARTED, *[Cut.SEGMENT_STARTED, Cut.SEGMENT_ENDED] * 3, Cut.UTTERANCE_ENDED]


def test_a_click_is_dropped() -> None:
    """Three windows above the bar are a segment for a moment, and then none."""
    found = kinds(cuts((SILENCE, 5), (SPEECH, 3), (SILENCE, 60)))
    assert found == [Cut.UTTERANCE_STARTED, Cut.SEGMENT_STARTED, Cut.SEGMENT_DROPPED, Cut.UTTERANCE_ENDED]


def test_one_loud_window_is_nothing() -> None:
    """Not even the beginning of an utterance."""
    assert cuts(*[(SPEECH, 1), (SILENCE, 1)] * 50) == []


def test_doubt_keeps_speech_going_but_does_not_begin_it() -> None:
    """Hysteresis: a higher bar to begin than to go on."""
    assert cuts((DOUBT, 200)) == []
    assert kinds(cuts((SPEECH, 25), (DOUBT, 200))) == ONE[:2]


def test_a_monologue_is_cut_at_a_clause_after_12_s() -> None:
    """From the soft limit on a pause of 96 ms is enough; the turn goes on."""
    found = cuts((SPEECH, SETTINGS.soft_limit), (SILENCE, SETTINGS.clause_pause), (SPEECH, 50))
    assert found[2] == (SETTINGS.soft_limit + SETTINGS.clause_pause - 1, Cut.SEGMENT_ENDED)
    assert kinds(found) == [Cut.UTTERANCE_STARTED, Cut.SEGMENT_STARTED, Cut.SEGMENT_ENDED, Cut.SEGMENT_STARTED]


def test_speech_without_any_pause_is_cut_at_20_s() -> None:
    """Wherever it is; the next segment begins at once and the turn goes on."""
    found = cuts((SPEECH, 3 * SETTINGS.hard_limit))
    ends = [index for index, cut in found if cut is Cut.SEGMENT_ENDED]
    assert ends == [SETTINGS.hard_limit * n - 1 for n in (1, 2, 3)]
    assert kinds(found).count(Cut.UTTERANCE_STARTED) == 1


def test_flush_ends_what_is_open() -> None:
    """Speech that is cut off by its source being gone is still a segment; a second flush finds nothing."""
    segmenter = Segmenter()
    cuts((SPEECH, 30), segmenter=segmenter)
    assert segmenter.in_segment and segmenter.in_utterance
    assert segmenter.flush() == [Cut.SEGMENT_ENDED, Cut.UTTERANCE_ENDED]
    assert segmenter.flush() == []
    assert not segmenter.in_segment and not segmenter.in_utterance


def test_flush_in_a_pause_ends_the_turn_alone() -> None:
    """The segment had ended before."""
    segmenter = Segmenter()
    cuts((SPEECH, 30), (SILENCE, 15), segmenter=segmenter)
    assert segmenter.flush() == [Cut.UTTERANCE_ENDED]


def test_after_a_flush_it_begins_again() -> None:
    """Nothing of the past is left in the counters."""
    segmenter = Segmenter()
    cuts((SPEECH, 30), segmenter=segmenter)
    segmenter.flush()
    assert kinds(cuts((SILENCE, 5), (SPEECH, 40), (SILENCE, 60), segmenter=segmenter)) == ONE
    cuts((SPEECH, 1), segmenter=segmenter)
    segmenter.flush()
    assert cuts((SPEECH, 1), (SILENCE, 1), segmenter=segmenter) == []  # one loud window before, and one after


runs = st.lists(st.tuples(st.sampled_from([SPEECH, SILENCE, DOUBT]), st.integers(1, 60)), max_size=40)


@given(runs, st.sampled_from([SETTINGS, SegmenterSettings(soft_limit=50, hard_limit=80)]))
def test_segments_are_nested_in_utterances_and_bounded(
    pattern: list[tuple[float, int]], settings: SegmenterSettings
) -> None:
    """However people speak: begin and end alternate, segments lie inside utterances, none exceeds the hard limit."""
    segmenter = Segmenter(settings)
    found = cuts(*pattern, segmenter=segmenter)
    end = sum(count for _, count in pattern)
    found += [(end, cut) for cut in segmenter.flush()]
    utterance = segment = False
    began = 0
    for index, cut in found:
        match cut:
            case Cut.UTTERANCE_STARTED:
                assert not utterance and not segment
                utterance = True
            case Cut.SEGMENT_STARTED:
                assert utterance and not segment
                segment, began = True, index
            case Cut.SEGMENT_ENDED | Cut.SEGMENT_DROPPED:
                assert utterance and segment
                segment = False
                assert index - began <= settings.hard_limit
                # a segment with enough speech is never dropped, one of nothing never kept
                windows = [p for p, count in pattern for _ in range(count)][began - 1 : index + 1]
                spoken = sum(p >= settings.offset for p in windows)
                assert (spoken >= settings.min_speech) == (cut is Cut.SEGMENT_ENDED)
            case Cut.UTTERANCE_ENDED:
                assert utterance and not segment
                utterance = False
    assert not utterance and not segment
