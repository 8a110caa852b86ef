"""A participant for tests: a stock aiortc peer and an aiohttp WebSocket, knowing nothing of the server's insides."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import aiohttp
import av
import numpy as np
from aiortc import MediaStreamTrack, RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError

RATE = 48_000
FRAME = 960
PATIENCE = 20.0
"""Seconds a test waits for what must come. No test asserts on time: this only ends one that hangs."""

Message = dict[str, Any]


class WavMicrophone(MediaStreamTrack):
    """Plays mono float32 at 48 kHz when told to, silence otherwise, one frame each 20 ms."""

    kind = "audio"

    def __init__(self) -> None:
        super().__init__()
        self._queue = np.zeros(0, np.float32)
        self._frames = 0
        self._start: float | None = None
        self.noise = 1e-3
        """Standard deviation of what is always there, as in a room; 0 is digital silence."""
        self.finished = asyncio.Event()
        self.finished_at = 0.0
        """time.monotonic() at which the last sample of what was said was handed over."""

    def say(self, pcm: np.ndarray) -> None:
        self.finished.clear()
        self._queue = np.concatenate([self._queue, pcm.astype(np.float32)])

    async def recv(self) -> av.AudioFrame:
        if self.readyState != "live":
            raise MediaStreamError
        now = time.monotonic()
        if self._start is None:
            self._start = now
        await asyncio.sleep(max(0.0, self._start + self._frames * 0.02 - now))
        piece, self._queue = self._queue[:FRAME], self._queue[FRAME:]
        if len(piece) and not len(self._queue):
            self.finished_at = time.monotonic()
            self.finished.set()
        samples = np.zeros(FRAME, np.float32)
        samples[: len(piece)] = piece
        noise = np.random.default_rng(self._frames).normal(0, self.noise, FRAME)
        frame = av.AudioFrame.from_ndarray(
            (np.clip(samples + noise, -1, 1) * 32767).astype(np.int16)[None], "s16", "mono"
        )
        frame.sample_rate = RATE
        frame.pts = self._frames * FRAME
        frame.time_base = Fraction(1, RATE)
        self._frames += 1
        return frame


@dataclass
class Ear:
    """What came in on one m-line."""

    chunks: list[tuple[float, np.ndarray]] = field(default_factory=list)
    """(time.monotonic(), mono float32 at 48 kHz)."""

    def pcm(self, since: float = 0.0) -> np.ndarray:
        """Everything heard since then, in a row."""
        parts = [pcm for at, pcm in self.chunks if at >= since]
        return np.concatenate(parts) if parts else np.zeros(0, np.float32)

    def loudness(self, since: float = 0.0) -> float:
        """Seconds of it that are louder than -40 dBFS."""
        pcm = self.pcm(since)
        blocks = pcm[: len(pcm) // FRAME * FRAME].reshape(-1, FRAME)
        return float((np.sqrt((blocks**2).mean(axis=1)) > 0.01).sum()) * 0.02


class Client:
    """Use `joined` or `Client.open` + `join`."""

    def __init__(self, http: aiohttp.ClientSession, base: str, room: str, path: str = "") -> None:
        """`path` of the WebSocket, if it is not the room's."""
        self._http = http
        self._url = base + (path or f"/v1/rooms/{room}/signal")
        self._base, self._room = base, room
        self._news = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self.ws: aiohttp.ClientWebSocketResponse | None = None
        self.pc: RTCPeerConnection | None = None
        self.microphone = WavMicrophone()
        self.messages: list[Message] = []
        self.joined: Message = {}
        self.ears: dict[str, Ear] = {}
        self.slots: list[Message] = []

    # signaling

    async def open(self) -> "Client":
        self.ws = await self._http.ws_connect(self._url)
        self._spawn(self._read(self.ws))
        return self

    async def _read(self, ws: aiohttp.ClientWebSocketResponse) -> None:
        async for raw in ws:
            message = raw.json()
            self.messages.append(message)
            if message["type"] in ("slots.updated", "session.joined"):
                self.slots = message["slots"]
            self._news.set()
        self._news.set()

    async def send(self, type: str, **fields: Any) -> None:
        assert self.ws is not None
        await self.ws.send_json({"type": type, **fields})

    async def expect(
        self, type: str, where: Callable[[Message], bool] = lambda message: True, start: int = 0
    ) -> Message:
        """The first message of that type, from index `start` on, for which `where` holds; waits for it."""
        return await self.until(
            lambda: next((m for m in self.messages[start:] if m["type"] == type and where(m)), None),
            f"{type} from {self._room}; got {[m['type'] for m in self.messages[-12:]]}",
        )

    async def until(self, look: Callable[[], Any], what: str = "") -> Any:
        """The first true answer of `look`, asked again whenever a message or sound arrives."""
        try:
            async with asyncio.timeout(PATIENCE):
                while not (found := look()):
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            raise AssertionError(f"never came: {what}") from None
        return found

    async def closed(self) -> int | None:
        """Wait until the server closes the WebSocket; its close code."""
        assert self.ws is not None
        await self.until(lambda: self.ws.closed, "close of the WebSocket")
        return self.ws.close_code

    # media

    async def offer(self, slots: int = 4, microphone: bool = True, ice_servers: list[Any] | None = None) -> str:
        """A new peer connection's offer: microphone, then receive-only m-lines."""
        pc = self.pc = RTCPeerConnection(RTCConfiguration(iceServers=ice_servers or []))
        if microphone:
            pc.addTransceiver(self.microphone, direction="sendonly" if slots else "sendrecv")
        for _ in range(slots):
            pc.addTransceiver("audio", direction="recvonly")
        pc.on("track", self._on_track)
        await pc.setLocalDescription(await pc.createOffer())
        return pc.localDescription.sdp

    def _on_track(self, track: MediaStreamTrack) -> None:
        assert self.pc is not None
        mid = next(t.mid for t in self.pc.getTransceivers() if t.receiver.track is track)
        self.ears[mid] = Ear()
        self._spawn(self._listen(track, self.ears[mid]))

    async def _listen(self, track: MediaStreamTrack, ear: Ear) -> None:
        with contextlib.suppress(MediaStreamError):
            while True:
                frame = await track.recv()
                assert isinstance(frame, av.AudioFrame)
                pcm = frame.to_ndarray().reshape(-1, len(frame.layout.channels)).mean(axis=1) / 32768
                ear.chunks.append((time.monotonic(), pcm.astype(np.float32)))
                self._news.set()

    async def accept(self, answer: str) -> None:
        assert self.pc is not None
        await self.pc.setRemoteDescription(RTCSessionDescription(answer, "answer"))

    async def connected(self) -> None:
        assert self.pc is not None
        self.pc.on("connectionstatechange", self._news.set)
        await self.until(lambda: self.pc.connectionState == "connected", "media connection")

    def ear(self, participant: str, variant: str) -> Ear | None:
        """Where that voice is heard, if it is in a slot."""
        for slot in self.slots:
            if slot["participant_id"] == participant and slot["variant"] == variant:
                return self.ears.get(slot["mid"])
        return None

    # together

    async def join(self, name: str, language: str, speaks: str = "auto", slots: int = 4, **fields: Any) -> "Client":
        sdp = await self.offer(slots)
        start = len(self.messages)
        await self.send("session.join", name=name, language=language, speaks=speaks, sdp=sdp, **fields)
        self.joined = await self.expect("session.joined", start=start)
        await self.accept(self.joined["sdp"])
        await self.connected()
        await self.expect("session.state", start=start)
        return self

    def move(self, http: aiohttp.ClientSession, base: str) -> None:
        """From now on it is another server that is asked."""
        self._http, self._url = http, base + self._url.removeprefix(self._base)
        self._base = base

    async def come_back(self, name: str, language: str) -> Message:
        """As the page does when its WebSocket is closed because the process is gone: resume, and offer anew when that
        is asked for. The second `session.joined`."""
        await self.closed()
        seen = self.messages
        fields = {
            "resume": self.joined["resume"],
            "last_seq": seen[-1]["seq"],
            "last_record": [message["record"] for message in seen if message.get("record") is not None][-1],
        }
        start = len(seen)
        await self.open()
        await self.send("session.join", name=name, language=language, **fields)
        answer = await self.until(lambda: seen[start:], "an answer")
        assert answer[0].get("code") == "session_moved", answer[0]
        del seen[start]  # it is the WebSocket's, and has a number of its own
        assert self.pc is not None
        await self.pc.close()
        self.microphone = WavMicrophone()
        self.ears.clear()
        await self.send("session.join", name=name, language=language, sdp=await self.offer(), **fields)
        self.joined = await self.expect("session.joined", start=start)
        await self.accept(self.joined["sdp"])
        await self.connected()
        return self.joined

    @property
    def id(self) -> str:
        return str(self.joined["participant"]["id"])

    def of(self, type: str) -> list[Message]:
        return [message for message in self.messages if message["type"] == type]

    def _spawn(self, coroutine: Any) -> None:
        task = asyncio.create_task(coroutine)  # owned by the client: cancelled in close
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        if self.ws is not None:
            await self.ws.close()
        self.microphone.stop()
        if self.pc is not None:
            await self.pc.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@contextlib.asynccontextmanager
async def joined(
    http: aiohttp.ClientSession, base: str, room: str, name: str, language: str, speaks: str = "auto", **fields: Any
) -> AsyncIterator[Client]:
    """A client that is in the room with media connected, and leaves at the end."""
    client = await Client(http, base, room).open()
    try:
        yield await client.join(name, language, speaks, **fields)
    finally:
        await client.close()
