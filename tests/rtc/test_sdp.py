"""Which m-lines are taken, which rejected, and that no text whatsoever breaks the sorting."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtc.sdp import (
    MAX_CANDIDATES,
    MAX_CREDENTIAL,
    MAX_FINGERPRINTS,
    MAX_OFFERED,
    MAX_SECTIONS,
    Admission,
    BadOffer,
    admit,
    complete,
    is_usable,
)
from rtc.transport import LEVEL, MID

CRLF = "\r\n"
HEAD = ["v=0", "o=- 1 1 IN IP4 127.0.0.1", "s=-", "t=0 0"]
SECURITY = ["a=ice-ufrag:ABCD", "a=ice-pwd:0123456789abcdef01234567", "a=fingerprint:sha-256 00:11:22:33"]


def audio(mid: str, direction: str = "recvonly", codec: str = "opus/48000/2", port: int = 9) -> list[str]:
    return [
        f"m=audio {port} UDP/TLS/RTP/SAVPF 111 0",
        "c=IN IP4 0.0.0.0",
        f"a=mid:{mid}",
        f"a={direction}",
        f"a=rtpmap:111 {codec}",
        *SECURITY,
        "a=candidate:1 1 udp 2113937151 0b5ad1b1-7f6a-4a43-9a7c.local 50000 typ host",
        "a=candidate:2 1 udp 2113937151 192.0.2.7 50001 typ host",
    ]


def video(mid: str) -> list[str]:
    return ["m=video 9 UDP/TLS/RTP/SAVPF 96", "c=IN IP4 0.0.0.0", f"a=mid:{mid}", "a=sendrecv", "a=rtpmap:96 VP8/90000"]


def data(mid: str) -> list[str]:
    return ["m=application 9 UDP/DTLS/SCTP webrtc-datachannel", "c=IN IP4 0.0.0.0", f"a=mid:{mid}", "a=sctp-port:5000"]


def offer(*sections: list[str], bundle: str | None = None) -> str:
    mids = [line[6:] for section in sections for line in section if line.startswith("a=mid:")]
    group = " ".join(mids) if bundle is None else bundle
    return CRLF.join([*HEAD, f"a=group:BUNDLE {group}", *(line for section in sections for line in section), ""])


def answer_to(admission: Admission) -> str:
    """As aiortc makes it: the m-lines it was shown, in their order."""
    mids = re.findall(r"^a=mid:(\S+)", admission.offer, re.MULTILINE)
    lines = [*HEAD, f"a=group:BUNDLE {' '.join(mids)}"]
    for mid in mids:
        lines += ["m=audio 40000 UDP/TLS/RTP/SAVPF 111", f"a=mid:{mid}", "a=rtpmap:111 opus/48000/2", "a=setup:active"]
    return CRLF.join([*lines, ""])


def m_lines(sdp: str) -> list[tuple[str, str]]:
    """(mid, port) of every m-line, in order."""
    sections = re.split(r"^(?=m=)", sdp, flags=re.MULTILINE)[1:]
    return [(re.search(r"a=mid:(\S+)", s)[1], s.split()[1]) for s in sections]  # type: ignore[index]


def test_microphone_and_slots_in_the_order_of_the_offer() -> None:
    """The first sending m-line is the microphone, the receiving ones behind it are slots."""
    admission = admit(offer(audio("0", "sendonly"), audio("1"), audio("2", "sendrecv")), max_slots=8)
    assert (admission.microphone, admission.duplex, admission.slots) == ("0", False, ("1", "2"))
    assert admission.rejected == () and not admission.video


def test_thin_client_sends_and_receives_on_one_m_line() -> None:
    """A single sendrecv m-line is a microphone on which the client wants to hear, too."""
    admission = admit(offer(audio("a", "sendrecv")), max_slots=8)
    assert (admission.microphone, admission.duplex, admission.slots) == ("a", True, ())


def test_without_direction_an_m_line_is_sendrecv() -> None:
    """RFC 8866 §6.7: no direction attribute means sendrecv."""
    bare = [line for line in audio("0", "sendrecv") if line != "a=sendrecv"]
    assert admit(offer(bare), max_slots=8).duplex


def test_port_0_is_no_refusal_of_a_line_that_shares_a_transport() -> None:
    """Firefox offers its slots as `m=audio 0` with `a=bundle-only` (RFC 9143 §6); without that line 0 is a refusal."""
    shared = [*audio("1", port=0), "a=bundle-only"]
    admission = admit(offer(audio("0", "sendonly"), shared, audio("2", port=0)), 4)
    assert admission.slots == ("1",)
    assert [index for index, _ in admission.rejected] == [2]


def test_an_m_line_with_two_names_is_refused() -> None:
    """Readers disagree on which of them counts."""
    with pytest.raises(BadOffer, match="one a=mid"):
        admit(offer([*audio("0", "sendonly"), "a=mid:1"]), 4)


def test_who_only_listens_has_no_microphone() -> None:
    """Receiving m-lines alone make a listener."""
    admission = admit(offer(audio("0"), audio("1")), max_slots=8)
    assert (admission.microphone, admission.slots) == (None, ("0", "1"))


def test_rejected_m_lines_stay_at_their_index_with_port_0() -> None:
    """Video, data, codecs we do not have, slots beyond the limit and refused ports come back rejected, in place."""
    sections = [
        video("v"),
        audio("mic", "sendonly"),
        data("d"),
        audio("g711", codec="PCMA/8000"),
        audio("s1"),
        audio("gone", port=0),
        audio("s2"),
        audio("second-mic", "sendonly"),
        audio("idle", "inactive"),
        audio("too-many"),
    ]
    admission = admit(offer(*sections), max_slots=2)
    assert admission.video
    assert (admission.microphone, admission.slots) == ("mic", ("s1", "s2"))
    answer = complete(answer_to(admission), admission)
    taken = {"mic", "s1", "s2"}
    expected = [(re.search(r"a=mid:(\S+)", CRLF.join(s))[1]) for s in sections]  # type: ignore[index]
    assert m_lines(answer) == [(mid, "40000" if mid in taken else "0") for mid in expected]


def test_rejections_keep_kind_protocol_and_formats() -> None:
    """RFC 3264 §6: the m-line of a rejection is the offer's, but for the port."""
    admission = admit(offer(video("v"), audio("0", "sendonly"), data("d")), max_slots=1)
    answer = complete(answer_to(admission), admission)
    assert "m=video 0 UDP/TLS/RTP/SAVPF 96\r\n" in answer
    assert "m=application 0 UDP/DTLS/SCTP webrtc-datachannel\r\n" in answer


def test_every_line_of_the_answer_ends_with_crlf() -> None:
    """RFC 8866 §5; the line we add about Opus is no exception."""
    admission = admit(offer(audio("0", "sendonly"), video("v"), audio("1")), max_slots=1)
    answer = complete(answer_to(admission), admission)
    assert not re.search(r"(?<!\r)\n|\r(?!\n)", answer)
    assert answer.endswith(CRLF)


def test_every_opus_m_line_asks_for_fec() -> None:
    """Browsers send in-band FEC only where the answer's fmtp asks for it (RFC 7587 §6.1)."""
    admission = admit(offer(audio("0", "sendonly"), audio("1"), video("v")), max_slots=4)
    sections = re.split(r"^(?=m=)", complete(answer_to(admission), admission), flags=re.MULTILINE)[1:]
    assert ["a=fmtp:111 minptime=10;useinbandfec=1" in s.split(CRLF) for s in sections] == [True, True, False]


@pytest.mark.parametrize("group", ["v 0 x 1 2", "2 1 0", "0 0 1 2 2", "nobody 2 1 0"])
def test_bundle_lists_the_taken_in_their_order(group: str) -> None:
    """Rejected and unknown mids leave the group; what is left is in the order of the m-lines, each once."""
    admission = admit(offer(video("v"), audio("0", "sendonly"), audio("1"), data("x"), audio("2"), bundle=group), 4)
    assert "a=group:BUNDLE 0 1 2" in admission.offer.splitlines()


def test_candidates_are_those_of_the_first_m_line() -> None:
    """All have one transport. Hidden addresses cannot be resolved here; that there are no others is not told, since the
    client finds us all the same (RFC 8863)."""
    admission = admit(offer(video("v"), [*audio("0", "sendonly"), "a=end-of-candidates"], audio("1")), max_slots=4)
    assert (admission.carrier, admission.mids) == ("0", ("v", "0", "1"))
    assert admission.candidates == ("2 1 udp 2113937151 192.0.2.7 50001 typ host",)
    assert "candidate" not in admission.offer


def test_bare_line_feeds_are_read() -> None:
    """Offers written by hand end lines with LF."""
    assert admit(offer(audio("0", "sendonly"), audio("1")).replace(CRLF, "\n"), max_slots=4).slots == ("1",)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "bad_sdp"),
        ("hello", "bad_sdp"),
        ("v=1\r\n", "bad_sdp"),
        (offer(), "no_audio"),
        (offer(video("0")), "no_audio"),
        (offer(data("0")), "no_audio"),
        (offer(audio("0", "inactive")), "no_audio"),
        (offer(audio("0", codec="PCMU/8000")), "no_audio"),
        (offer(audio("0"), audio("0")), "bad_sdp"),
        (offer(audio("0", "sendonly"), ["m=audio 9 UDP/TLS/RTP/SAVPF 111", "a=sendonly"]), "bad_sdp"),
        (offer(["m=audio", "a=mid:0"]), "bad_sdp"),
        (offer(*(audio(str(n)) for n in range(200))), "bad_sdp"),
        *((offer([line for line in audio("0") if line != missing]), "bad_sdp") for missing in SECURITY),
        (offer(audio("0")).replace("ABCD", "x" * (MAX_CREDENTIAL + 1)), "bad_sdp"),
        (offer(audio("0")).replace("01234567", "x" * MAX_CREDENTIAL, 1), "bad_sdp"),
        (offer(audio("0")).replace("ABCD", "\ud800"), "bad_sdp"),
        (offer([*audio("0"), "a=candidate:1 1 udp"]), "bad_sdp"),
    ],
)
def test_offers_that_cannot_be_answered(text: str, code: str) -> None:
    """Refused as a whole, with a stable code and a sentence."""
    with pytest.raises(BadOffer) as refused:
        admit(text, max_slots=8)
    assert refused.value.code == code
    assert str(refused.value).endswith(".")


def test_aiortc_is_shown_what_it_needs_however_much_is_offered() -> None:
    """It goes through all lines of a kind for each of them: the longest offer that is read would take it minutes. What
    we read ourselves is seen all the same."""
    many = [
        *("a=rtpmap:1 x/1" for _ in range(2000)),
        *("a=rtcp-fb:* nack" for _ in range(2000)),
        *(f"a=ssrc:{number} cname:x" for number in range(2000)),
        *(f"a=extmap:{number} urn:x" for number in range(2000)),
        *(f"a=fingerprint:sha-256 {number}" for number in range(2000)),
        *(f"a=candidate:1 1 udp 1 10.0.{number >> 8}.{number & 255} 9 typ host" for number in range(2000)),
    ]
    plain = admit(offer(audio("0", "sendonly"), audio("1")), 4)
    admission = admit(offer([*audio("0", "sendonly"), *many], audio("1")), 4)
    assert len(admission.candidates) == MAX_CANDIDATES
    assert admission.excess == 2000 + 2 - MAX_CANDIDATES - 1, "one was hidden"
    assert len(admission.offer.splitlines()) < len(plain.offer.splitlines()) + MAX_FINGERPRINTS
    assert admission.ssrcs == set(range(2000))
    assert admission.feedback["0"].nack and not admission.feedback["1"].nack


def test_candidates_that_cannot_be_tried_are_not_read_for_ever() -> None:
    many = [f"a=candidate:1 1 udp 1 10.0.0.{number} 9 typ host" for number in range(256, 3000)]
    admission = admit(offer([*audio("0"), *many]), 4)
    assert len(admission.candidates) == 1
    assert admission.excess == len(many) + 2 - MAX_OFFERED


def test_names_and_passwords_as_long_as_may_be_are_taken() -> None:
    """RFC 8839 §5.4."""
    longest = "x" * MAX_CREDENTIAL
    assert f"a=ice-ufrag:{longest}\r\n" in admit(offer(audio("0")).replace("ABCD", longest), 4).offer


@pytest.mark.parametrize(
    ("lines", "numbers"),
    [
        ([f"a=extmap:3 {MID}", f"a=extmap:4/recvonly {LEVEL} vad=on"], {MID: 3, LEVEL: 4}),
        ([f"a=extmap:15 {MID}", f"a=extmap:255 {LEVEL}"], {LEVEL: 255}),
        ([f"a=extmap:0 {MID}", f"a=extmap:256 {LEVEL}", f"a=extmap:{'9' * 5000} {LEVEL}", "a=extmap:1"], {}),
        ([f"a=extmap:3 {MID}", f"a=extmap:4 {MID}", "a=extmap:5 urn:other"], {MID: 3}),
    ],
)
def test_header_extensions_that_can_be_used_are_taken(lines: list[str], numbers: dict[str, int]) -> None:
    """With or without what may follow the name (RFC 8285 §8); ours have room for the numbers up to 14 (§4.2)."""
    found = re.findall(r"^a=extmap:(\d+) (\S+)\r$", admit(offer([*audio("0"), *lines]), 4).offer, re.MULTILINE)
    assert {uri: int(number) for number, uri in found} == numbers and len(found) == len(numbers)


@pytest.mark.parametrize(("number", "repair"), [("112", 112), ("300", None), ("9" * 5000, None)])
def test_a_stream_for_repairs_has_a_payload_type(number: str, repair: int | None) -> None:
    """Seven bits have room for it."""
    lines = ["a=rtcp-fb:111 nack", f"a=rtpmap:{number} rtx/48000", f"a=fmtp:{number} x=1; apt=111"]
    assert admit(offer([*audio("0"), *lines]), 4).feedback["0"].repair == repair


def test_what_the_whole_session_says_holds_for_every_m_line() -> None:
    """Firefox names its fingerprint once, above the m-lines."""
    bare = [line for line in audio("0", "sendonly") if line not in SECURITY]
    text = offer(bare).replace("t=0 0\r\n", CRLF.join(["t=0 0", *SECURITY, ""]))
    assert admit(text, max_slots=4).microphone == "0"


def test_as_many_m_lines_as_are_read_at_most() -> None:
    """At the limit the offer is still sorted."""
    admission = admit(offer(*(audio(str(n)) for n in range(MAX_SECTIONS))), max_slots=3)
    assert len(admission.slots) == 3 and len(admission.rejected) == MAX_SECTIONS - 3


lines = st.sampled_from(
    [line for make in (video, data) for line in make("1")] + audio("0") + [f"a=mid:{n}" for n in range(3)] + HEAD
)


@given(st.one_of(st.text(), st.lists(st.one_of(lines, st.text(max_size=12))).map(lambda x: "v=0\r\n" + CRLF.join(x))))
def test_any_text_is_sorted_or_refused(text: str) -> None:
    """Whatever comes, the answer is an admission that can be completed, or BadOffer: nothing else."""
    try:
        admission = admit(text, max_slots=2)
    except BadOffer:
        return
    assert len(admission.slots) <= 2
    answer = complete(answer_to(admission), admission)
    assert len(m_lines(answer)) == len(admission.slots) + len(admission.rejected) + (admission.microphone is not None)


@pytest.mark.parametrize(
    ("candidate", "usable"),
    [
        ("1 1 udp 2113937151 192.0.2.7 50000 typ host", True),
        ("1 1 UDP 2113937151 2001:db8::1 65535 typ srflx raddr 0.0.0.0 rport 0 generation 0", True),
        ("1  1 udp 1 fe80::1%eth0 1 typ host ", True),
        ("1 1 udp 2113937151 0b5ad1b1.local 50000 typ host", False),
        ("1 1 udp 2113937151 0B5AD1B1.LOCAL 50000 typ host", False),
        ("1 1 tcp 1518280447 192.0.2.7 9 typ host tcptype active", False),
        ("1 2 udp 2113937150 192.0.2.7 50001 typ host", False),
    ],
)
def test_some_candidates_are_passed_over(candidate: str, usable: bool) -> None:
    """Hidden ones, by the address and not by anything else in the line; for TCP; for RTCP on a port of its own."""
    assert is_usable(candidate) is usable


@pytest.mark.parametrize("port", ["0", "65536", "70000", "-5", "port", "\u0663", "9" * 5000])
def test_a_port_that_is_none_makes_no_candidate(port: str) -> None:
    with pytest.raises(ValueError, match=r"ICE candidate.*\.$"):
        is_usable(f"1 1 udp 1 192.0.2.1 {port} typ host")


@pytest.mark.parametrize(
    "host",
    ["fe80::1%\0", "fe80::1%\ud800", "fe80::1%.\u00e9\u00e9", "fe80::1%", "1.2.3.4%x", "256.0.0.1", "local", "a.org"],
)
def test_an_address_that_is_none_makes_no_candidate(host: str) -> None:
    """A scope that no interface has is one of them: sockets trip over it, whoever else uses them."""
    with pytest.raises(ValueError, match=r"ICE candidate.*\.$"):
        is_usable(f"1 1 udp 1 {host} 5000 typ host")


def channel(mid: str) -> list[str]:
    return [*data(mid), *SECURITY]


@pytest.mark.parametrize("first", [True, False])
def test_a_data_channel_is_taken_where_one_is_wanted(first: bool) -> None:
    """Wherever it stands, on the voice's transport, in its place in the offer; a second one is rejected."""
    sections = [channel("d"), audio("a", "sendrecv")] if first else [audio("a", "sendrecv"), channel("d")]
    admission = admit(offer(*sections, channel("e")), 1, with_channel=True)
    assert (admission.channel, admission.microphone) == ("d", "a")
    assert re.findall(r"^a=mid:(.)", admission.offer, re.MULTILINE) == (["d", "a"] if first else ["a", "d"])
    assert (admission.carrier, "a=group:BUNDLE a d\r\n" in admission.offer) == ("a", True), "on the voice's transport"
    assert (admission.first, len(admission.candidates)) == (("d", 0) if first else ("a", 1))
    assert [index for index, _ in admission.rejected] == [2]
    answer = complete(admission.offer, admission)
    assert answer.count("m=application 9 ") == 1 and answer.count("m=application 0 ") == 1


@pytest.mark.parametrize(
    ("group", "taken"), [("d", False), ("x d", False), ("v d", False), ("b d", False), ("a d", True), ("d b a", True)]
)
def test_a_data_channel_has_no_transport_of_its_own(group: str, taken: bool) -> None:
    """Its sockets would be outside the ports that were chosen. It is bundled with the first voice, where all are."""
    sections = [video("v"), audio("a", "sendonly"), audio("b"), channel("d")]
    admission = admit(offer(*sections, bundle=group), 1, with_channel=True)
    assert (admission.channel is not None) is taken
    assert ("m=application 0 " in complete(answer_to(admission), admission)) is not taken


def test_a_data_channel_is_rejected_where_none_is_wanted_or_it_stands_alone() -> None:
    """On a transport of its own, with port 0, of another protocol; without audio beside it there is no call."""
    text = offer(audio("a", "sendrecv"), channel("d"))
    assert admit(text, 1).channel is None
    assert admit(offer(audio("a", "sendrecv"), channel("d"), bundle="a"), 1, with_channel=True).channel is None
    for old, new in (
        ("m=application 9", "m=application 0"),
        ("webrtc-datachannel", "5000"),
        ("DTLS/SCTP", "RTP"),
        ("sctp-port:5000", "sctp-port:0"),
        ("sctp-port:5000", "sctp-port:65536"),
        ("sctp-port:5000", "sctp-port:five"),
    ):
        assert admit(text.replace(old, new), 1, with_channel=True).channel is None
    assert "a=sctp-port:5000" in admit(text.replace("a=sctp-port:5000\r\n", ""), 1, with_channel=True).offer
    with pytest.raises(BadOffer, match="no audio"):
        admit(offer(channel("d")), 1, with_channel=True)
    with pytest.raises(BadOffer, match="fingerprint"):
        admit(offer(audio("a", "sendrecv"), data("d")), 1, with_channel=True)
