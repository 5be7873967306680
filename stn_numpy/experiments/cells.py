"""A cell of a table, and how it is filled."""

import contextlib
import dataclasses
import fnmatch
import functools
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import stn_numpy
from stn_numpy import tasks
from stn_numpy.data import Dataset
from stn_numpy.errors import CheckpointError
from stn_numpy.experiments.results import Result, add_result, read_results, results_file
from stn_numpy.files import alone, atomic_write, write_text
from stn_numpy.tables import Table
from stn_numpy.training import CHECKPOINT, Display, Run, Settings, describe, limited, read_run
from stn_numpy.training import settings_of as saved_settings

Show = Callable[[int], Display]  # how many epochs there will be -> what shows them
Prepare = Callable[["Cell", Path, Dataset, Show], tasks.Digits]
COMMITS = "commits.txt"


@dataclass(frozen=True)
class Cell:
    """One number of a table: one network, trained once, or twice in a row.

    key: its name in the table, such as "st-cnn/affine/R". settings: of the training; its `models`
    is the one network, and how many `workers` there are is for who runs it to say. task: what the
    network is asked. first: of a training before that, whose weights this one begins with, if any;
    with one seed both see the same pictures epoch by epoch. select: the part of the data that it
    learns from, if not all. prepare: where its task is to be made first, a function (cell, a
    folder, all data, show) -> task. weights: the name of the file in `book/weights` that the best
    such cell is kept in, if any.
    """

    key: str
    settings: Settings
    task: tasks.Digits = tasks.DIGITS
    first: Settings | None = None
    select: Callable[[Dataset], Dataset] | None = None
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
    everything = data
    if cell.select is not None:
        data = cell.select(data)
    path = results_file(results, experiment)
    planned = _result(experiment, cell, cell.parts, limited(data, cell.settings.limit))
    with alone(path):  # where lines can not be written this fails before there is work to lose
        lines = read_results(path)
    for done in lines:
        if done.same_work(planned):
            announce(f"{cell.key}, seed {cell.settings.seed}: done, {100 * done.error:.2f} %")
            return done
    task = cell.task
    if cell.prepare is not None:
        task = cell.prepare(cell, runs / experiment, everything, show)
    folders = [folder / "first", folder][-len(cell.parts) :]
    trainings = [
        _resumed(part, settings, data, task, folder)
        for part, settings in zip(folders, cell.parts, strict=True)
    ]
    *first, last = trainings
    if last.epochs() and any(run.epochs() < run.settings.epochs for run in first):
        raise CheckpointError(
            f"{folder / CHECKPOINT}: did not begin with what {folder / 'first'} has now; "
            f"delete {folder} to begin this cell anew"
        )
    if first and not last.epochs():
        last.begin_with(first[0])  # raises now, and not hours later, if the two do not fit
    trains = any(run.epochs() < run.settings.epochs for run in trainings)
    commits = _commits(folder, code_version() if trains else None)
    for number, run in enumerate(trainings, 1):
        epochs, of = run.epochs(), run.settings.epochs
        if run is last and first and not epochs:
            last.begin_with(first[0])
        if run is last or epochs < of:
            announce(
                f"{cell.key}, seed {run.settings.seed}"
                + (f", part {number} of {len(trainings)}: " if first else ": ")
                + (f"going on after {epochs} of {of} epochs" if epochs else "starting")
            )
        run.train(show(of))
    (trained,) = last.metrics()["results"].values()
    result = _result(
        experiment,
        cell,
        [run.settings for run in trainings],
        last.data,
        round(trained["test_error"] * len(last.data.test_labels)),
        trained["parameters"],
        sum(run.elapsed() for run in trainings) / 60,
        commits,
    )
    if weights is not None and cell.weights is not None:
        _keep_the_better(folder / CHECKPOINT, weights / cell.weights)
    add_result(path, result)
    return result


def _resumed(
    folder: Path, settings: Settings, data: Dataset, task: tasks.Digits, whole: Path
) -> Run:
    """The run of a folder, where it stands. whole: the folder of its cell."""
    try:
        if (folder / CHECKPOINT).exists():
            # On as many threads as before: the sums of a batch are rounded in their order.
            workers = saved_settings(read_run(folder)[0]).workers
            settings = dataclasses.replace(settings, workers=workers)
        run = Run(folder, settings, data, task)
        run.resume()
    except CheckpointError as error:
        raise CheckpointError(f"{error}; delete {whole} to begin this cell anew") from None
    return run


def _result(
    experiment, cell, parts, data, mistakes=0, parameters=0, minutes=0.0, commit=""
) -> Result:
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
        commit=commit,
        data=describe(data),
        settings=last | ({"first": first[0]} if first else {}),
    )


def _keep_the_better(checkpoint: Path, path: Path) -> None:
    """Put a finished run's checkpoint at `path`, unless a better one is there.

    It holds the network and nothing else that is large. Better is what learned from more images, as
    a few digits are easier to be right about; of as many, what has the lower error. A file that is
    broken is replaced.
    """
    ours = read_run(checkpoint)[0]
    with contextlib.suppress(CheckpointError):
        if _merit(read_run(path)[0]) > _merit(ours):
            return
    content = checkpoint.read_bytes()
    with atomic_write(path) as file:
        file.write(content)


def _merit(about: dict[str, Any]) -> tuple[int, float]:
    (result,) = about["results"].values()
    return about["data"]["training_images"], -result["test_error"]


def _commits(folder: Path, added: str | None) -> str:
    """All commits that a cell was trained by, in order, as its folder has them; and one more."""
    path = folder / COMMITS
    known = path.read_text(errors="replace").splitlines() if path.exists() else []
    if added is not None and added not in known:
        known.append(added)
        write_text(path, "".join(f"{commit}\n" for commit in known))
    return ", ".join(known) or "unknown"


@functools.cache
def code_version() -> str:
    """The commit of the code, with a + where the package has been changed since; else its version.

    An experiment is as good as unrepeatable where nobody knows what ran. It is read once: the code
    that was loaded stays, whatever becomes of its files.
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
