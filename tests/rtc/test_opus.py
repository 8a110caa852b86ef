"""Opus by libopus: what goes in comes out, at any rate, after loss, and at another tempo."""

import io

import av
import numpy as np
import pytest

from rtc.opus import CLOCK_RATE, FRAME, Decoder, Encoder, Int16, OpusError, duration, to_int16, to_ogg


def tone(rate: int, seconds: float = 1.0, hertz: float = 440.0) -> Int16:
    time = np.arange(round(rate * seconds)) / rate
    return (8000 * np.sin(2 * np.pi * hertz * time)).astype(np.int16)


def pitch(pcm: np.ndarray, rate: int) -> float:
    """Hertz of the strongest partial."""
    spectrum = np.abs(np.fft.rfft(pcm * np.hanning(len(pcm))))
    return float(np.argmax(spectrum) * rate / len(pcm))


def likeness(heard: np.ndarray, said: np.ndarray, max_delay: int) -> float:
    """Best correlation over the delays a codec may have."""
    size = len(said) - max_delay
    return max(float(np.corrcoef(heard[shift : shift + size], said[:size])[0, 1]) for shift in range(max_delay))


def encode(pcm: Int16, rate: int, **options: int) -> list[bytes]:
    encoder = Encoder(rate, **options)
    size = encoder.frame_samples
    return [encoder.encode(pcm[start : start + size]) for start in range(0, len(pcm) - size + 1, size)]


@pytest.mark.parametrize(("sent", "heard"), [(24_000, 24_000), (24_000, 16_000), (16_000, 16_000), (48_000, 16_000)])
def test_round_trip(sent: int, heard: int) -> None:
    """What was said is heard, at the rate the listener's model wants."""
    decoder = Decoder(heard)
    packets = encode(tone(sent), sent)
    pcm = np.concatenate([decoder.decode(packet) for packet in packets])
    assert len(packets) == 50 and len(pcm) == heard
    assert likeness(pcm, tone(heard), max_delay=heard // 50) > 0.98
    assert pitch(pcm[heard // 10 :], heard) == pytest.approx(440, abs=3)


def test_fec_is_better_than_concealment() -> None:
    """The copy in the next packet knows what the lost one said; concealment only guesses. The pitch changes there."""
    rate = 16_000
    said = np.concatenate([tone(rate, 0.4, 440.0), tone(rate, 0.4, 650.0)])
    packets = encode(said, rate, expected_loss=30)
    lost = 21  # the first packet that is wholly of the second tone
    clean, fec, guess = Decoder(rate), Decoder(rate), Decoder(rate)
    for packet in packets[:lost]:
        for decoder in (clean, fec, guess):
            decoder.decode(packet)
    truth = clean.decode(packets[lost]).astype(float)

    def error(heard: Int16) -> float:
        return float(np.square(heard - truth).sum())

    recovered, concealed = fec.recover(packets[lost + 1]), guess.conceal()
    assert len(recovered) == len(concealed) == rate // 50
    assert error(recovered) < 0.5 * error(concealed)


def test_recovery_without_fec_is_concealment() -> None:
    """A packet that carries no copy still yields 20 ms."""
    decoder = Decoder(16_000)
    packet = encode(tone(16_000, 0.02), 16_000, expected_loss=0)[0]
    decoder.decode(packet)
    assert len(decoder.recover(packet)) == 320


@pytest.mark.parametrize("garbage", [b"\xff" * 3, b"\x03", b"\x7f\xff\xff\xff"])
def test_garbage_is_refused(garbage: bytes) -> None:
    """OpusError, and the decoder goes on afterwards."""
    decoder = Decoder(16_000)
    with pytest.raises(OpusError):
        decoder.decode(garbage)
    assert len(decoder.decode(encode(tone(16_000, 0.02), 16_000)[0])) == 320


def test_impossible_rates_are_refused() -> None:
    """Opus has five of them."""
    with pytest.raises(OpusError):
        Decoder(44_100)
    with pytest.raises(OpusError):
        Encoder(22_050)


def test_only_whole_frames_are_encoded() -> None:
    """A wrong size is a bug of the caller, told with the size."""
    with pytest.raises(AssertionError, match="got 100 samples"):
        Encoder(16_000).encode(np.zeros(100, np.int16))


def test_duration_of_packets() -> None:
    """RTP ticks by the packet's first bytes (RFC 6716 §3.1); 0 for what is no packet."""
    assert duration(encode(tone(24_000, 0.02), 24_000)[0]) == FRAME
    assert duration(bytes([0b00011000, 0])) == 3 * FRAME  # SILK, 60 ms
    assert duration(bytes([0b11100000, 0])) == FRAME // 8  # CELT, 2.5 ms
    assert duration(b"") == 0


def test_to_int16_changes_rate_not_length_or_pitch() -> None:
    """24 kHz float to 48 kHz int16: the same second, the same tone."""
    pcm = to_int16(tone(24_000).astype(np.float32) / 32768, 24_000, CLOCK_RATE)
    assert pcm.dtype == np.int16
    assert len(pcm) == pytest.approx(CLOCK_RATE, rel=0.01)
    assert pitch(pcm, CLOCK_RATE) == pytest.approx(440, abs=3)
    assert np.abs(pcm).max() == pytest.approx(8000, rel=0.05)


def test_a_faster_tempo_is_shorter_at_the_same_pitch() -> None:
    """1.2 times as fast is a sixth shorter, and nobody becomes a mouse."""
    pcm = to_int16(tone(24_000, 3.0).astype(np.float32) / 32768, 24_000, 24_000, tempo=1.2)
    assert len(pcm) == pytest.approx(3 * 24_000 / 1.2, rel=0.02)
    assert pitch(pcm, 24_000) == pytest.approx(440, abs=5)


def test_nothing_is_nothing() -> None:
    """An engine that says nothing breaks nothing; as a file it can still be opened."""
    empty = np.zeros(0, np.float32)
    assert len(to_int16(empty, 24_000, 24_000)) == 0
    with av.open(io.BytesIO(to_ogg(empty, 24_000))) as container:
        assert container.streams.audio[0].codec_context.name in ("opus", "libopus")


def test_loud_samples_are_clipped_not_wrapped() -> None:
    """Beyond full scale is full scale."""
    pcm = to_int16(np.array([2.0, -2.0] * 100, np.float32), 16_000, 16_000)
    assert pcm.max() == 32767 and pcm.min() == -32768


@pytest.mark.parametrize("rate", [16_000, 22_050, 24_000])
def test_ogg_can_be_played(rate: int) -> None:
    """Any player reads it: Opus, the right length, the right tone."""
    file = to_ogg(tone(rate, 1.5).astype(np.float32) / 32768, rate)
    with av.open(io.BytesIO(file)) as container:
        stream = container.streams.audio[0]
        assert stream.codec_context.name in ("opus", "libopus")
        frames = [frame.to_ndarray() for frame in container.decode(stream)]
    pcm = np.concatenate([frame.reshape(frame.shape[0], -1)[0] for frame in frames])
    assert len(pcm) / CLOCK_RATE == pytest.approx(1.5, abs=0.03)
    assert pitch(pcm, CLOCK_RATE) == pytest.approx(440, abs=3)
