"""Opus by libopus itself: mono PCM at the rate a model wants, no resampler, FEC and concealment.

PyAV's wheels carry libopus as a file of its own with all symbols; a system libopus is the fallback. FFmpeg's wrapper,
which aiortc uses, can neither decode FEC nor conceal, and always works at 48 kHz stereo.
"""

import ctypes
import ctypes.util
import glob
import io
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt

CLOCK_RATE = 48_000
"""Hertz of every Opus RTP timestamp, whatever the codec runs at (RFC 7587 §4.1)."""

FRAME = 960
"""RTP ticks of one 20 ms packet."""

_APPLICATION_VOIP = 2048
_SET_BITRATE, _SET_COMPLEXITY, _SET_INBAND_FEC, _SET_PACKET_LOSS = 4002, 4010, 4012, 4014
_MAX_PACKET = 1275  # bytes: RFC 6716 §3.4
_MAX_PACKET_MS = 120

Int16 = npt.NDArray[np.int16]


class OpusError(Exception):
    """libopus refused: the packet is not Opus, or the arguments are wrong."""


def _load() -> ctypes.CDLL:
    site = Path(av.__file__).parent.parent
    found = [path for pattern in ("av.libs/*opus*", "av/.dylibs/*opus*") for path in glob.glob(str(site / pattern))]
    system = ctypes.util.find_library("opus")
    for path in [*found, *([system] if system else [])]:
        try:
            return ctypes.CDLL(path)
        except OSError:
            continue
    raise ImportError("libopus not found: neither in PyAV's wheel nor on the system (Debian: libopus0)")


_lib = _load()
_int, _int32, _pointer = ctypes.c_int, ctypes.c_int32, ctypes.c_void_p
_lib.opus_decoder_create.argtypes = [_int32, _int, ctypes.POINTER(_int)]
_lib.opus_decoder_create.restype = _pointer
_lib.opus_decode.argtypes = [_pointer, ctypes.c_char_p, _int32, _pointer, _int, _int]
_lib.opus_decoder_destroy.argtypes = [_pointer]
_lib.opus_encoder_create.argtypes = [_int32, _int, _int, ctypes.POINTER(_int)]
_lib.opus_encoder_create.restype = _pointer
_lib.opus_encode.argtypes = [_pointer, _pointer, _int, ctypes.c_char_p, _int32]
_lib.opus_encoder_ctl.argtypes = [_pointer, _int, _int32]  # variadic in C: only requests that set an int32 pass here
_lib.opus_encoder_destroy.argtypes = [_pointer]
_lib.opus_packet_get_nb_samples.argtypes = [ctypes.c_char_p, _int32, _int32]


def duration(packet: bytes) -> int:
    """RTP ticks that a packet lasts (RFC 6716 §3.1), 2.5 to 120 ms; 0 if it is not Opus."""
    return max(0, int(_lib.opus_packet_get_nb_samples(packet, len(packet), CLOCK_RATE)))


class Decoder:
    """Opus packets of one sender to mono int16 at `rate` (8, 12, 16, 24 or 48 kHz)."""

    def __init__(self, rate: int) -> None:
        error = _int()
        self._state = _lib.opus_decoder_create(rate, 1, ctypes.byref(error))
        if error.value:
            raise OpusError(f"no decoder for {rate} Hz (libopus error {error.value})")
        self._frame = rate // 50
        self._pcm = np.empty(rate * _MAX_PACKET_MS // 1000, np.int16)

    def decode(self, packet: bytes) -> Int16:
        """One packet, 2.5 to 120 ms. Raises OpusError if it is not Opus."""
        return self._run(packet, len(self._pcm), fec=0)

    def recover(self, packet: bytes) -> Int16:
        """The 20 ms before `packet`, from its in-band FEC (RFC 6716 §2.1.7); concealment if it carries none."""
        return self._run(packet, self._frame, fec=1)

    def conceal(self) -> Int16:
        """20 ms made up from what came before."""
        return self._run(None, self._frame, fec=0)

    def _run(self, packet: bytes | None, samples: int, fec: int) -> Int16:
        count = _lib.opus_decode(self._state, packet, len(packet or b""), self._pcm.ctypes.data, samples, fec)
        if count < 0:
            raise OpusError(f"not an Opus packet (libopus error {count})")
        return self._pcm[:count].copy()

    def __del__(self) -> None:
        if state := getattr(self, "_state", None):
            _lib.opus_decoder_destroy(state)


class Encoder:
    """Mono int16 speech at `rate` to Opus, 20 ms a packet, with in-band FEC against `expected_loss` percent."""

    def __init__(self, rate: int, bitrate: int = 32_000, complexity: int = 5, expected_loss: int = 5) -> None:
        error = _int()
        self._state = _lib.opus_encoder_create(rate, 1, _APPLICATION_VOIP, ctypes.byref(error))
        if error.value:
            raise OpusError(f"no encoder for {rate} Hz (libopus error {error.value})")
        self.frame_samples = rate // 50
        self._packet = ctypes.create_string_buffer(_MAX_PACKET)
        for request, value in (
            (_SET_BITRATE, bitrate),
            (_SET_COMPLEXITY, complexity),
            (_SET_INBAND_FEC, 1),
            (_SET_PACKET_LOSS, expected_loss),
        ):
            _lib.opus_encoder_ctl(self._state, request, value)

    def encode(self, pcm: Int16) -> bytes:
        """`frame_samples` samples to one packet."""
        assert len(pcm) == self.frame_samples, f"one 20 ms frame at a time, got {len(pcm)} samples"
        pcm = np.ascontiguousarray(pcm)
        count = _lib.opus_encode(self._state, pcm.ctypes.data, self.frame_samples, self._packet, _MAX_PACKET)
        if count < 0:
            raise OpusError(f"cannot encode (libopus error {count})")
        return self._packet.raw[:count]

    def __del__(self) -> None:
        if state := getattr(self, "_state", None):
            _lib.opus_encoder_destroy(state)


def to_int16(pcm: npt.NDArray[np.float32], rate: int, target_rate: int, tempo: float = 1.0) -> Int16:
    """Mono float in [-1, 1] at `rate` to int16 at `target_rate`, spoken `tempo` times as fast at the same pitch.

    Takes about 2 ms of CPU per second of audio with a tempo, less without: not for the event loop.
    """
    if not len(pcm):
        return np.zeros(0, np.int16)  # FFmpeg has no empty frames
    graph = av.filter.Graph()
    source = graph.add_abuffer(format="flt", sample_rate=rate, layout="mono", time_base=Fraction(1, rate))
    nodes = [source]
    if abs(tempo - 1.0) > 0.01:
        nodes.append(graph.add("atempo", f"{tempo:.3f}"))
    nodes.append(graph.add("aformat", f"sample_fmts=s16:sample_rates={target_rate}:channel_layouts=mono"))
    nodes.append(graph.add("abuffersink"))
    graph.link_nodes(*nodes).configure()
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(pcm, np.float32)[None], "flt", "mono")
    frame.sample_rate = rate
    frame.pts = 0
    graph.push(frame)
    graph.push(None)
    chunks: list[Int16] = []
    while True:
        try:
            chunks.append(graph.pull().to_ndarray()[0])
        except (av.BlockingIOError, av.EOFError):
            break
    return np.concatenate(chunks) if chunks else np.zeros(0, np.int16)


def to_ogg(pcm: npt.NDArray[np.float32], rate: int) -> bytes:
    """Mono float in [-1, 1] as an Ogg/Opus file (RFC 7845). About 10 ms of CPU per second: not for the event loop."""
    file = io.BytesIO()
    with av.open(file, "w", format="ogg") as container:
        stream = container.add_stream("libopus", rate=CLOCK_RATE, layout="mono", options={"application": "voip"})
        stream.bit_rate = 32_000
        samples = to_int16(pcm, rate, CLOCK_RATE) if len(pcm) else np.zeros(FRAME, np.int16)
        frame = av.AudioFrame.from_ndarray(samples[None], "s16", "mono")
        frame.sample_rate = CLOCK_RATE
        frame.pts = 0
        resampler = av.AudioResampler("s16", "mono", CLOCK_RATE, frame_size=FRAME)
        for piece in [*resampler.resample(frame), *resampler.resample(None)]:
            container.mux(stream.encode(piece))
        container.mux(stream.encode(None))
    return file.getvalue()
