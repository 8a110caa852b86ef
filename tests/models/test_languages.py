"""The table of languages is consistent."""

from models.languages import BY_CODE, TONGUES, apertium_modes


def test_every_language_is_there_once_with_its_names() -> None:
    assert list(BY_CODE) == [tongue.code for tongue in TONGUES]
    assert all(tongue.name and tongue.english and tongue.apertium and tongue.espeak for tongue in TONGUES)
    assert BY_CODE["gl"].accent in BY_CODE


def test_modes_are_looked_for_by_new_names_first() -> None:
    assert apertium_modes("en", "es") == ["eng-spa", "eng-es", "en-spa", "en-es"]
