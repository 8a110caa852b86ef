"""How much of our work a client may cause. Pure; time is an argument."""


class Allowance:
    """`rate` a second for long, `burst` at once: the generic cell rate algorithm (ITU-T I.371)."""

    def __init__(self, rate: float, burst: int) -> None:
        self._each = 1 / rate
        self._ahead = (burst - 0.5) / rate  # half of one less, so that sums of fractions come out right
        self._paid_until = 0.0  # clock seconds up to which what was taken has used it up
        self.excessive = 0
        """What was refused."""

    def take(self, now: float) -> bool:
        """One more, if there is room for it. `now`: clock seconds."""
        paid_until = self._paid_until if self._paid_until > now else now  # once for each packet: no call
        if paid_until - now > self._ahead:
            self.excessive += 1
            return False
        self._paid_until = paid_until + self._each
        return True
