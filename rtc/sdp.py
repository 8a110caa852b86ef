"""Which m-lines of an offer we take, decided on the text before aiortc sees it. Pure.

aiortc cannot reject an m-line (RFC 3264 §6: port 0 in the answer) and builds a transport for each one it is shown. So
an offer is cut down to what we take, and the rejected m-lines are put back into the answer at their places. Of those
taken aiortc is shown what it needs and no more: it works for each line of a kind through all the others of it.
"""

import contextlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from types import MappingProxyType

from rtc.transport import LEVEL, MID

MAX_SECTIONS = 64
"""An offer with more m-lines than this is refused whole. Browsers' own conference pages stay below 40."""

MAX_CANDIDATES = 64
"""Of a client, offered and trickled: aioice goes through all of them for each one, and checks them all, 50 a second.
What a client has beyond them finds us all the same, as peer-reflexive."""

MAX_OFFERED = 4 * MAX_CANDIDATES
"""… of an offer that are looked at: for each address that can be tried there may be a hidden one, and those for TCP."""

MAX_CREDENTIAL = 256
"""Characters of a=ice-ufrag and a=ice-pwd (RFC 8839 §5.4): every check that we send, to whoever an offer names as a
candidate, has the first of them in it."""

MAX_FINGERPRINTS = 8
"""Of one m-line: one certificate by all hash functions that there are (RFC 8122 §5)."""

_EXTENSIONS = {MID: 14, LEVEL: 255}
"""Header extensions that we use, and the highest number by which we can: we write the one-byte form, and read the
two-byte one too (RFC 8285 §4)."""

_DIRECTIONS = ("sendrecv", "sendonly", "recvonly", "inactive")
_SCTP = re.compile(r"application \d+ (?:UDP|TCP)/DTLS/SCTP webrtc-datachannel(?: |$)")  # RFC 8841 §4

# values of an offer's attributes
_OPUS = re.compile(r"(\d{1,3}) opus/48000/2", re.IGNORECASE | re.ASCII)
_RTX = re.compile(r"(\d{1,3}) (rtx/48000(?:/\d)?)", re.IGNORECASE | re.ASCII)
_APT = re.compile(r"(\d{1,3}) (?:.*;)?\s*apt=(\d{1,3})(?!\d)", re.ASCII)
_EXTENSION = re.compile(r"(\d{1,3})(?:/\w+)? +(\S+)", re.ASCII)  # then what RFC 8285 §8 calls extensionattributes
_SSRC = re.compile(r"(\d{1,10}) ", re.ASCII)
_SCTP_PORT = re.compile(r"\d{1,5}", re.ASCII)
_CANDIDATE = re.compile(r"\S{1,32} +(\d{1,3}) +(\S+) +\d{1,10} +(\S+) +(\d{1,9}) +typ +\S+(?: .*)?", re.ASCII)

# lines of an answer
_ANSWERED_MID = re.compile(r"^a=mid:(\S+)\r?$", re.MULTILINE)
_ANSWERED_OPUS = re.compile(r"^a=rtpmap:(\d+) opus/48000/2(?=\r?$)", re.IGNORECASE | re.MULTILINE)
_ANSWERED_SSRC = re.compile(r"^a=ssrc:(\d+) (cname:\S+)", re.MULTILINE)


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
    channel: str | None
    """mid of the m-line of data channels."""
    mids: tuple[str, ...]
    """Of all m-lines, in the order of the offer."""
    carrier: str
    """mid of the first m-line of audio, on whose transport aiortc puts all that we take."""
    first: str
    """mid of the first m-line that we take: its candidates count for all."""
    candidates: tuple[str, ...]
    """Those in the offer that ICE can try …"""
    excess: int
    """… and how many were not looked at, since there are so many."""


Attributes = dict[str, list[str]]
"""By name, in the order of the text: their values."""


@dataclass(frozen=True, slots=True, eq=False)
class _Section:
    """One m-line of the offer, with what is said of it."""

    fields: list[str]
    """Kind, port, protocol, formats."""
    mid: str
    attributes: Attributes

    @property
    def offered(self) -> bool:
        """Port 0 is a refusal, except of a line that shares another's transport (RFC 9143 §6): so are Firefox's
        slots."""
        return self.fields[1] != "0" or "bundle-only" in self.attributes

    @property
    def direction(self) -> str:
        """RFC 8866 §6.7."""
        return next((name for name in self.attributes if name in _DIRECTIONS), "sendrecv")

    @property
    def opus(self) -> str | None:
        """Its payload type, if this is audio and we can use it."""
        if self.fields[0] != "audio" or not self.offered:
            return None
        return next((found[1] for value in self.of("rtpmap") if (found := _OPUS.fullmatch(value))), None)

    @property
    def has_sctp(self) -> bool:
        """Data channels, on a port that there is (RFC 8841 §5)."""
        if not self.offered or _SCTP.match(" ".join(self.fields)) is None:
            return False
        return all(_SCTP_PORT.fullmatch(port) and 0 < int(port) < 0x10000 for port in self.of("sctp-port"))

    @property
    def feedback(self) -> Feedback:
        """What the sender of this audio does about lost packets."""
        opus = self.opus
        nack = any(value in (f"{opus} nack", "* nack") for value in self.of("rtcp-fb"))
        streams = {found[1]: found[2] for value in self.of("rtpmap") if (found := _RTX.fullmatch(value))}
        repairs = (found.groups() for value in self.of("fmtp") if (found := _APT.match(value)))
        repair = next((rtx for rtx, of in repairs if of == opus and int(rtx) < 128 and rtx in streams), None)
        return Feedback(nack, int(repair), streams[repair]) if nack and repair is not None else Feedback(nack)

    def of(self, name: str) -> list[str]:
        """All values of an attribute."""
        return self.attributes.get(name, [])


def admit(offer: str, max_slots: int, with_channel: bool = False) -> Admission:
    """Sort the m-lines of an offer: first sending audio is the microphone, then up to `max_slots` receiving ones.

    Video, data channels (but those that are wanted, on the voice's transport), audio without Opus and slots beyond the
    limit are rejected one by one. Raises BadOffer if nothing useful is left or the text is no SDP.
    """
    session, sections = _read(offer)
    group = next((value.split()[1:] for value in session.get("group", []) if value.startswith("BUNDLE ")), [])
    bundled = frozenset(group)
    microphone, duplex, channel = None, False, None
    slots: list[str] = []
    for section in sections:
        mid, direction, usable = section.mid, section.direction, section.opus is not None
        if usable and microphone is None and not slots and direction in ("sendrecv", "sendonly"):
            microphone, duplex = mid, direction == "sendrecv"
        elif usable and len(slots) < max_slots and direction in ("sendrecv", "recvonly"):
            slots.append(mid)
        elif with_channel and channel is None and mid in bundled and section.has_sctp:
            channel = mid
    voices = [section for section in sections if section.mid == microphone or section.mid in slots]
    if not voices:
        raise BadOffer("no_audio", "The offer has no audio we can use: it needs at least one m=audio with Opus.")
    if voices[0].mid not in bundled:
        channel = None  # aiortc puts all voices on the transport of the first, and this one on another
    taken = [section for section in sections if section in voices or section.mid == channel]
    # In the order of the m-lines, each once, but the channel last: aiortc builds no transport that works for any other
    together = [mid for mid in [*(voice.mid for voice in voices), channel] if mid in bundled]
    lines = ["v=0", *(["a=ice-lite"] if "ice-lite" in session else []), f"a=group:BUNDLE {' '.join(together)}"]
    for section in taken:
        lines += _told(section, session)
    candidates, excess = _candidates(taken[0].of("candidate"))
    used = (_SSRC.match(value) for section in sections for value in section.of("ssrc"))
    return Admission(
        offer="\r\n".join([*lines, ""]),
        microphone=microphone,
        duplex=duplex,
        slots=tuple(slots),
        rejected=tuple((index, _rejection(one)) for index, one in enumerate(sections) if one not in taken),
        video=any(section.fields[0] == "video" for section in sections),
        feedback={section.mid: section.feedback for section in taken if section.mid != channel},
        ssrcs=frozenset(int(found[1]) for found in used if found is not None),
        channel=channel,
        mids=tuple(section.mid for section in sections),
        carrier=voices[0].mid,
        first=taken[0].mid,
        candidates=candidates,
        excess=excess,
    )


def _read(offer: str) -> tuple[Attributes, list[_Section]]:
    """What it says of the session, and of each m-line."""
    parts: list[list[str]] = [[]]
    for line in offer.splitlines():
        if line.startswith("m="):
            parts.append([])
        parts[-1].append(line)
    head, *rest = parts
    if not head or not head[0].startswith("v=0"):
        raise BadOffer("bad_sdp", "The offer is not SDP: it must begin with v=0.")
    if len(rest) > MAX_SECTIONS:
        raise BadOffer("bad_sdp", f"The offer has {len(rest)} m-lines; at most {MAX_SECTIONS} are read.")
    sections: list[_Section] = []
    mids: set[str] = set()
    for index, (first, *lines) in enumerate(rest):
        fields, attributes = first[2:].split(), _attributes(lines)
        named = " ".join(attributes.get("mid", [])).split()
        if len(fields) < 4 or len(named) != 1 or not named[0].isascii():
            raise BadOffer("bad_sdp", f"m-line {index} of the offer is incomplete: every one needs one a=mid.")
        (mid,) = named
        if mid in mids:
            raise BadOffer("bad_sdp", f"Two m-lines of the offer have the mid {mid}.")
        mids.add(mid)
        sections.append(_Section(fields, mid, attributes))
    return _attributes(head), sections


def _attributes(lines: list[str]) -> Attributes:
    found: Attributes = {}
    for line in lines:
        if line.startswith("a="):
            name, _, value = line[2:].partition(":")
            found.setdefault(name.rstrip(), []).append(value.strip())
    return found


def _told(section: _Section, session: Attributes) -> list[str]:
    """What aiortc has to know of an m-line, but for its candidates."""
    said: Attributes = {}
    for name in ("fingerprint", "ice-ufrag", "ice-pwd", "setup", "ice-options"):
        said[name] = section.of(name) or session.get(name, [])
    for name in ("fingerprint", "ice-ufrag", "ice-pwd"):  # aiortc would accept, and then fail silently
        if not said[name]:
            raise BadOffer("bad_sdp", f"The offer has no a={name} for the m-line {section.mid}: it is not WebRTC.")
    for name in ("ice-ufrag", "ice-pwd"):
        if len(said[name][-1]) > MAX_CREDENTIAL or not said[name][-1].isascii():
            raise BadOffer("bad_sdp", f"The offer's a={name} is none: it has at most {MAX_CREDENTIAL} characters.")
    kind, port, protocol, *_ = section.fields
    opus = section.opus
    if opus is None:
        lines = [f"m={kind} {port} {protocol} webrtc-datachannel", f"a=mid:{section.mid}"]
        lines.append(f"a=sctp-port:{(section.of('sctp-port') or ['5000'])[-1]}")  # the default of RFC 8841 §5.2
        lines += [f"a=max-message-size:{size}" for size in section.of("max-message-size")[-1:]]
    else:
        lines = [f"m={kind} {port} {protocol} {opus}", f"a=mid:{section.mid}", f"a={section.direction}"]
        lines += ["a=rtcp-mux"] * ("rtcp-mux" in section.attributes)
        lines.append(f"a=rtpmap:{opus} opus/48000/2")
        lines += [f"a=extmap:{number} {uri}" for uri, number in _extensions(section).items()]
    lines += [f"a=fingerprint:{value}" for value in said.pop("fingerprint")[:MAX_FINGERPRINTS]]
    return lines + [f"a={name}:{values[-1]}" for name, values in said.items() if values]


def _extensions(section: _Section) -> dict[str, int]:
    """Numbers of the header extensions that we use, by URI."""
    numbers: dict[str, int] = {}
    for value in section.of("extmap"):
        if (found := _EXTENSION.match(value)) and 0 < int(found[1]) <= _EXTENSIONS.get(found[2], 0):
            numbers.setdefault(found[2], int(found[1]))
    return numbers


def _candidates(values: list[str]) -> tuple[tuple[str, ...], int]:
    """Those that ICE can try, and how many were not looked at. Others are passed over (RFC 8839 §5.1)."""
    found: list[str] = []
    for index, value in enumerate(values):
        if len(found) == MAX_CANDIDATES or index == MAX_OFFERED:
            return tuple(found), len(values) - index
        if _CANDIDATE.fullmatch(value) is None:
            raise BadOffer("bad_sdp", "The offer has an a=candidate that is no ICE candidate.")
        with contextlib.suppress(ValueError):
            if is_usable(value):
                found.append(value)
    return tuple(found), 0


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
    named, opus = _ANSWERED_MID.search(section), _ANSWERED_OPUS.search(section)
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
        ours = _ANSWERED_SSRC.search(section)
        if ours is not None and (repair := repair_ssrcs.get(named[1])) is not None:
            again = f"a=ssrc-group:FID {ours[1]} {repair}\r\n{ours[0]}\r\na=ssrc:{repair} {ours[2]}"
            section = section.replace(ours[0], again, 1)
    return section.replace(opus[0], "\r\n".join(lines), 1)


def _rejection(section: _Section) -> str:
    kind, _, protocol, *formats = section.fields
    return f"m={kind} 0 {protocol} {' '.join(formats)}\r\nc=IN IP4 0.0.0.0\r\na=inactive\r\na=mid:{section.mid}\r\n"


def is_usable(candidate: str) -> bool:
    """Whether ICE here can try a candidate (RFC 8839 §5.1; without `candidate:`), or is to pass over it: one for TCP or
    RTCP, or a hidden address. Browsers hide theirs as `….local`, which aioice waits a second for and cannot resolve;
    ICE finds it by itself as peer-reflexive (RFC 8445 §7.3.1.3). Raises ValueError if it is none."""
    found = _CANDIDATE.fullmatch(candidate)
    if found is None:
        raise ValueError("That is not an ICE candidate.")
    component, transport, address, port = found.groups()
    scope = address.partition("%")[2]
    if component != "1" or transport.lower() != "udp" or address.lower().endswith(".local"):
        return False
    if not 0 < int(port) < 0x10000:
        raise ValueError("That is not an ICE candidate: there is no such port.")
    try:
        ip_address(address)
    except ValueError:
        raise ValueError("That is not an ICE candidate: there is no such address.") from None
    if scope and not (scope.isascii() and scope.isalnum()):
        raise ValueError("That is not an ICE candidate: there is no such scope.")
    return True
