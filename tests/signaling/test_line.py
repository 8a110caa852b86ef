"""Seats, and the line before them. Pure."""

import pytest

from signaling.line import FIRST_GUESS, Line, LineFull, Ticket


def tickets(count: int) -> tuple[list[Ticket], list[int]]:
    """And who was told of a change, in order."""
    told: list[int] = []
    return [Ticket(lambda number=number: told.append(number)) for number in range(count)], told  # type: ignore[misc]  # a default binds it


def test_who_comes_first_sits_first() -> None:
    line = Line(seats=1, max_waiting=2)
    (ana, bob, cleo, dan), told = tickets(4)
    for ticket in (ana, bob, cleo):
        line.enter(ticket, 0.0)
    assert (line.position(ana), line.position(bob), line.position(cleo)) == (0, 1, 2)
    with pytest.raises(LineFull):
        line.enter(dan, 0.0)
    told.clear()
    line.leave(ana, 10.0)
    assert bob.seated_at == 10.0 and line.position(cleo) == 1
    assert told == [1, 2]
    line.leave(ana, 11.0)
    assert (line.seated, line.waiting) == (1, 1)


def test_who_leaves_the_line_lets_others_move_up() -> None:
    line = Line(seats=1, max_waiting=5)
    (ana, bob, cleo), _ = tickets(3)
    for ticket in (ana, bob, cleo):
        line.enter(ticket, 0.0)
    line.leave(bob, 1.0)
    assert line.position(cleo) == 1 and line.is_full


def test_the_wait_is_told_from_how_long_conversations_last() -> None:
    line = Line(seats=2, max_waiting=5)
    assert line.eta(2) == FIRST_GUESS
    for _ in range(50):
        (ticket,), _ = tickets(1)
        line.enter(ticket, 0.0)
        line.leave(ticket, 20.0)
    assert 9 < line.eta(1) < 12
