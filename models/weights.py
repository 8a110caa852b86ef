"""Checkpoints that engines load: what they are, whether all of one is here, and how to get it.

A checkpoint is a directory of one's own, or a repository of the Hugging Face hub in that library's cache. Nothing here
needs torch or transformers; what talks to the hub needs `huggingface_hub`, which comes with the engines' extras.
"""

import hashlib
import json
import logging
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from models.base import EngineError

logger = logging.getLogger(__name__)

Say = Callable[[str], None]
"""Takes a sentence for the person who waits."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """One kind of weights."""

    name: str
    """For people."""
    extra: str
    """The extra of this package that brings the libraries for it."""
    command: str
    """What fetches it."""
    option: str
    """What goes between that and the name of another repository."""
    licence: str
    """A sentence."""
    size: int
    """Bytes that are fetched, about."""
    revisions: Mapping[str, str]
    """Repositories that hold such weights, the usual one first, each with the commit that we know."""
    wanted: tuple[str, ...]
    """Patterns of the files to fetch; the repositories hold the same weights in other formats too."""
    needed: tuple[tuple[str, ...], ...]
    """Files without which it cannot be loaded; of each group one is enough."""
    weights: tuple[str, ...]
    """The safetensors files. Each may be in pieces instead, with an index beside them (`NAME.index.json`)."""
    model_type: str = ""
    """What `config.json` says it is, where that tells it from other models."""

    @property
    def repository(self) -> str:
        """The usual one."""
        return next(iter(self.revisions))


SEAMLESS = Checkpoint(
    name="SeamlessM4T v2 (large)",
    extra="seamless",
    command="dragoman fetch-models --translator seamless",
    option="--seamless-model ",
    licence="CC BY-NC 4.0: for non-commercial use only. https://creativecommons.org/licenses/by-nc/4.0/",
    size=9_300_000_000,
    revisions={"facebook/seamless-m4t-v2-large": "5f8cc790b19fc3f67a61c105133b20b34e3dcb76"},
    wanted=("*.json", "*.safetensors", "sentencepiece.bpe.model"),  # not the *.pt: 11 GB for another library
    needed=(
        ("config.json",),
        ("generation_config.json",),
        ("preprocessor_config.json", "processor_config.json"),  # transformers 4 and 5 write different ones
        ("sentencepiece.bpe.model", "tokenizer.json"),
    ),
    weights=("model.safetensors",),
    model_type="seamless_m4t_v2",
)

MOSHI = Checkpoint(
    name="Moshi",
    extra="moshi",
    command="dragoman fetch-models --dialogue moshi",
    option="--moshi-model ",
    licence="CC BY 4.0: free for any use that names its makers, Kyutai. https://creativecommons.org/licenses/by/4.0/",
    size=15_800_000_000,
    revisions={
        "kyutai/moshiko-pytorch-bf16": "2bfc9ae6e89079a5cc7ed2a68436010d91a3d289",
        "kyutai/moshika-pytorch-bf16": "a49141e28b3d9c947cf9aa5314431e1b11cbd2f5",
    },
    wanted=("config.json", "*.safetensors", "tokenizer_spm_32k_3.model"),
    needed=(("tokenizer_spm_32k_3.model",),),  # config.json is not in all of them; then it is the usual 7B model
    weights=("model.safetensors", "tokenizer-e351c8d8-checkpoint125.safetensors"),
)

HIBIKI = Checkpoint(
    name="Hibiki",
    extra="moshi",
    command="dragoman fetch-models --hibiki",
    option="",
    licence="CC BY 4.0: free for any use that names its makers, Kyutai. https://creativecommons.org/licenses/by/4.0/",
    size=3_900_000_000,  # 1.7 B parameters in bf16, and Mimi
    revisions={"kyutai/hibiki-1b-pytorch-bf16": "main", "kyutai/hibiki-2b-pytorch-bf16": "main"},  # commits not known
    wanted=("config.json", "*.safetensors", "*.model"),
    needed=(("config.json",),),  # it names the others, and moshi_checkpoint.read looks for them
    weights=(),
    model_type="hibiki",
)


def locate(model: str, revision: str | None = None, checkpoint: Checkpoint = SEAMLESS) -> Path:
    """The directory of a checkpoint that is whole; uses no network and loads nothing.

    `model` is a directory or a repository, `revision` a commit, branch or tag of the latter (default: the one we know,
    of other repositories `main`). Raises EngineError that says what to do."""
    folder = Path(model).expanduser()
    if folder.is_dir():
        check(folder, checkpoint, "Copy it there again.")
        return folder
    _assert_repository(model)
    hub = _hub(checkpoint)
    remedy = f"`{_command(model, checkpoint)}` fetches it."
    for name in (*(names[0] for names in checkpoint.needed), *checkpoint.weights):
        path = hub.try_to_load_from_cache(model, name, revision=_revision(model, revision, checkpoint))
        if isinstance(path, str):
            check(Path(path).parent, checkpoint, remedy)
            return Path(path).parent
    size = f"{checkpoint.size / 1e9:.1f} GB"
    raise EngineError(f"{checkpoint.name} is not on this machine. {remedy[:-1]} ({model}, about {size}).")


def fetch(model: str, say: Say, revision: str | None = None, checkpoint: Checkpoint = SEAMLESS) -> Path:
    """Bring a checkpoint here, or what is missing of it; goes on where it was interrupted. Its directory.

    Blocks for as long as gigabytes take, with a progress bar on stderr. `model` and `revision` as in `locate`. Raises
    EngineError."""
    if Path(model).expanduser().is_dir():
        return locate(model, revision, checkpoint)
    _assert_repository(model)
    hub = _hub(checkpoint)
    doubt = f"Is {model} the right repository?"
    try:
        wanted = _revision(model, revision, checkpoint)
        info = hub.HfApi().model_info(model, revision=wanted, files_metadata=True)
        if checkpoint.model_type and any(file.rfilename == "config.json" for file in info.siblings):
            config = hub.hf_hub_download(model, "config.json", revision=info.sha)
            _assert_type(Path(config), checkpoint, doubt)  # before gigabytes of something else come
        _fetch_large(hub, model, info, checkpoint, say)
        # By its name: only then is it written down which commit that is, and `locate` finds a branch.
        folder = hub.snapshot_download(model, revision=wanted, allow_patterns=list(checkpoint.wanted))
    except EngineError:
        raise
    except Exception as error:  # its own and its HTTP client's, of which it has had three
        raise EngineError(_explain(hub, model, error)) from error
    check(Path(folder), checkpoint, doubt)
    return Path(folder)


def check(folder: Path, checkpoint: Checkpoint, remedy: str) -> None:
    """Raise EngineError, with the remedy, unless all of a checkpoint is in the folder. Reads headers, not weights."""
    if checkpoint.model_type and (folder / "config.json").exists():
        _assert_type(folder / "config.json", checkpoint, remedy)
    for names in checkpoint.needed:
        if not any((folder / name).exists() for name in names):
            raise EngineError(f"{folder} lacks {' or '.join(names)}: {checkpoint.name} is not complete. {remedy}")
    for name in checkpoint.weights:
        index = folder / f"{name}.index.json"
        pieces = _pieces(index, remedy) if index.exists() else [name]
        for piece in pieces:
            if not (folder / piece).exists():
                raise EngineError(f"{folder} lacks {piece}: {checkpoint.name} is not complete. {remedy}")
            if damage := _damage(folder / piece):
                raise EngineError(f"{folder / piece} {damage}. {remedy}")


def has_gpu() -> bool:
    """Whether PyTorch is installed, works, and finds a CUDA device."""
    try:
        import torch
    except ImportError:
        return False
    except Exception as error:  # whatever an installation in pieces raises: OSError where a library of its is not there
        logger.warning("PyTorch cannot be used: %s", error)
        return False
    return torch.cuda.is_available()


def assert_room(folder: Path, size: int) -> None:
    """Raise EngineError unless `size` more bytes fit where the folder is, or will be."""
    there = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(there).free
    if free < size:
        raise EngineError(
            f"{size / 1e9:.1f} GB are to be fetched into {folder}, which has room for {free / 1e9:.1f} GB."
        )


def _assert_type(config: Path, checkpoint: Checkpoint, remedy: str) -> None:
    found = _json(config, remedy).get("model_type")
    if found != checkpoint.model_type:
        what = f"a model of type {found!r}" if found else "a model of no known type"
        raise EngineError(f"{config.parent} holds {what}, not {checkpoint.name} ({checkpoint.model_type!r}). {remedy}")


def _damage(path: Path) -> str | None:
    """What is wrong with a safetensors file by its header: 8 bytes of length, JSON, and then tensors without a gap
    (https://github.com/huggingface/safetensors#format). None if nothing is."""
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 0 < length <= size - 8:
            return "is not a safetensors file, or its beginning only"
        try:
            tensors = json.loads(file.read(length))
            end = max((entry["data_offsets"][1] for key, entry in tensors.items() if key != "__metadata__"), default=0)
        except (ValueError, AttributeError, LookupError, TypeError):
            return "is not a safetensors file"
    whole = 8 + length + end
    return None if size == whole else f"has {size:,} bytes where {whole:,} are due"


def _pieces(index: Path, remedy: str) -> list[str]:
    """The files over which an index spreads the tensors."""
    try:
        return sorted(set(_json(index, remedy)["weight_map"].values()))
    except (LookupError, AttributeError, TypeError):
        raise EngineError(f"{index} is not an index of tensors. {remedy}") from None


def _json(path: Path, remedy: str) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise EngineError(f"{path} does not hold a JSON object. {remedy}")
    return content


def _assert_repository(model: str) -> None:
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", model) or "--" in model or ".." in model:
        raise EngineError(f"{model!r} is neither a directory here nor the name of a repository (owner/name).")


def _revision(model: str, revision: str | None, checkpoint: Checkpoint) -> str:
    return revision or checkpoint.revisions.get(model, "main")


def _command(model: str, checkpoint: Checkpoint) -> str:
    return checkpoint.command + ("" if model == checkpoint.repository else f" {checkpoint.option}{model}")


# The hub


def _hub(checkpoint: Checkpoint) -> ModuleType:
    try:
        import huggingface_hub
        import huggingface_hub.constants
        import huggingface_hub.errors
        import huggingface_hub.file_download
        import huggingface_hub.utils  # submodules are loaded when they are named
    except ImportError:
        raise EngineError(
            f"{checkpoint.name} needs libraries that are not installed; in Dragoman's folder: "
            f"pip install '.[{checkpoint.extra}]'"
        ) from None
    return huggingface_hub


def _fetch_large(hub: ModuleType, model: str, info: Any, checkpoint: Checkpoint, say: Say) -> None:
    """Put the large files into the hub's cache; each goes on where it was interrupted.

    `snapshot_download` alone would do, but that of huggingface_hub 2 begins an interrupted file anew, and one here has
    15 GB (https://github.com/huggingface/huggingface_hub/pull/4228). It takes what lies in `blobs/` under its SHA-256:
    https://huggingface.co/docs/huggingface_hub/guides/manage-cache."""
    utils, file_download = hub.utils, hub.file_download
    cache = Path(hub.constants.HF_HUB_CACHE)
    folder = file_download.repo_folder_name(repo_id=model, repo_type="model")
    blobs = cache / folder / "blobs"
    wanted = list(checkpoint.wanted)
    large = [
        file
        for file in utils.filter_repo_objects(info.siblings, allow_patterns=wanted, key=lambda file: file.rfilename)
        if file.lfs is not None
    ]
    missing = []
    for file in large:
        pointer = hub.try_to_load_from_cache(model, file.rfilename, revision=info.sha)
        places = [blobs / file.lfs.sha256, *([Path(pointer)] if isinstance(pointer, str) else [])]
        if not any(_is_whole(place, file.lfs.size) for place in places):
            missing.append((file, blobs / f"{file.lfs.sha256}.incomplete"))
    begun = sum(_size(partial) for _, partial in missing)
    left = sum(file.lfs.size for file, _ in missing) - begun
    assert_room(blobs, left)
    if begun:
        say(f"{begun / 1e9:.1f} GB are here already from last time; {left / 1e9:.1f} GB are left.")
    blobs.mkdir(parents=True, exist_ok=True)
    for file, partial in missing:
        lock = cache / ".locks" / folder / f"{file.lfs.sha256}.lock"  # the library's own
        lock.parent.mkdir(parents=True, exist_ok=True)
        with utils.WeakFileLock(lock):
            if (blobs / file.lfs.sha256).exists():
                continue  # another process brought it meanwhile
            _download(hub, hub.hf_hub_url(model, file.rfilename, revision=info.sha), file, partial)
            _admit(partial, blobs / file.lfs.sha256)


def _download(hub: ModuleType, url: str, file: Any, partial: Path) -> None:
    """Append to the partial file what it lacks."""
    while True:
        had = _size(partial)
        if had > file.lfs.size:
            partial.unlink()
            had = 0
        try:
            with partial.open("ab") as out:
                hub.file_download.http_get(
                    url,
                    out,
                    resume_size=had,
                    headers=hub.utils.build_hf_headers(),
                    expected_size=file.lfs.size,
                    displayed_filename=file.rfilename,
                )
            return
        except Exception:  # of several HTTP clients; not all versions of the library try again by themselves
            if _size(partial) == had:
                raise


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _is_whole(path: Path, size: int) -> bool:
    """Whether the file is there with all its bytes. If with another number of them, it is removed."""
    if path.exists() and _size(path) != size:
        path.unlink()
    return path.exists()


def _admit(partial: Path, blob: Path) -> None:
    """A file that was fetched in pieces takes its place if it is what its name, a SHA-256, says. Raises EngineError."""
    with partial.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != blob.name:
            partial.unlink()
            raise EngineError(f"What came for {blob} is damaged and was deleted. Run the same command again.")
    partial.replace(blob)


def _explain(hub: ModuleType, model: str, error: Exception) -> str:
    """One sentence about why the hub did not give us what we asked for."""
    errors = hub.errors
    if isinstance(error, errors.GatedRepoError):
        return f"{model} is given only to those who accepted its terms: see {hub.constants.ENDPOINT}/{model}."
    if isinstance(error, errors.RepositoryNotFoundError):
        return f"There is no repository {model} at {hub.constants.ENDPOINT}, or it is private (then: hf auth login)."
    if isinstance(error, errors.RevisionNotFoundError):
        return f"{model} at {hub.constants.ENDPOINT} has no such revision."
    if isinstance(error, errors.OfflineModeIsEnabled):
        return f"{model} cannot be fetched while HF_HUB_OFFLINE is set."
    kept = "What came so far is kept for the next time"
    if {"ConnectError", "ConnectionError", "Timeout", "TimeoutException"} & {
        kind.__name__ for kind in type(error).mro()
    }:
        return f"{hub.constants.ENDPOINT} does not answer; is there a way to the internet? {kept}."
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return f"{model} could not be fetched from {hub.constants.ENDPOINT}: {reason.rstrip('.')}. {kept}."
