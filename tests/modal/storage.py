"""Dicts, Queues, Volumes and Secrets of the control plane."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from google.protobuf.empty_pb2 import Empty
from grpclib import GRPCError, Status
from modal._serialization import deserialize, serialize
from modal_proto import api_pb2

from tests.modal.service import Service

MAX_ITEM = 1 << 20
"""Bytes of a queue's item."""


@dataclass
class Partition:
    """Of a queue: items with numbers, so that a reader who takes nothing knows where it was."""

    items: dict[int, bytes] = field(default_factory=dict)
    last: int = 0


class Storage(Service):
    """What outlives a container, by name."""

    def __init__(self) -> None:
        super().__init__()
        self.dicts: dict[str, dict[bytes, bytes]] = {}
        self.queues: dict[str, defaultdict[str, Partition]] = {}
        self.secrets: set[str] = set()
        """Names of those that an account has."""
        self._put = asyncio.Condition()

    # for tests

    def entries(self, name: str) -> dict[object, object]:
        """What is in a Dict."""
        return {deserialize(k, None): deserialize(v, None) for k, v in self.dicts.get(name, {}).items()}

    def plant(self, name: str, key: object, value: object) -> None:
        """Put something into a Dict, as another program would."""
        self.dicts.setdefault(name, {})[serialize(key)] = serialize(value)

    def queued(self, name: str, partition: str) -> list[object]:
        """What is in a partition of a Queue."""
        found = self.queues.get(name, {}).get(partition, Partition())
        return [deserialize(value, None) for value in found.items.values()]

    # Dict

    async def DictGetOrCreate(self, request: api_pb2.DictGetOrCreateRequest) -> api_pb2.DictGetOrCreateResponse:
        name = request.deployment_name
        self.dicts.setdefault(name, {})
        return api_pb2.DictGetOrCreateResponse(dict_id=f"di-{name}", metadata=api_pb2.DictMetadata(name=name))

    def _dict(self, dict_id: str) -> dict[bytes, bytes]:
        return self.dicts[dict_id.removeprefix("di-")]

    async def DictUpdate(self, request: api_pb2.DictUpdateRequest) -> api_pb2.DictUpdateResponse:
        entries = self._dict(request.dict_id)
        if request.if_not_exists and request.updates[0].key in entries:
            return api_pb2.DictUpdateResponse(created=False)
        entries.update({update.key: update.value for update in request.updates})
        return api_pb2.DictUpdateResponse(created=True)

    async def DictGet(self, request: api_pb2.DictGetRequest) -> api_pb2.DictGetResponse:
        value = self._dict(request.dict_id).get(request.key)
        return api_pb2.DictGetResponse(found=value is not None, value=value)

    async def DictPop(self, request: api_pb2.DictPopRequest) -> api_pb2.DictPopResponse:
        value = self._dict(request.dict_id).pop(request.key, None)
        return api_pb2.DictPopResponse(found=value is not None, value=value)

    async def DictContains(self, request: api_pb2.DictContainsRequest) -> api_pb2.DictContainsResponse:
        return api_pb2.DictContainsResponse(found=request.key in self._dict(request.dict_id))

    async def DictLen(self, request: api_pb2.DictLenRequest) -> api_pb2.DictLenResponse:
        return api_pb2.DictLenResponse(len=len(self._dict(request.dict_id)))

    async def DictContents(self, request: api_pb2.DictContentsRequest) -> AsyncIterator[api_pb2.DictEntry]:
        for key, value in list(self._dict(request.dict_id).items()):
            yield api_pb2.DictEntry(
                key=key if request.keys else b"",
                value=value if request.values else b"",
            )

    # Queue

    async def QueueGetOrCreate(self, request: api_pb2.QueueGetOrCreateRequest) -> api_pb2.QueueGetOrCreateResponse:
        name = request.deployment_name
        self.queues.setdefault(name, defaultdict(Partition))
        return api_pb2.QueueGetOrCreateResponse(queue_id=f"qu-{name}", metadata=api_pb2.QueueMetadata(name=name))

    def _partition(self, queue_id: str, key: bytes) -> Partition:
        return self.queues[queue_id.removeprefix("qu-")][key.decode()]

    async def QueuePut(self, request: api_pb2.QueuePutRequest) -> Empty:
        if any(len(value) > MAX_ITEM for value in request.values):
            raise GRPCError(Status.INVALID_ARGUMENT, "an item is larger than 1 MiB")
        partition = self._partition(request.queue_id, request.partition_key)
        async with self._put:
            for value in request.values:
                partition.last += 1
                partition.items[partition.last] = value
            self._put.notify_all()
        return Empty()

    async def QueueGet(self, request: api_pb2.QueueGetRequest) -> api_pb2.QueueGetResponse:
        partition = self._partition(request.queue_id, request.partition_key)
        await self._wait(lambda: bool(partition.items), request.timeout)
        taken = [partition.items.pop(number) for number in list(partition.items)[: max(1, request.n_values)]]
        return api_pb2.QueueGetResponse(values=taken)

    async def QueueNextItems(self, request: api_pb2.QueueNextItemsRequest) -> api_pb2.QueueNextItemsResponse:
        partition = self._partition(request.queue_id, request.partition_key)
        after = int(request.last_entry_id or 0)
        await self._wait(lambda: partition.last > after and bool(partition.items), request.item_poll_timeout)
        return api_pb2.QueueNextItemsResponse(
            items=[
                api_pb2.QueueItem(value=value, entry_id=str(number))
                for number, value in partition.items.items()
                if number > after
            ]
        )

    async def QueueLen(self, request: api_pb2.QueueLenRequest) -> api_pb2.QueueLenResponse:
        return api_pb2.QueueLenResponse(len=len(self._partition(request.queue_id, request.partition_key).items))

    async def QueueClear(self, request: api_pb2.QueueClearRequest) -> Empty:
        self._partition(request.queue_id, request.partition_key).items.clear()
        return Empty()

    async def _wait(self, condition, timeout: float) -> None:  # type: ignore[no-untyped-def]  # as asyncio.Condition has it
        try:
            async with asyncio.timeout(timeout), self._put:
                await self._put.wait_for(condition)
        except TimeoutError:
            return

    # Volume and Secret

    async def VolumeGetOrCreate(self, request: api_pb2.VolumeGetOrCreateRequest) -> api_pb2.VolumeGetOrCreateResponse:
        name = request.deployment_name
        return api_pb2.VolumeGetOrCreateResponse(volume_id=f"vo-{name}", metadata=api_pb2.VolumeMetadata(name=name))

    async def VolumeCommit(self, request: api_pb2.VolumeCommitRequest) -> api_pb2.VolumeCommitResponse:
        return api_pb2.VolumeCommitResponse()

    async def VolumeReload(self, request: api_pb2.VolumeReloadRequest) -> Empty:
        return Empty()

    async def SecretGetOrCreate(self, request: api_pb2.SecretGetOrCreateRequest) -> api_pb2.SecretGetOrCreateResponse:
        name = request.deployment_name
        if request.object_creation_type == api_pb2.OBJECT_CREATION_TYPE_UNSPECIFIED and name not in self.secrets:
            raise GRPCError(Status.NOT_FOUND, f"Secret '{name}' not found")
        return api_pb2.SecretGetOrCreateResponse(secret_id=f"st-{name}", metadata=api_pb2.SecretMetadata(name=name))
