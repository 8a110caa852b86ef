"""Datagrams that come, to real sockets on each event loop we run on: all of them, in order, whether few or many."""

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest

from rtc.arrivals import FEW, LONGEST, LOOKS, MAX_KNOWN, SHORTEST, SIZE, Arrivals, pause, pythonic
from rtc.batch import STRIDE, Address, Batch
from signaling.runtime import event_loop
from tests.conftest import until
from tests.rtc.test_batch import post, udp, waiting

Test = Callable[[], Coroutine[Any, Any, None]]


@pytest.fixture(params=[event_loop(), asyncio.SelectorEventLoop], ids=["fast", "plain"])
def run(request: pytest.FixtureRequest) -> Callable[[Test], None]:
    """Runs a test to its end, on uvloop if it is there, and on Python's own."""

    def run(test: Test) -> None:
        with asyncio.Runner(loop_factory=request.param) as runner:
            runner.run(test())

    return run


class Port:
    """Somebody who takes what comes to a socket, and somebody who sends to it."""

    def __init__(self, host: str = "127.0.0.1", one_by_one: bool = False) -> None:
        self.taken: list[bytes] = []
        self.addresses: set[tuple[Any, ...]] = set()
        self.then: Callable[[bytes], object] = self.taken.append
        self.socket = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setblocking(False)
        self.socket.bind((host, 0))
        self.arrivals = Arrivals(self.socket, self.take)
        if one_by_one:
            self.arrivals._recvmmsg = None

    def take(self, data: bytes, address: tuple[Any, ...]) -> None:
        self.addresses.add(address)
        self.then(data)

    async def crowd(self, sock: socket.socket) -> None:
        """So many that they are gathered."""
        number = 0
        while not self.arrivals.gathering:
            for _ in range(16):
                sock.sendto(b"crowd %d" % number, self.socket.getsockname())
                number += 1
            await asyncio.sleep(SHORTEST / 4)
        await until(lambda: len(self.taken) == number)
        assert self.taken == [b"crowd %d" % index for index in range(number)]


def test_the_fewer_they_are_the_longer_they_wait_and_a_few_not_at_all() -> None:
    """For about two to come. Between few and many it stays as it is."""
    assert [pause(voices * 50, gathering=False) for voices in (0, 1, 4)] == [None] * 3
    assert [pause(voices * 50, gathering=True) for voices in (0, 1, 3)] == [None] * 3
    assert pause(4 * 50, gathering=True) == pause(5 * 50, gathering=False) == LONGEST
    assert pause(6 * 50, gathering=False) == pytest.approx(2 / 300)
    assert [pause(voices * 50, gathering=True) for voices in (8, 64, 10_000)] == [SHORTEST] * 3


@contextlib.asynccontextmanager
async def port(**options: Any) -> AsyncIterator[Port]:
    port = Port(**options)
    try:
        yield port
    finally:
        port.arrivals.close()
        assert port.socket.fileno() == -1


@pytest.mark.parametrize("one_by_one", [False, True])
def test_few_come_at_once_and_in_order(run: Callable[[Test], None], one_by_one: bool) -> None:
    """As on Linux, and as where there is no recvmmsg."""

    async def test() -> None:
        async with port(one_by_one=one_by_one) as ours:
            with udp() as ana, udp() as bob:
                for number in range(2 * LOOKS):
                    await asyncio.sleep(1 / FEW)
                    (ana, bob)[number % 2].sendto(b"%d" % number, ours.socket.getsockname())
                    await until(lambda count=number + 1: len(ours.taken) == count)  # type: ignore[misc]  # bound now
                    assert not ours.arrivals.gathering
                assert ours.addresses == {ana.getsockname(), bob.getsockname()}
            assert ours.taken == [b"%d" % number for number in range(2 * LOOKS)]

    run(test)


@pytest.mark.parametrize("one_by_one", [False, True])
def test_many_are_gathered_and_none_is_lost(run: Callable[[Test], None], one_by_one: bool) -> None:
    """Until they are few again."""

    async def test() -> None:
        async with port(one_by_one=one_by_one) as ours:
            with udp() as ana:
                await ours.crowd(ana)
                await until(lambda: not ours.arrivals.gathering)
                ours.taken.clear()
                ana.sendto(b"alone", ours.socket.getsockname())
                await until(lambda: ours.taken == [b"alone"])
                ours.taken.clear()
                await ours.crowd(ana)

    run(test)


def test_what_is_answered_to_those_that_came_together_leaves_together(run: Callable[[Test], None]) -> None:
    async def test() -> None:
        async with port() as ours:
            with udp() as ana:
                batch = Batch(ours.socket)
                left: list[list[bytes]] = []

                def answer(data: bytes) -> None:
                    post(batch, data, Address(ana.getsockname()))
                    left.append(waiting(ana))

                ours.then = answer
                for number in range(3):
                    ana.sendto(b"%d" % number, ours.socket.getsockname())
                await until(lambda: len(left) == 3)
                assert left == [[], [], []]
                assert waiting(ana) == [b"0", b"1", b"2"]

    run(test)


@pytest.mark.parametrize("one_by_one", [False, True])
def test_more_than_fit_come_all_the_same(run: Callable[[Test], None], one_by_one: bool) -> None:
    """Others on the loop have their turn in between."""

    async def test() -> None:
        async with port(one_by_one=one_by_one) as ours:
            with udp() as ana:
                for number in range(SIZE + 9):
                    ana.sendto(b"%d" % number, ours.socket.getsockname())
                turns: list[int] = []
                while len(ours.taken) < SIZE + 9:
                    await asyncio.sleep(0)
                    turns.append(len(ours.taken))
                assert SIZE in turns
            assert ours.taken == [b"%d" % number for number in range(SIZE + 9)]

    run(test)


def test_lengths_are_kept_and_what_nobody_takes_is_cut(run: Callable[[Test], None]) -> None:
    """Nothing of a longer one is in the shorter one that comes after it."""
    sizes = [1500, 0, 1, STRIDE + 9, 40]

    async def test() -> None:
        async with port() as ours:
            with udp() as ana:
                for _ in range(2):
                    for size in sizes:
                        ana.sendto(bytes([size % 251]) * size, ours.socket.getsockname())
                await until(lambda: len(ours.taken) == 10)
        assert ours.taken == [bytes([size % 251]) * min(size, STRIDE) for size in sizes] * 2

    run(test)


def test_one_that_finds_a_bug_silences_nobody(run: Callable[[Test], None], caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        async with port() as ours:
            with udp() as ana:
                await ours.crowd(ana)
                ours.taken.clear()
                ours.then = lambda data: ours.taken.append(b"%d" % (6 // int(data)))
                for text in (b"3", b"0", b"2"):
                    ana.sendto(text, ours.socket.getsockname())
                await until(lambda: ours.taken == [b"2", b"3"])
        assert "ZeroDivisionError" in caplog.text

    run(test)


@pytest.mark.parametrize("crowded", [False, True])
def test_closed_by_who_takes_one_it_takes_no_more(
    run: Callable[[Test], None], crowded: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """As when the last of a port leaves. Those that were taken with it are handed on; its number is free."""

    async def test() -> None:
        async with port() as ours:
            with udp() as ana:
                if crowded:
                    await ours.crowd(ana)
                    ours.taken.clear()
                address = ours.socket.getsockname()

                def last(data: bytes) -> None:
                    ours.taken.append(data)
                    ours.arrivals.close()

                ours.then = last
                ana.sendto(b"one", address)
                ana.sendto(b"two", address)
                await until(lambda: ours.arrivals.closed)
                await asyncio.sleep(2 * LONGEST)  # a look that was still to come would have come
                assert ours.taken == [b"one", b"two"] and not caplog.records
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as another:
                    another.bind(address)

    run(test)


@pytest.mark.skipif(not os.path.exists("/proc/net/if_inet6"), reason="no IPv6 here")
def test_ipv6(run: Callable[[Test], None]) -> None:
    """Addresses as Python has them."""

    async def test() -> None:
        async with port(host="::1") as ours:
            with udp("::1") as ana:
                ana.sendto(b"six", ours.socket.getsockname())
                await until(lambda: ours.taken == [b"six"])
                assert ours.addresses == {ana.getsockname()}

    run(test)


def test_a_link_local_address_has_its_scope() -> None:
    """And whatever the kernel writes is what Python's own sockets would have said."""
    raw = Address(("fe80::1%7", 4000))
    assert pythonic(bytes(raw._raw)) == ("fe80::1", 4000, 0, 7)
    assert pythonic(bytes(Address(("192.0.2.1", 65535))._raw)) == ("192.0.2.1", 65535)


def test_addresses_are_not_remembered_without_end(run: Callable[[Test], None]) -> None:
    """Anybody can write any as the sender's."""

    async def test() -> None:
        async with port() as ours:
            for number in range(MAX_KNOWN + 9):
                host = f"127.2.{number >> 8}.{number & 255}"
                assert ours.arrivals._know(bytes(Address((host, 7))._raw)) == (host, 7)
            assert len(ours.arrivals._known) <= MAX_KNOWN

    run(test)
