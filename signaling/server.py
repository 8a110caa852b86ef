"""The aiohttp application."""

import asyncio
import gc
import logging
from collections.abc import AsyncIterator

from aiohttp import web

from rtc.dialogue_thread import DialogueThread
from rtc.engine_thread import Engine
from rtc.stats import Stats
from rtc.streaming_translation import StreamingTranslator
from signaling.api import Api
from signaling.house import House
from signaling.http import MAX_BODY, middleware
from signaling.limits import HTTP_BURST, Limiter
from signaling.lobby_api import LobbyApi
from signaling.placement import LocalPlacer, Records
from signaling.realtime import Realtime
from signaling.settings import Settings

log = logging.getLogger(__name__)

HOUSE = web.AppKey("house", House)


def create_app(
    engine: Engine,
    settings: Settings,
    dialogue: DialogueThread | None = None,
    streaming: StreamingTranslator | None = None,
    records: Records | None = None,
    stats: Stats | None = None,
) -> web.Application:
    """An application that holds one house. It serves at once, while the engines still warm up. `records`: where the
    rooms are written down, if they are to outlive the process. `stats`: where to count, if somebody else does too."""
    app = web.Application(
        middlewares=[middleware(settings.allow_origins, settings.public_url)], client_max_size=MAX_BODY
    )
    house = app[HOUSE] = House(engine, settings, dialogue, streaming, records, stats)
    limiter = Limiter(settings.http_rate, HTTP_BURST)
    placer = LocalPlacer(house.lobby, lambda: asyncio.get_running_loop().time())
    app.add_routes(LobbyApi(placer, limiter, lambda: house.draining).routes())
    app.add_routes([*Api(house, limiter).routes(), *Realtime(house, limiter).routes()])
    app.cleanup_ctx.append(_keep_house)
    app.on_shutdown.append(_drain)
    return app


def freeze_when_settled(app: web.Application) -> None:
    """Have garbage collection look no more at what is there once everything is loaded. With PyTorch that is 400,000
    objects, and each full collection would hold up the event loop for 0.2 s. For a process that does nothing else."""

    async def freeze() -> None:
        await app[HOUSE].settled()
        gc.collect()
        gc.freeze()

    async def keep(app: web.Application) -> AsyncIterator[None]:
        freezing = asyncio.create_task(freeze())  # ended below
        yield
        freezing.cancel()
        await asyncio.gather(freezing, return_exceptions=True)

    app.cleanup_ctx.append(keep)


async def _keep_house(app: web.Application) -> AsyncIterator[None]:
    house = app[HOUSE]
    running = asyncio.create_task(house.run())  # the root of all tasks: set-up and clean-up may run in different ones
    await house.opened()
    yield
    house.close()
    await running


async def _drain(app: web.Application) -> None:
    """Before the sockets are closed: tell everybody, then end their sessions."""
    app[HOUSE].drain()
    app[HOUSE].close()
