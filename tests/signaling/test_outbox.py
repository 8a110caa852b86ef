"""Messages to one client: numbered without gaps whatever is dropped, and resumed where the client stopped."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signaling.outbox import Outbox, OutboxFull


def message(number: int) -> dict[str, Any]:
    return {"type": "test", "number": number}


def drain(outbox: Outbox) -> list[dict[str, Any]]:
    return list(iter(outbox.take, None))


STEP = st.one_of(st.tuples(st.just("put"), st.booleans()), st.tuples(st.just("take"), st.integers(1, 5)))


@given(st.lists(STEP, max_size=80))
def test_numbers_have_no_gaps(steps: list[tuple[str, Any]]) -> None:
    """However messages are put, dropped and taken, the client counts 1, 2, 3, …"""
    outbox, seen = Outbox(limit=4), []
    for index, (verb, argument) in enumerate(steps):
        if verb == "take":
            seen += [taken for _ in range(argument) if (taken := outbox.take()) is not None]
        else:
            try:
                outbox.put(message(index), droppable=argument)
            except OutboxFull:
                break
    seen += drain(outbox)
    assert [taken["seq"] for taken in seen] == list(range(1, len(seen) + 1))


@given(st.lists(st.booleans(), min_size=1, max_size=40), st.data())
def test_a_resumed_client_has_everything_once_and_in_order(droppable: list[bool], data: st.DataObject) -> None:
    """Some messages left and were lost on the way, some never left: after the resume all are there, and seq goes on."""
    outbox = Outbox(limit=100)
    for index, may_drop in enumerate(droppable):
        outbox.put(message(index), may_drop)
    left = data.draw(st.integers(0, len(droppable)))
    arrived = data.draw(st.integers(0, left))
    client = [taken for taken in (outbox.take() for _ in range(left)) if taken is not None][:arrived]
    outbox.resume(arrived, {"type": "welcome"})
    client += drain(outbox)
    assert [taken["seq"] for taken in client] == list(range(1, len(client) + 1))
    assert [taken["number"] for taken in client if taken["type"] == "test"] == list(range(len(droppable)))
    assert client[arrived]["type"] == "welcome"


@pytest.mark.parametrize("last_seq", [None, -1, 99])
def test_a_client_that_says_nonsense_about_what_it_saw(last_seq: int | None) -> None:
    """Numbering just goes on: nothing is sent twice, nothing breaks."""
    outbox = Outbox()
    outbox.put(message(0))
    outbox.put(message(1))
    drain(outbox)
    outbox.put(message(2))
    outbox.resume(last_seq, {"type": "welcome"})
    assert [(taken["seq"], taken["type"]) for taken in drain(outbox)] == [(3, "welcome"), (4, "test")]


def test_of_what_changes_again_and_again_the_last_state_is_told() -> None:
    """Somebody who mutes and unmutes without end throws nobody out whose socket is away, and all other words come."""
    outbox = Outbox(limit=4)
    outbox.put(message(0))
    for turn in range(50):
        for who in ("p_1", "p_2"):
            outbox.put({"type": "participant.updated", "participant": {"id": who}, "turn": turn})
        outbox.put({"type": "slots.updated", "slots": [], "turn": turn})
    told = [(taken["type"], taken.get("participant", {}).get("id"), taken.get("turn")) for taken in drain(outbox)]
    updated = [("participant.updated", "p_1", 49), ("participant.updated", "p_2", 49)]
    assert told == [("test", None, None), *updated, ("slots.updated", None, 49)]


def test_interims_make_way_for_what_must_be_known() -> None:
    """Full: the oldest droppable goes first, a new droppable is not taken, and only then it is an error."""
    outbox = Outbox(limit=2)
    outbox.put(message(0), droppable=True)
    outbox.put(message(1))
    outbox.put(message(2))
    outbox.put(message(3), droppable=True)
    assert outbox.dropped == 2
    with pytest.raises(OutboxFull):
        outbox.put(message(4))
    assert [taken["number"] for taken in drain(outbox)] == [1, 2]
