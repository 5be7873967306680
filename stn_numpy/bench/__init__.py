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

Three options show something else instead:

`--profile` (profile.py) takes the training step of the paper's ST-CNN apart, and needs no PyTorch.
`--scale` (scale.py) lets batch, images and filters grow, and fits time ~ size^p; without PyTorch it
shows ours alone.
`--peers` (peers.py) compares with libraries of our own kind, which differentiate NumPy.

timing.py measures, work.py is the work as we do it, twins.py the same in PyTorch, peer_code.py the
same as users of our peers write it, rows.py the table.
"""

import argparse
import json
import platform
from pathlib import Path

import numpy as np

from stn_numpy.bench import peers, profile, rows, scale
from stn_numpy.errors import UserError
from stn_numpy.files import write_text
from stn_numpy.parallel import default_workers


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``python -m stn_numpy bench``."""
    option = parser.add_argument
    option("--repeats", type=int, default=20, help="timed runs of each side (default: 20)")
    option("--workers", type=int, help="cores (default: $STN_NUMPY_WORKERS or the cores, up to 4)")
    option("--json", type=Path, metavar="FILE", help="write all numbers to this file, too")
    option("--only", metavar="TEXT", help="only rows, or series of --scale, named like this")
    option(
        "--memory",
        type=float,
        default=scale.MEMORY / 1e9,
        metavar="GB",
        help="--scale skips sizes that need more (default: %(default)g)",
    )
    either = parser.add_mutually_exclusive_group()
    for name, does in (
        ("profile", "take our training step apart, without PyTorch"),
        ("scale", "time against batch size, image size and filters, with the fitted exponent"),
        ("peers", "compare with other libraries that differentiate NumPy, instead of PyTorch"),
    ):
        either.add_argument(f"--{name}", action="store_true", help=does)


def run(args: argparse.Namespace) -> int:
    """``python -m stn_numpy bench``. Raises UserError for options that make no sense."""
    workers = default_workers() if args.workers is None else args.workers
    for name, value in (("repeats", args.repeats), ("workers", workers)):
        if value < 1:
            raise UserError(f"--{name} is {value}, want at least 1")
    if not args.memory > 0:
        raise UserError(f"--memory is {args.memory:g}, want more than 0")
    if args.profile and args.only is not None:
        raise UserError("argument --only: not allowed with argument --profile")
    versions = {"Python": platform.python_version(), "NumPy": np.__version__}
    about = {"workers": workers, "repeats": args.repeats, "versions": versions}
    title = ", ".join(f"{name} {version}" for name, version in versions.items())
    try:
        if args.profile:
            parts = profile.take_apart(workers, args.repeats)
            print(profile.format_profile(parts))
            about["profile"] = parts.as_dict()
        elif args.scale:
            about["scale"] = []  # filled size by size, so that an interruption costs one
            scale.measure(workers, args, title, about["scale"])
        elif args.peers:
            about["peers"] = peers.compare(workers, args, title)
        else:
            timings = rows.compare(workers, args, title)
            about["rows"] = [timing.as_dict("torch") for timing in timings]
    finally:
        measured = any(about.get(name) for name in ("profile", "scale", "peers", "rows"))
        if args.json is not None and measured:
            write_text(args.json, json.dumps(about, indent=2) + "\n")
    return 0
