"""The whole product with a voice that costs nothing and says what it hears, one step later; and how many tasks it has.

python -m tests.bench.peers.talk --port 8080 --seats 20
"""

import argparse
import asyncio
import gc

from aiohttp import web

from rtc.dialogue_thread import DialogueThread
from signaling.__main__ import event_loop
from signaling.engines import build_engine
from signaling.server import create_app
from signaling.settings import Settings
from tests.parrot import Parrot


async def tasks(request: web.Request) -> web.Response:
    """`GET /tasks`: those of the event loop, once garbage is collected."""
    gc.collect()
    return web.json_response(len(asyncio.all_tasks()))


async def serve(port: int, seats: int) -> None:
    settings = Settings(translator="echo", http_rate=1000)
    app = create_app(build_engine(settings), settings, DialogueThread(Parrot(seats)))
    app.router.add_get("/tasks", tasks)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--seats", type=int, required=True)
    options = parser.parse_args()
    with asyncio.Runner(loop_factory=event_loop()) as loop:
        loop.run(serve(options.port, options.seats))
