"""What every HTTP answer has in common: problems as RFC 9457 says, origins, security headers."""

import asyncio
import contextlib
import errno
import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.typedefs import Middleware

from signaling.limits import Limiter, household

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

log = logging.getLogger(__name__)

CONTENT_SECURITY_POLICY = (
    "default-src 'self'; connect-src 'self' ws: wss: {elsewhere}; media-src 'self' blob:; img-src 'self' data:; "
    "style-src 'self'; script-src 'self'; object-src 'none'; base-uri 'none'; frame-ancestors 'self'"
)

HEARTBEAT = 10.0
"""Seconds between WebSocket pings: how soon a vanished client is known."""
ALLOWED_HEADERS = "Authorization, Content-Type, X-OpenAI-Agents-SDK"
"""What pages of other origins may say besides what every page may; the last is what OpenAI's SDK calls itself."""

REALTIME = "/v1/realtime/"
"""Addresses that follow OpenAI's API, in its shape for errors too."""

MAX_BODY = 16 * 1024
"""Bytes of a request body; the largest we know is a room's name."""


class Problem(Exception):
    """An answer that is no success. `code` is stable; `detail` is a sentence for a person; `more` is for its client."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        retry_after: float | None = None,
        more: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.retry_after = retry_after
        self.more = more or {}


def room_not_found() -> Problem:
    """Whoever is asked for it."""
    return Problem(404, "room_not_found", "There is no such room: it may have closed. Open a new one.")


def problem_response(problem: Problem) -> web.Response:
    """`application/problem+json` (RFC 9457)."""
    body: dict[str, Any] = {
        "type": f"urn:dragoman:problem:{problem.code}",
        "title": HTTPStatus(problem.status).phrase,
        "status": problem.status,
        "code": problem.code,
        "detail": problem.detail,
        **problem.more,
    }
    if problem.retry_after is not None:
        body["retry_after_s"] = round(problem.retry_after, 1)
    return web.Response(
        status=problem.status,
        text=json.dumps(body),
        content_type="application/problem+json",
        headers=_retry_after(problem),
    )


def realtime_response(problem: Problem) -> web.Response:
    """As clients of OpenAI's Realtime API read it; `more` may have the `param` that it is about."""
    kinds = {429: "rate_limit_error", 500: "server_error", 503: "server_error"}
    error = {
        "message": problem.detail,
        "type": kinds.get(problem.status, "invalid_request_error"),
        "param": problem.more.get("param"),
        "code": problem.code,
    }
    headers = _retry_after(problem)
    if problem.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return web.json_response({"error": error}, status=problem.status, headers=headers)


def _retry_after(problem: Problem) -> dict[str, str]:
    return {} if problem.retry_after is None else {"Retry-After": str(max(1, round(problem.retry_after)))}


def middleware(allow_origins: tuple[str, ...], elsewhere: str = "") -> Middleware:
    """Problems for every failure, CORS for allowed origins, refusal of WebSockets from others. `elsewhere`: another
    origin that our pages may ask."""
    policy = CONTENT_SECURITY_POLICY.format(elsewhere=elsewhere)

    def allowed(request: web.Request) -> str | None:
        """The Origin to allow, None if there is none or it is a stranger's."""
        origin = request.headers.get("Origin")
        if origin is None:
            return None
        with contextlib.suppress(ValueError):  # urlsplit: no URL at all
            if "*" in allow_origins or origin in allow_origins or urlsplit(origin).netloc == request.host:
                return origin
        return None

    @web.middleware
    async def wrap(request: web.Request, handler: Handler) -> web.StreamResponse:
        origin = allowed(request)
        respond = realtime_response if request.path.startswith(REALTIME) else problem_response
        try:
            if "Origin" in request.headers and origin is None and request.path.startswith("/v1/"):
                raise Problem(403, "origin_not_allowed", "This server does not serve pages of that origin.")
            if request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers:
                response: web.StreamResponse = web.Response(status=204)
                response.headers["Access-Control-Allow-Methods"] = "GET, POST, DELETE, OPTIONS"
                response.headers["Access-Control-Allow-Headers"] = ALLOWED_HEADERS
                response.headers["Access-Control-Max-Age"] = "600"
            else:
                response = await handler(request)
        except Problem as problem:
            response = respond(problem)
        except web.HTTPException as error:
            if error.status < 400:
                raise
            response = respond(_of_aiohttp(error))
            if isinstance(error, web.HTTPMethodNotAllowed):
                response.headers["Allow"] = ", ".join(sorted(error.allowed_methods))
        except (HttpProcessingError, web.RequestPayloadError):
            response = respond(Problem(400, "bad_message", "The body is not what its headers say."))
        except ConnectionError:
            raise
        except Exception as error:  # a bug: the client gets a problem too, and the log the trace
            if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:  # no bug: aiohttp looks for a file
                response = respond(_of_aiohttp(web.HTTPNotFound()))
            else:
                log.exception("%s %s failed", request.method, request.path)
                response = respond(Problem(500, "internal", "Something broke on the server."))
        if not response.prepared:
            if origin is not None:
                response.headers["Access-Control-Allow-Origin"] = origin
                response.headers["Access-Control-Expose-Headers"] = "Location, Retry-After"
            if isinstance(
                response, web.FileResponse
            ):  # or browsers mix modules of two versions (RFC 9111 section 4.2.2)
                response.headers["Cache-Control"] = "no-cache"
            response.headers["Vary"] = "Origin"
            response.headers["Content-Security-Policy"] = policy
            response.headers["X-Content-Type-Options"] = "nosniff"
            response.headers["Referrer-Policy"] = "no-referrer"
        return response

    return wrap


def _of_aiohttp(error: web.HTTPException) -> Problem:
    details = {
        404: ("not_found", "There is nothing at this address."),
        405: ("method_not_allowed", "This address does not take that method."),
        413: ("too_large", f"A request has at most {MAX_BODY} bytes."),
    }
    code, detail = details.get(error.status, ("bad_request", error.reason))
    return Problem(error.status, code, detail)


def limit(limiter: Limiter, request: web.Request) -> None:
    """One more costly request of that address. Raises Problem."""
    if not limiter.take(household(request.remote or ""), asyncio.get_running_loop().time()):
        raise Problem(429, "rate_limited", "That is a lot of requests. Wait a moment.", retry_after=2)


async def json_object(request: web.Request) -> dict[str, Any]:
    """The body as a JSON object; nothing is an empty one. Raises Problem."""
    body = await request.read()
    if not body:
        return {}
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        raise Problem(400, "bad_message", "The body is not JSON.") from None
    if not isinstance(value, dict):
        raise Problem(400, "bad_message", "The body must be a JSON object.")
    return value
