"""Order, and a sample clock that never lies."""

import itertools
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtc.jitter import MAX_CONCEALED, MAX_SILENCE, Piece, ReorderBuffer, Source
from rtc.opus import FRAME, Encoder

SILENT_FRAME = Encoder(16_000).encode(np.zeros(320, np.int16))


def payload(index: int) -> bytes:
    """A 20 ms packet that can be told from the others: its table of contents is real, its number padding."""
    return SILENT_FRAME[:1] + index.to_bytes(4, "big")


def feed(buffer: ReorderBuffer, order: list[int], sequence: int = 0, timestamp: int = 0, ssrc: int = 1) -> list[Piece]:
    """Push the packets with these indices; everything that came out."""
    return [
        piece
        for index in order
        for piece in buffer.push(
            ssrc, (sequence + index) & 0xFFFF, (timestamp + index * FRAME) & 0xFFFFFFFF, payload(index)
        )
    ]


def packets(pieces: list[Piece]) -> list[bytes]:
    return [piece.payload for piece in pieces if piece.source is Source.PACKET]


@st.composite
def shuffled(draw: st.DrawFn) -> list[int]:
    """Indices from 0 on; packet 0 comes first, none is overtaken by more than two others, some come twice."""
    count = draw(st.integers(1, 60))
    order = [0]
    waiting = list(range(1, count))
    overtaken: Counter[int] = Counter()
    while waiting:
        head = waiting[0]
        choice = head if overtaken[head] >= 2 else draw(st.sampled_from(waiting[: 3 - overtaken[head]]))
        overtaken.update(index for index in waiting if index < choice)
        waiting.remove(choice)
        order.append(choice)
        if draw(st.integers(0, 9)) == 0:
            order.append(draw(st.sampled_from(order)))
    return order


@given(shuffled(), st.integers(0, 0xFFFF), st.integers(0, 0xFFFFFFFF))
def test_reordering_within_patience_costs_nothing(order: list[int], sequence: int, timestamp: int) -> None:
    """Packets overtaken by less than `patience` others come out once each, in order, across both wrap-arounds."""
    buffer = ReorderBuffer(patience=3)
    pieces = feed(buffer, order, sequence, timestamp)
    assert {piece.source for piece in pieces} == {Source.PACKET}
    assert packets(pieces) == [payload(index) for index in range(max(order) + 1)]
    assert buffer.late == len(order) - len(set(order))
    assert buffer.received == len(set(order))


@given(st.lists(st.booleans(), min_size=1, max_size=80), st.integers(0, 0xFFFF), st.integers(0, 0xFFFFFFFF))
def test_losses_do_not_stop_the_sample_clock(kept: list[bool], sequence: int, timestamp: int) -> None:
    """What comes out lasts exactly as long as what was sent, whichever packets were lost on the way."""
    order = [0, *(index for index, keep in enumerate(kept, 1) if keep), *range(len(kept) + 1, len(kept) + 4)]
    buffer = ReorderBuffer()
    pieces = feed(buffer, order, sequence, timestamp)
    lost = order[-1] + 1 - len(order)
    holes = [b - a - 1 for a, b in itertools.pairwise(order) if b - a > 1]
    if all(hole <= MAX_CONCEALED + MAX_SILENCE for hole in holes):
        assert len(pieces) == order[-1] + 1
    assert packets(pieces) == [payload(index) for index in order]
    assert buffer.recovered == sum(hole <= MAX_CONCEALED for hole in holes)
    assert buffer.recovered + buffer.concealed <= lost


def test_the_last_of_a_hole_comes_from_fec() -> None:
    """Only the packet right after a hole carries a copy of the one before it; earlier ones are made up."""
    pieces = feed(ReorderBuffer(), [0, 1, 4, 5, 6])
    sources = [piece.source for piece in pieces]
    assert sources == [Source.PACKET] * 2 + [Source.CONCEALED, Source.FEC] + [Source.PACKET] * 3
    assert pieces[3].payload == payload(4)


def test_a_hole_is_waited_for_until_patience_is_out() -> None:
    """Nothing is made up while the missing packet may still come."""
    buffer = ReorderBuffer(patience=3)
    assert packets(feed(buffer, [0, 2, 3])) == [payload(0)]
    assert packets(feed(buffer, [1])) == [payload(index) for index in (1, 2, 3)]


def test_a_long_hole_is_concealed_for_200_ms_and_then_silent() -> None:
    """Concealment beyond that is noise."""
    pieces = feed(ReorderBuffer(), [0, 31, 32, 33])
    counts = Counter(piece.source for piece in pieces)
    assert counts == {Source.PACKET: 4, Source.CONCEALED: MAX_CONCEALED, Source.SILENCE: 30 - MAX_CONCEALED}


def test_a_pause_of_the_sender_is_silence_not_loss() -> None:
    """DTX: the numbers go on, the time jumps."""
    buffer = ReorderBuffer()
    pieces = [*buffer.push(1, 10, 0, payload(0)), *buffer.push(1, 11, 6 * FRAME, payload(1))]
    assert [piece.source for piece in pieces] == [Source.PACKET, *[Source.SILENCE] * 5, Source.PACKET]
    assert buffer.concealed == buffer.recovered == 0


def test_a_long_pause_gives_one_second_of_silence() -> None:
    """Nobody gets an hour of zeros to chew on."""
    buffer = ReorderBuffer()
    list(buffer.push(1, 10, 0, payload(0)))
    pieces = list(buffer.push(1, 11, 3600 * 48_000, payload(1)))
    assert len(pieces) == MAX_SILENCE + 1


@pytest.mark.parametrize("jump", [5000, 40_000, -200, -2999, -3001, -40_000])
def test_a_sender_that_begins_anew_is_heard(jump: int) -> None:
    """A jump in numbers and time, forwards or back, costs no more than a few packets."""
    buffer = ReorderBuffer()
    feed(buffer, list(range(20)), sequence=10_000)
    pieces = feed(buffer, list(range(100, 130)), sequence=(10_000 + jump) & 0xFFFF, timestamp=123_456_789)
    assert packets(pieces)[-27:] == [payload(index) for index in range(103, 130)]
    assert sum(piece.source is Source.CONCEALED for piece in pieces) <= MAX_CONCEALED


def test_another_source_is_heard_at_once() -> None:
    """A new SSRC has numbers of its own."""
    buffer = ReorderBuffer()
    feed(buffer, [0, 1, 2, 4], sequence=500)
    pieces = feed(buffer, [7, 8, 9], sequence=490, timestamp=99, ssrc=2)
    assert [piece.source for piece in pieces] == [Source.PACKET] * 3


def test_a_stray_old_packet_changes_nothing() -> None:
    """One packet from long ago is late, not a new beginning."""
    buffer = ReorderBuffer()
    feed(buffer, list(range(300)), sequence=1000)
    assert feed(buffer, [20], sequence=1000) == []
    assert packets(feed(buffer, [300, 301], sequence=1000)) == [payload(300), payload(301)]
    assert buffer.late == 1


def test_padding_takes_a_number_but_no_time() -> None:
    """Empty packets repeat the last timestamp; neither loss nor silence comes of them."""
    buffer = ReorderBuffer()
    pieces = [
        *buffer.push(1, 1, 0, payload(0)),
        *buffer.push(1, 2, 0, b""),
        *buffer.push(1, 3, FRAME, payload(1)),
        *buffer.push(1, 4, FRAME, b""),
        *buffer.push(1, 5, 2 * FRAME, payload(2)),
    ]
    assert pieces == [Piece(Source.PACKET, payload(index)) for index in range(3)]


@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.integers(0, 0xFFFF), st.integers(0, 0xFFFFFFFF), st.binary(max_size=4)),
        max_size=40,
    )
)
def test_any_packets_at_all_are_bounded(stream: list[tuple[int, int, int, bytes]]) -> None:
    """A hostile sender gets at most a second of silence and 200 ms made up for each packet it sends."""
    buffer = ReorderBuffer()
    for packet in stream:
        assert len(list(buffer.push(*packet))) <= 4 * (MAX_SILENCE + MAX_CONCEALED + 1)
