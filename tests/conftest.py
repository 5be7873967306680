"""What all tests share: random numbers that depend on the test's name and on nothing else."""

import zlib

import numpy as np
import pytest


@pytest.fixture
def rng(request):
    """A generator seeded by the test's node id: alone, in any order or beside others, the same."""
    return np.random.default_rng(zlib.crc32(request.node.nodeid.encode()))
