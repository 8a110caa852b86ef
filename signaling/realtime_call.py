"""Somebody who talks with the duplex voice by OpenAI's Realtime API: a session whose socket is a data channel."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from rtc.allowance import Allowance
from rtc.channel import Channel
from rtc.conversation import Stage
from rtc.peer_connection import PeerConnection
from rtc.room import new_id
from rtc.stats import Stats
from rtc.ticker import Ticker
from signaling.conversation import Talker
from signaling.protocol import TalkJoin
from signaling.realtime_events import Dialect, Event, Voice, too_fast
from signaling.settings import Settings
from signaling.socket import BURST_SECONDS

LABEL = "oai-events"

FAREWELL = 1.0
"""Seconds that the last words have to leave before the connection is closed."""


def voice_of(stage: Stage) -> Voice:
    """What clients may know of the engine."""
    engine = stage.engine
    return Voice(engine.dialogue.name, engine.voice, engine.dialogue.sample_rate)


class Caller(Talker):
    """There is no way back into such a call: when its media are lost it is over, and the seat is free at once."""

    def __init__(
        self,
        stage: Stage,
        stats: Stats,
        settings: Settings,
        connector: Callable[..., PeerConnection],
        ticker: Ticker,
        joining: TalkJoin,
        released: Callable[[], None],
        *,
        asked: Event,
    ) -> None:
        """`asked`: the session that came with the call, checked."""
        self._channel = Channel(LABEL, self._on_open, self._on_event)
        connector = partial(connector, channel=self._channel)
        super().__init__(stage, stats, replace(settings, grace=0.0), connector, ticker, joining, released)
        self.call_id = new_id("rtc")
        self.answer = ""
        """SDP, once they are connected."""
        self._dialect = Dialect(voice_of(stage), asked)
        self._began = asyncio.get_running_loop().time()
        self._events = Allowance(settings.message_rate, settings.message_rate * BURST_SECONDS)
        self._flooded = False

    async def connect(self, offer: str) -> str:
        """Once. Raises ProtocolError."""
        self.answer = await super().connect(offer)
        return self.answer

    def send(self, message: dict[str, Any], droppable: bool = False) -> None:
        """Tell it as that API does. A client that reads nothing for too long is let go."""
        self._say(self._dialect.tell(message, round((self._now() - self._began) * 1000)))

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    def _say(self, events: list[Event]) -> None:
        for event in events:
            if not self._channel.send(json.dumps(event, ensure_ascii=False, separators=(",", ":"))):
                self.end("slow")

    def _on_open(self) -> None:
        self._say(self._dialect.opened())

    def _on_event(self, data: str | bytes) -> None:
        if not self._events.take(self._now()):
            if not self._flooded:
                self._say([too_fast()])
            self._flooded = True
            return
        self._flooded = False
        answers, hush = self._dialect.hear(data)
        self._say(answers)
        if hush:
            self._conversation.hush()

    async def hang_up(self) -> None:
        """Close the media connection, after the last words."""
        await self._channel.flush(FAREWELL)
        await super().hang_up()
