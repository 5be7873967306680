"""Runs give the same numbers, interrupted or not, and nothing foreign is taken for one."""

import contextlib
import copy
import dataclasses
import errno
import io
import json
import math
import os
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest

from stn_numpy import checkpoint, files, tasks, training
from stn_numpy.autograd import Tensor
from stn_numpy.data import Dataset, load_digits
from stn_numpy.errors import CheckpointError, UserError
from stn_numpy.nn import Dropout, Linear, Module
from stn_numpy.parallel import Workers
from stn_numpy.training import Display, Run, Settings, Trainer, wilson


class Interrupted(BaseException):
    """What a test interrupts a run with."""


class Stop(Display):
    """Interrupts a run after so many epochs, or after so many steps."""

    def __init__(self, epochs=math.inf, steps=math.inf):
        self.epochs, self.steps = epochs, steps

    def bar(self, name, epoch, images):
        return contextlib.nullcontext(self.step)

    def step(self, images, loss, error):
        self.steps -= 1
        if self.steps == 0:
            raise Interrupted

    def epoch(self, name, result, seconds):
        self.epochs -= 1
        if self.epochs == 0:
            raise Interrupted


@pytest.fixture(scope="module")
def data():
    """37 training and 11 test images of noise: no number that divides the others."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (48, 28, 28), dtype=np.uint8)
    labels = rng.integers(0, 10, 48)
    return Dataset(images[:37], labels[:37], images[37:], labels[37:], "noise", "Data: noise.")


SMALL = {"epochs": 3, "batch_size": 16, "parameters": 2000, "workers": 2}


def settings(**changes):
    return Settings(**{**SMALL, **changes})


def outcome(folder):
    """metrics.json, byte for byte, and every array of the checkpoint."""
    _, arrays = checkpoint.load(folder / "checkpoint.npz")
    return (folder / "metrics.json").read_bytes(), {
        name: (array.dtype, array.shape, array.tobytes()) for name, array in arrays.items()
    }


def train(folder, settings, data):
    Run(folder, settings, data).train(Display())
    return outcome(folder)


def interrupt(folder, settings, data, display):
    """Begin or go on with a run until `display` stops it."""
    run = Run(folder, settings, data)
    run.resume()
    with pytest.raises(Interrupted):
        run.train(display)


def go_on(folder, settings, data):
    run = Run(folder, settings, data)
    assert run.resume()
    run.train(Display())
    return outcome(folder)


# Interruptions

KINDS = {
    "adam, one-cycle": {},
    "sgd, cosine": {"optimizer": "sgd", "schedule": "cosine", "lr": 0.01, "epochs": 2},
    "adamw, step, slow localisation": {
        "optimizer": "adamw",
        "schedule": "step",
        "localisation_rate": 0.1,
        "epochs": 2,
    },
    "sgd, constant, projective, 42 pixels": {
        "models": ("st-fcn", "fcn"),
        "optimizer": "sgd",
        "schedule": "constant",
        "transform": "projective",
        "distortion": "RTS",
        "lr": 0.01,
        "epochs": 2,
    },
    "dropout": {"models": ("tutorial",), "seed": 5, "workers": 3},
    "dropout, cosine, one worker": {
        "models": ("tutorial", "fcn"),
        "schedule": "cosine",
        "workers": 1,
        "distortion": "E",
        "epochs": 2,
    },
}


@pytest.mark.parametrize("kind", KINDS)
def test_interrupted_after_any_epoch(tmp_path, data, kind):
    config = settings(**KINDS[kind])
    whole = train(tmp_path / "whole", config, data)
    for epochs in range(1, config.epochs * len(config.models)):
        folder = tmp_path / f"after {epochs}"
        interrupt(folder, config, data, Stop(epochs=epochs))
        assert outcome(folder) != whole
        assert go_on(folder, config, data) == whole


def test_interrupted_after_every_epoch_and_in_the_middle_of_some(tmp_path, data):
    config = settings()
    whole = train(tmp_path / "whole", config, data)
    folder = tmp_path / "piece by piece"
    for stop in (
        {"steps": 1},
        {"epochs": 1},
        {"steps": 2},
        {"steps": 3},
        {"steps": 4},
        {"epochs": 1},
        {"epochs": 1},
        {"steps": 2},
    ):
        interrupt(folder, config, data, Stop(**stop))
    assert go_on(folder, config, data) == whole


def test_going_on_with_a_complete_run_changes_nothing(tmp_path, data):
    config = settings(models=("fcn",))
    whole = train(tmp_path, config, data)
    timing = (tmp_path / "timing.json").read_bytes()
    assert go_on(tmp_path, config, data) == whole
    assert (tmp_path / "timing.json").read_bytes() == timing


def test_a_kill_at_any_moment_of_saving(tmp_path, data, monkeypatch):
    """What is on the disk at every step of every save, as a kill would leave it, is good to go on.

    The folder is copied with a half-written file in it, with a written one that does not have its
    name yet, and after it got its name.
    """
    config = settings(models=("fcn",), epochs=2, workers=1, distortion="none")
    folder, states = tmp_path / "whole", []
    replace = os.replace

    def keep(cut=None):
        copy = tmp_path / f"state {len(states)}"
        shutil.copytree(folder, copy)
        states.append(copy)
        if cut:
            part = copy / Path(cut).name
            part.write_bytes(part.read_bytes()[: part.stat().st_size // 2])

    def replace_and_keep(temporary, path):
        keep(cut=temporary)
        keep()
        replace(temporary, path)
        keep()

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", replace_and_keep)
        whole = train(folder, config, data)
    saves = 1 + config.epochs
    assert len(states) == 3 * 3 * saves  # three files, three moments

    fresh = 0
    for state in states:
        run = Run(state, config, data)
        fresh += not run.resume()  # raises if it finds a part of a file
        run.train(Display())
        assert outcome(state) == whole, state
    assert fresh == 2  # before the very first checkpoint had its name
    leftovers = [name for state in states for name in os.listdir(state) if name.startswith(".")]
    assert len(leftovers) == 2 * 3 * saves


def test_a_full_disk_costs_nothing_that_was_there(tmp_path, data, monkeypatch):
    config = settings(models=("fcn",))
    whole = train(tmp_path / "whole", config, data)
    folder = tmp_path / "full"
    interrupt(folder, config, data, Stop(epochs=1))
    before = {name: (folder / name).read_bytes() for name in os.listdir(folder)}

    class Full(io.FileIO):
        def write(self, data):
            raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(files, "open", Full, raising=False)
        run = Run(folder, config, data)
        assert run.resume()
        with pytest.raises(OSError, match="No space left") as caught:
            run.train(Display())
    assert caught.value.filename == str(folder / "checkpoint.npz")
    assert {name: (folder / name).read_bytes() for name in os.listdir(folder)} == before
    assert go_on(folder, config, data) == whole


@pytest.mark.parametrize(
    "content", [None, "", "no JSON", "[]", "{}", '{"seconds": 3}', '{"seconds": {"fcn": ["x"]}}']
)
def test_the_times_are_worth_no_error(tmp_path, data, content):
    config = settings(models=("fcn",))
    whole = train(tmp_path / "whole", config, data)
    folder = tmp_path / "interrupted"
    interrupt(folder, config, data, Stop(epochs=1))
    (folder / "timing.json").unlink()
    if content is not None:
        (folder / "timing.json").write_text(content)
    assert go_on(folder, config, data) == whole
    assert len(json.loads((folder / "timing.json").read_text())["seconds"]["fcn"]) == 2


def test_times_of_earlier_epochs_are_kept(tmp_path, data):
    config = settings(models=("fcn",))
    interrupt(tmp_path, config, data, Stop(epochs=2))
    first = json.loads((tmp_path / "timing.json").read_text())["seconds"]["fcn"]
    go_on(tmp_path, config, data)
    seconds = json.loads((tmp_path / "timing.json").read_text())["seconds"]["fcn"]
    assert seconds[:2] == first
    assert len(seconds) == 3


# The same seed, the same numbers


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_same_seed_same_numbers(tmp_path, data, workers):
    config = settings(models=("tutorial", "cnn"), epochs=1, workers=workers)
    one = train(tmp_path / "one", config, data)
    assert train(tmp_path / "two", config, data) == one
    other = train(tmp_path / "three", dataclasses.replace(config, seed=1), data)
    assert not set(other[1].values()) & set(one[1].values())


def batches_of(monkeypatch, config, data, tmp_path):
    """Train, and return what was shown to the networks: [(seed of it, images, labels), ...]."""
    shown = []

    def batches(*args, **options):
        epoch = list(original(*args, **options))
        shown.append([np.concatenate(part) for part in zip(*epoch)])
        return iter(epoch)

    original = tasks.batches
    with monkeypatch.context() as patched:
        patched.setattr(tasks, "batches", batches)
        train(tmp_path / str(config.seed), config, data)
    return shown[::2], shown[1::2]  # a training is followed by a test


def test_what_is_shown(tmp_path, data, monkeypatch):
    config = settings(models=("fcn", "cnn"), epochs=2)
    training_sets, tests = batches_of(monkeypatch, config, data, tmp_path)
    images = [x for x, _ in training_sets]
    # Both networks see the same, afresh in every epoch, each image once.
    assert np.array_equal(images[0], images[2])
    assert np.array_equal(images[1], images[3])
    assert not np.isin(images[0].sum((1, 2, 3)), images[1].sum((1, 2, 3))).any()
    for _, y in training_sets:
        assert np.array_equal(np.sort(y), np.sort(data.train_labels))
    # The test is always the same one, in order.
    assert len(tests) == 4
    for x, y in tests:
        assert np.array_equal(x, tests[0][0])
        assert np.array_equal(y, data.test_labels)

    other_training, other_tests = batches_of(
        monkeypatch, dataclasses.replace(config, seed=1), data, tmp_path
    )
    assert not np.isin(other_training[0][0].sum((1, 2, 3)), images[0].sum((1, 2, 3))).any()
    assert np.array_equal(other_tests[0][0], tests[0][0])


def test_dropout_forgets_other_values_everywhere(tmp_path, data, monkeypatch):
    """Every layer of every worker has a generator of its own in every step of every epoch."""
    drawn = []

    def seed_dropout(model, seed):
        original(model, seed)
        layers = [module for module in model.modules() if isinstance(module, Dropout)]
        assert len(layers) == 2
        drawn.extend(copy.deepcopy(layer.rng).integers(2**62) for layer in layers)

    original = training._seed_dropout
    monkeypatch.setattr(training, "_seed_dropout", seed_dropout)
    config = settings(models=("tutorial",), epochs=2)
    for seed in (0, 1):
        train(tmp_path / f"{seed}", dataclasses.replace(config, seed=seed), data)
    # Two seeds, two epochs of three steps, two workers, two layers.
    assert len(drawn) == 2 * 2 * 3 * 2 * 2
    assert len(set(drawn)) == len(drawn)


# What an epoch does


def test_an_epoch_counts_right(data):
    """A network that can not learn and knows one answer only: the counts can be done by hand."""
    config = settings(models=("fcn",), epochs=1, lr=0.0)
    trainer = Trainer("fcn", config, data)
    *_, last = (module for module in trainer.model.modules() if isinstance(module, Linear))
    last.weight.data[...] = 0
    last.bias.data[...] = np.eye(10)[4]
    steps = []
    with Workers(trainer.model, 2) as workers:
        trainer.epoch(workers, lambda *of_step: steps.append(of_step))
    (result,) = trainer.epochs
    four = data.train_labels == 4
    log_sum = math.log(9 + math.e)
    assert result["epoch"] == 1
    assert result["loss"] == pytest.approx(log_sum - four.mean(), rel=1e-6)
    assert result["train_error"] == (~four).sum() / 37
    assert result["test_error"] == (data.test_labels != 4).sum() / 11
    assert [images for images, _, _ in steps] == [16, 16, 5]
    assert steps[-1][1:] == (result["loss"], result["train_error"])


def test_fewer_images_than_workers(tmp_path, data):
    config = settings(models=("cnn",), epochs=1, workers=4, batch_size=3, limit=2)
    metrics = Run(tmp_path, config, data).train(Display())
    assert metrics["data"]["training_images"] == metrics["data"]["test_images"] == 2
    assert math.isfinite(metrics["results"]["cnn"]["epochs"][0]["loss"])


def test_it_learns(tmp_path):
    digits = load_digits()
    config = Settings(
        models=("cnn",),
        distortion="none",
        epochs=3,
        batch_size=32,
        parameters=8000,
        limit=400,
        workers=2,
    )
    epochs = Run(tmp_path, config, digits).train(Display())["results"]["cnn"]["epochs"]
    assert epochs[2]["loss"] < epochs[0]["loss"] / 2
    assert epochs[2]["test_error"] < 0.3


def test_the_localisation_net_learns_at_its_own_rate(data):
    trainer = Trainer("st-cnn", settings(localisation_rate=0.1, schedule="constant"), data)
    rates = {id(p): g["lr"] for g in trainer.optimizer.groups for p in g["params"]}
    assert len(rates) == len(trainer.model.parameters())
    for name, parameter in trainer.model.named_parameters():
        slow = "localisation" in name
        assert rates[id(parameter)] == pytest.approx(3e-4 if slow else 3e-3)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_no_number_ends_the_run_and_leaves_what_was(
    tmp_path, data, monkeypatch, value
):
    config = settings(models=("fcn",))
    interrupt(tmp_path, config, data, Stop(epochs=1))
    before = outcome(tmp_path)
    monkeypatch.setattr(Workers, "gradients", lambda *_: value)
    run = Run(tmp_path, config, data)
    run.resume()
    with pytest.raises(UserError, match=rf"fcn: the loss became {value} in epoch 2; .* lr"):
        run.train(Display())
    assert outcome(tmp_path) == before


@pytest.mark.parametrize("workers", [1, 2])
def test_a_rate_that_is_far_too_high_ends_without_warnings(tmp_path, data, workers):
    config = settings(models=("fcn",), lr=1e30, workers=workers)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserError, match=r"fcn: the loss became .* try a smaller lr"):
            Run(tmp_path, config, data).train(Display())


def test_the_metrics_are_plain_json_without_times(tmp_path, data):
    Run(tmp_path, settings(), data).train(Display())

    def constant(name):
        raise AssertionError(name)

    metrics = json.loads((tmp_path / "metrics.json").read_text(), parse_constant=constant)
    assert list(metrics) == ["task", "settings", "data", "results"]
    assert metrics["settings"]["lr"] == 0.003
    assert metrics["data"]["name"] == "noise"
    for name in ("st-cnn", "cnn"):
        result = metrics["results"][name]
        assert list(result) == ["parameters", "epochs", "test_error"]
        assert [set(epoch) for epoch in result["epochs"]] == [
            {"epoch", "loss", "train_error", "test_error"}
        ] * 3
        assert result["test_error"] == result["epochs"][-1]["test_error"]
    assert sorted(os.listdir(tmp_path)) == ["checkpoint.npz", "metrics.json", "timing.json"]


def test_a_trained_network_comes_back_from_the_disk(tmp_path, data):
    config = settings(models=("st-cnn", "tutorial"))
    run = Run(tmp_path, config, data)
    metrics = run.train(Display())
    about, arrays = training.read_run(tmp_path)
    assert about == metrics == json.loads((tmp_path / "metrics.json").read_text())
    assert training.settings_of(about) == config
    for name in config.models:
        model = training.trained_model(about, arrays, name)
        assert not any(module.training for module in model.modules())
        for key, value in run.trainers[name].model.state_dict().items():
            assert np.array_equal(model.state_dict()[key], value)
        with Workers(model, 2) as workers:
            wrong = training.mistakes_on_test(workers, data, config.distortion)
        assert wrong / 11 == metrics["results"][name]["test_error"]


# What is refused


def assert_refused(folder, config, data, *words):
    """Going on is refused in one line that names the file, and the folder stays as it is."""
    before = {name: (folder / name).read_bytes() for name in os.listdir(folder)}
    with pytest.raises(CheckpointError) as caught:
        Run(folder, config, data).resume()
    message = str(caught.value)
    assert message.startswith(f"{folder / 'checkpoint.npz'}: ")
    assert "\n" not in message
    for word in words:
        assert word in message
    assert {name: (folder / name).read_bytes() for name in os.listdir(folder)} == before


@pytest.fixture
def interrupted(tmp_path, data):
    """The folder of a run of fcn and cnn that was interrupted after the first epoch of cnn."""
    interrupt(tmp_path, settings(models=("fcn", "cnn")), data, Stop(epochs=4))
    return tmp_path


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("models", ("cnn", "fcn")),
        ("transform", "tps"),
        ("distortion", "P"),
        ("epochs", 4),
        ("batch_size", 15),
        ("optimizer", "adamw"),
        ("lr", 0.0030000000000000005),
        ("schedule", "cosine"),
        ("localisation_rate", 0.5),
        ("label_smoothing", 0.1),
        ("parameters", 2001),
        ("seed", 1),
        ("workers", 1),
        ("limit", 37),
    ],
)
def test_other_settings(interrupted, data, name, value):
    assert {field.name for field in dataclasses.fields(Settings)} >= {name}
    config = settings(**{"models": ("fcn", "cnn"), name: value})
    now = list(value) if name == "models" else value
    assert_refused(interrupted, config, data, "other settings", f"{name} ", f"{now!r} now")


def test_a_run_from_before_label_smoothing_goes_on_without_it(interrupted, data):
    about, arrays = checkpoint.load(interrupted / "checkpoint.npz")
    del about["settings"]["label_smoothing"]
    checkpoint.save(interrupted / "checkpoint.npz", about, arrays)
    config = settings(models=("fcn", "cnn"))
    assert Run(interrupted, config, data).resume()
    smoothed = settings(models=("fcn", "cnn"), label_smoothing=0.1)
    assert_refused(interrupted, smoothed, data, "label_smoothing 0.0 then, 0.1 now")


def test_every_setting_is_compared():
    marks = test_other_settings.pytestmark[0].args[1]
    assert [name for name, _ in marks] == [field.name for field in dataclasses.fields(Settings)]


@pytest.mark.parametrize("part", ["train_images", "train_labels", "test_images", "test_labels"])
def test_one_other_pixel_or_label(interrupted, data, part):
    changed = getattr(data, part).copy()
    changed.flat[-1] = (changed.flat[-1] + 1) % 10
    other = dataclasses.replace(data, **{part: changed})
    config = settings(models=("fcn", "cnn"))
    assert_refused(interrupted, config, other, "other data", "fingerprint")


def test_data_of_another_name_or_number(interrupted, data):
    config = settings(models=("fcn", "cnn"))
    other = dataclasses.replace(data, name="mist")
    assert_refused(interrupted, config, other, "other data", "'noise' then, 'mist' now")
    fewer = training.limited(data, 30)
    assert_refused(interrupted, config, fewer, "training_images 37 then, 30 now")


def test_the_notice_and_the_memory_order_are_not_the_data(data):
    same = dataclasses.replace(
        data, notice="elsewhere", train_images=np.asfortranarray(data.train_images)
    )
    assert training.describe(same) == training.describe(data)


def change(folder, edit):
    """Let `edit(about, arrays)` make a wrong checkpoint of a good one."""
    about, arrays = checkpoint.load(folder / "checkpoint.npz")
    edit(about, arrays)
    checkpoint.save(folder / "checkpoint.npz", about, arrays)


def drop(start):
    def edit(about, arrays):
        for name in [name for name in arrays if name.startswith(start)]:
            del arrays[name]

    return edit


@pytest.mark.parametrize(
    "edit",
    [
        drop("model/fcn/"),
        drop("model/cnn/conv1.bias"),
        drop("optimizer/cnn/"),
        drop("optimizer/cnn/steps"),
        drop("optimizer/cnn/0.m"),
        lambda about, arrays: arrays.update({"model/cnn/extra": np.zeros(3)}),
        lambda about, arrays: arrays.update({"model/cnn/conv1.bias": np.zeros(99)}),
        lambda about, arrays: arrays.update({"optimizer/cnn/steps": np.array(1)}),
        lambda about, arrays: arrays.update({"optimizer/cnn/0.v": np.zeros(2)}),
        lambda about, arrays: about["results"]["cnn"]["epochs"].pop(),
        lambda about, arrays: about["results"]["fcn"].pop("epochs"),
        lambda about, arrays: about["results"].update(cnn=3),
    ],
)
def test_arrays_of_another_network(interrupted, data, edit):
    config = settings(models=("fcn", "cnn"))
    assert Run(interrupted, config, data).resume()
    change(interrupted, edit)
    assert_refused(interrupted, config, data, "does not fit its own settings")


@pytest.mark.parametrize(
    "edit",
    [
        lambda about: about.pop("settings"),
        lambda about: about.pop("results"),
        lambda about: about.update(data=[]),
        lambda about: about["settings"].update(lr="high"),
        lambda about: about["settings"].update(models="cnn"),
        lambda about: about["settings"].update(models=[]),
        lambda about: about["settings"].update(epochs=0),
        lambda about: about["settings"].update(momentum=0.9),
        lambda about: about["settings"].pop("models"),
        lambda about: about["results"].update(tutorial={}),
        lambda about: about["results"].clear(),
    ],
)
def test_no_training_run(interrupted, data, edit):
    change(interrupted, lambda about, arrays: edit(about))
    assert_refused(interrupted, settings(models=("fcn", "cnn")), data)
    with pytest.raises(CheckpointError, match=r"checkpoint\.npz: "):
        training.read_run(interrupted)


def test_a_network_that_is_not_in_the_checkpoint(interrupted):
    about, arrays = training.read_run(interrupted)
    with pytest.raises(CheckpointError, match="st-fcn does not fit"):
        training.trained_model(about, arrays, "st-fcn")


def test_a_run_is_found_by_its_folder_or_its_file(interrupted):
    by_folder, _ = training.read_run(str(interrupted))
    by_file, _ = training.read_run(interrupted / "checkpoint.npz")
    assert by_folder == by_file
    with pytest.raises(CheckpointError, match="there is no such checkpoint"):
        training.read_run(interrupted / "nowhere")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("models", "cnn"),
        ("models", ()),
        ("models", ("cnn", "resnet")),
        ("transform", "shear"),
        ("distortion", "X"),
        ("optimizer", "lion"),
        ("schedule", "warm"),
        ("epochs", 0),
        ("epochs", 1.5),
        ("batch_size", 0),
        ("parameters", -1),
        ("parameters", 10**12),
        ("workers", 0),
        ("seed", -1),
        ("seed", 0.5),
        ("limit", 0),
        ("lr", -1e-3),
        ("lr", math.nan),
        ("lr", math.inf),
        ("localisation_rate", -1.0),
        ("localisation_rate", math.nan),
    ],
)
def test_wrong_settings(name, value):
    with pytest.raises((ValueError, TypeError), match=f"^Settings: {name} is .*want"):
        Settings(**{name: value})


# Small helpers


@pytest.mark.parametrize(
    ("mistakes", "of", "low", "high"),
    [  # Newcombe 1998, Statistics in Medicine 17, Table I, method 3
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_intervals_of_the_literature(mistakes, of, low, high):
    got = wilson(mistakes, of)
    assert got == pytest.approx((low, high), abs=6e-5)
    mirrored = wilson(of - mistakes, of)
    assert mirrored == pytest.approx((1 - got[1], 1 - got[0]), abs=1e-12)


def test_wilson_bounds_solve_the_equation_they_come_from():
    """At either bound the observed share is z standard deviations away."""
    for mistakes, of in ((3, 500), (250, 10_000), (9_999, 10_000)):
        for bound in wilson(mistakes, of):
            away = abs(mistakes / of - bound) / math.sqrt(bound * (1 - bound) / of)
            assert away == pytest.approx(1.96)
    assert wilson(0, 10)[0] == 0
    assert wilson(10, 10)[1] == 1


def test_differences():
    assert training.differences({"a": 1, "b": "x"}, {"a": 1, "b": "x"}) == ""
    text = training.differences({"a": 1, "b": "x", "c": 0}, {"a": 2, "b": "x", "d": 5})
    assert text == "a 1 then, 2 now, c 0 then, None now, d None then, 5 now"


def test_limited(data):
    assert training.limited(data, None) is data
    few = training.limited(data, 20)
    assert len(few.train_images) == len(few.train_labels) == 20
    assert len(few.test_images) == len(few.test_labels) == 11
    assert np.array_equal(few.train_images, data.train_images[:20])


def test_networks_of_one_seed_are_equal_and_of_another_are_not():
    def weights(seed):
        return settings(seed=seed).build("cnn").state_dict()["conv1.weight"]

    assert np.array_equal(weights(0), weights(0))
    assert not np.isin(weights(0), weights(1)).any()


def test_the_display_that_shows_nothing():
    with Display().bar("cnn", 1, 10) as progress:
        assert progress(1, 0.5, 0.5) is None
    assert Display().epoch("cnn", {}, 1.0) is None


def test_the_test_is_not_recorded(data):
    """A tape of 10,000 images would not be small."""

    class Spy(Module):
        def __init__(self):
            self.weight = Linear(784, 10, rng=np.random.default_rng(0))

        def forward(self, x):
            assert not self.training
            y = self.weight(Tensor(x.reshape(len(x), -1)))
            assert not y.requires_grad
            return y

    with Workers(Spy(), 2) as workers:
        assert 0 <= training.mistakes_on_test(workers, data, "none") <= 11
