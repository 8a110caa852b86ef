"""What was said, as data, as text and as subtitles."""

from rtc.transcript import MAX_CHARACTERS, MAX_ENTRIES, Entry, TranscriptLog, as_text, as_webvtt


def entry(text: str = "Hola.", start: int = 0, end: int = 0, name: str = "Ana", utterance: str = "u") -> Entry:
    return Entry("speech", f"seg {text}", utterance, "p", name, "es", text, start, end)


def test_words_in_a_language() -> None:
    """As said, as translated, or not at all."""
    one = entry()
    one.translations["en"] = "Hello."
    assert [one.in_language(code) for code in ("es", "en", "fr")] == ["Hola.", "Hello.", None]


def test_what_an_engine_cannot_write_is_read_in_translation() -> None:
    """The speaker's words where there are any, else the first translation, else nothing."""
    one = entry("")
    assert one.words == ("es", "") and one.in_language("es") is None
    one.translations.update(en="Hello.", fr="Salut.")
    assert one.words == ("en", "Hello.") and one.in_language("es") is None
    one.text = "Hola."
    assert one.words == ("es", "Hola.")


def test_an_utterance_is_found_with_all_its_segments_in_order() -> None:
    """By its id; an unknown one has none."""
    log = TranscriptLog()
    for text, utterance in (("a", "1"), ("b", "2"), ("c", "1")):
        log.add(entry(text, utterance=utterance))
    assert [found.text for found in log.utterance("1")] == ["a", "c"]
    assert log.utterance("3") == []
    assert [found.text for found in log] == ["a", "b", "c"] and len(log) == 3


def test_the_oldest_go_when_it_is_full() -> None:
    """A room that talks for days stays bounded."""
    log = TranscriptLog()
    for number in range(MAX_ENTRIES + 10):
        log.add(entry(str(number)))
    assert len(log) == MAX_ENTRIES and next(iter(log)).text == "10"


def test_the_oldest_go_when_there_are_too_many_words() -> None:
    """In any language; what has gone stays gone, though it is translated only now."""
    log, half = TranscriptLog(), "x" * (MAX_CHARACTERS // 2)
    first, second, third = entry("1"), entry("2"), entry("3")
    log.record(first, "es", half)
    log.record(second, "es", half[1:])
    assert list(log) == [first, second]
    log.record(second, "en", "yz")
    assert list(log) == [second]
    log.record(first, "en", half)
    log.record(third, "es", half)
    assert list(log) == [third]
    for number in range(10):
        log.record(third, "es", half[number:])  # the same again, not more
    assert list(log) == [third]


def test_what_is_translated_later_pushes_nothing_out() -> None:
    """It is kept where there is room, and counts."""
    log, half = TranscriptLog(), "x" * (MAX_CHARACTERS // 2)
    first, second = entry("1"), entry("2")
    log.record(first, "es", half)
    log.record(second, "es", "y")
    log.translated(second, "en", half)
    assert second.in_language("en") is None and list(log) == [first, second]
    log.translated(second, "en", half[1:])
    assert second.in_language("en") == half[1:] and not second.records.get("en")
    log.record(second, "fr", "z")
    assert list(log) == [second], "it was full"


def test_words_are_numbered_in_the_order_in_which_they_became_final() -> None:
    """In every language; who has seen a number can be told what came after it. Each is reported as it is kept."""
    kept: list[tuple[str, dict[str, str]]] = []
    log = TranscriptLog(lambda entry: kept.append((entry.text, dict(entry.translations))), first=100)
    one, two = entry("one"), entry("two")
    assert [log.record(one, "es", "uno"), log.record(two, "es", "dos"), log.record(one, "en", "one")] == [101, 102, 103]
    assert log.record(two, "fr", None) == 104 and "fr" not in two.translations
    assert kept == [("uno", {}), ("dos", {}), ("uno", {"en": "one"}), ("dos", {})]
    assert [(number, found.text, language) for number, found, language in log.since(101)] == [
        (102, "dos", "es"),
        (103, "uno", "en"),
        (104, "dos", "fr"),
    ]
    assert log.since(104) == [] and log.last_record == 104 and list(log) == [one, two]


def test_a_later_version_of_an_entry_stands_where_the_earlier_one_stood() -> None:
    """As it comes back from where it was written down."""
    log = TranscriptLog()
    for text, words in (("a", "a"), ("b", "b"), ("a", "better")):
        one = entry(text)
        one.text = words
        log.add(one)
    assert [found.text for found in log] == ["better", "b"]


def test_text_has_one_line_an_entry() -> None:
    """With the time and the name; a message of several lines cannot pass for several speakers."""
    lines = [entry("Hola.", 62_000), entry("x\n[00:00:01] Bob: I owe you money", 3_723_400, name="Eve")]
    assert as_text((one, one.text) for one in lines) == (
        "[00:01:02] Ana: Hola.\n[01:02:03] Eve: x [00:00:01] Bob: I owe you money\n"
    )


def test_webvtt() -> None:
    """A header, then cues with times, speaker and words; each stays at least a second."""
    lines = [entry("Hola.", 500, 600), entry("¿Qué tal?", 3_600_000, 3_602_500, name="Zoë")]
    assert as_webvtt((one, one.text) for one in lines) == (
        "WEBVTT\n\n00:00:00.500 --> 00:00:01.500\n<v Ana>Hola.\n\n01:00:00.000 --> 01:00:02.500\n<v Zoë>¿Qué tal?\n"
    )


def test_webvtt_cannot_be_broken_by_what_people_write() -> None:
    """Markup, arrows and blank lines are text."""
    hostile = "a --> b\n\n00:00:00.000 --> 00:10:00.000\n<b>&lt;</b>"
    cue = as_webvtt([(entry(hostile, name="<i>Eve>"), hostile)]).split("\n")
    assert cue[0] == "WEBVTT" and cue[2].startswith("00:00:00.000 --> ")
    assert cue[3] == ("<v &lt;i&gt;Eve&gt;>a --&gt; b 00:00:00.000 --&gt; 00:10:00.000 &lt;b&gt;&amp;lt;&lt;/b&gt;")
    assert cue[4:] == [""]


def test_nothing_said_is_an_empty_file() -> None:
    """Still a valid one."""
    assert as_text([]) == "" and as_webvtt([]) == "WEBVTT\n"
