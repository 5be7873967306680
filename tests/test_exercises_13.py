"""What the judge of chapter 13 takes for right."""

import math

import pytest

from stn_numpy.exercises import ch13


@pytest.mark.parametrize(("p", "q", "z"), [(0.012, 0.007, 1.96), (0.02, 0.05, 2.39)])
def test_so_many_images_are_enough_and_one_less_is_not(p, q, z):
    n = ch13.images_needed(p, q, z)

    def apart(n):
        both = (p + q) / 2
        return abs(p - q) / math.sqrt(both * (1 - both) * (1 / n + 1 / n))

    assert isinstance(n, int) and apart(n) > z >= apart(n - 1)
