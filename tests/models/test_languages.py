"""The table of languages is consistent, and says what the programs and the checkpoint say."""

import re

import pytest

from models.languages import BY_CODE, BY_SEAMLESS, LANGUAGES, TONGUES, Tongue, apertium_modes

SPEAKERS = (
    "arb 0 ben 1 cat 2 ces 3 cmn 4 cym 6 dan 7 deu 9 eng 10 est 11 fin 14 fra 15 hin 16 ind 17 ita 29 jpn 30 kor 31 "
    "mlt 32 nld 35 pes 38 pol 39 por 40 ron 41 rus 43 slk 44 spa 45 swe 46 swh 49 tel 52 tgl 53 tha 54 tur 61 ukr "
    "62 urd 63 uzn 66 vie 69"
).split()
"""The first speaker of each language in `multispkr` of seamless_communication's cards/vocoder_v2.yaml."""

TEXT_ONLY = (
    "afr amh ary arz asm azj bel bos bul ceb ckb ell eus fuv gaz gle glg guj heb hrv hun hye ibo isl jav kan kat "
    "kaz khk khm kir lao lit lug luo lvs mai mal mar mkd mni mya nno nob npi nya ory pan pbt sat slv sna snd som "
    "srp tam tgk yor yue zlm zul"
).split()
"""Languages that the checkpoint writes and its vocoder does not speak."""


@pytest.mark.parametrize("tongue", LANGUAGES.values(), ids=LANGUAGES)
def test_every_language_has_a_tag_and_names(tongue: Tongue) -> None:
    """RFC 5646: language, here and there a script, and nothing else. Browsers compare tags letter by letter."""
    assert re.fullmatch(r"[a-z]{2,3}(-[A-Z][a-z]{3})?", tongue.code)
    assert re.fullmatch(r"[a-z]{3}(_[A-Z][a-z]{3})?", tongue.seamless)
    assert tongue.name == tongue.name.strip() != "" and tongue.english == tongue.english.strip() != ""
    assert tongue.english.isascii() or tongue.code == "nb"


def test_no_two_languages_look_the_same() -> None:
    """To a program, or in the picker."""
    for names in zip(*((t.code, t.seamless, t.name, t.english) for t in LANGUAGES.values()), strict=True):
        assert len({name.casefold() for name in names}) == len(LANGUAGES)


def test_codes_lead_there_and_back() -> None:
    assert all(BY_SEAMLESS[tongue.seamless] is LANGUAGES[code] for code, tongue in LANGUAGES.items())


@pytest.mark.parametrize(
    ("seamless", "code"),
    [
        *[("cmn", "zh"), ("cmn_Hant", "zh-Hant"), ("yue", "yue"), ("pes", "fa"), ("arb", "ar"), ("arz", "arz")],
        *[("swh", "sw"), ("uzn", "uz"), ("azj", "az"), ("khk", "mn"), ("lvs", "lv"), ("npi", "ne"), ("ory", "or")],
        *[("pbt", "ps"), ("gaz", "om"), ("nob", "nb"), ("nno", "nn"), ("zlm", "ms"), ("tgl", "fil"), ("fuv", "fuv")],
    ],
)
def test_codes_that_do_not_follow_from_each_other(seamless: str, code: str) -> None:
    """SeamlessM4T names one language of a group where people and browsers name the group."""
    assert BY_SEAMLESS[seamless].code == code


def test_the_vocoder_has_36_voices_and_each_language_its_own() -> None:
    """Both scripts of Mandarin sound alike; 0 is Arabic's, and nobody else's by omission."""
    speakers = dict(zip(SPEAKERS[::2], map(int, SPEAKERS[1::2]), strict=True))
    spoken = {t.voice: t.speaker for t in LANGUAGES.values() if t.voice is not None}
    assert spoken == speakers and len(spoken) == 36
    assert LANGUAGES["zh-Hant"].voice == "cmn" and LANGUAGES["zh-Hant"].speaker == LANGUAGES["zh"].speaker
    assert [t.code for t in LANGUAGES.values() if t.speaker == 0] == ["ar"]


def test_what_is_written_and_what_is_only_understood() -> None:
    """98 target languages as in the checkpoint; six that it can only listen to."""
    written = {tongue.seamless for tongue in LANGUAGES.values() if tongue.text}
    assert written == {*SPEAKERS[::2], *TEXT_ONLY, "cmn_Hant"} and len(written) == 98
    assert {t.seamless for t in LANGUAGES.values() if not t.text} == {"ast", "kam", "kea", "ltz", "oci", "xho"}
    assert [t.code for t in LANGUAGES.values() if not t.heard] == ["sat"]


def test_the_embedded_engine_has_its_seven() -> None:
    """In the order in which they are shown, each with its programs' names."""
    assert list(BY_CODE) == [tongue.code for tongue in TONGUES] == ["en", "es", "ca", "gl", "fr", "pt", "it"]
    assert all(tongue.apertium and tongue.espeak for tongue in TONGUES)
    assert BY_CODE["gl"].accent in BY_CODE
    assert [tongue.code for tongue in LANGUAGES.values() if tongue.espeak or tongue.apertium] == sorted(BY_CODE)


def test_modes_are_looked_for_by_new_names_first() -> None:
    assert apertium_modes("en", "es") == ["eng-spa", "eng-es", "en-spa", "en-es"]
