"""One mix of many voices: for a thin client, which receives on a single m-line, and for a model, which has one ear.

Each voice is decoded, the original is ducked while its translation speaks, the sum is encoded for this one listener.
That costs about 40 µs per 20 ms and voice, and as much for the sum; clients with slots cost nothing of it.
"""

from collections.abc import Callable

import numpy as np

from rtc.fan_out import Cohort
from rtc.jitter import JitterBuffer, Source, render
from rtc.opus import FRAME, Decoder, Int16, OpusError
from rtc.packetizer import Packetizer, talkspurt_time
from rtc.playout import VOICE_RATE
from rtc.rtp import Packet
from rtc.sender import SlotSender
from rtc.slots import StreamKey
from rtc.steady import Steady
from rtc.ticker import PTIME

DUCKED = 10 ** (-15 / 20)
"""Gain of an original while its translation speaks: -15 dB."""

GAIN_STEP = (1 - DUCKED) / 4
"""A tick's largest change of gain: 80 ms from loud to ducked, no clicks."""

LOUDEST = 32767.0

LIMITER_ATTACK, LIMITER_RELEASE = 0.0025, 0.02
"""Seconds in which the sum is turned down where voices together are louder than samples can be; how much of its gain
comes back with each tick. Cut off instead, two loud voices would crackle."""

PATIENCE = 25
"""Ticks (0.5 s) without anybody after which the mix sleeps until the next packet."""

FRAME_SAMPLES = round(VOICE_RATE * PTIME)


class MixInput:
    """One voice in the mix. To a stream it is what a slot is."""

    def __init__(self, mid: str, wake: Callable[[], None], rate: int = VOICE_RATE, language: str | None = None) -> None:
        """`rate`: hertz of what `take` gives, one of Opus'. `language`: the only one that is heard; None: all are."""
        self.mid = mid
        self._wake = wake
        self._language = language
        self._heard = True
        self.group = ""
        """Voices of one person: the translation ducks the original."""
        self.ducks = False
        """It is a translation."""
        self.gain = 1.0
        self.packets = self.dropped = 0
        """Packets heard; packets given up because they came late, twice or too fast, or were no Opus."""
        self.fraction_lost = 0.0
        self._jitter = JitterBuffer()
        self._decoder = Decoder(rate)
        self._steady = Steady(rate)

    def carry(self, key: StreamKey) -> None:
        """The next packet comes from another voice."""
        self.switch()
        self.group, self.ducks = key.participant_id, key.variant == "translation"
        self._heard = self._language in (None, key.language)

    def switch(self) -> None:
        """The next packet comes after a gap."""
        self._jitter.gap()
        self._steady.clear()

    def join(self, cohort: Cohort) -> bool:
        """False: a voice is mixed where it comes."""
        return False

    def leave(self) -> None:
        """Nothing to leave."""

    def stats(self) -> dict[str, float | None]:
        """What was mixed."""
        return {"packets": self.packets, "dropped": self.dropped}

    def rtp_time(self, timestamp: int, now: float) -> int | None:
        """None: in a mix no RTP time belongs to one voice."""
        return None

    def send(self, packet: Packet, now: float) -> None:
        """Take one packet of the voice."""
        if not self._heard:
            return
        if not self._jitter.push(packet.ssrc, packet.sequence, packet.timestamp, packet.payload, now):
            self.dropped += 1
        self._decode(now)
        self._wake()

    def take(self, now: float) -> Int16 | None:
        """The next 20 ms of this voice, None while it is silent."""
        self._decode(now)
        return self._steady.pull(self._jitter.depth)

    def _decode(self, now: float) -> None:
        for piece in self._jitter.pull(now):
            try:
                self._steady.push(render(piece, self._decoder))
                self.packets += piece.source is Source.PACKET
            except OpusError:
                self.dropped += 1


class Sum:
    """Its `inputs` together; `take` 20 ms of it every 20 ms."""

    def __init__(
        self, mid: str, voices: int, wake: Callable[[], None], rate: int = VOICE_RATE, language: str | None = None
    ) -> None:
        """`wake` is called when there is something to mix, and perhaps was not before. The rest as in MixInput."""
        self.inputs = {f"{mid}#{index}": MixInput(mid, wake, rate, language) for index in range(voices)}
        self._samples = round(rate * PTIME)
        self._gain = 1.0  # of the limiter
        self._attack = round(rate * LIMITER_ATTACK)
        self.quiet = 1
        """Ticks in a row in which nobody was heard."""

    @property
    def asleep(self) -> bool:
        """Nobody has been heard for so long that one need not ask again before `wake` is called."""
        return self.quiet >= PATIENCE

    def take(self, now: float) -> Int16 | None:
        """The next 20 ms, None while everybody is silent."""
        heard = [(voice, frame) for voice in self.inputs.values() if (frame := voice.take(now)) is not None]
        if not heard:
            self.quiet += 1
            return None
        self.quiet = 0
        translated = {voice.group for voice, _ in heard if voice.ducks}
        total = np.zeros(self._samples, np.float32)
        for voice, frame in heard:
            target = DUCKED if voice.group in translated and not voice.ducks else 1.0
            gain = float(np.clip(target, voice.gain - GAIN_STEP, voice.gain + GAIN_STEP))
            total += frame * np.linspace(voice.gain, gain, self._samples, dtype=np.float32)
            voice.gain = gain
        limit = LOUDEST / max(LOUDEST, float(np.abs(total).max()))
        gain = min(self._gain + LIMITER_RELEASE, limit)
        total[: self._attack] *= np.linspace(self._gain, gain, self._attack, dtype=np.float32)
        total[self._attack :] *= gain
        self._gain = gain
        return np.clip(total, -LOUDEST, LOUDEST).astype(np.int16)


class Mixer:
    """Sums `inputs` into one slot; `tick` it every 20 ms."""

    def __init__(self, slot: SlotSender, voices: int, wake: Callable[[], None]) -> None:
        """`wake` is called when there is something to mix, and perhaps was not before."""
        self._packets = Packetizer(slot, None, VOICE_RATE)
        self._timestamp = 0
        self._sum = Sum(slot.mid, voices, wake)
        self.inputs = self._sum.inputs

    def tick(self, now: float) -> bool:
        """Mix and send 20 ms; nothing is sent while everybody is silent. False after a while of that."""
        was_quiet = self._sum.quiet > 0
        pcm = self._sum.take(now)
        if pcm is None:
            if not was_quiet:
                self._timestamp += FRAME
                self._packets.stop(self._timestamp, now)
            return not self._sum.asleep
        if was_quiet:
            self._packets.adapt()
            self._timestamp = talkspurt_time(now, self._timestamp)
        else:
            self._timestamp += FRAME
        self._packets.say(pcm, self._timestamp, was_quiet, now)
        return True
