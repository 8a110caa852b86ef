"""What stands before a server on Modal: finds the container of a session, and says no when there is none.

An imitation after Modal's guide to servers and sticky sessions: 401 without a session, 503 while no container is ready,
429 when all have as many sessions as they take. The token comes as a header, as a cookie, or in the query, which is
answered by a redirect that sets the cookie.
"""

import asyncio
import contextlib
import secrets
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import aiohttp
from aiohttp import web

COOKIE = "__Host-modal-session-token"
QUERY = "modal_session_token"
HOP_BY_HOP = {"host", "connection", "upgrade", "cookie", "content-length", "transfer-encoding", "modal-authorization"}


class Backend(Protocol):
    """A container."""

    port: int

    @property
    def alive(self) -> bool:
        """Its process runs."""


@dataclass
class Session:
    """As the ingress knows it."""

    id: str
    backend: Backend
    idle_timeout: float
    """Seconds without a request under way after which it ends."""
    under_way: int = 0
    used_at: float = 0.0
    """time.monotonic()"""

    @property
    def over(self) -> bool:
        """Idle for too long, or its container is gone."""
        idle = not self.under_way and time.monotonic() - self.used_at > self.idle_timeout
        return idle or not self.backend.alive


class Ingress:
    """Of one server."""

    def __init__(self, sessioned: bool, max_concurrency: int) -> None:
        self.backends: list[Backend] = []
        self.sessions: dict[str, Session] = {}
        """By token."""
        self.started = 0
        self.refuse = 0
        """Answers everything with this status, unless 0."""
        self.url = ""
        self._sessioned = sessioned
        self.limit = max_concurrency
        self._turn = 0

    async def open(self) -> None:
        """Listen on a free port."""
        app = web.Application()
        app.add_routes(
            [
                web.post("/_modal/sessions/start", self._start),
                web.post("/_modal/sessions/terminate", self._terminate),
                web.route("*", "/{path:.*}", self._proxy),
            ]
        )
        self._http = aiohttp.ClientSession(auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar())
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def close(self) -> None:
        """Nothing answers any more."""
        await self._runner.cleanup()
        await self._http.close()

    def ready(self) -> list[Backend]:
        """Containers that take requests."""
        return [backend for backend in self.backends if backend.alive and listens(backend.port)]

    def held(self, backend: Backend) -> int:
        """Sessions in a container."""
        return sum(session.backend is backend for session in self.sessions.values())

    async def _start(self, request: web.Request) -> web.Response:
        if self.refuse:
            return web.Response(status=self.refuse)
        if "Modal-Authorization" not in request.headers:
            return web.Response(status=401)
        backends = self.ready()
        self._end_sessions()
        if not backends:
            return web.Response(status=503)
        backend = min(backends, key=self.held)
        if self.held(backend) >= self.limit:
            return web.Response(status=429)
        token = secrets.token_urlsafe(16)
        idle_timeout = float(request.headers["x-modal-server-session-idle-timeout"])
        session_id = f"sd-{secrets.token_hex(4)}"
        self.sessions[token] = Session(session_id, backend, idle_timeout, used_at=time.monotonic())
        self.started += 1
        return web.json_response({"session_id": self.sessions[token].id, "token": token})

    async def _terminate(self, request: web.Request) -> web.Response:
        gone = self.sessions.pop(request.headers.get("x-modal-server-session-token", ""), None)
        return web.Response(status=404 if gone is None else 200)

    async def _proxy(self, request: web.Request) -> web.StreamResponse:
        if self.refuse:
            return web.Response(status=self.refuse)
        headers = {name: value for name, value in request.headers.items() if name.lower() not in HOP_BY_HOP}
        if not self._sessioned:
            backends = self.ready()
            if not backends:
                return web.Response(status=503)
            self._turn += 1
            return await self._pass(request, backends[self._turn % len(backends)], headers)
        token = request.headers.get("Modal-Authorization", "").removeprefix("Bearer ")
        if not token and QUERY in request.query:
            rest = {name: value for name, value in request.query.items() if name != QUERY}
            redirect = web.Response(status=307, headers={"Location": str(request.rel_url.with_query(rest))})
            cookie = f"{COOKIE}={request.query[QUERY]}; Path=/; Secure; HttpOnly; SameSite=Lax"
            redirect.headers["Set-Cookie"] = cookie
            redirect.headers["Cache-Control"] = "no-store"
            return redirect
        self._end_sessions()
        session = self.sessions.get(token or request.cookies.get(COOKIE, ""))
        if session is None:
            return web.Response(status=401)
        session.under_way += 1
        try:
            return await self._pass(request, session.backend, headers | {"x-modal-server-session-id": session.id})
        finally:
            session.under_way -= 1
            session.used_at = time.monotonic()

    def _end_sessions(self) -> None:
        self.sessions = {token: session for token, session in self.sessions.items() if not session.over}

    async def _pass(self, request: web.Request, backend: Backend, headers: dict[str, str]) -> web.StreamResponse:
        url = f"http://127.0.0.1:{backend.port}{request.rel_url}"
        headers["Host"] = request.host
        try:
            if request.headers.get("Upgrade", "").lower() == "websocket":
                return await self._socket(request, url, headers)
            body = await request.read()
            async with self._http.request(
                request.method, url, headers=headers, data=body, allow_redirects=False
            ) as answer:
                kept = {name: value for name, value in answer.headers.items() if name.lower() not in HOP_BY_HOP}
                return web.Response(status=answer.status, body=await answer.read(), headers=kept)
        except aiohttp.ClientError:
            return web.Response(status=502)

    async def _socket(self, request: web.Request, url: str, headers: dict[str, str]) -> web.StreamResponse:
        plain = {name: value for name, value in headers.items() if not name.lower().startswith("sec-websocket")}
        try:
            inner = await self._http.ws_connect(url, headers=plain, max_msg_size=0)
        except aiohttp.WSServerHandshakeError as refused:
            return web.Response(status=refused.status)
        async with inner:
            outer = web.WebSocketResponse(max_msg_size=0)
            await outer.prepare(request)
            tasks = [asyncio.create_task(_pump(outer, inner)), asyncio.create_task(_pump(inner, outer))]
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            with contextlib.suppress(ConnectionError):
                await outer.close(code=inner.close_code or 1006)
        return outer


Socket = web.WebSocketResponse | aiohttp.ClientWebSocketResponse


async def _pump(source: Socket, sink: Socket) -> None:
    with contextlib.suppress(ConnectionError):
        async for message in source:
            if message.type is aiohttp.WSMsgType.TEXT:
                await sink.send_str(message.data)
            elif message.type is aiohttp.WSMsgType.BINARY:
                await sink.send_bytes(message.data)


def listens(port: int) -> bool:
    """Somebody accepts connections there."""
    try:
        socket.create_connection(("127.0.0.1", port), 0.5).close()
    except OSError:
        return False
    return True


def free_ports() -> Iterator[int]:
    """Ports that were free a moment ago, never the same twice."""
    seen = set()
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port: int = probe.getsockname()[1]
        if port not in seen:
            seen.add(port)
            yield port
