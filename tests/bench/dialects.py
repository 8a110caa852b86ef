"""How each server wants to be talked to until there is a media connection."""

import time
import uuid
from typing import Any, Literal, Protocol

import aiohttp

from tests.bench.peer import Peer

Role = Literal["echo", "talker", "listener", "idle"]
"""Hears itself; is heard by the listeners; hears the talker; could hear itself, but says nothing."""


class Refused(Exception):
    """The server does not want this peer."""


class Dialect(Protocol):
    """Of one server. Sets `offered_at` of the peer when the server is first told."""

    async def connect(self, peer: Peer, role: Role) -> None:
        """Offer, answer. Raises Refused."""


class Post:
    """POST an offer, get an answer; every Python server, with small differences."""

    def __init__(self, http: aiohttp.ClientSession, url: str, kind: str) -> None:
        self._http, self._url, self._kind = http, url, kind

    async def connect(self, peer: Peer, role: Role) -> None:
        duplex = ("sendonly", "recvonly") if self._kind == "slots" else ("sendrecv",)
        lines = {"talker": ("sendonly",), "listener": ("recvonly",)}
        offer = await peer.offer(*lines.get(role, duplex), data_channel=self._kind == "fastrtc")
        body = {"sdp": offer, "type": "offer", "role": "echo" if role == "idle" else role}
        if self._kind == "fastrtc":
            body["webrtc_id"] = uuid.uuid4().hex
        peer.offered_at = time.time()
        async with self._http.post(self._url, json=body) as response:
            if response.status != 200:
                raise Refused(f"{response.status}: {(await response.text())[:200]}")
            answer = await response.json()
        if "sdp" not in answer:
            raise Refused(str(answer)[:200])
        await peer.accept(answer["sdp"])


class Janus:
    """Its HTTP API: a session and a handle for each peer, answers by long poll (janus.conf.meetecho.com/docs/rest)."""

    ROOM = 1234

    def __init__(self, http: aiohttp.ClientSession, url: str) -> None:
        self._http, self._url = http, url
        self._feed = 0

    async def connect(self, peer: Peer, role: Role) -> None:
        session = await self._post("", janus="create")
        path = f"/{session['data']['id']}"
        plugin = "janus.plugin.echotest" if role in ("echo", "idle") else "janus.plugin.videoroom"
        handle = await self._post(path, janus="attach", plugin=plugin)
        path += f"/{handle['data']['id']}"
        if role == "listener":
            peer.offered_at = time.time()
            streams = [{"feed": self._feed}]
            join = {"request": "join", "ptype": "subscriber", "room": self.ROOM, "streams": streams}
            event = await self._message(path, join)
            answer = await peer.answer(event["jsep"]["sdp"])
            await self._message(path, {"request": "start"}, {"type": "answer", "sdp": answer})
            return
        body: dict[str, Any] = {"audio": True, "video": False}
        if role == "talker":
            join = {"request": "join", "ptype": "publisher", "room": self.ROOM}
            self._feed = (await self._message(path, join))["plugindata"]["data"]["id"]
            body = {"request": "publish"}
        offer = await peer.offer("sendonly" if role == "talker" else "sendrecv")
        peer.offered_at = time.time()
        event = await self._message(path, body, {"type": "offer", "sdp": offer})
        await peer.accept(event["jsep"]["sdp"])

    async def _post(self, path: str, **fields: Any) -> dict[str, Any]:
        async with self._http.post(self._url + path, json={"transaction": uuid.uuid4().hex, **fields}) as response:
            reply: dict[str, Any] = await response.json()
        if reply["janus"] == "error":
            raise Refused(str(reply["error"])[:200])
        return reply

    async def _message(self, path: str, body: Any, jsep: Any = None) -> dict[str, Any]:
        """Tell the plugin; its own reply comes as the session's next plugin event."""
        await self._post(path, janus="message", body=body, **({"jsep": jsep} if jsep else {}))
        session = path.rsplit("/", 1)[0]
        while True:
            async with self._http.get(self._url + session) as response:
                event: dict[str, Any] = await response.json()
            if event["janus"] == "event":
                if "error" in event["plugindata"]["data"]:
                    raise Refused(str(event["plugindata"]["data"])[:200])
                return event
