"""Token buckets: how often somebody may do something. Pure; time is an argument."""

import ipaddress
from collections import OrderedDict

HTTP_BURST = 60
"""Requests of one address that may come at once."""


def household(address: str) -> str:
    """Whose address it is: of IPv6 the network of 64 bits, of which whoever has one address has them all (RFC 6177)."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:  # a Unix socket has none
        return address
    if isinstance(ip, ipaddress.IPv4Address) or ip.ipv4_mapped is not None:
        return address
    return str(ipaddress.ip_network((ip, 64), strict=False))


class TokenBucket:
    """`rate` a second, sustained; `burst` at once."""

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self._rate = rate
        self._burst = burst
        self._tokens = burst
        self._at = now

    def take(self, now: float, cost: float = 1.0) -> bool:
        """One more, or one that costs as much as several, if there is room for it."""
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate)
        self._at = now
        if self._tokens < cost:
            return False
        self._tokens -= cost
        return True


class Limiter:
    """A bucket for each key (an address); the least recently seen are forgotten."""

    def __init__(self, rate: float, burst: float, keys: int = 4096) -> None:
        self._rate = rate
        self._burst = burst
        self._keys = keys
        self._buckets: OrderedDict[str, TokenBucket] = OrderedDict()

    def take(self, key: str, now: float) -> bool:
        """One more for this key."""
        bucket = self._buckets.pop(key, None) or TokenBucket(self._rate, self._burst, now)
        self._buckets[key] = bucket
        if len(self._buckets) > self._keys:
            self._buckets.popitem(last=False)
        return bucket.take(now)
