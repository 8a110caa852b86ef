"""The WebSocket of one person in a room."""

from aiohttp import web

from rtc.room import Room
from signaling.house import House
from signaling.participant import Participant
from signaling.protocol import Chat, ClientMessage, Join, Mute, Parser, RoomUpdate, Update
from signaling.socket import Connection


class RoomConnection(Connection[Participant]):
    """Serves somebody in `room`."""

    final = ("room_full", "room_not_found", "draining", "room_moving")

    def __init__(self, ws: web.WebSocketResponse, room: Room, house: House) -> None:
        super().__init__(ws, house, Parser(self._knows, house.settings.max_sdp, house.settings.max_chat))
        self._room = room

    async def _admit(self, message: Join) -> Participant:
        if message.resume is None:
            return await self._house.join(self._room, message)
        return await self._house.resume(self._room, message)

    async def _obey(self, session: Participant, message: ClientMessage) -> None:
        match message:
            case Chat(text=text):
                session.chat(text)
            case Mute(muted=muted):
                session.mute(muted)
            case Update():
                session.update(message)
            case RoomUpdate(mode=mode, voice=voice):
                if mode is not None:
                    session.update_room(mode)
                    self._house.write_down(self._room)
                if voice is not None:
                    (self._house.invite if voice else self._house.dismiss)(self._room)
            case _:
                await self._obey_any(session, message)

    def _knows(self, code: str) -> bool:
        return any(language.code == code for language in self._house.engine.translator.languages)
