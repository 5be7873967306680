"""A cell of a table, and how it is filled."""

import dataclasses
import fnmatch
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import stn_numpy
from stn_numpy import tasks
from stn_numpy.data import Dataset
from stn_numpy.errors import CheckpointError
from stn_numpy.experiments.results import Result, add_result, read_results, results_file
from stn_numpy.files import atomic_write
from stn_numpy.tables import Table
from stn_numpy.training import CHECKPOINT, Display, Run, Settings, describe, limited, read_run
from stn_numpy.training import settings_of as saved_settings

Show = Callable[[int], Display]  # how many epochs there will be -> what shows them
Prepare = Callable[[Path, Dataset, Show], tuple[tasks.Digits, Dataset]]


@dataclass(frozen=True)
class Cell:
    """One number of a table: one network, trained once.

    key: its name in the table, such as "st-cnn/affine/R". settings: of the training; its `models`
    is the one network. first: of a training before that, whose weights this one begins with, if
    any. task: what the network is asked. prepare: where a task is to be made from
    the data first, a function (folder, data, show) -> (task, the data of the cell).
    weights: the name of the file in `book/weights` that the best such cell is kept in, if any.
    """

    key: str
    settings: Settings
    task: tasks.Digits = tasks.DIGITS
    first: Settings | None = None
    prepare: Prepare | None = None
    weights: str | None = None

    @property
    def folder(self) -> str:
        return f"{self.key.replace('/', '-')}-seed{self.settings.seed}"

    @property
    def parts(self) -> list[Settings]:
        """Of its trainings, one after the other; one or two."""
        return [self.settings] if self.first is None else [self.first, self.settings]

    def changed(self, **changes: object) -> "Cell":
        """The same cell with other settings, in both parts."""
        first = None if self.first is None else dataclasses.replace(self.first, **changes)
        settings = dataclasses.replace(self.settings, **changes)
        return dataclasses.replace(self, settings=settings, first=first)


@dataclass(frozen=True)
class Experiment:
    """A table: its name, its cells in the order in which they are run, and how it is printed.

    quick: settings of a small version, over those of every cell.
    table: results -> the Table, with the published figures beside ours.
    """

    name: str
    title: str
    cells: tuple[Cell, ...]
    quick: dict[str, object]
    table: Callable[[list[Result]], Table]

    def chosen(self, only: str | None, seed: int | None) -> list[Cell]:
        """The cells whose key fits the pattern `only`, such as "st-cnn/*/R", of one seed or all."""
        return [
            cell
            for cell in self.cells
            if (only is None or fnmatch.fnmatchcase(cell.key, only))
            and (seed is None or cell.settings.seed == seed)
        ]


def run_cell(
    experiment: str,
    cell: Cell,
    data: Dataset,
    results: Path,
    runs: Path,
    show: Show,
    weights: Path | None = None,
    announce: Callable[[str], None] = print,
) -> Result:
    """Train a cell, or go on with it, and add its line to the results; return the line.

    What has been done with the same settings and data is not done again. results: the folder of the
    lines. runs: a folder, in which the cell has its own. weights: where the best networks go.
    """
    folder = runs / experiment / cell.folder
    task = cell.task
    if cell.prepare is not None:
        task, data = cell.prepare(runs / experiment, data, show)
    path = results_file(results, experiment)
    planned = _result(experiment, cell, cell.parts, limited(data, cell.settings.limit), 0, 0, 0.0)
    for done in read_results(path):
        if done.same_work(planned):
            announce(f"{cell.key}, seed {cell.settings.seed}: done, {100 * done.error:.2f} %")
            return done
    runs_of_parts: list[Run] = []
    for settings in cell.parts:
        part = folder / "first" if settings is cell.first else folder
        start = runs_of_parts[-1].weights() if runs_of_parts else None
        runs_of_parts.append(_trained(part, cell, settings, data, task, show, announce, start))
    run = runs_of_parts[-1]
    (trained,) = run.metrics()["results"].values()
    result = _result(
        experiment,
        cell,
        [part.settings for part in runs_of_parts],
        run.data,
        round(trained["test_error"] * len(run.data.test_labels)),
        trained["parameters"],
        sum(part.elapsed() for part in runs_of_parts) / 60,
    )
    before = [r.error for r in read_results(path) if _same_network(r, result)]
    add_result(path, result)
    if weights is not None and cell.weights is not None and result.error <= min(before, default=1):
        _keep(folder / CHECKPOINT, weights / cell.weights)
    return result


def _trained(
    folder: Path,
    cell: Cell,
    settings: Settings,
    data: Dataset,
    task: tasks.Digits,
    show: Show,
    announce: Callable[[str], None],
    start: dict[str, dict[str, np.ndarray]] | None,
) -> Run:
    """The run of a folder, trained to its end. start: the weights it begins with; None: drawn."""
    if (folder / CHECKPOINT).exists():
        # On as many threads as before: the sums of a batch are rounded in their order.
        workers = saved_settings(read_run(folder)[0]).workers
        settings = dataclasses.replace(settings, workers=workers)
    run = Run(folder, settings, data, task)
    try:
        run.resume()
    except CheckpointError as error:
        raise CheckpointError(f"{error}; delete that folder to begin this cell anew") from None
    epochs = run.epochs()
    if start is not None and not epochs:
        run.begin_with(start)
    announce(
        f"{cell.key}, seed {settings.seed}"
        + (" (first part)" if settings is cell.first else "")
        + (f": going on after {epochs} of {settings.epochs} epochs" if epochs else ": starting")
    )
    run.train(show(settings.epochs))
    return run


def _result(experiment, cell, parts, data, mistakes, parameters, minutes) -> Result:
    *first, last = [
        dataclasses.asdict(settings) | {"models": list(settings.models)} for settings in parts
    ]
    epochs = sum(settings.epochs for settings in parts)
    return Result(
        experiment=experiment,
        cell=cell.key,
        seed=last["seed"],
        error=mistakes / len(data.test_labels),
        mistakes=mistakes,
        test_images=len(data.test_labels),
        epochs=epochs,
        images_seen=epochs * len(data.train_labels),
        parameters=parameters,
        minutes=round(minutes, 2),
        commit=code_version(),
        data=describe(data),
        settings=last | ({"first": first[0]} if first else {}),
    )


def _same_network(one: Result, other: Result) -> bool:
    """Of one kind, on one distortion of the same data; whichever transform and seed."""
    kinds = [
        (r.settings["models"], r.settings["distortion"], r.data["fingerprint"])
        for r in (one, other)
    ]
    return kinds[0] == kinds[1]


def _keep(checkpoint: Path, path: Path) -> None:
    """A finished run's checkpoint holds its network and nothing else that is large."""
    content = checkpoint.read_bytes()
    with atomic_write(path) as file:
        file.write(content)


def code_version() -> str:
    """The commit of the code, with a + where the package has been changed since; else its version.

    An experiment is as good as unrepeatable where nobody knows what ran.
    """
    package = Path(stn_numpy.__file__).parent

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(package), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        changed = git("status", "--porcelain", "--", ".")
        return git("rev-parse", "--short=12", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return f"version {stn_numpy.__version__}"
