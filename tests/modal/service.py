"""How an RPC of Modal's control plane reaches a method of ours. Written from the protobufs in the modal wheel."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

import grpclib.server
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from grpclib import GRPCError, Status
from grpclib.const import Cardinality, Handler
from modal_proto import api_pb2

SERVICE = api_pb2.DESCRIPTOR.services_by_name["ModalClient"]

Unary = Callable[[Any], Awaitable[Message]]
Streaming = Callable[[Any], AsyncIterator[Message]]


class Service:
    """An RPC is served by the method of its name: a coroutine that takes the request and returns the reply, or an
    asynchronous generator of replies where the protocol streams. One that has no method answers UNIMPLEMENTED."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        """RPCs that came, by name."""
        self.missing: set[str] = set()
        """RPCs that came and have no method here."""
        self.delays: dict[str, float] = {}
        """Seconds that an answer takes, by the RPC's name."""
        self.failures: dict[str, Status] = {}
        """What an RPC of that name answers instead."""
        self.cut: set[str] = set()
        """RPCs whose stream is reset before they are answered, as when a connection breaks."""

    def __mapping__(self) -> Mapping[str, Handler]:
        """As grpclib asks for it."""
        return {
            f"/{SERVICE.full_name}/{method.name}": Handler(
                self._handler(method.name, method.server_streaming),
                Cardinality.UNARY_STREAM if method.server_streaming else Cardinality.UNARY_UNARY,
                GetMessageClass(method.input_type),
                GetMessageClass(method.output_type),
            )
            for method in SERVICE.methods
        }

    def _handler(self, name: str, streaming: bool) -> Callable[[Any], Awaitable[None]]:
        method = getattr(self, name, None)

        async def handle(stream: "grpclib.server.Stream[Any, Any]") -> None:
            request = await stream.recv_message()
            self.calls[name] += 1
            if delay := self.delays.get(name):
                await asyncio.sleep(delay)
            if name in self.cut:
                await stream.cancel()
                return
            if (status := self.failures.get(name)) is not None:
                raise GRPCError(status, f"{name} fails, as the test wants")
            if method is None:
                self.missing.add(name)
                raise GRPCError(Status.UNIMPLEMENTED, f"{name} is not part of this control plane")
            if streaming:
                async for reply in method(request):
                    await stream.send_message(reply)
            else:
                await stream.send_message(await method(request))

        return handle
