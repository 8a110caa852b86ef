"""A network that can be made bad, in userspace: kernels without `sch_netem` have no other.

A process of its own holds two TUN interfaces, one in our network namespace and one in a namespace that it makes, and
carries packets between them: late, out of order or not at all. Whatever is started with `Link.enter` before it has no
other way to the world. Neither interfaces nor namespace need cleaning up: they have no name that could clash or stay
behind, and the kernel takes them away with the processes that hold them, however those end.
"""

import asyncio
import contextlib
import ctypes
import fcntl
import heapq
import ipaddress
import json
import os
import random
import re
import select
import shutil
import struct
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

Version = Literal[4, 6]
"""Of the Internet Protocol: the only one on a link."""

TUN = "/dev/net/tun"
_TUNSETIFF, _IFF_TUN, _IFF_NO_PI = 0x400454CA, 0x0001, 0x1000  # linux/if_tun.h
_CLONE_NEWNET = 0x40000000  # os.unshare is there from Python 3.12 on
_CAPABILITIES = {"CAP_NET_ADMIN": 12, "CAP_SYS_ADMIN": 21}  # linux/capability.h

LIMIT = 1000
"""Packets under way in one direction; more are lost, as in `sch_netem`."""


def missing() -> str | None:
    """What the emulator needs and does not find here; None if it can run."""
    try:
        held = int(re.findall(r"^CapEff:\s*(\w+)", Path("/proc/self/status").read_text(), re.MULTILINE)[0], 16)
        os.close(os.open(TUN, os.O_RDWR))
    except OSError as error:
        return f"{error.filename}: {error.strerror}"
    lacking = [name for name, bit in _CAPABILITIES.items() if not held >> bit & 1]
    lacking += [f"the program {name}" for name in ("ip", "nsenter") if shutil.which(name) is None]
    return ", ".join(lacking) or None


@dataclass(frozen=True, slots=True)
class Impairment:
    """What happens to packets that go one way."""

    loss: float = 0.0
    """Share of packets that are lost, 0 to 1. 1 is an outage."""
    burst: float = 0.0
    """Mean number of packets lost in a row (Gilbert, "Capacity of a burst-noise channel", 1960); where losses that know
    nothing of each other come in longer rows, they do."""
    delay: float = 0.0
    """Seconds."""
    jitter: float = 0.0
    """Seconds more or less than `delay`, all equally likely, but never less than none; packets overtake each other."""


@dataclass(slots=True)
class Traffic:
    """Packets that went one way, since the link was opened."""

    offered: int = 0
    lost: int = 0
    overflowed: int = 0
    delivered: int = 0
    overtaken: int = 0
    """Of the delivered: came after one that was sent later."""
    tardy: float = 0.0
    """Seconds: the worst delay beyond the one asked for. It says how far the emulation is to be believed."""


class Way:
    """One direction. Decides which packets come out when; time is an argument, chance comes from a seed."""

    def __init__(self, seed: object) -> None:
        self.impairment = Impairment()
        self.traffic = Traffic()
        self._random = random.Random(str(seed))
        self._losing = False  # the state of Gilbert's model
        self._underway: list[tuple[float, int, bytes]] = []  # a heap of (due, place in the order offered, packet)
        self._newest = 0  # place of the latest one delivered

    def put(self, packet: bytes, now: float) -> None:
        """A packet enters at `now` (seconds)."""
        self.traffic.offered += 1
        if self._loses():
            self.traffic.lost += 1
        elif len(self._underway) >= LIMIT:
            self.traffic.overflowed += 1
        else:
            to = self.impairment
            due = now + max(0.0, self._random.uniform(to.delay - to.jitter, to.delay + to.jitter))
            heapq.heappush(self._underway, (due, self.traffic.offered, packet))

    def _loses(self) -> bool:
        """Gilbert's Markov chain of two states: the bad one has its share, `loss`, of all packets, and a mean stay of
        `burst` packets."""
        loss = self.impairment.loss
        if loss >= 1:
            return True
        leave = 1 / max(self.impairment.burst, 1 / (1 - loss))  # the latter is a coin thrown for each packet
        enter = leave * loss / (1 - loss)
        self._losing = self._random.random() < (1 - leave if self._losing else enter)
        return self._losing

    @property
    def due(self) -> float | None:
        """When the next packet is to come out; None while none is under way."""
        return self._underway[0][0] if self._underway else None

    def take(self, now: float) -> list[bytes]:
        """The packets that come out by `now`, in that order."""
        out = []
        while self._underway and self._underway[0][0] <= now:
            due, place, packet = heapq.heappop(self._underway)
            self.traffic.overtaken += place < self._newest
            self.traffic.tardy = max(self.traffic.tardy, now - due)
            self.traffic.delivered += 1
            self._newest = max(self._newest, place)
            out.append(packet)
        return out


class Link:
    """The two ends of a running emulator, seen from ours."""

    def __init__(self, process: asyncio.subprocess.Process, version: Version, interface: str) -> None:
        self._process = process
        self.pid = process.pid
        self.interface = interface
        """Its name at both ends."""
        self._network = _subnet(version, interface)
        self.here = str(self._network[1])
        """Our end's address, which those at the other end can reach."""
        self.there = str(self._network[2])
        """The other end's address."""
        self.enter = ["nsenter", f"--net=/proc/{process.pid}/ns/net"]
        """Put before a command line, it runs at the other end."""

    async def impair(self, up: Impairment | None = None, down: Impairment | None = None) -> tuple[Traffic, Traffic]:
        """From now on packets `up`, from the other end to ours, or `down` fare so; None: as before. Packets under way
        are not affected. What went (up, down) until now."""
        assert self._process.stdin is not None and self._process.stdout is not None
        wish = {"up": up and asdict(up), "down": down and asdict(down)}
        self._process.stdin.write(json.dumps(wish).encode() + b"\n")
        answer = json.loads(await self._process.stdout.readline())
        return Traffic(**answer["up"]), Traffic(**answer["down"])

    async def move(self) -> None:
        """The other end gets another address and loses the one it had, as on changing from Wi-Fi to a phone's."""
        old, self.there = self.there, str(ipaddress.ip_address(self.there) + 1)
        command = [*self.enter, "ip", "-batch", "-"]
        process = await asyncio.create_subprocess_exec(*command, stdin=asyncio.subprocess.PIPE)
        lines = (
            f"address delete {old}/{self._network.prefixlen} dev {self.interface}",
            _address(self.there, self._network, self.interface),
        )
        await process.communicate("\n".join(lines).encode())
        assert process.returncode == 0, f"ip ended with {process.returncode}"


@contextlib.asynccontextmanager
async def emulating(version: Version = 4, seed: int = 0) -> AsyncIterator[Link]:
    """A link without impairments. What was started at its other end should have ended before it ends."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.e2e.netem", str(version), str(seed)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        cwd=Path(__file__).parents[2],
        start_new_session=True,  # Ctrl-C is for the tests: they end it
    )
    assert process.stdin is not None and process.stdout is not None
    try:
        interface = (await process.stdout.readline()).decode().strip()
        assert interface, "the emulator did not start: see what it wrote to stderr"
        yield Link(process, version, interface)
    finally:
        process.stdin.close()
        await process.wait()


# The process


def _subnet(version: Version, interface: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    """Its own for each interface, of those set aside for tests (RFC 2544 appendix C.2.2, RFC 5180 §8)."""
    number = int(re.findall(r"\d+", interface)[0]) % 256
    return ipaddress.ip_network(f"198.18.{number}.0/24" if version == 4 else f"2001:2:0:{number:x}::/64")


def _address(address: str, net: ipaddress.IPv4Network | ipaddress.IPv6Network, interface: str) -> str:
    """The `ip` command that adds it, without waiting for somebody to object (RFC 4862 §5.4)."""
    return f"address add {address}/{net.prefixlen} dev {interface}{' nodad' if net.version == 6 else ''}"


def _open_tun(pattern: str) -> tuple[int, str]:
    """(file of whole packets, name) of a new interface; the kernel puts a free number for %d."""
    tun = os.open(TUN, os.O_RDWR | os.O_NONBLOCK)
    answer = fcntl.ioctl(tun, _TUNSETIFF, struct.pack("16sH22x", pattern.encode(), _IFF_TUN | _IFF_NO_PI))
    return tun, struct.unpack("16sH22x", answer)[0].rstrip(b"\0").decode()


def _ip(commands: Iterable[str]) -> None:
    subprocess.run(["ip", "-batch", "-"], input="\n".join(commands), text=True, check=True)


def run(version: Version, seed: int) -> None:
    """Make the link and carry packets until stdin ends. Writes the interfaces' name, then an answer to each wish."""
    near, interface = _open_tun("netem%d")
    net = _subnet(version, interface)
    _ip([_address(str(net[1]), net, interface), f"link set {interface} up"])
    if ctypes.CDLL(None, use_errno=True).unshare(_CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "unshare")
    far, _ = _open_tun(interface)
    _ip([_address(str(net[2]), net, interface), "link set lo up", f"link set {interface} up"])
    with contextlib.suppress(PermissionError):  # browsers that are busy must not make the link late
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    _say(interface)
    _carry({near: (Way(f"down {seed}"), far), far: (Way(f"up {seed}"), near)}, near, far)


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _carry(ways: dict[int, tuple[Way, int]], near: int, far: int) -> None:
    wishes = sys.stdin.fileno()
    while True:
        dues = [way.due for way, _ in ways.values() if way.due is not None]
        patience = max(0.0, min(dues) - time.monotonic()) if dues else None
        for readable in select.select([wishes, *ways], [], [], patience)[0]:
            if readable != wishes:
                _read(readable, ways[readable][0])
            elif lines := os.read(wishes, 65_536).splitlines():  # each was written at once: it is here whole
                for line in lines:
                    _say(json.dumps(_answer(json.loads(line), up=ways[far][0], down=ways[near][0])))
            else:
                return
        for way, out in ways.values():
            for packet in way.take(time.monotonic()):
                with contextlib.suppress(OSError):  # an interface without an address, or going away: nobody is there
                    os.write(out, packet)


def _read(tun: int, way: Way) -> None:
    with contextlib.suppress(BlockingIOError):
        for _ in range(64):  # then the other direction has its turn
            way.put(os.read(tun, 65_536), time.monotonic())


def _answer(wish: dict[str, Any], **ways: Way) -> dict[str, Any]:
    for name, way in ways.items():
        if wish[name] is not None:
            way.impairment = Impairment(**wish[name])
    return {name: asdict(way.traffic) for name, way in ways.items()}


if __name__ == "__main__":
    run(6 if sys.argv[1] == "6" else 4, int(sys.argv[2]))
