"""What a deployment on Modal can be told: what it costs, and where it is."""

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from signaling import ice
from signaling.settings import Settings

log = logging.getLogger(__name__)

PREFIX = "DRAGOMAN_MODAL_"


@dataclass(frozen=True, slots=True)
class ModalSettings:
    """Each is an environment variable of `modal deploy`: `room_min` is DRAGOMAN_MODAL_ROOM_MIN. A number of 0 leaves it
    to Modal where nothing else is said."""

    app: str = "dragoman"
    """Name of the app, and of what it keeps."""
    secret: str = "dragoman"
    """Name of the Secret with DRAGOMAN_SESSION_SECRET and, for TURN, DRAGOMAN_TURN_SECRET."""
    region: str = ""
    """Where containers run, e.g. `eu`; empty: anywhere, which costs least."""
    routing_region: str = "us-east"
    """Through which proxies requests come: us-east, us-west, eu-west, ap-south."""
    port: int = 8000
    """On which servers listen inside their containers."""

    lobby_min: int = 1
    lobby_window: int = 300
    """Seconds without work after which a container stops."""

    room_cpu: float = 2.0
    room_memory: int = 2048
    """MiB."""
    room_min: int = 1
    """Containers kept running, whether there are rooms or not."""
    room_buffer: int = 0
    """Idle ones kept besides those that work."""
    room_max: int = 0
    rooms_per_container: int = 20
    room_window: int = 300
    room_grace: int = 3600
    """Seconds that calls have to end by themselves when a new version is deployed."""

    translator_gpu: str = "L40S"
    """Empty: none."""
    translator_min: int = 0
    translator_buffer: int = 0
    translator_max: int = 4
    translator_window: int = 300
    translator_inputs: int = 32
    """Segments that one container has at a time; its engine batches them."""

    moshi_gpu: str = "H100"
    """Empty: none."""
    moshi_min: int = 0
    moshi_buffer: int = 0
    moshi_max: int = 2
    moshi_window: int = 300
    moshi_grace: int = 600

    @classmethod
    def read(cls, environment: Mapping[str, str] = os.environ) -> "ModalSettings":
        """Raises ValueError for a number that is none."""
        values: dict[str, Any] = {}
        for field in fields(cls):
            variable = PREFIX + field.name.upper()
            if (text := environment.get(variable)) is not None:
                kind: type[Any] = type(field.default)
                try:
                    values[field.name] = kind(text)
                except ValueError:
                    raise ValueError(f"{variable} is a number, not {text!r}") from None
        return cls(**values)


DEFAULTS = {
    "DRAGOMAN_TRANSLATOR": "seamless",
    "DRAGOMAN_DIALOGUE": "moshi",
    "DRAGOMAN_ROOM_TTL": "600",
    "DRAGOMAN_HTTP_RATE": "100",
}
"""Where they differ from a machine of one's own: an empty room keeps a container, which costs; and all requests come
from Modal's proxy, as if one client sent them, also when everybody of a container comes back at once."""


def carried(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Variables that hold in the containers: of whoever deploys, but for secrets, which travel in a Secret."""
    secret = {f"DRAGOMAN_{field.name.upper()}" for field in fields(Settings) if not field.repr}
    ours = {name: value for name, value in environment.items() if name.startswith("DRAGOMAN_")}
    return DEFAULTS | {name: value for name, value in ours.items() if name not in secret}


def check(settings: Settings, deploying: bool) -> None:
    """Raises ValueError, a sentence for who deploys, if something cannot work on Modal. In a container, which alone
    sees what is in the Secret, it is only logged: one that did not start would serve nobody, not even who needs no
    relay."""
    there = "in the Secret"
    hidden: dict[str, Any] = {
        "turn_secret": there,
        "cloudflare_turn_token": there if settings.cloudflare_turn_key_id else "",
        "twilio_auth_token": there if settings.twilio_account_sid else "",
        "session_secret": there,
    }
    try:
        _assert_possible(replace(settings, **hidden) if deploying else settings)
    except ValueError as problem:
        if deploying:
            raise
        log.error("%s", problem)


def _assert_possible(settings: Settings) -> None:
    ice.check(settings)
    if settings.turn:
        raise ValueError("DRAGOMAN_TURN starts a TURN server, and on Modal nobody could reach it: name another")
    if not settings.session_secret:
        raise ValueError(
            "DRAGOMAN_SESSION_SECRET is not in the Secret: whoever's room moves comes back as somebody new"
        )
