"""Whether a checkpoint is whole, told by its files; tests/signaling/test_fetch_models.py fetches some."""

import json
import sys
from pathlib import Path

import pytest

from models.base import EngineError
from models.weights import MOSHI, SEAMLESS, assert_room, has_gpu, locate
from tests.hub import safetensors, seamless_files

SHARD = "model-00002-of-00002.safetensors"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A checkpoint, as small as can be, in a directory of one's own."""
    for name, content in seamless_files(shard=1000).items():
        (tmp_path / name).write_bytes(content)
    return tmp_path


def refusal(folder: Path, *named: str) -> str:
    """Why it is not taken; the sentence names these."""
    with pytest.raises(EngineError) as refused:
        locate(str(folder))
    sentence = str(refused.value)
    assert all(name in sentence for name in named), sentence
    return sentence


def test_a_directory_is_taken_as_it_is(folder: Path) -> None:
    """In pieces or whole, as transformers 4 or 5 writes it, with whatever lies beside."""
    (folder / "notes.txt").write_text("ours")
    assert locate(str(folder)) == folder
    for name in (SHARD, "model-00001-of-00002.safetensors", "model.safetensors.index.json"):
        (folder / name).unlink()
    (folder / "model.safetensors").write_bytes(safetensors(10))
    (folder / "preprocessor_config.json").rename(folder / "processor_config.json")
    (folder / "sentencepiece.bpe.model").rename(folder / "tokenizer.json")
    assert locate(str(folder)) == folder


@pytest.mark.parametrize("name", seamless_files(shard=10))
def test_what_is_missing_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    missing = "model.safetensors" if name.endswith("index.json") else name
    refusal(folder, str(folder), missing, "SeamlessM4T v2", "not complete", "Copy it there again.")


@pytest.mark.parametrize("kept", [0, 5, 40, 500, 1090])
def test_a_shard_cut_short_is_found_without_loading_it(folder: Path, kept: int) -> None:
    """In its length, its header or its tensors."""
    path = folder / SHARD
    path.write_bytes(path.read_bytes()[:kept])
    refusal(folder, SHARD, "Copy it there again.")


def test_a_shard_too_long_or_not_one_at_all_is_found(folder: Path) -> None:
    path = folder / SHARD
    whole = path.read_bytes()
    path.write_bytes(whole + b"x")
    refusal(folder, SHARD, f"{len(whole) + 1:,} bytes", f"{len(whole):,}")
    path.write_text(f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 4242880824\n")
    refusal(folder, SHARD, "not a safetensors file")
    path.write_bytes((6).to_bytes(8, "little") + b'["no"]')
    refusal(folder, SHARD, "not a safetensors file")


@pytest.mark.parametrize(
    ("config", "named"),
    [({"model_type": "whisper"}, "a model of type 'whisper'"), ({}, "a model of no known type")],
)
def test_another_model_is_named_as_such(folder: Path, config: object, named: str) -> None:
    """Even where nothing else of ours is there: that it lacks files is not what is wrong with it."""
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "generation_config.json").unlink()
    refusal(folder, str(folder), named, "seamless_m4t_v2")


@pytest.mark.parametrize("name", ["config.json", "model.safetensors.index.json"])
@pytest.mark.parametrize("content", ["", "<html>", "[]", '{"weight_map": [1]}'])
def test_a_description_that_cannot_be_read_is_named(folder: Path, name: str, content: str) -> None:
    (folder / name).write_text(content)
    refusal(folder, str(folder))


def test_moshi_needs_other_files(tmp_path: Path) -> None:
    """Not config.json, which the usual repositories do not have."""
    for name in MOSHI.weights:
        (tmp_path / name).write_bytes(safetensors(10))
    with pytest.raises(EngineError, match=r"lacks tokenizer_spm_32k_3\.model: Moshi is not complete"):
        locate(str(tmp_path), checkpoint=MOSHI)
    (tmp_path / "tokenizer_spm_32k_3.model").touch()
    assert locate(str(tmp_path), checkpoint=MOSHI) == tmp_path


@pytest.mark.parametrize("model", ["seamless", "/no/such/folder", "../weights", "a/b/c", "a--b/c"])
def test_neither_a_directory_nor_a_repository(model: str) -> None:
    with pytest.raises(EngineError, match="neither a directory here nor the name of a repository"):
        locate(model)


def test_a_disk_that_is_too_small_is_said_before_it_is_full(tmp_path: Path) -> None:
    assert_room(tmp_path / "not" / "yet", 1000)
    with pytest.raises(EngineError, match=r"1000000000\.0 GB are to be fetched into .* room for"):
        assert_room(tmp_path / "not" / "yet", 10**18)


def test_a_pytorch_in_pieces_is_as_good_as_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An engine that needs none of it starts all the same."""
    (tmp_path / "torch.py").write_text("raise OSError('libcudart.so.12: cannot open shared object file')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    assert not has_gpu()
    assert "libcudart.so.12" in caplog.text


def test_every_revision_is_a_commit() -> None:
    """A branch or tag could come to mean other weights."""
    for checkpoint in (SEAMLESS, MOSHI):
        for commit in checkpoint.revisions.values():
            assert len(bytes.fromhex(commit)) == 20
