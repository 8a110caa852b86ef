"""Short-lived secrets: signed, not stored. Pure."""

import pytest

from signaling.client_secrets import ClientSecrets

NOW = 1_800_000_000.0
KEY = "sk-key"


def test_a_secret_lives_as_long_as_it_says() -> None:
    """To the second, and not by another key's word."""
    secrets = ClientSecrets(KEY)
    secret, end = secrets.issue(60, NOW)
    assert secret.startswith("ek_") and end == NOW + 60
    assert secrets.allowed(secret, NOW) and secrets.allowed(secret, NOW + 59)
    assert not secrets.allowed(secret, NOW + 60)
    assert ClientSecrets(KEY).allowed(secret, NOW), "another process with the same key"
    assert not ClientSecrets("sk-other").allowed(secret, NOW)
    assert secrets.issue(60, NOW)[0] != secret


@pytest.mark.parametrize("text", ["", "A", "====", "ä", "AAAA", "A" * 10_000, "A" * 64])
def test_what_is_no_secret_is_refused(text: str) -> None:
    assert not ClientSecrets("").allowed(f"ek_{text}", NOW)


def test_no_bit_of_it_can_be_changed() -> None:
    secrets = ClientSecrets("")
    secret, _ = secrets.issue(60, NOW)
    for at in range(3, len(secret)):
        changed = secret[:at] + ("B" if secret[at] == "A" else "A") + secret[at + 1 :]
        assert not secrets.allowed(changed, NOW), at


def test_who_has_the_key_needs_no_secret_and_without_a_key_everybody_may() -> None:
    """Only the key gives secrets, where there is one."""
    guarded, open_to_all = ClientSecrets(KEY), ClientSecrets("")
    for token, may in ((KEY, True), ("sk-other", False), ("sk-\udcff", False), (None, False), ("", False)):
        assert guarded.allowed(token, NOW) == guarded.is_key(token) == may
        assert open_to_all.allowed(token, NOW) and open_to_all.is_key(token)
    assert not guarded.is_key(guarded.issue(60, NOW)[0])
