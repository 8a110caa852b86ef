"""Voice activity: Silero's network (MIT licence), run by onnxruntime without torch.

Importing the `silero_vad` package needs torch, but its wheel holds the ONNX file, so it is found without an import and
installed with `pip install --no-deps silero-vad`.

Source: https://github.com/snakers4/silero-vad (class OnnxWrapper in `utils_vad.py` has the same recursion).
"""

import functools
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from models.base import SPEECH_RATE, VAD_WINDOW, EngineError, Memory, Pcm

if TYPE_CHECKING:
    import onnxruntime

CONTEXT = 64
"""Samples of the window before that the network sees again, in front of each window."""

LAYERS, WIDTH = 2, 128
"""Of the network's recurrent state (h and c)."""


def model_path() -> Path:
    """Where the wheel keeps the network. Raises EngineError if it is not installed."""
    spec = importlib.util.find_spec("silero_vad")
    for folder in (spec.submodule_search_locations if spec else None) or ():
        path = Path(folder) / "data" / "silero_vad.onnx"
        if path.exists():
            return path
    raise EngineError("The speech detector is not installed (pip install --no-deps silero-vad).")


@functools.cache
def _session() -> "onnxruntime.InferenceSession":
    """The one network of this process: it keeps no state between runs and may run in several threads at once."""
    import onnxruntime  # takes 0.1 s: not where the event loop waits for it

    options = onnxruntime.SessionOptions()
    # One window takes 0.3 ms: onnxruntime's own threads would spin longer than they work.
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(str(model_path()), options, providers=["CPUExecutionProvider"])


class SileroDetector:
    """Implements `base.SpeechDetector`. A memory is the context, then the state's layers."""

    def load(self) -> None:
        """Raises EngineError if the network is not installed."""
        _session()

    def memory(self) -> Memory:
        """Shape (CONTEXT + LAYERS * WIDTH,)."""
        return np.zeros(CONTEXT + LAYERS * WIDTH, np.float32)

    def probabilities(self, memories: Sequence[Memory], windows: Sequence[Pcm]) -> list[float]:
        """One run of the network, with a source in each row. See `base.SpeechDetector`."""
        if wrong := [window.shape for window in windows if window.shape != (VAD_WINDOW,)]:
            raise ValueError(f"a window has shape ({VAD_WINDOW},), not {wrong[0]}")
        past = np.stack(memories)
        heard = np.concatenate([past[:, :CONTEXT], np.stack(windows)], axis=1, dtype=np.float32)
        state = past[:, CONTEXT:].reshape(-1, LAYERS, WIDTH).swapaxes(0, 1)
        inputs = {"input": heard, "state": np.ascontiguousarray(state), "sr": np.array(SPEECH_RATE, np.int64)}
        output, state = _session().run(None, inputs)
        past[:, :CONTEXT] = heard[:, -CONTEXT:]
        past[:, CONTEXT:] = state.swapaxes(0, 1).reshape(-1, LAYERS * WIDTH)
        for memory, row in zip(memories, past, strict=True):
            memory[:] = row
        probabilities: list[float] = output[:, 0].tolist()
        return probabilities
