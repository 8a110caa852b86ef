"""Who has something to say, by the audio level in the RTP header: no packet is decoded for it (RFC 6464). Pure."""

AUDIBLE = 65
"""-dBov: a packet louder than -65 dBov is heard. Speech is at -20 to -40, a microphone's own noise below -70."""

HANGOVER = 1.2
"""Seconds for which a microphone stays open after its last audible packet: longer than a turn's last silence."""


class LevelGate:
    """Open while a microphone has something to hear; always open where the client does not tell its level."""

    def __init__(self) -> None:
        self._audible_at = float("-inf")

    def hears(self, level: int | None, now: float) -> bool:
        """Whether the packet is part of something audible. `level`: -dBov. `now`: clock seconds."""
        if level is None or level < AUDIBLE:
            self._audible_at = now
        return now - self._audible_at <= HANGOVER
