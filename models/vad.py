"""Voice activity: Silero's network (MIT licence), run by onnxruntime without torch.

Importing the `silero_vad` package needs torch, but its wheel holds the ONNX file, so it is found without an import and
installed with `pip install --no-deps silero-vad`.

Source: https://github.com/snakers4/silero-vad (class OnnxWrapper in `utils_vad.py` has the same recursion).
"""

import functools
import importlib.util
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime

from models.base import SPEECH_RATE, VAD_WINDOW, EngineError, Pcm

CONTEXT = 64
"""Samples of the window before that the network sees again, in front of each window."""

STATE_SHAPE = (2, 1, 128)
"""The network's recurrent state: layers (h and c), batch, width."""


def model_path() -> Path:
    """Where the wheel keeps the network. Raises EngineError if it is not installed."""
    spec = importlib.util.find_spec("silero_vad")
    for folder in (spec.submodule_search_locations if spec else None) or ():
        path = Path(folder) / "data" / "silero_vad.onnx"
        if path.exists():
            return path
    raise EngineError("The speech detector is not installed (pip install --no-deps silero-vad).")


@functools.cache
def _session() -> onnxruntime.InferenceSession:
    """The one network of this process: it keeps no state between runs and may run in several threads at once."""
    options = onnxruntime.SessionOptions()
    # One window takes 0.1 ms: onnxruntime's own threads would spin longer than they work.
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(str(model_path()), options, providers=["CPUExecutionProvider"])


class SileroDetector:
    """How probable it is that somebody speaks; one instance per source. Implements `base.SpeechDetector`."""

    def __init__(self) -> None:
        """Raises EngineError if the network is not installed."""
        self._network = _session()
        self._context: Pcm
        self._state: npt.NDArray[np.float32]
        self.reset()

    def probability(self, window: Pcm) -> float:
        """Judge the next VAD_WINDOW samples at SPEECH_RATE, in [0, 1]."""
        if window.shape != (VAD_WINDOW,):
            raise ValueError(f"a window has shape ({VAD_WINDOW},), not {window.shape}")
        heard = np.concatenate([self._context, window], dtype=np.float32)
        self._context = heard[-CONTEXT:]
        inputs = {"input": heard[None], "state": self._state, "sr": np.array(SPEECH_RATE, np.int64)}
        output, self._state = self._network.run(None, inputs)
        return float(output[0, 0])

    def reset(self) -> None:
        """Forget the past, after a gap in the audio."""
        self._context = np.zeros(CONTEXT, np.float32)
        self._state = np.zeros(STATE_SHAPE, np.float32)
