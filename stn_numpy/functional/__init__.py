"""Every operation: ``import stn_numpy.functional as F``.

Layers and the sampler have PyTorch's names and order of arguments, as far as they go; some of the
arithmetic (`power`, `transpose` with all axes) has NumPy's.
Arguments are Tensors or arrays, results are Tensors. Each operation stands in the file of its
subject, its hand-derived backward pass under its forward.
"""

from stn_numpy.functional.activations import log_softmax, relu, sigmoid, softmax, tanh
from stn_numpy.functional.arithmetic import (
    absolute,
    add,
    amax,
    concat,
    divide,
    exp,
    flatten,
    getitem,
    log,
    matmul,
    mean,
    multiply,
    negative,
    power,
    reshape,
    subtract,
    sum,
    transpose,
)
from stn_numpy.functional.conv import conv2d
from stn_numpy.functional.dropout import dropout
from stn_numpy.functional.grid import affine_grid, attention_matrix, projective_grid, tps_grid
from stn_numpy.functional.linear import linear
from stn_numpy.functional.loss import cross_entropy, mse_loss
from stn_numpy.functional.normalization import batch_norm
from stn_numpy.functional.pooling import avg_pool2d, max_pool2d
from stn_numpy.functional.sampler import grid_sample

__all__ = [
    "absolute",
    "add",
    "affine_grid",
    "amax",
    "attention_matrix",
    "avg_pool2d",
    "batch_norm",
    "concat",
    "conv2d",
    "cross_entropy",
    "divide",
    "dropout",
    "exp",
    "flatten",
    "getitem",
    "grid_sample",
    "linear",
    "log",
    "log_softmax",
    "matmul",
    "max_pool2d",
    "mean",
    "mse_loss",
    "multiply",
    "negative",
    "power",
    "projective_grid",
    "relu",
    "reshape",
    "sigmoid",
    "softmax",
    "subtract",
    "sum",
    "tanh",
    "tps_grid",
    "transpose",
]
