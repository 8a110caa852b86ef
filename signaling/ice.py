"""ICE servers, with TURN credentials that expire. Pure but for the clock."""

import base64
import hashlib
import hmac
import time
from typing import Any

from signaling.settings import Settings


def ice_servers(settings: Settings, now: float | None = None) -> list[dict[str, Any]]:
    """As `RTCIceServer` dictionaries (W3C WebRTC §4.2.4).

    The TURN user name is the time (Unix seconds) at which it expires, the credential its HMAC-SHA1 under the shared
    secret (draft-uberti-behave-turn-rest-00; coturn's `use-auth-secret`).
    """
    servers: list[dict[str, Any]] = []
    if settings.stun_url:
        servers.append({"urls": [settings.stun_url]})
    if settings.turn_urls:
        username = f"{round((time.time() if now is None else now) + settings.turn_ttl)}:dragoman"
        digest = hmac.new(settings.turn_secret.encode(), username.encode(), hashlib.sha1).digest()
        credential = base64.b64encode(digest).decode()
        servers.append({"urls": list(settings.turn_urls), "username": username, "credential": credential})
    return servers
