"""How the time of a training step grows with the batch, the images and the filters."""

import argparse
import contextlib
import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from stn_numpy.autograd import no_grad
from stn_numpy.bench.profile import watched
from stn_numpy.bench.rows import chosen
from stn_numpy.bench.timing import Side, Timing, time_row
from stn_numpy.bench.twins import import_torch, training_step
from stn_numpy.bench.work import ST_CNN, few_in_float64, network, our_step
from stn_numpy.errors import UserError

MEMORY = 2e9  # bytes: a size that needs more is skipped
# Of the numbers that go from layer to layer: both sides keep them, need as much again for their
# gradients, and some more for what is made on the way. Up to twice of what was measured.
COPIES = 6


@dataclass(frozen=True)
class Series:
    """A training step that grows in one respect."""

    about: str  # what stays as it is
    grows: str  # "batch", or an argument of `models.build`
    sizes: Sequence[int]
    step: dict[str, Any]  # "batch" and arguments of `models.build`

    def at(self, size: int) -> dict[str, Any]:
        """The step of this size: "batch", and arguments of `models.build`."""
        return {**self.step, self.grows: size}


SERIES = {
    "batch size": Series(
        "28x28, 32 filters", "batch", (16, 32, 64, 128, 256, 512, 1024), {**ST_CNN}
    ),
    "image size": Series(
        "side in pixels; batch 64, 32 filters",
        "image_size",
        (28, 42, 60, 96, 128),
        {**ST_CNN, "batch": 64},
    ),
    "filters": Series(
        "of each convolution of the classifier; 28x28, batch 128",
        "width",
        (8, 16, 32, 64, 128),
        {**ST_CNN, "batch": 128},
    ),
}

FOOTNOTE = """\
Training step of the paper's ST-CNN: zero_grad, forward, cross-entropy, backward, SGD with momentum.
time ~ size^p: the straight line of least squares through the logarithms of sizes and times; p = 1:
twice the size, twice the time. ?: do not believe this line, the machine was busy with something
else. The classifier sees 28x28 of images of 28 and 42 pixels, and half the side of larger ones; the
localisation net, whose filters are always 20, half the side of all."""


def measure(workers: int, args: argparse.Namespace, versions: str, found: list) -> None:
    """Time one size after the other; print each, and add its numbers to `found`, when it is done.

    If interrupted, the exponents of what was measured are printed before KeyboardInterrupt goes on.
    """
    from tqdm import tqdm

    wanted = chosen(SERIES, args.only)
    try:
        versions += f", PyTorch {import_torch().__version__}"
        alone = False
    except UserError:
        alone = True
    print(f"{versions}; {workers} cores; {args.repeats} turns")
    if alone:
        print("PyTorch is not installed (pip install torch): these are our times alone.")
    args.when_interrupted = "stopped; what was measured is printed above"
    total = args.repeats * sum(len(series.sizes) for series in wanted.values())
    with tqdm(total=total, unit=" turns", leave=False, disable=None) as bar:
        for name, series in wanted.items():
            bar.write(f"\n{name} ({series.about})\n{format_header(alone)}")
            timings: dict[int, Timing] = {}
            try:
                for size in series.sizes:
                    bar.set_description(f"{name} {size}")
                    result = time_size(series.at(size), workers, args, alone, bar.update)
                    if isinstance(result, Timing):
                        timings[size] = result
                        numbers = result.as_dict("torch")
                        bar.write(format_size(size, result))
                    else:
                        bar.update(args.repeats)
                        numbers = {"skipped": result}
                        bar.write(f"{size:6}  skipped: {result}")
                    found.append({"series": name, "size": size, **numbers})
            finally:
                bar.write(format_exponents(timings))
    print(f"\n{FOOTNOTE}")


def time_size(
    step: dict[str, Any], workers: int, args: argparse.Namespace, alone: bool, tick: Any
) -> Timing | str:
    """The times of one training step, or why there are none."""
    needed, most = memory_needed(**step), args.memory * 1e9
    if needed > most:
        return f"needs about {needed / 1e9:.2g} GB, more than the {most / 1e9:.2g} of --memory"
    row = few_in_float64(our_step_alone if alone else training_step, **step)
    try:
        return time_row("step", row, workers, args.repeats, tick)
    except (MemoryError, RuntimeError) as error:
        # PyTorch has no class of its own for what its allocator says.
        if isinstance(error, MemoryError) or "can't allocate memory" in str(error):
            return "not enough memory"
        raise


@contextlib.contextmanager
def our_step_alone(workers: int, dtype: type, batch: int, **model: Any) -> Iterator[Sequence[Side]]:
    """Our training step with no other side."""
    with our_step(*network(batch, dtype, **model), workers) as step:
        yield [Side(step, lambda loss: {"loss": loss}, "ours")]


def memory_needed(batch: int, **model: Any) -> float:
    """Bytes that a training step of both sides needs, roughly: what goes from layer to layer."""
    net, x, _ = network(1, **model)
    with watched(net) as operations, no_grad():
        net(x)
    numbers = sum(math.prod(operation.input) for operation in operations)
    return COPIES * x.itemsize * numbers * batch


def exponent(sizes: Sequence[float], times: Sequence[float]) -> float | None:
    """p of time ~ size^p: the slope of the line of least squares through the logarithms.

    None for fewer than two sizes.
    """
    if len(sizes) < 2:
        return None
    return float(np.polyfit(np.log(sizes), np.log(times), 1)[0])


def format_header(alone: bool) -> str:
    return f"{'size':>6}   ours ms" + ("" if alone else "  PyTorch ms  ratio   quartiles")


def format_size(size: int, timing: Timing) -> str:
    line = f"{size:6}  {1e3 * statistics.median(timing.ours):8.2f}"
    mark = "?" if timing.disturbed else " "
    if not timing.theirs:
        return (line + mark).rstrip()
    low, high = timing.quartiles
    theirs = 1e3 * statistics.median(timing.theirs)
    return f"{line}  {theirs:10.2f}  {timing.ratio:5.2f}{mark}  {low:.2f} to {high:.2f}"


def format_exponents(timings: dict[int, Timing]) -> str:
    """One line: p of both sides, as far as there are times."""
    p = exponent(list(timings), [statistics.median(t.ours) for t in timings.values()])
    if p is None:
        return "time ~ size^p: p needs two sizes"
    line = f"time ~ size^p: p = {p:.2f} ours"
    if all(timing.theirs for timing in timings.values()):
        times = [statistics.median(timing.theirs) for timing in timings.values()]
        line += f", {exponent(list(timings), times):.2f} PyTorch"
    return line
