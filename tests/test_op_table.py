"""The table of gradient errors has every operation, and a wrong gradient shows in it."""

import numpy as np
import pytest

from stn_numpy import functional as F
from stn_numpy import op, op_table
from stn_numpy.op_table import TOLERANCE, check_all, examples, off_lattice

# Options of grid_sample, of which each combination is a row.
MODES = ("bilinear", "nearest", "bicubic")
PADDINGS = ("zeros", "border", "reflection")


@pytest.fixture(scope="module")
def rows():
    return list(check_all(np.random.default_rng(1)))  # not the seed of the command


def test_every_gradient_is_right(rows):
    for row in rows:
        assert row.error <= TOLERANCE, row


def test_no_gradient_is_compared_with_itself(rows):
    """Rounding leaves something nearly everywhere; the nearest pixel has no slope at all."""
    exact = [row for row in rows if row.error == 0]
    nearest = [row for row in rows if "nearest" in row.name and row.input == "grid"]
    assert len(nearest) == 6
    assert set(nearest) <= set(exact)
    assert len(exact) < len(rows) / 4


def test_every_operation_is_in_it():
    names = {example.name.split()[0] for example in examples(np.random.default_rng(0))}
    assert names == set(F.__all__)


def test_every_combination_of_the_sampler_is_in_it():
    names = {example.name for example in examples(np.random.default_rng(0))}
    for mode in MODES:
        for padding in PADDINGS:
            for corners in (False, True):
                assert f"grid_sample {mode} {padding} align_corners={corners}" in names
    for grid in ("affine_grid", "projective_grid", "tps_grid"):
        for corners in (False, True):
            assert f"{grid} align_corners={corners}" in names


def test_names_are_unique_and_inputs_float64():
    found = list(examples(np.random.default_rng(0)))
    assert len({example.name for example in found}) == len(found)
    for example in found:
        assert example.inputs
        assert all(array.dtype == np.float64 for array in example.inputs.values())


def test_images_have_axes_that_can_not_be_confused():
    for example in examples(np.random.default_rng(0)):
        shape = example.inputs.get("input", np.zeros(1)).shape
        assert len(set(shape)) == len(shape), example.name


def test_examples_give_the_same_result_every_time():
    """Central differences of a function that draws afresh would be nonsense."""
    for example in examples(np.random.default_rng(0)):
        arrays = example.inputs.values()
        assert np.array_equal(example.function(*arrays).data, example.function(*arrays).data)


@pytest.mark.parametrize("align_corners", [False, True])
def test_points_are_off_the_kinks_and_some_are_outside(rng, align_corners):
    H, W = 6, 5
    G = off_lattice((40, 30), (H, W), align_corners, rng)
    assert G.shape == (40, 30, 2)
    for axis, size in enumerate((W, H)):
        g = G[..., axis]
        pixel = (g + 1) * (size - 1) / 2 if align_corners else ((g + 1) * size - 1) / 2
        part = pixel % 1
        assert (np.abs(part - np.round(2 * part) / 2) > 0.0999).all()
        assert (pixel < 0).any()
        assert (pixel > size - 1).any()
        assert np.isin(np.arange(-2, size + 1), np.floor(pixel)).all()


@op
def half_relu(input):
    return np.maximum(input, 0), lambda dy: 0.5 * dy * (input > 0)


@op
def nan_relu(input):
    return np.maximum(input, 0), lambda dy: np.full_like(dy, np.nan)


@op
def nearly_relu(input):
    return np.maximum(input, 0), lambda dy: dy * (input > 0) * (1 + 1e-5)


@op
def one_wrong_relu(input):
    def backward(dy):
        dy = dy * (input > 0)
        dy.flat[np.flatnonzero(dy)[-1]] *= -1
        return dy

    return np.maximum(input, 0), backward


@pytest.mark.parametrize("wrong", [half_relu, nan_relu, nearly_relu, one_wrong_relu])
def test_a_wrong_gradient_shows_in_its_row_alone(monkeypatch, rng, wrong):
    monkeypatch.setattr(F, "relu", wrong)
    monkeypatch.setattr(op_table, "examples", few(("relu", "tanh", "linear"), examples))
    rows = list(check_all(rng))
    # The name in the table is that of the function in F.
    bad = [row for row in rows if not row.error <= TOLERANCE]
    assert [row.input for row in bad] == ["input"]
    assert bad[0].name == wrong.__name__
    assert len(rows) == 5


def few(names, examples):
    """The examples of some operations, and of planted ones."""
    wanted = (*names, "half_relu", "nan_relu", "nearly_relu", "one_wrong_relu")
    return lambda rng: (e for e in examples(rng) if e.name.split()[0] in wanted)


@pytest.mark.parametrize("which", ["input", "weight", "bias"])
def test_the_input_with_the_wrong_gradient_is_named(monkeypatch, rng, which):
    right = F.linear

    @op
    def linear(input, weight, bias):
        y, backward = right.__wrapped__(input, weight, bias)

        def planted(dy):
            gradients = backward(dy, [True] * 3)
            return tuple(
                -g if name == which else g
                for name, g in zip(("input", "weight", "bias"), gradients)
            )

        return y, planted

    monkeypatch.setattr(F, "linear", linear)
    monkeypatch.setattr(op_table, "examples", few(("linear",), examples))
    assert [row.input for row in check_all(rng) if not row.error <= TOLERANCE] == [which]
