"""A microphone's packets as windows of PCM: ordered, decoded straight to the models' rate, bounded."""

import asyncio
import math
import time
from collections import deque

import numpy as np

from models.base import SPEECH_RATE, VAD_WINDOW, Pcm
from rtc.jitter import JitterBuffer, Piece, Source, render
from rtc.opus import CLOCK_RATE, Decoder, OpusError
from rtc.rtp import Packet
from rtc.stats import Stats

MAX_WAITING = 3
"""Seconds that wait at most while the engine catches its breath; then the oldest go. A microphone cannot be paused."""

SOURCES = {"real": Source.PACKET, "recovered": Source.FEC, "concealed": Source.CONCEALED, "silent": Source.SILENCE}
"""Where audio comes from, by its name in statistics."""


class Inbound:
    """Push packets, await windows. One reader, who also sees to it that no hole stays open longer than it should."""

    def __init__(self, stats: Stats, rate: int = SPEECH_RATE, window: int = VAD_WINDOW) -> None:
        """`rate`: hertz, one of Opus'; `window`: samples that are given out at a time."""
        self._stats = stats
        self._rate, self._size = rate, window
        self._max = -(-MAX_WAITING * rate // window)
        self._jitter = JitterBuffer()
        self._decoder = Decoder(rate, np.float32)
        self._window = np.empty(window, np.float32)
        self._filled = 0  # samples of it
        self._windows: deque[Pcm] = deque()
        self._changed = asyncio.Event()  # a window is whole, or there is a hole to close in time
        self._counted = 0  # samples that the reader took for silence since the last packet
        self.decoded_ms = 0
        """Of audio, given to the models."""
        self.undecodable = 0
        """Packets that were not Opus."""
        self.level = -127.0
        """dBFS of the last window."""

    @property
    def behind(self) -> bool:
        """More windows are here: they came in a burst, or are read too slowly."""
        return bool(self._windows)

    def stats(self) -> dict[str, float]:
        """What came, and what was made of it, for operators."""
        jitter = self._jitter
        return {
            "level_dbfs": round(self.level, 1),
            "decoded_ms": self.decoded_ms,
            **{f"{name}_ms": jitter.ticks[source] * 1000 // CLOCK_RATE for name, source in SOURCES.items()},
            "packets_recovered": jitter.recovered,
            "packets_concealed": jitter.concealed,
            "packets_late": jitter.late,
            "packets_duplicate": jitter.duplicate,
            "packets_too_fast": jitter.excess,
            "packets_undecodable": self.undecodable,
            "jitter_depth_ms": round(jitter.depth * 1000),
        }

    def gap(self) -> None:
        """The next packet does not follow on the last: nothing between them was lost. What has not filled a window is
        nobody's."""
        self._jitter.gap()
        self._filled = 0

    def push(self, packet: Packet, now: float) -> None:
        """Take one packet. `now`: the event loop's clock. Most of its cost is libopus (22 µs a frame to 16 kHz mono):
        less than a hop to a thread would."""
        self._jitter.push(packet.ssrc, packet.sequence, packet.timestamp, packet.payload, now)
        self._pull(now)

    def _pull(self, now: float) -> None:
        for piece in self._jitter.pull(now):
            pcm = self._decode(piece)
            if piece.source is Source.PACKET:
                self._counted = 0
            elif piece.source is not Source.FEC:  # made up for time that the reader has counted meanwhile
                late = min(self._counted, len(pcm))
                self._counted -= late
                pcm = pcm[late:]
            self._append(pcm)
        if self._windows or self._jitter.due is not None:
            self._changed.set()

    def _decode(self, piece: Piece) -> Pcm:
        try:
            return render(piece, self._decoder)
        except OpusError:
            self.undecodable += 1
            return render(self._jitter.spoilt(piece), self._decoder)

    def _append(self, pcm: Pcm) -> None:
        start = 0
        while start < len(pcm):
            count = min(len(pcm) - start, self._size - self._filled)
            self._window[self._filled : self._filled + count] = pcm[start : start + count]
            self._filled += count
            start += count
            if self._filled == self._size:
                self._finish(self._window)
                self._window, self._filled = np.empty(self._size, np.float32), 0

    def _finish(self, window: Pcm) -> None:
        if len(self._windows) >= self._max:
            self._windows.popleft()
            self._stats.windows_dropped += 1
        self._windows.append(window)
        self.decoded_ms += self._size * 1000 // self._rate
        self.level = 10 * math.log10(float(window @ window) / self._size + 1e-12)

    async def window(self, patience: float | None) -> Pcm | None:
        """The next samples, as many as a window has; None if for `patience` seconds there are none, and no packets
        that wait for a missing one. Whoever gets None counts those seconds as silence: they do not come again."""
        loop = asyncio.get_running_loop()
        until = None if patience is None else loop.time() + patience
        while not self._windows:
            self._changed.clear()
            due = self._jitter.due
            try:
                async with asyncio.timeout_at(until if due is None else due):
                    await self._changed.wait()
            except TimeoutError:
                if due is None:
                    self._counted += round((patience or 0.0) * self._rate)
                    return None
                self._pull(max(due, time.monotonic()))
        return self._windows.popleft()
