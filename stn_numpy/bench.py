"""How fast: time over PyTorch's on the same cores, and a training step taken apart.

Each row of the table is one piece of work that both do in turns, in one process: ours, PyTorch,
ours, PyTorch, ... Whatever else the machine is busy with meets both. Before a row is timed (in
float32), both do its work from the same numbers in float64 and in float32 and the results are
compared, so that no row compares two different things.

Cores: PyTorch has as many threads as we have workers. A worker takes its part of the batch and one
BLAS thread; single operations are shared among the workers in the same way.

Networks: both run the same layers in the same order from the same weights, the localisation net a
little off the identity (on the identity every point is on the lattice, where rounding chooses the
slope). The tutorial's network runs without its dropout, which no two libraries draw alike.

Memory: PyTorch has contiguous NCHW. Ours is what a training step really sees: batches as
`data.batches` makes them, and for single operations what the layer before hands over, the batch
last in memory and one such array for each worker. Gradients arrive in the memory order of outputs.

Freed memory: our workers tell the C library to keep it. That holds for the whole process, so here
PyTorch, too, is spared the page faults that it has elsewhere.

`--profile` takes the training step of the paper's ST-CNN apart instead, and needs no PyTorch.
"""

import argparse
import contextlib
import json
import math
import platform
import statistics
import threading
import time
import tracemalloc
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from stn_numpy import functional as F
from stn_numpy import models, nn
from stn_numpy.autograd import Tensor, _gradients, _takes_needs, no_grad
from stn_numpy.errors import UserError
from stn_numpy.files import write_text
from stn_numpy.functional.layout import batch_first
from stn_numpy.optim import SGD
from stn_numpy.parallel import Workers, default_workers, shards
from stn_numpy.spatial_transformer import SpatialTransformer

WARM_UP = 3  # untimed runs of each side
SHORTEST = 0.02  # seconds: work that is shorter is repeated until it takes this long
# The largest relative difference (2-norm) of results that are the same. In float32, rounding may
# take a point or a maximum to its neighbour, and with it the gradient.
TOLERANCE = {np.float64: 1e-9, np.float32: 0.05}
# More than this says that the machine was busy with something else: the part of the time for which
# threads that could run had no core (a tenth is their own doing: idle threads of one side are still
# awake when the other begins), and the distance of a ratio's quartiles, relative to the ratio.
WAITING, SPREAD = 0.25, 0.2
INFERENCE_BATCH = 512  # as in training.mistakes_on_test
MEMORY_BUDGET = 300e6  # bytes, for one training step of the paper's ST-CNN

Generator = np.random.Generator
ST_CNN = {"name": "st-cnn", "transform": "affine", "width": 32}


class DifferentWork(RuntimeError):
    """The two sides of a row do not compute the same: there is nothing to compare."""


class Side(NamedTuple):
    """One of the two that are compared."""

    run: Callable[[], Any]  # does the work once
    results: Callable[[Any], dict[str, Any]]  # from what `run` returned: arrays to compare, by name


# (workers, dtype) -> (ours, PyTorch's)
Row = Callable[[int, type], AbstractContextManager[tuple[Side, Side]]]


@dataclass(frozen=True)
class Timing:
    """One row of the table: seconds of every repeat; `ours[i]` and `torch[i]` are neighbours."""

    work: str
    ours: Sequence[float]
    torch: Sequence[float]
    waiting: float = 0.0  # for this part of the time, threads of either waited for a core

    @property
    def ratio(self) -> float:
        """Median of ours over median of PyTorch's."""
        return statistics.median(self.ours) / statistics.median(self.torch)

    @property
    def quartiles(self) -> tuple[float, float]:
        """First and third quartile of the ratios of all turns."""
        low, high = np.percentile(np.divide(self.ours, self.torch), [25, 75])
        return float(low), float(high)

    @property
    def fastest(self) -> float:
        """Fastest of ours over fastest of PyTorch's: other work on the machine only ever slows."""
        return min(self.ours) / min(self.torch)

    @property
    def disturbed(self) -> bool:
        """The machine was busy with something else, and the ratio says more about that."""
        low, high = self.quartiles
        return self.waiting > WAITING or high - low > SPREAD * self.ratio


# The command line


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``python -m stn_numpy bench``."""
    option = parser.add_argument
    option("--repeats", type=int, default=20, help="timed runs of each side (default: 20)")
    option("--workers", type=int, help="cores (default: $STN_NUMPY_WORKERS or the cores, up to 4)")
    option("--json", type=Path, metavar="FILE", help="write all numbers to this file, too")
    either = parser.add_mutually_exclusive_group()
    either.add_argument("--only", metavar="TEXT", help="only rows whose name contains this")
    either.add_argument(
        "--profile", action="store_true", help="take our training step apart, without PyTorch"
    )


def run(args: argparse.Namespace) -> int:
    """``python -m stn_numpy bench``. Raises UserError for options that make no sense."""
    workers = default_workers() if args.workers is None else args.workers
    for name, value in (("repeats", args.repeats), ("workers", workers)):
        if value < 1:
            raise UserError(f"--{name} is {value}, want at least 1")
    about = {"workers": workers, "repeats": args.repeats, "versions": _versions()}
    if args.profile:
        profile = take_apart(workers, args.repeats)
        print(format_profile(profile))
        about["profile"] = profile.as_dict()
    else:
        about["rows"] = [_row_as_dict(timing) for timing in compare(workers, args)]
    if args.json is not None:
        write_text(args.json, json.dumps(about, indent=2) + "\n")
    return 0


def compare(workers: int, args: argparse.Namespace) -> list[Timing]:
    """Time all rows whose name contains `args.only` and print each as soon as it is done."""
    torch = _import_torch()
    table = rows()
    wanted = {name: row for name, row in table.items() if (args.only or "").lower() in name.lower()}
    if not wanted:
        raise UserError(f"--only {args.only}: no such row; there are: {'; '.join(table)}")
    versions = ", ".join(f"{name} {version}" for name, version in _versions().items())
    print(f"{versions}, PyTorch {torch.__version__}; {workers} cores; {args.repeats} turns\n")
    width = max(map(len, wanted))
    print(format_header(width))
    timings = []
    for name, row in wanted.items():
        timings.append(time_row(name, row, workers, args.repeats))
        print(format_row(timings[-1], width), flush=True)
    print(f"\n{FOOTNOTE}")
    return timings


FOOTNOTE = """\
ratio: median of ours over median of PyTorch's; below 1 ours is faster. quartiles: of the ratios of
single turns. fastest: ratio of the fastest runs. ?: do not believe this line, the machine was busy
with something else; threads that wait for each other suffer most from that.
Both computed the same: outputs, gradients and updated weights agreed.
Training step: zero_grad, forward, cross-entropy, backward, SGD with momentum; dropout off.
Single operations: on our side each worker has its part of the batch, with the batch last in memory,
as it is between the layers of a network; PyTorch has contiguous NCHW. All inputs get a gradient.
Our workers let the C library keep freed memory; in this process PyTorch is faster for it, too."""


def format_header(width: int) -> str:
    return f"{'work':{width}}   ours ms  PyTorch ms  ratio   quartiles     fastest"


def format_row(timing: Timing, width: int) -> str:
    ours, torch = (1e3 * statistics.median(side) for side in (timing.ours, timing.torch))
    low, high = timing.quartiles
    return (
        f"{timing.work:{width}}  {ours:8.2f}  {torch:10.2f}  {timing.ratio:5.2f}"
        f"{'?' if timing.disturbed else ' '}  {low:.2f} to {high:.2f}  {timing.fastest:7.2f}"
    )


def _row_as_dict(timing: Timing) -> dict[str, Any]:
    return {
        "work": timing.work,
        "ours_ms": 1e3 * statistics.median(timing.ours),
        "torch_ms": 1e3 * statistics.median(timing.torch),
        "ratio": timing.ratio,
        "quartiles": list(timing.quartiles),
        "fastest": timing.fastest,
        "waiting": timing.waiting,
        "disturbed": timing.disturbed,
        "ours_seconds": list(timing.ours),
        "torch_seconds": list(timing.torch),
    }


def _versions() -> dict[str, str]:
    return {"Python": platform.python_version(), "NumPy": np.__version__}


def _import_torch() -> Any:
    try:
        import torch
    except ImportError:
        raise UserError(
            "PyTorch, to compare with, is not installed: pip install torch (CPU build is enough)"
        ) from None
    return torch


# One row: check that both do the same, then let them run in turns


def time_row(work: str, row: Row, workers: int, repeats: int) -> Timing:
    """Check and time one row. Raises DifferentWork."""
    torch = _import_torch()
    before = torch.get_num_threads()
    try:
        for dtype in (np.float64, np.float32):
            with row(workers, dtype) as (ours, theirs):
                torch.set_num_threads(workers)  # after our workers set the threads of every BLAS
                check_same_work(work, ours, theirs, dtype)
                if dtype is np.float32:
                    start, waited = time.perf_counter(), _waited()
                    times = take_turns(ours.run, theirs.run, repeats)
                    waiting = (_waited() - waited) / (time.perf_counter() - start)
                    return Timing(work, *times, waiting)
    finally:
        torch.set_num_threads(before)


def check_same_work(work: str, ours: Side, theirs: Side, dtype: type) -> None:
    """Raises DifferentWork unless both come to the same results.

    In float64 the work is done twice: only the second step of an optimizer has a momentum.
    """
    if dtype is np.float64:
        ours.run()
        theirs.run()
    got, want = ours.results(ours.run()), theirs.results(theirs.run())
    if got.keys() != want.keys():
        raise DifferentWork(f"{work}: ours gives {list(got)}, PyTorch {list(want)}")
    for name in want:
        a, b = (np.asarray(side[name], dtype=np.float64) for side in (got, want))
        if a.shape != b.shape:
            raise DifferentWork(f"{work}: {name} has shape {a.shape}, with PyTorch {b.shape}")
        difference, size = np.linalg.norm(a - b), np.linalg.norm(b)
        if not difference <= TOLERANCE[dtype] * size:
            raise DifferentWork(
                f"{work}: {name} is {difference:.1e} away from PyTorch's, whose norm is "
                f"{size:.1e} ({dtype.__name__})"
            )


def take_turns(ours: Callable, theirs: Callable, repeats: int) -> tuple[list[float], list[float]]:
    """Seconds of one run, `repeats` times each, in turns.

    The first run of a turn finds the other's data in the cache and the other's threads still
    awake; it is not timed.
    """
    warm = [_seconds(side, 1) for _ in range(WARM_UP) for side in (ours, theirs)]
    calls = max(1, math.ceil(SHORTEST / min(warm)))
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(repeats):
        for side, seconds in zip((ours, theirs), times):
            side()
            seconds.append(_seconds(side, calls))
    return times


def _waited() -> float:
    """Seconds for which threads of this process could run and had no core; 0 where not known."""
    total = 0
    for thread in Path("/proc/self/task").glob("*/schedstat"):  # Linux has it
        with contextlib.suppress(OSError):  # a thread may end at any time
            _on_a_core, waiting_for_one, _turns = thread.read_text().split()
            total += int(waiting_for_one)
    return total / 1e9


def _seconds(work: Callable, calls: int) -> float:
    start = time.perf_counter()
    for _ in range(calls):
        work()
    return (time.perf_counter() - start) / calls


# The rows


def rows() -> dict[str, Row]:
    """All rows of the table by name."""
    table: dict[str, Row] = {}
    paper = "step of the paper's ST-CNN"
    of_400k = {"name": "st-cnn", "parameters": 400_000}
    for title, batch, model in (
        (f"{paper}, 32 filters, 28x28", 256, ST_CNN),
        (f"{paper}, 400k parameters, 28x28", 256, of_400k),
        (f"{paper}, 32 filters, 42x42", 256, {**ST_CNN, "image_size": 42}),
        ("step of the tutorial's network", 64, {"name": "tutorial"}),
        ("step of the tutorial's network", 256, {"name": "tutorial"}),
    ):
        table[f"{title}, batch {batch}"] = partial(training_step, batch=batch, **model)
    title = "inference, paper's ST-CNN, 32 filters, 10,000 images"
    table[title] = partial(inference, images=10_000, **ST_CNN)
    for title, call, inputs in (
        ("conv2d 1->32 9x9 on 256x1x28x28", convolve, partial(conv_inputs, 256, 1, 28, 32, 9)),
        ("conv2d 32->32 7x7 on 256x32x10x10", convolve, partial(conv_inputs, 256, 32, 10, 32, 7)),
        ("max_pool2d 2x2 on 256x32x20x20", pool, partial(pool_inputs, 256, 32, 20, 20)),
        ("grid_sample bilinear 256x1x28x28", sample, partial(sample_inputs, 256, 1, 28, 28)),
        ("grid_sample bilinear 64x32x32x32", sample, partial(sample_inputs, 64, 32, 32, 32)),
        ("affine_grid 256x28x28", generate, partial(theta_inputs, 256)),
    ):
        for backward in (False, True):
            name = f"{title}, forward{' + backward' if backward else ''}"
            table[name] = partial(operation, call=call, inputs=inputs, backward=backward)
    return table


@contextlib.contextmanager
def training_step(
    workers: int, dtype: type, batch: int, **model: Any
) -> Iterator[tuple[Side, Side]]:
    """zero_grad, forward, cross-entropy, backward, SGD with momentum; model: for `models.build`."""
    torch = _import_torch()
    net, x, y = network(batch, dtype, **model)
    twin = torch_twin(net)
    optimizer = torch.optim.SGD(twin.parameters(), lr=0.01, momentum=0.9)
    torch_x, torch_y = torch.from_numpy(np.ascontiguousarray(x)), torch.from_numpy(y)

    def torch_step() -> float:
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(twin(torch_x), torch_y)
        loss.backward()
        optimizer.step()
        return loss.item()

    def results(loss: float, parameters: Any) -> dict[str, Any]:
        arrays: dict[str, Any] = {"loss": loss}
        for name, parameter in parameters:
            arrays[f"gradient of {name}"] = parameter.grad
            arrays[f"{name} after the step"] = parameter.data
        return arrays

    with our_step(net, x, y, workers) as step:
        yield (
            Side(step, lambda loss: results(loss, net.named_parameters())),
            Side(torch_step, lambda loss: results(loss, twin.named_parameters())),
        )


@contextlib.contextmanager
def our_step(net: nn.Module, x: np.ndarray, y: np.ndarray, workers: int) -> Iterator[Callable]:
    """A function that does one training step and returns the loss."""
    optimizer = SGD(net.parameters(), lr=0.01, momentum=0.9)
    with Workers(net, workers) as pool:

        def step() -> float:
            optimizer.zero_grad()
            loss = pool.gradients(lambda net, x, y: F.cross_entropy(net(x), y), x, y)
            optimizer.step()
            return loss

        yield step


@contextlib.contextmanager
def inference(workers: int, dtype: type, images: int, **model: Any) -> Iterator[tuple[Side, Side]]:
    """Scores of all images, in batches, nothing recorded."""
    torch = _import_torch()
    net, x, _ = network(images, dtype, **model)
    twin = torch_twin(net)
    starts = range(0, images, INFERENCE_BATCH)
    batches = [x[start : start + INFERENCE_BATCH].copy(order="K") for start in starts]
    torch_batches = [torch.from_numpy(np.ascontiguousarray(batch)) for batch in batches]

    def scores(replica: nn.Module, x: np.ndarray) -> np.ndarray:
        with no_grad():  # each thread has a tape of its own to switch off
            return replica(x).data

    def ours() -> np.ndarray:
        return np.concatenate([s for x in batches for s in pool.map(scores, shards(x, workers))])

    def theirs() -> Any:
        with torch.no_grad():
            return torch.cat([twin(x) for x in torch_batches])

    with Workers(net, workers) as pool:
        yield Side(ours, lambda y: {"scores": y}), Side(theirs, lambda y: {"scores": y})


@contextlib.contextmanager
def operation(
    workers: int, dtype: type, call: Callable, inputs: Callable, backward: bool
) -> Iterator[tuple[Side, Side]]:
    """One operation.

    call(F, *arrays): the same words for our functional module and for PyTorch's.
    inputs(rng): (arrays that are split along the batch, arrays that all workers share), float32.
    """
    torch = _import_torch()
    rng = np.random.default_rng(0)
    split, shared = ([array.astype(dtype) for array in arrays] for arrays in inputs(rng))
    dy = np.empty_like(call(F, *split, *shared).data)  # in the memory order of the output
    dy[...] = rng.standard_normal(dy.shape, np.float32)

    def parts(array: np.ndarray) -> list[np.ndarray]:
        return [part.copy(order="K") for part in np.array_split(array, workers)]

    def work(_: nn.Module, dy: np.ndarray, *part: np.ndarray) -> tuple[list, list]:
        tensors = [Tensor(array, requires_grad=backward) for array in (*part, *shared)]
        y = call(F, *tensors)
        if not backward:
            return [y.data], []
        # One step of the tape's walk; a whole walk would copy each gradient into a leaf.
        needs = [isinstance(value, Tensor) for value in y._node.inputs]
        gradients = [g for g, need in zip(_gradients(y._node, dy, needs), needs) if need]
        return [y.data, *gradients[: len(part)]], gradients[len(part) :]

    def ours() -> tuple[list, list]:
        done = pool.map(work, *our_inputs)
        return (
            [own for own, _ in done],
            [sum(g[1:], start=g[0]) for g in zip(*(of_shared for _, of_shared in done))],
        )

    def theirs() -> list:
        with torch.set_grad_enabled(backward):
            y = call(torch.nn.functional, *torch_inputs)
            return [y, *(torch.autograd.grad(y, torch_inputs, torch_dy) if backward else ())]

    def named(arrays: Sequence[Any]) -> dict[str, Any]:
        names = ["output", *(f"gradient of input {i}" for i in range(len(arrays) - 1))]
        return {n: a.detach() if isinstance(a, torch.Tensor) else a for n, a in zip(names, arrays)}

    our_inputs = [parts(array) for array in (dy, *split)]
    torch_inputs = [torch.from_numpy(np.ascontiguousarray(a)) for a in (*split, *shared)]
    torch_inputs = [tensor.clone().requires_grad_(backward) for tensor in torch_inputs]
    torch_dy = torch.from_numpy(np.ascontiguousarray(dy))
    with Workers(nn.Module(), workers) as pool:
        yield (
            Side(ours, lambda done: named([*map(np.concatenate, zip(*done[0])), *done[1]])),
            Side(theirs, named),
        )


Inputs = tuple[list[np.ndarray], list[np.ndarray]]


def images(rng: Generator, N: int, C: int, H: int, W: int) -> np.ndarray:
    """(N, C, H, W) normally distributed float32, the batch last in memory."""
    return batch_first(rng.standard_normal((C, H, W, N), np.float32))


def convolve(F: Any, x: Any, weight: Any, bias: Any) -> Any:
    return F.conv2d(x, weight, bias)


def conv_inputs(N: int, C: int, size: int, O: int, k: int, rng: Generator) -> Inputs:
    weight = rng.standard_normal((O, C, k, k), np.float32) / np.float32(k * math.sqrt(C))
    return [images(rng, N, C, size, size)], [weight, rng.standard_normal(O, np.float32)]


def pool(F: Any, x: Any) -> Any:
    return F.max_pool2d(x, 2)


def pool_inputs(N: int, C: int, H: int, W: int, rng: Generator) -> Inputs:
    return [images(rng, N, C, H, W)], []


def sample(F: Any, U: Any, G: Any) -> Any:
    return F.grid_sample(U, G, align_corners=False)


def sample_inputs(N: int, C: int, H: int, W: int, rng: Generator) -> Inputs:
    """Images, each turned and moved a little, no point nearer than 0.01 pixels to the lattice.

    Nearer, rounding may take two correct samplers to two different sides, with different slopes.
    """
    theta = random_theta(N, rng)
    size = np.array([W, H], np.float32)
    pixels = ((F.affine_grid(theta, (N, C, H, W)).data + 1) * size - 1) / 2
    cell = np.floor(pixels)
    pixels = cell + np.clip(pixels - cell, 0.01, 0.99)
    return [images(rng, N, C, H, W), (2 * pixels + 1) / size - 1], []


def generate(F: Any, theta: Any) -> Any:
    return F.affine_grid(theta, (len(theta), 1, 28, 28), align_corners=False)


def theta_inputs(N: int, rng: Generator) -> Inputs:
    return [random_theta(N, rng)], []


def random_theta(N: int, rng: Generator) -> np.ndarray:
    """Affine transformations (N, 2, 3) near the identity."""
    return np.eye(2, 3, dtype=np.float32) + 0.1 * rng.standard_normal((N, 2, 3), np.float32)


# The networks


def network(
    batch: int, dtype: type = np.float32, **model: Any
) -> tuple[nn.Module, np.ndarray, np.ndarray]:
    """(network, x, y): a network without dropout, a little off the identity, and random images.

    model: for `models.build`. x (batch, C, size, size) from 0 to 1, the batch last in memory.
    """
    rng = np.random.default_rng(0)
    net = models.build(rng=rng, **model).astype(dtype).eval()
    *_, weight, bias = models.localisation_parameters(net)  # of the layer that says theta
    for parameter in (weight, bias):
        parameter.data += np.float32(0.1) * rng.standard_normal(parameter.shape, np.float32)
    size = model.get("image_size", 28)
    x = batch_first(rng.random((model.get("channels", 1), size, size, batch), np.float32))
    return net, x.astype(dtype), rng.integers(0, model.get("classes", 10), batch)


def torch_twin(net: nn.Module) -> Any:
    """The same network in PyTorch: the same layers in the same order, with the same weights."""
    torch = _import_torch()
    functional = torch.nn.functional

    def read(U: Any, theta: Any, size: tuple[int, int] | None = None) -> Any:
        shape = [*U.shape[:2], *(size or U.shape[2:])]
        G = functional.affine_grid(theta.view(-1, 2, 3), shape, align_corners=False)
        return functional.grid_sample(U, G, align_corners=False)

    class Transformer(torch.nn.Module):
        def __init__(self, module: SpatialTransformer) -> None:
            super().__init__()
            self.localisation, self.size = twin(module.localisation), module.output_size

        def forward(self, U: Any) -> Any:
            return read(U, self.localisation(U), self.size)

    class Tutorial(torch.nn.Module):
        def __init__(self, module: models.TutorialNet) -> None:
            super().__init__()
            for name, part in children(module):
                setattr(self, name, part)

        def forward(self, x: Any) -> Any:
            x = read(x, self.fc_loc(self.localization(x).flatten(1)))
            x = functional.relu(functional.max_pool2d(self.conv1(x), 2))
            x = functional.relu(functional.max_pool2d(self.conv2_drop(self.conv2(x)), 2))
            x = self.fc1_drop(functional.relu(self.fc1(x.flatten(1))))
            return functional.log_softmax(self.fc2(x), dim=-1)

    def children(module: nn.Module) -> list[tuple[str, Any]]:
        parts = vars(module).items()
        return [(name, twin(part)) for name, part in parts if isinstance(part, nn.Module)]

    def twin(module: nn.Module) -> Any:
        layer = getattr(torch.nn, type(module).__name__, None)
        match module:
            case SpatialTransformer():
                return Transformer(module)
            case models.TutorialNet():
                return Tutorial(module)
            case nn.Sequential():
                return torch.nn.Sequential(OrderedDict(children(module)))
            case nn.Conv2d():
                O, C, *kernel = module.weight.shape
                return layer(C, O, tuple(kernel), module.stride, module.padding)
            case nn.Linear():
                return layer(*module.weight.shape[::-1])
            case nn.MaxPool2d() | nn.AvgPool2d():
                return layer(module.kernel_size, module.stride, module.padding)
            case nn.Dropout():  # and Dropout2d
                return layer(module.p)
            case nn.ReLU() | nn.Flatten():
                return layer()
        raise TypeError(f"torch_twin: {module!r} is not known here")

    result = twin(net).to(torch.from_numpy(net.parameters()[0].data).dtype)
    result.load_state_dict({name: torch.from_numpy(a) for name, a in net.state_dict().items()})
    return result.train(net.training)


# The profile


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

    def as_dict(self) -> dict[str, Any]:
        return {**vars(self), "operations": [vars(operation) for operation in self.operations]}


def take_apart(workers: int, repeats: int, batch: int = 256, **model: Any) -> Profile:
    """Profile a training step; model: for `models.build`, the paper's ST-CNN by default."""
    model = model or ST_CNN
    memory = peak_memory(workers, batch, model)
    net, x, y = network(batch, **model)
    parts, targets = list(shards(x, workers)), np.array_split(y, workers)
    start, waited = time.perf_counter(), _waited()
    with our_step(net, x, y, workers) as step:
        steps = [_seconds(step, 1) for _ in range(WARM_UP + repeats)][WARM_UP:]
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
        waiting=(_waited() - waited) / (time.perf_counter() - start),
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
            seconds.append(_seconds(lambda: pool.map(work, parts, targets), 1))
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
    """The same function; each call adds an Operation, whose backward is timed in its turn."""
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
    return 2 * n**3 / min(_seconds(lambda: np.matmul(a, a, out=out), 1) for _ in range(repeats))


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
        "GFLOP/s: of the matrix products, in the time of the whole operation; forward, backward.",
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
        f"{1e3 * flops / profile.peak:8.1f} ms   would be enough for the matrix products of one "
        f"worker ({flops / 1e9:.2f} GFLOP) at the peak of",
        f"{profile.peak / 1e9:8.0f} GFLOP/s, that of a 1024^3 float32 product on one thread; "
        f"its conv2d and linear reach {flops / in_products / 1e9:.0f}",
        f"{profile.memory / 1e6:8.0f} MB   at most in use during a step, without the imports "
        f"(budget: {MEMORY_BUDGET / 1e6:.0f} MB)",
    ]
    if profile.waiting > WAITING:
        lines.append("\nThe machine was busy with something else: do not believe these times.")
    return "\n".join(lines)
