"""What `modal deploy` asks of the control plane: an app, its images, functions, classes and servers."""

import time
from collections import Counter

from google.protobuf.empty_pb2 import Empty
from grpclib import GRPCError, Status
from modal_proto import api_pb2

from tests.modal.storage import Storage

BUILDER = "2025.06"
TOKEN = "e30.eyJleHAiOjk5OTk5OTk5OTl9.x"  # a JSON web token that expires late; nobody checks it
"""What authorises this client, for whoever asks."""

FORMATS = [api_pb2.DATA_FORMAT_PICKLE, api_pb2.DATA_FORMAT_CBOR]


class Deploys(Storage):
    """One account, one environment."""

    def __init__(self) -> None:
        super().__init__()
        self.apps: dict[str, str] = {}
        """Id, by the name under which it is deployed."""
        self.layouts: dict[str, api_pb2.AppLayout] = {}
        """By app id."""
        self.functions: dict[str, api_pb2.Function] = {}
        """By id."""
        self.data: dict[str, api_pb2.FunctionData] = {}
        """By function id."""
        self.tags: dict[tuple[str, str], str] = {}
        """Function's or class's id, by the app's name and its own."""
        self.images: list[api_pb2.Image] = []
        self.server_urls: dict[str, str] = {}
        """Where a server is reached, by its name."""
        self._numbers: Counter[str] = Counter()

    def new_id(self, prefix: str) -> str:
        self._numbers[prefix] += 1
        return f"{prefix}-{self._numbers[prefix]:04d}"

    def function(self, name: str) -> str:
        """Id of the deployed function, class service or server of that name."""
        found = (i for (_, tag), i in self.tags.items() if tag in (name, f"{name}.*") and i in self.functions)
        return next(found)

    # the client

    async def ClientHello(self, request: Empty) -> api_pb2.ClientHelloResponse:
        return api_pb2.ClientHelloResponse()

    async def AuthTokenGet(self, request: api_pb2.AuthTokenGetRequest) -> api_pb2.AuthTokenGetResponse:
        return api_pb2.AuthTokenGetResponse(token=TOKEN)

    async def EnvironmentGetOrCreate(
        self, request: api_pb2.EnvironmentGetOrCreateRequest
    ) -> api_pb2.EnvironmentGetOrCreateResponse:
        settings = api_pb2.EnvironmentSettings(image_builder_version=BUILDER)
        metadata = api_pb2.EnvironmentMetadata(name=request.deployment_name or "main", settings=settings)
        return api_pb2.EnvironmentGetOrCreateResponse(environment_id="en-main", metadata=metadata)

    # the app

    async def AppGetByDeploymentName(
        self, request: api_pb2.AppGetByDeploymentNameRequest
    ) -> api_pb2.AppGetByDeploymentNameResponse:
        app_id = self.apps.get(request.name, "")
        state = api_pb2.AppLifecycle(app_state=api_pb2.APP_STATE_DEPLOYED) if app_id else None
        return api_pb2.AppGetByDeploymentNameResponse(app_id=app_id, environment_name="main", lifecycle=state)

    async def AppCreate(self, request: api_pb2.AppCreateRequest) -> api_pb2.AppCreateResponse:
        return api_pb2.AppCreateResponse(app_id=self.new_id("ap"), app_page_url="http://localhost/app")

    async def AppGetLayout(self, request: api_pb2.AppGetLayoutRequest) -> api_pb2.AppGetLayoutResponse:
        return api_pb2.AppGetLayoutResponse(app_layout=self.layouts.get(request.app_id))

    async def AppHeartbeat(self, request: api_pb2.AppHeartbeatRequest) -> Empty:
        return Empty()

    async def AppClientDisconnect(self, request: api_pb2.AppClientDisconnectRequest) -> Empty:
        return Empty()

    async def AppPublish(self, request: api_pb2.AppPublishRequest) -> api_pb2.AppPublishResponse:
        self.apps[request.name] = request.app_id
        for tag, object_id in (*request.function_ids.items(), *request.class_ids.items()):
            self.tags[request.name, tag] = object_id
        objects = [
            api_pb2.Object(object_id=i, function_handle_metadata=self.handle(i)) for i in request.function_ids.values()
        ]
        objects += [
            api_pb2.Object(object_id=i, class_handle_metadata=api_pb2.ClassHandleMetadata())
            for i in request.class_ids.values()
        ]
        needed = {d.object_id for i in request.function_ids.values() for d in self.functions[i].object_dependencies}
        objects += [api_pb2.Object(object_id=i) for i in sorted(needed - {one.object_id for one in objects})]
        self.layouts[request.app_id] = api_pb2.AppLayout(
            objects=objects, function_ids=request.function_ids, class_ids=request.class_ids
        )
        return api_pb2.AppPublishResponse(url="http://localhost/app", deployed_at=time.time())

    # what it is made of

    async def MountGetOrCreate(self, request: api_pb2.MountGetOrCreateRequest) -> api_pb2.MountGetOrCreateResponse:
        metadata = api_pb2.MountHandleMetadata(content_checksum_sha256_hex="00")
        return api_pb2.MountGetOrCreateResponse(mount_id=self.new_id("mo"), handle_metadata=metadata)

    async def MountBatchedCheckExistence(
        self, request: api_pb2.MountBatchedCheckExistenceRequest
    ) -> api_pb2.MountBatchedCheckExistenceResponse:
        return api_pb2.MountBatchedCheckExistenceResponse()

    async def MountPutFile(self, request: api_pb2.MountPutFileRequest) -> api_pb2.MountPutFileResponse:
        return api_pb2.MountPutFileResponse(exists=True)

    async def ImageGetOrCreate(self, request: api_pb2.ImageGetOrCreateRequest) -> api_pb2.ImageGetOrCreateResponse:
        if request.image not in self.images:
            self.images.append(request.image)
        metadata = api_pb2.ImageMetadata(image_builder_version=request.builder_version)
        return api_pb2.ImageGetOrCreateResponse(
            image_id=f"im-{self.images.index(request.image):04d}", metadata=metadata
        )

    async def ImageJoinStreaming(self, request: api_pb2.ImageJoinStreamingRequest):  # type: ignore[no-untyped-def]
        """Built already: nothing is built here."""
        yield api_pb2.ImageJoinStreamingResponse(
            result=api_pb2.GenericResult(status=api_pb2.GenericResult.GENERIC_STATUS_SUCCESS),
            metadata=api_pb2.ImageMetadata(image_builder_version=BUILDER),
        )

    async def FunctionPrecreate(self, request: api_pb2.FunctionPrecreateRequest) -> api_pb2.FunctionPrecreateResponse:
        function_id = request.existing_function_id or self.new_id("fu")
        self.functions[function_id] = api_pb2.Function(
            function_name=request.function_name,
            function_type=request.function_type,
            method_definitions=request.method_definitions,
        )
        return api_pb2.FunctionPrecreateResponse(function_id=function_id, handle_metadata=self.handle(function_id))

    async def FunctionCreate(self, request: api_pb2.FunctionCreateRequest) -> api_pb2.FunctionCreateResponse:
        function_id = request.existing_function_id or self.new_id("fu")
        ranked = request.function_data.ranked_functions
        function = api_pb2.Function()
        function.CopyFrom(ranked[0].function if ranked else request.function)
        self.functions[function_id] = function
        data = api_pb2.FunctionData()
        data.CopyFrom(request.function_data)
        if not ranked:
            data.ranked_functions.add(rank=0, function=function)
        self.data[function_id] = data
        return api_pb2.FunctionCreateResponse(
            function_id=function_id, handle_metadata=self.handle(function_id), function_data=data
        )

    async def ClassCreate(self, request: api_pb2.ClassCreateRequest) -> api_pb2.ClassCreateResponse:
        metadata = api_pb2.ClassHandleMetadata()
        return api_pb2.ClassCreateResponse(class_id=self.new_id("cs"), handle_metadata=metadata)

    # what others find

    async def FunctionGet(self, request: api_pb2.FunctionGetRequest) -> api_pb2.FunctionGetResponse:
        function_id = self._find(request.app_name, request.object_tag)
        return api_pb2.FunctionGetResponse(
            function_id=function_id, handle_metadata=self.handle(function_id), function=self.data[function_id]
        )

    async def ClassGet(self, request: api_pb2.ClassGetRequest) -> api_pb2.ClassGetResponse:
        class_id = self._find(request.app_name, request.object_tag)
        return api_pb2.ClassGetResponse(class_id=class_id, handle_metadata=api_pb2.ClassHandleMetadata())

    async def FunctionGetFlashAuthToken(
        self, request: api_pb2.FunctionGetFlashAuthTokenRequest
    ) -> api_pb2.FunctionGetFlashAuthTokenResponse:
        return api_pb2.FunctionGetFlashAuthTokenResponse(token=TOKEN)

    def _find(self, app: str, tag: str) -> str:
        if (app, tag) not in self.tags:
            raise GRPCError(Status.NOT_FOUND, f"'{tag}' of app '{app}' not found")
        return self.tags[app, tag]

    def handle(self, function_id: str) -> api_pb2.FunctionHandleMetadata:
        """What a client needs to know to call it."""
        function = self.functions[function_id]
        handle = api_pb2.FunctionHandleMetadata(
            function_name=function.function_name,
            function_type=function.function_type,
            function_schema=function.function_schema,
            class_parameter_info=function.class_parameter_info,
            supported_input_formats=FORMATS,
            supported_output_formats=FORMATS,
        )
        for name, method in function.method_definitions.items():
            handle.method_handle_metadata[name].CopyFrom(
                api_pb2.FunctionHandleMetadata(
                    function_name=method.function_name,
                    function_type=method.function_type,
                    function_schema=method.function_schema,
                    is_method=True,
                    use_method_name=name,
                    supported_input_formats=FORMATS,
                    supported_output_formats=FORMATS,
                )
            )
        if function.is_server:
            name = function.function_name
            handle._experimental_flash_urls.append(self.server_urls.get(name, f"http://{name}.invalid".lower()))
        return handle
