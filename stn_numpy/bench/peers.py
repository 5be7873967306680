"""Time over that of our own kind: other libraries that differentiate NumPy.

As in the table with PyTorch, both do the same work in turns, and before that the results are
compared. A peer has one BLAS thread or as many as we have workers, whichever is faster (several
suffer badly where the machine does something else, too); outside matrix products it uses one core,
as NumPy does. Its arrays are contiguous NCHW.
"""

import argparse
import contextlib
from collections.abc import Callable, Iterator
from functools import partial
from importlib.metadata import version
from types import SimpleNamespace
from typing import Any

import numpy as np

from stn_numpy.bench.peer_code import PEERS, Peer, st_cnn
from stn_numpy.bench.rows import chosen
from stn_numpy.bench.timing import (
    WARM_UP,
    Row,
    Side,
    format_header,
    format_row,
    seconds_of,
    time_row,
)
from stn_numpy.bench.work import (
    MOMENTUM,
    RATE,
    ST_CNN,
    conv_inputs,
    convolve,
    cotangent,
    few_in_float64,
    named,
    network,
    our_operation,
    our_step,
    pool,
    pool_inputs,
    read,
    read_inputs,
    step_results,
)
from stn_numpy.errors import UserError

FOOTNOTE = """\
ratio: median of ours over median of theirs; below 1 ours is faster. quartiles: of the ratios of
single turns. fastest: ratio of the fastest runs. ?: do not believe this line, the machine was busy.
Both computed the same: losses, outputs, gradients and updated weights agreed.
Ours shares the work among its workers, with one BLAS thread each; theirs has as many BLAS threads,
or one where that is faster.
What a library does not have is written in its NumPy: see stn_numpy/bench/peer_code.py."""

Sides = tuple[Side, Side]


def compare(workers: int, args: argparse.Namespace, versions: str) -> list[dict[str, Any]]:
    """Time the rows named `args.only` with every peer that is installed, and print each at once."""
    wanted = chosen(rows(), args.only)
    peers, missing = installed()
    if not peers:
        raise UserError(f"no library to compare with is installed: {install(missing)}")
    print(f"{versions}; {workers} cores; {args.repeats} turns")
    if missing:
        names = ", ".join(peer.name for peer in missing)
        print(f"Not installed, and so not in the table: {names} ({install(missing)})")
    width, found = max(map(len, wanted)), []
    for peer in peers:
        print(f"\n{peer.name} {version(peer.package)}\n{format_header(width, 'theirs')}")
        for name, row in wanted.items():
            timing = time_row(name, partial(row, peer=peer), workers, args.repeats)
            print(format_row(timing, width), flush=True)
            found.append({"peer": peer.name, **timing.as_dict("theirs")})
    print(f"\n{FOOTNOTE}")
    return found


def installed() -> tuple[list[Peer], list[type[Peer]]]:
    """The peers that are here, and those that are not."""
    peers, missing = [], []
    for peer in PEERS:
        try:
            peers.append(peer())
        except ImportError:
            missing.append(peer)
    return peers, missing


def install(missing: list[type[Peer]]) -> str:
    """The command that brings them here."""
    return f"pip install {' '.join(peer.package for peer in missing)}"


def rows() -> dict[str, Callable[..., Any]]:
    """All rows by name; each takes the peer by that name and is a `Row` then."""
    table: dict[str, Callable[..., Any]] = {}
    title = "step of the paper's ST-CNN, 32 filters, 28x28, batch 256"
    table[title] = partial(few_in_float64_with, batch=256, **ST_CNN)
    for title, call, inputs in (
        ("conv2d 1->32 9x9 on 256x1x28x28", convolve, partial(conv_inputs, 256, 1, 28, 32, 9)),
        ("conv2d 32->32 7x7 on 256x32x10x10", convolve, partial(conv_inputs, 256, 32, 10, 32, 7)),
        ("max_pool2d 2x2 on 256x32x20x20", pool, partial(pool_inputs, 256, 32, 20, 20)),
        ("affine_grid, grid_sample 256x1x28x28", read, partial(read_inputs, 256, 1, 28, 28)),
    ):
        table[f"{title}, forward + backward"] = partial(operation, call=call, inputs=inputs)
    return table


def few_in_float64_with(
    workers: int, dtype: type, peer: Peer, batch: int, **model: Any
) -> contextlib.AbstractContextManager[Sides]:
    """`training_step`, with a few images in float64."""
    row: Row = few_in_float64(training_step, batch, peer=peer, **model)
    return row(workers, dtype)


@contextlib.contextmanager
def training_step(
    workers: int, dtype: type, batch: int, peer: Peer, **model: Any
) -> Iterator[Sides]:
    """Forward, cross-entropy, backward, SGD with momentum; model: the paper's ST-CNN, 28x28."""
    net, x, y = network(batch, dtype, **model)
    names = [name for name, _ in net.named_parameters()]
    weights = [parameter.data.copy() for parameter in net.parameters()]
    velocities = [np.zeros_like(weight) for weight in weights]
    their_x = np.ascontiguousarray(x)

    def loss_of(*weights: Any) -> Any:
        return peer.cross_entropy(st_cnn(peer, dict(zip(names, weights)), their_x), y)

    def their_step() -> tuple[float, list]:
        loss, gradients = their_gradients()
        for weight, velocity, gradient in zip(weights, velocities, gradients):
            velocity *= MOMENTUM
            velocity += gradient
            weight -= RATE * velocity
        return float(loss), gradients

    def their_results(done: tuple[float, list]) -> dict[str, Any]:
        loss, gradients = done
        both = (SimpleNamespace(grad=g, data=w) for g, w in zip(gradients, weights))
        return step_results(loss, zip(names, both))

    with our_step(net, x, y, workers) as step:
        their_gradients = with_blas_threads(partial(peer.gradients, loss_of, weights), workers)
        yield (
            Side(step, lambda loss: step_results(loss, net.named_parameters()), "ours"),
            Side(their_step, their_results, peer.name),
        )


@contextlib.contextmanager
def operation(
    workers: int, dtype: type, peer: Peer, call: Callable, inputs: Callable
) -> Iterator[Sides]:
    """One operation, forwards and backwards; `call` and `inputs` as in `twins.operation`."""
    rng = np.random.default_rng(0)
    split, shared = ([array.astype(dtype) for array in arrays] for arrays in inputs(rng))
    dy = cotangent(call, (split, shared), rng)
    their_inputs = [np.array(array, order="C") for array in (*split, *shared)]
    their_dy = np.ascontiguousarray(dy)

    def theirs() -> list[np.ndarray]:
        y, gradients = peer.gradients(partial(call, peer), their_inputs, their_dy)
        return [y, *gradients]

    with our_operation(workers, call, (split, shared), dy, backward=True) as ours:
        yield ours, Side(with_blas_threads(theirs, workers), named, peer.name)


def with_blas_threads(work: Callable[[], Any], most: int) -> Callable[[], Any]:
    """The same work with one BLAS thread or with `most`, whichever is faster now.

    Our workers leave BLAS one thread; this sets another number for as long as the work takes.
    """
    from threadpoolctl import ThreadpoolController

    controller = ThreadpoolController()  # looking for libraries takes milliseconds, so it is once

    def run(count: int) -> Any:
        with controller.limit(limits=count, user_api="blas"):
            return work()

    if most == 1:
        return partial(run, 1)
    times = [min(seconds_of(partial(run, count), 1) for _ in range(WARM_UP)) for count in (1, most)]
    return partial(run, most if times[1] < times[0] else 1)
