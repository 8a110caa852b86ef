"""Messages on their way to one client: numbered without gaps, bounded, able to go back to what was seen. Pure."""

from collections import deque
from typing import Any

Message = dict[str, Any]

STATES = ("participant.updated", "room.updated", "slots.updated")
"""Each says all there is to say about somebody, or something: an earlier one that has not left yet need not."""


class OutboxFull(Exception):
    """The client does not read; what it must know no longer fits."""


class Outbox:
    """`put`, `take` in order. A number is given when a message leaves, so that nothing dropped leaves a hole."""

    def __init__(self, limit: int = 512, history: int = 256) -> None:
        self._limit = limit
        self._pending: deque[tuple[Message, bool]] = deque()
        self._sent: deque[Message] = deque(maxlen=history)
        self._seq = 0
        self.dropped = 0
        """Droppable messages that did not fit."""

    def __len__(self) -> int:
        return len(self._pending)

    def put(self, message: Message, droppable: bool = False) -> None:
        """Queue a message; a droppable one (an interim) is the first to go when there is no room. Raises OutboxFull.

        Nobody can fill it by being another, muted or in another language, again and again.
        """
        if self._pending and (subject := _subject(message)) is not None:
            self._pending = deque(item for item in self._pending if _subject(item[0]) != subject)
        if len(self._pending) >= self._limit:
            stale = next((item for item in self._pending if item[1]), None)
            if stale is not None:
                self._pending.remove(stale)
                self.dropped += 1
            elif droppable:
                self.dropped += 1
                return
            else:
                raise OutboxFull
        self._pending.append((message, droppable))

    def take(self) -> Message | None:
        """The next message, with its `seq`; None when there is none."""
        if not self._pending:
            return None
        message, _ = self._pending.popleft()
        self._seq += 1
        numbered = {"type": message["type"], "seq": self._seq, **message}
        self._sent.append(numbered)
        return numbered

    def begin_at(self, seq: int) -> None:
        """Messages up to `seq` were sent on this client's connection before it had a session."""
        self._seq = max(self._seq, seq)

    def resume(self, last_seq: int | None, first: Message) -> None:
        """The client is back and has seen everything up to `last_seq`: send `first`, then what it missed.

        Messages that left but never arrived are numbered again, so that the client sees no gap. If it says nothing, or
        something we cannot know, numbering just goes on. A `first` of an earlier return that never arrived is void.
        """
        if last_seq is not None and self._sent and self._sent[0]["seq"] - 1 <= last_seq <= self._seq:
            missed = [message for message in self._sent if message["seq"] > last_seq]
            for message in reversed(missed):
                self._sent.pop()
                self._pending.appendleft(({k: v for k, v in message.items() if k != "seq"}, False))
            self._seq = last_seq
        self._pending = deque(item for item in self._pending if item[0]["type"] != first["type"])
        self._pending.appendleft((first, False))


def _subject(message: Message) -> tuple[str, str | None] | None:
    """What a message tells the state of, if it does: its type, and whose."""
    return (message["type"], message.get("participant", {}).get("id")) if message["type"] in STATES else None
