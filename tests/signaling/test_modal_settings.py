"""What a deployment can be told."""

import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from signaling.limits import HTTP_BURST, Limiter
from signaling.modal_settings import PREFIX, ModalSettings, carried, check
from signaling.settings import Settings

README = Path(__file__).parents[2] / "README.md"


def test_each_setting_is_a_variable() -> None:
    read = ModalSettings.read({"DRAGOMAN_MODAL_ROOM_MIN": "3", "DRAGOMAN_MODAL_ROOM_CPU": "0.5", "PATH": "/bin"})
    assert (read.room_min, read.room_cpu, read.app) == (3, 0.5, "dragoman")
    with pytest.raises(ValueError, match="DRAGOMAN_MODAL_ROOM_MIN is a number, not 'many'"):
        ModalSettings.read({"DRAGOMAN_MODAL_ROOM_MIN": "many"})


def test_everybody_of_a_container_comes_back_soon() -> None:
    """It died: all ask the lobby at once, from one address, and again two seconds after a refusal."""
    limiter = Limiter(float(carried({})["DRAGOMAN_HTTP_RATE"]), HTTP_BURST)
    away = ModalSettings().rooms_per_container * Settings().room_capacity
    for now in range(0, 12, 2):
        away -= sum(limiter.take("the proxy", now) for _ in range(away))
    assert away <= 0


def test_secrets_do_not_travel_with_the_settings() -> None:
    """They would be in the image for whoever can see it."""
    secret = ("SESSION_SECRET", "TURN_SECRET", "CLOUDFLARE_TURN_TOKEN", "TWILIO_AUTH_TOKEN", "API_KEY")
    environment = {"DRAGOMAN_MAX_ROOMS": "9", "HOME": "/", **{f"DRAGOMAN_{name}": "x" for name in secret}}
    travelling = carried(environment)
    assert travelling["DRAGOMAN_MAX_ROOMS"] == "9" and travelling["DRAGOMAN_TRANSLATOR"] == "seamless"
    assert "x" not in travelling.values() and "HOME" not in travelling


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"turn_urls": ("turn.example.org",)}, "no address"),
        ({"stun_url": "http://stun.example.org"}, "no address"),
        ({"turn": "auto"}, "nobody could reach it"),
        ({"turn_ttl": 5}, "turn-ttl"),
    ],
)
def test_what_cannot_work_is_not_deployed(wrong: dict[str, Any], said: str) -> None:
    """It would refuse everybody, or serve nobody, and say nothing."""
    with pytest.raises(ValueError, match=said):
        check(Settings(**wrong), deploying=True)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (Settings(turn_urls=("turn:turn.example.org:3478",), session_secret="known to all"), "turn-secret"),
        (Settings(cloudflare_turn_key_id="k", twilio_account_sid="a", session_secret="known to all"), "go together"),
        (Settings(), "SESSION_SECRET"),
        (Settings(session_secret="known to all"), ""),
    ],
)
def test_secrets_are_missed_where_they_should_be(
    settings: Settings, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    """In the containers, which serve all the same; not where it is deployed from."""
    check(settings, deploying=True)
    check(settings, deploying=False)
    assert said in caplog.text and len(caplog.records) == bool(said)


def test_the_table_in_the_readme_has_them_all() -> None:
    told = set(re.findall(rf"`{PREFIX}([A-Z_]+)`", README.read_text()))
    assert told == {field.name.upper() for field in fields(ModalSettings)}
