"""Datagrams that leave together, to real sockets."""

import contextlib
import os
import socket
from collections.abc import Iterator

import pytest

from rtc.batch import SIZE, STRIDE, Address, Batch, pythonic, together


@contextlib.contextmanager
def udp(host: str = "127.0.0.1") -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((host, 0))
        sock.settimeout(10)
        yield sock


@pytest.fixture(params=["together", "one by one"])
def batch(request: pytest.FixtureRequest) -> Iterator[Batch]:
    """As on Linux, and as where there is no sendmmsg."""
    with udp() as sock:
        batch = Batch(sock)
        if request.param == "one by one":
            batch._sendmmsg = None
        yield batch


def post(batch: Batch, data: bytes, to: socket.socket | Address) -> None:
    start = batch.count * STRIDE
    batch.bytes[start : start + len(data)] = data
    batch.post(len(data), to if isinstance(to, Address) else Address(to.getsockname()))


def waiting(sock: socket.socket) -> list[bytes]:
    """What has arrived, without waiting for more: over loopback what was sent is there."""
    sock.setblocking(False)
    found = []
    with contextlib.suppress(BlockingIOError):
        while True:
            found.append(sock.recv(2048))
    return found


def test_each_gets_its_own_in_order(batch: Batch) -> None:
    with udp() as bob, udp() as ana:
        with together:
            for number in range(40):
                post(batch, b"bob %d" % number, bob)
                post(batch, b"ana %d %s" % (number, b"!" * number), ana)
            assert waiting(bob) == []
        assert waiting(bob) == [b"bob %d" % number for number in range(40)]
        assert waiting(ana) == [b"ana %d %s" % (number, b"!" * number) for number in range(40)]


def test_alone_it_leaves_at_once(batch: Batch) -> None:
    with udp() as bob:
        post(batch, b"now", bob)
        assert bob.recv(2048) == b"now"


def test_more_than_fit_are_sent_all_the_same(batch: Batch) -> None:
    with contextlib.ExitStack() as stack:
        many = [stack.enter_context(udp()) for _ in range(8)]  # one could not hold so many that wait
        numbers = range(2 * SIZE + 3)
        with together:
            for number in numbers:
                post(batch, b"%d" % number, many[number % 8])
        for index, sock in enumerate(many):
            assert waiting(sock) == [b"%d" % number for number in numbers[index::8]]


def test_nested_and_broken_off_it_still_leaves(batch: Batch) -> None:
    with udp() as bob:
        with contextlib.suppress(ZeroDivisionError), together:
            with together:
                post(batch, b"inner", bob)
            post(batch, b"outer", bob)
            raise ZeroDivisionError
        assert [bob.recv(2048), bob.recv(2048)] == [b"inner", b"outer"]
        post(batch, b"after", bob)
        assert bob.recv(2048) == b"after"


def test_one_that_cannot_be_sent_takes_no_other_with_it(batch: Batch) -> None:
    with udp() as bob:
        with together:
            post(batch, b"first", bob)
            post(batch, b"nowhere", Address(("127.0.0.1", 0)))
            post(batch, b"second", bob)
        assert [bob.recv(2048), bob.recv(2048)] == [b"first", b"second"]
    assert batch.lost == 1


def test_a_closed_socket_loses_what_waits_and_nothing_else(batch: Batch) -> None:
    with udp() as bob:
        with together:
            post(batch, b"one", bob)
            post(batch, b"two", bob)
            batch._socket.close()
        assert batch.lost == 2
        post(batch, b"three", bob)
        assert batch.lost == 3
        assert waiting(bob) == []


@pytest.mark.parametrize("host", ["192.0.2.77", "fe80::1%\0", "fe80::1%\ud800", "fe80::1%é", "fe80::1%٣", "localhost"])
def test_what_is_no_address_is_lost_and_not_raised(batch: Batch, host: str) -> None:
    """A client may write anything where its address belongs."""
    with udp() as bob:
        batch.sendto(b"lost", (host, 70_000 if host == "192.0.2.77" else bob.getsockname()[1]))
        assert batch.lost == 1
        batch.sendto(b"sent", bob.getsockname())
        assert waiting(bob) == [b"sent"]


@pytest.mark.skipif(not os.path.exists("/proc/net/if_inet6"), reason="no IPv6 here")
def test_ipv6() -> None:
    with udp("::1") as bob, udp("::1") as sock:
        batch = Batch(sock)
        with together:
            post(batch, b"one", bob)
            post(batch, b"two", bob)
        assert [bob.recv(2048), bob.recv(2048)] == [b"one", b"two"]
        assert batch.lost == 0


def test_a_link_local_address_has_its_scope() -> None:
    """And whatever the kernel writes is what Python's own sockets would have said."""
    raw = Address(("fe80::1%7", 4000))
    assert pythonic(bytes(raw._raw)) == ("fe80::1", 4000, 0, 7)
    assert pythonic(bytes(Address(("192.0.2.1", 65535))._raw)) == ("192.0.2.1", 65535)
