"""The command line: what it prints, what it leaves behind, and what it says of mistakes."""

import contextlib
import errno
import io
import json
import os
import shlex
import shutil
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from stn_numpy import __main__ as command_line
from stn_numpy import checkpoint, files, op, op_table, training
from stn_numpy import functional as F
from stn_numpy.__main__ import COMMANDS, main
from stn_numpy.data import load_digits, mnist
from stn_numpy.errors import DataError, UserError

ROOT = Path(__file__).parents[1]
IMAGES, LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
SMALL = ("--epochs", "2", "--batch-size", "50", "--parameters", "3000")

posix = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")


@pytest.fixture(autouse=True)
def alone(monkeypatch, tmp_path):
    """An empty working folder, no MNIST anywhere, no network, two workers."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("STN_NUMPY_DATA", raising=False)
    monkeypatch.setenv("STN_NUMPY_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("STN_NUMPY_WORKERS", "2")
    monkeypatch.setattr(mnist, "MIRRORS", ())


@pytest.fixture
def no_figures(monkeypatch):
    """They take longer to draw than these networks to train."""
    monkeypatch.setattr(command_line, "_draw", lambda run: None)


def idx(array):
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    return header + array.astype(np.uint8).tobytes()


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """A folder with 300 training and 101 test images in the format of MNIST."""
    folder = tmp_path_factory.mktemp("digits")
    data = training.limited(load_digits(), 300)
    parts = data.train_images, data.train_labels, data.test_images[:101], data.test_labels[:101]
    for name, part in zip(mnist.FILES, parts):
        (folder / name).write_bytes(idx(part))
    return folder


@pytest.fixture(scope="module")
def finished(tmp_path_factory, digits):
    """The folder of a complete run and what it printed."""
    folder, printed = tmp_path_factory.mktemp("runs") / "whole", io.StringIO()
    with pytest.MonkeyPatch.context() as patched, contextlib.redirect_stdout(printed):
        patched.setenv("STN_NUMPY_WORKERS", "2")
        assert main(["train", "--data", str(digits), "--out", str(folder), *SMALL]) == 0
    return folder, printed.getvalue()


def contents(folder):
    """Every file below a folder and its content."""
    return {p: p.read_bytes() for p in sorted(Path(folder).rglob("*")) if p.is_file()}


@pytest.fixture
def mistake(capsys):
    """Run a command that has to end with one line of error, and return that line."""

    def run(*arguments):
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as end:  # argparse's own way
            code = end.code
        error = capsys.readouterr().err
        assert code == 2
        assert error.endswith("\n")
        assert len(error.splitlines()) == 1, error
        assert error.startswith("python -m stn_numpy")
        return error

    return run


# train


def test_a_run_prints_and_leaves_what_it_should(finished, digits):
    folder, printed = finished
    lines = printed.splitlines()
    assert lines[0].startswith("Data: IDX files other than MNIST, 300 training and 101 test images")
    assert str(digits) in lines[0]
    epochs = [line.split() for line in lines if " epoch " in line]
    assert [(words[0], words[2]) for words in epochs] == [
        ("st-cnn", "1/2"),
        ("st-cnn", "2/2"),
        ("cnn", "1/2"),
        ("cnn", "2/2"),
    ]
    assert sorted(os.listdir(folder)) == [
        "checkpoint.npz",
        "learning_curves.png",
        "metrics.json",
        "st-cnn.png",
        "timing.json",
    ]
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["settings"]["epochs"] == 2
    assert metrics["settings"]["batch_size"] == 50
    assert metrics["settings"]["models"] == ["st-cnn", "cnn"]
    at = lines.index("Test error on IDX files other than MNIST, distortion R, 101 images:")
    for line, (name, result) in zip(lines[at + 1 :], metrics["results"].items()):
        low, high = training.wilson(round(101 * result["test_error"]), 101)
        assert line.split() == [
            name,
            f"{result['parameters']:,}",
            "parameters",
            f"{100 * result['test_error']:.2f}",
            "%",
            *f"(95 % interval {100 * low:.2f} to {100 * high:.2f})".split(),
        ]
        assert 2000 < result["parameters"] < 25_000
    assert lines[-1].startswith(f"{folder}/ holds ")


def test_without_mnist_the_embedded_digits_are_used_and_said_so(capsys, tmp_path):
    assert main(["train", "--quick", "--model", "fcn", "--epochs", "1"]) == 0
    printed = capsys.readouterr().out
    notice = printed.splitlines()[0]
    assert notice.startswith("Data: UCI handwritten digits")
    assert "no MNIST in the cache" in notice
    assert "--data DIR or $STN_NUMPY_DATA" in notice
    folder = tmp_path / "runs" / "fcn-R-seed0"
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["settings"]["limit"] == 1000
    assert metrics["settings"]["batch_size"] == 64
    assert metrics["settings"]["epochs"] == 1  # what is named wins over --quick
    assert metrics["data"]["training_images"] == 1000
    assert not (tmp_path / "cache").exists()


@pytest.fixture
def chosen(monkeypatch, digits):
    """The settings that a command line leads to; nothing is trained."""

    def choose(*arguments):
        seen = []

        def run(folder, settings, data):
            seen.append(settings)
            raise UserError("that is all")

        monkeypatch.setattr(training, "Run", run)
        assert main(["train", "--data", str(digits), *arguments]) == 2
        return seen[0]

    return choose


def test_every_option_reaches_the_settings(chosen):
    line = (
        "--model st-fcn --transform tps --distortion TC --epochs 7 --batch-size 12 --optimizer sgd "
        "--lr 0.25 --schedule step --localisation-rate 0.1 --label-smoothing 0.3 "
        "--parameters 12345 --seed 6 --workers 3"
    )
    settings = chosen(*line.split())
    assert settings == training.Settings(
        ("st-fcn",), "tps", "TC", 7, 12, "sgd", 0.25, "step", 0.1, 0.3, 12345, 6, 3, None
    )


def test_defaults_depend_on_how_much_data_there_is(chosen, monkeypatch):
    few = chosen()
    assert (few.epochs, few.batch_size, few.models) == (60, 64, ("st-cnn", "cnn"))
    assert few.workers == 2  # $STN_NUMPY_WORKERS
    monkeypatch.setattr(command_line, "SMALL_DATA", 300)
    many = chosen()
    assert (many.epochs, many.batch_size) == (8, 256)


def test_new_runs_have_folders_of_their_own(digits, capsys, no_figures):
    for _ in range(2):
        arguments = ["--data", str(digits), "--model", "fcn", "--quick", "--epochs", "1"]
        assert main(["train", *arguments]) == 0
    assert sorted(os.listdir("runs")) == ["fcn-R-seed0", "fcn-R-seed0-2"]
    first, second = (
        Path("runs", name, "metrics.json").read_bytes() for name in sorted(os.listdir("runs"))
    )
    assert first == second


# train --resume


def test_going_on_with_a_complete_run(finished, digits, tmp_path, capsys):
    folder = shutil.copytree(finished[0], tmp_path / "copy")
    before = contents(folder)
    assert main(["train", "--resume", "--out", str(folder), "--data", str(digits)]) == 0
    printed = capsys.readouterr().out
    assert f"Going on with {folder}: epochs done: st-cnn 2, cnn 2." in printed
    assert " epoch " not in printed
    assert contents(folder) == before  # the figures, too, come out the same


def test_nothing_to_resume(digits, tmp_path, capsys, no_figures):
    small = ["--data", str(digits), "--model", "fcn", "--epochs", "1"]
    assert main(["train", "--resume", "--out", "new", *small]) == 0
    notice = "Nothing to resume in new: starting from the beginning."
    assert notice in capsys.readouterr().out
    assert main(["train", "--resume", *small]) == 0
    notice = "Nothing to resume in runs: starting from the beginning."
    assert notice in capsys.readouterr().out


def test_the_latest_run_is_the_one_to_go_on_with(finished, digits, capsys, no_figures):
    for name, age in (("old", 3000), ("latest", 0), ("older", 6000)):
        folder = shutil.copytree(finished[0], Path("runs") / name)
        then = time.time() - age
        os.utime(folder / "checkpoint.npz", (then, then))
    assert main(["train", "--resume", "--data", str(digits)]) == 0
    assert f"Going on with {Path('runs') / 'latest'}:" in capsys.readouterr().out
    assert main(["evaluate", "--data", str(digits)]) == 0


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--epochs", 3, "epochs 2 then, 3 now"),
        ("--lr", 0.01, "lr 0.005 then, 0.01 now"),
        ("--model", "cnn", "models ['st-cnn', 'cnn'] then, ['cnn'] now"),
        ("--seed", 7, "seed 0 then, 7 now"),
        ("--workers", 1, "workers 2 then, 1 now"),
        ("--distortion", "RTS", "distortion 'R' then, 'RTS' now"),
        ("--schedule", "cosine", "schedule 'one-cycle' then, 'cosine' now"),
    ],
)
def test_resuming_with_another_setting(finished, digits, mistake, option, value, words):
    before = contents(finished[0])
    line = mistake("train", "--resume", "--out", finished[0], "--data", digits, option, value)
    assert words in line
    assert f"{finished[0] / 'checkpoint.npz'}: " in line
    assert contents(finished[0]) == before


def test_resuming_a_longer_run_as_a_quick_one(finished, digits, mistake):
    line = mistake("train", "--resume", "--quick", "--out", finished[0], "--data", digits)
    assert "batch_size 50 then, 64 now" in line
    assert "limit None then, 1000 now" in line


def test_resuming_with_the_settings_named_again(finished, digits, capsys, monkeypatch, no_figures):
    monkeypatch.setenv("STN_NUMPY_WORKERS", "1")  # the run keeps its own
    assert (
        main(["train", "--resume", "--out", str(finished[0]), "--data", str(digits), *SMALL]) == 0
    )
    assert "Going on with" in capsys.readouterr().out


def test_resuming_with_other_data(finished, digits, mistake, tmp_path):
    assert "other data" in mistake("train", "--resume", "--out", finished[0])
    other = shutil.copytree(digits, tmp_path / "other")
    images = other / "train-images-idx3-ubyte"
    images.write_bytes(images.read_bytes()[:-1] + b"\x07")
    line = mistake("train", "--resume", "--out", finished[0], "--data", other)
    assert "other data" in line
    assert "fingerprint" in line


def test_a_run_is_not_overwritten(finished, digits, mistake):
    before = contents(finished[0])
    line = mistake("train", "--out", finished[0], "--data", digits, *SMALL)
    assert f"{finished[0]} holds a run already: add --resume" in line
    assert contents(finished[0]) == before


# Corrupt checkpoints


def bad_checkpoints():
    pickled = io.BytesIO()
    np.savez(pickled, format=np.array(checkpoint.FORMAT), contents=np.array([{}], dtype=object))
    foreign = io.BytesIO()
    np.savez(foreign, weights=np.zeros(3))
    flip = lambda content: content[:-3000] + bytes([content[-3000] ^ 1]) + content[-2999:]  # noqa: E731
    return {
        "empty": lambda content: b"",
        "half": lambda content: content[: len(content) // 2],
        "but one byte": lambda content: content[:-1],
        "a wrong byte": flip,
        "text": lambda content: b"epoch 1: all is well\n",
        "HTML": lambda content: b"<!doctype html><html></html>",
        "pickles": lambda content: pickled.getvalue(),
        "another program's": lambda content: foreign.getvalue(),
    }


@pytest.mark.parametrize("kind", bad_checkpoints())
def test_a_corrupt_checkpoint(finished, digits, mistake, tmp_path, kind):
    folder = shutil.copytree(finished[0], tmp_path / "copy")
    path = folder / "checkpoint.npz"
    path.write_bytes(bad_checkpoints()[kind](path.read_bytes()))
    before = contents(folder)
    for arguments in (["train", "--resume", "--out", folder], ["evaluate", folder]):
        line = mistake(*arguments, "--data", digits)
        assert f"{path}: " in line
        assert "left as it is" in line
        assert contents(folder) == before


@pytest.mark.parametrize("part", ["model/cnn/conv1.weight", "model/st-cnn/conv2.bias"])
def test_a_checkpoint_of_another_network(finished, digits, mistake, tmp_path, part):
    folder = shutil.copytree(finished[0], tmp_path / "copy")
    about, arrays = checkpoint.load(folder / "checkpoint.npz")
    arrays[part] = np.zeros((1, 2, 3), np.float32)
    checkpoint.save(folder / "checkpoint.npz", about, arrays)
    before = contents(folder)
    for arguments in (["train", "--resume", "--out", folder], ["evaluate", folder]):
        line = mistake(*arguments, "--data", digits)
        assert str(folder) in line
        assert part.split("/")[2] in line
        assert contents(folder) == before


# Mistakes


@pytest.mark.parametrize("command", [name for name, *_ in COMMANDS])
def test_help(command, capsys):
    with pytest.raises(SystemExit) as end:
        main([command, "--help"])
    assert end.value.code == 0
    assert f"python -m stn_numpy {command}" in capsys.readouterr().out


def test_help_names_all_commands(capsys):
    with pytest.raises(SystemExit) as end:
        main(["--help"])
    assert end.value.code == 0
    printed = capsys.readouterr().out
    for name, text, *_ in COMMANDS:
        assert name in printed
        assert text.split()[0] in printed


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("", "COMMAND"),
        ("trian", "'trian'"),
        ("train --epoch-count 3", "--epoch-count"),
        ("train stray", "stray"),
        ("train --model resnet", "'resnet'"),
        ("train --transform shear", "'shear'"),
        ("train --distortion X", "'X'"),
        ("train --optimizer lion", "'lion'"),
        ("train --schedule warm", "'warm'"),
        ("train --epochs many", "'many'"),
        ("train --epochs 1.5", "'1.5'"),
        ("train --epochs", "--epochs"),
        ("train --epochs 0", "epochs is 0, want at least 1"),
        ("train --batch-size 0", "batch_size is 0"),
        ("train --batch-size -4", "batch_size is -4"),
        ("train --parameters 0", "parameters is 0"),
        ("train --workers 0", "workers is 0"),
        ("train --seed -1", "seed is -1, want at least 0"),
        ("train --lr -0.1", "lr is -0.1, want 0 or more"),
        ("train --lr nan", "lr is nan"),
        ("train --lr inf", "lr is inf"),
        ("train --localisation-rate -1", "localisation_rate is -1.0"),
        ("train --label-smoothing 1.5", "label_smoothing is 1.5, want a number from 0 to 1"),
        ("evaluate --workers 0", "workers is 0"),
        ("gradcheck --seed -1", "--seed is -1, want 0 or more"),
        ("gradcheck --seed x", "'x'"),
    ],
)
def test_wrong_arguments(arguments, words, mistake, monkeypatch, finished, tmp_path):
    shutil.copytree(finished[0], tmp_path / "runs" / "a")  # something to evaluate
    before = contents(tmp_path)

    def load(folder):
        raise AssertionError("data was loaded before the arguments were looked at")

    monkeypatch.setattr("stn_numpy.data.load", load)
    assert words in mistake(*arguments.split())
    assert contents(tmp_path) == before


@pytest.mark.parametrize("value", ["0", "-1", "two", "1.5"])
def test_a_wrong_number_of_workers_in_the_environment(mistake, monkeypatch, digits, value):
    monkeypatch.setenv("STN_NUMPY_WORKERS", value)
    line = mistake("train", "--data", digits, "--out", "x")
    assert "STN_NUMPY_WORKERS" in line
    assert repr(value) in line
    assert not Path("x").exists()


def spoil(folder, name, content):
    (folder / name).write_bytes(content)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda f: shutil.rmtree(f), ["does not exist"]),
        (lambda f: (f / "t10k-labels-idx1-ubyte").unlink(), ["no t10k-labels-idx1-ubyte"]),
        (lambda f: spoil(f, IMAGES, b"<html>Log in</html>"), [IMAGES, "HTML"]),
        (lambda f: spoil(f, IMAGES, (f / IMAGES).read_bytes()[:-9]), [IMAGES, "cut short"]),
        (lambda f: spoil(f, IMAGES, (f / IMAGES).read_bytes()[:7]), [IMAGES, "cut short"]),
        (lambda f: spoil(f, IMAGES, b"\1\2\3\4" + bytes(99)), [IMAGES, "not an IDX file"]),
        (lambda f: spoil(f, IMAGES, b""), [IMAGES, "empty"]),
        (lambda f: spoil(f, LABELS, idx(np.full(300, 12))), [LABELS, "label 12"]),
        (lambda f: spoil(f, LABELS, idx(np.zeros(299))), [LABELS, "299 labels"]),
    ],
)
@pytest.mark.parametrize("by", ["option", "environment"])
def test_wrong_data(digits, mistake, monkeypatch, tmp_path, finished, change, words, by):
    data = shutil.copytree(digits, tmp_path / "data")
    change(data)
    if by == "environment":
        monkeypatch.setenv("STN_NUMPY_DATA", str(data))
    option = ["--data", data] if by == "option" else []
    for arguments in (["train", "--out", "x"], ["evaluate", finished[0]]):
        line = mistake(*arguments, *option)
        assert str(data) in line
        assert all(word in line for word in words), line
    assert not Path("x").exists()
    assert not Path("runs").exists()
    assert not Path("cache").exists()


def test_out_is_a_file_or_below_one(mistake, digits, tmp_path):
    Path("file").write_text("precious")
    assert "file: this is a file, want a folder" in mistake("train", "--out", "file")
    small = ["--data", digits, "--model", "fcn", "--epochs", "1"]
    assert str(Path("file", "run")) in mistake("train", *small, "--out", Path("file", "run"))
    assert Path("file").read_text() == "precious"
    assert os.listdir(tmp_path) == ["file"]


def test_runs_is_a_file(mistake, digits):
    Path("runs").write_text("precious")
    mistake("train", "--data", digits, "--model", "fcn", "--epochs", "1")
    mistake("evaluate", "--data", digits)
    assert Path("runs").read_text() == "precious"


def test_out_can_not_be_written(mistake, digits, monkeypatch):
    def forbidden(path, *_, **__):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(files, "open", forbidden, raising=False)
    line = mistake("train", "--data", digits, "--model", "fcn", "--epochs", "1", "--out", "x")
    assert "Permission denied" in line
    assert str(Path("x")) in line


def test_a_checkpoint_that_can_not_be_read(mistake, digits, monkeypatch, finished):
    def forbidden(path, *_, **__):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr("zipfile.ZipFile", forbidden)
    for arguments in (["train", "--resume", "--out", finished[0]], ["evaluate", finished[0]]):
        line = mistake(*arguments, "--data", digits)
        assert "Permission denied" in line
        assert str(finished[0] / "checkpoint.npz") in line


def test_a_full_disk(mistake, digits, monkeypatch, capsys, finished, no_figures):
    """The third checkpoint does not fit: the second is still there, and good to go on with."""
    folder = Path("full")
    saved = []

    def save(path, about, arrays):
        if len(saved) == 2:
            monkeypatch.setattr(files, "open", Full, raising=False)
        original(path, about, arrays)
        saved.append(path.read_bytes())

    class Full(io.FileIO):
        def write(self, data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    original = checkpoint.save
    with monkeypatch.context() as patched:
        patched.setattr(checkpoint, "save", save)
        line = mistake("train", "--data", digits, "--out", folder, *SMALL)
    assert "No space left on device" in line
    assert str(folder / "checkpoint.npz") in line
    assert (folder / "checkpoint.npz").read_bytes() == saved[1]
    assert sorted(os.listdir(folder)) == ["checkpoint.npz", "metrics.json", "timing.json"]
    monkeypatch.setattr(files, "open", open, raising=False)
    assert main(["train", "--resume", "--out", str(folder), "--data", str(digits)]) == 0
    assert metrics_of(folder) == metrics_of(finished[0])


def test_too_little_memory(mistake, digits, monkeypatch):
    def build(*_, **__):
        raise MemoryError("Unable to allocate 8.00 TiB")

    monkeypatch.setattr("stn_numpy.models.build", build)
    line = mistake("train", "--data", digits, "--out", "x")
    assert "not enough memory (Unable to allocate 8.00 TiB)" in line


def test_a_bug_is_not_hidden(digits, monkeypatch):
    """One line is for mistakes of the user; those of the program keep their traceback."""

    def bug(*_):
        raise ValueError("a bug")

    monkeypatch.setattr(training.Trainer, "epoch", bug)
    with pytest.raises(ValueError, match="a bug"):
        main(["train", "--data", str(digits), "--model", "fcn", "--epochs", "1", "--out", "x"])


def test_errors_of_data_and_checkpoints_are_errors_of_the_user():
    assert issubclass(DataError, UserError)
    assert not issubclass(UserError, ValueError)


# evaluate


def test_evaluate_reproduces_the_test_error_exactly(finished, digits, capsys, monkeypatch):
    metrics = json.loads((finished[0] / "metrics.json").read_text())
    monkeypatch.setenv("STN_NUMPY_WORKERS", "1")  # another number could round otherwise
    seen = []
    original = training.mistakes_on_test

    def mistakes_on_test(workers, data, distortion, task):
        assert workers.count == 2
        seen.append(original(workers, data, distortion, task))
        return seen[-1]

    monkeypatch.setattr(training, "mistakes_on_test", mistakes_on_test)
    before = contents(finished[0])
    for run in (finished[0], finished[0] / "checkpoint.npz"):
        assert main(["evaluate", str(run), "--data", str(digits)]) == 0
        printed = capsys.readouterr().out
        assert printed[printed.index("Test error") :] in finished[1]
        assert "other data" not in printed
    assert [wrong / 101 for wrong in seen] == 2 * [
        result["test_error"] for result in metrics["results"].values()
    ]
    assert contents(finished[0]) == before


def test_evaluate_one_network_on_something_else(finished, digits, capsys):
    arguments = ["--model", "cnn", "--distortion", "P", "--workers", "1", "--data", str(digits)]
    assert main(["evaluate", str(finished[0]), *arguments]) == 0
    printed = capsys.readouterr().out
    assert "distortion P, 101 images:" in printed
    assert [line.split()[0] for line in printed.splitlines() if "parameters" in line] == ["cnn"]


def test_evaluate_on_other_data_says_so(finished, capsys):
    assert main(["evaluate", str(finished[0]), "--model", "cnn"]) == 0
    printed = capsys.readouterr().out
    assert "The training was on other data: IDX files other than MNIST." in printed
    assert "Test error on UCI digits" in printed


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--distortion", "RTS"], "was trained on 28 x 28 pixels, but RTS has 42 x 42"),
        (["--distortion", "TC"], "was trained on 28 x 28 pixels, but TC has 60 x 60"),
        (["--model", "fcn"], "has no fcn, only st-cnn, cnn"),
    ],
)
def test_evaluate_what_does_not_fit(finished, digits, mistake, arguments, words):
    assert words in mistake("evaluate", finished[0], "--data", digits, *arguments)


def test_evaluate_without_a_run(mistake, digits, tmp_path):
    assert "holds no run: train first" in mistake("evaluate", "--data", digits)
    assert "nowhere: there is no such" in mistake("evaluate", "nowhere", "--data", digits)
    Path("empty").mkdir()
    assert "there is no such checkpoint" in mistake("evaluate", "empty", "--data", digits)


# gradcheck


def few(*names):
    """The examples of some operations only, to be quick."""
    return lambda rng: (
        example for example in op_table_examples(rng) if example.name.split()[0] in names
    )


op_table_examples = op_table.examples
TITLE = ["operation", "input", "shape", "error"]


def test_gradcheck_prints_a_table(capsys, monkeypatch):
    monkeypatch.setattr(op_table, "examples", few("linear", "relu", "max_pool2d"))
    assert main(["gradcheck"]) == 0
    lines = capsys.readouterr().out.splitlines()
    at = next(i for i, line in enumerate(lines) if line.split() == TITLE)
    rows = lines[at + 1 : lines.index("", at)]
    assert [row.split()[0] for row in rows] == ["relu", *3 * ["linear"], *2 * ["max_pool2d"]]
    assert [row.split()[1] for row in rows[1:4]] == ["input", "weight", "bias"]
    assert "4 x 5" in rows[1]
    assert all(float(row.split()[-1]) < 1e-6 for row in rows)
    assert lines[-1] == "6 gradients, 0 off by more than 1e-06."


def test_gradcheck_finds_what_is_wrong(capsys, monkeypatch):
    @op
    def relu(input):
        return np.maximum(input, 0), lambda dy: dy * (input > 0) * 1.001

    monkeypatch.setattr(F, "relu", relu)
    monkeypatch.setattr(op_table, "examples", few("linear", "relu", "tanh"))
    assert main(["gradcheck"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines if line.endswith("WRONG")] == ["relu"]
    assert lines[-1] == "5 gradients, 1 off by more than 1e-06."


# Interruptions of real processes


def environment(tmp_path):
    unwanted = ("STN_NUMPY_DATA", "PYTHONUNBUFFERED")  # as in the shell of a user
    env = {name: value for name, value in os.environ.items() if name not in unwanted}
    paths = [str(ROOT), *filter(None, [env.get("PYTHONPATH")])]
    return {
        **env,
        "PYTHONPATH": os.pathsep.join(paths),
        "STN_NUMPY_CACHE": str(tmp_path / "cache"),
        "STN_NUMPY_WORKERS": "2",
        "OPENBLAS_NUM_THREADS": "1",
    }


@contextlib.contextmanager
def process(tmp_path, *arguments):
    """A `python -m stn_numpy` of its own, that does not survive the test."""
    options = {}
    if sys.platform != "win32":  # where tests run in the background, SIGINT may be switched off
        options["preexec_fn"] = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)
    child = subprocess.Popen(
        [sys.executable, "-m", "stn_numpy", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env=environment(tmp_path),
        **options,
    )
    try:
        yield child
    finally:
        child.kill()
        child.communicate()


def wait_for_epoch(child):
    """Read until an epoch has ended; False if the process has ended before."""
    return any(" epoch " in line for line in iter(child.stdout.readline, ""))


def wait_for_saving(child, folder):
    """Wait until a checkpoint is being written; False if the process has ended before."""
    while child.poll() is None:
        with contextlib.suppress(FileNotFoundError):
            if any(name.startswith(".checkpoint.npz.") for name in os.listdir(folder)):
                return True
    return False


def assert_no_part_is_a_checkpoint(folder):
    if (folder / "checkpoint.npz").exists():
        training.read_run(folder)


def metrics_of(folder):
    return (folder / "metrics.json").read_bytes()


def test_killed_again_and_again(finished, digits, tmp_path, capsys, no_figures):
    """kill -9 at the start, while saving, in an epoch, after a while: the numbers stay the same."""
    folder = tmp_path / "killed"
    arguments = ["train", "--resume", "--data", digits, "--out", folder]

    with process(tmp_path, *arguments, *SMALL) as child:
        time.sleep(0.05)  # Python itself is still starting
        child.kill()
        assert child.wait() != 0
    assert not (folder / "checkpoint.npz").exists()

    moments = [
        lambda child: wait_for_saving(child, folder),
        wait_for_epoch,
        lambda child: wait_for_epoch(child) and (time.sleep(0.04) or True),
        lambda child: wait_for_epoch(child) and wait_for_saving(child, folder),
    ]
    killed = 0
    for moment in moments:
        with process(tmp_path, *arguments, *SMALL) as child:
            killed += moment(child)
            child.kill()
            child.wait()
            printed = child.stdout.read()
            assert "Traceback" not in child.stderr.read()
        if moment is moments[0]:
            assert "Nothing to resume" in printed
        assert_no_part_is_a_checkpoint(folder)
    assert killed >= 2

    # The last one goes on where the others ended, whatever they left behind.
    (folder / ".checkpoint.npz.0123456789abcdef").write_bytes(b"half a checkpoint")
    assert main(["train", "--resume", "--data", str(digits), "--out", str(folder), *SMALL]) == 0
    assert metrics_of(folder) == metrics_of(finished[0])
    for name, array in checkpoint.load(finished[0] / "checkpoint.npz")[1].items():
        assert np.array_equal(array, checkpoint.load(folder / "checkpoint.npz")[1][name])


@posix
def test_interrupted_by_the_keyboard(finished, digits, tmp_path, capsys, no_figures):
    folder = tmp_path / "a run of mine"
    with process(tmp_path, "train", "--data", digits, "--out", folder, *SMALL) as child:
        assert wait_for_epoch(child)
        child.send_signal(signal.SIGINT)
        _, error = child.communicate(timeout=30)
        assert child.returncode == 130
    (line,) = error.split("\n", 1)[1].splitlines() if error.startswith("\n") else error.splitlines()
    start = "stopped; to go on: python -m stn_numpy "
    assert line.startswith(start)
    # What it says can be typed as it stands.
    assert main(shlex.split(line.removeprefix(start))) == 0
    assert metrics_of(folder) == metrics_of(finished[0])


def test_the_keyboard_before_there_is_a_run(monkeypatch, capsys):
    def load(folder):
        raise KeyboardInterrupt

    monkeypatch.setattr("stn_numpy.data.load", load)
    assert main(["train"]) == 130
    assert capsys.readouterr().err.split() == ["stopped"]


@posix
@pytest.mark.parametrize("lines", [0, 1])
def test_a_reader_that_has_gone(finished, digits, tmp_path, lines):
    """`python -m stn_numpy evaluate | head -1` is no mistake of anybody."""
    with process(tmp_path, "evaluate", finished[0], "--data", digits) as child:
        for _ in range(lines):
            assert child.stdout.readline().startswith("Data: ")
        child.stdout.close()
        assert child.stderr.read() == ""
        assert child.wait() == 141
        child.stdout = None


def test_exit_codes_reach_the_shell(tmp_path):
    with process(tmp_path, "train", "--epochs", "0") as child:
        printed, error = child.communicate(timeout=30)
    assert child.returncode == 2
    assert printed == ""
    assert error == "python -m stn_numpy train: Settings: epochs is 0, want at least 1\n"
