"""The image and the compose file, as far as one can see without Docker: nothing in them is about another tree."""

import asyncio
import fnmatch
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

from rtc.ports import SHARE
from signaling import ice, turn_server
from signaling.__main__ import parser, settings_of
from signaling.settings import Settings
from tests.e2e.serving import free_port
from tests.signaling.test_turn_server import relay

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
MAKEFILE = (ROOT / "Makefile").read_text().replace("\\\n", " ")
DOCKERFILE = (ROOT / ".docker/Dockerfile").read_text()
COMPOSE = ROOT / ".docker/compose.yaml"
ENVIRONMENT = {"PUBLIC_IP": "127.0.0.1", "TURN_SECRET": "of both"}


def instructions() -> list[tuple[str, str]]:
    """Of the Dockerfile: (name, rest), in order."""
    lines = [line for line in DOCKERFILE.splitlines() if not line.startswith("#")]
    whole = "\n".join(lines).replace("\\\n", " ").splitlines()
    return [(name, rest.strip()) for name, _, rest in (line.partition(" ") for line in whole if line)]


def of(name: str) -> list[str]:
    return [rest for one, rest in instructions() if one == name]


def environment() -> dict[str, str]:
    """What the image sets."""
    return dict(assignment.split("=", 1) for rest in of("ENV") for assignment in shlex.split(rest))


def sources() -> list[str]:
    """Everything that is copied from this tree."""
    copies = [shlex.split(rest) for rest in of("COPY") if not rest.startswith("--from")]
    return sorted({source for *several, _ in copies for source in several})


def sent(path: str) -> bool:
    """Whether .dockerignore lets a file through: the last pattern that matches it or a folder of its decides."""
    parts = [path, *map(str, Path(path).parents)]
    verdict = True
    for pattern in (ROOT / ".dockerignore").read_text().splitlines():
        bare = pattern.removeprefix("!").removeprefix("**/")
        if (
            pattern
            and not pattern.startswith("#")
            and any(fnmatch.fnmatch(part, bare) or ("**/" in pattern and Path(part).name == bare) for part in parts)
        ):
            verdict = pattern.startswith("!")
    return verdict


def compose(**variables: str) -> dict[str, Any]:
    """The compose file, with its variables replaced as Compose does. Raises KeyError for one that has to be set."""

    def value(match: re.Match[str]) -> str:
        name, kind, otherwise = match.groups()
        if variables.get(name):
            return variables[name]
        if kind == "?":
            raise KeyError(otherwise)
        return otherwise or ""

    def replaced(node: Any) -> Any:
        if isinstance(node, dict):
            return {key: replaced(child) for key, child in node.items()}
        if isinstance(node, list):
            return [replaced(child) for child in node]
        before = None
        while isinstance(node, str) and node != before:  # from the inside out
            node, before = re.sub(r"\$\{(\w+)(?::([-?])([^${}]*))?\}", value, node), node
        return node

    return dict(replaced(yaml.safe_load(COMPOSE.read_text())))


def test_what_is_copied_is_there_and_is_sent_to_the_builder() -> None:
    """And nothing else is sent: no history, no tests, no caches."""
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    assert all((ROOT / source).exists() for source in sources())
    assert {path.split("/")[0] for path in tracked if sent(path)} == set(sources())
    assert not sent("rtc/__pycache__/room.pyc") and not sent(".git/HEAD") and not sent(".docker/.env")


def test_the_image_is_made_of_what_exists() -> None:
    """Extras, system packages and versions are the project's."""
    extras = re.findall(r"--extra (\w+)", DOCKERFILE)
    assert set(extras) == {"fast", "seamless", "moshi"} and set(extras) < set(PROJECT["optional-dependencies"])
    packages = next(rest for rest in of("RUN") if "apt-get" in rest)
    installed = packages.partition("--no-install-recommends")[2].partition("&&")[0].split()
    ours = re.search(r"^RUN_PACKAGES := (.*)", MAKEFILE, re.MULTILINE)
    assert ours is not None and sorted(installed) == sorted([*ours[1].split(), "coturn"])
    silero = re.search(r"'silero-vad[^']*'", MAKEFILE)
    assert silero is not None and silero[0] in DOCKERFILE


def test_the_base_is_pinned_and_nobody_is_root() -> None:
    """One base image of a full version that the project supports; it ends as an ordinary user."""
    bases = {rest.split()[0] for rest in of("FROM")}
    assert len(bases) == 1
    version = re.fullmatch(r"python:3\.(\d+)\.\d+-slim-\w+", bases.pop())
    assert version is not None and int(version[1]) >= int(PROJECT["requires-python"].rpartition(".")[2])
    stages = {rest.split(" AS ")[1] for rest in of("FROM") if " AS " in rest}
    assert set(re.findall(r"from=(\w+)", DOCKERFILE)) <= stages
    user = of("USER")[-1]
    assert f"--create-home {user}" in DOCKERFILE and f"--owner {user} {environment()['HF_HOME']}" in DOCKERFILE


async def test_the_package_it_installs_serves_and_is_healthy(tmp_path: Path) -> None:
    """Built from the copied files alone; the entry point's command runs, and the health check finds it."""
    source, wheels, site = tmp_path / "source", tmp_path / "wheels", tmp_path / "site"
    source.mkdir()
    for name in sources():
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__", "images"))
        else:
            shutil.copy(ROOT / name, source / name)
    build = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", wheels, source]
    built = await asyncio.to_thread(subprocess.run, build, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    with zipfile.ZipFile(next(wheels.glob("dragoman-*.whl"))) as wheel:
        wheel.extractall(site)
        entry = next(name for name in wheel.namelist() if name.endswith("entry_points.txt"))
        assert json.loads(of("ENTRYPOINT")[0]) == ["dragoman"] and "dragoman = " in wheel.read(entry).decode()
    command = [
        sys.executable,
        "-m",
        "signaling",
        *json.loads(of("CMD")[-1]),
        "--translator",
        "echo",
        "--dialogue",
        "none",
    ]
    port = str(free_port())
    server = await asyncio.create_subprocess_exec(
        *command,
        cwd=tmp_path,
        env={"PYTHONPATH": str(site), "PATH": os.environ["PATH"], "PORT": port},
        stdout=subprocess.PIPE,
    )
    try:
        assert server.stdout is not None and f":{port}/".encode() in await server.stdout.readline()
        python, *check = json.loads(re.search(r"CMD (\[.*)", of("HEALTHCHECK")[0])[1])  # type: ignore[index] # it is there
        assert python == "python"
        healthy = await asyncio.create_subprocess_exec(sys.executable, *check, env={"PORT": port})
        assert await healthy.wait() == 0
        page = f"import urllib.request as u; assert u.urlopen('http://127.0.0.1:{port}/static/room.html').status == 200"
        assert await (await asyncio.create_subprocess_exec(sys.executable, "-c", page)).wait() == 0
    finally:
        server.kill()
        await server.communicate()
    dead = await asyncio.create_subprocess_exec(sys.executable, *check, env={"PORT": port}, stderr=subprocess.DEVNULL)
    assert await dead.wait() != 0


def served(monkeypatch: pytest.MonkeyPatch, **variables: str) -> Settings:
    """What the compose file's server is told."""
    for name in [name for name in os.environ if name.startswith("DRAGOMAN_")]:
        monkeypatch.delenv(name)
    service = compose(**ENVIRONMENT, **variables)["services"]["dragoman"]
    for name, value in {**environment(), **service["environment"]}.items():
        if name in ("HOST", "PORT") or name.startswith("DRAGOMAN_"):
            monkeypatch.setenv(name, str(value))
    settings = settings_of(parser().parse_args(service["command"]))
    ice.check(settings)
    return settings


def test_the_compose_file_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its command and its variables are understood, and mean what they say."""
    settings = served(monkeypatch)
    assert (settings.host, settings.port, settings.stun_url) == ("127.0.0.1", 8080, "")
    assert settings.turn_secret == "of both"
    assert SHARE * len(ice.port_range(settings.media_ports)) >= settings.max_participants
    assert settings.turn_urls == tuple(turn_server.urls("127.0.0.1", settings))
    assert served(monkeypatch, HOST="0.0.0.0", STUN_URL="stun:stun.example.org:3478").stun_url
    names = {
        name.removeprefix("DRAGOMAN_").lower() for name in compose(**ENVIRONMENT)["services"]["dragoman"]["environment"]
    }
    assert names <= set(Settings.__dataclass_fields__)
    for name in ENVIRONMENT:
        with pytest.raises(KeyError, match=name):
            compose(**{**ENVIRONMENT, name: ""})


def test_the_compose_file_fits_the_image() -> None:
    """Same image, volume, ports; a GPU; the host's network, where media ports need no publishing."""
    file = compose(**ENVIRONMENT)
    server, coturn = file["services"]["dragoman"], file["services"]["coturn"]
    assert (COMPOSE.parent / server["build"]["context"]).resolve() == ROOT
    assert (ROOT / server["build"]["dockerfile"]).read_text() == DOCKERFILE
    assert server["image"] == coturn["image"] and server["network_mode"] == coturn["network_mode"] == "host"
    assert server["volumes"] == [f"weights:{environment()['HF_HOME']}"] and "weights" in file["volumes"]
    device = server["deploy"]["resources"]["reservations"]["devices"][0]
    assert device["driver"] == "nvidia" and device["capabilities"] == ["gpu"]
    ports = {exposed for rest in of("EXPOSE") for exposed in rest.split()}
    assert ports == {f"{Settings().port}/tcp", f"{Settings().turn_port}/tcp", f"{Settings().turn_port}/udp"}
    mounted = coturn["configs"][0]
    assert coturn["command"] == ["-c", mounted["target"]] and mounted["source"] in file["configs"]
    assert coturn["entrypoint"] == ["turnserver"]


def configured(text: str) -> set[str]:
    return {line.strip() for line in text.splitlines()}


def test_its_turn_server_has_the_limits_of_ours() -> None:
    """Both are closed to private networks, and open to the machine itself."""
    file = compose(**ENVIRONMENT | {"PUBLIC_IP": "198.51.100.7"}, LOCAL_IP="10.0.0.5")
    settings = Settings(turn="198.51.100.7", turn_secret="of both")
    media = ice.port_range(file["services"]["dragoman"]["environment"]["DRAGOMAN_MEDIA_PORTS"])
    relays = re.search(r"min-port=(\d+)", file["configs"]["turnserver"]["content"])
    assert relays is not None and int(relays[1]) > media[-1], "each has ports of its own"
    ours = configured(turn_server.configuration(settings, "198.51.100.7", "10.0.0.5", ["10.0.0.5"]))
    theirs = configured(file["configs"]["turnserver"]["content"])
    assert ours <= theirs
    assert {line.partition("=")[0] for line in theirs - ours} == {"userdb", "pidfile", "min-port", "max-port"}


@pytest.mark.skipif(shutil.which("turnserver") is None, reason="there is no turnserver: install coturn")
async def test_its_turn_server_starts_and_takes_our_credentials(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The installed coturn knows every option; a relay opens with what the server's settings give."""
    port = free_port()
    content = compose(**ENVIRONMENT)["configs"]["turnserver"]["content"]
    assert "listening-port=3478" in content
    file = tmp_path / "turnserver.conf"
    file.write_text(content.replace("listening-port=3478", f"listening-port={port}").replace("/tmp", str(tmp_path)))
    process = await asyncio.create_subprocess_exec(
        "turnserver", "-c", str(file), stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    try:
        assert await turn_server._listens(("127.0.0.1", port), Counter())
        settings = served(monkeypatch)
        async with relay(Settings(turn_urls=settings.turn_urls, turn_secret=settings.turn_secret, turn_port=port)):
            pass
    finally:
        process.kill()
        said = (await process.communicate())[0].decode()
    assert "Bad configuration" not in said and "ERROR" not in said


def test_the_readme_tells_commands_that_exist() -> None:
    """Those for Docker: their files, their services, and what they run in them."""
    commands = [
        shlex.split(line, comments=True) for line in re.findall(r"^docker .*", (ROOT / "README.md").read_text(), re.M)
    ]
    assert len(commands) >= 3
    services = compose(**ENVIRONMENT)["services"]
    for docker, kind, flag, file, verb, *rest in commands:
        assert (docker, kind, flag) == ("docker", "compose", "-f") and (ROOT / file) == COMPOSE
        words = [word for word in rest if not word.startswith("-")]
        assert verb in ("up", "run", "logs", "build") and set(words[:1]) <= set(services)
        if verb == "run":
            parser().parse_args(rest[rest.index("dragoman") + 1 :])
