"""One WebSocket, from the first message to the last."""

import asyncio
import contextlib
import logging
from abc import ABC, abstractmethod
from collections.abc import Collection
from typing import Any, ClassVar, Generic, TypeVar

from aiohttp import WSCloseCode, WSMessage, WSMsgType, web

from rtc.allowance import Allowance
from signaling.house import House
from signaling.protocol import (
    Candidate,
    Chat,
    ClientMessage,
    Join,
    Leave,
    Parser,
    Ping,
    ProtocolError,
    RoomUpdate,
    State,
    error_message,
    next_state,
)
from signaling.session import Session

S = TypeVar("S", bound=Session)

log = logging.getLogger(__name__)

BURST_SECONDS = 5
"""A client may send its rate times this at once: trickled candidates come in a heap."""

LONG = 16 * 1024
"""Characters for which a message counts as one more: it takes as long to read, and can be compressed to nothing."""

MAX_ERRORS = 50
"""Messages that make no sense, on one WebSocket, before it is closed."""


class Fatal(ProtocolError):
    """The WebSocket is closed after this error."""


class Connection(ABC, Generic[S]):
    """Serves one WebSocket: first somebody joins or resumes, then they talk and are told."""

    final: ClassVar[Collection[str]] = ("draining",)
    """Codes of refusals after which nothing else can be said."""

    def __init__(self, ws: web.WebSocketResponse, house: House, parser: Parser) -> None:
        self._ws = ws
        self._house = house
        self._parser = parser
        settings = house.settings
        self._messages = Allowance(settings.message_rate, settings.message_rate * BURST_SECONDS)
        self._chats = Allowance(settings.chat_rate, settings.chat_rate * BURST_SECONDS)
        self._state = State.NEW
        self._errors = 0
        self._seq = 0  # of what is said before there is a session

    async def serve(self) -> None:
        """Until the client leaves or is gone. A session that was joined lives on for its grace period."""
        session = None
        try:
            async with asyncio.timeout(self._house.settings.join_timeout) as self._patience:
                session = await self._enter()
            if session is not None:
                await self._attend(session)
        except TimeoutError:
            await self._reject(Fatal("join_timeout", "Nothing was said for too long. Open the connection again."))
        except Fatal as error:
            await self._reject(error)
        except ConnectionError:
            log.debug("a socket broke")
        finally:
            if session is not None:
                session.detach(self)

    @abstractmethod
    async def _admit(self, message: Join) -> S | None:
        """Let somebody in, or back in; None if they go away before. Raises ProtocolError."""

    @abstractmethod
    async def _obey(self, session: S, message: ClientMessage) -> None:
        """Do what is said by somebody who has joined. Raises ProtocolError."""

    async def _enter(self) -> S | None:
        """Read until somebody joins or resumes; None if the client goes away first."""
        async for raw in self._ws:
            try:
                message = self._read(raw)
                match message:
                    case Join():
                        session = await self._admit(message)
                    case Ping(t=t):
                        await self._say({"type": "pong", "t": t})
                        continue
                    case _:
                        raise AssertionError(f"{message} has no place in state NEW")
            except Fatal:
                raise
            except ProtocolError as error:
                if error.code in self.final:
                    raise Fatal(error.code, str(error), error.retry_after, error.position) from None
                await self._say(error_message(error.code, str(error), retry_after=error.retry_after))
            else:
                if session is not None:
                    self._state = State.JOINED
                    session.outbox.begin_at(self._seq)
                    session.attach(self)
                return session
        return None

    async def _attend(self, session: S) -> None:
        """Read what they say while another task writes what they are told."""
        async with asyncio.TaskGroup() as tasks:
            writer = tasks.create_task(self._write(session))
            async for raw in self._ws:
                try:
                    message = self._read(raw)
                    self._state = next_state(self._state, message)
                    await self._obey(session, message)
                except Fatal as error:
                    session.send(error_message(error.code, str(error), fatal=True))
                    break
                except ProtocolError as error:
                    told = error_message(error.code, str(error), False, error.retry_after, error.position)
                    session.send(told)
                if self._state is State.LEFT or session.over:
                    break
            if self._state is State.LEFT or session.over:
                await writer  # the last words
            elif not self._ws.closed:
                with contextlib.suppress(TimeoutError, ConnectionError):
                    async with asyncio.timeout(1):
                        await self._flush(session)
            writer.cancel()
        await self._ws.close()

    def _read(self, raw: WSMessage) -> ClientMessage:
        """Raises ProtocolError; Fatal when the client will not learn."""
        now = asyncio.get_running_loop().time()
        length = len(raw.data) if raw.type is WSMsgType.TEXT else 0
        if not self._messages.take(now, 1 + length / LONG):
            raise Fatal("rate_limited", "Too many messages.", retry_after=BURST_SECONDS)
        try:
            if raw.type is not WSMsgType.TEXT:
                raise ProtocolError("bad_message", "Messages are text: JSON objects.")
            if length > self._house.settings.max_message:
                raise ProtocolError(
                    "too_large", f"A message has at most {self._house.settings.max_message} characters."
                )
            message = self._parser.parse(raw.data)
            if self._state is State.NEW:
                next_state(self._state, message)
            if isinstance(message, Chat | RoomUpdate) and not self._chats.take(now):  # everybody is told
                raise ProtocolError("rate_limited", "That is a lot of messages. Wait a moment.", retry_after=1)
            return message
        except ProtocolError:
            self._errors += 1
            if self._errors > MAX_ERRORS:
                raise Fatal("bad_message", "Too many messages that make no sense.") from None
            raise

    async def _obey_any(self, session: Session, message: ClientMessage) -> None:
        """What is the same for everybody."""
        match message:
            case Ping(t=t):
                session.send({"type": "pong", "t": t})
            case Candidate(candidate=candidate, sdp_mid=mid, sdp_mline_index=index):
                await session.add_candidate(candidate, mid, index)
            case Leave():
                session.end("left")

    async def _write(self, session: S) -> None:
        """Send what is in the outbox until the session's life ends or another WebSocket takes over."""
        while session.is_attached(self):
            session.wake.clear()
            try:
                await self._flush(session)
            except ConnectionError:
                return  # the reading loop ends as well, and whoever resumes is told again
            if session.over:
                break
            await session.wake.wait()
        # closing ends the reading loop as well
        if not session.is_attached(self):
            await self._ws.close(code=4001, message=b"resumed elsewhere")
        else:
            await self._ws.close(code=WSCloseCode.GOING_AWAY if self._house.draining else WSCloseCode.OK)

    async def _flush(self, session: S) -> None:
        while session.is_attached(self) and (message := session.outbox.take()) is not None:
            await self._ws.send_json(message)

    async def _say(self, message: dict[str, Any]) -> None:
        """Before there is a session."""
        self._seq += 1
        await self._ws.send_json({"type": message["type"], "seq": self._seq, **message})

    async def _reject(self, error: ProtocolError) -> None:
        with contextlib.suppress(ConnectionError):
            await self._say(
                error_message(error.code, str(error), True, retry_after=error.retry_after, position=error.position)
            )
        await self._ws.close(code=WSCloseCode.TRY_AGAIN_LATER if error.retry_after else WSCloseCode.POLICY_VIOLATION)
