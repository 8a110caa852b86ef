"""Requests and WebSockets on their way through one process to another. Nothing is kept: who reads slowly is written to
slowly, all the way back to the outbox that has a bound."""

import asyncio
import contextlib

import aiohttp
from aiohttp import WSCloseCode, WSMsgType, web
from multidict import CIMultiDict

from signaling.http import HEARTBEAT

HOP_BY_HOP = frozenset(
    "connection keep-alive proxy-authenticate proxy-authorization te trailer transfer-encoding upgrade".split()
)
"""RFC 9110 section 7.6.1: they are about one connection."""
WEBSOCKET = frozenset(f"sec-websocket-{name}" for name in ("accept", "extensions", "key", "protocol", "version"))
"""Each of the two connections shakes hands for itself."""
ANSWER_PATIENCE = aiohttp.ClientTimeout(total=120, sock_connect=5)


def is_websocket(request: web.Request) -> bool:
    """It asks for one."""
    return request.headers.get("Upgrade", "").lower() == "websocket"


async def forward(request: web.Request, http: aiohttp.ClientSession) -> web.StreamResponse:
    """Ask the other process the same, and answer what it answers. Raises aiohttp.ClientConnectionError as long as the
    client has been told nothing."""
    async with http.request(
        request.method,
        _url(request),
        headers=_headers(request),
        data=request.content if request.body_exists else None,
        allow_redirects=False,
        timeout=ANSWER_PATIENCE,
    ) as answer:
        kept = {name: value for name, value in answer.headers.items() if name.lower() not in HOP_BY_HOP}
        response = web.StreamResponse(status=answer.status, headers=kept)
        try:
            await response.prepare(request)
            async for piece in answer.content.iter_any():
                await response.write(piece)
            await response.write_eof()
        except (aiohttp.ClientError, TimeoutError) as error:  # one of both is gone, too late for another answer
            raise ConnectionResetError from error
        return response


async def forward_websocket(request: web.Request, http: aiohttp.ClientSession, max_message: int) -> web.StreamResponse:
    """Open the same WebSocket there, then pass messages both ways until one side closes; its close code reaches the
    other. Raises as `forward`; a refusal of the handshake is answered as it came."""
    try:
        inner = await http.ws_connect(_url(request), headers=_headers(request, WEBSOCKET), max_msg_size=max_message)
    except aiohttp.WSServerHandshakeError:
        return await forward(request, http)  # the same refusal, now with its words
    async with inner:
        outer = web.WebSocketResponse(heartbeat=HEARTBEAT, max_msg_size=max_message)
        await outer.prepare(request)
        async with asyncio.TaskGroup() as tasks:
            ways = [tasks.create_task(_pass(outer, inner)), tasks.create_task(_pass(inner, outer))]
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            for way in ways:
                way.cancel()
    return outer


Side = web.WebSocketResponse | aiohttp.ClientWebSocketResponse


async def _pass(source: Side, sink: Side) -> None:
    """Until the source is closed: then the sink is."""
    with contextlib.suppress(ConnectionError):  # the other way ends as well
        async for message in source:
            if message.type is WSMsgType.TEXT:
                await sink.send_str(message.data)
            elif message.type is WSMsgType.BINARY:
                await sink.send_bytes(message.data)
    await sink.close(code=_said(source.close_code))


def _said(code: int | None) -> int:
    """A close code that may be sent (RFC 6455 section 7.4): one that died without a word is started anew. aiohttp says
    0 of who closed without a code, as pages may."""
    return WSCloseCode.SERVICE_RESTART if code in (None, WSCloseCode.ABNORMAL_CLOSURE) else code or WSCloseCode.OK


def _url(request: web.Request) -> str:
    return f"http://worker{request.rel_url.raw_path_qs}"  # the host is in the header


def _headers(request: web.Request, but: frozenset[str] = frozenset()) -> "CIMultiDict[str]":
    """The client's, and whom we ask for: what it says of that itself is only a claim."""
    headers = request.headers.copy()
    for name in HOP_BY_HOP | but | {"content-length"}:
        headers.popall(name, None)
    headers["X-Forwarded-For"] = request.remote or ""
    return headers
