"""What every HTTP answer has in common, against the real application."""

import re

import pytest
from aiohttp.test_utils import make_mocked_request

from signaling.http import Problem, limit
from signaling.limits import Limiter
from signaling.settings import Settings
from tests.conftest import Server


@pytest.fixture
def settings() -> Settings:
    return Settings(translator="echo", allow_origins=("https://app.example",))


async def test_an_allowed_origin_may_read_the_answer(server: Server) -> None:
    """Access-Control-Allow-Origin names it; Location and Retry-After can be read."""
    answer = await server.get("/v1/rooms", headers={"Origin": "https://app.example"})
    assert answer.status == 200
    assert answer.headers["Access-Control-Allow-Origin"] == "https://app.example"
    assert "Retry-After" in answer.headers["Access-Control-Expose-Headers"] and answer.headers["Vary"] == "Origin"


async def test_our_own_pages_are_always_allowed(server: Server) -> None:
    """Their Origin is the address itself."""
    assert (await server.get("/v1/rooms", "POST", headers={"Origin": server.base})).status == 201


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "https://app.example.evil.example", "garbage"])
async def test_a_stranger_is_refused(server: Server, origin: str) -> None:
    """403 before anything is done, WebSockets included."""
    room = await server.room()
    for path in ("/v1/rooms", f"/v1/rooms/{room}/signal"):
        answer = await server.get(path, headers={"Origin": origin})
        assert (answer.status, answer.json()["code"]) == (403, "origin_not_allowed")
        assert "Access-Control-Allow-Origin" not in answer.headers


async def test_preflight(server: Server) -> None:
    """204 with what is allowed, without running the handler."""
    headers = {"Origin": "https://app.example", "Access-Control-Request-Method": "POST"}
    answer = await server.get("/v1/rooms", "OPTIONS", headers=headers)
    assert answer.status == 204 and "POST" in answer.headers["Access-Control-Allow-Methods"]
    assert "Authorization" in answer.headers["Access-Control-Allow-Headers"]
    assert (await server.get("/v1/rooms")).json() == []


async def test_pages_cannot_load_anything_from_elsewhere(server: Server) -> None:
    """The policy on every answer; and the pages themselves name nothing foreign."""
    for path in ("/", "/room/anything"):
        page = await server.get(path)
        assert page.status == 200 and page.content_type == "text/html"
        assert "default-src 'self'" in page.headers["Content-Security-Policy"]
        assert page.headers["X-Content-Type-Options"] == "nosniff"
        assert not re.search(r"(src|href)=\"(https?:)?//", page.text)
        for asset in re.findall(r"(?:src|href)=\"(/static/[^\"]+)\"", page.text):
            assert (await server.get(asset)).status == 200, asset


async def test_browsers_ask_whether_pages_and_scripts_have_changed(server: Server) -> None:
    """Else they mix scripts of two versions for days after an upgrade; what has not changed is not sent again."""
    for path in ("/", "/room/anything", "/talk", "/static/room.js", "/static/styles/main.css"):
        page = await server.get(path)
        assert page.headers["Cache-Control"] == "no-cache", path
        assert (await server.get(path, headers={"If-None-Match": page.headers["ETag"]})).status == 304


async def test_a_wrong_method_names_the_right_ones(server: Server) -> None:
    """405 with Allow, as a problem."""
    answer = await server.get("/v1/rooms", "PUT")
    assert answer.status == 405 and "POST" in answer.headers["Allow"]
    assert answer.json()["code"] == "method_not_allowed"


async def test_a_plain_get_of_a_socket_is_told_so(server: Server) -> None:
    """426, not a traceback."""
    assert (await server.get(f"/v1/rooms/{await server.room()}/signal")).status == 426


async def test_another_address_of_the_same_network_is_no_other_person() -> None:
    """With IPv6 everybody has 2^64 of them."""
    limiter = Limiter(rate=0.001, burst=1)
    first, second, stranger = (
        make_mocked_request("GET", "/").clone(remote=f"2001:db8:0:{address}") for address in ("1::1", "1::2", "2::1")
    )
    limit(limiter, first)
    limit(limiter, stranger)
    with pytest.raises(Problem) as refusal:
        limit(limiter, second)
    assert refusal.value.status == 429


async def test_prometheus_can_read_the_metrics(server: Server) -> None:
    """Text format, with rooms and readiness."""
    await server.room()
    answer = await server.get("/metrics")
    assert answer.content_type == "text/plain"
    assert re.search(r"^dragoman_rooms 1\.0$", answer.text, re.MULTILINE)
    assert re.search(r"^dragoman_ready 1\.0$", answer.text, re.MULTILINE)


async def test_health_and_readiness(server: Server) -> None:
    """Alive all the time; ready only when it is."""
    assert (await server.get("/healthz")).status == 200
    assert (await server.get("/readyz")).json() == {"state": "ready"}
    server.house.engine.state = "failed"
    server.house.engine.error = "No model."
    answer = await server.get("/readyz")
    assert answer.status == 503 and answer.json()["error"] == "No model."
    assert (await server.get("/healthz")).status == 200
