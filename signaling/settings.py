"""Everything that can be set, read once."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class Settings:
    """Defaults fit a laptop or one small server. Every field is a flag of `dragoman serve`."""

    host: str = "127.0.0.1"
    port: int = 8080
    """0: any free one."""
    translator: str = "auto"
    """Name of the engine, see `signaling/engines.py`."""
    recognizers: int = 2
    """Utterances the embedded engine can hear at once, and as many the embedded partner; each costs a process of about
    100 MB."""
    seamless_model: str = "facebook/seamless-m4t-v2-large"
    """Repository of the hub, or a directory, with the weights of SeamlessM4T-v2."""

    hibiki_model: str = ""
    """Repository of the hub, or a directory, with the weights of Hibiki; empty: French is translated in segments."""
    hibiki_seats: int = 8
    """French speakers whom Hibiki interprets at once."""

    dialogue: str = "auto"
    """Name of the voice that one can talk with, see `signaling/engines.py`."""
    moshi_model: str = ""
    """Repository of the hub, or a directory, with the weights of Moshi; empty: those of `voice`."""
    moshi_seats: int = 8
    """People who talk with Moshi at once; each costs memory of the GPU (1.6 GB with the longest context)."""
    moshi_context: int = 0
    """Steps of 80 ms that Moshi remembers of a conversation, 0: as many as it was trained with (3000)."""
    voice: str = ""
    """Of Moshi: `moshiko` or `moshika`, of the embedded dialogue `partner`; empty: the first. Another is refused."""
    max_call: float = 0.0
    """Seconds after which a conversation is ended, 0: never."""
    max_waiting: int = 32
    """People in line for a conversation."""

    public_url: str = ""
    """Of the pages, without a slash at the end, where another server has them: what people share; empty: here."""
    api_key: str = field(default="", repr=False)
    """Who makes calls by OpenAI's Realtime API, or secrets for those who do, must show it; empty: anybody may."""
    allow_origins: tuple[str, ...] = ()
    """Web origins, besides our own, that may use the API and the WebSocket; `*` is any."""
    media_ports: str = ""
    """UDP ports for media, e.g. `40000-40999`; empty: any. Connections share them: 64 to a port, more if there are no
    others."""
    stun_url: str = ""
    """e.g. `stun:stun.example.org:3478`."""
    turn: str = ""
    """Start a TURN server (coturn) beside us that clients reach at this name or IPv4 address; `auto`: ours."""
    turn_port: int = 3478
    """Of that server, UDP and TCP."""
    turn_cert: str = ""
    """PEM file with that server's certificate, for TURN over TLS; without one there is none."""
    turn_key: str = ""
    """PEM file with the certificate's key."""
    turn_tls_port: int = 5349
    turn_urls: tuple[str, ...] = ()
    """Another TURN server, e.g. `turn:turn.example.org:3478?transport=udp`. aiortc uses the first."""
    turn_secret: str = field(default="", repr=False)
    """Shared with the TURN server (coturn's `static-auth-secret`); with `turn` and none given, a random one."""
    turn_ttl: int = 3600
    """Seconds for which credentials hold, of whichever TURN server."""
    cloudflare_turn_key_id: str = ""
    cloudflare_turn_token: str = field(default="", repr=False)
    """With the key's id: TURN servers of Cloudflare Realtime."""
    twilio_account_sid: str = ""
    twilio_auth_token: str = field(default="", repr=False)
    """With the account's SID: TURN servers of Twilio."""

    workers: int = 1
    """Processes that hold rooms, behind one that holds none; 1: this process does it all."""
    session_secret: str = field(default="", repr=False)
    """Signs what a client resumes with; empty: a random one for as long as the process lives."""
    session_ttl: float = 86_400.0
    """Seconds for which that is good; it is renewed with every join and resume."""

    max_rooms: int = 200
    max_participants: int = 100
    """In all rooms together."""
    room_capacity: int = 16
    max_slots: int = 16
    """Streams a listener can receive at once."""
    room_ttl: float = 3600.0
    """Seconds for which a room without people is kept, with its transcript."""

    grace: float = 30.0
    """Seconds for which a session without a WebSocket, or without media, can be resumed."""
    join_timeout: float = 15.0
    """Seconds from opening the WebSocket to `session.join`."""
    connect_timeout: float = 20.0
    """Seconds from the answer to a media connection."""

    max_message: int = 512 * 1024
    """Bytes of one WebSocket message."""
    max_sdp: int = 384 * 1024
    """Characters of an offer; a browser's with 20 m-lines has about 15,000."""
    max_chat: int = 2000
    """Characters of one chat message."""
    message_rate: float = 30.0
    """WebSocket messages a second, sustained; bursts of five seconds' worth pass."""
    chat_rate: float = 2.0
    http_rate: float = 5.0
    """Requests a second and address that cost something: rooms made, sockets opened, utterances spoken."""

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> Self:
        """From what `dataclasses.asdict` made of another, perhaps by way of JSON, which knows no tuples."""
        values: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()
        }
        return cls(**values)
