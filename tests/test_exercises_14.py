"""The outputs that exercise 14.1 shows are what such samplers do."""

import numpy as np
import pytest

from stn_numpy import functional as F
from stn_numpy.exercises import ch14
from stn_numpy.verify.mistakes.sampling import wrong_sampler

U = np.array([[0, 1, 2, 1], [3, 9, 5, 2], [4, 6, 8, 1], [2, 7, 3, 5]], dtype=float)
# One pixel to the right, with align_corners; short fractions, so that every point is on a pixel.
TO_THE_RIGHT = np.stack(np.meshgrid(np.arange(1.0, 5), np.arange(4.0)), axis=-1)[None]


def read(made=(), points=TO_THE_RIGHT, **options):
    mistakes = frozenset(made)
    return wrong_sampler(
        mistakes,
        "output",
        None,
        U[None, None],
        points,
        align_corners=True,
        units="pixels",
        **options,
    )[0, 0]


@pytest.mark.parametrize(
    "name, sampled",
    [
        ("border", lambda: read(padding_mode="border")),
        ("reflection", lambda: read(padding_mode="reflection")),
        ("wrapped", lambda: read({"wraps around"})),
        ("swapped", lambda: read({"read (y, x)"})),
        ("forward", lambda: read(points=TO_THE_RIGHT - np.array([2.0, 0]))),
        ("clipped", lambda: read({"clip before weight"})),
    ],
)
def test_a_shown_output_is_what_the_sampler_does(name, sampled):
    letter = next(key for key, value in ch14.SHOWN.items() if value == name)
    assert np.array_equal(ch14.outputs(U)[letter], sampled())


@pytest.mark.parametrize("mode", ["border", "reflection"])
def test_padding_modes_as_the_package_has_them(mode):
    G = TO_THE_RIGHT * 2 / 3 - 1
    V = F.grid_sample(U[None, None], G, padding_mode=mode, align_corners=True).data[0, 0]
    assert np.allclose(V, ch14.SAMPLERS[mode](U))
