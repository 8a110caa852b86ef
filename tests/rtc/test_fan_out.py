"""One packet to many: whoever is a row of a table gets what they would get alone, to real sockets, under real SRTP."""

import contextlib
import random
import socket
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pylibsrtp import Error, Policy, Session

from rtc.batch import MAX_DATAGRAM, SIZE, Address, Batch
from rtc.fan_out import MAX_PAYLOAD, Lane
from rtc.opus import FRAME
from rtc.rtp import HEADER_SIZE, Packet
from rtc.sender import SlotSender
from rtc.slots import StreamKey
from rtc.stream import ENOUGH, Stream
from tests.rtc.test_batch import udp, waiting

KEY = bytes(range(30))
VOICE, OTHER = StreamKey("p_ana", "original", "en"), StreamKey("p_bob", "original", "en")
COUNT = ENOUGH + 2


def session(kind: int, ssrc: int = 0) -> Session:
    policy = Policy(key=KEY, ssrc_type=kind, ssrc_value=ssrc)
    policy.allow_repeat_tx = True  # as aiortc's
    return Session(policy)


def packet(sequence: int, size: int = 3, ssrc: int = 1) -> Packet:
    return Packet(ssrc, sequence & 0xFFFF, sequence * FRAME & 0xFFFFFFFF, 0, sequence.to_bytes(size, "big"))


class Listener:
    """A slot, and the socket at which its packets arrive."""

    def __init__(self, number: int, batch: Batch, ear: socket.socket, shared: bool, knows: int | None = None) -> None:
        """`shared`: it may be in a cohort; `knows`: the only SSRC that its SRTP session takes."""
        random.seed(number)
        self.ssrc = 1000 + number
        self.session = session(Policy.SSRC_ANY_OUTBOUND if knows is None else Policy.SSRC_SPECIFIC, knows or 0)
        self.alone = 0
        """Packets that did not come by a cohort."""
        self.nominated: dict[int, Any] = {1: object()}
        self._batch, self._shared = batch, shared
        self.move(ear)
        self.slot = SlotSender("1", 111, self.ssrc, self._send, self._lane)
        self.slot.resend_on_request((112, 5000 + number) if number % 2 else None)

    def move(self, ear: socket.socket) -> None:
        """ICE nominates a pair with another address."""
        self.ear = ear
        self._address, self.nominated[1] = Address(ear.getsockname()), object()

    def _send(self, data: bytes) -> bool:
        self.alone += 1
        if 1 not in self.nominated or len(data) > MAX_DATAGRAM:
            return False
        try:
            datagram = self.session.protect(data)
        except Error:
            return False
        self._batch._socket.sendto(datagram, self._address.pair)
        return True

    def _lane(self) -> Lane | None:
        if not self._shared or 1 not in self.nominated:
            return None
        handle: Any = self.session
        return Lane(self._batch, self._address, self.session, handle._srtp[0], self.nominated, self.nominated[1])

    def heard(self) -> list[bytes]:
        """Everything that has arrived since this was asked last, decrypted; also what came twice."""
        return [session(Policy.SSRC_ANY_INBOUND).unprotect(data) for data in waiting(self.ear)]


class House:
    """Some listeners behind one socket, and two voices."""

    def __init__(self, stack: contextlib.ExitStack, count: int, shared: bool, sendmmsg: bool = True) -> None:
        self.batch = Batch(stack.enter_context(udp()))
        if not sendmmsg:
            self.batch._sendmmsg = None
        self.stack = stack
        self.listeners = [Listener(number, self.batch, self.ear(), shared) for number in range(count)]
        self.streams = {key: Stream(key) for key in (VOICE, OTHER)}
        self.hears = [VOICE] * count
        self.at, self.ssrcs = {VOICE: 0, OTHER: 0}, {VOICE: 1, OTHER: 9}
        for listener in self.listeners:
            self.streams[VOICE].attach(listener.slot)

    def ear(self) -> socket.socket:
        return self.stack.enter_context(udp())

    def say(self, *packets: Packet, key: StreamKey = VOICE, now: float = 1.0) -> None:
        for one in packets:
            self.streams[key].send(one, now)

    def do(self, action: str, what: Any, now: float) -> object:
        """One of `ACTIONS`; what is to be seen of it besides packets."""
        match action:
            case "say" | "other":
                key = VOICE if action == "say" else OTHER
                for _ in range(what):
                    self.at[key] += 1
                    self.say(packet(self.at[key], ssrc=self.ssrcs[key]), key=key, now=now)
            case "lose":
                self.at[VOICE] += what
            case "late":
                self.say(packet(max(0, self.at[VOICE] - what), ssrc=self.ssrcs[VOICE]), now=now)
            case "mute":
                self.streams[VOICE].gap()
            case "new source":
                self.ssrcs[VOICE], self.at[VOICE] = what, 7
            case "swap":
                self.swap(what)
            case "ask":
                slot = self.listeners[what[0]].slot
                slot._settle()
                slot.resend(((slot._sequence - what[1]) & 0xFFFF,), now)
            case "ssrc":
                self.listeners[what].slot.change_ssrc(7000 + what)
            case "move":
                self.listeners[what].move(self.ear())
            case "look":
                return self.listeners[what].slot.report(now, 0)
        return None

    def swap(self, number: int) -> None:
        """A listener hears the other voice from now on."""
        before, slot = self.hears[number], self.listeners[number].slot
        self.hears[number] = OTHER if before is VOICE else VOICE
        self.streams[before].detach(slot)
        self.streams[self.hears[number]].attach(slot)

    @property
    def alone(self) -> list[int]:
        return [listener.alone for listener in self.listeners]

    def heard(self) -> list[list[bytes]]:
        return [listener.heard() for listener in self.listeners]


@pytest.fixture
def stack() -> Iterator[contextlib.ExitStack]:
    with contextlib.ExitStack() as stack:
        yield stack


def payloads(datagrams: Sequence[bytes]) -> list[bytes]:
    return [one[HEADER_SIZE:] for one in datagrams]


WHO = st.integers(0, COUNT - 1)
ACTIONS: st.SearchStrategy[tuple[str, Any]] = st.one_of(
    st.tuples(st.just("say"), st.integers(1, 5)),
    st.tuples(st.just("say"), st.integers(1, 5)),
    st.tuples(st.just("other"), st.integers(1, 3)),
    st.tuples(st.just("lose"), st.integers(1, 3)),
    st.tuples(st.just("late"), st.integers(1, 70)),
    st.tuples(st.just("mute"), st.none()),
    st.tuples(st.just("new source"), st.integers(2, 4)),
    st.tuples(st.just("swap"), WHO),
    st.tuples(st.just("ask"), st.tuples(WHO, st.integers(0, 70))),
    st.tuples(st.just("ssrc"), WHO),
    st.tuples(st.just("move"), WHO),
    st.tuples(st.just("look"), WHO),
)


@settings(max_examples=60)
@given(st.lists(ACTIONS, min_size=3, max_size=25), st.booleans(), st.integers(0, 0xFFFF))
def test_in_a_cohort_one_gets_what_one_gets_alone(actions: list[tuple[str, Any]], sendmmsg: bool, begin: int) -> None:
    """Datagram for datagram, counter for counter, whatever happens to the source, to oneself and to the others."""
    with contextlib.ExitStack() as stack:
        houses = [House(stack, COUNT, shared, sendmmsg) for shared in (False, True)]
        now = 1.0
        for house in houses:
            house.at = {VOICE: begin, OTHER: begin}
        for action, what in [("say", 3), *actions, ("say", 2), ("other", 2)]:
            now += 0.02
            alone, among = [house.do(action, what, now) for house in houses]
            assert alone == among
            alone, among = [house.heard() for house in houses]
            assert alone == among
        for one, other in zip(*(house.listeners for house in houses), strict=True):
            assert (one.slot.packets, one.slot.octets) == (other.slot.packets, other.slot.octets)
            assert one.slot.stats() == other.slot.stats()


def test_what_runs_smoothly_goes_together(stack: contextlib.ExitStack) -> None:
    """The first packet comes one by one, those after it do not; nor does it take more than there are."""
    house = House(stack, COUNT, shared=True)
    house.say(*(packet(number) for number in range(10, 20)))
    assert house.alone == [1] * COUNT
    for heard, listener in zip(house.heard(), house.listeners, strict=True):
        assert payloads(heard) == [packet(number).payload for number in range(10, 20)]
        assert listener.slot.packets == 10
    few = House(stack, ENOUGH - 1, shared=True)
    few.say(packet(1), packet(2))
    assert few.alone == [2] * (ENOUGH - 1)


def test_more_than_leave_in_one_call(stack: contextlib.ExitStack) -> None:
    house = House(stack, SIZE + ENOUGH, shared=True)
    house.say(packet(1), packet(2), packet(3))
    assert [payloads(heard) for heard in house.heard()] == [[packet(number).payload for number in (1, 2, 3)]] * (
        SIZE + ENOUGH
    )
    assert house.alone == [1] * (SIZE + ENOUGH)


def test_who_moves_gets_the_next_packet_where_they_are(stack: contextlib.ExitStack) -> None:
    house = House(stack, COUNT, shared=True)
    house.say(packet(1), packet(2))
    house.heard()
    old, mover = house.listeners[3].ear, house.listeners[3]
    mover.move(house.ear())
    house.say(packet(3), packet(4))
    assert [payloads(heard) for heard in house.heard()] == [[packet(3).payload, packet(4).payload]] * COUNT
    assert waiting(old) == []
    assert house.alone == [2 if listener is mover else 1 for listener in house.listeners], "and goes with the others"


def test_after_a_connection_is_closed_it_gets_nothing(stack: contextlib.ExitStack) -> None:
    house = House(stack, COUNT, shared=True)
    house.say(packet(1), packet(2))
    house.heard()
    house.listeners[0].nominated.clear()
    house.say(packet(3))
    assert [payloads(heard) for heard in house.heard()] == [[], *[[packet(3).payload]] * (COUNT - 1)]
    assert house.listeners[0].slot.dropped == 1


def test_one_whose_srtp_refuses_takes_no_other_with_them(stack: contextlib.ExitStack) -> None:
    house = House(stack, COUNT, shared=True)
    stranger = Listener(99, house.batch, house.ear(), shared=True, knows=1099)
    house.streams[VOICE].attach(stranger.slot)
    house.say(packet(1), packet(2))
    assert len(stranger.heard()) == 2 and house.heard()
    stranger.session.remove_stream(1099)
    house.say(packet(3), packet(4))
    assert [payloads(heard) for heard in house.heard()] == [[packet(3).payload, packet(4).payload]] * COUNT
    assert stranger.heard() == []
    assert (stranger.slot.packets, stranger.slot.dropped) == (2, 2)


def test_a_packet_that_is_too_long_is_nobody_s(stack: contextlib.ExitStack) -> None:
    house = House(stack, COUNT, shared=True)
    long = packet(3, size=MAX_PAYLOAD - 20)
    house.say(packet(1), packet(2), long, packet(4, size=MAX_PAYLOAD + 1), packet(5))
    for heard in house.heard():
        assert payloads(heard) == [packet(1).payload, packet(2).payload, long.payload, packet(5).payload]
    assert {listener.slot.dropped for listener in house.listeners} == {1}
