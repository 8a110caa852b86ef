"""`dragoman fetch-models` against a hub of our own: whole, interrupted, damaged, refused."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from models.moshi_checkpoint import MOSHI_7B
from signaling.engines import CHECKPOINTS
from signaling.settings import Settings
from tests.hub import COMMIT, Hub, seamless_files, serving_hub

pytest.importorskip("huggingface_hub")

REPOSITORY = "facebook/seamless-m4t-v2-large"
SHARD = "model-00002-of-00002.safetensors"
CHUNK = 10 * 1024**2
"""Bytes that huggingface_hub reads before it writes any: what comes after the last whole one is lost with the line."""
FILES = {
    **seamless_files(shard=2 * CHUNK + 4321),
    "seamlessM4T_v2_large.pt": b"x" * 200_000,
    "README.md": b"# Seamless",
}


@pytest.fixture
def hub() -> Iterator[Hub]:
    with serving_hub(REPOSITORY, FILES) as running:
        yield running


def environment(home: Path, url: str) -> dict[str, str]:
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "DRAGOMAN_"))}
    return {**ours, "HF_ENDPOINT": url, "HF_HOME": str(home), "NO_PROXY": "*"}


def fetch(home: Path, url: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "signaling", "fetch-models", *arguments]
    ended = subprocess.run(
        command, capture_output=True, text=True, env={**environment(home, url), **variables}, timeout=100
    )
    assert "Traceback" not in ended.stderr
    return ended


def locate(home: Path, url: str, model: str = REPOSITORY) -> subprocess.CompletedProcess[str]:
    """What an engine would do, later, in another process."""
    code = f"from models.weights import locate; from models.base import EngineError\ntry: print(locate({model!r}))\n"
    code += "except EngineError as error: print('refused:', error)"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment(home, url))


def assert_whole(folder: str) -> None:
    """All that is needed, bit for bit, and nothing else."""
    wanted = {name: content for name, content in FILES.items() if not name.endswith((".pt", ".md"))}
    assert {path.name: path.read_bytes() for path in Path(folder).iterdir()} == wanted


def test_all_that_is_needed_comes_and_no_more(hub: Hub, tmp_path: Path) -> None:
    """Licence and size first. A second time nothing is downloaded; an engine finds it without asking anybody."""
    told = fetch(tmp_path, hub.url)
    assert told.returncode == 0, told.stderr
    assert "non-commercial" in told.stdout and "9.3 GB" in told.stdout and REPOSITORY in told.stdout
    folder = told.stdout.split()[-1]
    assert_whole(folder)
    assert hub.downloads(SHARD) == [""] and not hub.downloads("seamlessM4T_v2_large.pt")
    assert any(path.endswith(f"/revision/{COMMIT}") for _, path, _ in hub.asked), "the pinned commit, not main"
    hub.asked.clear()
    assert fetch(tmp_path, hub.url).stdout.split()[-1] == folder
    assert not any("/resolve/" in path and method == "GET" for method, path, _ in hub.asked)
    hub.asked.clear()
    assert locate(tmp_path, hub.url).stdout.strip() == folder
    (Path(folder) / SHARD).unlink()
    refused = locate(tmp_path, hub.url).stdout
    assert f"lacks {SHARD}" in refused and "`dragoman fetch-models --translator seamless` fetches it" in refused
    assert not hub.asked


def test_what_came_from_a_branch_is_found(tmp_path: Path) -> None:
    """Of a repository of which no commit is known, by the engine that is given the same name."""
    repository = "somebody/their-seamless"
    with serving_hub(repository, FILES) as hub:
        told = fetch(tmp_path, hub.url, "--seamless-model", repository)
        assert told.returncode == 0, told.stderr
        hub.asked.clear()
        assert locate(tmp_path, hub.url, repository).stdout.strip() == told.stdout.split()[-1]
        assert not hub.asked


def test_what_was_never_fetched_is_said_with_the_way_to_it(hub: Hub, tmp_path: Path) -> None:
    """And not fetched in the middle of a start."""
    refused = locate(tmp_path, hub.url, "somebody/their-seamless").stdout
    assert "is not on this machine" in refused and "9.3 GB" in refused
    assert "`dragoman fetch-models --translator seamless --seamless-model somebody/their-seamless`" in refused
    assert not hub.asked


def test_a_broken_connection_is_taken_up_again(hub: Hub, tmp_path: Path) -> None:
    """In the middle of a shard: only the rest is asked for."""
    hub.cut[SHARD] = CHUNK + 1234
    told = fetch(tmp_path, hub.url)
    assert told.returncode == 0, told.stderr
    assert hub.downloads(SHARD) == ["", f"bytes={CHUNK}-"]
    assert_whole(told.stdout.split()[-1])


def test_after_ctrl_c_the_next_run_goes_on(hub: Hub, tmp_path: Path) -> None:
    hub.stall[SHARD] = 2 * CHUNK + 1
    command = [sys.executable, "-m", "signaling", "fetch-models", "--translator", "seamless"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment(tmp_path, hub.url)) as process:
        assert hub.stalled.wait(60)
        partial = (
            tmp_path / "hub" / "models--facebook--seamless-m4t-v2-large" / "blobs" / f"{hub.etag(SHARD)}.incomplete"
        )
        while partial.stat().st_size < CHUNK:
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "goes on from here" in said and "Traceback" not in said
    kept = partial.stat().st_size
    hub.asked.clear()
    told = fetch(tmp_path, hub.url)
    assert told.returncode == 0 and "are here already from last time" in told.stdout
    assert hub.downloads(SHARD) == [f"bytes={kept}-"] and kept >= CHUNK
    assert_whole(told.stdout.split()[-1])


def test_a_damaged_part_does_not_stay(hub: Hub, tmp_path: Path) -> None:
    """Whatever it was that wrote into it."""
    blobs = tmp_path / "hub" / "models--facebook--seamless-m4t-v2-large" / "blobs"
    blobs.mkdir(parents=True)
    (blobs / f"{hub.etag(SHARD)}.incomplete").write_bytes(b"x" * 1000)
    told = fetch(tmp_path, hub.url)
    assert told.returncode == 1 and "damaged" in told.stderr and "Run the same command again" in told.stderr
    told = fetch(tmp_path, hub.url)
    assert told.returncode == 0, told.stderr
    assert_whole(told.stdout.split()[-1])


def test_a_shard_that_lost_its_end_is_fetched_again(hub: Hub, tmp_path: Path) -> None:
    """An engine says so and names the command that mends it, and that does."""
    folder = fetch(tmp_path, hub.url).stdout.split()[-1]
    blob = (Path(folder) / SHARD).resolve()
    blob.write_bytes(FILES[SHARD][:-1])
    refused = locate(tmp_path, hub.url).stdout
    assert SHARD in refused and f"{len(FILES[SHARD]) - 1:,} bytes" in refused
    assert "`dragoman fetch-models --translator seamless`" in refused
    assert fetch(tmp_path, hub.url).returncode == 0
    assert_whole(folder)


def test_another_model_is_refused_before_its_weights_come(tmp_path: Path) -> None:
    files = {**FILES, "config.json": b'{"model_type": "whisper"}'}
    with serving_hub("somebody/whisper", files) as hub:
        ended = fetch(tmp_path, hub.url, "--seamless-model", "somebody/whisper")
        assert ended.returncode == 1 and "a model of type 'whisper', not SeamlessM4T v2" in ended.stderr
        assert not hub.downloads(SHARD)


@pytest.mark.parametrize(
    ("arguments", "variables", "said"),
    [
        (["--seamless-model", "nobody/nothing"], {}, "There is no repository nobody/nothing"),
        (["--dialogue", "moshi"], {}, "There is no repository kyutai/moshiko-pytorch-bf16"),
        (["--hibiki"], {}, "There is no repository kyutai/hibiki-1b-pytorch-bf16"),
        (["--seamless-model", "nonsense"], {}, "neither a directory here nor the name of a repository"),
        ([], {"HF_ENDPOINT": "http://127.0.0.1:9"}, "http://127.0.0.1:9 does not answer"),
        ([], {"HF_HUB_OFFLINE": "1"}, "while HF_HUB_OFFLINE is set"),
    ],
)
def test_what_cannot_be_is_said_in_a_sentence(
    hub: Hub, tmp_path: Path, arguments: list[str], variables: dict[str, str], said: str
) -> None:
    ended = fetch(tmp_path, hub.url, *arguments, **variables)
    assert ended.returncode == 1 and said in ended.stderr
    assert ended.stderr.count("dragoman:") == ended.stderr.strip().count("\n") + 1 == 1


def test_without_the_libraries_the_extra_is_named(tmp_path: Path) -> None:
    """The base install has neither torch nor huggingface_hub."""
    (tmp_path / "huggingface_hub.py").write_text("raise ImportError('not installed')")
    ended = fetch(tmp_path, "http://127.0.0.1:9", PYTHONPATH=str(tmp_path))
    assert ended.returncode == 1 and "pip install '.[seamless]'" in ended.stderr


def test_a_directory_is_only_checked(tmp_path: Path) -> None:
    for name, content in seamless_files(shard=100).items():
        (tmp_path / name).write_bytes(content)
    told = fetch(tmp_path, "http://127.0.0.1:9", "--seamless-model", str(tmp_path))
    assert told.returncode == 0 and told.stdout.split()[-1] == str(tmp_path) and "GB" not in told.stdout
    (tmp_path / SHARD).unlink()
    told = fetch(tmp_path, "http://127.0.0.1:9", "--seamless-model", str(tmp_path))
    assert told.returncode == 1 and f"lacks {SHARD}" in told.stderr


def test_a_hibiki_has_what_its_description_names(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({**MOSHI_7B, "model_type": "hibiki"}))
    told = fetch(tmp_path, "http://127.0.0.1:9", "--hibiki", str(tmp_path))
    assert told.returncode == 1 and f"{tmp_path} lacks model.safetensors" in told.stderr


def test_the_setting_means_the_checkpoint_we_know() -> None:
    assert Settings().seamless_model == CHECKPOINTS["seamless"].repository
