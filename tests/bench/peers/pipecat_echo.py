"""Pipecat's SmallWebRTCTransport with a pipeline that gives back each frame it gets, one pipeline per connection.

.bench/pipecat/bin/python -m tests.bench.peers.pipecat_echo --port 8080
"""

import argparse
import asyncio
import sys

import uvicorn
from fastapi import FastAPI, Request
from loguru import logger
from pipecat.frames.frames import Frame, InputAudioRawFrame, OutputAudioRawFrame
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.runner import PipelineRunner
from pipecat.pipeline.task import PipelineParams, PipelineTask
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.transports.base_transport import TransportParams
from pipecat.transports.smallwebrtc.request_handler import SmallWebRTCRequest, SmallWebRTCRequestHandler
from pipecat.transports.smallwebrtc.transport import SmallWebRTCTransport

RATE = 24_000


class Echo(FrameProcessor):
    """Audio in becomes audio out."""

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if isinstance(frame, InputAudioRawFrame):
            frame = OutputAudioRawFrame(frame.audio, frame.sample_rate, frame.num_channels)
        await self.push_frame(frame, direction)


async def converse(connection) -> None:
    """One connection's pipeline, until it is gone."""
    audio = TransportParams(
        audio_in_enabled=True, audio_out_enabled=True, audio_in_sample_rate=RATE, audio_out_sample_rate=RATE
    )
    transport = SmallWebRTCTransport(connection, audio)
    task = PipelineTask(
        Pipeline([transport.input(), Echo(), transport.output()]),
        params=PipelineParams(audio_in_sample_rate=RATE, audio_out_sample_rate=RATE),
        idle_timeout_secs=None,
    )

    @transport.event_handler("on_client_disconnected")
    async def on_client_disconnected(transport, client) -> None:
        await task.cancel()

    await PipelineRunner(handle_sigint=False).run(task)


def create_app() -> FastAPI:
    app = FastAPI()
    handler = SmallWebRTCRequestHandler()
    conversations: set[asyncio.Task] = set()

    @app.post("/offer")
    async def offer(request: Request):
        async def begin(connection) -> None:
            conversation = asyncio.create_task(converse(connection))  # ends with its connection
            conversations.add(conversation)
            conversation.add_done_callback(conversations.discard)

        body = await request.json()
        return await handler.handle_web_request(SmallWebRTCRequest(sdp=body["sdp"], type=body["type"]), begin)

    return app


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    logger.remove()
    logger.add(sys.stderr, level="WARNING")
    uvicorn.run(create_app(), host="127.0.0.1", port=parser.parse_args().port, log_level="warning", loop="asyncio")


if __name__ == "__main__":
    main()
