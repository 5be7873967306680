"""Dropout: forget some inputs while learning."""

import numpy as np

from stn_numpy import checks
from stn_numpy.autograd import op


@op
def dropout(input, p=0.5, training=True, rng=None):
    """Set each element to 0 with probability p and divide the others by 1 - p.

    The division keeps the mean, so that nothing is left to do when training is over:
    with training=False the input comes back as it is. Any shape, float32 or float64.
    rng: a `numpy.random.Generator`, wanted where training is True and p is not 0.
    """
    x = checks.floats("dropout", "input", input)
    checks.share("dropout", "p", p)
    if not training or p == 0:
        return x, lambda dy: dy
    if not isinstance(rng, np.random.Generator):
        raise TypeError(
            f"dropout: rng is {type(rng).__name__}, want a numpy.random.Generator while training"
        )
    factor = 1 / (1 - p) if p < 1 else 0.0
    kept = (rng.random(x.shape, dtype=np.float32) >= p) * x.dtype.type(factor)

    def backward(dy):
        return dy * kept

    return x * kept, backward
