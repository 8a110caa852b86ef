"""A listener's ear for tests: what a stream sends, written down."""

from rtc.fan_out import Cohort
from rtc.rtp import Packet
from rtc.slots import StreamKey


class Recorder:
    """An outlet (`rtc.fan_out.Outlet`) that keeps what it is given."""

    def __init__(self, mid: str = "0") -> None:
        self.mid = mid
        self.packets = self.dropped = 0
        self.fraction_lost = 0.0
        self.heard: list[Packet] = []
        self.carried: list[StreamKey] = []
        self.switches = 0

    def carry(self, key: StreamKey) -> None:
        self.carried.append(key)

    def switch(self) -> None:
        self.switches += 1

    def send(self, packet: Packet, now: float) -> None:
        self.packets += 1
        self.heard.append(packet)

    def join(self, cohort: Cohort) -> bool:
        return False

    def leave(self) -> None:
        pass

    def stats(self) -> dict[str, float | None]:
        return {"packets": self.packets}

    def rtp_time(self, timestamp: int, now: float) -> int | None:
        return timestamp + 1_000_000
