"""ICE servers: who is asked for credentials, what their answers say, for how long, in which order. No I/O."""

import base64
import hashlib
import hmac
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from signaling.settings import Settings

IceServer = dict[str, Any]
"""An `RTCIceServer` dictionary (W3C WebRTC §4.2.4); its `urls` are a list here."""

URL = re.compile(
    r"stuns?:(?P<stun>[\w.-]+)(?::(?P<stun_port>\d{1,5}))?"
    r"|turns?:(?P<turn>[\w.-]+)(?::(?P<turn_port>\d{1,5}))?(?:\?transport=(?:udp|tcp))?",
    re.ASCII,
)
"""RFC 7064 and RFC 7065, as much of them as browsers and aiortc have in common: no IPv6 literals."""

RENEW_AFTER, USABLE = 0.5, 0.9
"""Parts of a lifetime: after the one, credentials are asked for anew; after the other, nobody is given the old ones, as
there must be time left to connect."""

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0
"""Seconds before a provider that failed is asked again: doubled each time."""


def port_range(text: str) -> range:
    """`first-last`, both included. Raises ValueError."""
    first, _, last = text.partition("-")
    if not (first.isdecimal() and last.isdecimal() and 1024 <= int(first) <= int(last) <= 65535):
        raise ValueError(f"{text!r} is no range of ports; 40000-40999 is one (1024 is the lowest)")
    return range(int(first), int(last) + 1)


def share_of(text: str, number: int, shares: int) -> str:
    """The part of a range, as even as can be, that falls to one of several processes: no two can have one port."""
    if not text:
        return ""
    ports = port_range(text)
    first, end = (len(ports) * one // shares for one in (number, number + 1))
    return f"{ports[first]}-{ports[end - 1]}"


def check(settings: Settings) -> None:
    """Raises ValueError, a sentence for who set it, if something cannot work."""
    if settings.media_ports and len(port_range(settings.media_ports)) < settings.workers:
        raise ValueError("--media-ports has fewer ports than there are workers, and each needs one of its own")
    for url in (settings.stun_url, *settings.turn_urls):
        if url and port_of(url) is None:
            raise ValueError(f"{url!r} is no address of a STUN or TURN server; turn:turn.example.org:3478 is one")
    if settings.turn and settings.turn_urls:
        raise ValueError("--turn starts a TURN server, --turn-url names another: give one of them")
    if settings.turn_urls and not settings.turn_secret:
        raise ValueError("--turn-url needs --turn-secret, which that server shares with us")
    if settings.turn_ttl < 60:
        raise ValueError("--turn-ttl is at least 60 seconds: one must be able to connect meanwhile")
    for one, other in (
        ("cloudflare_turn_key_id", "cloudflare_turn_token"),
        ("twilio_account_sid", "twilio_auth_token"),
        ("turn_cert", "turn_key"),
    ):
        if bool(getattr(settings, one)) != bool(getattr(settings, other)):
            flags = " and ".join("--" + name.replace("_", "-") for name in (one, other))
            raise ValueError(f"{flags} go together")


def shared_secret(urls: Iterable[str], secret: str, ttl: float, now: float, user: str) -> IceServer:
    """Credentials that the TURN server checks by itself.

    The user name is the time (Unix seconds) at which it expires and an id by which the server counts allocations, the
    credential its HMAC-SHA1 under the secret (draft-uberti-behave-turn-rest-00; coturn's `use-auth-secret`).
    """
    username = f"{round(now + ttl)}:{user}"
    digest = hmac.new(secret.encode(), username.encode(), hashlib.sha1).digest()
    return {"urls": list(urls), "username": username, "credential": base64.b64encode(digest).decode()}


@dataclass(frozen=True, slots=True)
class Provider:
    """Who gives credentials over HTTP, and how they are asked: one POST."""

    name: str
    url: str
    headers: Mapping[str, str] = field(repr=False)
    body: Mapping[str, str | int]
    form: bool
    """The body is a form; else it is JSON."""
    key: str
    """Of the list of servers in the answer."""
    ttl: float
    """Seconds asked for; the answer may say less."""


def cloudflare(key_id: str, token: str, ttl: int, base: str = "https://rtc.live.cloudflare.com") -> Provider:
    """Cloudflare Realtime TURN (developers.cloudflare.com/realtime/turn/generate-credentials)."""
    url = f"{base}/v1/turn/keys/{key_id}/credentials/generate-ice-servers"
    return Provider("Cloudflare", url, {"Authorization": f"Bearer {token}"}, {"ttl": ttl}, False, "iceServers", ttl)


def twilio(account_sid: str, token: str, ttl: int, base: str = "https://api.twilio.com") -> Provider:
    """Twilio Network Traversal Service (twilio.com/docs/stun-turn/api)."""
    url = f"{base}/2010-04-01/Accounts/{account_sid}/Tokens.json"
    basic = base64.b64encode(f"{account_sid}:{token}".encode()).decode()
    return Provider("Twilio", url, {"Authorization": f"Basic {basic}"}, {"Ttl": str(ttl)}, True, "ice_servers", ttl)


def providers(settings: Settings) -> list[Provider]:
    """Those that are set."""
    chosen = []
    if settings.cloudflare_turn_key_id:
        key_id, token = settings.cloudflare_turn_key_id, settings.cloudflare_turn_token
        chosen.append(cloudflare(key_id, token, settings.turn_ttl))
    if settings.twilio_account_sid:
        chosen.append(twilio(settings.twilio_account_sid, settings.twilio_auth_token, settings.turn_ttl))
    return chosen


def read_answer(provider: Provider, answer: object) -> tuple[list[IceServer], float]:
    """The servers in a provider's answer, and for how many seconds they hold. Raises ValueError, without secrets."""
    listed = answer.get(provider.key) if isinstance(answer, dict) else None
    if not isinstance(answer, dict) or not isinstance(listed, list):
        raise ValueError(f"there is no list {provider.key!r} in the answer")
    servers = [server for entry in listed if (server := _read_server(entry)) is not None]
    if not any("credential" in server for server in servers):
        raise ValueError("there is no TURN server in the answer")
    try:
        lifetime = float(answer.get("ttl", provider.ttl))
    except (TypeError, ValueError, OverflowError):
        lifetime = provider.ttl
    return servers, min(lifetime, provider.ttl) if lifetime > 0 else provider.ttl


def _read_server(entry: object) -> IceServer | None:
    """What of an entry can be used; None if that is nothing."""
    if not isinstance(entry, dict):
        return None
    urls = entry.get("urls")
    urls = [url for url in (urls if isinstance(urls, list) else [urls]) if isinstance(url, str)]
    urls = [url for url in urls if port_of(url) not in (None, 53)]  # Cloudflare names 53, too; browsers do not use it
    if not urls:
        return None
    if all(url.startswith("stun") for url in urls):
        return {"urls": urls}
    username, credential = entry.get("username"), entry.get("credential")
    if not (isinstance(username, str) and isinstance(credential, str) and username and credential):
        return None
    return {"urls": urls, "username": username, "credential": credential}


def port_of(url: str) -> int | None:
    """Of a STUN or TURN address, 0 for its scheme's own; None if it is no address: one of those breaks every join."""
    parsed = URL.fullmatch(url)
    if parsed is None:
        return None
    port = int(parsed["stun_port"] or parsed["turn_port"] or 0)
    return port if port < 0x10000 else None


def ordered(servers: Iterable[IceServer]) -> list[IceServer]:
    """STUN before TURN, UDP before TCP before TLS: aiortc takes the first of each kind, browsers try them all."""
    sorted_within = [{**server, "urls": sorted(server["urls"], key=_rank)} for server in servers]
    return sorted(sorted_within, key=lambda server: _rank(server["urls"][0]))


def _rank(url: str) -> int:
    if url.startswith("stun"):
        return 0
    return 3 if url.startswith("turns:") else 2 if url.endswith("=tcp") else 1


class Lease:
    """What one provider gave, and when to ask again. Time is an argument: seconds of any clock that goes on."""

    def __init__(self) -> None:
        self._servers: list[IceServer] = []
        self._usable_until = 0.0
        self._pause = FIRST_PAUSE
        self.due = 0.0
        """When to ask next."""

    def servers(self, now: float) -> list[IceServer]:
        """The last good ones, while they hold."""
        return self._servers if now < self._usable_until else []

    def renew(self, servers: list[IceServer], lifetime: float, asked_at: float) -> None:
        """The provider gave these, for that many seconds from when it was asked at the earliest."""
        self._servers = servers
        self._usable_until = asked_at + USABLE * lifetime
        self.due = asked_at + max(RENEW_AFTER * lifetime, FIRST_PAUSE)
        self._pause = FIRST_PAUSE

    def fail(self, now: float) -> None:
        """It gave none; those that were there stay."""
        self.due = now + self._pause
        self._pause = min(2 * self._pause, LONGEST_PAUSE)
