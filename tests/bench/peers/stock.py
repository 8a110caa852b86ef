"""Plain aiortc as its own examples use it: decode, MediaRelay, encode for each listener.

python -m tests.bench.peers.stock --port 8080
"""

import argparse

from aiohttp import web
from aiortc import MediaStreamTrack, RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.contrib.media import MediaRelay


class Server:
    """Echo, or one talker whom every listener hears."""

    def __init__(self) -> None:
        self._relay = MediaRelay()
        self._connections: set[RTCPeerConnection] = set()
        self._talker: MediaStreamTrack | None = None

    async def offer(self, request: web.Request) -> web.Response:
        body = await request.json()
        pc = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self._connections.add(pc)

        @pc.on("track")
        def on_track(track: MediaStreamTrack) -> None:
            if body["role"] == "echo":
                pc.addTrack(self._relay.subscribe(track))
            elif body["role"] == "talker":
                self._talker = track

        await pc.setRemoteDescription(RTCSessionDescription(body["sdp"], "offer"))
        if body["role"] == "listener":
            assert self._talker is not None, "the talker connects first"
            pc.addTrack(self._relay.subscribe(self._talker))
        await pc.setLocalDescription(await pc.createAnswer())
        return web.json_response({"sdp": pc.localDescription.sdp, "type": "answer"})


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    app = web.Application()
    app.add_routes([web.post("/offer", Server().offer)])
    web.run_app(app, host="127.0.0.1", port=parser.parse_args().port, print=None, access_log=None)


if __name__ == "__main__":
    main()
