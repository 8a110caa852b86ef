"""What a client resumes with: a signed statement of who it is, which any process with the secret can check."""

import base64
import hashlib
import hmac
import json
from dataclasses import asdict, dataclass

MAX_TOKEN = 1024
"""Characters; ours have about 250."""


class BadToken(Exception):
    """Forged, mangled or expired."""


@dataclass(frozen=True, slots=True)
class SessionToken:
    """Who somebody is in a room. It is no secret, only signed: nothing in it may be one."""

    room: str
    generation: int
    """Of the room's placement: a session of an earlier one may move to a later one."""
    participant: str
    session: str
    expires: int
    """Unix seconds."""

    def sign(self, secret: bytes) -> str:
        """As text that fits into an address: the fields as JSON and their HMAC-SHA256 (RFC 2104), both base64url."""
        body = _encode(json.dumps(asdict(self), separators=(",", ":")).encode())
        return f"{body}.{_encode(_digest(body, secret))}"

    @classmethod
    def read(cls, text: str, secret: bytes, now: float) -> "SessionToken":
        """What a token says. `now`: Unix seconds. Raises BadToken."""
        body, _, signature = text.partition(".")
        if len(text) > MAX_TOKEN or not text.isascii():
            raise BadToken("That is no session token.")
        if not hmac.compare_digest(_encode(_digest(body, secret)), signature):
            raise BadToken("That session token was not made here.")
        token = cls(**json.loads(_decode(body)))  # ours, since the signature is
        if token.expires <= now:
            raise BadToken("That session token has expired.")
        return token


def _digest(body: str, secret: bytes) -> bytes:
    return hmac.new(secret, body.encode(), hashlib.sha256).digest()


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
