"""``python -m stn_numpy experiment``: run the cells of a table, or print it."""

import argparse
import shlex
from pathlib import Path

import stn_numpy
from stn_numpy import data
from stn_numpy.errors import UserError
from stn_numpy.experiments.addition import ADDITION
from stn_numpy.experiments.cells import Experiment, run_cell
from stn_numpy.experiments.colocalisation import COLOCALISATION
from stn_numpy.experiments.distorted import CLUTTERED, DISTORTED
from stn_numpy.experiments.lasagne import LASAGNE
from stn_numpy.experiments.results import Result, read_results, results_file
from stn_numpy.parallel import default_workers
from stn_numpy.progress import Progress, duration

EXPERIMENTS = {e.name: e for e in (DISTORTED, CLUTTERED, ADDITION, COLOCALISATION, LASAGNE)}
RUNS = Path("runs")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    option = parser.add_argument
    option("name", choices=EXPERIMENTS, metavar="NAME", help=", ".join(EXPERIMENTS))
    option("--only", metavar="CELL", help='these cells, such as st-cnn/affine/R or "st-cnn/*/R"')
    option("--seed", type=int, help="the cells of this seed (default: of all)")
    option("--table", action="store_true", help="only print the results there are")
    option("--list", action="store_true", help="only print the cells")
    option("--quick", action="store_true", help="a small version, to see that all works")
    option("--workers", type=int, help="threads (default: $STN_NUMPY_WORKERS or the cores)")
    option("--data", type=Path, metavar="DIR", help="folder with MNIST's four files")
    option("--results", type=Path, metavar="DIR", help="default: book/results of the repository")


def run(args: argparse.Namespace) -> int:
    experiment = EXPERIMENTS[args.name]
    if args.workers is not None and args.workers < 1:
        raise UserError(f"--workers is {args.workers}, want at least 1")
    cells = experiment.chosen(args.only, args.seed)
    if not cells:
        raise UserError(
            f"{experiment.name} has no cell {args.only or ''}"
            f"{'' if args.seed is None else f' of seed {args.seed}'}; "
            f"--list shows them all"
        )
    home = _repository()
    results = args.results or (RUNS / "quick" if args.quick else home / "book" / "results")
    if args.list:
        print("\n".join(f"{cell.key:24} seed {cell.settings.seed}" for cell in cells))
        return 0
    if args.table:
        return _print_table(experiment, results)
    if args.quick and results.resolve() == (home / "book" / "results").resolve():
        raise UserError(
            f"{results}: a small version would replace the lines of the whole one there"
        )
    if args.quick:
        cells = [cell.changed(**experiment.quick) for cell in cells]
    dataset = data.load(args.data)
    print(dataset.notice, flush=True)
    again = [
        "experiment",
        args.name,
        *(["--only", args.only] if args.only else []),
        *(["--seed", str(args.seed)] if args.seed is not None else []),
        *(["--quick"] if args.quick else []),
        *(["--workers", str(args.workers)] if args.workers is not None else []),
        *(["--data", str(args.data)] if args.data else []),
        *(["--results", str(args.results)] if args.results else []),
    ]
    args.when_interrupted = f"stopped; to go on: python -m stn_numpy {shlex.join(again)}"
    workers = default_workers() if args.workers is None else args.workers
    for number, cell in enumerate(cells, 1):
        cell = cell.changed(workers=workers)

        def announce(line: str, number=number) -> None:
            print(f"[{number}/{len(cells)}] {line}", flush=True)

        result = run_cell(
            experiment.name,
            cell,
            dataset,
            results,
            RUNS / "quick" if args.quick else RUNS,
            lambda epochs: Progress(epochs, remaining=True),
            weights=None if args.quick or args.results else home / "book" / "weights",
            announce=announce,
        )
        announce(
            f"{result.cell}, seed {result.seed}: {100 * result.error:.2f} % wrong, "
            f"{duration(60 * result.minutes)}"
        )
    print()
    return _print_table(experiment, results)


def _print_table(experiment: Experiment, folder: Path) -> int:
    path = results_file(folder, experiment.name)
    results = read_results(path)
    if not results:
        raise UserError(f"{path}: no results yet; run the experiment first")
    chosen = of_one_data_set(results)
    print(f"{experiment.title}\nData: {chosen[0].data['name']}; in brackets the 95 % interval.\n")
    print(experiment.table(chosen))
    print(f"\n{len(chosen)} results, {duration(60 * sum(r.minutes for r in chosen))}; {path}")
    return 0


def of_one_data_set(results: list[Result]) -> list[Result]:
    """MNIST's, if there are any; else those of whatever the last one was."""
    names = [result.data["name"] for result in results]
    name = "MNIST" if "MNIST" in names else names[-1]
    return [result for result in results if result.data["name"] == name]


def _repository() -> Path:
    """The folder that holds the package and the book; the current one for an installed package."""
    home = Path(stn_numpy.__file__).resolve().parent.parent
    return home if (home / "book").is_dir() else Path()
