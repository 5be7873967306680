"""The fully connected layer."""

from stn_numpy import checks
from stn_numpy.autograd import op


@op
def linear(input, weight, bias=None):
    """y = x W^T + b.

    input x (..., I), weight W (O, I), bias b (O,) or None -> (..., O), all of one float dtype.
    """
    x = checks.floats("linear", "input", input)
    W = checks.floats("linear", "weight", weight, "(O, I)")
    if x.ndim == 0 or x.shape[-1] != W.shape[1]:
        raise ValueError(
            f"linear: input has shape {x.shape}, want (..., {W.shape[1]}) as weight {W.shape}"
        )
    b = None if bias is None else checks.floats("linear", "bias", bias, "(O,)")
    if b is not None and b.shape != W.shape[:1]:
        raise ValueError(f"linear: bias has shape {b.shape}, want {W.shape[:1]}")
    checks.same_dtype("linear", input=x, weight=W, bias=b)

    y = x @ W.T
    if b is not None:
        y += b

    def backward(dy, needs):
        rows = dy.reshape(-1, W.shape[0])
        dx = dy @ W if needs[0] else None
        dW = rows.T @ x.reshape(-1, W.shape[1]) if needs[1] else None
        return dx, dW, rows.sum(axis=0)

    return y, backward
