"""Opus by libopus: what goes in comes out, at any rate, after loss, and at another tempo."""

import io
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtc.opus import (
    CLEAN,
    CLOCK_RATE,
    DTX_BYTES,
    FRAME,
    LOSS_BEGINS,
    LOSS_ENDS,
    LOSSY,
    RATES,
    Decoder,
    Encoder,
    Int16,
    OpusError,
    duration,
    fec_duration,
    is_lossy,
    libraries,
    load,
    to_int16,
    to_ogg,
)


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


def encode(pcm: Int16, rate: int, expected_loss: float = 0.0) -> list[bytes]:
    encoder = Encoder(rate, expected_loss)
    size = encoder.frame_samples
    return [encoder.encode(pcm[start : start + size]) for start in range(0, len(pcm) - size + 1, size)]


def ffmpeg(milliseconds: float, stereo: bool, application: str) -> list[bytes]:
    """A tone of a second as another encoder's packets: any length, one channel or two."""
    layout = "stereo" if stereo else "mono"
    codec = av.CodecContext.create("libopus", "w")
    codec.sample_rate, codec.format, codec.layout = CLOCK_RATE, "s16", layout
    codec.time_base, codec.bit_rate = Fraction(1, CLOCK_RATE), 64_000
    codec.options = {"frame_duration": str(milliseconds), "application": application}
    pcm = np.repeat(tone(CLOCK_RATE), 1 + stereo)[None]
    frame = av.AudioFrame.from_ndarray(pcm, "s16", layout)
    frame.sample_rate, frame.pts = CLOCK_RATE, 0
    size = round(CLOCK_RATE * milliseconds / 1000)
    pieces = av.AudioResampler("s16", layout, CLOCK_RATE, frame_size=size).resample(frame)
    return [bytes(packet) for piece in pieces for packet in codec.encode(piece)]


@pytest.mark.parametrize("expected_loss", [0.0, 5.0])
@pytest.mark.parametrize(
    ("sent", "heard"), [(24_000, 24_000), (24_000, 16_000), (16_000, 16_000), (48_000, 16_000), (8_000, 8_000)]
)
def test_round_trip(sent: int, heard: int, expected_loss: float) -> None:
    """What was said is heard, at the rate the listener's model wants, whether it is coded against loss or not."""
    decoder = Decoder(heard)
    packets = encode(tone(sent), sent, expected_loss)
    pcm = np.concatenate([decoder.decode(packet) for packet in packets])
    assert len(packets) == 50 and len(pcm) == heard
    assert likeness(pcm, tone(heard), max_delay=heard // 50) > 0.98
    assert pitch(pcm[heard // 10 :], heard) == pytest.approx(440, abs=3)


@pytest.mark.parametrize("stereo", [False, True])
@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("milliseconds", [2.5, 5, 10, 20, 40, 60, 80, 100, 120])
def test_packets_of_any_length(milliseconds: float, rate: int, stereo: bool) -> None:
    """Of anybody's encoder, at any rate of ours, one channel or two: a mono tone as loud as it was."""
    decoder = Decoder(rate)
    packets = ffmpeg(milliseconds, stereo, "voip" if milliseconds >= 10 else "lowdelay")
    assert {duration(packet) for packet in packets} == {milliseconds * CLOCK_RATE / 1000}
    heard = [decoder.decode(packet) for packet in packets]
    assert {len(pcm) for pcm in heard} == {milliseconds * rate / 1000}
    pcm = np.concatenate(heard)[rate // 4 :]
    assert pitch(pcm, rate) == pytest.approx(440, abs=3)
    assert np.sqrt(np.square(pcm.astype(float)).mean()) == pytest.approx(8000 / np.sqrt(2), rel=0.1)


def test_floats_are_the_same_sound() -> None:
    """As int16, within its rounding; -1 and 1 are full scale."""
    whole, exact = Decoder(16_000), Decoder(16_000, np.float32)
    for packet in encode(tone(16_000), 16_000):
        floats = exact.decode(packet)
        assert floats.dtype == np.float32
        assert np.abs(whole.decode(packet) - floats * 32768).max() <= 1


def test_one_packet_does_not_write_over_the_last() -> None:
    """What `decode` gave stays as it was."""
    decoder, packets = Decoder(16_000), encode(tone(16_000), 16_000)
    first = decoder.decode(packets[10])
    kept = first.copy()
    decoder.decode(packets[11])
    assert (first == kept).all()


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
    assert not fec_duration(packet)
    assert len(decoder.recover(packet)) == 320


def test_it_is_known_which_packets_carry_copies() -> None:
    """Of those coded against loss most (a steady tone is soon no speech to SILK); of the others none."""
    with_fec = [fec_duration(packet) for packet in encode(tone(16_000), 16_000, expected_loss=10)]
    assert sum(map(bool, with_fec)) > 20 and not with_fec[0] and set(with_fec) == {0, FRAME}
    assert not any(fec_duration(packet) for packet in encode(tone(16_000), 16_000))


SILK_WITH_FEC, SILK_PLAIN = (
    b"\x48\x40",
    b"\x48\x00",
)  # wideband, 20 ms; the second bit is the LBRR flag (RFC 6716 §4.2.3)
SILK_60 = b"\x58\x10"  # three frames, of which the flag comes after three others


@pytest.mark.parametrize(
    ("packet", "ticks"),
    [
        (SILK_WITH_FEC, FRAME),
        (SILK_PLAIN, 0),
        (b"\x40\x40", FRAME // 2),
        (SILK_60, 3 * FRAME),
        (b"\x4b\x02\x40\x40", FRAME),  # two frames of 20 ms: the copy is of one
        (b"\x48", 0),  # DTX
        (b"\xfc\xff", 0),  # CELT
        (b"", 0),
        (b"\x03", 0),
    ],
)
def test_a_copy_is_as_long_as_a_frame(packet: bytes, ticks: int) -> None:
    assert fec_duration(packet) == ticks


def test_a_decoder_that_is_reset_remembers_nothing() -> None:
    """The same packets sound as from a new decoder."""
    packets, decoder = encode(tone(16_000), 16_000), Decoder(16_000)
    fresh = [decoder.decode(packet) for packet in packets]
    assert not np.array_equal(decoder.decode(packets[0]), fresh[0])
    decoder.reset()
    assert all(np.array_equal(decoder.decode(packet), pcm) for packet, pcm in zip(packets, fresh, strict=True))


@pytest.mark.parametrize("ticks", [120, FRAME // 2, 2 * FRAME, 6 * FRAME])
def test_what_is_lost_need_not_be_20_ms(ticks: int) -> None:
    """The hole is filled to its end, by FEC or without."""
    decoder, packets = Decoder(24_000), encode(tone(24_000), 24_000, expected_loss=10)
    for packet in packets[:-1]:
        decoder.decode(packet)
    assert len(decoder.recover(packets[-1], ticks)) == len(decoder.conceal(ticks)) == ticks // 2


@pytest.mark.parametrize("ticks", [0, -960, 119, 961, 7 * FRAME, 2**31])
def test_impossible_lengths_are_refused(ticks: int) -> None:
    """libopus writes as much as it is told, so it is told nothing beyond the buffer."""
    decoder, packet = Decoder(16_000), encode(tone(16_000), 16_000)[0]
    with pytest.raises(OpusError):
        decoder.conceal(ticks)
    with pytest.raises(OpusError):
        decoder.recover(packet, ticks)


DECODERS = [Decoder(rate, sample) for rate in RATES for sample in (np.int16, np.float32)]


@given(st.sampled_from(DECODERS), st.binary(max_size=1500), st.integers(-10, 10_000))
def test_any_bytes_are_decoded_or_refused(decoder: Decoder, packet: bytes, ticks: int) -> None:
    """Whatever comes from the network, in any order: PCM or OpusError, never a crash; and the decoder goes on."""
    assert 0 <= duration(packet) <= 6 * FRAME
    assert 0 <= fec_duration(packet) <= 3 * FRAME
    for attempt in (
        lambda: decoder.decode(packet),
        lambda: decoder.recover(packet),
        lambda: decoder.recover(packet, ticks),
        lambda: decoder.conceal(ticks),
    ):
        try:
            assert 0 < len(attempt()) <= 48_000 * 120 // 1000
        except OpusError:
            pass
    assert len(decoder.decode(b"\xf8\xff\xfe")) == len(decoder.conceal())


@pytest.mark.parametrize("garbage", [b"", b"\xff" * 3, b"\x03", b"\x7f\xff\xff\xff"])
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


def test_only_int16_is_encoded() -> None:
    """Floats would be read as noise, twice as much of it as there is."""
    with pytest.raises(AssertionError, match="got float32"):
        Encoder(16_000).encode(np.zeros(320, np.float32))  # type: ignore[arg-type]


def test_any_stride_is_encoded() -> None:
    """One channel of two, say."""
    pcm = tone(48_000, 0.02)
    assert Encoder(48_000).encode(np.repeat(pcm, 2)[::2]) == Encoder(48_000).encode(pcm)


@given(st.floats(0, 100), st.booleans())
def test_the_mode_does_not_flutter(loss: float, was_lossy: bool) -> None:
    """A loss that asks for FEC asks for it again; between the bounds everything stays."""
    now = is_lossy(loss, was_lossy)
    assert is_lossy(loss, now) == now
    if LOSS_ENDS <= loss < LOSS_BEGINS:
        assert now == was_lossy


def test_a_peak_of_loss_is_remembered_for_some_phrases() -> None:
    """8 % in one report: SILK with FEC, until half of it, and half of that, is hardly a loss."""
    encoder, used = Encoder(24_000), []
    for reported in [0, 1, 8, 0, 0, 0, 0, 0, 0]:
        encoder.begin(reported)
        used.append(encoder.setting)
    assert used == [CLEAN] * 2 + [LOSSY] * 5 + [CLEAN] * 2


@pytest.mark.parametrize("expected_loss", [0.0, 100.0])
def test_the_delay_is_what_it_says(expected_loss: float) -> None:
    """A click is heard `delay` samples later, 2.5 ms by CELT, less than 10 ms by SILK."""
    encoder, decoder = Encoder(24_000, expected_loss), Decoder(24_000)
    pcm = np.zeros(24_000, np.int16)
    pcm[9600:9620] = 20_000
    heard = np.concatenate([decoder.decode(encoder.encode(frame)) for frame in pcm.reshape(-1, 480)])
    assert int(np.abs(heard).argmax()) - 9610 == pytest.approx(encoder.delay, abs=24)
    assert encoder.delay <= 240


def test_silence_that_lasts_costs_next_to_nothing() -> None:
    """Where nobody loses packets; soft sounds are no silence. Against loss every packet is sent: SILK takes soft speech
    for silence."""
    soft = tone(24_000).clip(-30, 30)
    silence = np.zeros(24_000, np.int16)
    assert sum(len(packet) <= DTX_BYTES for packet in encode(silence, 24_000)) > 35
    assert all(len(packet) > DTX_BYTES for packet in encode(soft, 24_000))
    assert all(len(packet) > DTX_BYTES for packet in encode(silence, 24_000, expected_loss=5))


@pytest.mark.parametrize(
    "file", ["av.libs/libopus-114e2b1a.so.0.11.1", "av/.dylibs/libopus.0.dylib", "av.libs/libopus-0-5ab3.dll"]
)
def test_libopus_is_found_in_a_wheel(tmp_path: Path, file: str) -> None:
    """Of Linux, macOS and Windows, before the system's; what is only called alike is not taken."""
    for name in (file, "av.libs/libopusfile.so.0", "av.libs/libx264.so"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert [path for path in libraries(tmp_path) if path.startswith(str(tmp_path))] == [str(tmp_path / file)]
    assert libraries(tmp_path)[0] == str(tmp_path / file)


def test_without_libopus_it_says_so(tmp_path: Path) -> None:
    """A file that is no library, or none at all."""
    (tmp_path / "libopus.so").write_text("no library")
    with pytest.raises(ImportError, match="libopus not found"):
        load([str(tmp_path / "libopus.so"), str(tmp_path / "gone.so")])


def test_duration_of_packets() -> None:
    """RTP ticks by the packet's first bytes (RFC 6716 §3.1); 0 for what is no packet."""
    assert duration(encode(tone(24_000, 0.02), 24_000)[0]) == FRAME
    assert duration(bytes([0b00011000, 0])) == 3 * FRAME  # SILK, 60 ms
    assert duration(bytes([0b11100000, 0])) == FRAME // 8  # CELT, 2.5 ms
    assert duration(b"") == 0


def test_to_int16_leaves_every_sample_where_nothing_changes() -> None:
    """At the same rate and pace pieces of one sound can be put together again; and FFmpeg would round the same way."""
    pcm = tone(16_000).astype(np.float32) / 32768
    assert np.array_equal(to_int16(pcm, 16_000, 16_000), tone(16_000))
    halves = [to_int16(half, 16_000, 16_000) for half in (pcm[:777], pcm[777:])]
    assert np.array_equal(np.concatenate(halves), tone(16_000))


@pytest.mark.parametrize("rate", RATES)
def test_to_int16_loses_no_piece_however_short(rate: int) -> None:
    """Pieces of a sentence may be any number of samples; what is too short to be spoken faster is spoken as it is."""
    for milliseconds in (1, 5, 20, 60, 99, 101, 150, 400):
        pcm = tone(rate, milliseconds / 1000).astype(np.float32) / 32768
        assert len(pcm) / 1.3 < len(to_int16(pcm, rate, rate, tempo=1.2)) <= len(pcm)


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
