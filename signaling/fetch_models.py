"""`dragoman fetch-models`: weights of the large engines, once, before they are served."""

import argparse
import os
import sys

from models.base import EngineError
from signaling.engines import CHECKPOINTS, fetch_weights
from signaling.settings import Settings

EPILOG = """\
Files go into the cache of the Hugging Face hub (HF_HOME says where). What was interrupted goes on where it stopped when
the same command is run again. HF_ENDPOINT names a mirror, HF_TOKEN a token.
"""


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """The command's grammar."""
    parser = commands.add_parser("fetch-models", help="download the weights of an engine", epilog=EPILOG)
    parser.add_argument("--translator", choices=["seamless"], help="default, unless another is given")
    parser.add_argument("--dialogue", choices=["moshi"])
    for name, default in (("seamless", Settings().seamless_model), ("moshi", CHECKPOINTS["moshi"].repository)):
        parser.add_argument(
            f"--{name}-model",
            default=os.environ.get(f"DRAGOMAN_{name.upper()}_MODEL", default),
            metavar="X",
            help="repository of the hub, or a directory, which is checked only (default: %(default)s)",
        )
    parser.add_argument(
        "--hibiki",
        dest="hibiki_model",
        nargs="?",
        const=os.environ.get("DRAGOMAN_HIBIKI_MODEL") or CHECKPOINTS["hibiki"].repository,
        metavar="X",
        help="Hibiki: repository of the hub, or a directory, which is checked only (default: %(const)s)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Fetch what was asked for; the exit status. Tells what will be fetched, under which licence, before it begins."""
    hibiki = None if arguments.hibiki_model is None else "hibiki"
    chosen = [name for name in (arguments.translator, arguments.dialogue, hibiki) if name] or ["seamless"]
    try:
        for name in chosen:
            checkpoint, model = CHECKPOINTS[name], getattr(arguments, f"{name}_model")
            _say(f"{checkpoint.name}, from {model}")
            _say(f"Licence: {checkpoint.licence}")
            if not os.path.isdir(model):
                _say(f"Size: about {checkpoint.size / 1e9:.1f} GB")
            _say(f"All of it is in {fetch_weights(name, model, _say)}")
    except EngineError as error:
        print(f"dragoman: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ndragoman: stopped. The same command goes on from here.", file=sys.stderr)
        return 130  # 128 + SIGINT, as shells have it
    return 0


def _say(sentence: str) -> None:
    print(sentence, flush=True)  # at once, though stdout be a file: minutes follow
