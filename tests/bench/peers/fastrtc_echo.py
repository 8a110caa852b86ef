"""FastRTC with the simplest AsyncStreamHandler, which gives back each frame it gets.

.bench/fastrtc/bin/python -m tests.bench.peers.fastrtc_echo --port 8080
"""

import argparse
import asyncio
import os

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # before gradio, which FastRTC imports, calls home

import uvicorn
from fastapi import FastAPI
from fastrtc import AsyncStreamHandler, Stream, wait_for_item


class Echo(AsyncStreamHandler):
    """FastRTC's defaults: 24 kHz out."""

    def __init__(self) -> None:
        super().__init__()
        self._frames: asyncio.Queue = asyncio.Queue()

    async def start_up(self) -> None:
        pass

    async def receive(self, frame) -> None:
        self._frames.put_nowait(frame)

    async def emit(self):
        return await wait_for_item(self._frames)

    def copy(self) -> "Echo":
        return Echo()

    async def shutdown(self) -> None:
        pass


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    app = FastAPI()
    servers = {"iceServers": []}
    Stream(
        Echo(), modality="audio", mode="send-receive", concurrency_limit=200, server_rtc_configuration=servers
    ).mount(app)
    uvicorn.run(app, host="127.0.0.1", port=parser.parse_args().port, log_level="warning", loop="asyncio")


if __name__ == "__main__":
    main()
