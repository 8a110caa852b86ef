"""Requests on their way through the front, to a worker that fails in the midst of them."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import cast

import aiohttp
import pytest
from aiohttp import web

from signaling import proxy
from signaling.front import Front
from signaling.http import Handler, middleware
from signaling.limits import Limiter
from signaling.process_placer import ProcessPlacer
from signaling.settings import Settings
from tests.client import PATIENCE
from tests.conftest import until


class Worker:
    """As the front sees it, on a real socket: it does what its test says, and counts how often it is asked."""

    def __init__(self, path: Path) -> None:
        self.http = aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(path), limit=0))
        self.empty = asyncio.Event()
        self.bodies: list[bytes] = []
        self.looked = 0
        self.answer: Handler = self._break

    async def any_worker(self, first: bool = False) -> "Worker":
        """It is its own placer."""
        return self

    def room_of(self, utterance_id: str) -> str | None:
        self.looked += 1
        return None

    async def asked(self, request: web.Request) -> web.StreamResponse:
        self.bodies.append(await request.read())
        return await self.answer(request)

    async def _break(self, request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()


class Outside:
    """Where it is, and when it has done with a request."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.url = ""
        self.done = asyncio.Event()

    @web.middleware
    async def watch(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        finally:
            self.done.set()


@pytest.fixture
async def front(tmp_path: Path) -> AsyncIterator[Outside]:
    worker = Worker(tmp_path / "worker")
    found = Outside(worker)
    inner = web.Application()
    inner.router.add_route("*", "/{path:.*}", worker.asked)
    outer = web.Application(middlewares=[found.watch, middleware(())])
    outer.add_routes(Front(cast(ProcessPlacer, worker), Settings(), Limiter(rate=0.001, burst=3)).routes())
    runners = [web.AppRunner(app, shutdown_timeout=0.1) for app in (inner, outer)]
    for runner in runners:
        await runner.setup()
    await web.UnixSite(runners[0], tmp_path / "worker").start()
    await web.TCPSite(runners[1], "127.0.0.1", 0).start()
    found.url = f"http://127.0.0.1:{runners[1].addresses[0][1]}/v1/realtime/calls"
    yield found
    for runner in reversed(runners):
        await runner.cleanup()
    await worker.http.close()


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_only_what_can_do_no_harm_is_asked_again(front: Outside, method: str) -> None:
    """A worker dies over a request: a call is not made twice, or without its offer; 503 says to try again."""
    front.worker.empty.set()
    async with aiohttp.request(method, front.url, data=b"v=0" if method == "POST" else None) as answer:
        assert answer.status == 503 and answer.headers["Retry-After"]
    if method == "GET":
        assert len(front.worker.bodies) > 1
    else:
        assert front.worker.bodies == [b"v=0"]


async def test_a_client_that_does_not_wait_is_asked_for_once(front: Outside) -> None:
    """It is not the worker that has gone."""
    front.worker.empty.set()
    come, go = asyncio.Event(), asyncio.Event()

    async def answer(request: web.Request) -> web.StreamResponse:
        come.set()
        await go.wait()
        return web.Response(body=b"late")

    front.worker.answer = answer
    async with aiohttp.ClientSession() as http:
        asking = asyncio.ensure_future(http.get(front.url))
        await come.wait()
        asking.cancel()
        await asyncio.wait([asking])
    go.set()
    async with asyncio.timeout(PATIENCE):
        await front.done.wait()
    assert len(front.worker.bodies) == 1


async def test_an_answer_that_is_cut_off_has_no_other_in_it(front: Outside, monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker takes too long for the second half: the client sees that something is missing."""
    monkeypatch.setattr(proxy, "ANSWER_PATIENCE", aiohttp.ClientTimeout(total=0.2))

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"half")
        await front.done.wait()
        return response

    front.worker.answer = answer
    async with aiohttp.request("GET", front.url) as response:
        with pytest.raises(aiohttp.ClientPayloadError):
            await response.content.read()


async def test_nobody_has_all_transcripts_looked_through_without_end(front: Outside) -> None:
    """Where an utterance was said is found out in the front, before any worker could refuse."""
    url = front.url.replace("/v1/realtime/calls", "/v1/utterances/utt_x/audio")
    answers = []
    async with aiohttp.ClientSession() as http:
        for _ in range(5):
            async with http.get(url) as answer:
                answers.append(answer.status)
    assert answers == [404, 404, 404, 429, 429] and front.worker.looked == 3


async def test_who_closes_without_a_code_breaks_no_rule_beyond(front: Outside) -> None:
    """A page does, by `close()`; the worker is told that it was closed, not something that may not be said."""
    told: list[tuple[int | None, BaseException | None]] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        ws = web.WebSocketResponse()
        await ws.prepare(request)
        async for _ in ws:
            pass
        told.append((ws.close_code, ws.exception()))
        return ws

    front.worker.answer = answer
    async with aiohttp.ClientSession() as http:
        ws = await http.ws_connect(front.url)
        await ws._writer.send_frame(b"", aiohttp.WSMsgType.CLOSE)
        async with asyncio.timeout(PATIENCE):
            await front.done.wait()
            assert (await ws.receive()).type is aiohttp.WSMsgType.CLOSE
        await ws.close()
    await until(lambda: told)
    assert told == [(aiohttp.WSCloseCode.OK, None)]
