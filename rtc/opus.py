"""Opus by libopus itself: mono PCM at the rate a model wants, no resampler, FEC and concealment.

PyAV's wheels carry libopus as a file of its own with all symbols; a system libopus is the fallback. FFmpeg's wrapper,
which aiortc uses, can neither decode FEC nor conceal, and always works at 48 kHz stereo.
"""

import ctypes
import ctypes.util
import io
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Generic, TypeVar, overload

import av
import numpy as np
import numpy.typing as npt

CLOCK_RATE = 48_000
"""Hertz of every Opus RTP timestamp, whatever the codec runs at (RFC 7587 §4.1)."""

RATES = (8_000, 12_000, 16_000, 24_000, 48_000)
"""Hertz of the PCM that libopus takes and gives."""

FRAME = 960
"""RTP ticks of one 20 ms packet."""

DTX_BYTES = 2
"""A packet no longer than this says only that the voice is silent (RFC 6716 §3.1, libopus' OPUS_SET_DTX)."""

_MAX_PACKET = 1275  # bytes: RFC 6716 §3.4
_MAX_TICKS = 5760  # 120 ms: RFC 6716 §3.2.5
_STEP = 120  # 2.5 ms, of which everything in Opus is a multiple

Int16 = npt.NDArray[np.int16]


class OpusError(Exception):
    """libopus refused: the packet is not Opus, or the arguments are wrong."""


# How to encode


@dataclass(frozen=True, slots=True)
class Setting:
    """One way to encode."""

    application: int
    """libopus' OPUS_APPLICATION_…: VOIP codes speech by SILK, RESTRICTED_LOWDELAY everything by CELT."""
    bitrate: int
    """Bits per second, including silence."""
    complexity: int
    """0 to 10."""
    dtx: bool = False
    """Say silence in packets of at most DTX_BYTES once it has lasted 200 ms."""


VOIP, LOWDELAY = 2048, 2051

# `python -m tests.bench.codec`: CPU per 20 ms, real bit rate, lookahead, and PESQ-WB against the voice itself (mean of
# four Flite and four espeak-ng voices; of three people) after random loss, recovered or concealed as libopus does.
#
#     loss  setting            CPU     kb/s  lookahead  voices  people
#     0 %   SILK 32k c5        185 µs  32    6.5 ms     4.04    4.34    what WebRTC sends, by which the rest is measured
#           SILK 64k c0         92 µs  62    6.5 ms     4.01    4.43
#           CELT 48k c0         32 µs  48    2.5 ms     3.73    4.36
#           CELT 64k c0         35 µs  64    2.5 ms     4.03    4.51
#           CELT 64k c5         64 µs  64    2.5 ms     4.11    4.53
#           CELT 72k c0         37 µs  72    2.5 ms     4.16    4.54    CLEAN
#     1 %   SILK 64k c0 + FEC  118 µs  62    6.5 ms     3.81    4.34
#           CELT 72k c0         40 µs  72    2.5 ms     3.88    4.28
#     2 %   SILK 64k c0 + FEC  103 µs  62    6.5 ms     3.77    4.32
#           CELT 72k c0         34 µs  72    2.5 ms     3.63    4.09
#     5 %   SILK 32k c5 + FEC  266 µs  32    6.5 ms     3.60    4.00
#           SILK 40k c5 + FEC  269 µs  40    6.5 ms     3.80    4.11
#           SILK 64k c0 + FEC  114 µs  62    6.5 ms     3.66    4.19    LOSSY
#           CELT 72k c0         39 µs  72    2.5 ms     2.74    3.38

CLEAN = Setting(LOWDELAY, 72_000, complexity=0, dtx=True)
"""For listeners who lose nothing: the least CPU that sounds no worse than SILK at 32 kb/s and complexity 5.

DTX: at this complexity CELT takes nothing but digital silence for silence, and saying so is free."""

LOSSY = Setting(VOIP, 64_000, complexity=0)
"""For listeners who lose packets, chosen by the same rule: CELT has no in-band FEC.

No DTX: SILK takes soft speech and steady sounds for noise, which costs people's voices 0.07 PESQ-WB."""

LOSS_BEGINS, LOSS_ENDS = 2.0, 0.5
"""Percent at which SILK with FEC takes over, and at which it gives way again. At 1 % both sound the same; and a single
packet may be 1 % of a report."""

MAX_EXPECTED_LOSS = 10
"""Percent, however much is lost: told to expect more, libopus takes from the voice what the copies do not give back."""


def is_lossy(loss: float, was_lossy: bool) -> bool:
    """Whether `loss` percent ask for FEC. Between the two bounds it stays as it was."""
    return loss >= (LOSS_ENDS if was_lossy else LOSS_BEGINS)


# libopus


def libraries(site: Path) -> list[str]:
    """Files that may be libopus, best first: those that PyAV's wheels bring into `site` (site-packages) on Linux and
    Windows (av.libs) and on macOS (av/.dylibs), then the system's."""
    bundled = [path for folder in ("av.libs", "av/.dylibs") for path in sorted(site.glob(f"{folder}/libopus[.-]*"))]
    system = ctypes.util.find_library("opus")
    return [*map(str, bundled), *([system] if system else [])]


def load(paths: Sequence[str]) -> ctypes.PyDLL:
    """The first of `paths` that is libopus. Raises ImportError.

    PyDLL keeps the GIL, which CDLL gives up for each call: beside a thread that is busy in Python, the event loop then
    waits for its turn (up to sys.getswitchinterval), and a frame took 0.3 to 5 ms to encode instead of 0.1."""
    for path in paths:
        try:
            library = ctypes.PyDLL(path)
            library.opus_decode  # noqa: B018  # looked up only now: AttributeError if it is something else
            return library
        except (OSError, AttributeError):
            continue
    raise ImportError("libopus not found: neither in PyAV's wheel nor on the system (Debian: libopus0)")


_lib = load(libraries(Path(av.__file__).parent.parent))
_int, _int32, _pointer, _bytes = ctypes.c_int, ctypes.c_int32, ctypes.c_void_p, ctypes.c_char_p
_lib.opus_decoder_create.argtypes = [_int32, _int, ctypes.POINTER(_int)]
_lib.opus_decoder_create.restype = _pointer
_lib.opus_decode.argtypes = _lib.opus_decode_float.argtypes = [_pointer, _bytes, _int32, _pointer, _int, _int]
_lib.opus_decoder_destroy.argtypes = [_pointer]
_lib.opus_encoder_create.argtypes = [_int32, _int, _int, ctypes.POINTER(_int)]
_lib.opus_encoder_create.restype = _pointer
_lib.opus_encoder_init.argtypes = [_pointer, _int32, _int, _int]
_lib.opus_encode.argtypes = [_pointer, _bytes, _int, _pointer, _int32]
_lib.opus_encoder_ctl.argtypes = [_pointer, _int]  # variadic in C: the third is passed as such, which arm64 macOS needs
_lib.opus_encoder_destroy.argtypes = [_pointer]
_lib.opus_packet_get_nb_samples.argtypes = [_bytes, _int32, _int32]
_lib.opus_packet_get_samples_per_frame.argtypes = [_bytes, _int32]
_lib.opus_decoder_ctl.argtypes = [_pointer, _int]
_has_lbrr = getattr(_lib, "opus_packet_has_lbrr", None)  # libopus 1.3.1 (Debian 12) has none
if _has_lbrr is not None:
    _has_lbrr.argtypes = [_bytes, _int32]

_SET_BITRATE, _SET_COMPLEXITY, _SET_INBAND_FEC, _SET_PACKET_LOSS, _SET_DTX = 4002, 4010, 4012, 4014, 4016
_GET_LOOKAHEAD, _RESET_STATE = 4027, 4028


def duration(packet: bytes) -> int:
    """RTP ticks that a packet lasts (RFC 6716 §3.1), 2.5 to 120 ms; 0 if it is not Opus."""
    return max(0, int(_lib.opus_packet_get_nb_samples(packet, len(packet), CLOCK_RATE)))


def fec_duration(packet: bytes) -> int:
    """RTP ticks, right before `packet`, of which it carries a copy for `recover` (RFC 6716 §2.1.7): as many as one of
    its frames has. 0 if there is none, if it is not Opus, or if libopus is too old to tell."""
    if _has_lbrr is None or not packet or _has_lbrr(packet, len(packet)) != 1:
        return 0
    return int(_lib.opus_packet_get_samples_per_frame(packet, CLOCK_RATE))


def silence_after(packet: bytes) -> bytes:
    """The packet that says that `packet`, not empty, was the last for a while: its frame is of length 0, which is DTX
    (RFC 6716 §3.1). A browser then makes silence, where it would draw out the last sound and call it concealment."""
    return bytes([packet[0] & 0xFC])


Sample = TypeVar("Sample", np.int16, np.float32)


class Decoder(Generic[Sample]):
    """Opus packets of one sender, mono or stereo, to mono PCM at `rate` (one of RATES).

    `Decoder(rate)` gives int16, `Decoder(rate, np.float32)` the same in [-1, 1], which is what libopus has inside: a
    pass less for who wants floats. Those may overshoot full scale a little."""

    @overload
    def __init__(self: "Decoder[np.int16]", rate: int) -> None: ...
    @overload
    def __init__(self, rate: int, sample: type[Sample]) -> None: ...
    def __init__(self, rate: int, sample: type[Sample] | type[np.int16] = np.int16) -> None:
        error = _int()
        self._state = _lib.opus_decoder_create(rate, 1, ctypes.byref(error))
        if error.value:
            raise OpusError(f"no decoder for {rate} Hz (libopus error {error.value})")
        self._rate = rate
        self._decode = _lib.opus_decode if sample is np.int16 else _lib.opus_decode_float
        self._pcm: npt.NDArray[Sample] = np.empty(rate * _MAX_TICKS // CLOCK_RATE, sample)
        self._address = self._pcm.ctypes.data  # looked up once: that takes longer than the rest of a call's overhead

    def decode(self, packet: bytes) -> npt.NDArray[Sample]:
        """One packet, 2.5 to 120 ms. Raises OpusError if it is not Opus."""
        if not packet:
            raise OpusError("not an Opus packet: it is empty")  # to libopus that would mean: conceal
        return self._run(packet, len(packet), _MAX_TICKS, 0)

    def recover(self, packet: bytes, ticks: int = FRAME) -> npt.NDArray[Sample]:
        """The RTP `ticks` before `packet`, from its in-band FEC (RFC 6716 §2.1.7); concealment as far as it carries
        none. Raises OpusError if it is not Opus, or `ticks` are no multiple of 2.5 ms up to 120."""
        if not packet:
            raise OpusError("not an Opus packet: it is empty")
        return self._run(packet, len(packet), ticks, 1)

    def conceal(self, ticks: int = FRAME) -> npt.NDArray[Sample]:
        """RTP `ticks` made up from what came before. Raises OpusError if they are no multiple of 2.5 ms up to 120."""
        return self._run(None, 0, ticks, 0)

    def silence(self, ticks: int = FRAME) -> npt.NDArray[Sample]:
        """RTP `ticks` of nothing; the decoder does not hear of it."""
        return np.zeros(ticks * self._rate // CLOCK_RATE, self._pcm.dtype)

    def reset(self) -> None:
        """Another source follows: forget what the last one sounded like."""
        _lib.opus_decoder_ctl(self._state, _RESET_STATE)

    def _run(self, packet: bytes | None, size: int, ticks: int, fec: int) -> npt.NDArray[Sample]:
        if ticks % _STEP or not 0 < ticks <= _MAX_TICKS:  # libopus writes as much as it is told
            raise OpusError(f"no packet lasts {ticks} ticks")
        count = self._decode(self._state, packet, size, self._address, ticks * self._rate // CLOCK_RATE, fec)
        if count < 0:
            raise OpusError(f"not an Opus packet (libopus error {count})")
        return self._pcm[:count].copy()

    def __del__(self) -> None:
        if state := getattr(self, "_state", None):
            _lib.opus_decoder_destroy(state)


class Encoder:
    """Mono int16 speech at `rate` (one of RATES) to Opus, 20 ms a packet, the way the loss asks for.

    Of packets of at most DTX_BYTES in a row only the first need be sent."""

    def __init__(self, rate: int, expected_loss: float = 0.0, clean: Setting = CLEAN, lossy: Setting = LOSSY) -> None:
        """`expected_loss`: percent of packets."""
        error = _int()
        self._state = _lib.opus_encoder_create(rate, 1, clean.application, ctypes.byref(error))
        if error.value:
            raise OpusError(f"no encoder for {rate} Hz (libopus error {error.value})")
        self.frame_samples = rate // 50
        self._rate = rate
        self._clean, self._lossy = clean, lossy
        self._setting: Setting | None = None
        self._loss = 0.0
        self._packet: Any = ctypes.create_string_buffer(_MAX_PACKET)  # a slice of it is bytes; typeshed says a list
        self.begin(expected_loss)

    @property
    def setting(self) -> Setting:
        """How it encodes now."""
        assert self._setting is not None
        return self._setting

    @property
    def delay(self) -> int:
        """Samples by which what is decoded comes later than what was encoded: libopus' lookahead."""
        lookahead = _int32()
        _lib.opus_encoder_ctl(self._state, _GET_LOOKAHEAD, ctypes.byref(lookahead))
        return lookahead.value

    def begin(self, reported_loss: float) -> None:
        """A phrase begins, nowhere else would another mode go unheard: encode it against the loss that listeners report
        now, in percent. One report tells of a second only, so a peak counts half in the next phrase, and so on."""
        self._loss = max(reported_loss, self._loss / 2)
        setting = self._lossy if is_lossy(self._loss, self._setting is self._lossy) else self._clean
        if setting is not self._setting:
            self._setting = setting
            # Anew, not adjusted: the decoder, too, forgets when the mode changes (RFC 6716 §4.5)
            _lib.opus_encoder_init(self._state, self._rate, 1, setting.application)
            self._set(_SET_BITRATE, setting.bitrate)
            self._set(_SET_COMPLEXITY, setting.complexity)
            self._set(_SET_INBAND_FEC, 1)
            self._set(_SET_DTX, int(setting.dtx))
        self._set(_SET_PACKET_LOSS, round(min(self._loss, MAX_EXPECTED_LOSS)))

    def encode(self, pcm: Int16) -> bytes:
        """`frame_samples` samples to one packet."""
        assert len(pcm) == self.frame_samples, f"one 20 ms frame at a time, got {len(pcm)} samples"
        assert pcm.dtype == np.int16, f"int16 samples, got {pcm.dtype}"
        count: int = _lib.opus_encode(self._state, pcm.tobytes(), self.frame_samples, self._packet, _MAX_PACKET)
        if count < 0:
            raise OpusError(f"cannot encode (libopus error {count})")
        packet: bytes = self._packet[:count]
        return packet

    def _set(self, request: int, value: int) -> None:
        if error := _lib.opus_encoder_ctl(self._state, request, _int32(value)):
            raise OpusError(f"libopus cannot set {request} to {value} (error {error})")

    def __del__(self) -> None:
        if state := getattr(self, "_state", None):
            _lib.opus_encoder_destroy(state)


# Offline


SHORTEST_PACED = 0.1
"""Seconds: of a piece shorter than its window (up to 64 ms) FFmpeg's atempo gives nothing at all."""


def to_int16(pcm: npt.NDArray[np.float32], rate: int, target_rate: int, tempo: float = 1.0) -> Int16:
    """Mono float in [-1, 1] at `rate` to int16 at `target_rate`, spoken `tempo` times as fast at the same pitch.

    Sample for sample where neither changes; a piece shorter than SHORTEST_PACED keeps its pace. Takes about 2 ms of CPU
    per second of audio with a tempo, less without: not for the event loop.
    """
    paced = abs(tempo - 1.0) > 0.01 and len(pcm) >= SHORTEST_PACED * rate
    if (rate == target_rate and not paced) or not len(pcm):  # FFmpeg has no empty frames
        return np.clip(np.rint(pcm * 32_768), -32_768, 32_767).astype(np.int16)
    graph = av.filter.Graph()
    source = graph.add_abuffer(format="flt", sample_rate=rate, layout="mono", time_base=Fraction(1, rate))
    nodes = [source]
    if paced:
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
        samples = to_int16(pcm if len(pcm) else np.zeros(rate // 50, np.float32), rate, rate)[None]
        resampler = av.AudioResampler("s16", "mono", CLOCK_RATE, frame_size=FRAME)
        for start in range(0, samples.shape[1], rate):  # all frames at once would take 1 MB a second
            frame = av.AudioFrame.from_ndarray(samples[:, start : start + rate], "s16", "mono")
            frame.sample_rate, frame.pts = rate, start
            for piece in resampler.resample(frame):
                container.mux(stream.encode(piece))
        for piece in resampler.resample(None):
            container.mux(stream.encode(piece))
        container.mux(stream.encode(None))
    return file.getvalue()
