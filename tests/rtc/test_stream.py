"""One source, many listeners."""

from rtc.rtp import Packet
from rtc.slots import StreamKey
from rtc.stream import Stream
from tests.rtc.outlets import Recorder

KEY = StreamKey("ana", "original", "es")


def packet(sequence: int, ssrc: int = 7) -> Packet:
    return Packet(ssrc, sequence, sequence * 960, 0, bytes([sequence & 0xFF]))


def test_every_listener_gets_every_packet_as_it_is() -> None:
    """The very same object: nothing is decoded, encoded or copied."""
    stream, ears = Stream(KEY), [Recorder("0"), Recorder("1")]
    for ear in ears:
        stream.attach(ear)
    sent = [packet(number) for number in (1, 2, 4)]
    for one in sent:
        stream.send(one, 0.0)
    assert all(a is b for ear in ears for a, b in zip(ear.heard, sent, strict=True))
    assert stream.packets == 3 and stream.listeners == 2


def test_an_outlet_learns_what_it_carries() -> None:
    """A mix ducks by it, a slot begins a new talkspurt."""
    ear = Recorder()
    Stream(KEY).attach(ear)
    assert ear.carried == [KEY]


def test_who_left_hears_nothing_more() -> None:
    """Leaving twice, or without having come, is harmless."""
    stream, ear, stranger = Stream(KEY), Recorder(), Recorder()
    stream.attach(ear)
    stream.detach(stranger)
    stream.detach(ear)
    stream.detach(ear)
    stream.send(packet(1), 0.0)
    assert ear.heard == [] and stream.listeners == 0


def test_a_gap_on_purpose_is_told() -> None:
    """After a mute nobody's jitter buffer waits for what never comes."""
    stream, ear = Stream(KEY), Recorder()
    stream.attach(ear)
    stream.gap()
    assert ear.switches == 1


def test_a_sender_that_reconnected_is_a_new_source() -> None:
    """Another SSRC has numbers of its own: outlets hear of it before its first packet, and only then."""
    stream, ear = Stream(KEY), Recorder()
    stream.attach(ear)
    for number in (1, 2, 3):
        stream.send(packet(number), 0.0)
    assert ear.switches == 0
    for number in (40_000, 40_001):
        stream.send(packet(number, ssrc=8), 0.0)
    assert ear.switches == 1 and len(ear.heard) == 5


def test_the_loss_of_a_stream_is_its_worst_listener_s() -> None:
    """Nobody listens: nothing is lost."""
    stream, ears = Stream(KEY), [Recorder("0"), Recorder("1")]
    assert stream.fraction_lost == 0.0
    for ear, loss in zip(ears, (0.25, 0.01), strict=True):
        ear.fraction_lost = loss
        stream.attach(ear)
    assert stream.fraction_lost == 0.25
    stream.detach(ears[0])
    assert stream.fraction_lost == 0.01
