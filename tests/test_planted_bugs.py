"""The testers are tested: mistakes planted on purpose are caught, and called by their names."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import planted
import pytest
from planted import elementwise as f

from stn_numpy import GradcheckError, gradcheck, op
from stn_numpy import functional as F
from stn_numpy.gradcheck import analytic_gradients, numeric_gradients
from stn_numpy.verify import Case, Report, VerificationError, verify
from stn_numpy.verify.library import SUBJECTS


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
    "grid not converted": "grid-not-converted",
    "grid not converted, no factor": "grid-not-converted unit-factor-missing",
    "factor of the other convention": "align-corners-mixed",
    "no factor": "unit-factor-missing",
    "factor size": "unit-factor-doubled",
    "factor size / 4": "unit-factor-halved",
    "factor twice": "unit-factor-twice",
    "divided by the factor": "unit-factor-inverted",
    "factors exchanged": "unit-factor-wrong-axis",
    "factor of the width for both": "unit-factor-one-for-both",
    "factor of the height for both": "unit-factor-one-for-both",
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
    "cells over the edge skipped": "clip-before-weight",
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
    "per pixel once more": "unit-factor-twice",
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
    (
        "relu",
        "mask by dy",
        f(lambda x: np.maximum(x, 0), lambda x, y, dy: dy * (dy > 0)),
        "mask-by-wrong-sign",
    ),
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
    ("softmax", "zero", f(_softmax, lambda x, y, dy: 0 * dy), "zero-gradient cotangent-ignored"),
    ("log_softmax", "no sum", f(_log_softmax, lambda x, y, dy: dy - np.exp(y)), "sum-missing"),
    ("log_softmax", "log", f(_log_softmax, lambda x, y, dy: dy - y * _sum(dy)), "log-missing"),
    (
        "exp",
        "power rule",
        f(np.exp, lambda x, y, dy: dy * x * np.exp(x - 1)),
        "exponent-not-lowered",
    ),
    ("log", "times", f(np.log, lambda x, y, dy: dy * x), "factor-inverted"),
    ("negative", "plus", f(np.negative, lambda x, y, dy: 1 * dy), "sign"),
]
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
    *(
        Bug(against, title, function, tuple(names.split()))
        for against, title, function, names in ELEMENTWISE
    ),
]
AT_KINKS = [
    *_bugs("grid_sample", planted.sampler, CONVENTIONS),
    *_bugs("max_pool2d", planted.max_pooling, TIES),
    Bug(
        "relu",
        "1 at zero",
        f(lambda x: np.maximum(x, 0), lambda x, y, dy: dy * (x >= 0)),
        ("slope-at-zero",),
    ),
    Bug(
        "absolute",
        "1 at zero",
        f(np.abs, lambda x, y, dy: dy * np.where(x >= 0, 1, -1)),
        ("slope-at-zero",),
    ),
]


def _title(bug: Bug) -> str:
    return f"{bug.against}: {bug.title}"


@functools.cache
def verdict(bug: Bug) -> Report:
    return verify(bug.function, bug.against)


every_bug = pytest.mark.parametrize("bug", BUGS + AT_KINKS, ids=_title)


def test_there_are_enough_of_them():
    assert len(BUGS) >= 60
    number = len({_title(bug) for bug in BUGS + AT_KINKS})
    assert number == len(BUGS) + len(AT_KINKS)
    readme = Path(__file__).resolve().parents[1] / "README.md"
    assert f"| {number} of {number} |" in readme.read_text(encoding="utf-8")


@every_bug
def test_verify_refuses_it(bug):
    report = verdict(bug)
    assert not report
    with pytest.raises(VerificationError):
        report.raise_if_wrong()


@every_bug
def test_it_is_called_by_its_name(bug):
    report = verdict(bug)
    assert set(report.names) == set(bug.names), str(report)
    for finding in report.diagnosis:
        assert finding.chapter.startswith(("chapter ", "appendix "))
        assert finding.words


@pytest.mark.parametrize("bug", BUGS, ids=_title)
def test_gradcheck_refuses_it(bug):
    subject = SUBJECTS[bug.against]
    cases = subject.cases(np.random.default_rng(5))
    off_kinks = [c for c in cases if c.label not in AT_THE_KINKS and c.options.keys() <= PLAIN]
    for case in sorted(off_kinks, key=lambda c: sum(np.size(arg) for arg in c.args)):
        function, arrays = _bound(bug, case)
        try:
            gradcheck(function, arrays)
        except (GradcheckError, RuntimeError):  # RuntimeError: of another shape or dtype
            return
    # What shows only on the lattice lies outside both one-sided derivatives there.
    assert bug.against == "grid_sample"
    assert not all(_between_the_sides(bug, c) for c in cases if c.label in AT_THE_KINKS)


@pytest.mark.parametrize("bug", AT_KINKS, ids=_title)
def test_off_the_kinks_a_convention_is_no_mistake(bug):
    """Which of the derivatives at a kink to take can not be seen by differences off the kinks."""
    cases = SUBJECTS[bug.against].cases(np.random.default_rng(5))
    off_kinks = [c for c in cases if c.label not in AT_THE_KINKS]
    function, arrays = _bound(bug, min(off_kinks, key=lambda c: np.size(c.args[0])))
    assert gradcheck(function, arrays)


PLAIN = {"align_corners", "stride", "padding", "training"}  # the options that planted bugs take
AT_THE_KINKS = ("points on the lattice", "ties", "zeros among the inputs")


def _bound(bug: Bug, case: Case) -> tuple[Callable, list[np.ndarray]]:
    """The right forward with the planted backward, of its float arrays alone, for gradcheck."""
    subject = SUBJECTS[bug.against]
    names = subject.gradients_of(case)

    @op
    def function(*args, **options):
        return subject.output(Case(args, options)), bug.function(*args, **options)[1]

    def bound(*tensors):
        given = dict(zip(names, tensors))
        args = [given.get(name, arg) for name, arg in zip(subject.inputs, case.args)]
        return function(*args, **case.options)

    return bound, [subject.argument(case, name) for name in names]


def _between_the_sides(bug: Bug, case: Case) -> bool:
    function, arrays = _bound(bug, case)
    cotangent, analytic = analytic_gradients(function, arrays)
    sides = [numeric_gradients(function, arrays, cotangent, side=s) for s in ("left", "right")]
    return all(
        ((np.minimum(l, r) - 1e-6 <= a) & (a <= np.maximum(l, r) + 1e-6)).all()
        for a, l, r in zip(analytic, *sides)
    )


# No false alarm -------------------------------------------------------------------------------


def einsum_sampler(U, G, align_corners=False):
    """All weights written out, and einsum."""
    (N, C, H, W), shape = U.shape, G.shape[1:3]
    per = np.array([(n - 1) / 2 if align_corners else n / 2 for n in (W, H)])
    p = (G.reshape(N, -1, 2) + 1) * per - (0 if align_corners else 0.5)
    dx, dy = p[..., 0, None] - np.arange(W), p[..., 1, None] - np.arange(H)
    kx, ky = np.clip(1 - np.abs(dx), 0, None), np.clip(1 - np.abs(dy), 0, None)

    def slope(d):
        return ((d >= -1) & (d < 0)) * 1.0 - ((d >= 0) & (d < 1))

    def backward(dV):
        dV = dV.reshape(N, C, -1)
        dU = np.einsum("ncp,npw,nph->nchw", dV, kx, ky)
        gx = np.einsum("ncp,nchw,npw,nph->np", dV, U, slope(dx), ky) * per[0]
        gy = np.einsum("ncp,nchw,npw,nph->np", dV, U, kx, slope(dy)) * per[1]
        return dU, np.stack([gx, gy], axis=2).reshape(G.shape)

    return np.einsum("nchw,npw,nph->ncp", U, kx, ky).reshape(N, C, *shape), backward


def einsum_affine(theta, size, align_corners=False):
    _, _, H, W = size
    x, y = ((np.arange(n) * 2 + 1) / n - 1 for n in (W, H))
    if align_corners:
        x, y = np.linspace(-1, 1, W), np.linspace(-1, 1, H)
    P = np.array([[(a, b, 1) for a in x] for b in y])

    def backward(dG):
        return np.einsum("nhwr,hwk->nrk", dG, P)

    return np.einsum("nrk,hwk->nhwr", theta, P), backward


def windowed_conv(x, W, b, stride=1, padding=0):
    """Sliding windows forwards, a loop over the window's pixels backwards."""
    (sy, sx), (py, px) = (v if isinstance(v, tuple) else (v, v) for v in (stride, padding))
    X = np.pad(x, ((0, 0), (0, 0), (py, py), (px, px)))
    seen = np.lib.stride_tricks.sliding_window_view(X, W.shape[2:], axis=(2, 3))[:, :, ::sy, ::sx]

    def backward(dy):
        dX, (H, Wd) = np.zeros_like(X), dy.shape[2:]
        for i, j in reversed(list(np.ndindex(W.shape[2:]))):
            at = np.s_[:, :, i : i + sy * (H - 1) + 1 : sy, j : j + sx * (Wd - 1) + 1 : sx]
            dX[at] += np.tensordot(dy, W[:, :, i, j], axes=(1, 0)).transpose(0, 3, 1, 2)
        dW = np.einsum("nohw,nchwij->ocij", dy, seen)
        dx = dX[:, :, py : X.shape[2] - py, px : X.shape[3] - px]
        return dx, dW, dy.sum(axis=3).sum(axis=2).sum(axis=0)

    return np.einsum("nchwij,ocij->nohw", seen, W) + b.reshape(1, -1, 1, 1), backward


def linear_of_tensors(x, W, b):
    return F.add(F.matmul(x, F.transpose(W)), b)


def linear_by_einsum(x, W, b):
    def backward(dy):
        return np.einsum("no,oi->ni", dy, W), np.einsum("no,ni->oi", dy, x), np.ones(len(x)) @ dy

    return np.einsum("ni,oi->no", x, W) + b, backward


def softmax_by_jacobian(x):
    y = _softmax(x)

    def backward(dy):
        J = y[..., :, None] * (np.eye(x.shape[-1]) - y[..., None, :])
        return np.einsum("...i,...ij->...j", dy, J)

    return y, backward


def entropy_by_one_hot(x, target):
    t = np.eye(x.shape[1])[target]
    logp = x - np.logaddexp.reduce(x, axis=1)[:, None]

    def backward(dy):
        return (np.exp(logp) - t) / len(x) * dy

    return -(t * logp).sum() / len(x), backward


def batch_norm_by_parts(x, mean, var, gamma, beta, training=False):
    """Through the variance and the mean, step by step, as in the paper on batch normalisation."""
    axes = (0, *range(2, x.ndim))
    c = np.s_[(None, slice(None), *[None] * (x.ndim - 2))]
    m = x.size // x.shape[1]
    mu = x.sum(axis=axes) / m if training else mean
    s2 = ((x - mu[c]) ** 2).sum(axis=axes) / m if training else var
    inv = (s2 + 1e-5) ** -0.5
    z = (x - mu[c]) * inv[c]

    def backward(dy):
        dz = dy * gamma[c]
        dx = dz * inv[c]
        if training:
            ds2 = (dz * (x - mu[c])).sum(axis=axes) * -0.5 * inv**3
            dmu = -(dz * inv[c]).sum(axis=axes) - 2 * ds2 * (x - mu[c]).sum(axis=axes) / m
            dx = dx + ds2[c] * 2 * (x - mu[c]) / m + dmu[c] / m
        return dx, (dy * z).sum(axis=axes), dy.sum(axis=axes)

    return gamma[c] * z + beta[c], backward


def max_pool_by_argmax(x, kernel_size):
    k = kernel_size
    N, C, H, W = x.shape
    h, w = H // k, W // k
    blocks = x[:, :, : h * k, : w * k].reshape(N, C, h, k, w, k)
    blocks = blocks.transpose(0, 1, 2, 4, 3, 5).reshape(N, C, h, w, k * k)
    best = blocks.argmax(axis=-1)[..., None]

    def backward(dy):
        d = np.zeros_like(blocks)
        np.put_along_axis(d, best, dy[..., None], axis=-1)
        dx = np.zeros_like(x)
        d = d.reshape(N, C, h, w, k, k).transpose(0, 1, 2, 4, 3, 5)
        dx[:, :, : h * k, : w * k] = d.reshape(N, C, h * k, w * k)
        return dx

    return np.take_along_axis(blocks, best, axis=-1)[..., 0], backward


def avg_pool_by_repeat(x, kernel_size):
    k = kernel_size
    N, C, H, W = x.shape
    y = x.reshape(N, C, H // k, k, W // k, k).mean(axis=(3, 5))
    return y, lambda dy: np.kron(dy, np.ones((k, k))) / k**2


def transformer_of_variants(U, theta, align_corners=False):
    G, grid_backward = einsum_affine(theta, U.shape, align_corners)
    V, sample_backward = einsum_sampler(U, G, align_corners)

    def backward(dV):
        dU, dG = sample_backward(dV)
        return dU, grid_backward(dG)

    return V, backward


RIGHT = [
    ("grid_sample", einsum_sampler),
    ("grid_sample", planted.sampler()),
    ("affine_grid", einsum_affine),
    ("affine_grid", planted.affine()),
    ("spatial_transformer", transformer_of_variants),
    ("conv2d", windowed_conv),
    ("conv2d", planted.convolution()),
    ("max_pool2d", max_pool_by_argmax),
    ("max_pool2d", planted.max_pooling()),
    ("avg_pool2d", planted.average_pooling()),
    ("linear", linear_by_einsum),
    ("linear", linear_of_tensors),
    ("linear", planted.fully_connected()),
    ("softmax", softmax_by_jacobian),
    ("log_softmax", f(_log_softmax, lambda x, y, dy: dy - _softmax(x) * _sum(dy))),
    ("relu", f(lambda x: x * (x > 0), lambda x, y, dy: np.where(x > 0, dy, 0))),
    ("tanh", f(np.tanh, lambda x, y, dy: dy / np.cosh(x) ** 2)),
    ("sigmoid", f(_sigmoid, lambda x, y, dy: dy * np.exp(-x) * y**2)),
    ("cross_entropy", entropy_by_one_hot),
    ("cross_entropy", planted.entropy()),
    ("mse_loss", planted.squares()),
    ("batch_norm", batch_norm_by_parts),
    ("batch_norm", planted.normalisation()),
    ("exp", f(np.exp, lambda x, y, dy: dy * np.exp(x))),
    ("absolute", f(np.abs, lambda x, y, dy: dy * ((x > 0) * 1.0 - (x < 0)))),
]


@pytest.mark.parametrize(
    "against, function", RIGHT, ids=lambda value: getattr(value, "__name__", value)
)
def test_no_false_alarm(against, function):
    """40 times for each of 25 variants: 1,000 runs, each on all usual cases, drawn anew."""
    for seed in range(40):
        report = verify(function, against, rng=np.random.default_rng(seed))
        assert report, f"seed {seed}\n{report}"


def test_these_are_a_thousand_runs():
    assert 40 * len(RIGHT) == 1000


def test_no_false_alarm_for_a_sampler_on_images_of_any_size():
    for seed in range(30):
        rng = np.random.default_rng(seed)
        N, C, H, W, H_out, W_out = rng.integers(1, 6, 6)
        U, G = rng.standard_normal((N, C, H, W)), rng.uniform(-2, 2, (N, H_out, W_out, 2))
        aligned = bool(rng.integers(2))
        case = Case((U, G), {"align_corners": aligned})
        assert verify(einsum_sampler, "grid_sample", cases=[case], rng=rng)


def test_no_false_alarm_in_float32():
    for seed in range(20):
        rng = np.random.default_rng(seed)
        U = rng.standard_normal((2, 3, 4, 5)).astype(np.float32)
        G = rng.uniform(-1.2, 1.2, (2, 3, 3, 2)).astype(np.float32)
        raw = SUBJECTS["grid_sample"].forward.__wrapped__
        report = verify(raw, "grid_sample", cases=[(U, G)], rng=rng)
        assert report, str(report)
