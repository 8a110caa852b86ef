"""Dragoman, deployed in a Modal of our own by the command that everybody uses."""

import contextlib
from collections.abc import Iterator

from tests.modal.cloud import Cloud

ENVIRONMENT = {
    "DRAGOMAN_TRANSLATOR": "echo",
    "DRAGOMAN_DIALOGUE": "embedded",
    "DRAGOMAN_SESSION_SECRET": "known to all containers",
    "DRAGOMAN_MODAL_TRANSLATOR_GPU": "",
    "DRAGOMAN_MODAL_MOSHI_GPU": "",
    "DRAGOMAN_MODAL_ROOMS_PER_CONTAINER": "50",
    "DRAGOMAN_MAX_ROOMS": "1000",
    "DRAGOMAN_HTTP_RATE": "1000",
}


@contextlib.contextmanager
def deployed(lobbies: int = 1, room_sessions: int = 50) -> Iterator[Cloud]:
    """With so many lobbies, one server for rooms that takes so many, and a translator; all of them ready."""
    with Cloud({"Lobby": 0, "RoomServer": room_sessions, "MoshiServer": 1}, ENVIRONMENT) as running:
        running.plane.secrets.add("dragoman")
        done = running.deploy("signaling.modal_app")
        assert done.returncode == 0, done.stdout + done.stderr
        running.start("Translator")
        for container in [running.start("RoomServer"), *(running.start("Lobby") for _ in range(lobbies))]:
            running.listening(container)
        yield running
