"""The line between a process that holds rooms and the one that gave them to it: JSON objects, one a line, both ways."""

import asyncio
import json
import socket
from typing import Any

MAX_LINE = 64 * 2**20
"""Bytes: a full transcript has about 5 MB, of the dearest characters 24. A longer line would end who reads it: it is
not sent."""
MAX_BEHIND = 2 * MAX_LINE
"""Bytes the other side has not read yet; then what is sent is lost, and counted."""


class Control:
    """One end."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.dropped = 0
        """Messages that did not fit."""

    @classmethod
    async def over(cls, sock: socket.socket) -> "Control":
        """On a connected stream socket, which is closed with it."""
        return cls(*await asyncio.open_connection(sock=sock, limit=MAX_LINE))

    def send(self, type: str, **fields: Any) -> None:
        """Never blocks. It is with the system by the end of this turn of the event loop: a process that is killed
        later has sent it."""
        transport = self._writer.transport
        if transport.is_closing() or transport.get_write_buffer_size() > MAX_BEHIND:
            self.dropped += 1
            return
        line = json.dumps({"type": type, **fields}).encode() + b"\n"
        if len(line) > MAX_LINE:
            self.dropped += 1
        else:
            self._writer.write(line)

    async def receive(self) -> dict[str, Any] | None:
        """The next message; None when the other side is gone."""
        try:
            line = await self._reader.readline()
        except ConnectionError:
            return None
        if not line.endswith(b"\n"):  # it was killed, perhaps while it wrote
            return None
        message: dict[str, Any] = json.loads(line)
        return message

    def close(self) -> None:
        """Idempotent."""
        self._writer.close()
