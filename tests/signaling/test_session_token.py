"""Session tokens: who may read them, for how long, and what is made of forged ones."""

import pytest

from signaling.session_token import MAX_TOKEN, BadToken, SessionToken

SECRET = b"of this house"
TOKEN = SessionToken("blue", 1, "p_ana", "s_ana", expires=1000)


def test_what_was_signed_is_read() -> None:
    """Every field, by whoever has the secret; the text fits into an address."""
    signed = TOKEN.sign(SECRET)
    assert SessionToken.read(signed, SECRET, 999.0) == TOKEN
    assert len(signed) < MAX_TOKEN / 2 and signed.replace(".", "").replace("-", "").replace("_", "").isalnum()


def test_it_expires() -> None:
    """At the second that it says."""
    with pytest.raises(BadToken, match="expired"):
        SessionToken.read(TOKEN.sign(SECRET), SECRET, 1000.0)


def test_another_house_has_another_secret() -> None:
    """A token of elsewhere is worth nothing here."""
    with pytest.raises(BadToken, match="not made here"):
        SessionToken.read(TOKEN.sign(b"of another"), SECRET, 0.0)


def test_no_character_can_be_changed() -> None:
    """Neither of what it says nor of the signature."""
    signed = TOKEN.sign(SECRET)
    for index, character in enumerate(signed):
        forged = signed[:index] + ("A" if character != "A" else "B") + signed[index + 1 :]
        with pytest.raises(BadToken):
            SessionToken.read(forged, SECRET, 0.0)


def test_another_body_under_an_old_signature_is_forged() -> None:
    """Somebody else's name, with my signature."""
    other = SessionToken("blue", 1, "p_bob", "s_bob", expires=1000).sign(SECRET)
    mixed = other.partition(".")[0] + "." + TOKEN.sign(SECRET).partition(".")[2]
    with pytest.raises(BadToken):
        SessionToken.read(mixed, SECRET, 0.0)


@pytest.mark.parametrize(
    "text", ["", ".", "r_abcdefghijkl", "a.b.c", "é.ü", "\0", "x" * 10_000, "." * 500, "null.null"]
)
def test_what_is_no_token_at_all(text: str) -> None:
    """The same refusal, whatever it is."""
    with pytest.raises(BadToken):
        SessionToken.read(text, SECRET, 0.0)
