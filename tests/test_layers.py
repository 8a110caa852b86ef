"""The architecture's rules, read from the source: who may import whom, and a few habits that are easy to lose."""

import ast
import io
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("rtc", "models", "signaling")
SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).glob("*.py"))

HOMES = {
    "aiohttp": "signaling",
    "prometheus_client": "signaling",
    "uvloop": "signaling",
    "aioice": "rtc",
    "aiortc": "rtc",
    "av": "rtc",
    "pylibsrtp": "rtc",
    "pocketsphinx": "models",
    "onnxruntime": "models",
    "torch": "models",
    "transformers": "models",
    "huggingface_hub": "models",
    "modal": "signaling",
    "moshi": "models",
}
"""Each third-party library has one home."""


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def imports(path: Path) -> Iterator[str]:
    """Dotted names of everything a file imports, wherever it does."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name(path)}: imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_imports_go_one_way(path: Path) -> None:
    """signaling → rtc → models.base; engines are named in signaling/engines.py only; models know no event loop."""
    package = path.parent.name
    for imported in imports(path):
        top = imported.split(".")[0]
        where = f"{name(path)} imports {imported}"
        if package == "models":
            assert top not in ("rtc", "signaling", "static", "asyncio"), where
        if package == "rtc":
            assert top not in ("signaling", "static"), where
            assert top != "models" or imported.startswith("models.base"), where
        if package == "signaling" and top == "models" and path.name != "engines.py":
            assert imported.startswith("models.base"), where


def test_modal_is_imported_in_one_file() -> None:
    """So that all others run, and are tested, without it."""
    importing = {name(path) for path in SOURCES if any(one.split(".")[0] == "modal" for one in imports(path))}
    assert importing == {"signaling/modal_app.py"}


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_each_library_has_one_home(path: Path) -> None:
    """aiortc is rtc's, aiohttp is signaling's, and so on."""
    for imported in imports(path):
        home = HOMES.get(imported.split(".")[0])
        if home is not None:
            assert home == path.parent.name, f"{name(path)} imports {imported}, which belongs to {home}"


@pytest.mark.parametrize(
    "path",
    [*SOURCES, *sorted((ROOT / "static").rglob("*.js")), *sorted((ROOT / "tests").glob("**/*.py"))],
    ids=name,
)
def test_files_stay_short(path: Path) -> None:
    """No file over 400 lines: it would hold a second idea."""
    if "node_modules" not in path.parts:
        assert len(path.read_text().splitlines()) <= 400


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_what_is_dangerous_is_explained(path: Path) -> None:
    """A broad `except`, a task outside a TaskGroup and a silenced check say why on their line."""
    source = path.read_text()
    comments = {
        token.start[0]: token.string
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT
    }
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ExceptHandler):
            caught = ast.unparse(node.type) if node.type else "everything"
            if caught in ("everything", "Exception", "BaseException") and not _reraises(node):
                assert node.lineno in comments, f"{name(path)}:{node.lineno} catches {caught} without a reason"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            owner = ast.unparse(node.func.value)
            if node.func.attr in ("create_task", "ensure_future") and owner == "asyncio":
                assert node.lineno in comments, f"{name(path)}:{node.lineno} has a task without an owner"
    for line, comment in comments.items():
        if "type: ignore" in comment or "noqa" in comment:
            assert comment.count("#") > 1, f"{name(path)}:{line} silences a check without a reason"


def _reraises(handler: ast.ExceptHandler) -> bool:
    return any(isinstance(node, ast.Raise) and node.exc is None for node in ast.walk(handler))


def test_every_source_has_its_test() -> None:
    """rtc/x.py has tests/rtc/test_x.py, minus those that are tested as a whole."""
    elsewhere = {
        "rtc/conversation.py": "tests/test_conversation.py",
        "rtc/events.py": "plain data; every field is seen in tests/test_room_call.py",
        "rtc/readiness.py": "tests/rtc/test_engine_thread.py, tests/test_engine_states.py",
        "rtc/packetizer.py": "tests/rtc/test_playout.py, tests/rtc/test_talking.py",
        "rtc/reporting.py": "tests/test_room_call.py, tests/test_simultaneous.py",
        "rtc/telling.py": "tests/test_room_call.py, tests/test_guest.py",
        "rtc/streaming_translation.py": "tests/test_streaming_translation.py",
        "rtc/voices.py": "tests/test_room_call.py, tests/test_simultaneous.py",
        "signaling/__main__.py": "tests/signaling/test_command_line.py",
        "signaling/api.py": "tests/test_room_call.py, tests/test_bad_input.py",
        "signaling/conversation.py": "tests/test_conversation.py",
        "signaling/control.py": "tests/test_workers.py",
        "signaling/front.py": "tests/test_workers.py",
        "signaling/house.py": "tests/test_sessions.py, tests/test_engine_states.py",
        "signaling/lobby_api.py": "tests/signaling/test_http.py, tests/test_bad_input.py",
        "signaling/metrics.py": "tests/signaling/test_http.py",
        "signaling/modal_app.py": "tests/modal",
        "signaling/parlour.py": "tests/test_conversation.py",
        "signaling/participant.py": "tests/test_sessions.py",
        "signaling/runtime.py": "tests/signaling/test_command_line.py",
        "signaling/realtime.py": "tests/test_realtime.py",
        "signaling/realtime_call.py": "tests/test_realtime.py",
        "signaling/server.py": "tests/conftest.py starts it for every other test",
        "signaling/settings.py": "tests/signaling/test_command_line.py",
        "signaling/proxy.py": "tests/test_workers.py",
        "signaling/room_socket.py": "tests/test_sessions.py, tests/test_room_call.py",
        "signaling/session.py": "tests/test_sessions.py, tests/test_conversation.py",
        "signaling/socket.py": "tests/test_sessions.py, tests/test_bad_input.py",
        "signaling/states.py": "tests/test_engine_states.py",
        "signaling/talk_socket.py": "tests/test_conversation.py",
        "signaling/worker.py": "tests/test_workers.py",
        "signaling/worker_process.py": "tests/test_workers.py, tests/signaling/test_process_placer.py",
        "signaling/visit.py": "tests/test_guest.py",
        "models/base.py": "types only",
        "models/pocketsphinx_worker.py": "tests/models/test_recognizer.py runs it",
        "models/recognizer_process.py": "tests/models/test_recognizer.py",
        "models/seamless_worker.py": "tests/models/test_seamless.py",
    }
    sources = {name(path) for path in SOURCES if path.name != "__init__.py"}
    assert set(elsewhere) <= sources, "the list names files that are gone"
    untested = {
        source
        for source in sources - set(elsewhere)
        if not (ROOT / "tests" / source).with_name(f"test_{Path(source).name}").exists()
    }
    assert not untested
