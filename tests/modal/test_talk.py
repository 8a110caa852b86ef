"""Seats with the voice: one session of a container is one seat."""

import asyncio

import pytest

pytest.importorskip("modal", reason="modal is not installed: pip install 'dragoman[test]'")

from tests.modal.cloud import Cloud
from tests.modal.people import Visitor

DOOR = "/v1/conversation/placement"


async def test_a_full_house_has_a_line(cloud: Cloud, visitor: Visitor) -> None:
    """Who comes first talks with the voice in its own container; the next is told their place at once, and comes in
    when the seat is free, before whoever came later."""
    await asyncio.to_thread(cloud.serve, "MoshiServer")
    ana = await visitor.client("", path="/v1/conversation/signal")
    await ana.send("session.join", sdp=await ana.offer(slots=0), name="Ana")
    ana.joined = await ana.expect("session.joined")
    await ana.accept(ana.joined["sdp"])
    await ana.connected()
    await ana.expect("transcript.final", lambda m: m["participant_id"] == "assistant")

    second, third = await visitor.ask("POST", DOOR), await visitor.ask("POST", DOOR)
    for answer, position in ((second, 1), (third, 2)):
        refusal = answer.json()
        assert (answer.status, refusal["code"], refusal["position"]) == (503, "house_full", position)
        assert 0 < refusal["retry_after_s"] <= 10
    await ana.send("session.leave")
    await ana.closed()
    later = await visitor.ask("POST", DOOR, json={"ticket": third.json()["ticket"]})
    assert (later.status, later.json()["position"]) == (503, 2), "nobody overtakes"
    first = second
    while first.status == 503:  # her container gives the seat back when it has said goodbye
        assert first.json()["position"] == 1
        first = await visitor.ask("POST", DOOR, json={"ticket": second.json()["ticket"]})
    assert first.status == 200, first.text
    http = await visitor.inside(first.json())
    async with http.get(f"{first.json()['url']}/v1/conversation") as answer:
        assert (await answer.json())["url"] == f"{visitor.lobby}/talk"
    async with http.get(f"{first.json()['url']}/v1/rooms/any") as answer:
        assert answer.status == 404, "it has no rooms"


async def test_the_lobby_shows_pages_and_the_engine(visitor: Visitor) -> None:
    for path in ("/", "/room/any", "/talk"):
        page = await visitor.ask("GET", path)
        assert (page.status, page.content_type) == (200, "text/html"), page.text
    engine = (await visitor.ask("GET", "/v1/engine")).json()
    while not engine["name"]:
        engine = (await visitor.ask("GET", "/v1/engine")).json()  # the translator tells it when it has loaded
    assert engine["name"] == "echo"
