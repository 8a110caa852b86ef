"""What a deployment can be told."""

import re
from dataclasses import fields
from pathlib import Path

import pytest

from signaling.modal_settings import PREFIX, ModalSettings, carried

README = Path(__file__).parents[2] / "README.md"


def test_each_setting_is_a_variable() -> None:
    read = ModalSettings.read({"DRAGOMAN_MODAL_ROOM_MIN": "3", "DRAGOMAN_MODAL_ROOM_CPU": "0.5", "PATH": "/bin"})
    assert (read.room_min, read.room_cpu, read.app) == (3, 0.5, "dragoman")
    with pytest.raises(ValueError, match="many"):
        ModalSettings.read({"DRAGOMAN_MODAL_ROOM_MIN": "many"})


def test_secrets_do_not_travel_with_the_settings() -> None:
    """They would be in the image for whoever can see it."""
    secret = ("SESSION_SECRET", "TURN_SECRET", "CLOUDFLARE_TURN_TOKEN", "TWILIO_AUTH_TOKEN", "API_KEY")
    environment = {"DRAGOMAN_MAX_ROOMS": "9", "HOME": "/", **{f"DRAGOMAN_{name}": "x" for name in secret}}
    travelling = carried(environment)
    assert travelling["DRAGOMAN_MAX_ROOMS"] == "9" and travelling["DRAGOMAN_TRANSLATOR"] == "seamless"
    assert "x" not in travelling.values() and "HOME" not in travelling


def test_the_table_in_the_readme_has_them_all() -> None:
    told = set(re.findall(rf"`{PREFIX}([A-Z_]+)`", README.read_text()))
    assert told == {field.name.upper() for field in fields(ModalSettings)}
