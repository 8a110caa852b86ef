"""Credentials as coturn checks them, answers of providers, their order, and when they are asked for anew."""

import base64
import hashlib
import hmac
from typing import Any

import pytest
from aiortc import RTCIceServer
from aiortc.rtcicetransport import connection_kwargs
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from signaling.ice import (
    Lease,
    Provider,
    check,
    cloudflare,
    ordered,
    port_range,
    providers,
    read_answer,
    share_of,
    shared_secret,
    twilio,
)
from signaling.settings import Settings

CLOUDFLARE: dict[str, Any] = {
    "iceServers": [
        {"urls": ["stun:stun.cloudflare.com:3478", "stun:stun.cloudflare.com:53"]},
        {
            "urls": [
                "turn:turn.cloudflare.com:3478?transport=tcp",
                "turns:turn.cloudflare.com:443?transport=tcp",
                "turn:turn.cloudflare.com:53?transport=udp",
                "turn:turn.cloudflare.com:3478?transport=udp",
            ],
            "username": "bc91b63e",
            "credential": "ebd71f1d",
        },
    ]
}
TWILIO: dict[str, Any] = {
    "ttl": "600",
    "username": "dc2d",
    "password": "tE2D",
    "ice_servers": [
        {"url": "stun:global.stun.twilio.com:3478", "urls": "stun:global.stun.twilio.com:3478"},
        {"urls": "turn:global.turn.twilio.com:443?transport=tcp", "username": "dc2d", "credential": "tE2D"},
        {"urls": "turn:global.turn.twilio.com:3478?transport=udp", "username": "dc2d", "credential": "tE2D"},
    ],
}


def test_credentials_expire_and_are_signed_with_the_secret() -> None:
    """The user name is the time of expiry and an id; the password its HMAC-SHA1."""
    server = shared_secret(["turn:a:3478", "turns:a:5349"], "s3cret", 600, 1_000_000.0, "ana")
    assert server["urls"] == ["turn:a:3478", "turns:a:5349"] and server["username"] == "1000600:ana"
    signature = hmac.new(b"s3cret", b"1000600:ana", hashlib.sha1).digest()
    assert base64.b64decode(server["credential"]) == signature


def test_cloudflare_is_asked_as_it_wants_and_understood() -> None:
    """One POST with a bearer token and JSON; addresses on port 53, which browsers don't use, are left out."""
    provider = cloudflare("key", "token", 1200)
    assert provider.url == "https://rtc.live.cloudflare.com/v1/turn/keys/key/credentials/generate-ice-servers"
    assert provider.headers == {"Authorization": "Bearer token"} and provider.body == {"ttl": 1200}
    servers, lifetime = read_answer(provider, CLOUDFLARE)
    assert lifetime == 1200 and [len(server["urls"]) for server in servers] == [1, 3]
    assert not any(":53" in url for server in servers for url in server["urls"])


def test_twilio_is_asked_as_it_wants_and_understood() -> None:
    """A form, basic authentication; the lifetime is a string in the answer."""
    provider = twilio("AC1", "token", 1200)
    assert provider.url == "https://api.twilio.com/2010-04-01/Accounts/AC1/Tokens.json" and provider.form
    assert provider.body == {"Ttl": "1200"}
    assert base64.b64decode(provider.headers["Authorization"].removeprefix("Basic ")) == b"AC1:token"
    servers, lifetime = read_answer(provider, TWILIO)
    assert lifetime == 600
    assert servers[1]["credential"] == "tE2D" and set(servers[0]) == {"urls"}


def _without(name: str) -> dict[str, Any]:
    stun, turn = CLOUDFLARE["iceServers"]
    return {"iceServers": [stun, {key: value for key, value in turn.items() if key != name}]}


@pytest.mark.parametrize(
    "answer",
    [
        None,
        [],
        "iceServers",
        {},
        {"iceServers": {"urls": "turn:a"}},
        {"iceServers": []},
        {"iceServers": [None, 1, "turn:a", {}]},
        _without("urls"),
        _without("username"),
        _without("credential"),
        {"iceServers": [{"urls": [None, "https://a", "turn:"], "username": "u", "credential": "c"}]},
        {"iceServers": [{"urls": "turn:a", "username": "u", "credential": 5}]},
        {"iceServers": [{"urls": "turn:a:65536", "username": "u", "credential": "c"}]},
    ],
)
def test_nonsense_is_refused(answer: object) -> None:
    """With a reason, and without what was in it."""
    with pytest.raises(ValueError, match="in the answer") as refused:
        read_answer(cloudflare("key", "t0ken", 600), answer)
    assert "t0ken" not in str(refused.value)


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
URLS = st.from_regex(r"(stun|turn)s?:[a-z.]{0,5}(:[0-9]{0,6})?([?]transport=(udp|tcp|sctp)?)?", fullmatch=True)
ENTRIES = st.fixed_dictionaries(
    {"urls": URLS | st.lists(URLS | ANYTHING, max_size=4) | ANYTHING},
    optional={name: st.text(max_size=9) | ANYTHING for name in ("username", "credential", "url")},
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # the machine may be busy
@given(st.lists(ENTRIES | ANYTHING, min_size=1, max_size=4), ANYTHING)
def test_whatever_a_provider_says_aiortc_can_use_what_is_left(listed: list[object], ttl: object) -> None:
    """Or it is refused: a join must never fail for it."""
    try:
        servers, lifetime = read_answer(twilio("AC1", "token", 600), {"ice_servers": listed, "ttl": ttl})
    except ValueError:
        return
    assert 0 < lifetime <= 600
    connection_kwargs([RTCIceServer(**server) for server in ordered(servers)])


@pytest.mark.parametrize(
    ("ttl", "lifetime"), [("x", 600), (None, 600), (-1, 600), ("nan", 600), (9e9, 600), ("60", 60)]
)
def test_a_strange_lifetime_is_not_believed(ttl: object, lifetime: float) -> None:
    """What was asked for is the most."""
    assert read_answer(twilio("AC1", "token", 600), {**TWILIO, "ttl": ttl})[1] == lifetime


@pytest.mark.parametrize(("provider", "answer"), [(cloudflare, CLOUDFLARE), (twilio, TWILIO)])
def test_what_comes_first_is_best_for_aiortc(provider: Any, answer: object) -> None:
    """It uses one STUN and one TURN address: that by UDP. Browsers are told all, TLS last."""
    asked: Provider = provider("key", "token", 600)
    servers = ordered(read_answer(asked, answer)[0])
    chosen = connection_kwargs([RTCIceServer(**server) for server in servers])
    assert chosen["turn_transport"] == "udp" and chosen["turn_server"][1] == 3478
    assert chosen["stun_server"][1] == 3478
    urls = [url for server in servers for url in server["urls"]]
    assert len(urls) == sum(len(server["urls"]) for server in read_answer(asked, answer)[0])
    assert [url for url in urls if url.startswith("turns:")] == [url for url in urls[-1:] if url.startswith("turns:")]


def test_credentials_are_asked_for_anew_while_they_hold() -> None:
    """At half of their life; after nine tenths nobody gets them any more."""
    lease = Lease()
    assert lease.due <= 0 and lease.servers(0) == []
    lease.renew([{"urls": ["turn:a"]}], 1000, 100)
    assert lease.due == 600
    assert lease.servers(999) and lease.servers(1001) == []


def test_a_failing_provider_costs_nothing_while_the_last_answer_holds() -> None:
    """It is asked again, ever more seldom; one good answer and all is as before."""
    lease = Lease()
    lease.renew([{"urls": ["turn:a"]}], 1000, 0)
    now, pauses = lease.due, []
    for _ in range(8):
        lease.fail(now)
        pauses.append(lease.due - now)
        now = lease.due
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60] and lease.servers(now)
    assert lease.servers(900) == []
    lease.renew([{"urls": ["turn:b"]}], 1000, 900)
    assert lease.servers(901) == [{"urls": ["turn:b"]}]
    lease.fail(lease.due)
    assert lease.due == 900 + 500 + 1


def test_settings_choose_the_providers() -> None:
    """Whatever is set; nothing by default."""
    assert providers(Settings()) == []
    both = Settings(
        cloudflare_turn_key_id="k",
        cloudflare_turn_token="t",
        twilio_account_sid="s",
        twilio_auth_token="a",
        turn_ttl=90,
    )
    assert [provider.name for provider in providers(both)] == ["Cloudflare", "Twilio"]
    assert all(provider.ttl == 90 for provider in providers(both))
    for secret in ("cloudflare_turn_token", "twilio_auth_token", "turn_secret"):
        assert secret not in repr(both)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"stun_url": "stun.example.org"}, "no address"),
        ({"turn_urls": ("turn:a:3478?transport=sctp",), "turn_secret": "s"}, "no address"),
        ({"turn_urls": ("https://a",), "turn_secret": "s"}, "no address"),
        ({"turn_urls": ("turn:a:70000",), "turn_secret": "s"}, "no address"),
        ({"stun_url": "stun:a?transport=udp"}, "no address"),
        ({"turn_urls": ("turn:a",)}, "--turn-secret"),
        ({"turn_urls": ("turn:a",), "turn_secret": "s", "turn": "auto"}, "one of them"),
        ({"turn_ttl": 0}, "60 seconds"),
        ({"cloudflare_turn_token": "s3cret"}, "--cloudflare-turn-key-id"),
        ({"twilio_account_sid": "AC1"}, "--twilio-auth-token"),
        ({"turn_cert": "a.pem"}, "--turn-key"),
        ({"media_ports": "40000"}, "no range"),
        ({"media_ports": "80-90"}, "1024 is the lowest"),
        ({"media_ports": "40000-39999"}, "no range"),
        ({"media_ports": "40000-70000"}, "no range"),
    ],
)
def test_settings_that_cannot_work_are_named(wrong: dict[str, Any], said: str) -> None:
    """Before the server starts."""
    with pytest.raises(ValueError, match=said) as refused:
        check(Settings(**wrong))
    assert "s3cret" not in str(refused.value)


def test_settings_that_work() -> None:
    """The README's."""
    check(Settings())
    check(Settings(stun_url="stun:a:3478", turn_urls=("turn:a:3478?transport=udp", "turns:a:443"), turn_secret="s"))
    check(Settings(media_ports="40000-40999"))
    assert port_range("40000-40999")[-1] == 40999
    check(Settings(turn="auto", turn_cert="a.pem", turn_key="b.pem"))


@pytest.mark.parametrize("shares", range(1, 8))
def test_processes_share_a_range_without_sharing_a_port(shares: int) -> None:
    """All of it, in shares that differ by one port at most; of no range there are no shares."""
    parts = [port_range(share_of("40000-40006", number, shares)) for number in range(shares)]
    assert [port for part in parts for port in part] == list(range(40000, 40007))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
    assert share_of("", 0, shares) == ""


def test_a_range_too_small_for_the_workers_is_refused() -> None:
    """Each needs a port of its own."""
    check(Settings(media_ports="40000-40001", workers=2))
    with pytest.raises(ValueError, match="fewer ports than there are workers"):
        check(Settings(media_ports="40000-40001", workers=3))
