"""python -m stn_numpy verify: exit code 0 for right, 1 for wrong, 2 for what cannot be loaded."""

import textwrap

import pytest

from stn_numpy.__main__ import main

CANDIDATES = """
    import numpy as np

    def points(size):
        N, C, H, W = size
        x, y = np.meshgrid((2 * np.arange(W) + 1) / W - 1, (2 * np.arange(H) + 1) / H - 1)
        return np.stack([x.ravel(), y.ravel(), np.ones(H * W)])

    def right(dG, theta, size):
        N, _, H, W = size
        return np.einsum("nkc,pk->ncp", dG.reshape(N, H * W, 2), points(size))

    def swapped(dG, theta, size):
        return right(dG, theta, size)[:, ::-1]

    def negative(dG, theta, size):
        return -right(dG, theta, size)

    def raises(dG, theta, size):
        raise RuntimeError("out of ideas")

    number = 3
"""


@pytest.fixture
def candidates(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(textwrap.dedent(CANDIDATES))
    return file


def verify(file, function, *options):
    return main(["verify", f"{file}:{function}", "--against", "affine_grid", *options])


def test_a_right_derivation_exits_with_0(candidates, capsys):
    assert verify(candidates, "right", "--form", "backward") == 0
    assert "right against affine_grid" in capsys.readouterr().out


@pytest.mark.parametrize(
    "function, words",
    [("swapped", "x and y"), ("negative", "sign"), ("raises", "out of ideas")],
)
def test_a_wrong_derivation_exits_with_1_and_is_named(candidates, capsys, function, words):
    assert verify(candidates, function, "--form", "backward") == 1
    out = capsys.readouterr().out
    assert "WRONG" in out
    assert words in out


@pytest.mark.parametrize(
    "spec, words",
    [
        ("{folder}/none.py:f", "no such file"),
        ("{file}:nothing", "no function nothing"),
        ("{file}:number", "not a function"),
        ("{file}", "names no function"),
        ("{folder}/broken.py:f", "line 1"),
    ],
)
def test_what_cannot_be_loaded_exits_with_2_and_one_line(candidates, capsys, spec, words):
    (candidates.parent / "broken.py").write_text("def f(:\n")
    spec = spec.format(file=candidates, folder=candidates.parent)
    assert main(["verify", spec, "--against", "affine_grid"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert words in captured.err


def test_an_unknown_operation_exits_with_2(candidates, capsys):
    assert main(["verify", f"{candidates}:right", "--against", "telepathy"]) == 2
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1
    assert "telepathy" in captured.err


def test_gradcheck_shows_both_derivatives_at_the_kinks(capsys):
    assert main(["gradcheck"]) == 0
    out = capsys.readouterr().out
    assert "left" in out and "right" in out and "as printed" in out
    row = next(line for line in out.splitlines() if line.strip().startswith("(2, 1.75)"))
    assert [float(v) for v in row.split()[-5:]] == [-6.0, 0.5, -6.0, -2.75, 7.25]
