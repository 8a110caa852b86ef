"""What a checkpoint's folder holds, what it needs, and what is said of one that is wrong."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from models.base import EngineError
from models.moshi_checkpoint import (
    MIMI_BYTES,
    MIMI_SEAT_BYTES,
    MOSHI_7B,
    library,
    load_codec,
    load_lm,
    load_tokenizer,
    memory,
    parameters,
    read,
)

NAMES = ("model.safetensors", "tokenizer-e351c8d8-checkpoint125.safetensors", "tokenizer_spm_32k_3.model")


def installed() -> None:
    """Skip the test where the library is not."""
    try:
        library()
    except EngineError as error:
        pytest.skip(str(error))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The first Moshi as it is on the Hub, without config.json; its files are empty."""
    for name in NAMES:
        (tmp_path / name).touch()
    return tmp_path


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """A checkpoint of one's own, to spoil."""
    installed()
    from tests.models.tiny_moshi import checkpoint

    return Path(shutil.copytree(checkpoint("moshi"), tmp_path / "tiny"))


def configure(folder: Path, **changes: Any) -> None:
    config = {**MOSHI_7B, **changes}
    (folder / "config.json").write_text(json.dumps({key: value for key, value in config.items() if value != "gone"}))


def test_without_a_config_it_is_the_first_moshi(folder: Path) -> None:
    """Under the names that its files have on the Hub."""
    found = read(folder)
    assert found.kind == "moshi" and found.lm == MOSHI_7B and found.sampling == {} and found.codebooks == 8
    assert (found.weights.name, found.mimi.name, found.tokenizer.name) == NAMES
    assert found.mimi_config is None


def test_the_first_moshi_is_as_the_library_has_it() -> None:
    """So that nothing changes when it does."""
    installed()
    assert library().loaders._lm_kwargs == MOSHI_7B


def test_a_config_names_the_files(folder: Path) -> None:
    """By name, or by address; they lie beside it. What is not for the model is kept from it."""
    for name in ("lm.safetensors", "codec.safetensors", "codec.json", "words.model"):
        (folder / name).touch()
    configure(
        folder,
        moshi_name="lm.safetensors",
        mimi_name="hf://kyutai/moshiko-pytorch-bf16/codec.safetensors",
        mimi_config_name="codec.json",
        tokenizer_name="../../words.model",
        model_type="hibiki",
        model_id={"sig": "f00"},
        lm_gen_config={"temp": 0.6},
    )
    found = read(folder)
    paths = (found.weights, found.mimi, found.mimi_config, found.tokenizer)
    assert paths == tuple(
        folder / name for name in ("lm.safetensors", "codec.safetensors", "codec.json", "words.model")
    )
    assert found.kind == "hibiki" and found.sampling == {"temp": 0.6} and found.lm == MOSHI_7B


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    """Says what belongs there."""
    with pytest.raises(EngineError, match=r"There is no folder .*/here: download kyutai/moshiko-pytorch-bf16"):
        read(tmp_path / "here")


def test_missing_files_are_named(folder: Path) -> None:
    """All of them."""
    (folder / NAMES[0]).unlink()
    (folder / NAMES[2]).unlink()
    with pytest.raises(EngineError, match=r"lacks model\.safetensors and tokenizer_spm_32k_3\.model: download"):
        read(folder)


@pytest.mark.parametrize("text", ["{", "[]", "3", '{"dim": 8}', '{"architectures": ["LlamaForCausalLM"]}'])
def test_a_config_of_something_else(folder: Path, text: str) -> None:
    """Or of nothing."""
    (folder / "config.json").write_text(text)
    with pytest.raises(EngineError, match=r"config\.json does not describe a Moshi"):
        read(folder)


@pytest.mark.parametrize("missing", ["dim", "n_q", "dep_q", "card", "text_card", "num_layers", "context", "gating"])
def test_a_config_that_lacks_something(folder: Path, missing: str) -> None:
    """Names it."""
    configure(folder, **{missing: "gone"})
    with pytest.raises(EngineError, match=rf"config\.json does not describe a Moshi .*{missing}"):
        read(folder)


def test_what_is_no_voice(folder: Path) -> None:
    """Kyutai's other models have the same layout."""
    configure(folder, model_type="stt", dep_q=0)
    with pytest.raises(EngineError, match="holds a model of type stt, which is no voice"):
        read(folder)
    for key in ("quantize", "lora"):
        configure(folder, **{key: True})
        with pytest.raises(EngineError, match="take the bf16 checkpoint"):
            read(folder)


def test_parameters_of_the_first_moshi() -> None:
    """7.688 B, as counted from the library's own model (and 7.69 B as published)."""
    assert parameters(MOSHI_7B) == pytest.approx(7.688e9, abs=0.0005e9)


@pytest.mark.parametrize("kind", ["moshi", "hibiki", "hibiki-zero"])
def test_parameters_are_those_of_the_model(kind: str) -> None:
    """To the last one, but for the conditioner of Hibiki (31 words)."""
    installed()
    import torch

    from tests.models.tiny_moshi import checkpoint

    found = read(checkpoint(kind))
    lm = load_lm(found, torch.device("cpu"), torch.float32, 8)
    counted = sum(weights.numel() for name, weights in lm.named_parameters() if "condition_provider" not in name)
    assert parameters(found.lm) == counted


@pytest.mark.parametrize(("kind", "same"), [("moshi", False), ("hibiki", True)])
def test_hibiki_hears_its_own_end_as_padding(kind: str, same: bool) -> None:
    """It goes on interpreting although it said that it had ended."""
    installed()
    import torch

    from tests.models.tiny_moshi import checkpoint

    lm = load_lm(read(checkpoint(kind)), torch.device("cpu"), torch.float32, 8)
    assert torch.equal(lm.text_emb.weight[2], lm.text_emb.weight[3]) == same


def test_memory_of_the_first_moshi() -> None:
    """A step of context is 524 kB in bf16, so a seat of 4 minutes 1.57 GB, and Mimi's state; 15.4 GB of weights."""
    four, two = (memory(MOSHI_7B, context, 2, guided=False, reserve=2_500_000_000) for context in (3000, 1500))
    assert four.seat - MIMI_SEAT_BYTES == 3000 * 524_288
    assert four.seat - two.seat == 1500 * 524_288
    assert four.fixed == pytest.approx(15.376e9 + MIMI_BYTES + 2.5e9, abs=1e6)
    assert memory(MOSHI_7B, 3000, 4, guided=False, reserve=0).fixed - MIMI_BYTES == 2 * 2 * parameters(MOSHI_7B)
    most = {gigabytes: int((gigabytes * 1e9 - four.fixed) // four.seat) for gigabytes in (80, 141)}
    assert most == {80: 38, 141: 77}  # an H100, an H200


def test_memory_of_mimi() -> None:
    """Counted on the codec of full size, which is made without its numbers."""
    installed()
    import torch

    mimi = library().loaders.get_mimi(None, None, device="meta")
    assert sum(tensor.nbytes for tensor in mimi.state_dict().values()) == pytest.approx(MIMI_BYTES, rel=0.01)
    with mimi.streaming(3):
        states = mimi.get_streaming_state().values()
        kept = [value for state in states for value in vars(state).values() if isinstance(value, torch.Tensor)]
        kept += [state.kv_cache.cache for state in states if getattr(state, "kv_cache", None) is not None]
        assert sum(tensor.nbytes for tensor in kept) == pytest.approx(3 * MIMI_SEAT_BYTES, rel=0.01)


def test_guidance_and_shared_keys_change_a_seat() -> None:
    """Guidance runs each conversation twice; grouped queries have fewer keys and values."""
    plain = memory(MOSHI_7B, 100, 2, guided=False, reserve=0).seat - MIMI_SEAT_BYTES
    assert memory(MOSHI_7B, 100, 2, guided=True, reserve=0).seat - MIMI_SEAT_BYTES == 2 * plain
    grouped = memory({**MOSHI_7B, "kv_repeat": 4}, 100, 2, guided=False, reserve=0)
    assert grouped.seat - MIMI_SEAT_BYTES == plain / 4


@pytest.mark.parametrize(
    ("seats", "gigabytes", "sentence"),
    [
        (32, 40, "32 seats at context 3000 need 69 GB; this GPU has 40: use at most 13, or a shorter context."),
        (2, 20, "2 seats at context 3000 need 21 GB; this GPU has 20: use at most 1, or a shorter context."),
        (1, 19, "1 seat at context 3000 needs 20 GB; this GPU has 19: use a shorter context."),
        (1, 16, "1 seat at context 3000 needs 20 GB; this GPU has 16: 18 are needed before the first seat."),
    ],
)
def test_what_does_not_fit_says_what_does(seats: int, gigabytes: int, sentence: str) -> None:
    """In one sentence."""
    needed = memory(MOSHI_7B, 3000, 2, guided=False, reserve=2_500_000_000)
    with pytest.raises(EngineError) as caught:
        needed.check(seats, gigabytes * 10**9, "this GPU")
    assert str(caught.value) == sentence


def test_what_fits_passes() -> None:
    """To the byte."""
    needed = memory(MOSHI_7B, 3000, 2, guided=False, reserve=0)
    needed.check(3, needed.need(3), "this GPU")
    with pytest.raises(EngineError):
        needed.check(3, needed.need(3) - 1, "this GPU")


def test_a_tokenizer_of_another_vocabulary(tiny: Path) -> None:
    """Would print other words than are meant."""
    config = json.loads((tiny / "config.json").read_text())
    pieces, config["text_card"] = config["text_card"], config["text_card"] + 1
    (tiny / "config.json").write_text(json.dumps(config))
    with pytest.raises(EngineError, match=f"has {pieces} pieces and the model {pieces + 1}: it belongs to another"):
        load_tokenizer(read(tiny))


def test_files_that_are_something_else(tiny: Path) -> None:
    """Each is named, with what is wrong with it."""
    import torch

    cpu, found = torch.device("cpu"), read(tiny)
    load: dict[Path, Callable[[], object]] = {
        found.weights: lambda: load_lm(found, cpu, torch.float32, 24),
        found.mimi: lambda: load_codec(found, cpu),
        found.tokenizer: lambda: load_tokenizer(found),
    }
    for path, call in load.items():
        call()
        path.write_bytes(path.read_bytes()[:1000])
        with pytest.raises(EngineError, match=rf"{path.name} could not be loaded \(.+\): download"):
            call()
    shutil.copy(tiny / "mimi_config.json", found.weights)
    with pytest.raises(EngineError, match=r"model\.safetensors could not be loaded"):
        load[found.weights]()


def test_weights_of_another_size(tiny: Path) -> None:
    """Do not fit their config.json."""
    import torch

    config = json.loads((tiny / "config.json").read_text())
    (tiny / "config.json").write_text(json.dumps({**config, "num_layers": 3}))
    with pytest.raises(EngineError, match=r"model\.safetensors could not be loaded \(.*[Mm]issing key"):
        load_lm(read(tiny), torch.device("cpu"), torch.float32, 24)


def test_it_is_imported_without_torch(folder: Path) -> None:
    """And loading says what to install."""
    script = """
import sys
for name in ("torch", "moshi", "sentencepiece", "safetensors", "einops"):
    sys.modules[name] = None  # as if it were not installed
from pathlib import Path
from models.base import EngineError
from models.moshi import Moshi
try:
    Moshi(Path(sys.argv[1])).load(lambda fraction, doing: None)
except EngineError as error:
    print(error)
"""
    ran = subprocess.run([sys.executable, "-c", script, str(folder)], capture_output=True, text=True, check=True)
    assert ran.stdout.startswith("Moshi is not installed (")
    assert ran.stdout.endswith("pip install --no-deps moshi==0.2.13.\n")
