"""The process in front of those that hold rooms: pages, the list of rooms, and the way to the right one of them.

    GET /v1/rooms, POST /v1/rooms, pages ──► here
    /v1/rooms/{room}…, utterances        ──► the worker that has the room
    /v1/conversation…, /v1/realtime/…    ──► the first worker: the voice to talk with is loaded once
    what is the same everywhere          ──► any worker
    /v1/stats, /metrics, /readyz         ──► all of them, added up

Media do not come this way: each worker has its own UDP ports.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

import aiohttp
from aiohttp import web

from signaling.http import MAX_BODY, Problem, limit, middleware, room_not_found
from signaling.limits import HTTP_BURST, Limiter
from signaling.lobby_api import LobbyApi
from signaling.metrics import relay_metrics_text
from signaling.placement import NoPlace
from signaling.process_placer import ProcessPlacer
from signaling.proxy import forward, forward_websocket, is_websocket
from signaling.settings import Settings
from signaling.totals import total, total_metrics
from signaling.worker_process import WorkerProcess

ASK_PATIENCE = aiohttp.ClientTimeout(total=3)
"""Seconds for which a worker may think about its own counters."""
TRIES = 3
"""A worker may die between being found and being asked."""

Find = Callable[[], Awaitable[WorkerProcess]]


class Front:
    """Handlers; `routes` is the table."""

    def __init__(
        self, placer: ProcessPlacer, settings: Settings, limiter: Limiter, relays: Mapping[str, int] | None = None
    ) -> None:
        """`relays`: what is counted here of a TURN server."""
        self._placer = placer
        self._limiter = limiter
        self._relays = {} if relays is None else relays
        self._max_message = 4 * settings.max_message
        self._counted: dict[WorkerProcess, str] = {}  # what each worker told last in /metrics
        self._past = ""  # what those counted that are gone

    def routes(self) -> list[web.AbstractRouteDef]:
        """Every address that is not the lobby's."""
        return [
            web.route("*", "/v1/rooms/{room}", self.room),
            web.route("*", "/v1/rooms/{room}/{rest:.*}", self.room),
            web.get("/v1/utterances/{id}/audio", self.utterance),
            web.route("*", "/v1/conversation{rest:.*}", self.conversation),
            web.route("*", "/v1/realtime/{rest:.*}", self.conversation),
            web.get("/v1/engine", self.anywhere),
            web.get("/v1/languages", self.anywhere),
            web.get("/v1/ice-servers", self.anywhere),
            web.get("/v1/stats", self.stats),
            web.get("/metrics", self.metrics),
            web.get("/readyz", self.readyz),
        ]

    async def room(self, request: web.Request) -> web.StreamResponse:
        room_id = request.match_info["room"]
        return await self._forward(request, lambda: self._placer.worker_of(room_id))

    async def utterance(self, request: web.Request) -> web.StreamResponse:
        limit(self._limiter, request)  # here too: all transcripts are looked through
        room_id = self._placer.room_of(request.match_info["id"])
        if room_id is None:
            raise Problem(404, "utterance_not_found", "That was never said, or it is forgotten.")
        return await self._forward(request, lambda: self._placer.worker_of(room_id))

    async def conversation(self, request: web.Request) -> web.StreamResponse:
        return await self._forward(request, lambda: self._placer.any_worker(first=True))

    async def anywhere(self, request: web.Request) -> web.StreamResponse:
        return await self._forward(request, self._placer.any_worker)

    async def _forward(self, request: web.Request, find: Find) -> web.StreamResponse:
        for _ in range(TRIES):
            try:
                worker = await find()
                if worker.http is None:
                    continue
                if is_websocket(request):
                    return await forward_websocket(request, worker.http, self._max_message)
                return await forward(request, worker.http)
            except KeyError:
                raise room_not_found() from None
            except NoPlace as nowhere:
                raise Problem(503, "no_worker", str(nowhere), nowhere.retry_after) from None
            except TimeoutError:
                raise Problem(504, "no_answer", "That takes too long.", retry_after=5) from None
            except aiohttp.ClientConnectionError as error:
                if request.method == "POST" and not isinstance(error, aiohttp.ClientConnectorError):
                    break  # RFC 9110 section 9.2.2: it may have been done; and its body has been read
                with contextlib.suppress(TimeoutError):  # it dies: that is known in a moment
                    async with asyncio.timeout(1):
                        await worker.empty.wait()
        raise Problem(503, "no_worker", "The room is on its way to another process.", retry_after=1)

    # operations

    async def stats(self, request: web.Request) -> web.Response:
        answers = await self._ask("/v1/stats")
        workers = [
            {
                "pid": worker.pid,
                "state": answer["engine"]["state"],
                "rooms": answer["rooms"],
                "participants": answer["participants"],
            }
            for worker, answer in answers
        ]
        here = {"ice": self._relays}
        return web.json_response({**total([*(answer for _, answer in answers), here]), "workers": workers})

    async def metrics(self, request: web.Request) -> web.Response:
        answers = {worker: text for worker, text in await self._ask("/metrics", text=True) if not worker.empty.is_set()}
        self._counted |= answers
        for worker in [worker for worker in self._counted if worker.empty.is_set()]:
            self._past = total_metrics((), (self._past, self._counted.pop(worker))).decode()
        texts = [*answers.values(), relay_metrics_text(self._relays).decode()]
        silent = [text for worker, text in self._counted.items() if worker not in answers]
        return web.Response(
            body=total_metrics(texts, (self._past, *silent)),
            headers={"Content-Type": "text/plain; version=0.0.4"},
        )

    async def readyz(self, request: web.Request) -> web.Response:
        """200 as long as one worker is ready."""
        answers = [answer for _, answer in await self._ask("/readyz")]
        nobody: dict[str, Any] = {"state": "draining" if self._placer.stopping else "warming"}
        state = total([answer for answer in answers if answer["state"] == "ready"] or answers or [nobody])
        return web.json_response(state, status=200 if state["state"] == "ready" else 503)

    async def _ask(self, path: str, text: bool = False) -> list[tuple[WorkerProcess, Any]]:
        """Every worker that answers, with its answer."""

        async def ask(worker: WorkerProcess) -> tuple[WorkerProcess, Any] | None:
            assert worker.http is not None, "it listens"
            try:
                async with worker.http.get(f"http://worker{path}", timeout=ASK_PATIENCE) as answer:
                    return worker, await (answer.text() if text else answer.json())
            except (aiohttp.ClientError, TimeoutError):
                return None

        return [found for found in await asyncio.gather(*map(ask, self._placer)) if found is not None]


PLACER = web.AppKey("placer", ProcessPlacer)


def create_front(settings: Settings, relays: Mapping[str, int] | None = None) -> web.Application:
    """An application that holds no room, and the workers that do. It serves at once, while they still start. `relays`:
    see `Front`."""
    app = web.Application(middlewares=[middleware(settings.allow_origins)], client_max_size=MAX_BODY)
    placer = app[PLACER] = ProcessPlacer(settings)
    limiter = Limiter(settings.http_rate, HTTP_BURST)
    app.add_routes(LobbyApi(placer, limiter, lambda: placer.stopping).routes())
    app.add_routes(Front(placer, settings, limiter, relays).routes())
    app.cleanup_ctx.append(_keep_workers)
    app.on_shutdown.append(_stop_workers)
    return app


async def _keep_workers(app: web.Application) -> AsyncIterator[None]:
    placer = app[PLACER]
    running = asyncio.create_task(placer.run())  # the root of all tasks: set-up and clean-up may run in different ones
    yield
    await placer.stop()
    await running


async def _stop_workers(app: web.Application) -> None:
    """Before the sockets are closed, so that what the workers say to everybody still passes."""
    await app[PLACER].stop()
