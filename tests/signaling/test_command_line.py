"""`dragoman …` as somebody types it."""

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from dataclasses import fields

import pytest

from signaling.__main__ import FLAGS, parser, settings_of
from signaling.runtime import event_loop
from signaling.settings import Settings

COMMAND = [sys.executable, "-m", "signaling"]


def settings(*arguments: str) -> Settings:
    return settings_of(parser().parse_args(["serve", *arguments]))


def test_without_arguments_the_defaults_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings() and an empty command line are the same."""
    for variable in ("HOST", "PORT"):
        monkeypatch.delenv(variable, raising=False)
    assert settings() == Settings()


def test_environment_then_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    """PORT and HOST by those names, the rest as DRAGOMAN_…; an argument wins."""
    monkeypatch.setenv("PORT", "9000")
    monkeypatch.setenv("HOST", "0.0.0.0")
    monkeypatch.setenv("DRAGOMAN_GRACE", "5.5")
    monkeypatch.setenv("DRAGOMAN_ALLOW_ORIGINS", "https://a.example, https://b.example")
    assert settings().port == 9000 and settings().host == "0.0.0.0" and settings().grace == 5.5
    assert settings().allow_origins == ("https://a.example", "https://b.example")
    assert settings("--port", "1", "--allow-origin", "*").port == 1
    assert settings("--allow-origin", "*", "--allow-origin", "x").allow_origins == ("*", "x")


def test_a_turn_server_needs_no_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """`--turn` by itself finds ours; with one it is that."""
    assert settings("--turn").turn == "auto" and settings("--turn", "--port", "1").port == 1
    assert settings("--turn", "turn.example.org").turn == "turn.example.org"
    monkeypatch.setenv("DRAGOMAN_TURN", "auto")
    assert settings().turn == "auto"


def test_help_names_every_setting() -> None:
    """With its default."""
    shown = subprocess.run([*COMMAND, "serve", "--help"], capture_output=True, text=True, check=True).stdout
    for field in fields(Settings):
        flag = FLAGS.get(field.name, field.name.replace("_", "-"))
        assert f"--{flag} " in shown
    assert "default: 8080" in shown and "DRAGOMAN_TURN_SECRET" in shown


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["serve", "--translator", "babelfish"], 2, "there are: auto, echo, embedded, seamless"),
        (["serve", "--dialogue", "babelfish"], 2, "there are: auto, "),
        (["serve", "--hibiki", "no/where"], 2, "`dragoman fetch-models --hibiki no/where` fetches it"),
        (["serve", "--workers", "0"], 2, "one worker at least"),
        (["serve", "--workers", "2", "--port", "0", "--translator", "babelfish"], 2, "there are: auto, echo, "),
        (["serve", "--port", "many"], 2, "invalid int value"),
        (["serve", "--translator", "echo", "--port", "99999"], 2, "--port cannot be 99999"),
        (["serve", "--turn", "--turn-port", "65536"], 2, "--turn-port cannot be 65536"),
        (["serve", "--grace", "nan"], 2, "--grace cannot be nan"),
        (["serve", "--message-rate", "-1"], 2, "--message-rate cannot be -1"),
        (["serve", "--turn-url", "turn:turn.example.org"], 2, "--turn-url needs --turn-secret"),
        (["serve", "--turn", "nowhere.invalid"], 2, "no such IPv4 address"),
        ([], 2, "required: command"),
    ],
)
def test_mistakes_are_explained(arguments: list[str], status: int, said: str) -> None:
    """One sentence, no traceback."""
    ended = subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, timeout=60)
    assert ended.returncode == status and said in ended.stderr and "Traceback" not in ended.stderr


def test_a_taken_port_is_said() -> None:
    """Exit 1, with address and reason."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        command = [*COMMAND, "serve", "--translator", "echo", "--port", str(port)]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 1
    assert f"cannot listen on 127.0.0.1:{port}" in ended.stderr and "Traceback" not in ended.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_says_where_it_is_and_stops_when_told(number: int) -> None:
    """The printed address answers; a signal ends it with 0."""
    command = [*COMMAND, "serve", "--translator", "echo", "--port", "0"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, "HOST": "127.0.0.1"}
    ) as server:
        assert server.stdout is not None
        try:
            address = re.search(r"http://[\d.]+:\d+/", server.stdout.readline())
            assert address is not None
            with urllib.request.urlopen(f"{address[0]}healthz") as answer:
                assert answer.status == 200
            server.send_signal(number)
            assert server.wait(30) == 0
        finally:
            server.kill()


def test_doctor_says_what_is_there() -> None:
    """Languages, abilities and the notice."""
    shown = subprocess.run([*COMMAND, "doctor"], capture_output=True, text=True, check=True).stdout
    assert "English only" in shown and re.search(r"^es +Spanish.*from en", shown, re.MULTILINE)


def test_uvloop_is_used_where_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """And nothing is missed where it is not."""
    pytest.importorskip("uvloop")
    loop = event_loop()()
    assert type(loop).__module__.startswith("uvloop")
    loop.close()
    monkeypatch.setitem(sys.modules, "uvloop", None)
    assert event_loop() is asyncio.SelectorEventLoop
