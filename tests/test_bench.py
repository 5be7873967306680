"""The options of the benchmark."""

import argparse
import re
import sys
from pathlib import Path

import pytest

from stn_numpy import bench
from stn_numpy.__main__ import main
from stn_numpy.errors import UserError


def arguments(*options: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    bench.add_arguments(parser)
    return parser.parse_args(["--repeats", "1", "--workers", "2", *options])


@pytest.mark.parametrize("option", ["--repeats", "--workers"])
def test_numbers_below_one_are_refused(option):
    with pytest.raises(UserError, match=f"{option} is 0, want at least 1"):
        bench.run(arguments(option, "0"))


def test_without_torch_one_line_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)  # makes `import torch` fail
    with pytest.raises(UserError, match=r"pip install torch \(CPU build is enough\)") as caught:
        bench.run(arguments())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("memory", ["0", "-1", "nan"])
def test_memory_of_nothing_is_refused(memory):
    with pytest.raises(UserError, match=r"--memory is .*, want more than 0"):
        bench.run(arguments("--scale", "--memory", memory))


@pytest.mark.parametrize(
    "options", [["--only", "conv", "--profile"], ["--profile", "--scale"], ["--scale", "--peers"]]
)
def test_options_that_exclude_each_other(options, capsys):
    try:
        code = main(["bench", *options])
    except SystemExit as exit:
        code = exit.code
    assert code == 2
    error = capsys.readouterr().err
    assert "not allowed with" in error and error.count("\n") == 1


@pytest.mark.parametrize(
    ("options", "names"),
    [([], "conv2d"), (["--scale"], "batch size; image size; filters"), (["--peers"], "max_pool2d")],
)
def test_only_without_a_match_names_what_there_is(options, names):
    if not options:
        pytest.importorskip("torch")
    with pytest.raises(UserError, match=f"--only nothing: no such row; there are: .*{names}"):
        bench.run(arguments("--only", "nothing", *options))


def test_one_file_alone_reaches_behind_the_tape():
    private = re.compile(r"\._node\b|autograd import .*\b_\w+")
    folder = Path(bench.__file__).parent
    assert [p.name for p in folder.glob("*.py") if private.search(p.read_text())] == ["profile.py"]
