"""The gradients that exercise 04.5 shows are what such backward passes give."""

import numpy as np
import pytest

from stn_numpy import functional as F
from stn_numpy.autograd import Tensor
from stn_numpy.exercises import ch04

WRONG = {
    "missing": lambda H, W, a, _: (1, 1),
    "exchanged": lambda H, W, a, _: ch04.unit_factors(W, H, a),
    "inverted": lambda *sizes: 1 / ch04.unit_factors(*sizes),
    "doubled": lambda *sizes: 2 * ch04.unit_factors(*sizes),
    "aligned": lambda H, W, a, _: ch04.unit_factors(H, W, True),
    "output": lambda H, W, a, out: ch04.unit_factors(*out, a),
}


@pytest.fixture
def point(rng):
    """An image and a grid; dV is 0 but at one point, where the slopes in pixels are SLOPES."""
    image = np.zeros((1, 1, *ch04.SIZE_IN))
    y, x = np.indices(ch04.SIZE_IN)
    image[0, 0] = ch04.SLOPES[0] * x + ch04.SLOPES[1] * y
    grid = rng.uniform(-0.5, 0.5, (1, *ch04.SIZE_OUT, 2))
    dV = np.zeros((1, 1, *ch04.SIZE_OUT))
    dV[0, 0, 2, 3] = 1
    return dV, image, grid


def test_the_first_line_is_that_of_the_package(point):
    dV, image, grid = point
    G = Tensor(grid, requires_grad=True)
    F.grid_sample(image, G).backward(dV)
    assert np.allclose(G.grad[0, 2, 3], ch04.measured(), rtol=0, atol=1e-12)
    assert np.allclose(ch04.measured(), [7, -12])
    for axis in range(2):
        step = np.zeros_like(grid)
        step[0, 2, 3, axis] = 1e-3
        ahead, behind = (F.grid_sample(image, grid + s).data[0, 0, 2, 3] for s in (step, -step))
        assert np.isclose((ahead - behind) / 2e-3, ch04.measured()[axis], rtol=0, atol=1e-9)


@pytest.mark.parametrize("letter", "ABCDEF")
def test_a_shown_gradient_is_what_the_factor_gives(point, letter):
    program = ch04.grid_gradient(WRONG[ch04.PROGRAMS[letter]])
    assert np.allclose(program(*point)[0, 2, 3], ch04.gradients()[letter], rtol=0, atol=1e-12)


def test_no_two_factors_look_alike():
    shown = [tuple(pair.round(6)) for pair in [ch04.measured(), *ch04.gradients().values()]]
    assert len(set(shown)) == len(shown) == 7
