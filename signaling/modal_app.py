"""Dragoman on Modal: `modal deploy -m signaling.modal_app`. The one file that imports modal, and only shells.

Lobby        pages, rooms, placement; public, no engine
RoomServer   one sticky session for each room; WebRTC ends here
Translator   one call for each segment, with all its languages; on a GPU
MoshiServer  one sticky session for each conversation; WebRTC ends beside the model
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import modal
import modal.exception
import modal.experimental
from aiohttp import web

from signaling.__main__ import parser, settings_of
from signaling.modal_placer import CloudError, Crowded, ModalPlacer, Probe
from signaling.modal_settings import ModalSettings, carried, check
from signaling.settings import Settings

log = logging.getLogger(__name__)

cloud = ModalSettings.read()
app = modal.App(cloud.app)

ROOT = Path(__file__).parent.parent
UV = "0.9.5"
WEIGHTS = "/weights"
STORE_PATIENCE = 8.0
"""Seconds for one question to Modal's control plane, its client's own retries included."""
CALL_TIMEOUT = 300
"""Seconds that a call to the translator may run: more than any segment takes."""


# what containers are made of


def _image(*extras: str) -> modal.Image:
    """Ours, with those extras. uv reads pyproject.toml itself: only so do its overrides hold."""
    image = modal.Image.debian_slim(python_version="3.12")
    if modal.is_local():  # in a container the image is there already, and pyproject.toml is not
        options = " ".join(f"--extra {extra}" for extra in extras)
        wanted = [str(ROOT / "pyproject.toml")]
        image = image.uv_pip_install(requirements=wanted, extra_options=options, uv_version=UV)
        image = image.uv_pip_install("silero-vad>=6,<7", extra_options="--no-deps", uv_version=UV)
    image = image.env({"HF_HOME": WEIGHTS, **carried()})
    return image.add_local_python_source("rtc", "models", "signaling", "static", ignore=[])


room_image = _image()
translator_image = _image("seamless")
moshi_image = _image("seamless", "moshi")
weights = modal.Volume.from_name(f"{cloud.app}-weights", create_if_missing=True)
secrets = [modal.Secret.from_name(cloud.secret)]
region = cloud.region or None


def _settings(**changes: Any) -> Settings:
    """As `dragoman serve` reads them from the environment."""
    return replace(settings_of(parser().parse_args(["serve"])), host="0.0.0.0", port=cloud.port, **changes)


check(_settings(), deploying=modal.is_local())


# Modal's objects as the rest of us sees them


@contextlib.asynccontextmanager
async def _cloud_errors(patience: float | None = STORE_PATIENCE) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(patience):
            yield
    except CloudError:
        raise
    except Exception as error:  # modal's client lets through what its connection raises: grpclib's errors, h2's, others
        log.warning("modal: %r", error)
        raise CloudError("The servers cannot be reached at this moment. We go on trying.") from error


class _Store:
    """`modal_placer.Store`."""

    def __init__(self, name: str) -> None:
        self._dict = modal.Dict.from_name(f"{cloud.app}-{name}", create_if_missing=True)

    async def get(self, key: str) -> Any:
        async with _cloud_errors():
            return await self._dict.get.aio(key)

    async def put(self, key: str, value: Any, skip_if_exists: bool = False) -> bool:
        async with _cloud_errors():
            return await self._dict.put.aio(key, value, skip_if_exists=skip_if_exists)

    async def pop(self, key: str) -> Any:
        async with _cloud_errors():
            return await self._dict.pop.aio(key, None)

    async def items(self) -> Sequence[tuple[Any, Any]]:
        async with _cloud_errors():
            return [item async for item in self._dict.items.aio()]


class _Lines:
    """`modal_records.Lines`."""

    def __init__(self, name: str) -> None:
        self._queue = modal.Queue.from_name(f"{cloud.app}-{name}", create_if_missing=True)

    async def put(self, partition: str, items: Sequence[Any]) -> None:
        async with _cloud_errors():
            await self._queue.put_many.aio(list(items), partition=partition)

    async def read(self, partition: str) -> Sequence[Any]:
        async with _cloud_errors():
            return [item async for item in self._queue.iterate.aio(partition=partition)]

    async def drop(self, partition: str, count: int) -> None:
        async with _cloud_errors():
            await self._queue.get_many.aio(count, block=False, partition=partition)

    async def clear(self, partition: str) -> None:
        async with _cloud_errors():
            await self._queue.clear.aio(partition=partition)


class _Sessions:
    """`modal_placer.Sessions`."""

    def __init__(self, server: str) -> None:
        self._server = modal.Server.from_name(cloud.app, server)
        self._url = ""

    async def url(self) -> str:
        if not self._url:
            async with _cloud_errors():
                self._url = (await self._server.get_url.aio() or "").rstrip("/")
        return self._url

    async def start(self, idle_timeout: int) -> tuple[str, str]:
        async with _cloud_errors(None):
            try:
                session = await self._server.sessions.start.aio(idle_timeout=idle_timeout)
            except modal.exception.ExecutionError as error:
                if "status 429" in str(error):  # the client tells it in words only
                    raise Crowded("Every server is full at this moment.") from error
                raise
        return session.session_id, session.token

    async def terminate(self, token: str) -> None:
        async with _cloud_errors():
            await self._server.sessions.terminate.aio(token)

    async def probe(self, token: str) -> Probe:
        headers = {"Modal-Authorization": f"Bearer {token}"}
        with contextlib.suppress(aiohttp.ClientError, TimeoutError):
            limit = aiohttp.ClientTimeout(3)
            async with aiohttp.request("GET", f"{await self.url()}/healthz", headers=headers, timeout=limit) as answer:
                if answer.status in (401, 403, 404, 410):
                    return "gone"
                return "alive" if answer.ok else "unclear"
        return "unclear"


class _Calls:
    """`remote_translator.Calls`."""

    def describe(self) -> Mapping[str, Any]:
        described: Mapping[str, Any] = Translator().describe.remote()
        return described

    def interpret(self, request: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
        yield from Translator().interpret.remote_gen(request)

    def render(self, request: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
        yield from Translator().render.remote_gen(request)


def _placer(settings: Settings) -> ModalPlacer:
    return ModalPlacer(
        _Store("rooms"),
        _Store("people"),
        _Sessions("RoomServer"),
        settings.max_rooms,
        settings.room_capacity,
        settings.room_ttl,
        _Lines("words").clear,
    )


async def _url_of(server: str) -> str:
    """Raises CloudError."""
    return await _Sessions(server).url()


class _Site:
    """An application while its container lives."""

    def __init__(self, application: web.Application) -> None:
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=5)

    async def open(self) -> None:
        _log()
        await self._runner.setup()
        await web.TCPSite(self._runner, "0.0.0.0", cloud.port).start()

    async def close(self) -> None:
        await self._runner.cleanup()


def _log() -> None:
    logging.basicConfig(level=logging.INFO, format="%(levelname).1s %(name)s: %(message)s")
    logging.getLogger("aioice").setLevel(logging.WARNING)


# containers


@app.server(
    image=room_image,
    secrets=secrets,
    port=cloud.port,
    unauthenticated=True,
    min_containers=cloud.lobby_min,
    scaledown_window=cloud.lobby_window,
    compute_region=region,
    routing_region=cloud.routing_region,
)
class Lobby:
    """Where everybody comes first."""

    @modal.enter()
    async def start(self) -> None:
        from signaling.modal_lobby import ModalLobby, SeatLine, create_lobby

        origins = (await _url_of("RoomServer"), await _url_of("MoshiServer"))
        settings = _settings()
        settings = replace(settings, allow_origins=(*settings.allow_origins, *origins))
        placer, facts = _placer(settings), _Store("facts")
        line = None if settings.dialogue == "none" else SeatLine(_Sessions("MoshiServer"), _Store("seats"))
        self.site = _Site(create_lobby(ModalLobby(placer, line, lambda: facts.get("engine")), placer, settings))
        await self.site.open()

    @modal.exit()
    async def stop(self) -> None:
        await self.site.close()


@app.server(
    image=room_image,
    secrets=secrets,
    port=cloud.port,
    cpu=cloud.room_cpu,
    memory=cloud.room_memory,
    target_concurrency=cloud.rooms_per_container,
    max_concurrency=cloud.rooms_per_container,
    min_containers=cloud.room_min,
    buffer_containers=cloud.room_buffer or None,
    max_containers=cloud.room_max or None,
    scaledown_window=cloud.room_window,
    exit_grace_period=cloud.room_grace,
    startup_timeout=60,
    compute_region=region,
    routing_region=cloud.routing_region,
)
@modal.sessioned()
class RoomServer:
    """Holds rooms; their people stay with it for the whole call."""

    @modal.enter()
    async def start(self) -> None:
        from rtc.stats import Stats
        from signaling.engines import remote_engine
        from signaling.modal_host import RoomHost
        from signaling.modal_records import ModalRecords
        from signaling.server import HOUSE, create_app

        lobby = await _url_of("Lobby")
        settings = _settings(public_url=lobby, max_rooms=cloud.rooms_per_container)
        settings = replace(settings, allow_origins=(*settings.allow_origins, await _url_of("RoomServer")))
        stats = Stats()
        records = ModalRecords(_Lines("words"), _Store("people"), stats)
        facts = _Store("facts")
        engine = remote_engine(_Calls(), await facts.get("engine"))
        application = create_app(engine, settings, records=records, stats=stats)
        RoomHost(application[HOUSE], _placer(settings), records, facts, lobby).install(application)
        self.site = _Site(application)
        await self.site.open()

    @modal.exit()
    async def stop(self) -> None:
        await self.site.close()


@app.cls(
    image=translator_image,
    secrets=secrets,
    gpu=cloud.translator_gpu or None,
    volumes={WEIGHTS: weights},
    min_containers=cloud.translator_min,
    buffer_containers=cloud.translator_buffer or None,
    max_containers=cloud.translator_max,
    scaledown_window=cloud.translator_window,
    timeout=CALL_TIMEOUT,
    startup_timeout=1200,
    region=region,
    enable_memory_snapshot=True,
)
@modal.concurrent(max_inputs=cloud.translator_inputs)
class Translator:
    """Understands, translates and speaks, for all rooms."""

    @modal.enter(snap=True)
    def prepare(self) -> None:
        """What the snapshot holds: the libraries, which take as long to import as the weights to read."""
        from signaling.engines import build_engine

        _log()
        self.translator = build_engine(_settings()).translator

    @modal.enter()
    def load(self) -> None:
        from signaling.remote_translator import TranslatorService

        self.translator.load(lambda done, doing: log.info("%3.0f %% %s", 100 * done, doing))
        self.service = TranslatorService(self.translator, modal.experimental.stop_fetching_inputs)

    @modal.method()
    def describe(self) -> dict[str, Any]:
        return self.service.describe()

    @modal.method()
    def interpret(self, request: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
        yield from self.service.interpret(request)

    @modal.method()
    def render(self, request: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
        yield from self.service.render(request)

    @modal.exit()
    def close(self) -> None:
        self.translator.close()


@app.server(
    image=moshi_image,
    secrets=secrets,
    port=cloud.port,
    gpu=cloud.moshi_gpu or None,
    volumes={WEIGHTS: weights},
    target_concurrency=_settings().moshi_seats,
    max_concurrency=_settings().moshi_seats,
    min_containers=cloud.moshi_min,
    buffer_containers=cloud.moshi_buffer or None,
    max_containers=cloud.moshi_max,
    scaledown_window=cloud.moshi_window,
    exit_grace_period=cloud.moshi_grace,
    startup_timeout=1200,
    compute_region=region,
    routing_region=cloud.routing_region,
)
@modal.sessioned()
class MoshiServer:
    """Talks, with as many people at once as it has seats."""

    @modal.enter()
    async def start(self) -> None:
        from signaling.engines import build_dialogue, build_engine
        from signaling.modal_host import TalkHost
        from signaling.server import create_app, freeze_when_settled

        lobby = await _url_of("Lobby")
        settings = _settings(public_url=lobby, translator="echo")
        settings = replace(settings, allow_origins=(*settings.allow_origins, await _url_of("MoshiServer")))
        application = create_app(build_engine(settings), settings, build_dialogue(settings))
        freeze_when_settled(application)
        TalkHost(_Sessions("MoshiServer"), _Store("seats"), lobby).install(application)
        self.site = _Site(application)
        await self.site.open()

    @modal.exit()
    async def stop(self) -> None:
        await self.site.close()


@app.function(image=moshi_image, secrets=secrets, volumes={WEIGHTS: weights}, timeout=4 * 3600)
def prefetch(engine: str = "seamless", model: str = "") -> None:
    """`modal run -m signaling.modal_app::prefetch`: weights onto the Volume, once. `engine`: seamless or moshi."""
    from signaling.engines import CHECKPOINTS, fetch_weights

    _log()
    fetch_weights(engine, model or CHECKPOINTS[engine].repository, log.info)
    weights.commit()
