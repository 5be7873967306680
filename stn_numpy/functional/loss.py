"""Losses: a prediction and a target in, one number out."""

import numpy as np

from stn_numpy import checks
from stn_numpy.autograd import op


@op
def cross_entropy(input, target, label_smoothing=0.0):
    """-log softmax(input)[target], the mean over the batch.

    input (N, K): scores of K classes, float32 or float64; target (N,): integers from 0 to K - 1.
    label_smoothing: this part of the target is spread over all K classes evenly, so that no score
    has to grow without end; 0 to 1 (Szegedy et al. 2016, "Rethinking the Inception architecture").
    Raises TypeError for a target that is not of integers, ValueError for one out of range.
    """
    x = checks.floats("cross_entropy", "input", input, "(N, K)")
    target = checks.array("cross_entropy", "target", target, "(N,)")
    checks.not_empty("cross_entropy", "input", x)
    if target.dtype.kind not in "iu":
        raise TypeError(f"cross_entropy: target has dtype {target.dtype}, want integers")
    (N, K), rows = x.shape, np.arange(x.shape[0])
    if target.shape != (N,):
        raise ValueError(f"cross_entropy: target has shape {target.shape}, want ({N},)")
    if target.min() < 0 or target.max() >= K:
        raise ValueError(
            f"cross_entropy: target holds {target.min()} to {target.max()}, want 0 to {K - 1}"
        )

    checks.share("cross_entropy", "label_smoothing", label_smoothing)

    shifted = x - x.max(axis=1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    loss = (label_smoothing - 1) * log_p[rows, target].mean()
    if label_smoothing:
        loss -= label_smoothing * log_p.mean()

    def backward(dy):
        dx = np.exp(log_p) - label_smoothing / K
        dx[rows, target] -= 1 - label_smoothing  # softmax - target: pulls one up, pushes all down
        return dx * (dy / N), None

    return loss, backward


@op
def mse_loss(input, target):
    """The mean of (input - target)^2 over all elements; both of one shape and float dtype."""
    x = checks.floats("mse_loss", "input", input)
    t = checks.floats("mse_loss", "target", target)
    if x.shape != t.shape:
        raise ValueError(f"mse_loss: target has shape {t.shape}, want that of input, {x.shape}")
    checks.not_empty("mse_loss", "input", x)
    checks.same_dtype("mse_loss", input=x, target=t)
    difference = x - t

    def backward(dy):
        dx = difference * (2 * dy / x.size)
        return dx, -dx

    return np.square(difference).mean(), backward
