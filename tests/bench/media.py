"""What a person in a call costs a media server: ours beside stock aiortc, FastRTC, Pipecat and Janus, in the same run.

    python -m tests.bench.media [echo] [speech] [fanout] [fanout1000] [loss] [--quick]

A load generator in a process of its own (`load.py`) connects peers to a fresh server, lets them talk for eight seconds
and reads the CPU time of the server's processes. Runs are shuffled and repeated, and medians taken; `--quick` does each
once. A run in which a peer gets less than 49.5 packets a second of 50 is no figure: the server is overloaded. Where
there are a thousand listeners, the server has one core, and the load the others.
"""

import argparse
import contextlib
import importlib.util
import json
import os
import random
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from tests.bench import cores, namespace
from tests.bench.figures import record
from tests.bench.load import Result
from tests.bench.servers import AIORTC, FASTRTC, FORWARD, JANUS, PIPECAT, SPEECH, VOICE, Server, running

FULL_RATE = 49.5
"""Packets a second."""
REPETITIONS = 3
CATCH_UP = 12.0
"""Seconds that a server with a thousand listeners has after the last has come: garbage collection, which looks at all
of them as they come, holds it up for 0.3 s, and at nine tenths of a core it makes that good in four."""


@dataclass(frozen=True)
class Case:
    """A server and how many peers it gets."""

    server: Server
    kind: str
    """`echo`, `listeners` or `voice`: the options of the load generator."""
    peers: int


ECHO = [Case(server, "echo", n) for server in (FORWARD, AIORTC, FASTRTC, PIPECAT, JANUS) for n in (1, 5, 10, 20, 40)]
SPEECH_PATH = [*(Case(SPEECH, "echo", n) for n in (5, 10, 40)), *(Case(AIORTC, "echo", n) for n in (5, 10))]
FANOUT = [
    *(Case(server, "listeners", n) for server in (FORWARD, JANUS) for n in (10, 30, 60, 200)),
    *(Case(AIORTC, "listeners", n) for n in (5, 10, 20, 30)),  # more take minutes to connect, and a core holds ten
    *(Case(VOICE, "voice", n) for n in (10, 30, 60, 200)),
]
THOUSAND = [Case(FORWARD, "listeners", 1000), Case(VOICE, "voice", 1000)]
WORKLOADS = {"echo": ECHO, "speech": SPEECH_PATH, "fanout": FANOUT, "fanout1000": THOUSAND}
USUAL = ("echo", "speech", "fanout", "loss")


def measure(case: Case) -> Result:
    """One run with a fresh server. Raises RuntimeError if the server or the load generator fails."""
    listeners = ["--listeners", str(case.peers)] if case.kind != "echo" else ["--echo", str(case.peers)]
    voice = ["--voice"] if case.kind == "voice" else []
    with running(case.server) as (url, pid), contextlib.ExitStack() as stack:
        command = [sys.executable, "-m", "tests.bench.load", "--dialect", case.server.dialect, "--url", url]
        command += ["--pid", str(pid), *listeners, *voice]
        if case in THOUSAND:
            command += ["--settle", str(CATCH_UP)]
            if len(os.sched_getaffinity(0)) > 1:
                stack.enter_context(cores.held(pid, 1))  # what it is said to fit on
        done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{case.server.name}, {case.peers} peers: {done.stderr[-2000:]}")
    return Result(**json.loads(done.stdout))


class Results:
    """Of all repetitions."""

    def __init__(self, runs: dict[Case, list[Result]]) -> None:
        self._runs = runs

    def good(self, case: Case) -> list[Result]:
        """Runs whose figures are figures; none if the server was overloaded more often than not."""
        runs = self._runs.get(case, [])
        good = [run for run in runs if not run.errors and run.pps_min >= FULL_RATE]
        return good if 2 * len(good) >= len(runs) else []

    def cost(self, case: Case) -> float | None:
        """Milliseconds of CPU per peer-second; None if there is no figure."""
        good = self.good(case)
        return median(run.cpu_ms for run in good) if good else None

    def most(self, server: Server, kind: str, *peers: int) -> Case:
        """The first number of peers that it can serve, or the last if it can serve none: a server that decodes and
        encodes for each has a core full at 5 to 25 of them."""
        cases = [Case(server, kind, n) for n in peers]
        return next((case for case in cases if self.cost(case) is not None), cases[-1])

    def table(self, cases: Iterable[Case]) -> None:
        """A row for each case that was run."""
        print(f"\n{'server':<30} {'peers':>5} {'CPU ms per peer-second':>24} {'cores':>6} {'added ms':>13}", end="")
        print(f" {'first RTP ms':>13} {'MB + per peer':>14} {'threads':>7} {'files':>6}")
        for case in cases:
            runs = self._runs.get(case, [])
            if not runs:
                continue
            good = self.good(case)
            start = f"{case.server.name:<30} {case.peers:>5}"
            if not good:
                errors = [error for run in runs for error in run.errors]
                rates = [run.pps_min for run in runs if not run.errors]
                print(f"{start}  overloaded: {f'{median(rates):.1f} packets a second' if rates else errors[0]}")
                continue
            costs = [run.cpu_ms for run in good]
            spread = f"{median(costs):.2f} [{min(costs):.2f}..{max(costs):.2f}]"
            memory = f"{_median(good, 'base_mb'):.0f} + {_median(good, 'peer_mb'):.2f}"
            print(f"{start} {spread:>24} {_median(good, 'cores'):>6.2f} {_pair(good, 'added_ms'):>13}", end="")
            print(f" {_pair(good, 'first_rtp_ms'):>13} {memory:>14}", end="")
            print(f" {_median(good, 'threads'):>7.0f} {_median(good, 'files'):>6.0f}")

    def compare(self, figure: str, ours: Case, theirs: Case, goal: float | None = None) -> None:
        """Our cost over theirs, if both are known."""
        one, other = self.cost(ours), self.cost(theirs)
        if one is None or other is None:
            print(f"{figure}: left out, there is no figure of {(ours if one is None else theirs).server.name}")
            return
        print(f"{ours.server.name}, {ours.peers}, over {theirs.server.name}, {theirs.peers}:")
        if goal is None:
            record(figure, one / other, "ratio")
        else:
            record(figure, one / other, "ratio", f"<= {goal:.3g}", one / other <= goal)


def _median(runs: Sequence[Result], field: str) -> float:
    return float(median(getattr(run, field) for run in runs))


def _pair(runs: Sequence[Result], field: str) -> str:
    """p50/p95."""
    pairs = [getattr(run, field) for run in runs if getattr(run, field)]
    return "/".join(f"{median(values):.1f}" for values in zip(*pairs, strict=True)) if pairs else "-"


def run(names: Sequence[str], repetitions: int) -> None:
    """The workloads named, interleaved, and their tables and figures."""
    cases = list(dict.fromkeys(case for name in names for case in WORKLOADS[name]))
    for server in dict.fromkeys(case.server for case in cases if case.server.missing):
        print(f"{server.name}: {server.missing}; left out")
    todo = [case for case in cases if not case.server.missing for _ in range(repetitions)]
    random.shuffle(todo)
    print(f"{len(todo)} runs, load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} CPUs", flush=True)
    runs: dict[Case, list[Result]] = {}
    for number, case in enumerate(todo, 1):
        print(f"{number}/{len(todo)} {case.server.name}, {case.peers} {case.kind}:", end=" ", flush=True)
        try:
            result = measure(case)
        except RuntimeError as error:
            print(f"no run: {error}", flush=True)
        else:
            runs.setdefault(case, []).append(result)
            print(f"{result.cpu_ms:.2f} ms, at least {result.pps_min:.1f} packets a second", flush=True)
    results = Results(runs)
    for name in names:
        results.table(WORKLOADS[name])
    print()
    if "echo" in names:
        results.compare("forward_vs_janus", Case(FORWARD, "echo", 10), Case(JANUS, "echo", 10), 1.0)
        results.compare("forward_vs_janus_40", Case(FORWARD, "echo", 40), Case(JANUS, "echo", 40), 1.0)
        for name, server in (("aiortc", AIORTC), ("fastrtc", FASTRTC), ("pipecat", PIPECAT)):
            most = results.most(server, "echo", 40, 20, 10, 5)
            results.compare(f"forward_vs_{name}", Case(FORWARD, "echo", most.peers), most, 0.05)
            results.compare(f"forward_40_vs_{name}", Case(FORWARD, "echo", 40), most, 0.05)
    if "speech" in names:
        most = results.most(AIORTC, "echo", 10, 5)
        results.compare("speech_path_vs_aiortc", Case(SPEECH, "echo", most.peers), most, 0.125)
    if "fanout" in names:
        ours = Case(FORWARD, "listeners", 60)
        results.compare("fanout_vs_janus", ours, Case(JANUS, "listeners", 60), 0.4)
        results.compare("fanout_vs_mediarelay", ours, results.most(AIORTC, "listeners", 20, 10, 5), 1 / 60)
    if "fanout1000" in names:
        if lates := sorted(result.late_ms["p99"] for result in results.good(THOUSAND[1])):
            print("p99 of the ticks' lateness, run by run: " + ", ".join(f"{late:.1f}" for late in lates) + " ms")
            record("fanout_1000_tick_late_p99_ms", median(lates), "ms", "< 20", median(lates) < 20)
        for case in THOUSAND:
            if cost := results.cost(case):
                record(f"fanout_1000_{case.kind}_cores", cost, "cores")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.media")
    parser.add_argument("workloads", nargs="*", metavar="workload", help=", ".join([*WORKLOADS, "loss"]))
    parser.add_argument("--quick", action="store_true", help="each run once")
    # `python -m tests.bench media` has its own arguments: there, everything usual
    options = parser.parse_args(sys.argv[1:] if __name__ == "__main__" else [])
    chosen = options.workloads or USUAL
    if unknown := set(chosen) - {*WORKLOADS, "loss"}:
        parser.error(f"there is no workload {unknown.pop()}")
    names = [name for name in chosen if name != "loss"]
    quick = ["--quick"] if options.quick else []
    if names and (namespace.inside() or not namespace.run_inside("tests.bench.media", [*names, *quick])):
        run(names, 1 if options.quick else REPETITIONS)
    if "loss" in chosen:
        if importlib.util.find_spec("tests.bench.loss"):
            importlib.import_module("tests.bench.loss").main()
        else:
            print("loss: there is no bench of it yet")


if __name__ == "__main__":
    main()
