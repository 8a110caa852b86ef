"""One mix for a thin client: it receives on a single m-line, so the server does what the page does elsewhere.

Each voice is decoded, the original is ducked while its translation speaks, the sum is encoded for this one listener.
That costs about 250 µs per 20 ms and voice; clients with slots cost nothing of it.
"""

import asyncio

import numpy as np

from rtc.jitter import JitterBuffer, Source, render
from rtc.opus import FRAME, Decoder, Encoder, Int16, OpusError
from rtc.playout import PTIME, VOICE_RATE
from rtc.slots import StreamKey
from rtc.steady import Steady
from rtc.transport import Packet, SlotSender

DUCKED = 10 ** (-15 / 20)
"""Gain of an original while its translation speaks: -15 dB."""

GAIN_STEP = (1 - DUCKED) / 4
"""A tick's largest change of gain: 80 ms from loud to ducked, no clicks."""

FRAME_SAMPLES = round(VOICE_RATE * PTIME)


class MixInput:
    """One voice in the mix. To a stream it is what a slot is."""

    def __init__(self, mid: str) -> None:
        self.mid = mid
        self.group = ""
        """Voices of one person: the translation ducks the original."""
        self.ducks = False
        """It is a translation."""
        self.gain = 1.0
        self.packets = self.dropped = 0
        """Packets heard; packets given up because they came late, twice or too fast, or were no Opus."""
        self.fraction_lost = 0.0
        self._jitter = JitterBuffer()
        self._decoder = Decoder(VOICE_RATE)
        self._steady = Steady(VOICE_RATE)

    def carry(self, key: StreamKey) -> None:
        """The next packet comes from another voice."""
        self.switch()
        self.group, self.ducks = key.participant_id, key.variant == "translation"

    def switch(self) -> None:
        """The next packet comes after a gap."""
        self._jitter.gap()
        self._steady.clear()

    def rtp_time(self, timestamp: int, now: float) -> int | None:
        """None: in a mix no RTP time belongs to one voice."""
        return None

    def send(self, packet: Packet, now: float) -> None:
        """Take one packet of the voice."""
        if not self._jitter.push(packet.ssrc, packet.sequence, packet.timestamp, packet.payload, now):
            self.dropped += 1
        self._decode(now)

    def take(self, now: float) -> Int16 | None:
        """The next 20 ms of this voice, None while it is silent."""
        self._decode(now)
        return self._steady.pull(self._jitter.depth)

    def _decode(self, now: float) -> None:
        for piece in self._jitter.pull(now):
            try:
                self._steady.push(render(piece, self._decoder, VOICE_RATE))
                self.packets += piece.source is Source.PACKET
            except OpusError:
                self.dropped += 1


class Mixer:
    """Sums `inputs` into one slot, every 20 ms."""

    def __init__(self, slot: SlotSender, voices: int) -> None:
        self._slot = slot
        self._encoder = Encoder(VOICE_RATE)
        self._sequence = 0
        self.inputs = {f"{slot.mid}#{index}": MixInput(slot.mid) for index in range(voices)}

    async def run(self) -> None:
        """Never returns."""
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            self.tick(loop.time())
            due = max(due + PTIME, loop.time() - 5 * PTIME)  # after a stall of the loop, do not run after lost time
            await asyncio.sleep(max(0.0, due - loop.time()))

    def tick(self, now: float) -> None:
        """Mix and send 20 ms; nothing is sent while everybody is silent."""
        heard = [(voice, frame) for voice in self.inputs.values() if (frame := voice.take(now)) is not None]
        if not heard:
            return
        translated = {voice.group for voice, _ in heard if voice.ducks}
        total = np.zeros(FRAME_SAMPLES, np.float32)
        for voice, frame in heard:
            target = DUCKED if voice.group in translated and not voice.ducks else 1.0
            gain = float(np.clip(target, voice.gain - GAIN_STEP, voice.gain + GAIN_STEP))
            total += frame * np.linspace(voice.gain, gain, FRAME_SAMPLES, dtype=np.float32)
            voice.gain = gain
        pcm = np.clip(total, -32768, 32767).astype(np.int16)
        self._sequence = (self._sequence + 1) & 0xFFFF
        timestamp = round(now / PTIME) * FRAME & 0xFFFFFFFF
        self._slot.send(Packet(0, self._sequence, timestamp, 0, self._encoder.encode(pcm)), now)
