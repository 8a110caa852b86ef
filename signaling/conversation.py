"""One person who talks with the duplex voice."""

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

from rtc.conversation import ASSISTANT, Conversation, Stage
from rtc.fan_out import Outlet
from rtc.room import new_id
from rtc.rtp import Packet
from rtc.stats import Stats
from rtc.ticker import Ticker
from rtc.words import LANGUAGE
from signaling.protocol import TalkJoin, error_message
from signaling.session import Connector, Left, Session
from signaling.settings import Settings

SLOTS = 1
"""There is one voice to hear."""


class Talker(Session):
    """Their session: the conversation begins when the media connection is up, so that nobody misses its first words."""

    def __init__(
        self,
        stage: Stage,
        stats: Stats,
        settings: Settings,
        connector: Connector,
        ticker: Ticker,
        joining: TalkJoin,
        released: Callable[[], None],
    ) -> None:
        """`released` is called as soon as they need no seat any more."""
        super().__init__(stats, settings, connector, ticker, SLOTS)
        self.name = joining.name
        self.resume_token = new_id("r")
        self._stage = stage
        self._released = released
        self._conversation = Conversation(stage, stats, ticker, self.id, self.tell)

    @property
    def place(self) -> str:
        return "conversation"

    def _work(self) -> Iterable[Coroutine[Any, Any, None]]:
        return self._talk(), self._watch_length()

    def _packet(self, packet: Packet, now: float) -> None:
        self._conversation.packet(packet, now)

    def _media_changed(self, old: dict[str, Outlet] | None) -> None:
        self._conversation.attach(next(iter(self.slots.values()), None))

    def _depart(self) -> None:
        self._released()

    async def _talk(self) -> None:
        await self._media_there.wait()
        await self._conversation.run()

    async def _watch_length(self) -> None:
        """A call that may last so long, and not longer, if that is how the server is set."""
        if not self._settings.max_call:
            return
        await asyncio.sleep(self._settings.max_call)
        self.send(error_message("time_up", "This conversation has reached the longest that is allowed here.", True))
        raise Left("time up")

    def mute(self, muted: bool) -> None:
        """The voice hears them, or silence."""
        self._conversation.mute(muted)

    def joined(self, answer: str | None) -> dict[str, Any]:
        """`session.joined`, on joining and on resuming."""
        engine = self._stage.engine
        me = self._person(self.id, self.name, self._conversation.muted)
        slot = {"mid": self._conversation.mid, "participant_id": ASSISTANT, "variant": "original", "language": LANGUAGE}
        return {
            "type": "session.joined",
            "session_id": self.session_id,
            "resume": self.resume_token,
            "participant": me,
            "participants": [me, self._person(ASSISTANT, engine.title, False)],
            "slots": [slot] if self._conversation.mid is not None else [],
            "sdp": answer,
            "state": engine.state if engine.state != "failed" else "warming",
            "engine": {"name": engine.dialogue.name, "notice": engine.dialogue.notice, "voice": engine.voice},
        }

    @staticmethod
    def _person(id: str, name: str, muted: bool) -> dict[str, Any]:
        return {"id": id, "name": name, "language": LANGUAGE, "speaks": LANGUAGE, "muted": muted}

    def media_stats(self) -> dict[str, Any]:
        """Their media in numbers, for operators."""
        voice = self._conversation.voice
        return {
            "participant_id": self.id,
            **self._conversation.inbound.stats(),
            "delay_ms": round(voice.delay * 1000),
            "caught_up_ms": round(voice.shortened * 1000),
            "underruns": voice.underruns,
            **self.connection_stats(),
        }
