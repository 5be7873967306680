"""A training step taken apart: each operation, forward and backward, and what the rest costs."""

import contextlib
import statistics
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from stn_numpy import functional as F
from stn_numpy import nn
from stn_numpy.autograd import Tensor, _takes_needs
from stn_numpy.bench.timing import WAITING, WARM_UP, seconds_of, seconds_waited
from stn_numpy.bench.work import ST_CNN, network, our_step
from stn_numpy.data import distort, load_digits
from stn_numpy.parallel import Workers, shards

MEMORY_BUDGET = 300e6  # bytes, for one training step of the paper's ST-CNN


@dataclass
class Operation:
    """One operation of a step. Two numbers are of forward and backward."""

    name: str
    input: tuple[int, ...]  # shape
    flops: list[int]  # of its matrix products, 0 where it has none
    alone: list[float]  # seconds of one worker that has the machine to itself
    at_once: list[float]  # seconds of one worker while all others do the same


@dataclass(frozen=True)
class Profile:
    """A training step taken apart. All times are medians, in seconds."""

    workers: int
    images: tuple[int, int]  # of the whole batch, of one worker
    operations: list[Operation]  # of one worker, in order
    alone: float  # forward and backward of one worker that has the machine to itself
    at_once: float  # the same for all workers at once
    step: float  # the whole step: with the batch split, gradients added and weights moved
    peak: float  # floating-point operations a second of a large float32 product, one thread
    memory: int  # bytes that Python and NumPy held at most during two steps, network included
    waiting: float  # for this part of the time, threads of ours waited for a core
    distortions: dict[str, float]  # seconds to make the next batch, for each kind

    def as_dict(self) -> dict[str, Any]:
        return {**vars(self), "operations": [vars(operation) for operation in self.operations]}


def take_apart(workers: int, repeats: int, batch: int = 256, **model: Any) -> Profile:
    """Profile a training step; model: for `models.build`, the paper's ST-CNN by default."""
    model = model or ST_CNN
    memory = peak_memory(workers, batch, model)
    net, x, y = network(batch, **model)
    parts, targets = list(shards(x, workers)), np.array_split(y, workers)
    start, waited = time.perf_counter(), seconds_waited()
    with our_step(net, x, y, workers) as step:
        steps = [seconds_of(step, 1) for _ in range(WARM_UP + repeats)][WARM_UP:]
    with Workers(net, workers) as pool:
        alone, seconds_alone = observe(pool, parts[:1], targets[:1], repeats)
        at_once, seconds_at_once = observe(pool, parts, targets, repeats)
        peak = matmul_peak()
    return Profile(
        workers=workers,
        images=(batch, len(parts[0])),
        operations=[replace(a, at_once=b.alone) for a, b in zip(alone, at_once)],
        alone=seconds_alone,
        at_once=seconds_at_once,
        step=statistics.median(steps),
        peak=peak,
        memory=memory,
        waiting=(seconds_waited() - waited) / (time.perf_counter() - start),
        distortions=distortion_seconds(batch, workers, repeats),
    )


def observe(
    pool: Workers, parts: list[np.ndarray], targets: list[np.ndarray], repeats: int
) -> tuple[list[Operation], float]:
    """Forward and backward of a worker for each part: the first one's operations; all seconds.

    The seconds of each operation (in `alone`) and of the whole are medians.
    """

    def work(replica: nn.Module, x: np.ndarray, y: np.ndarray) -> None:
        replica.zero_grad()
        F.cross_entropy(replica(x), y).backward()

    runs, seconds = [], []
    for _ in range(WARM_UP + repeats):
        with watched(pool.model) as operations:
            seconds.append(seconds_of(lambda: pool.map(work, parts, targets), 1))
        runs.append(operations)
    same = zip(*runs[WARM_UP:])
    return [
        replace(times[0], alone=np.median([t.alone for t in times], axis=0).tolist())
        for times in same
    ], statistics.median(seconds[WARM_UP:])


@contextlib.contextmanager
def watched(net: nn.Module) -> Iterator[list[Operation]]:
    """Inside, operations that modules call in this thread are timed, and added to the list.

    Operations with a parameter of `net` bear the name of its layer.
    """
    layers = {id(p): name.rpartition(".")[0] for name, p in net.named_parameters()}
    operations: list[Operation] = []
    plain = {name: getattr(F, name) for name in F.__all__}
    try:
        for name, function in plain.items():  # modules look them up there at every call
            setattr(F, name, _timed(function, operations, layers))
        yield operations
    finally:
        for name, function in plain.items():
            setattr(F, name, function)


def _timed(function: Callable, operations: list[Operation], layers: dict[int, str]) -> Callable:
    """The same function; each call adds an Operation, whose backward is timed in its turn.

    This is the one place that reaches behind the tape: the backward pass that it would call is
    exchanged for one that looks at the clock. Tensors offer no way to do that, and need none.
    """
    thread = threading.get_ident()

    def forward(*args: Any, **kwargs: Any) -> Tensor:
        if threading.get_ident() != thread:
            return function(*args, **kwargs)
        start = time.perf_counter()
        y = function(*args, **kwargs)
        seconds = [time.perf_counter() - start, 0.0]
        layer = [layers[id(arg)] for arg in args if id(arg) in layers][:1]
        name, shape = " ".join([function.__name__, *layer]), np.shape(args[0])
        operations.append(Operation(name, shape, _flops(function.__name__, args, y), seconds, []))
        node = y._node
        if node is not None:
            inner, wants = node.backward, _takes_needs(node.backward)

            def backward(dy: np.ndarray, needs: list[bool]) -> Any:
                start = time.perf_counter()
                gradients = inner(dy, needs) if wants else inner(dy)
                seconds[1] = time.perf_counter() - start
                return gradients

            node.backward = backward
        return y

    return forward


def _flops(name: str, args: tuple, y: Tensor) -> list[int]:
    """Of a product with a weight (O, ...): 2 for each output and weight of its row."""
    if name not in ("conv2d", "linear"):
        return [0, 0]
    weight = args[1]
    forward = 2 * y.size * weight.size // len(weight)
    gradients = sum(isinstance(arg, Tensor) and arg.requires_grad for arg in args[:2])
    return [forward, gradients * forward]


def matmul_peak(n: int = 1024, repeats: int = 10) -> float:
    """Floating-point operations a second of an n x n x n float32 product, the best of some."""
    a = np.random.default_rng(0).random((n, n), np.float32)
    out = np.empty_like(a)
    return 2 * n**3 / min(seconds_of(lambda: np.matmul(a, a, out=out), 1) for _ in range(repeats))


def distortion_seconds(batch: int, workers: int, repeats: int) -> dict[str, float]:
    """How long it takes to distort a batch of 28x28 digits afresh, for R, P and E; medians."""
    rng = np.random.default_rng(0)
    digits = np.resize(load_digits().train_images, (batch, 28, 28))

    def seconds(kind: str) -> float:
        times = [
            seconds_of(lambda: distort(digits, kind, rng, workers=workers), 1)
            for _ in range(WARM_UP + repeats)
        ]
        return statistics.median(times[WARM_UP:])

    return {kind: seconds(kind) for kind in ("R", "P", "E")}


def peak_memory(workers: int, batch: int, model: dict[str, Any]) -> int:
    """The most bytes that are in use while a network, a batch and two steps are made.

    Counted by tracemalloc, which knows every array of NumPy but not the buffers of its BLAS.
    """
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        with our_step(*network(batch, **model), workers) as step:
            step()
            step()
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()


def format_profile(profile: Profile) -> str:
    """The profile as a table and a few lines."""
    whole, one = profile.images
    operations = profile.operations
    width = max(len(operation.name) for operation in operations)
    forward, backward = (sum(o.alone[i] for o in operations) for i in range(2))
    at_once = sum(sum(o.at_once) for o in operations)
    flops = sum(sum(o.flops) for o in operations)
    in_products = sum(sum(o.alone) for o in operations if o.flops[0])

    def line(name: str, shape: str, times: list[float], at_once: float, rates: str = "") -> str:
        ms = [f"{1e3 * seconds:8.2f}" for seconds in times]
        share = sum(times) / profile.alone
        return (
            f"{name:{width}}  {shape:>13}  {''.join(ms):>16}  {share:6.1%}  {1e3 * at_once:7.2f}"
            f"{rates}"
        )

    lines = [
        f"One worker with {one} of {whole} images. at once: while the other workers do the same.",
        "GFLOP/s: of the matrix products that windows take, in the time of the whole operation;",
        "forward, backward. Where conv2d takes waves it needs fewer, and can be over the peak.",
        "",
        f"{'milliseconds':{width}}  {'input':>13}   forward backward   share  at once   GFLOP/s",
    ]
    for o in operations:
        rates = [f / s / 1e9 if s else 0 for f, s in zip(o.flops, o.alone)]
        rates = f"{rates[0]:6.0f}{rates[1]:4.0f}" if o.flops[0] else ""
        lines.append(line(o.name, "x".join(map(str, o.input)), o.alone, sum(o.at_once), rates))
    rest = profile.alone - forward - backward
    lines += [
        line("sum", "", [forward, backward], at_once),
        line("tape, modules, checks", "", [rest], profile.at_once - at_once),
        "",
        f"{1e3 * profile.alone:8.1f} ms   one worker, {one} images, alone on the machine",
        f"{1e3 * profile.at_once:8.1f} ms   {profile.workers} workers at once, {one} images each: "
        "they wait for each other's Python",
        f"{1e3 * profile.step:8.1f} ms   the whole step: also splits the batch, adds gradients, "
        "moves the weights",
        f"{1e3 * flops / profile.peak:8.1f} ms   would be enough for these products of one "
        f"worker ({flops / 1e9:.2f} GFLOP) at the peak of",
        f"{profile.peak / 1e9:8.0f} GFLOP/s, that of a 1024^3 float32 product on one thread; "
        f"its conv2d and linear reach {flops / in_products / 1e9:.0f}",
        f"{profile.memory / 1e6:8.0f} MB   at most in use during a step, without the imports "
        f"(budget: {MEMORY_BUDGET / 1e6:.0f} MB)",
    ]
    distortions = ", ".join(
        f"{kind} {1e3 * seconds:.1f} ms ({seconds / profile.step:.0%})"
        for kind, seconds in profile.distortions.items()
    )
    lines.append(f"and to distort the next batch afresh, beside the step: {distortions}")
    if profile.waiting > WAITING:
        lines.append("\nThe machine was busy with something else: do not believe these times.")
    return "\n".join(lines)
