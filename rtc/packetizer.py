"""Opus packets of one voice: RFC 7587's payloads, and what is left out of them while the voice is silent."""

from typing import Protocol

from rtc.opus import CLOCK_RATE, DTX_BYTES, FRAME, Encoder, Int16, silence_after
from rtc.rtp import Packet
from rtc.stats import Stats


def talkspurt_time(now: float, last: int) -> int:
    """When a talkspurt begins that is said `now` (clock seconds), in ticks of 48 kHz that do not wrap: by the wall's
    clock, but after what was said at `last`. Time goes on by FRAME within a talkspurt, so packets that left late, and
    the one that says the end, may be ahead of the wall; and RTP time must not step back."""
    return max(round(now * CLOCK_RATE), last + FRAME)


class Sink(Protocol):
    """Where packets go: a stream, or the one slot in which a mix is heard."""

    @property
    def fraction_lost(self) -> float:
        """What the listener who loses most reported last, 0 to 1."""

    def send(self, packet: Packet, now: float) -> None:
        """Never blocks. `now`: clock seconds."""


class Packetizer:
    """`say` the next 20 ms; `stop` when there is nothing to say any more."""

    def __init__(self, sink: Sink, stats: Stats | None, rate: int) -> None:
        """`rate`: hertz of the frames, one of Opus'. `stats`: None if it is not a voice, which they count."""
        self._sink = sink
        self._stats = stats
        self._encoder = Encoder(rate)
        self._sequence = 0
        self._last = b""  # packet that was sent
        self._silent = False  # the last packet said so, and stands for those that follow

    @property
    def frame_samples(self) -> int:
        """Samples in 20 ms."""
        return self._encoder.frame_samples

    def adapt(self) -> None:
        """Something new begins: encode it for what its listeners lose now."""
        self._encoder.begin(100 * self._sink.fraction_lost)

    def say(self, frame: Int16, timestamp: int, started: bool, now: float) -> None:
        """Send 20 ms. `timestamp`: of the stream, in ticks of 48 kHz that do not wrap; `started`: a talkspurt begins;
        `now`: clock seconds."""
        self._send(self._encoder.encode(frame), timestamp, started, now)

    def stop(self, timestamp: int, now: float) -> None:
        """Say that the talkspurt is over."""
        self._send(silence_after(self._last), timestamp, False, now)

    def _send(self, payload: bytes, timestamp: int, started: bool, now: float) -> None:
        """Send a packet, unless it only says again what the last one said: that the voice is silent. As in WebRTC
        (opus_interface.cc, WebRtcOpus_Encode), time goes on meanwhile and sequence numbers do not, so that the listener
        makes silence and sees no loss (RFC 7587 §3.1.3)."""
        was_silent, self._silent = self._silent, len(payload) <= DTX_BYTES
        if self._silent and was_silent and not started:
            return
        self._last = payload
        self._sequence = (self._sequence + 1) & 0xFFFF
        if self._stats is not None:
            self._stats.opus_encodes += 1
        self._sink.send(Packet(0, self._sequence, timestamp & 0xFFFFFFFF, int(started), payload), now)
