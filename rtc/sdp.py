"""Which m-lines of an offer we take, decided on the text before aiortc sees it. Pure.

aiortc cannot reject an m-line (RFC 3264 §6: port 0 in the answer) and builds a transport for each one it is shown. So
an offer is cut down to what we take, and the rejected m-lines are put back into the answer at their places.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

MAX_SECTIONS = 64
"""An offer with more m-lines than this is refused whole. Browsers' own conference pages stay below 40."""

_OPUS = re.compile(r"^a=rtpmap:(\d+) opus/48000/2[ \t]*(?=\r?$)", re.IGNORECASE | re.MULTILINE)
_MID = re.compile(r"^a=mid:(\S+)\s*$", re.MULTILINE)
_DIRECTION = re.compile(r"^a=(sendrecv|sendonly|recvonly|inactive)\s*$", re.MULTILINE)
_BUNDLE_ONLY = re.compile(r"^a=bundle-only\s*$", re.MULTILINE)
_BUNDLE = re.compile(r"^a=group:BUNDLE (.*?)(?=\r?$)", re.MULTILINE)
_SCTP = re.compile(r"m=application \d+ (?:UDP|TCP)/DTLS/SCTP webrtc-datachannel\s")  # RFC 8841 §4
_SCTP_PORT = re.compile(r"^a=sctp-port:(.*?)[ \t]*\r?$", re.MULTILINE)
_SSRC = re.compile(r"^a=ssrc:(\d{1,10}) ", re.MULTILINE)
_SSRC_LINE = re.compile(r"^a=ssrc:(\d+) (cname:\S+)", re.MULTILINE)
_RTX = re.compile(r"^a=rtpmap:(\d+) (rtx/48000(?:/\d)?)[ \t]*\r?$", re.IGNORECASE | re.MULTILINE)
_APT = re.compile(r"^a=fmtp:(\d+) (?:.*;)?\s*apt=(\d+)", re.MULTILINE)
_MDNS_CANDIDATE = re.compile(r"^a=candidate:\S+ \S+ \S+ \S+ \S+\.local .*\r?\n", re.IGNORECASE | re.MULTILINE)


class BadOffer(ValueError):
    """The offer cannot be answered. `code` is the wire protocol's error code; the message is for a person."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Feedback:
    """What an m-line's sender does about lost packets."""

    nack: bool = False
    """It wants to be asked for them again, and asks itself (RFC 4585 §4.2)."""
    repair: int | None = None
    """Payload type of a stream for packets sent again (RFC 4588 §8.6), if there is one."""
    encoding: str = ""
    """Its name, clock rate and channels, as offered: an answer that says others is for another stream."""


@dataclass(frozen=True, slots=True)
class Admission:
    """An offer, sorted."""

    offer: str
    """What is left for aiortc."""
    microphone: str | None
    """mid of the m-line on which the client sends; None: it only listens."""
    duplex: bool
    """The client also wants to receive on the microphone's m-line."""
    slots: tuple[str, ...]
    """mids of the m-lines on which the client receives."""
    rejected: tuple[tuple[int, str], ...]
    """(index in the offer, section of the answer that rejects it)."""
    video: bool
    """The offer had video, which we reject."""
    feedback: dict[str, Feedback]
    """By mid, of the m-lines of audio that we take."""
    ssrcs: frozenset[int]
    """That the client uses."""
    channel: str | None = None
    """mid of the m-line of data channels."""


def admit(offer: str, max_slots: int, with_channel: bool = False) -> Admission:
    """Sort the m-lines of an offer: first sending audio is the microphone, then up to `max_slots` receiving ones.

    Video, data channels (but those that are wanted, on the voice's transport), audio without Opus and slots beyond the
    limit are rejected one by one. Raises BadOffer if nothing useful is left or the text is no SDP.
    """
    text = "\r\n".join(offer.splitlines()) + "\r\n"
    head, *sections = re.split(r"^(?=m=)", text, flags=re.MULTILINE)
    if not head.startswith("v=0"):
        raise BadOffer("bad_sdp", "The offer is not SDP: it must begin with v=0.")
    if len(sections) > MAX_SECTIONS:
        raise BadOffer("bad_sdp", f"The offer has {len(sections)} m-lines; at most {MAX_SECTIONS} are read.")
    microphone, duplex, video, channel = None, False, False, None
    bundled = set((_BUNDLE.search(head) or ["", ""])[1].split())
    slots: list[str] = []
    taken: list[str] = []
    kept: list[str] = []  # mids of those
    feedback: dict[str, Feedback] = {}
    rejected: list[tuple[int, str]] = []
    mids: set[str] = set()
    for index, section in enumerate(sections):
        fields = section.split("\r\n", 1)[0][2:].split()
        named = _MID.findall(section)
        if len(fields) < 4 or len(named) != 1:
            raise BadOffer("bad_sdp", f"m-line {index} of the offer is incomplete: every one needs one a=mid.")
        mid = named[0]
        if mid in mids:
            raise BadOffer("bad_sdp", f"Two m-lines of the offer have the mid {mid}.")
        mids.add(mid)
        video = video or fields[0] == "video"
        direction_line = _DIRECTION.search(section)
        direction = direction_line[1] if direction_line else "sendrecv"
        # Port 0 is a refusal, except of a line that shares another's transport (RFC 9143 §6): so are Firefox's slots.
        offered = fields[1] != "0" or _BUNDLE_ONLY.search(section) is not None
        usable = fields[0] == "audio" and offered and _OPUS.search(section) is not None
        if usable and microphone is None and not slots and direction in ("sendrecv", "sendonly"):
            microphone, duplex = mid, direction == "sendrecv"
        elif usable and len(slots) < max_slots and direction in ("sendrecv", "recvonly"):
            slots.append(mid)
        elif with_channel and channel is None and offered and mid in bundled and _has_sctp(section):
            channel = mid
        else:
            rejected.append((index, _rejection(fields, mid)))
            continue
        for needed in ("a=fingerprint:", "a=ice-ufrag:", "a=ice-pwd:"):  # aiortc would accept, and then fail silently
            if needed not in section and needed not in head:
                raise BadOffer("bad_sdp", f"The offer has no {needed[:-1]} for m-line {index}: it is not WebRTC.")
        kept.append(mid)
        if channel == mid:
            if _SCTP_PORT.search(section) is None:
                section += "a=sctp-port:5000\r\n"  # RFC 8841 §5.2 takes it for granted, aiortc does not
        else:
            if direction_line is None:
                section += "a=sendrecv\r\n"  # the same of RFC 8866 §6.7
            feedback[mid] = _feedback(section)
        taken.append(_MDNS_CANDIDATE.sub("", section))
    if not feedback:
        raise BadOffer("no_audio", "The offer has no audio we can use: it needs at least one m=audio with Opus.")
    head = re.sub(
        _BUNDLE,
        # in the order of the m-lines, each once: aiortc builds no transport that works for any other
        lambda group: " ".join(["a=group:BUNDLE", *(mid for mid in kept if mid in group[1].split())]),
        head,
    )
    ssrcs = frozenset(int(number) for number in _SSRC.findall(text))
    return Admission(
        head + "".join(taken), microphone, duplex, tuple(slots), tuple(rejected), video, feedback, ssrcs, channel
    )


def _has_sctp(section: str) -> bool:
    """Data channels, on a port that there is (RFC 8841 §5)."""
    port = _SCTP_PORT.search(section)
    return _SCTP.match(section) is not None and (port is None or (port[1].isdecimal() and 0 < int(port[1]) < 0x10000))


def _feedback(section: str) -> Feedback:
    opus = _OPUS.search(section)
    assert opus is not None, "only m-lines with Opus are taken"
    number = opus[1]
    nack = re.search(rf"^a=rtcp-fb:({number}|\*) nack[ \t]*\r?$", section, re.MULTILINE) is not None
    streams = dict(_RTX.findall(section))
    repair = next((rtx for rtx, of in _APT.findall(section) if of == number and rtx in streams), None)
    return Feedback(nack, int(repair), streams[repair]) if nack and repair is not None else Feedback(nack)


def complete(answer: str, admission: Admission, repair_ssrcs: Mapping[str, int] = MappingProxyType({})) -> str:
    """Put the rejected m-lines back, say which Opus we like to receive, and what is done about lost packets.

    aiortc answers without any fmtp, so browsers would never send in-band FEC (RFC 7587 §6.1), and knows neither NACK
    nor retransmission streams for audio. `repair_ssrcs`: ours, by mid, where we send on one.
    """
    head, *sections = re.split(r"^(?=m=)", answer, flags=re.MULTILINE)
    sections = [_complete(section, admission, repair_ssrcs) for section in sections]
    for index, section in admission.rejected:
        sections.insert(index, section)
    return head + "".join(sections)


def _complete(section: str, admission: Admission, repair_ssrcs: Mapping[str, int]) -> str:
    named, opus = _MID.search(section), _OPUS.search(section)
    assert named is not None, "aiortc answers what it was offered"
    if named[1] == admission.channel:
        return section
    assert opus is not None, "only audio with Opus was offered to it"
    feedback, number = admission.feedback[named[1]], opus[1]
    lines = [opus[0], f"a=fmtp:{number} minptime=10;useinbandfec=1"]
    if feedback.nack:
        lines.append(f"a=rtcp-fb:{number} nack")
    if feedback.repair is not None:
        lines += [f"a=rtpmap:{feedback.repair} {feedback.encoding}", f"a=fmtp:{feedback.repair} apt={number}"]
        first, rest = section.split("\r\n", 1)
        section = f"{first} {feedback.repair}\r\n{rest}"
        ours = _SSRC_LINE.search(section)
        if ours is not None and (repair := repair_ssrcs.get(named[1])) is not None:
            again = f"a=ssrc-group:FID {ours[1]} {repair}\r\n{ours[0]}\r\na=ssrc:{repair} {ours[2]}"
            section = section.replace(ours[0], again, 1)
    return section.replace(opus[0], "\r\n".join(lines), 1)


def _rejection(fields: list[str], mid: str) -> str:
    kind, _, protocol, *formats = fields
    return f"m={kind} 0 {protocol} {' '.join(formats)}\r\nc=IN IP4 0.0.0.0\r\na=inactive\r\na=mid:{mid}\r\n"


def is_mdns(candidate: str) -> bool:
    """Browsers hide their addresses as `….local`, which aioice waits a second for and cannot resolve. ICE finds the
    address by itself as peer-reflexive (RFC 8445 §7.3.1.3)."""
    fields = candidate.split()
    return len(fields) > 4 and fields[4].lower().endswith(".local")
