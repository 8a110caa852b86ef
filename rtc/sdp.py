"""Which m-lines of an offer we take, decided on the text before aiortc sees it. Pure.

aiortc cannot reject an m-line (RFC 3264 §6: port 0 in the answer) and builds a transport for each one it is shown. So
an offer is cut down to what we take, and the rejected m-lines are put back into the answer at their places.
"""

import re
from dataclasses import dataclass

MAX_SECTIONS = 64
"""An offer with more m-lines than this is refused whole. Browsers' own conference pages stay below 40."""

_OPUS = re.compile(r"^a=rtpmap:(\d+) opus/48000/2[ \t]*(?=\r?$)", re.IGNORECASE | re.MULTILINE)
_MID = re.compile(r"^a=mid:(\S+)\s*$", re.MULTILINE)
_DIRECTION = re.compile(r"^a=(sendrecv|sendonly|recvonly|inactive)\s*$", re.MULTILINE)
_BUNDLE_ONLY = re.compile(r"^a=bundle-only\s*$", re.MULTILINE)
_MDNS_CANDIDATE = re.compile(r"^a=candidate:\S+ \S+ \S+ \S+ \S+\.local .*\r?\n", re.IGNORECASE | re.MULTILINE)


class BadOffer(ValueError):
    """The offer cannot be answered. `code` is the wire protocol's error code; the message is for a person."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


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


def admit(offer: str, max_slots: int) -> Admission:
    """Sort the m-lines of an offer: first sending audio is the microphone, then up to `max_slots` receiving ones.

    Video, data channels, audio without Opus and slots beyond the limit are rejected one by one. Raises BadOffer if
    nothing useful is left or the text is no SDP.
    """
    text = "\r\n".join(offer.splitlines()) + "\r\n"
    head, *sections = re.split(r"^(?=m=)", text, flags=re.MULTILINE)
    if not head.startswith("v=0"):
        raise BadOffer("bad_sdp", "The offer is not SDP: it must begin with v=0.")
    if len(sections) > MAX_SECTIONS:
        raise BadOffer("bad_sdp", f"The offer has {len(sections)} m-lines; at most {MAX_SECTIONS} are read.")
    microphone, duplex, video = None, False, False
    slots: list[str] = []
    taken: list[str] = []
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
        else:
            rejected.append((index, _rejection(fields, mid)))
            continue
        for needed in ("a=fingerprint:", "a=ice-ufrag:", "a=ice-pwd:"):  # aiortc would accept, and then fail silently
            if needed not in section and needed not in head:
                raise BadOffer("bad_sdp", f"The offer has no {needed[:-1]} for m-line {index}: it is not WebRTC.")
        if direction_line is None:
            section += "a=sendrecv\r\n"  # RFC 8866 §6.7 takes it for granted, aiortc does not
        taken.append(_MDNS_CANDIDATE.sub("", section))
    if not taken:
        raise BadOffer("no_audio", "The offer has no audio we can use: it needs at least one m=audio with Opus.")
    keep = [mid for mid in (microphone, *slots) if mid is not None]
    head = re.sub(
        r"^a=group:BUNDLE .*$",
        # in the order of the m-lines, each once: aiortc builds no transport that works for any other
        lambda group: " ".join(["a=group:BUNDLE", *(mid for mid in keep if mid in group[0].split()[1:])]),
        head,
        flags=re.MULTILINE,
    )
    return Admission(head + "".join(taken), microphone, duplex, tuple(slots), tuple(rejected), video)


def complete(answer: str, admission: Admission) -> str:
    """Put the rejected m-lines back and say which Opus we like to receive.

    aiortc answers without any fmtp, so browsers would never send in-band FEC (RFC 7587 §6.1).
    """
    head, *sections = re.split(r"^(?=m=)", answer, flags=re.MULTILINE)
    sections = [_OPUS.sub(lambda m: f"{m[0]}\r\na=fmtp:{m[1]} minptime=10;useinbandfec=1", s) for s in sections]
    for index, section in admission.rejected:
        sections.insert(index, section)
    return head + "".join(sections)


def _rejection(fields: list[str], mid: str) -> str:
    kind, _, protocol, *formats = fields
    return f"m={kind} 0 {protocol} {' '.join(formats)}\r\nc=IN IP4 0.0.0.0\r\na=inactive\r\na=mid:{mid}\r\n"


def is_mdns(candidate: str) -> bool:
    """Browsers hide their addresses as `….local`, which aioice waits a second for and cannot resolve. ICE finds the
    address by itself as peer-reflexive (RFC 8445 §7.3.1.3)."""
    fields = candidate.split()
    return len(fields) > 4 and fields[4].lower().endswith(".local")
