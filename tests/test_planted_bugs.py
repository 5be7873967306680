"""The testers are tested: mistakes planted on purpose are caught, and called by their names."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import planted
import pytest
from planted import elementwise as f

from stn_numpy import gradcheck, op
from stn_numpy.gradcheck import analytic_gradients, numeric_gradients
from stn_numpy.verify import verify
from stn_numpy.verify.library import SUBJECTS
from stn_numpy.verify.mistakes.base import Mistake


class Bug(NamedTuple):
    against: str
    title: str
    function: Callable
    names: tuple[str, ...]  # what the diagnosis has to say, no more and no less


def _bugs(against: str, factory: Callable, table: dict[str, str]) -> list[Bug]:
    return [Bug(against, title, factory(title), tuple(n.split())) for title, n in table.items()]


def _softmax(x):
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def _log_softmax(x):
    return np.log(_softmax(x))


def _sum(v):
    return v.sum(axis=-1, keepdims=True)


def _sigmoid(x):
    return 1 / (1 + np.exp(-x))


SAMPLER = {
    "grid read as (y, x)": "xy-swapped",
    "dG stored as (dy, dx)": "xy-swapped",
    "align_corners the wrong way round": "align-corners-mixed",
    "half pixel forgotten": "half-pixel-missing",
    "factor of the other convention": "align-corners-mixed",
    "no factor": "unit-factor-missing",
    "factor size": "unit-factor-doubled",
    "factor size / 4": "unit-factor-halved",
    "factor twice": "unit-factor-twice",
    "divided by the factor": "unit-factor-inverted",
    "factors exchanged": "unit-factor-wrong-axis",
    "factor of the output": "unit-factor-output-size",
    "upper right neighbour forgotten in dU": "neighbour-missing",
    "lower left neighbour forgotten in dG": "neighbour-missing",
    "weights of opposite corners in dU": "weights-mirrored",
    "left and right weights exchanged in dU": "weights-mirrored",
    "weights exchanged in dG": "weights-mirrored",
    "slopes instead of weights in dU": "weights-slopes-exchanged",
    "values instead of slopes": "weights-slopes-exchanged",
    "slope of x taken along y": "weights-slopes-exchanged",
    "weight across the slope forgotten": "cross-weight-missing",
    "clip before weight": "clip-before-weight",
    "clipped like border": "padding-mixed",
    "points outside skipped": "inside-test-by-point",
    "far corner by ceil": "ceil-at-lattice",
    "printed Eq. (6)": "printed-eq-6",
    "printed Eq. (7)": "printed-eq-7",
    "buffered +=": "last-write",
    "buffered += of inside points": "last-write",
    "assignment corner by corner": "last-write",
    "written in a loop over the points": "last-write",
    "dU mean over the batch": "mean-instead-of-sum",
    "dU mean over the points": "mean-instead-of-sum",
    "dG mean over channels": "mean-instead-of-sum",
    "dU twice": "doubled",
    "dU minus": "sign",
    "dx minus": "sign",
    "dG minus": "sign",
    "dG minus and swapped": "sign xy-swapped",
    "dU minus and buffered": "sign last-write",
    "factors exchanged, minus": "sign unit-factor-wrong-axis",
    "channels summed too early": "channels-summed-first",
    "every point reads image 0": "first-image-only",
    "dV ignored": "cotangent-ignored",
    "dG zero": "zero-gradient",
    "dG in float32": "wrong-dtype",
}
CONVENTIONS = {  # right between the lattice lines: only one-sided differences can refuse them
    "left at the lattice": "left-derivative",
    "mean at the lattice": "mean-derivative",
    "zero at the lattice": "zero-at-lattice",
}
AFFINE = {
    "align_corners the wrong way round": "align-corners-mixed",
    "pixels instead of -1..1": "targets-in-pixels",
    "y upwards": "y-upwards",
    "x_t and y_t exchanged": "xy-swapped",
    "points column by column": "points-in-wrong-order",
    "rows exchanged": "xy-swapped",
    "no translation": "translation-missing",
    "mean over the points": "mean-instead-of-sum",
    "minus": "sign",
    "minus, rows exchanged": "sign xy-swapped",
    "reshaped": "transposed",
    "summed over the batch": "batch-summed",
    "last point only": "last-write",
    "(3, 2)": "wrong-shape transposed",
    "(2, 3) for the whole batch": "wrong-shape",
}
TRANSFORMER = {
    "no factor": "unit-factor-missing",
    "dG stored as (dy, dx)": "xy-swapped",
    "buffered +=": "last-write",
    "factors exchanged": "unit-factor-wrong-axis",
    "theta: x_t and y_t exchanged": "xy-swapped",
    "theta: no translation": "translation-missing",
    "theta: minus": "sign",
    "theta: mean over the points": "mean-instead-of-sum",
}
CONVOLUTION = {
    "kernel flipped in dx": "kernel-flip",
    "kernel transposed in dx": "transposed",
    "stride ignored": "stride-ignored",
    "windows overwrite": "last-write",
    "shifts overwrite": "last-write",
    "padding ignored in dx": "padding-ignored",
    "dW flipped": "kernel-flip",
    "dW mean over the batch": "mean-instead-of-sum",
    "dW of the last image": "last-write",
    "db mean over the places": "mean-instead-of-sum",
    "db of the first image": "first-image-only",
    "db minus": "sign",
    "db not summed over the batch": "wrong-shape not-summed",
    "dW flipped, minus": "kernel-flip sign",
}
MAX_POOLING = {
    "spread": "max-pool-spread",
    "smallest": "max-pool-smallest",
    "overwritten": "last-write",
    "stride ignored": "stride-ignored",
    "padding ignored": "padding-ignored",
    "minus": "sign",
}
TIES = {  # right where no two values are equal: there is nothing that differences could refuse
    "every tie": "max-pool-ties",
    "ties share": "max-pool-ties",
    "last tie": "max-pool-ties",
}
AVERAGE_POOLING = {
    "sum": "sum-instead-of-mean",
    "padding not counted": "padding-not-counted",
    "overwritten": "last-write",
    "first pixel": "one-pixel-only",
}
LINEAR = {
    "weight transposed": "transposed",
    "dW transposed": "transposed",
    "dW of shape (I, O)": "wrong-shape transposed",
    "dW mean": "mean-instead-of-sum",
    "db mean": "mean-instead-of-sum",
    "db of the first row": "first-image-only",
    "db not summed": "wrong-shape not-summed",
    "dW minus, mean": "mean-instead-of-sum sign",
}
NORMALISATION = {
    "statistics constant": "statistics-constant",
    "mean constant": "statistics-constant",
    "variance constant": "statistics-constant",
    "no gamma": "gamma-missing",
    "dgamma with x": "not-normalised",
}
ENTROPY = {
    "target not subtracted": "target-not-subtracted",
    "target alone": "softmax-missing",
    "with respect to softmax": "softmax-not-passed",
    "not normalised": "softmax-not-normalised",
    "not divided by N": "sum-instead-of-mean",
    "minus": "sign",
}
SQUARES = {
    "no 2": "halved",
    "divided by the batch": "mean-over-batch-only",
    "not divided": "sum-instead-of-mean",
    "target of the same sign": "sign",
}
ELEMENTWISE = [
    ("relu", "mask by dy", f(lambda x: np.maximum(x, 0), lambda x, y, dy: dy * (dy > 0)),
     "mask-by-wrong-sign"),
    ("relu", "no mask", f(lambda x: np.maximum(x, 0), lambda x, y, dy: 1 * dy), "mask-missing"),
    ("relu", "value", f(lambda x: np.maximum(x, 0), lambda x, y, dy: dy * y), "value-for-slope"),
    ("tanh", "no square", f(np.tanh, lambda x, y, dy: dy * (1 - y)), "square-missing"),
    ("tanh", "input", f(np.tanh, lambda x, y, dy: dy * (1 - x * x)), "input-for-output"),
    ("tanh", "plus", f(np.tanh, lambda x, y, dy: dy * (1 + y * y)), "sign-inside"),
    ("sigmoid", "only y", f(_sigmoid, lambda x, y, dy: dy * y), "value-for-slope"),
    ("sigmoid", "of tanh", f(_sigmoid, lambda x, y, dy: dy * (1 - y * y)), "slope-of-tanh"),
    ("sigmoid", "input", f(_sigmoid, lambda x, y, dy: dy * x * (1 - x)), "input-for-output"),
    ("softmax", "diagonal", f(_softmax, lambda x, y, dy: dy * y * (1 - y)), "off-diagonal-missing"),
    ("softmax", "no y", f(_softmax, lambda x, y, dy: dy - _sum(dy * y)), "factor-y-missing"),
    ("softmax", "plus", f(_softmax, lambda x, y, dy: y * (dy + _sum(dy * y))), "sign-inside"),
    ("softmax", "ones", f(_softmax, lambda x, y, dy: 0 * dy), "zero-gradient"),
    ("log_softmax", "no sum", f(_log_softmax, lambda x, y, dy: dy - np.exp(y)), "sum-missing"),
    ("log_softmax", "log", f(_log_softmax, lambda x, y, dy: dy - y * _sum(dy)), "log-missing"),
    ("exp", "power rule", f(np.exp, lambda x, y, dy: dy * x * np.exp(x - 1)),
     "exponent-not-lowered"),
    ("log", "times", f(np.log, lambda x, y, dy: dy * x), "factor-inverted"),
    ("negative", "plus", f(np.negative, lambda x, y, dy: 1 * dy), "sign"),
]  # fmt: skip
BUGS = [
    *_bugs("grid_sample", planted.sampler, SAMPLER),
    *_bugs("affine_grid", planted.affine, AFFINE),
    *_bugs("spatial_transformer", planted.transformer, TRANSFORMER),
    *_bugs("conv2d", planted.convolution, CONVOLUTION),
    *_bugs("max_pool2d", planted.max_pooling, MAX_POOLING),
    *_bugs("avg_pool2d", planted.average_pooling, AVERAGE_POOLING),
    *_bugs("linear", planted.fully_connected, LINEAR),
    *_bugs("batch_norm", planted.normalisation, NORMALISATION),
    *_bugs("cross_entropy", planted.entropy, ENTROPY),
    *_bugs("mse_loss", planted.squares, SQUARES),
    *(Bug(against, title, function, (names,)) for against, title, function, names in ELEMENTWISE),
]
AT_KINKS = [
    *_bugs("grid_sample", planted.sampler, CONVENTIONS),
    *_bugs("max_pool2d", planted.max_pooling, TIES),
    Bug("relu", "1 at zero", f(lambda x: np.maximum(x, 0), lambda x, y, dy: dy * (x >= 0)),
        ("slope-at-zero",)),
    Bug("absolute", "1 at zero", f(np.abs, lambda x, y, dy: dy * np.where(x >= 0, 1, -1)),
        ("slope-at-zero",)),
]  # fmt: skip


def _title(bug: Bug) -> str:
    return f"{bug.against}: {bug.title}"


@functools.cache
def _verdict(bug: Bug):
    return verify(bug.function, bug.against)


if __name__ == "__main__":
    import time
    for bug in BUGS + AT_KINKS:
        t = time.time()
        r = _verdict(bug)
        t = time.time() - t
        ok = "ok " if set(r.names) == set(bug.names) else "BAD"
        print(ok, _title(bug), r.names, bug.names if ok == "BAD" else "", f"{t*1e3:.0f} ms")
    print(len(BUGS))
