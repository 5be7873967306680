"""Train networks, test them, and go on after an interruption as if nothing had happened.

A run trains one network after the other on the same batches. All its randomness comes from its
settings and the number of the epoch, so what happens in an epoch does not depend on when, or after
how many interruptions, it happens. After every epoch the whole run goes into `checkpoint.npz`.
Numbers that depend on the clock are in `timing.json`, all others in `metrics.json`.
"""

import contextlib
import dataclasses
import hashlib
import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stn_numpy import checkpoint, checks, models, optim, tasks
from stn_numpy.autograd import Tensor, no_grad
from stn_numpy.data import DISTORTIONS, Dataset
from stn_numpy.errors import CheckpointError, UserError
from stn_numpy.files import write_text
from stn_numpy.nn import Dropout, Module
from stn_numpy.parallel import Workers, default_workers, shards
from stn_numpy.spatial_transformer import begin_as_affine

CHECKPOINT, METRICS, TIMING = "checkpoint.npz", "metrics.json", "timing.json"
SCHEDULES = ("one-cycle", "cosine", "step", "constant")
MOST_PARAMETERS = 20_000_000  # fifty times the paper's; what is larger is a slip of the finger

# The first number of every seed says what it is for, so that no two uses share their randomness.
WEIGHTS, BATCHES, TEST, DROPOUT = range(4)


@dataclass(frozen=True)
class Settings:
    """What a run does; the same settings and data give the same numbers, bit for bit.

    models: names for `models.build`, trained one after the other.
    transform, parameters: of the networks (see `models.build`).
    distortion: of every image, training and test; a key of `data.DISTORTIONS`.
    epochs, batch_size, optimizer, lr, schedule: as their names say; lr is the highest rate.
    localisation_rate: the localisation nets learn at this part of lr.
    label_smoothing: of the training loss (see `F.cross_entropy`).
    seed: of weights, order and distortions; the test set is the same for all seeds.
    workers: threads that share a batch. limit: use only so many training and test images.
    """

    models: tuple[str, ...] = ("st-cnn", "cnn")
    transform: str = "affine"
    distortion: str = "R"
    epochs: int = 8
    batch_size: int = 256
    optimizer: str = "adam"
    lr: float = 3e-3
    schedule: str = "one-cycle"
    localisation_rate: float = 1.0
    label_smoothing: float = 0.0
    parameters: int = 65_000
    seed: int = 0
    workers: int = dataclasses.field(default_factory=default_workers)
    limit: int | None = None

    def __post_init__(self) -> None:
        if isinstance(self.models, str) or not self.models:
            raise ValueError(f"Settings: models is {self.models!r}, want a tuple of names")
        for name in self.models:
            checks.choice("Settings", "models", name, models.MODELS)
        checks.choice("Settings", "transform", self.transform, models.TRANSFORMS)
        checks.choice("Settings", "distortion", self.distortion, DISTORTIONS)
        checks.choice("Settings", "optimizer", self.optimizer, optim.OPTIMIZERS)
        checks.choice("Settings", "schedule", self.schedule, SCHEDULES)
        for name in ("epochs", "batch_size", "parameters", "workers"):
            checks.integer("Settings", name, getattr(self, name), 1)
        if self.parameters > MOST_PARAMETERS:
            raise ValueError(
                f"Settings: parameters is {self.parameters}, want at most {MOST_PARAMETERS:,}"
            )
        checks.integer("Settings", "seed", self.seed, 0)
        if self.limit is not None:
            checks.integer("Settings", "limit", self.limit, 1)
        for name in ("lr", "localisation_rate"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"Settings: {name} is {getattr(self, name)}, want 0 or more")
        checks.share("Settings", "label_smoothing", self.label_smoothing)

    def build(self, name: str, task: tasks.Digits = tasks.DIGITS) -> Module:
        """A fresh network for a task; networks of one seed and name are equal."""
        rng = np.random.default_rng([WEIGHTS, self.seed])
        return task.build(name, self.transform, self.distortion, self.parameters, rng)


class Trainer:
    """One network on its way: its optimizer, its schedule, and the epochs it has behind it."""

    def __init__(
        self, name: str, settings: Settings, data: Dataset, task: tasks.Digits = tasks.DIGITS
    ) -> None:
        self.name, self.settings, self.data, self.task = name, settings, data, task
        self.model = settings.build(name, task)
        self.steps_per_epoch = math.ceil(len(data.train_labels) / settings.batch_size)
        slow = {id(p) for p in models.localisation_parameters(self.model)}
        parameters = self.model.parameters()
        groups = [
            {"params": [p for p in parameters if id(p) not in slow]},
            {
                "params": [p for p in parameters if id(p) in slow],
                "lr": settings.lr * settings.localisation_rate,
            },
        ]
        self.optimizer = optim.OPTIMIZERS[settings.optimizer](
            [group for group in groups if group["params"]],
            lr=settings.lr,
            **({"momentum": 0.9} if settings.optimizer == "sgd" else {}),
        )
        self.schedule = self._schedule(settings.epochs * self.steps_per_epoch)
        self.epochs: list[dict[str, Any]] = []

    def _schedule(self, steps: int) -> optim.Schedule:
        if self.settings.schedule == "one-cycle":
            return optim.OneCycleLR(self.optimizer, steps)
        if self.settings.schedule == "cosine":
            return optim.CosineAnnealingLR(self.optimizer, steps)
        if self.settings.schedule == "step":
            return optim.StepLR(self.optimizer, math.ceil(steps / 3))
        return optim.ConstantLR(self.optimizer)

    # What comes of an overflow, a loss that is no number, is reported below.
    @np.errstate(over="ignore", invalid="ignore", divide="ignore")
    def epoch(self, workers: Workers, progress: Callable[[int, float, float], None]) -> None:
        """Go once through the training images.

        progress(images, loss, error): called after every step with the images of that step and the
        means so far.
        Raises UserError when the loss is no longer a number: no further step would mend that.
        """
        settings, number = self.settings, len(self.epochs)
        rng = np.random.default_rng([BATCHES, settings.seed, number])
        seen, total_loss, wrong = 0, 0.0, 0
        self.model.train()
        todo = self.task.batches(
            self.data.train_images,
            self.data.train_labels,
            settings.batch_size,
            rng,
            settings.distortion,
            workers=workers.count,
        )
        for step, (x, y) in enumerate(todo):
            for i, replica in enumerate(workers.replicas):
                _seed_dropout(replica, [DROPOUT, settings.seed, number, step, i])
            mistakes: list[int] = []

            def loss(replica: Module, x: np.ndarray, y: np.ndarray, mistakes=mistakes) -> Tensor:
                value, wrong = self.task.answer(replica, x, y, settings.label_smoothing)
                mistakes.append(wrong)
                return value

            self.optimizer.zero_grad()
            value = workers.gradients(loss, x, y)
            if not math.isfinite(value):
                raise UserError(
                    f"{self.name}: the loss became {value} in epoch {number + 1}; try a smaller lr"
                )
            self.optimizer.step()
            self.schedule.step()
            seen, total_loss, wrong = (
                seen + len(y),
                total_loss + value * len(y),
                wrong + sum(mistakes),
            )
            progress(len(y), total_loss / seen, wrong / seen)
        test_wrong = mistakes_on_test(workers, self.data, settings.distortion, self.task)
        self.epochs.append(
            {
                "epoch": number + 1,
                "loss": total_loss / seen,
                "train_error": wrong / seen,
                "test_error": test_wrong / len(self.data.test_labels),
            }
        )

    def state(self) -> dict[str, np.ndarray]:
        """The optimizer's arrays, which only a network that is still learning needs."""
        return checkpoint.prefixed(f"optimizer/{self.name}", self.optimizer.state_dict())

    def load(self, epochs: list[dict], arrays: dict[str, np.ndarray]) -> None:
        """Go back to where a checkpoint stands; ValueError if it is not of this network."""
        self.model.load_state_dict(checkpoint.under(f"model/{self.name}", arrays))
        self.epochs = list(epochs)
        if len(epochs) < self.settings.epochs:
            self.optimizer.load_state_dict(checkpoint.under(f"optimizer/{self.name}", arrays))
            if self.optimizer.steps != len(epochs) * self.steps_per_epoch:
                raise ValueError(f"{self.optimizer.steps} steps are not {len(epochs)} epochs")
            self.schedule.step()


def mistakes_on_test(
    workers: Workers, data: Dataset, distortion: str, task: tasks.Digits = tasks.DIGITS
) -> int:
    """How many test images the workers' network gets wrong; always the same distorted images."""

    def mistakes(replica: Module, x: np.ndarray, y: np.ndarray) -> int:
        with no_grad():  # each thread has a tape of its own to switch off
            return task.answer(replica, x, y)[1]

    workers.model.eval()  # the replicas follow it
    rng = np.random.default_rng([TEST])
    todo = task.batches(
        data.test_images,
        data.test_labels,
        512,
        rng,
        distortion,
        shuffle=False,
        workers=workers.count,
    )
    return sum(
        sum(workers.map(mistakes, shards(x, workers.count), np.array_split(y, workers.count)))
        for x, y in todo
    )


class Run:
    """A run in its folder: `checkpoint.npz`, `metrics.json` and `timing.json`.

    folder: where it lives. settings: what it does. data: what it learns from. task: what for.
    """

    def __init__(
        self,
        folder: str | Path,
        settings: Settings,
        data: Dataset,
        task: tasks.Digits = tasks.DIGITS,
    ) -> None:
        self.folder, self.settings, self.task = Path(folder), settings, task
        self.data = limited(data, settings.limit)
        self._data_description = describe(self.data)
        self.trainers: dict[str, Trainer] = {}
        self.seconds: dict[str, list[float]] = {}

    def resume(self) -> bool:
        """Go back to the folder's checkpoint; False if it has none.

        Raises CheckpointError if it was made with other settings, other data, or by no run.
        """
        if not (self.folder / CHECKPOINT).exists():
            return False
        about, arrays = read_run(self.folder)
        if about["task"] != self.task.name:
            raise CheckpointError(
                f"{self.folder / CHECKPOINT}: made for the task {about['task']!r}, "
                f"not {self.task.name!r}; use another folder"
            )
        if about["settings"] != self._about()["settings"]:
            raise CheckpointError(
                f"{self.folder / CHECKPOINT}: made with other settings "
                f"({differences(about['settings'], self._about()['settings'])}); "
                "go on with those, or use another folder"
            )
        if about["data"] != self._about()["data"]:
            raise CheckpointError(
                f"{self.folder / CHECKPOINT}: made with other data "
                f"({differences(about['data'], self._about()['data'])}); "
                "go on with that, or use another folder"
            )
        try:
            for name, result in about["results"].items():
                self._trainer(name).load(result["epochs"], arrays)
        except (KeyError, ValueError, TypeError) as error:
            raise CheckpointError(
                f"{self.folder / CHECKPOINT}: does not fit its own settings ({error}); "
                "it is left as it is"
            ) from None
        # Times are worth no error: without the file, those of earlier epochs are forgotten.
        with contextlib.suppress(OSError, ValueError, LookupError, TypeError, AttributeError):
            timing = json.loads((self.folder / TIMING).read_text())
            self.seconds = {name: [*map(float, s)] for name, s in timing["seconds"].items()}
        return True

    def epochs(self) -> int:
        """How many have been trained, those of all networks together."""
        return sum(len(trainer.epochs) for trainer in self.trainers.values())

    def elapsed(self) -> float:
        """How many seconds they took, training and testing."""
        return sum(map(sum, self.seconds.values()))

    def begin_with(self, first: "Run") -> None:
        """Take the weights of another run's networks in place of drawn ones; before any epoch.

        Where its transformation is another one, it is affine, and ours begins as that.
        """
        for name in first.settings.models:
            model, theirs = self._trainer(name).model, first._trainer(name).model
            if first.settings.transform == self.settings.transform:
                model.load_state_dict(theirs.state_dict())
            else:
                begin_as_affine(model, theirs)

    def train(self, show: "Display") -> dict[str, Any]:
        """Train what is not yet trained; return the metrics."""
        for name in self.settings.models:
            trainer = self._trainer(name)
            self.save()
            with Workers(trainer.model, self.settings.workers) as workers:
                while len(trainer.epochs) < self.settings.epochs:
                    start = time.perf_counter()
                    images = len(self.data.train_labels)
                    with show.bar(name, len(trainer.epochs) + 1, images) as progress:
                        trainer.epoch(workers, progress)
                    self.seconds.setdefault(name, []).append(time.perf_counter() - start)
                    self.save()
                    show.epoch(name, trainer.epochs[-1], self.seconds[name][-1])
        return self.metrics()

    def metrics(self) -> dict[str, Any]:
        """Everything about the run that does not depend on the clock."""
        results = {
            name: {
                "parameters": trainer.model.num_parameters(),
                "epochs": trainer.epochs,
                "test_error": trainer.epochs[-1]["test_error"] if trainer.epochs else None,
            }
            for name, trainer in self.trainers.items()
        }
        return {**self._about(), "results": results}

    def save(self) -> None:
        """Put the run on disk: the checkpoint first, then what can be made from it."""
        arrays: dict[str, np.ndarray] = {}
        for name, trainer in self.trainers.items():
            arrays |= checkpoint.prefixed(f"model/{name}", trainer.model.state_dict())
            if len(trainer.epochs) < self.settings.epochs:
                arrays |= trainer.state()
        checkpoint.save(self.folder / CHECKPOINT, self.metrics(), arrays)
        write_text(self.folder / METRICS, json.dumps(self.metrics(), indent=2) + "\n")
        write_text(self.folder / TIMING, json.dumps({"seconds": self.seconds}, indent=2) + "\n")

    def _trainer(self, name: str) -> Trainer:
        if name not in self.trainers:
            self.trainers[name] = Trainer(name, self.settings, self.data, self.task)
        return self.trainers[name]

    def _about(self) -> dict[str, Any]:
        settings = dataclasses.asdict(self.settings)
        settings["models"] = list(settings["models"])
        return {"task": self.task.name, "settings": settings, "data": self._data_description}


class Display:
    """Shows nothing; the command line has one that shows everything."""

    def bar(self, name: str, epoch: int, images: int) -> Any:
        """A context that yields progress(images, loss, error) for one epoch."""
        return contextlib.nullcontext(lambda images, loss, error: None)

    def epoch(self, name: str, result: dict[str, Any], seconds: float) -> None:
        """An epoch has ended."""


def read_run(path: str | Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The checkpoint of a run, by its folder or its file: (metrics, arrays).

    Raises CheckpointError, which names the file, if it is not a checkpoint of a training run.
    """
    path = Path(path)
    path = path / CHECKPOINT if path.is_dir() else path
    about, arrays = checkpoint.load(path)
    if not all(isinstance(about.get(part), dict) for part in ("settings", "data", "results")):
        raise CheckpointError(f"{path}: a checkpoint, but not of a training run")
    about.setdefault("task", tasks.DIGITS.name)
    about["settings"].setdefault("label_smoothing", 0.0)
    try:
        settings = settings_of(about)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}; it is left as it is") from None
    if list(about["results"]) not in [
        list(settings.models)[:n] for n in range(1, len(settings.models) + 1)
    ]:
        raise CheckpointError(f"{path}: its results are not of its networks; it is left as it is")
    return about, arrays


def settings_of(about: dict[str, Any]) -> Settings:
    """The Settings that a checkpoint was made with."""
    known = about["settings"]
    try:
        return Settings(**{**known, "models": tuple(known["models"])})
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"the settings in it are not of this program ({error})") from None


def trained_model(about: dict[str, Any], arrays: dict[str, np.ndarray], name: str) -> Module:
    """One network of a checkpoint, ready for use."""
    if about["task"] not in tasks.TASKS:
        raise CheckpointError(f"its task {about['task']!r} is none that can be built anew")
    model = settings_of(about).build(name, tasks.TASKS[about["task"]])
    try:
        model.load_state_dict(checkpoint.under(f"model/{name}", arrays))
    except ValueError as error:
        raise CheckpointError(
            f"the checkpoint's {name} does not fit its settings ({error})"
        ) from None
    return model.eval()


def limited(data: Dataset, limit: int | None) -> Dataset:
    """The first `limit` training and test images; all of them for None."""
    if limit is None:
        return data
    return dataclasses.replace(
        data,
        train_images=data.train_images[:limit],
        train_labels=data.train_labels[:limit],
        test_images=data.test_images[:limit],
        test_labels=data.test_labels[:limit],
    )


def describe(data: Dataset) -> dict[str, Any]:
    """Which data this is; other images or labels have another fingerprint."""
    digest = hashlib.sha256()
    for part in (data.train_images, data.train_labels, data.test_images, data.test_labels):
        digest.update(np.ascontiguousarray(part))
    return {
        "name": data.name,
        "training_images": len(data.train_labels),
        "test_images": len(data.test_labels),
        "fingerprint": digest.hexdigest()[:16],
    }


def wilson(mistakes: float, of: int, z: float = 1.96) -> tuple[float, float]:
    """The Wilson interval, by default of 95 %, of an error rate that was seen as mistakes / of."""
    p, share = mistakes / of, z * z / of
    middle = (p + share / 2) / (1 + share)
    half = z * math.sqrt(p * (1 - p) / of + share / (4 * of)) / (1 + share)
    return max(0.0, middle - half), min(1.0, middle + half)


def differences(old: dict[str, Any], new: dict[str, Any]) -> str:
    """ "lr 0.001 then, 0.003 now" for everything that differs."""
    keys = [key for key in {**old, **new} if old.get(key) != new.get(key)]
    return ", ".join(f"{key} {old.get(key)!r} then, {new.get(key)!r} now" for key in keys)


def _seed_dropout(model: Module, seed: list[int]) -> None:
    for i, module in enumerate(model.modules()):
        if isinstance(module, Dropout):
            module.rng = np.random.default_rng([*seed, i])
