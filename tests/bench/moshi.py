"""How many people one GPU talks with: the time of a step and the memory, by seats and context.

    python -m tests.bench.moshi

Weights are random, made where they are used, so that no checkpoint is needed: time and memory do not depend on what is
said. On a CUDA GPU the model is of full size (7.7 B parameters in bf16, and Mimi of 79 M); on a CPU it is a tiny and a
small one, by the same code, to see that it works and how a step grows with its seats.

A step has to be done in 80 ms, also the slowest in a hundred. `estimate` is what is asked for before loading
(models/moshi_checkpoint.py), `memory` what was taken. Mismatches are tokens of a greedy conversation that are others
when its neighbours talk, join and leave than when they are silent, at the same batch size: leaks from seat to seat.

Before that, what the server does around the model (`python -m tests.bench.conversation`): delay, stalls, joins.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np

from models.base import EngineError
from models.moshi import RESERVE, Batch
from models.moshi_checkpoint import GIGA, MOSHI_7B, library, memory
from tests.bench import conversation
from tests.bench.figures import percentile, record

PERIOD_MS = 80.0
WARM_UP = 10
TALK = 60
"""Steps of the conversation whose tokens are compared."""

SMALL: Mapping[str, Any] = {
    **MOSHI_7B,
    "dim": 512,
    "num_heads": 8,
    "num_layers": 8,
    "text_card": 4000,
    "context": 500,
    "depformer_dim": 256,
    "depformer_dim_feedforward": 1056,
    "depformer_num_heads": 4,
    "depformer_num_layers": 3,
}


@dataclass(frozen=True)
class Size:
    """A model, and what is asked of it."""

    name: str
    lm: Mapping[str, Any]
    mimi: Mapping[str, Any] | None
    """None: of full size."""
    contexts: Sequence[int]
    seats: Sequence[int]
    steps: int


def sizes(cuda: bool) -> list[Size]:
    from tests.models.tiny_moshi import LM, MIMI

    if cuda:
        return [Size("7B", MOSHI_7B, None, (3000, 1500), (1, 4, 8, 16, 24, 32, 48, 64), 200)]
    seanet = {**MIMI["seanet"], "n_filters": 16, "dimension": 128}
    quantizer = {"dimension": 64, "n_q": 8, "bins": 2048, "input_dimension": 128, "output_dimension": 128}
    sides = {"input_dimension": 128, "output_dimensions": [128], "d_model": 128, "dim_feedforward": 512, "context": 250}
    transformer = {**MIMI["transformer"], **sides, "num_heads": 4, "num_layers": 2}
    codec = {**MIMI, "seanet": seanet, "quantizer": quantizer, "transformer": transformer}
    return [
        Size("tiny", {**LM, "text_card": 340}, MIMI, (24,), (1, 4, 16), 100),
        Size("small", SMALL, codec, (500, 250), (1, 2, 4, 8), 40),
    ]


class Bench:
    """One model on its device, with a batch at a time."""

    def __init__(self, size: Size, device: str) -> None:
        import torch

        from tests.models.tiny_moshi import random_lm, random_mimi

        self.torch, self.size, self.device = torch, size, torch.device(device)
        self.dtype = torch.bfloat16 if self.device.type == "cuda" else torch.float32
        torch.manual_seed(0)
        codebooks = max(size.lm["dep_q"], size.lm["n_q"] - size.lm["dep_q"])
        self.mimi = random_mimi(size.mimi, device, codebooks)
        self.lm = random_lm(size.lm, device, self.dtype)

    @contextmanager
    def batch(self, seats: int, context: int, sampling: Mapping[str, Any]) -> Iterator[Batch]:
        # Not the Depformer's: its context is the codebooks of one frame.
        library()
        from moshi.modules.transformer import set_attention_context

        set_attention_context(self.lm.transformer, context)
        batch = Batch(self.lm, self.mimi, seats, sampling)
        try:
            yield batch
        finally:
            batch.close()
            del batch
            if self.device.type == "cuda":
                self.torch.cuda.empty_cache()

    def taken(self) -> float:
        """Gigabytes of the device that this process and its libraries hold; nan on a CPU."""
        if self.device.type != "cuda":
            return float("nan")
        free, total = self.torch.cuda.mem_get_info()
        return (total - free) / GIGA

    def room(self) -> float:
        """Gigabytes that there are at all."""
        return float(self.torch.cuda.mem_get_info()[1]) / GIGA if self.device.type == "cuda" else float("inf")

    def estimate(self, seats: int, context: int) -> float:
        """Gigabytes."""
        reserve = RESERVE[self.device.type]
        return memory(self.size.lm, context, self.dtype.itemsize, guided=False, reserve=reserve).need(seats) / GIGA


def measure(bench: Bench, seats: int, context: int) -> tuple[list[float], list[float], float]:
    """Milliseconds of each step with everybody talking, of each reset of one seat, and gigabytes taken."""
    rng, everybody = np.random.default_rng(0), range(seats)
    pcm = (rng.standard_normal((seats, 1920)) * 0.1).astype(np.float32)
    steps, resets = [], []
    with bench.batch(seats, context, {}) as batch:
        for _ in range(WARM_UP):
            batch.step(pcm, everybody)
        for index in range(bench.size.steps):
            begun = time.perf_counter()
            batch.step(pcm, everybody)  # ends with what was said on the CPU, so it is done
            steps.append((time.perf_counter() - begun) * 1000)
            if index % 10 == 0:
                begun = time.perf_counter()
                batch.reset([index % seats])
                if bench.device.type == "cuda":
                    bench.torch.cuda.synchronize()
                resets.append((time.perf_counter() - begun) * 1000)
        return steps, resets, bench.taken()


def mismatches(bench: Bench, seats: int, context: int) -> int:
    """Tokens of seat 0 that are others when the other seats are in use."""
    rng = np.random.default_rng(0)
    voice = (rng.standard_normal((TALK, 1920)) * 0.1).astype(np.float32)
    noise = (rng.standard_normal((seats, 1920)) * 0.1).astype(np.float32)
    found: list[list[list[int]]] = []
    with bench.batch(seats, context, {"use_sampling": False}) as batch:
        for busy in (False, True):
            batch.reset([0])
            said = []
            for frame in voice:
                others = [seat for seat in range(1, seats) if busy and rng.random() < 0.7]
                if others and rng.random() < 0.1:
                    batch.reset(others[:1])
                noise[0] = frame
                said.append(batch.step(noise, [0, *others])[0][0].tolist())
            found.append(said)
    alone, among = (np.array(said) for said in found)
    return int((alone != among).sum())


def table(bench: Bench) -> int:
    """A row for each context and number of seats, then figures. The mismatches."""
    size = bench.size
    print(f"\n{size.name} on {bench.device.type}: context  seats   median     p99   reset ms   memory  estimate GB")
    for context in size.contexts:
        most = 0
        for seats in size.seats:
            estimate = bench.estimate(seats, context)
            if estimate > bench.room():
                print(f"{'':>14} {context:>12} {seats:>6}   left out: {estimate:.0f} GB are not there")
                continue
            steps, resets, taken = measure(bench, seats, context)
            slowest = percentile(steps, 0.99)
            most = seats if slowest < PERIOD_MS else most
            print(
                f"{'':>14} {context:>12} {seats:>6} {median(steps):8.1f} {slowest:7.1f} {median(resets):10.2f}"
                f" {taken:8.1f} {estimate:9.1f}"
            )
        record(f"moshi_{size.name}_seats_at_context_{context}", most, "seats")
    wrong = mismatches(bench, 4, size.contexts[0])
    record(f"moshi_{size.name}_seat_isolation_mismatches", wrong, "tokens", "<= 0", wrong == 0)
    return wrong


def main() -> None:
    conversation.main()
    try:
        library()
        import torch
    except EngineError as error:
        print(error)
        return
    cuda = torch.cuda.is_available()
    if not cuda:
        torch.set_num_threads(1)
    wrong = sum(table(Bench(size, "cuda" if cuda else "cpu")) for size in sizes(cuda))
    record("seat_isolation_mismatches", wrong, "tokens", "<= 0", wrong == 0)


if __name__ == "__main__":
    main()
