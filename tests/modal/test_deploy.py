"""What `modal deploy` asks Modal for, with nothing set but what must be."""

import re
from collections.abc import Iterator

import aiohttp
import pytest

pytest.importorskip("modal", reason="modal is not installed: pip install 'dragoman[test]'")

from modal_proto import api_pb2

from tests.modal.cloud import Cloud
from tests.modal.people import Visitor
from tests.modal.product import ENVIRONMENT

MODULE = "signaling.modal_app"


@pytest.fixture(scope="module")
def account() -> Iterator[Cloud]:
    """Nothing is deployed there yet."""
    with Cloud({"Lobby": 0, "RoomServer": 20, "MoshiServer": 8}) as running:
        yield running


def function(account: Cloud, name: str) -> api_pb2.Function:
    return account.plane.functions[account.plane.function(name)]


def image(account: Cloud, name: str) -> str:
    """All commands that build what the function runs in, the layers beneath included."""
    commands, image_id = [], function(account, name).image_id
    while image_id:
        layer = account.plane.images[int(image_id.removeprefix("im-"))]
        commands += layer.dockerfile_commands
        image_id = layer.base_images[0].image_id if layer.base_images else ""
    return "\n".join(commands)


def test_without_its_secret_nothing_is_deployed(account: Cloud) -> None:
    done = account.deploy(MODULE)
    assert done.returncode != 0 and "dragoman" in done.stdout + done.stderr


def test_what_cannot_work_is_not_deployed(account: Cloud) -> None:
    account.plane.secrets.add("dragoman")
    done = account.deploy(MODULE, DRAGOMAN_TURN_URLS="turn.example.org:3478")
    assert done.returncode != 0 and "turn.example.org:3478" in done.stdout + done.stderr
    account.plane.secrets.remove("dragoman")


def test_each_container_gets_what_it_needs(account: Cloud) -> None:
    """GPUs for models only, sticky sessions for calls only, the knobs of the environment, and no secret in an image."""
    account.plane.secrets.add("dragoman")
    done = account.deploy(
        MODULE, DRAGOMAN_MODAL_ROOM_MIN="3", DRAGOMAN_MOSHI_SEATS="4", DRAGOMAN_TURN_SECRET="hush", DRAGOMAN_GRACE="9"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    lobby, rooms, translator, moshi = (
        function(account, name) for name in ("Lobby", "RoomServer", "Translator", "MoshiServer")
    )
    assert [one.is_sessioned for one in (lobby, rooms, translator, moshi)] == [False, True, False, True]
    gpus = [one.resources.gpu_config.gpu_type for one in (lobby, rooms, translator, moshi)]
    assert gpus == ["", "", "L40S", "H100"]
    assert rooms.autoscaler_settings.min_containers == 3
    assert (moshi.max_concurrent_inputs, translator.max_concurrent_inputs) == (4, 32)
    assert [one.mount_path for one in translator.volume_mounts] == ["/weights"]
    assert [one.mount_path for one in moshi.volume_mounts] == ["/weights"]
    small, large, talking = image(account, "RoomServer"), image(account, "Translator"), image(account, "MoshiServer")
    extras = [re.findall(r"--extra (\w+)", commands) for commands in (small, large, talking)]
    assert extras == [[], ["seamless"], ["seamless", "moshi"]]
    for commands in (small, large, talking):
        assert "/pyproject.toml" in commands and "silero-vad" in commands
        assert "hush" not in commands and "DRAGOMAN_GRACE" in commands
    assert not account.plane.missing


async def test_nobody_is_let_in_before_the_languages_are_known() -> None:
    """The first time the interpreter starts; then the next server knows them from the last."""
    with Cloud({"Lobby": 0, "RoomServer": 8, "MoshiServer": 1}, ENVIRONMENT) as running:
        running.plane.secrets.add("dragoman")
        assert running.deploy(MODULE).returncode == 0
        for name in ("RoomServer", "Lobby"):
            running.serve(name)
        async with aiohttp.ClientSession() as http, Visitor(http, running.ingress["Lobby"].url) as visitor:
            room = await visitor.room()
            answer = await visitor.ask("POST", f"/v1/rooms/{room}/placement")
            assert (answer.status, answer.json()["code"]) == (503, "warming"), answer.text
            running.start("Translator")
            ana = await visitor.join(room, "Ana", "es")
            assert ana.joined["engine"]["name"] == "echo"
