"""How often somebody may do something, or have us do it. Pure; time is an argument."""

ROUNDING = 1e-6
"""Of one: sums of fractions come out right."""


class Allowance:
    """`rate` a second for long, `burst` at once: a leaky bucket as a meter (ITU-T I.371), or a token bucket."""

    def __init__(self, rate: float, burst: float) -> None:
        self._rate = rate
        self._burst = burst + ROUNDING
        self._used = 0.0  # of the burst, at …
        self._at = 0.0  # … clock seconds
        self.excessive = 0
        """How often it was refused."""

    def take(self, now: float, cost: float = 1.0) -> bool:
        """One more, or one that costs as much as several, if there is room for it. `now`: clock seconds."""
        used = self._used - (now - self._at) * self._rate
        if used < 0:
            used = 0.0
        if used + cost > self._burst:
            self.excessive += 1
            return False
        self._used, self._at = used + cost, now
        return True
