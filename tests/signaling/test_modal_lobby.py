"""The line before the voice."""

import pytest

from signaling import modal_lobby
from signaling.http import Problem
from signaling.modal_lobby import SeatLine
from signaling.modal_placer import CloudError, Crowded
from tests.signaling.test_modal_placer import Containers, Memory


@pytest.fixture
def sessions() -> Containers:
    return Containers()


@pytest.fixture
def line(sessions: Containers) -> SeatLine:
    return SeatLine(sessions, Memory())


async def refused(line: SeatLine, ticket: str = "") -> Problem:
    with pytest.raises(Problem) as caught:
        await line.seat(ticket)
    return caught.value


async def test_a_free_seat_is_had_at_once(line: SeatLine) -> None:
    assert await line.seat("") == {"url": "https://rooms.example", "token": "token-1"}


async def test_first_come_first_seated(line: SeatLine, sessions: Containers) -> None:
    """Places are told; whoever asks out of turn gets none, though one be free."""
    sessions.error = Crowded("full")
    first, second = await refused(line), await refused(line)
    assert [one.more["position"] for one in (first, second)] == [1, 2]
    assert (first.status, first.code, first.retry_after) == (503, "house_full", modal_lobby.RETRY)
    sessions.error = None
    assert (await refused(line, second.more["ticket"])).more["position"] == 2
    assert (await refused(line, "forged")).more["position"] == 3
    assert (await line.seat(first.more["ticket"]))["token"] == "token-1"
    assert (await line.seat(second.more["ticket"]))["token"] == "token-2"


async def test_who_does_not_ask_again_has_gone(
    line: SeatLine, sessions: Containers, monkeypatch: pytest.MonkeyPatch
) -> None:
    sessions.error = Crowded("full")
    await refused(line)
    later = await refused(line)
    assert later.more["position"] == 2
    monkeypatch.setattr(modal_lobby, "RETRY", -1.0)
    assert (await refused(line, later.more["ticket"])).more["position"] == 1


async def test_a_container_that_takes_its_time_is_not_a_full_house(
    line: SeatLine, sessions: Containers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(modal_lobby, "SEAT_PATIENCE", 0.01)
    sessions.gate.clear()
    waiting = await refused(line)
    assert (waiting.code, waiting.more["position"]) == ("warming", 1)
    sessions.gate.set()
    assert (await line.seat(waiting.more["ticket"]))["token"] == "token-1"


async def test_who_waits_for_a_container_keeps_their_place(
    line: SeatLine, sessions: Containers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It starts for longer than who is in the line may be silent; they are not, they wait for our answer."""
    monkeypatch.setattr(modal_lobby, "SEAT_PATIENCE", 0.4)
    monkeypatch.setattr(modal_lobby, "RETRY", 0.1)
    sessions.gate.clear()
    first = await refused(line)
    assert (await refused(line)).more["position"] == 2
    again = await refused(line, first.more["ticket"])
    assert (again.more["position"], again.more["ticket"]) == (1, first.more["ticket"])


async def test_the_line_is_bounded(line: SeatLine, sessions: Containers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(modal_lobby, "MAX_LINE", 3)
    sessions.error = Crowded("full")
    answers = [await refused(line) for _ in range(4)]
    assert [one.more.get("position") for one in answers] == [1, 2, 3, None]
    assert answers[3].retry_after == 60


async def test_a_failing_control_plane_costs_nobody_their_place(line: SeatLine, sessions: Containers) -> None:
    sessions.error = Crowded("full")
    first = await refused(line)
    await refused(line)
    sessions.error = CloudError("no answer")
    with pytest.raises(CloudError):
        await line.seat(first.more["ticket"])
    sessions.error = None
    assert (await line.seat(first.more["ticket"]))["token"] == "token-1"


async def test_a_seat_that_was_had_is_given_though_nothing_can_be_kept(sessions: Containers) -> None:
    """Else nobody would have it, and who was first would be the last."""
    seats = Memory()
    seats.failing = True
    assert await SeatLine(sessions, seats).seat("") == {"url": "https://rooms.example", "token": "token-1"}
