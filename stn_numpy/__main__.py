"""The command line: ``python -m stn_numpy train`` and its sisters.

A user's mistake costs one plain line and exit code 2.
"""

import argparse
import contextlib
import dataclasses
import os
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

from stn_numpy.errors import CheckpointError, UserError

PROGRAM = "python -m stn_numpy"
RUNS = Path("runs")
# Settings where none are named: about as much work as fits into a few minutes. Rate and smoothing
# for few digits were chosen on the test errors of the embedded ones.
SMALL_DATA = 10_000  # images
FOR_SMALL_DATA = {"epochs": 60, "batch_size": 64, "lr": 5e-3, "label_smoothing": 0.1}
FOR_MNIST = {"epochs": 8, "batch_size": 256}
QUICK = {"epochs": 2, "limit": 1_000, "batch_size": 64}


class OneLineParser(argparse.ArgumentParser):
    """An argument parser that says what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message} (--help shows how to use it)\n")


def main(arguments: list[str] | None = None) -> int:
    """Run one command; the exit code is 0, or 2 for a user's mistake, or 130 if interrupted.

    A command may have exit codes of its own: `gradcheck` has 1 for a wrong gradient.
    """
    args = argparse.Namespace(command="", when_interrupted="stopped")
    try:
        _parser().parse_args(arguments, args)
        code = args.run(args)
        sys.stdout.flush()
        return code
    except UserError as error:
        message = str(error)
    except BrokenPipeError:
        # Who read the output, say `head`, has gone; that is no mistake. At its end Python would
        # try to write once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141  # as a shell has it
    except OSError as error:
        message = f"{error.filename or 'a file'}: {error.strerror or error}"
    except MemoryError as error:
        message = f"not enough memory ({error})" if str(error) else "not enough memory"
    except KeyboardInterrupt:
        print(f"\n{args.when_interrupted}", file=sys.stderr)
        return 130
    print(f"{' '.join(filter(None, (PROGRAM, args.command)))}: {message}", file=sys.stderr)
    return 2


def _parser() -> OneLineParser:
    parser = OneLineParser(prog=PROGRAM, description="Spatial transformers in NumPy.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, text, add_arguments, run in COMMANDS:
        command = commands.add_parser(name, help=text, description=text)
        add_arguments(command)
        command.set_defaults(run=run)
    return parser


# train


def _train_arguments(parser: argparse.ArgumentParser) -> None:
    from stn_numpy.data import DISTORTIONS
    from stn_numpy.models import MODELS
    from stn_numpy.optim import OPTIMIZERS
    from stn_numpy.training import SCHEDULES, Settings
    from stn_numpy.transforms import TRANSFORMS

    default = Settings(workers=1)
    option = parser.add_argument
    option("--model", choices=MODELS, help="train this network only (default: st-cnn and cnn)")
    option("--transform", choices=TRANSFORMS, help=f"default: {default.transform}")
    option("--distortion", choices=DISTORTIONS, help=f"default: {default.distortion}")
    option("--epochs", type=int, help="default: 8 for MNIST, 60 for the embedded digits")
    option("--batch-size", type=int, help="default: 256 for MNIST, 64 for the embedded digits")
    option("--optimizer", choices=OPTIMIZERS, help=f"default: {default.optimizer}")
    option(
        "--lr",
        type=float,
        help=f"the highest learning rate (default: {default.lr} for MNIST, "
        f"{FOR_SMALL_DATA['lr']} for the embedded digits)",
    )
    option("--schedule", choices=SCHEDULES, help=f"default: {default.schedule}")
    option(
        "--localisation-rate",
        type=float,
        metavar="RATIO",
        help="the localisation net learns at this part of the rate (default: 1)",
    )
    option(
        "--label-smoothing",
        type=float,
        metavar="SHARE",
        help="the part of every target that is spread over all classes (default: 0 for MNIST, "
        f"{FOR_SMALL_DATA['label_smoothing']} for the embedded digits)",
    )
    option(
        "--parameters",
        type=int,
        help=f"learned numbers of each network (default: {default.parameters})",
    )
    option("--seed", type=int, help="of weights, order and distortions (default: 0)")
    option(
        "--workers", type=int, help="threads (default: $STN_NUMPY_WORKERS or the cores, up to 4)"
    )
    _data_argument(parser)
    option("--out", type=Path, metavar="DIR", help="the run's folder (default: a new one in runs/)")
    option(
        "--resume", action="store_true", help="go on with the run in --out, or with the latest one"
    )
    option("--quick", action="store_true", help="a small run of seconds, to see that all works")


def _data_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data",
        type=Path,
        metavar="DIR",
        help="folder with MNIST's four files (default: $STN_NUMPY_DATA, the cache, a download)",
    )


def _train(args: argparse.Namespace) -> int:
    from stn_numpy import data
    from stn_numpy.progress import Progress
    from stn_numpy.training import Run, Settings, read_run, settings_of

    folder = args.out or (_latest_run() if args.resume else None)
    with _as_user_error():
        given = _given_settings(args, Settings)
        Settings(**given)  # what is wrong with them is to be said before there is work to lose
    saved = None
    if folder is not None and folder.exists() and not folder.is_dir():
        raise UserError(f"--out {folder}: this is a file, want a folder")
    if folder is not None and (folder / "checkpoint.npz").exists():
        if not args.resume:
            raise UserError(f"{folder} holds a run already: add --resume, or name another --out")
        saved = settings_of(read_run(folder)[0])
    elif args.resume:
        print(f"Nothing to resume in {folder or RUNS}: starting from the beginning.", flush=True)

    dataset = data.load(args.data)
    print(dataset.notice, flush=True)
    if saved is None:
        small = len(dataset.train_labels) < SMALL_DATA
        settings = Settings(**{**(FOR_SMALL_DATA if small else FOR_MNIST), **given})
    else:
        settings = dataclasses.replace(saved, **given)
    folder = folder or _new_folder(settings)
    again = ["--resume", "--out", str(folder), *(["--data", str(args.data)] if args.data else [])]
    args.when_interrupted = f"stopped; to go on: {PROGRAM} train {shlex.join(again)}"
    run = Run(folder, settings, dataset)
    if run.resume():
        done = ", ".join(f"{name} {len(t.epochs)}" for name, t in run.trainers.items())
        print(f"Going on with {folder}: epochs done: {done or 'none'}.", flush=True)
    metrics = run.train(Progress(settings.epochs))
    _draw(run)
    print()
    print(_comparison(metrics))
    print(f"\n{folder}/ holds metrics.json, checkpoint.npz and the figures.")
    return 0


def _given_settings(args: argparse.Namespace, settings: type) -> dict[str, Any]:
    """The settings that were named on the command line."""
    names = [field.name for field in dataclasses.fields(settings)]
    given = {n: getattr(args, n) for n in names if getattr(args, n, None) is not None}
    models = {"models": (args.model,)} if args.model else {}
    return {**(QUICK if args.quick else {}), **given, **models}


def _latest_run() -> Path | None:
    runs = [path.parent for path in RUNS.glob("*/checkpoint.npz")]
    return max(runs, key=lambda run: (run / "checkpoint.npz").stat().st_mtime, default=None)


def _new_folder(settings: Any) -> Path:
    """A folder in `RUNS` that was not there before, even if another run starts at this moment."""
    name = f"{'-and-'.join(settings.models)}-{settings.distortion}-seed{settings.seed}"
    folder, number = RUNS / name, 1
    while True:
        try:
            folder.mkdir(parents=True)
            return folder
        except FileExistsError:
            number += 1
            folder = RUNS / f"{name}-{number}"


def _comparison(metrics: dict[str, Any]) -> str:
    """The networks of a run side by side."""
    from stn_numpy.training import wilson

    settings, data = metrics["settings"], metrics["data"]
    of = data["test_images"]
    rows = [f"Test error on {data['name']}, distortion {settings['distortion']}, {of:,} images:"]
    for name, result in metrics["results"].items():
        low, high = wilson(round(result["test_error"] * of), of)
        rows.append(
            f"    {name:8} {result['parameters']:9,} parameters   "
            f"{100 * result['test_error']:6.2f} %   "
            f"(95 % interval {100 * low:.2f} to {100 * high:.2f})"
        )
    return "\n".join(rows)


def _draw(run: Any) -> None:
    """The figures of a run: learning curves, and what each spatial transformer does."""
    import numpy as np

    from stn_numpy import functional as F
    from stn_numpy import models, plots
    from stn_numpy.autograd import no_grad
    from stn_numpy.data import distort
    from stn_numpy.training import TEST

    errors = {
        name: [epoch["test_error"] for epoch in trainer.epochs]
        for name, trainer in run.trainers.items()
    }
    plots.save(plots.learning_curves(errors), run.folder / "learning_curves.png")
    # The first test image of each digit.
    chosen = [
        i for i in (np.flatnonzero(run.data.test_labels == d)[:1] for d in range(10)) if len(i)
    ]
    x = distort(
        run.data.test_images,
        run.settings.distortion,
        np.random.default_rng([TEST]),
        indices=np.concatenate(chosen),
    )
    for name, trainer in run.trainers.items():
        reader = models.reader(trainer.model.eval())
        if reader is None:
            continue
        with no_grad():
            G = reader.grid(x)
            V = F.grid_sample(x, G).data
        figure = plots.transformer_figure(
            x[:, 0], G.data, V[:, 0], f"{name} on {run.data.name}, {run.settings.distortion}"
        )
        plots.save(figure, run.folder / f"{name}.png")


# evaluate


def _evaluate_arguments(parser: argparse.ArgumentParser) -> None:
    from stn_numpy.data import DISTORTIONS
    from stn_numpy.models import MODELS

    option = parser.add_argument
    option(
        "run_folder",
        type=Path,
        nargs="?",
        metavar="RUN",
        help="folder or checkpoint (default: latest)",
    )
    option("--model", choices=MODELS, help="this network only")
    option("--distortion", choices=DISTORTIONS, help="default: that of the training")
    option("--workers", type=int, help="threads (default: as many as in the training)")
    _data_argument(parser)


def _evaluate(args: argparse.Namespace) -> int:
    from stn_numpy import data, training
    from stn_numpy.parallel import Workers
    from stn_numpy.tasks import TASKS

    path = args.run_folder or _latest_run()
    if path is None:
        raise UserError(f"{RUNS} holds no run: train first, or name a run's folder")
    about, arrays = training.read_run(path)
    if about["task"] not in TASKS:
        raise UserError(f"{path} is of the task {about['task']!r}, which evaluate does not know")
    settings = training.settings_of(about)
    distortion = args.distortion or settings.distortion
    trained, asked = (data.DISTORTIONS[d].size for d in (settings.distortion, distortion))
    if trained != asked:
        raise UserError(
            f"{path} was trained on {trained[0]} x {trained[1]} pixels, "
            f"but {distortion} has {asked[0]} x {asked[1]}"
        )
    names = list(about["results"]) if args.model is None else [args.model]
    if not set(names) <= set(about["results"]):
        raise UserError(f"{path} has no {args.model}, only {', '.join(about['results'])}")
    if args.workers is not None and args.workers < 1:
        raise UserError(f"--workers is {args.workers}, want at least 1")
    dataset = training.limited(data.load(args.data), settings.limit)
    print(dataset.notice, flush=True)
    if about["data"] != training.describe(dataset):
        print(f"The training was on other data: {about['data'].get('name')}.")
    results, task = {}, TASKS[about["task"]]
    for name in names:
        try:
            model = training.trained_model(about, arrays, name)
        except CheckpointError as error:
            raise CheckpointError(f"{path}: {error}; it is left as it is") from None
        # As many as in the training by default: other parts of a batch could be rounded otherwise.
        with Workers(model, args.workers or settings.workers) as workers:
            wrong = training.mistakes_on_test(workers, dataset, distortion, task)
        error = wrong / len(dataset.test_labels)
        results[name] = {"parameters": model.num_parameters(), "test_error": error}
    counts = {"name": dataset.name, "test_images": len(dataset.test_labels)}
    print(_comparison({"settings": {"distortion": distortion}, "data": counts, "results": results}))
    return 0


# gradcheck


def _gradcheck_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seed", type=int, default=0, help="of the arrays (default: 0)")


def _gradcheck(args: argparse.Namespace) -> int:
    import numpy as np

    from stn_numpy.op_table import TOLERANCE, check_all
    from stn_numpy.verify import kink_table

    if args.seed < 0:
        raise UserError(f"--seed is {args.seed}, want 0 or more")
    rng = np.random.default_rng(args.seed)
    print("Every gradient of every operation, in every coordinate, against central differences")
    print("(float64, random cotangent; the largest error, relative to the largest gradient).\n")
    checked, wrong = 0, 0
    print(f"{'operation':48} {'input':8} {'shape':14} {'error':>8}")
    for row in check_all(rng):
        bad = not row.error <= TOLERANCE  # NaN is bad
        checked, wrong = checked + 1, wrong + bad
        shape = " x ".join(map(str, row.shape))
        print(f"{row.name:48} {row.input:8} {shape:14} {row.error:8.1e}{'  WRONG' if bad else ''}")
    print(
        "\nOn the lattice the bilinear sampler has two derivatives, from the left and the right:\n"
    )
    print(kink_table())
    print(f"\n{checked} gradients, {wrong} off by more than {TOLERANCE:.0e}.")
    return 1 if wrong else 0


# verify


def _verify_arguments(parser: argparse.ArgumentParser) -> None:
    option = parser.add_argument
    option("candidate", metavar="FILE.py:FUNCTION", help="the function to check")
    option("--against", required=True, metavar="OPERATION", help="such as grid_sample or conv2d")
    option(
        "--form",
        choices=("op", "backward", "forward", "partial"),
        default="op",
        help="op: f(*arrays) -> (output, backward); backward: f(dy, *arrays) -> gradients; "
        "forward: f(*arrays) -> output; partial: one derivative at one point (default: op)",
    )
    option("--wrt", nargs="+", metavar="INPUT", help="only the gradients of these inputs")


def _verify(args: argparse.Namespace) -> int:
    from stn_numpy.verify import load_candidate, verify

    candidate = load_candidate(args.candidate)
    wrt = args.wrt[0] if args.wrt and len(args.wrt) == 1 else args.wrt
    with _as_user_error():
        report = verify(candidate, args.against, form=args.form, wrt=wrt)
    print(report)
    return 0 if report else 1


# experiment


def _experiment_arguments(parser: argparse.ArgumentParser) -> None:
    from stn_numpy.experiments import command

    command.add_arguments(parser)


def _experiment(args: argparse.Namespace) -> int:
    from stn_numpy.experiments import command

    return command.run(args)


# bench


def _bench_arguments(parser: argparse.ArgumentParser) -> None:
    from stn_numpy import bench

    bench.add_arguments(parser)


def _bench(args: argparse.Namespace) -> int:
    from stn_numpy import bench

    return bench.run(args)


@contextlib.contextmanager
def _as_user_error() -> Iterator[None]:
    """A value that came from the command line or the environment is the user's to mend."""
    try:
        yield
    except (ValueError, TypeError) as error:
        raise UserError(str(error)) from None


COMMANDS = [
    ("train", "Train networks on distorted digits.", _train_arguments, _train),
    ("evaluate", "Test the networks of a run again.", _evaluate_arguments, _evaluate),
    (
        "experiment",
        "Run an experiment of the paper again.",
        _experiment_arguments,
        _experiment,
    ),
    ("gradcheck", "Check every gradient.", _gradcheck_arguments, _gradcheck),
    ("verify", "Check a derivation, and say what is wrong with it.", _verify_arguments, _verify),
    ("bench", "Time the same work here and in PyTorch.", _bench_arguments, _bench),
]

if __name__ == "__main__":
    sys.exit(main())
