"""Batch normalisation."""

import numpy as np

from stn_numpy import checks
from stn_numpy.autograd import op


@op
def batch_norm(
    input,
    running_mean,
    running_var,
    weight=None,
    bias=None,
    training=False,
    momentum=0.1,
    eps=1e-5,
):
    """gamma (x - mean) / sqrt(var + eps) + beta, for each channel.

    input x (N, C) or (N, C, H, W), float32 or float64; weight gamma and bias beta (C,) or None.
    training=True: mean and variance of the batch; running_mean and running_var (C,), arrays or
    None, are moved towards them in place by `momentum` (the variance with N - 1 below, as PyTorch).
    training=False: running_mean and running_var take their place and are constants.
    """
    x = checks.floats("batch_norm", "input", input)
    if x.ndim < 2:
        raise ValueError(f"batch_norm: input has shape {x.shape}, want (N, C) or (N, C, H, W)")
    C = x.shape[1]
    named = {
        "running_mean": running_mean,
        "running_var": running_var,
        "weight": weight,
        "bias": bias,
    }
    for name, value in named.items():
        if value is not None and checks.floats("batch_norm", name, value).shape != (C,):
            raise ValueError(f"batch_norm: {name} has shape {np.shape(value)}, want ({C},)")
    checks.same_dtype("batch_norm", input=x, **named)
    axes = (0, *range(2, x.ndim))
    count = x.size // max(C, 1)
    if training and count < 2:
        raise ValueError(
            f"batch_norm: input has shape {x.shape}, want more than one value a channel in training"
        )
    if not training and (running_mean is None or running_var is None):
        raise ValueError("batch_norm: running_mean or running_var is None, want both in evaluation")

    def per_channel(v):
        return v.reshape(1, C, *(1,) * (x.ndim - 2))

    if training:
        mean, var = x.mean(axis=axes), x.var(axis=axes)
        for running, new in ((running_mean, mean), (running_var, var * (count / (count - 1)))):
            if running is not None:
                running += (momentum * (new - running)).astype(running.dtype)
    else:
        mean, var = running_mean.copy(), running_var.copy()
    scale = 1 / np.sqrt(var + x.dtype.type(eps))
    normal = (x - per_channel(mean)) * per_channel(scale)
    gamma = np.ones(C, x.dtype) if weight is None else weight
    y = normal * per_channel(gamma)
    if bias is not None:
        y += per_channel(bias)

    def backward(dy):
        dgamma = (dy * normal).sum(axis=axes)
        dbeta = dy.sum(axis=axes)
        dx = dy
        if training:
            # Mean and variance are made from x. What they take out of x, a shift and a stretch of
            # the channel, can have no effect, so the gradient loses those two directions.
            dx = dy - per_channel(dbeta / count) - normal * per_channel(dgamma / count)
        return dx * per_channel(scale * gamma), None, None, dgamma, dbeta

    return y, backward
