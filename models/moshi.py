"""Moshi, a voice that listens while it speaks, and Hibiki, which interprets while one speaks: many people, one model.

A model of 7 B reads 15 GB of weights for every 80 ms of a conversation, and reads them once for all conversations that
it steps together. So there is one model with B seats, rows of a batch, each with a state of its own in the language
model and in the codec Mimi. A seat is reset, or left out of a step, by masks, and its neighbours are not touched.

Source of the recipe: moshi 0.2.13, scripts/test_missing_data_lm.py and models/tts.py (masks), server.py (first frame).
https://github.com/kyutai-labs/moshi
"""

import codecs
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import numpy as np
import numpy.typing as npt

from models import moshi_checkpoint
from models.base import DialogueFrame, EngineBroken, EngineError, EngineFailed, Pcm, Progress

if TYPE_CHECKING:
    import sentencepiece
    import torch

P = ParamSpec("P")
T = TypeVar("T")

RESERVE = {"cuda": 2_500_000_000, "cpu": 250_000_000}
"""Bytes besides weights and state: CUDA's context and libraries, the graphs' private pools, scratch."""

WARM_UP = 4
"""Steps before the first person comes. The library captures CUDA graphs in the second call of each function."""

NOTICES = {
    "moshi": "Moshi understands and speaks English only. It answers fast, and may be wrong about anything.",
    "hibiki": "Hibiki interprets while you speak, in a voice like yours. It may be wrong.",
}


class Batch:
    """B conversations in one language model and one Mimi: `reset` and `step` for any of them, nothing else.

    Works on tensors and on one thread; knows no text, no errors and no limits.
    """

    def __init__(
        self, lm: Any, mimi: Any, seats: int, sampling: Mapping[str, Any], described: bool = False, guidance: float = 1
    ) -> None:
        """`described`: the model is conditioned on how good its voice is to be (Hibiki). `guidance`: coefficient of
        classifier-free guidance, 1 for none. Raises TypeError if `sampling` is not for `LMGen`."""
        import torch

        models = moshi_checkpoint.library()
        self._lm, self._mimi, self._seats, self._device = lm, mimi, seats, lm.device
        # Without `support_out_of_sync`, one seat's reset makes a step return nothing for any seat.
        self._gen = models.LMGen(
            lm,
            **sampling,
            cfg_coef=guidance,
            condition_tensors=_conditions(lm, seats, guidance) if described else None,
            support_out_of_sync=True,
        )
        self._streaming = ExitStack()
        self._streaming.enter_context(mimi.streaming(seats))
        self._streaming.enter_context(self._gen.streaming(seats))
        states = [*mimi.get_streaming_state().values(), *lm.get_streaming_state().values()]
        self._rings = [state.kv_cache.cache for state in states if getattr(state, "kv_cache", None) is not None]
        self._fresh = torch.ones(seats, dtype=torch.bool)  # their first frame has not been heard
        self._ended = torch.zeros(seats, dtype=torch.bool)  # their next frame is the end of the input

    def reset(self, seats: Iterable[int]) -> None:
        """Begin new conversations. Not captured in a graph: milliseconds for one seat as for many."""
        import torch

        rows = torch.tensor(list(seats), dtype=torch.long)
        chosen = torch.zeros(self._seats, dtype=torch.bool)
        chosen[rows] = True
        with torch.no_grad():
            self._mimi.reset_streaming(chosen)
            self._gen.reset_streaming(chosen)
            # The library only moves the rings' ends: old keys and values stay and are masked. But NaN times a weight of
            # 0 is NaN, so a conversation that ended in overflow would be the last on its seat; and words of one person
            # have no business in the memory of another's conversation.
            rows = rows.to(self._device)
            for ring in self._rings:  # [2, B, heads, context, width]; with guidance, the model's have 2 B
                for first in range(0, ring.shape[1], self._seats):
                    ring.index_fill_(1, first + rows, 0)
        self._fresh |= chosen
        self._ended &= ~chosen

    def end_input(self, seats: Iterable[int]) -> None:
        """Let the next step of these seats hear the end of the input instead of a frame."""
        self._ended[list(seats)] = True

    def step(self, pcm: Pcm, active: Sequence[int]) -> tuple[npt.NDArray[np.int64], Pcm]:
        """One frame on for the active seats. `pcm`: what is heard, shape [B, samples]; rows of others do not count.

        Returns tokens [B, 1 + codebooks] (text, then audio; -2 where a seat is idle or does not speak yet) and what is
        said, [B, samples], silence where there are no tokens."""
        import torch

        running = torch.zeros(self._seats, dtype=torch.bool)
        running[list(active)] = True
        ending, first = self._ended & running, self._fresh & running
        with torch.no_grad():
            # A masked row is computed, and its state stays. Mimi has one mask for hearing and speaking, so it is set
            # twice; and a reset unmasks its rows, so masks are set after it.
            self._mimi.set_exec_mask(running & ~ending)
            self._gen.set_exec_mask(running)
            heard = self._mimi.encode(torch.from_numpy(pcm)[:, None].to(self._device))  # [B, codebooks, 1]
            if ending.any():
                # As upstream (run_inference.py): the code after the last one, in all codebooks.
                heard = torch.where(ending.to(self._device)[:, None, None], self._mimi.cardinality, heard)
            if first.any():
                # The model takes the first frame for the past and does not hear it: the codec begins with the second.
                self._mimi.reset_streaming(first)
            tokens = self._gen.step(heard)  # [B, 1 + codebooks, 1]
            speaking = tokens[:, 0, 0] >= 0
            self._mimi.set_exec_mask(speaking)
            said = self._mimi.decode(tokens[:, 1:].clamp(min=0))  # -2 is no code: on a GPU it would break the process
            said = torch.where(speaking[:, None], said[:, 0], 0.0).clamp(-1, 1)
            result = tokens[:, :, 0].cpu().numpy(), said.float().cpu().numpy()
        self._fresh &= ~first
        self._ended &= ~ending
        return result

    def close(self) -> None:
        """Let the model and Mimi go, for another batch to use. Idempotent."""
        self._streaming.close()
        self._rings = []


def _conditions(lm: Any, seats: int, guidance: float) -> Any:
    """What Hibiki is asked for: a very good voice, and, with guidance, as little as possible of a very bad one."""
    from moshi.conditioners import ConditionAttributes

    # As upstream (run_inference.get_condition_tensors, which cannot be imported without sphn).
    wanted = ["very_good"] * seats + (["very_bad"] * seats if guidance != 1 else [])
    return lm.condition_provider.prepare_and_provide(
        [ConditionAttributes(text={"description": quality}, tensor={}) for quality in wanted]
    )


class Moshi:
    """A checkpoint of Moshi or Hibiki. Implements `base.Dialogue`."""

    sample_rate = 24_000
    frame_samples = 1_920

    def __init__(
        self,
        folder: Path,
        seats: int = 8,
        context: int | None = None,
        device: str | None = None,
        guidance: float = 1.0,
        greedy: bool = False,
    ) -> None:
        """`folder` holds a checkpoint as on the Hub. `context`: steps (80 ms) that a voice remembers, at most what it
        was trained with, which is the default; a seat's memory grows with it. `device`: `cuda`, `cuda:1` …, `cpu`; by
        default a GPU if there is one. `guidance`: how much nearer Hibiki's voice comes to the speaker's; 1 not at all,
        3 a lot, at twice the work. `greedy`: say what is likeliest, instead of drawing as the checkpoint asks.

        Raises EngineError for a folder that holds no voice, ValueError for anything else that cannot be."""
        self._checkpoint = checkpoint = moshi_checkpoint.read(folder)
        trained = checkpoint.lm["context"]
        if seats < 1:
            raise ValueError(f"a voice has at least one seat, not {seats}")
        if device and device.split(":")[0] not in RESERVE:
            raise ValueError(f"a voice runs on cuda or cpu, not on {device}")
        self._context: int = trained if context is None else context
        if not 1 <= self._context <= trained:
            raise ValueError(f"the context of {folder} is 1 to {trained} steps, not {context}")
        described = bool(checkpoint.lm.get("conditioners"))
        if guidance != 1 and not described:
            raise ValueError(f"{folder} knows no guidance: it is for a Hibiki")
        self.name = checkpoint.kind
        self.notice = NOTICES[checkpoint.kind]
        self.seats = seats
        self._device_name, self._guidance, self._described = device, guidance, described
        self._sampling = {**checkpoint.sampling, **({"use_sampling": False} if greedy else {})}
        self._batch: Batch | None = None
        self._pieces: list[bytes] = []
        self._words = [_decoder() for _ in range(seats)]
        self._broken = ""
        self._counts: Counter[str] = Counter()
        self._busy = 0.0

    def load(self, progress: Progress) -> None:
        """Make ready, all seats included; blocks for minutes. Raises EngineError."""
        moshi_checkpoint.library()
        try:
            self._load(progress)
        except EngineError:
            raise
        except Exception as error:  # whatever torch raises for a model that does not fit after all, or a GPU in pieces
            self.close()
            raise EngineError(f"{self.name} does not run: {_first_line(error)}.") from error

    def _load(self, progress: Progress) -> None:
        import torch

        progress(0.0, "looking for room")
        device = torch.device(self._device_name or ("cuda" if torch.cuda.is_available() else "cpu"))
        dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
        moshi_checkpoint.memory(
            self._checkpoint.lm, self._context, dtype.itemsize, self._guidance != 1, RESERVE[device.type]
        ).check(self.seats, *available(device))
        tokenizer = moshi_checkpoint.load_tokenizer(self._checkpoint)
        self._pieces = pieces(tokenizer, {0, self._checkpoint.lm.get("existing_text_padding_id", 3)})
        progress(0.02, "reading the codec")
        mimi = moshi_checkpoint.load_codec(self._checkpoint, device)
        heard = (mimi.sample_rate, mimi.frame_size, mimi.cardinality)
        if heard != (self.sample_rate, self.frame_samples, self._checkpoint.lm["card"]):
            raise EngineError(f"{self._checkpoint.mimi} is not the codec of {self._checkpoint.weights.name}.")
        progress(0.05, "reading the language model")
        lm = moshi_checkpoint.load_lm(self._checkpoint, device, dtype, self._context)
        progress(0.9, "warming up")
        self._batch = Batch(lm, mimi, self.seats, self._sampling, self._described, self._guidance)
        silence = np.zeros((self.seats, self.frame_samples), np.float32)
        for _ in range(WARM_UP):
            self._batch.step(silence, range(self.seats))
        self._batch.reset(range(self.seats))
        progress(1.0, "ready")

    def reset(self, seats: Sequence[int]) -> None:
        """Forget the conversations of these seats: the next frame of each begins a new one. See `base.Dialogue`."""
        self._check(seats)
        self._call(lambda batch: batch.reset(seats))
        for seat in seats:
            self._words[seat] = _decoder()
        self._counts["resets"] += len(seats)

    def end_input(self, seats: Sequence[int]) -> None:
        """Tell Hibiki that these people have said all: their next frame is not heard, and the rest is translated.

        Raises ValueError for a Moshi, whose conversations have no such end."""
        self._check(seats)
        if self.name != "hibiki":
            raise ValueError(f"{self.name} does not wait for an end")
        self._call(lambda batch: batch.end_input(seats))

    def step(self, frames: Mapping[int, Pcm]) -> Mapping[int, DialogueFrame]:
        """One frame on for the seats in `frames`. See `base.Dialogue`."""
        self._check(frames)
        heard = np.zeros((self.seats, self.frame_samples), np.float32)
        for seat, frame in frames.items():
            if frame.shape != (self.frame_samples,):
                raise ValueError(f"seat {seat}: a frame has shape ({self.frame_samples},), not {frame.shape}")
            if not np.isfinite(frame).all():
                raise ValueError(f"seat {seat}: a frame has finite numbers only")
            np.clip(frame, -1, 1, out=heard[seat])
        if not frames:
            return {}
        begun = time.perf_counter()
        tokens, said = self._call(lambda batch: batch.step(heard, tuple(frames)))
        self._busy += time.perf_counter() - begun
        self._counts["steps"] += 1
        self._counts["frames"] += len(frames)
        return {seat: DialogueFrame(said[seat], self._text(seat, int(tokens[seat, 0]))) for seat in frames}

    def counters(self) -> Mapping[str, float]:
        """Steps, frames of all seats, resets and failures, and the seconds that steps took."""
        names = ("steps", "frames", "resets", "failures")
        return {**{name: float(self._counts[name]) for name in names}, "step_seconds": self._busy}

    def close(self) -> None:
        """Free the model, and with it the GPU's memory. Idempotent."""
        batch, self._batch = self._batch, None
        if batch is not None:
            import torch

            batch.close()
            del batch
            if torch.cuda.is_available():
                torch.cuda.empty_cache()

    def _text(self, seat: int, token: int) -> str:
        return self._words[seat].decode(self._pieces[token]) if token >= 0 else ""

    def _check(self, seats: Iterable[int]) -> None:
        if wrong := [seat for seat in seats if not 0 <= seat < self.seats]:
            raise ValueError(f"there is no seat {wrong[0]}: there are {self.seats}, from 0")

    def _call(self, work: Callable[[Batch], T]) -> T:
        """Run `work`, with whatever it raises as an EngineError."""
        if self._broken:
            raise EngineBroken(self._broken)
        if self._batch is None:
            raise EngineFailed(f"{self.name} is not loaded.")
        try:
            return work(self._batch)
        except Exception as error:  # whatever torch raises
            self._counts["failures"] += 1
            if not _breaks(error):
                raise EngineFailed(f"{self.name} lost a step: {_first_line(error)}.") from error
            self._broken = f"The GPU failed ({_first_line(error)}): start {self.name} anew."
            raise EngineBroken(self._broken) from error


def available(device: "torch.device") -> tuple[int, str]:
    """Bytes that may be used, and of what."""
    if device.type == "cuda":
        import torch

        free: int = torch.cuda.mem_get_info(device)[0]
        return free, "this GPU"
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"), "this machine"


def pieces(tokenizer: "sentencepiece.SentencePieceProcessor", unsaid: set[int]) -> list[bytes]:
    """What each text token is when written, in UTF-8; nothing for the unsaid and for marks. A character that is not in
    the vocabulary has a token for each of its octets."""

    def written(token: int) -> bytes:
        if token in unsaid or tokenizer.IsControl(token) or tokenizer.IsUnknown(token):
            return b""
        piece: str = tokenizer.IdToPiece(token)
        if tokenizer.IsByte(token):
            return bytes([int(piece[1:-1], 16)])  # <0xE2>
        return piece.replace("▁", " ").encode()

    return [written(token) for token in range(tokenizer.vocab_size())]


def _decoder() -> codecs.IncrementalDecoder:
    return codecs.getincrementaldecoder("utf-8")("replace")


def _breaks(error: Exception) -> bool:
    """Whether the GPU's context is gone with it: nothing else runs in this process. Full memory is not of that kind."""
    import torch

    if isinstance(error, torch.OutOfMemoryError):
        return False
    return isinstance(error, torch.AcceleratorError) or "CUDA error" in str(error) or "cuDNN error" in str(error)


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).split("\n")[0].rstrip(".")
