"""Calls from one container to another, and what a container tells of itself."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator

from google.protobuf.empty_pb2 import Empty
from modal_proto import api_pb2

from tests.modal.deploys import Deploys

POLL = 2.0
"""Seconds for which a container's question for work stays open."""


class Calls(Deploys):
    """The control plane, whole."""

    def __init__(self) -> None:
        super().__init__()
        self.inputs: defaultdict[str, asyncio.Queue[api_pb2.FunctionGetInputsItem]] = defaultdict(asyncio.Queue)
        """Waiting, by function id."""
        self._call_of: dict[str, str] = {}  # by input
        self._outputs: defaultdict[str, asyncio.Queue[api_pb2.FunctionGetOutputsItem]] = defaultdict(asyncio.Queue)
        self._chunks: defaultdict[str, list[api_pb2.DataChunk]] = defaultdict(list)
        self._chunk_came = asyncio.Condition()

    # of who calls

    async def FunctionMap(self, request: api_pb2.FunctionMapRequest) -> api_pb2.FunctionMapResponse:
        call = self.new_id("fc")
        accepted = [self._accept(request.function_id, call, item) for item in request.pipelined_inputs]
        return api_pb2.FunctionMapResponse(
            function_call_id=call, pipelined_inputs=accepted, function_call_jwt="jwt", max_inputs_outstanding=1000
        )

    def _accept(
        self, function_id: str, call: str, item: api_pb2.FunctionPutInputsItem
    ) -> api_pb2.FunctionPutInputsResponseItem:
        number = self.new_id("in")
        self._call_of[number] = call
        self.inputs[function_id].put_nowait(
            api_pb2.FunctionGetInputsItem(input_id=number, input=item.input, function_call_id=call)
        )
        return api_pb2.FunctionPutInputsResponseItem(idx=item.idx, input_id=number, input_jwt="jwt")

    async def FunctionGetOutputs(
        self, request: api_pb2.FunctionGetOutputsRequest
    ) -> api_pb2.FunctionGetOutputsResponse:
        try:
            async with asyncio.timeout(request.timeout or 0.01):
                output = await self._outputs[request.function_call_id].get()
        except TimeoutError:
            return api_pb2.FunctionGetOutputsResponse(num_unfinished_inputs=1)
        return api_pb2.FunctionGetOutputsResponse(outputs=[output])

    async def FunctionCallGetDataOut(
        self, request: api_pb2.FunctionCallGetDataRequest
    ) -> AsyncIterator[api_pb2.DataChunk]:
        """What a generator yields. Goes on until the caller has had enough."""
        chunks = self._chunks[request.function_call_id]
        sent = len([chunk for chunk in chunks if chunk.index <= request.last_index])
        while True:
            async with self._chunk_came:
                while len(chunks) == sent:
                    await self._chunk_came.wait()
            for chunk in chunks[sent:]:
                yield chunk
                sent += 1

    async def FunctionCallCancel(self, request: api_pb2.FunctionCallCancelRequest) -> Empty:
        return Empty()

    # of who is called

    async def FunctionGetInputs(self, request: api_pb2.FunctionGetInputsRequest) -> api_pb2.FunctionGetInputsResponse:
        try:
            async with asyncio.timeout(POLL):
                return api_pb2.FunctionGetInputsResponse(inputs=[await self.inputs[request.function_id].get()])
        except TimeoutError:
            return api_pb2.FunctionGetInputsResponse()

    async def FunctionPutOutputs(self, request: api_pb2.FunctionPutOutputsRequest) -> Empty:
        for item in request.outputs:
            self._outputs[self._call_of[item.input_id]].put_nowait(
                api_pb2.FunctionGetOutputsItem(result=item.result, input_id=item.input_id, data_format=item.data_format)
            )
        return Empty()

    async def FunctionCallPutDataOut(self, request: api_pb2.FunctionCallPutDataRequest) -> Empty:
        async with self._chunk_came:
            self._chunks[request.function_call_id] += request.data_chunks
            self._chunk_came.notify_all()
        return Empty()

    async def FunctionGetDynamicConcurrency(
        self, request: api_pb2.FunctionGetDynamicConcurrencyRequest
    ) -> api_pb2.FunctionGetDynamicConcurrencyResponse:
        return api_pb2.FunctionGetDynamicConcurrencyResponse(concurrency=8)

    # of a container

    async def ContainerHello(self, request: Empty) -> Empty:
        return Empty()

    async def ContainerHeartbeat(
        self, request: api_pb2.ContainerHeartbeatRequest
    ) -> api_pb2.ContainerHeartbeatResponse:
        return api_pb2.ContainerHeartbeatResponse()

    async def ContainerLog(self, request: api_pb2.ContainerLogRequest) -> Empty:
        return Empty()

    async def ContainerServerLifecycleReady(self, request: api_pb2.ContainerServerLifecycleReadyRequest) -> Empty:
        return Empty()

    async def TaskResult(self, request: api_pb2.TaskResultRequest) -> Empty:
        return Empty()
