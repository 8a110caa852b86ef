"""Who may do something how often. Pure; time is an argument."""

import ipaddress
from collections import OrderedDict

from rtc.allowance import Allowance

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


class Limiter:
    """An allowance for each key (an address); the least recently seen are forgotten."""

    def __init__(self, rate: float, burst: float, keys: int = 4096) -> None:
        self._rate = rate
        self._burst = burst
        self._keys = keys
        self._allowances: OrderedDict[str, Allowance] = OrderedDict()

    def take(self, key: str, now: float) -> bool:
        """One more for this key."""
        known = self._allowances.pop(key, None)
        allowance = self._allowances[key] = known or Allowance(self._rate, self._burst)
        if len(self._allowances) > self._keys:
            self._allowances.popitem(last=False)
        return allowance.take(now)
