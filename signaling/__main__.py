"""The command line: `dragoman serve`, `dragoman doctor`, `dragoman fetch-models`."""

import argparse
import asyncio
import contextlib
import math
import os
import signal
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from aiohttp import web

from models.base import EngineError
from signaling import fetch_models, ice, turn_server
from signaling.engines import DIALOGUES, TRANSLATORS, build_dialogue, build_engine, build_streaming
from signaling.front import PLACER, create_front
from signaling.runtime import event_loop, log_to_stderr
from signaling.server import HOUSE, create_app, freeze_when_settled
from signaling.settings import Settings
from signaling.worker_process import BAD_SETTINGS

HELP: dict[str, str] = {
    "host": "address to listen on [HOST]",
    "port": "TCP port of pages and signaling, 0 for any free one [PORT]",
    "translator": "engine that understands, translates and speaks: " + ", ".join(sorted(TRANSLATORS)),
    "recognizers": "utterances the embedded engine can hear at once, and as many the partner, about 100 MB each",
    "seamless_model": "repository or directory with the weights of SeamlessM4T-v2, see dragoman fetch-models",
    "hibiki_model": "repository or directory with the weights of Hibiki, which interprets French into English",
    "hibiki_seats": "people whom Hibiki interprets at once",
    "dialogue": "voice to talk with: " + ", ".join(sorted(DIALOGUES)),
    "moshi_model": "repository or directory with the weights of Moshi, see dragoman fetch-models",
    "moshi_seats": "people who talk with Moshi at once",
    "moshi_context": "steps of 80 ms that Moshi remembers, 0 for all that it can",
    "voice": "voice of the dialogue: moshiko or moshika, or partner of the embedded one",
    "max_call": "seconds after which a conversation is ended, 0 for never",
    "max_waiting": "people in line for a conversation",
    "public_url": "address at which people find the pages, if it is another server's",
    "api_key": "key that OpenAI's Realtime API asks for here; none: it is open to all",
    "allow_origins": "web origin that may use the API besides our own; repeat for several, * for any",
    "media_ports": "UDP ports for media, e.g. 40000-40015; 64 people share one",
    "stun_url": "STUN server, e.g. stun:stun.example.org:3478",
    "turn": "start a TURN server (coturn) too; X is the public name or IPv4 address of this machine, found if left out",
    "turn_port": "UDP and TCP port of that TURN server",
    "turn_cert": "PEM file with a certificate for TURN over TLS",
    "turn_key": "PEM file with the certificate's key",
    "turn_tls_port": "TCP port for TURN over TLS",
    "turn_urls": "another TURN server, e.g. turn:turn.example.org:3478?transport=udp; repeat for several",
    "turn_secret": "secret shared with the TURN server (coturn: static-auth-secret); --turn makes one up",
    "turn_ttl": "seconds for which TURN credentials hold",
    "cloudflare_turn_key_id": "id of a TURN key of Cloudflare Realtime",
    "cloudflare_turn_token": "API token of that key; better given in the environment",
    "twilio_account_sid": "account of Twilio, for its TURN servers",
    "twilio_auth_token": "auth token of that account; better given in the environment",
    "workers": "processes that hold rooms, behind one that holds none; 1 for a single process",
    "session_secret": "signs what clients resume with; random if empty. Servers that share rooms share it",
    "session_ttl": "seconds for which a session can be resumed in another process",
    "max_rooms": "rooms at once",
    "max_participants": "people in all rooms together",
    "room_capacity": "people in one room",
    "max_slots": "voices a listener can receive at once",
    "room_ttl": "seconds for which an empty room is kept, with its transcript",
    "grace": "seconds for which a lost session can be resumed",
    "join_timeout": "seconds from opening the WebSocket to session.join",
    "connect_timeout": "seconds from the answer to a media connection",
    "max_message": "bytes of one WebSocket message",
    "max_sdp": "characters of an offer",
    "max_chat": "characters of one chat message",
    "message_rate": "WebSocket messages a second",
    "chat_rate": "chat messages a second",
    "http_rate": "costly HTTP requests a second and address",
}

FLAGS = {"allow_origins": "allow-origin", "turn_urls": "turn-url", "hibiki_model": "hibiki"}
"""Those that are not the setting's name."""

PORTS = ("port", "turn_port", "turn_tls_port")

EPILOG = """\
Every option can be set in the environment too: --turn-secret as DRAGOMAN_TURN_SECRET (lists separated by commas); HOST
and PORT go by those names. Media flow over UDP on ports that the system chooses, unless --media-ports does.
"""


def _flag(name: str) -> str:
    """Of a setting."""
    return "--" + FLAGS.get(name, name.replace("_", "-"))


def parser() -> argparse.ArgumentParser:
    """The command line's grammar."""
    root = argparse.ArgumentParser(
        prog="dragoman",
        description="Everybody in a room hears everybody else in their own language, and a voice talks with you.",
    )
    commands = root.add_subparsers(dest="command", required=True)
    serve = commands.add_parser("serve", help="run the server", epilog=EPILOG)
    for field in fields(Settings):
        flag = _flag(field.name)
        variable = field.name.upper() if field.name in ("host", "port") else "DRAGOMAN_" + field.name.upper()
        text = f"{HELP[field.name]} (default: {field.default or 'none'})"
        if isinstance(field.default, tuple):
            listed = tuple(part.strip() for part in os.environ.get(variable, "").split(",") if part.strip())
            serve.add_argument(flag, dest=field.name, action="append", default=None, metavar="X", help=text)
            serve.set_defaults(**{f"{field.name}_env": listed})
        else:
            kind = type(field.default)
            default = os.environ.get(variable, field.default)
            alone: dict[str, Any] = {"nargs": "?", "const": "auto"} if field.name == "turn" else {}
            serve.add_argument(flag, dest=field.name, type=kind, default=default, metavar="X", help=text, **alone)
    commands.add_parser("doctor", help="say which parts of the embedded engine are there")
    fetch_models.add_to(commands)
    return root


def settings_of(arguments: argparse.Namespace) -> Settings:
    """The settings that a parsed command line means."""
    values = {}
    for field in fields(Settings):
        value = getattr(arguments, field.name)
        if isinstance(field.default, tuple):
            value = tuple(value) if value is not None else getattr(arguments, f"{field.name}_env")
        values[field.name] = value
    return Settings(**values)


def serve(settings: Settings) -> int:
    """Run until interrupted or terminated."""
    log_to_stderr()
    try:
        app = application(settings)
    except ValueError as error:
        print(f"dragoman: {error}", file=sys.stderr)
        return BAD_SETTINGS
    try:
        with asyncio.Runner(loop_factory=event_loop()) as runner:
            return runner.run(_serve(app, settings))
    except turn_server.NotStarted as error:
        print(f"dragoman: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"dragoman: cannot listen on {settings.host}:{settings.port}: {error.strerror}", file=sys.stderr)
        return 1


def application(settings: Settings) -> web.Application:
    """What is served, in one process or in one before several, and a TURN server if asked for. Raises ValueError for
    settings that cannot be."""
    if settings.workers < 1:
        raise ValueError("There must be one worker at least.")
    _check_numbers(settings)
    ice.check(settings)
    settings, turn = turn_server.prepare(settings) if settings.turn else (settings, None)
    if settings.workers > 1:
        counters = Counter[str]()
        app = create_front(settings, counters)
    else:
        app = create_app(build_engine(settings), settings, build_dialogue(settings), build_streaming(settings))
        freeze_when_settled(app)
        counters = app[HOUSE].ice.counters
    if turn is not None:
        app.cleanup_ctx.insert(0, turn_server.beside(turn, counters))
    return app


def _check_numbers(settings: Settings) -> None:
    """Raises ValueError for one that cannot be: a port that is none is another one to some event loops."""
    for field in fields(Settings):
        value = getattr(settings, field.name)
        highest = 65535 if field.name in PORTS else math.inf
        if isinstance(value, int | float) and not (0 <= value <= highest and value < math.inf):
            raise ValueError(f"{_flag(field.name)} cannot be {value}")


async def _serve(app: web.Application, settings: Settings) -> int:
    stop = asyncio.Event()
    ended = app[PLACER].ended if PLACER in app else asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError):  # Windows: Ctrl-C raises KeyboardInterrupt instead
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=5)
    await runner.setup()
    try:
        await web.TCPSite(runner, settings.host, settings.port).start()
        for address in runner.addresses:
            host = f"[{address[0]}]" if ":" in address[0] else address[0]
            print(f"Dragoman is at http://{host}:{address[1]}/  (Ctrl-C to stop)", flush=True)
        async with asyncio.TaskGroup() as tasks:
            reasons = [tasks.create_task(event.wait()) for event in (stop, ended)]
            await asyncio.wait(reasons, return_when=asyncio.FIRST_COMPLETED)
            for reason in reasons:
                reason.cancel()
    finally:
        await runner.cleanup()
    return BAD_SETTINGS if PLACER in app and app[PLACER].failed else 0


def doctor() -> int:
    """What the embedded engine can do on this machine."""
    translator = TRANSLATORS["embedded"](Settings(recognizers=1))
    try:
        translator.load(lambda progress, doing: None)
    except EngineError as error:
        print(f"The embedded engine does not start: {error}")
        return 1
    print(translator.notice + "\n")
    codes = [language.code for language in translator.languages]
    for language in translator.languages:
        abilities = [
            word
            for word, able in (
                ("understood when spoken", language.speech_in),
                ("read aloud", language.speech_out),
                ("written", language.text),
            )
            if able
        ]
        sources = [
            f"{source} via {'+'.join(route)}" if route else source
            for source in codes
            if source != language.code and (route := translator.route(source, language.code)) is not None
        ]
        print(f"{language.code}  {language.english:<11} {', '.join(abilities)}; from {', '.join(sources) or 'nothing'}")
    translator.close()
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of the installed command."""
    parsed = parser().parse_args(arguments)
    match parsed.command:
        case "serve":
            return serve(settings_of(parsed))
        case "fetch-models":
            return fetch_models.run(parsed)
        case _:
            return doctor()


if __name__ == "__main__":
    sys.exit(main())
