"""The HTTP half of OpenAI's Realtime API over WebRTC: calls with the duplex voice for clients that were made for that.

POST /v1/realtime/client_secrets      a short-lived secret for a browser
POST /v1/realtime/calls               an offer in, an answer out; the rest is said on the data channel
POST /v1/realtime/calls/{id}/hangup   the end; DELETE on the call's own address is the same
"""

import json
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from aiohttp import BodyPartReader, web

from signaling.client_secrets import DEFAULT_LIFE, MAX_LIFE, MIN_LIFE, ClientSecrets
from signaling.house import House
from signaling.http import Problem, json_object, limit
from signaling.limits import Limiter
from signaling.parlour import Parlour
from signaling.protocol import ProtocolError, TalkJoin
from signaling.realtime_call import Caller, voice_of
from signaling.realtime_events import Event, Refusal, check_session, session_object

CALLS = "/v1/realtime/calls"

SESSION_ROOM = 128 * 1024
"""Bytes of a call's body besides the offer: the session that it asks for."""

MAX_PARTS = 8
"""Of a form; two are read."""

CHUNK = 64 * 1024
"""Bytes read at once."""


class Realtime:
    """Handlers; `routes` is the table."""

    def __init__(self, house: House, limiter: Limiter) -> None:
        self._house = house
        self._limiter = limiter
        self._secrets = ClientSecrets(house.settings.api_key)

    def routes(self) -> list[web.AbstractRouteDef]:
        """Every address."""
        return [
            web.post("/v1/realtime/client_secrets", self.client_secret),
            web.post(CALLS, self.call),
            web.post(CALLS + "/{id}/hangup", self.hang_up),
            web.delete(CALLS + "/{id}", self.hang_up),
        ]

    async def client_secret(self, request: web.Request) -> web.Response:
        """For who has the server's key, if it has one."""
        limit(self._limiter, request)
        if not self._secrets.is_key(_bearer(request)):
            raise Problem(401, "invalid_api_key", "Secrets are given to those who show this server's key.")
        parlour = self._parlour()
        fields = await json_object(request)
        life = _life(fields.get("expires_after"))
        _checked(fields.get("session", {}))
        secret, end = self._secrets.issue(life, time.time())
        session = session_object(voice_of(parlour.stage), "")
        del session["id"]  # there is none yet
        return web.json_response(
            {"value": secret, "expires_at": end, "session": session}, headers={"Cache-Control": "no-store"}
        )

    async def call(self, request: web.Request) -> web.Response:
        """Never waits for a seat: a full house is told at once."""
        limit(self._limiter, request)
        self._authorize(request)
        parlour = self._parlour()
        offer, asked = await self._offer(request)
        message = TalkJoin(
            name="",
            language="",
            speaks="auto",
            sdp=offer,
            mix="both",
            resume=None,
            last_seq=None,
            voice=None,
            wait=False,
        )
        try:
            place = parlour.enter(message)
            try:
                caller = await parlour.join(place, message, partial(Caller, asked=asked))
            except BaseException:
                parlour.leave(place)
                raise
        except ProtocolError as error:
            later = error.code in ("house_full", "draining", "engine_failed")
            raise Problem(503 if later else 400, error.code, str(error), error.retry_after) from error
        assert isinstance(caller, Caller), "that is what was asked for"
        location = {"Location": f"{CALLS}/{caller.call_id}"}
        return web.Response(status=201, text=caller.answer, content_type="application/sdp", headers=location)

    async def hang_up(self, request: web.Request) -> web.Response:
        """Anybody who could call, and knows the call's name, which cannot be guessed."""
        limit(self._limiter, request)
        self._authorize(request)
        for talker in self._parlour():
            if isinstance(talker, Caller) and talker.call_id == request.match_info["id"] and not talker.over:
                talker.end("left")
                return web.Response()
        raise Problem(404, "call_not_found", "There is no such call: it may be over.")

    async def _offer(self, request: web.Request) -> tuple[str, Event]:
        """(SDP, session asked for) of a request's body. Raises Problem."""
        room = self._house.settings.max_sdp + SESSION_ROOM
        if request.content_type == "application/sdp":
            return _text(await _all_of(request.content.read, room), "sdp"), {}
        if request.content_type != "multipart/form-data":
            raise Problem(415, "unsupported_content_type", "A call is application/sdp, or multipart/form-data.")
        form: dict[str | None, bytes] = {}
        parts = 0
        try:
            async for part in await request.multipart():
                parts += 1
                if not isinstance(part, BodyPartReader) or parts > MAX_PARTS:
                    raise ValueError
                form[part.name] = await _all_of(part.read_chunk, room)
        except ValueError:  # no boundary, or parts that are none
            raise Problem(400, "invalid_body", "The body is not multipart/form-data with sdp and session.") from None
        if "sdp" not in form:
            raise Problem(400, "missing_required_parameter", "The form has no sdp.", more={"param": "sdp"})
        try:
            asked = json.loads(_text(form.get("session", b"{}"), "session"))
        except (ValueError, RecursionError):
            raise Problem(400, "invalid_json", "session is not JSON.", more={"param": "session"}) from None
        return _text(form["sdp"], "sdp"), _checked(asked)

    def _authorize(self, request: web.Request) -> None:
        if not self._secrets.allowed(_bearer(request), time.time()):
            raise Problem(401, "invalid_api_key", "That key is not known here, or its time is over.")

    def _parlour(self) -> Parlour:
        if self._house.parlour is None:
            raise Problem(404, "no_dialogue", "There is nobody to talk with here: the server runs without a dialogue.")
        return self._house.parlour


def _bearer(request: web.Request) -> str | None:
    """RFC 6750 §2.1."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" and token.strip() else None


def _life(asked: Any) -> int:
    """Seconds of `expires_after`. Raises Problem."""
    if asked is None:
        return DEFAULT_LIFE
    seconds = asked.get("seconds", DEFAULT_LIFE) if isinstance(asked, dict) else None
    anchored = isinstance(asked, dict) and asked.get("anchor", "created_at") == "created_at"
    if not anchored or type(seconds) is not int or not MIN_LIFE <= seconds <= MAX_LIFE:
        text = f"expires_after is {{anchor: created_at, seconds: {MIN_LIFE} to {MAX_LIFE}}}."
        raise Problem(400, "invalid_value", text, more={"param": "expires_after"})
    return seconds


def _checked(session: Any) -> Event:
    """A session that was asked for. Raises Problem."""
    try:
        check_session(session)
    except Refusal as error:
        raise Problem(400, error.code, str(error), more={"param": error.param}) from None
    assert isinstance(session, dict), "it was checked"
    return session


async def _all_of(read: Callable[[int], Awaitable[bytes]], room: int) -> bytes:
    """A body, or a part of one, piece by piece. Raises Problem as soon as it is too large."""
    data = b""
    while piece := await read(CHUNK):
        data += piece
        if len(data) > room:
            raise Problem(413, "too_large", f"A call has at most {room} bytes.")
    return data


def _text(data: bytes, param: str) -> str:
    """Raises Problem."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise Problem(400, "invalid_value", f"{param} is not text.", more={"param": param}) from None
