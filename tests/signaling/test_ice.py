"""TURN credentials as coturn checks them."""

import base64
import hashlib
import hmac

from signaling.ice import ice_servers
from signaling.settings import Settings


def test_credentials_expire_and_are_signed_with_the_secret() -> None:
    """The user name is the time of expiry; the password its HMAC-SHA1."""
    settings = Settings(
        turn_urls=("turn:a:3478", "turns:a:5349"), turn_secret="s3cret", turn_ttl=600, stun_url="stun:b"
    )
    stun, turn = ice_servers(settings, now=1_000_000.0)
    assert stun == {"urls": ["stun:b"]}
    assert turn["urls"] == ["turn:a:3478", "turns:a:5349"] and turn["username"] == "1000600:dragoman"
    signature = hmac.new(b"s3cret", turn["username"].encode(), hashlib.sha1).digest()
    assert base64.b64decode(turn["credential"]) == signature


def test_nothing_set_nothing_given() -> None:
    """On a local network host candidates are enough."""
    assert ice_servers(Settings()) == []
