"""Who has a seat, and who waits for one, in the order in which they came. Pure; time is an argument."""

from collections import deque
from collections.abc import Callable

FIRST_GUESS = 120.0
"""Seconds that a conversation is thought to last before any has ended."""

MEMORY = 0.2
"""Weight of the conversation that ended last in what is known of their length."""


class LineFull(Exception):
    """There is no place left to wait in."""


class Ticket:
    """One person's place, in a seat or in the line."""

    def __init__(self, on_change: Callable[[], None]) -> None:
        """`on_change` is called when the place has changed."""
        self.on_change = on_change
        self.seated_at: float | None = None
        """Clock seconds; None while they wait."""


class Line:
    """`enter`, look at `seated_at`, `leave` whenever one goes, from the seat or from the line."""

    def __init__(self, seats: int, max_waiting: int) -> None:
        self._seats = seats
        self._max_waiting = max_waiting
        self._seated: set[Ticket] = set()
        self._waiting: deque[Ticket] = deque()
        self._length = FIRST_GUESS

    @property
    def seated(self) -> int:
        """People who have a seat."""
        return len(self._seated)

    @property
    def waiting(self) -> int:
        """People in the line."""
        return len(self._waiting)

    @property
    def is_full(self) -> bool:
        """Who comes now waits, or finds no place even for that."""
        return len(self._seated) >= self._seats

    def enter(self, ticket: Ticket, now: float) -> None:
        """Take a seat, or the last place in the line. Raises LineFull."""
        if not self.is_full:
            self._seat(ticket, now)
        elif len(self._waiting) < self._max_waiting:
            self._waiting.append(ticket)
        else:
            raise LineFull

    def leave(self, ticket: Ticket, now: float) -> None:
        """Go; the first in the line takes the seat. Harmless for who has gone already."""
        if ticket in self._seated and ticket.seated_at is not None:
            self._seated.remove(ticket)
            self._length += MEMORY * (now - ticket.seated_at - self._length)
            if self._waiting:
                self._seat(self._waiting.popleft(), now)
        elif ticket in self._waiting:
            self._waiting.remove(ticket)
        else:
            return
        for other in self._waiting:
            other.on_change()

    def position(self, ticket: Ticket) -> int:
        """1 for the next whose turn it is; 0 for who has a seat."""
        return 0 if ticket.seated_at is not None else self._waiting.index(ticket) + 1

    def eta(self, position: int) -> float:
        """Seconds until that place in the line has its turn, as far as conversations so far let us tell."""
        return self._length * position / self._seats

    def _seat(self, ticket: Ticket, now: float) -> None:
        self._seated.add(ticket)
        ticket.seated_at = now
        ticket.on_change()
