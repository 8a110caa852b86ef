"""Short-lived secrets for clients that must not know the server's key, as in OpenAI's Realtime API: `ek_…`. Pure.

A secret is its own record: when it ends, and a signature (HMAC-SHA256, RFC 2104). Nothing is stored, so nothing grows,
and all processes that share a key know each other's secrets.
"""

import base64
import binascii
import hashlib
import hmac
import secrets

PREFIX = "ek_"
DEFAULT_LIFE, MIN_LIFE, MAX_LIFE = 600, 10, 7200
"""Seconds, as OpenAI has them."""

_STAMP, _NONCE = 8, 8  # bytes


class ClientSecrets:
    """`issue` them, and ask whether somebody is `allowed`."""

    def __init__(self, api_key: str) -> None:
        """`api_key`: the server's; empty if it has none."""
        self._api_key = api_key.encode()
        secret = self._api_key or secrets.token_bytes(32)
        self._signing_key = hmac.digest(secret, b"dragoman client secret", hashlib.sha256)

    def issue(self, life: int, now: float) -> tuple[str, int]:
        """(secret, the second since 1970 at which it ends)."""
        end = int(now) + life
        record = end.to_bytes(_STAMP, "big") + secrets.token_bytes(_NONCE)
        return PREFIX + base64.urlsafe_b64encode(record + self._sign(record)).decode().rstrip("="), end

    def is_key(self, token: str | None) -> bool:
        """It is the server's own key; every token is, and none, where there is no key."""
        shown = (token or "").encode(errors="surrogateescape")  # as aiohttp decodes what is no UTF-8 in a header
        return not self._api_key or hmac.compare_digest(shown, self._api_key)

    def allowed(self, token: str | None, now: float) -> bool:
        """Whether who shows this may make a call. A secret that is shown must be good, even where none is needed."""
        if token is not None and token.startswith(PREFIX):
            return self._is_good(token.removeprefix(PREFIX), now)
        return self.is_key(token)

    def _is_good(self, text: str, now: float) -> bool:
        try:
            data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            return False
        record, signature = data[: _STAMP + _NONCE], data[_STAMP + _NONCE :]
        return hmac.compare_digest(signature, self._sign(record)) and now < int.from_bytes(record[:_STAMP], "big")

    def _sign(self, record: bytes) -> bytes:
        return hmac.digest(self._signing_key, record, hashlib.sha256)
