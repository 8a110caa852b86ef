"""Who shares an allowance, with time as an argument."""

import pytest

from signaling.limits import Limiter, household


def test_addresses_have_buckets_of_their_own_and_old_ones_are_forgotten() -> None:
    """One's flood is not another's; memory is bounded."""
    limiter = Limiter(rate=0.001, burst=1, keys=2)
    assert limiter.take("a", 0.0) and not limiter.take("a", 0.0)
    assert limiter.take("b", 0.0)
    assert limiter.take("c", 0.0), "and a is forgotten"
    assert limiter.take("a", 0.0)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("fe80::1%eth0", "fe80::2%eth0", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.2", False),
        ("", "unknown", False),
    ],
)
def test_whoever_has_many_addresses_has_one_bucket(one: str, other: str, same: bool) -> None:
    """A network of IPv6 is one household's; each address of IPv4 may be many people's already."""
    assert (household(one) == household(other)) is same
