"""The table of ratios: time over PyTorch's, row by row."""

import argparse
from functools import partial

from stn_numpy.bench.timing import Row, Timing, format_header, format_row, time_row
from stn_numpy.bench.twins import import_torch, inference, operation, training_step
from stn_numpy.bench.work import (
    ST_CNN,
    conv_inputs,
    convolve,
    generate,
    pool,
    pool_inputs,
    sample,
    sample_inputs,
    theta_inputs,
)
from stn_numpy.errors import UserError

FOOTNOTE = """\
ratio: median of ours over median of PyTorch's; below 1 ours is faster. quartiles: of the ratios of
single turns. fastest: ratio of the fastest runs. ?: do not believe this line, the machine was busy
with something else; threads that wait for each other suffer most from that.
Both computed the same: outputs, gradients and updated weights agreed.
Training step: zero_grad, forward, cross-entropy, backward, SGD with momentum; dropout off.
Single operations: on our side each worker has its part of the batch, with the batch last in memory,
as it is between the layers of a network; PyTorch has contiguous NCHW. All inputs get a gradient.
Our workers let the C library keep freed memory; in this process PyTorch is faster for it, too."""


def compare(workers: int, args: argparse.Namespace, versions: str) -> list[Timing]:
    """Time all rows whose name contains `args.only` and print each as soon as it is done."""
    torch = import_torch()
    wanted = chosen(rows(), args.only)
    print(f"{versions}, PyTorch {torch.__version__}; {workers} cores; {args.repeats} turns\n")
    width = max(map(len, wanted))
    print(format_header(width))
    timings = []
    for name, row in wanted.items():
        timings.append(time_row(name, row, workers, args.repeats))
        print(format_row(timings[-1], width), flush=True)
    print(f"\n{FOOTNOTE}")
    return timings


def chosen(table: dict, only: str | None) -> dict:
    """The entries whose name contains `only`. Raises UserError where there are none."""
    wanted = {name: entry for name, entry in table.items() if (only or "").lower() in name.lower()}
    if not wanted:
        raise UserError(f"--only {only}: no such row; there are: {'; '.join(table)}")
    return wanted


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
