"""The results of experiments: one line of JSON for every finished cell."""

import dataclasses
import json
import os
import typing
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stn_numpy.errors import DataError
from stn_numpy.files import alone, write_text
from stn_numpy.training import wilson


@dataclass(frozen=True)
class Result:
    """What came out of one cell, and all that is needed to get it again.

    cell: such as "st-cnn/affine/R". error: the share of the test set that was answered wrong.
    images_seen: in training, all epochs together. minutes: of training and testing, by the clock.
    commit: of the code; where a cell was resumed with other code, all of them, the latest last.
    data: name, sizes and fingerprint of the images. settings: of the training; of a cell that is
    trained in two parts those of the second, and in them "first", of the first.
    """

    experiment: str
    cell: str
    seed: int
    error: float
    mistakes: int
    test_images: int
    epochs: int
    images_seen: int
    parameters: int
    minutes: float
    commit: str
    data: dict[str, Any]
    settings: dict[str, Any]

    def same_work(self, other: "Result") -> bool:
        """Whether both were to learn the same from the same data, on however many threads."""
        return self._work() == other._work()

    def _work(self) -> tuple:
        return self.experiment, self.cell, self.seed, self.data, _without_workers(self.settings)


def _without_workers(settings: dict[str, Any]) -> dict[str, Any]:
    return {
        name: _without_workers(value) if name == "first" else value
        for name, value in settings.items()
        if name != "workers"
    }


def written(model: str) -> str:
    """The name of a model of `models.MODELS` as the paper writes it: "ST-CNN", "2xST-CNN"."""
    return model.upper().replace("2X", "2x")


def results_file(folder: str | os.PathLike, experiment: str) -> Path:
    """Where the lines of an experiment are."""
    return Path(folder) / f"{experiment}.jsonl"


def read_results(path: str | os.PathLike) -> list[Result]:
    """All lines of a file, in their order; none if there is no such file.

    Raises DataError, which names the line, for one that is not a result.
    """
    path = Path(path)
    if not path.exists():
        return []
    results = []
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        try:
            results.append(_checked(Result(**json.loads(line))))
        except (ValueError, TypeError) as error:
            raise DataError(f"{path}, line {number}: not a result ({error})") from None
    return results


def _checked(result: Result) -> Result:
    """The result, if its fields are of their kinds; else ValueError or TypeError."""
    for field in dataclasses.fields(result):
        kind = typing.get_origin(field.type) or field.type
        value = getattr(result, field.name)
        if not isinstance(value, int | float if kind is float else kind):
            raise TypeError(f"{field.name} is {value!r}, want {kind.__name__}")
    if not isinstance(result.data.get("name"), str):
        raise ValueError("data has no name")
    if result.test_images < 1:
        raise ValueError(f"test_images is {result.test_images}, want at least 1")
    return result


def add_result(path: str | os.PathLike, result: Result) -> None:
    """Add a line; one that was there for the same cell, seed and data is replaced.

    Several processes may do so at once, each with cells of its own.
    """
    same = (result.cell, result.seed, result.data["name"])
    with alone(path):
        kept = [r for r in read_results(path) if (r.cell, r.seed, r.data["name"]) != same]
        lines = [json.dumps(dataclasses.asdict(r)) for r in [*kept, result]]
        write_text(path, "\n".join(lines) + "\n")


@dataclass(frozen=True)
class Mean:
    """The mean error over the seeds of a cell, and its Wilson interval of 95 %."""

    error: float
    low: float
    high: float
    seeds: int

    def __str__(self) -> str:
        seeds = f", {self.seeds} seeds" if self.seeds > 1 else ""
        return f"{100 * self.error:.2f} ({100 * self.low:.2f}-{100 * self.high:.2f}{seeds})"


def mean_error(results: Iterable[Result], cell: str) -> Mean | None:
    """The mean of a cell's seeds; None if there are none.

    All seeds meet the same test images, so the interval is that of one test: it says how far these
    images might have the mean wrong, and nothing of what further seeds would do.
    """
    of_cell = [result for result in results if result.cell == cell]
    if not of_cell:
        return None
    answers = of_cell[0].test_images
    mistakes = sum(result.mistakes for result in of_cell) / len(of_cell)
    return Mean(mistakes / answers, *wilson(mistakes, answers), len(of_cell))
