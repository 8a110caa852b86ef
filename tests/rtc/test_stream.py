"""One source, many listeners."""

import contextlib
import itertools

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pylibsrtp import Policy, Session

from rtc.opus import FRAME
from rtc.reception import MAX_MISORDER
from rtc.rtp import Packet
from rtc.slots import StreamKey
from rtc.stream import ENOUGH, MAX_STEP, Stream
from tests.rtc import test_fan_out as fan_out
from tests.rtc.outlets import Recorder
from tests.rtc.test_batch import waiting

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


def numbers(ear: Recorder) -> list[int]:
    return [packet.sequence for packet in ear.heard]


def test_a_number_is_used_once() -> None:
    """Late it is sent, in its place; again, or far too late, it is not."""
    stream, ear = Stream(KEY), Recorder()
    stream.attach(ear)
    came = [65_530, 65_532, 65_531, 65_531, 65_532, 3, 65_533, 3, 65_533, 65_535 - MAX_MISORDER, 4]
    for number in came:
        stream.send(packet(number), 0.0)
    assert numbers(ear) == [65_530, 65_532, 65_531, 3, 65_533, 4]
    assert (stream.packets, stream.dropped, ear.switches) == (len(came), 5, 0)


@pytest.mark.parametrize(("step", "switches"), [(MAX_STEP, 0), (MAX_STEP + 1, 1), (3000, 1), (0x7FFF, 1)])
def test_an_outage_is_a_pause(step: int, switches: int) -> None:
    """What is missing beyond what anybody asks for again is no loss of the listener's."""
    stream, ear = Stream(KEY), Recorder()
    stream.attach(ear)
    for number in (65_000, 65_001, 65_001 + step, 65_002 + step):
        stream.send(packet(number & 0xFFFF), 0.0)
    assert (len(ear.heard), ear.switches) == (4, switches)


def test_a_source_that_begins_anew_by_the_same_ssrc_is_heard() -> None:
    """From its second packet on (RFC 3550 A.1)."""
    stream, ear = Stream(KEY), Recorder()
    stream.attach(ear)
    for number in (5000, 5001, 7, 8, 9):
        stream.send(packet(number), 0.0)
    assert numbers(ear) == [5000, 5001, 8, 9] and ear.switches == 1


# to real slots


def protection(kind: int) -> Session:
    policy = Policy(key=fan_out.KEY, ssrc_type=kind)
    policy.allow_repeat_tx, policy.window_size = True, 1024  # as aiortc's
    return Session(policy)


def house(stack: contextlib.ExitStack, shared: bool) -> fan_out.House:
    """Listeners with real SRTP: so many that they are a cohort, or one."""
    house = fan_out.House(stack, ENOUGH if shared else 1, shared)
    for listener in house.listeners:
        listener.session = protection(Policy.SSRC_ANY_OUTBOUND)
    return house


either = pytest.mark.parametrize("shared", [False, True], ids=["alone", "in a cohort"])

STEPS = [
    1,
    1,
    2,
    MAX_STEP,
    MAX_STEP + 1,
    2999,
    3000,
    0x7FF0,
    0x7FFF,
    0x8000,
    0,
    -1,
    -30,
    -99,
    -100,
    -101,
    -600,
    -0x7000,
]


@either
@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(STEPS), st.sampled_from([1, 1, 2, 150]), st.booleans()), max_size=14),
    st.integers(0, 0xFFFF),
)
@example([(2999, 1, True)] * 24, 0)  # half a second of losses
@example([(0x7FF0, 1, False), (0x7FFF, 2, False)], 0)
@example([(1, 150, False), (3000, 1, False), (1, 150, False), (1, 150, False), (-600, 1, False)], 0)
def test_whatever_numbers_come_srtp_keeps_in_step(
    shared: bool, script: list[tuple[int, int, bool]], number: int
) -> None:
    """Each listener can decrypt every packet, which also says that no number is used twice; and so can one who loses
    some of them."""
    with contextlib.ExitStack() as stack:
        people = house(stack, shared)
        ear = people.listeners[0]
        lossless, lossy = protection(Policy.SSRC_ANY_INBOUND), protection(Policy.SSRC_ANY_INBOUND)
        payload, heard = itertools.count(), 0
        for step, times, lost in [(1, 2, False), *script, (1, 150, False)]:
            for _ in range(times):
                number = (number + step) & 0xFFFF
                people.say(Packet(1, number, number * FRAME, 0, b"%d" % next(payload)))
            for datagram in waiting(ear.ear):
                lossless.unprotect(datagram)
                heard += 1
                if not lost or times > 2:
                    lossy.unprotect(datagram)
        assert heard == ear.slot.packets > 0


@either
def test_the_first_packet_of_a_talkspurt_stays_marked(shared: bool) -> None:
    """RFC 3551 §4.1: by it a browser knows where its jitter buffer may take up the slack."""
    with contextlib.ExitStack() as stack:
        people = house(stack, shared)
        for number in range(6):
            people.say(Packet(1, number, number * FRAME, int(number == 4), b"x"))
        (rx, ear), alone = (protection(Policy.SSRC_ANY_INBOUND), people.listeners[0]), people.alone[0]
        assert alone == (1 if shared else 6)
        assert [rx.unprotect(data)[1] >> 7 for data in waiting(ear.ear)] == [1, 0, 0, 0, 1, 0]


def test_after_a_gap_lower_numbers_go_together_again() -> None:
    """One packet to each of them decides where the numbers go on; those after it are a cohort's."""
    with contextlib.ExitStack() as stack:
        people = house(stack, shared=True)
        people.say(*(packet(number) for number in range(9000, 9010)))
        people.streams[fan_out.VOICE].gap()
        people.say(*(packet(number) for number in range(100, 110)))
        assert people.alone == [2] * ENOUGH
        assert [len(waiting(listener.ear)) for listener in people.listeners] == [20] * ENOUGH
