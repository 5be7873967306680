"""Wrong activations, losses, layers without windows, and arithmetic.

Each is a few lines, so the mistakes of one operation stand directly over its wrong backward pass.
"""

import numpy as np

from stn_numpy.autograd import unbroadcast
from stn_numpy.verify.mistakes.base import (
    AUTOGRAD,
    Family,
    Mistake,
    factor,
    mean_over,
    several,
    sum_over,
)

INPUT = ("input",)


def _family(wrong, *groups: list[Mistake], factors=None, masks=None) -> Family:
    known = tuple(mistake for group in groups for mistake in group)
    extra = {"factors": factors} if factors else {}
    return Family(known, wrong, masks=masks or _sign_masks, **extra)


def _one_of(touches: tuple[str, ...], *rows: tuple[str, str, str]) -> list[Mistake]:
    """Mistakes of which only one is made at a time."""
    return several(AUTOGRAD, touches, "formula " + " ".join(touches), *rows)


def _sign_masks(name, *args, **options) -> dict[str, np.ndarray]:
    """Where the first argument is positive, negative, zero."""
    x = args[0]
    if name not in ("input", "a") or not isinstance(x, np.ndarray) or x.dtype.kind != "f":
        return {}
    return {
        "where the input is positive": x > 0,
        "where the input is negative": x < 0,
        "where the input is zero": x == 0,
    }


# Activations ----------------------------------------------------------------------------------


def wrong_relu(made, name, dy, input):
    if "by dy" in made:
        return dy * (dy > 0)
    if "both" in made:
        return dy * (dy > 0) * (input > 0)
    if "at zero" in made:
        return dy * (input >= 0)
    if "half at zero" in made:
        return dy * ((input > 0) + 0.5 * (input == 0))
    if "no mask" in made:
        return dy.copy()
    if "input" in made:
        return dy * np.maximum(input, 0)
    if "reversed" in made:
        return dy * (input <= 0)
    return dy * (input > 0)


RELU = _family(
    wrong_relu,
    _one_of(
        INPUT,
        (
            "by dy",
            "mask-by-wrong-sign",
            "dy is cut where dy is negative; it is the input's sign that decides",
        ),
        (
            "both",
            "mask-by-wrong-sign",
            "dy is cut where it is negative itself, and not only where the input is",
        ),
        ("at zero", "slope-at-zero", "at an input of exactly 0 the slope is 1; here it is 0"),
        (
            "half at zero",
            "slope-at-zero",
            "at an input of exactly 0 the slope is 0.5; here it is 0",
        ),
        (
            "no mask",
            "mask-missing",
            "dy passes everywhere; it passes only where the input is positive",
        ),
        (
            "input",
            "value-for-slope",
            "dy is multiplied by the output; it is multiplied by the slope, 0 or 1",
        ),
        ("reversed", "mask-reversed", "dy passes where the input is negative"),
    ),
)


def wrong_tanh(made, name, dy, input):
    y = input if "input" in made else np.tanh(input)
    if "no square" in made:
        return dy * (1 - y)
    if "plus" in made:
        return dy * (1 + y * y)
    if "value" in made:
        return dy * y
    return dy * (1 - y * y)


INPUT_FOR_OUTPUT = several(
    AUTOGRAD,
    INPUT,
    "which",
    ("input", "input-for-output", "the input stands where the output belongs"),
)
TANH = _family(
    wrong_tanh,
    INPUT_FOR_OUTPUT,
    _one_of(
        INPUT,
        ("no square", "square-missing", "the square is missing: the slope is 1 - y^2"),
        ("plus", "sign-inside", "a sign inside is wrong: the slope is 1 - y^2"),
        ("value", "value-for-slope", "the function stands where its slope belongs"),
    ),
)


def wrong_sigmoid(made, name, dy, input):
    y = input if "input" in made else 1 / (1 + np.exp(-input))
    if "plus" in made:
        return dy * y * (1 + y)
    if "no complement" in made:
        return dy * y
    if "complement" in made:
        return dy * (1 - y)
    if "tanh" in made:
        return dy * (1 - y * y)
    if "square" in made:
        return dy * y * y
    return dy * y * (1 - y)


SIGMOID = _family(
    wrong_sigmoid,
    INPUT_FOR_OUTPUT,
    _one_of(
        INPUT,
        ("plus", "sign-inside", "a sign inside is wrong: the slope is y (1 - y)"),
        ("no complement", "value-for-slope", "the factor 1 - y is missing: the slope is y (1 - y)"),
        ("complement", "factor-y-missing", "the factor y is missing: the slope is y (1 - y)"),
        ("tanh", "slope-of-tanh", "this is the slope of tanh, 1 - y^2; it is y (1 - y)"),
        ("square", "sign-inside", "this is y^2; the slope is y (1 - y)"),
    ),
)


def wrong_softmax(made, name, dy, input, dim=-1):
    axis = 0 if "first axis" in made else dim
    e = np.exp(input - input.max(axis=dim, keepdims=True))
    y = e / e.sum(axis=dim, keepdims=True)
    if "diagonal" in made:
        return dy * y * (1 - y)
    if "no sum" in made:
        return dy * y
    if "no output" in made:
        return dy - (dy * y).sum(axis=axis, keepdims=True)
    if "sum of dy" in made:
        return y * (dy - dy.sum(axis=axis, keepdims=True))
    if "plus" in made:
        return y * (dy + (dy * y).sum(axis=axis, keepdims=True))
    return y * (dy - (dy * y).sum(axis=axis, keepdims=True))


WRONG_AXIS = several(
    AUTOGRAD,
    INPUT,
    "axis",
    ("first axis", "wrong-axis", "the sum goes over the first axis; it goes over dim"),
)
SOFTMAX = _family(
    wrong_softmax,
    WRONG_AXIS,
    _one_of(
        INPUT,
        (
            "diagonal",
            "off-diagonal-missing",
            "only the diagonal y (1 - y) is used: each input "
            "also moves all other outputs of its row",
        ),
        ("no sum", "off-diagonal-missing", "the sum over the row is missing: y (dy - sum dy y)"),
        ("no output", "factor-y-missing", "the factor y in front is missing: y (dy - sum dy y)"),
        ("sum of dy", "factor-y-missing", "the sum is one of dy; it is one of dy y"),
        ("plus", "sign-inside", "a sign inside is wrong: y (dy - sum dy y)"),
    ),
)


def wrong_log_softmax(made, name, dy, input, dim=-1):
    axis = 0 if "first axis" in made else dim
    e = np.exp(input - input.max(axis=dim, keepdims=True))
    y = e / e.sum(axis=dim, keepdims=True)
    if "no sum" in made:
        return dy - y
    if "dy in place" in made:
        return dy - y * dy
    if "no softmax" in made:
        return dy - dy.sum(axis=axis, keepdims=True)
    if "output" in made:
        return dy - np.log(y) * dy.sum(axis=axis, keepdims=True)
    if "identity" in made:
        return dy.copy()
    return dy - y * dy.sum(axis=axis, keepdims=True)


LOG_SOFTMAX = _family(
    wrong_log_softmax,
    WRONG_AXIS,
    _one_of(
        INPUT,
        ("no sum", "sum-missing", "sum dy is missing: dx = dy - softmax sum dy"),
        (
            "dy in place",
            "off-diagonal-missing",
            "dy is not summed over the row: dx = dy - softmax sum dy",
        ),
        ("no softmax", "factor-y-missing", "the softmax is missing: dx = dy - softmax sum dy"),
        ("output", "log-missing", "the output, a logarithm, stands where the softmax belongs"),
        (
            "identity",
            "off-diagonal-missing",
            "the part of the normalising sum is missing: dx = dy - softmax sum dy",
        ),
    ),
)


# Losses ---------------------------------------------------------------------------------------


def wrong_cross_entropy(made, name, dy, input, target):
    e = np.exp(input - input.max(axis=1, keepdims=True))
    p = e if "not normalised" in made else e / e.sum(axis=1, keepdims=True)
    one_hot = (np.arange(input.shape[1]) == target[:, None]).astype(input.dtype)
    if "no target" in made:
        dx = p
    elif "target only" in made:
        dx = -one_hot
    elif "target row" in made:
        dx = (p - 1) * one_hot
    elif "target over p" in made:
        dx = -one_hot / p
    elif "scores" in made:
        dx = input - one_hot
    else:
        dx = p - one_hot
    return dx * (dy / len(input))


CROSS_ENTROPY = _family(
    wrong_cross_entropy,
    _one_of(
        INPUT,
        (
            "no target",
            "target-not-subtracted",
            "the target is not subtracted: the gradient is softmax - one_hot(target)",
        ),
        (
            "target only",
            "softmax-missing",
            "the softmax is missing: the gradient is softmax - one_hot(target)",
        ),
        (
            "target row",
            "only-at-target",
            "only the score of the target gets a gradient; the loss pushes all others down",
        ),
        (
            "target over p",
            "softmax-not-passed",
            "this is the gradient with respect to the softmax, "
            "-1/p at the target, not to the scores",
        ),
        ("scores", "softmax-missing", "the scores stand where their softmax belongs"),
    ),
    several(
        AUTOGRAD,
        INPUT,
        "normalisation",
        (
            "not normalised",
            "softmax-not-normalised",
            "exp(x) stands where the softmax belongs: the division by the sum is missing",
        ),
    ),
    factors=lambda name, input, target: [
        sum_over("the batch", len(input), AUTOGRAD),
        factor(
            1 / len(input), "divided-twice", "the division by the batch is made twice", AUTOGRAD
        ),
        mean_over("the classes", input.shape[1], AUTOGRAD),
    ],
)


def wrong_mse(made, name, dy, input, target):
    sign = 1 if name == "input" or "same sign" in made else -1
    count = input.size
    if "no difference" in made:
        return sign * 2 * input * (dy / count)
    if "absolute" in made:
        return sign * np.sign(input - target) * (dy / count)
    return sign * 2 * (input - target) * (dy / count)


MSE = _family(
    wrong_mse,
    several(
        AUTOGRAD,
        ("target",),
        "sign",
        ("same sign", "sign", "the target gets the gradient of the input; it gets minus that"),
    ),
    _one_of(
        ("input", "target"),
        ("no difference", "target-not-subtracted", "the target is not subtracted"),
        ("absolute", "slope-of-absolute", "this is the slope of |x - t|; it is 2 (x - t)"),
    ),
    factors=lambda name, input, target: [
        factor(0.5, "halved", "the factor 2 of the square is missing", AUTOGRAD, key="halved"),
        sum_over("all elements", input.size, AUTOGRAD),
        factor(
            input.size / len(input),
            "mean-over-batch-only",
            "the division is by the batch; the mean is over all elements",
            AUTOGRAD,
        ),
        factor(
            len(input),
            "sum-instead-of-mean",
            "the division by the batch is missing; the mean is over all elements",
            AUTOGRAD,
        ),
    ],
)


# Layers ---------------------------------------------------------------------------------------


def wrong_linear(made, name, dy, input, weight, bias=None):
    O, I = weight.shape
    rows, x = dy.reshape(-1, O), input.reshape(-1, I)
    if name == "output":
        y = input @ (weight if "not transposed" in made and O == I else weight.T)
        return y if bias is None else y + bias
    if name == "input":
        return dy @ (weight.T if "transposed" in made and O == I else weight)
    if "first row" in made:
        rows, x = rows[:1], x[:1]
    if "last row" in made:
        rows, x = rows[-1:], x[-1:]
    if name == "bias":
        return rows.sum(axis=0)
    dW = rows.T @ x
    return dW.T if "dW transposed" in made and O == I else dW


LINEAR = _family(
    wrong_linear,
    several(
        AUTOGRAD,
        ("output",),
        "forward",
        ("not transposed", "transposed", "the weight is not transposed: y = x W^T"),
    ),
    several(
        AUTOGRAD,
        INPUT,
        "weight",
        ("transposed", "transposed", "the weight is transposed: dx = dy W, as y = x W^T"),
    ),
    several(
        AUTOGRAD,
        ("weight",),
        "dW",
        ("dW transposed", "transposed", "the gradient of the weight is transposed: dW = dy^T x"),
    ),
    several(
        AUTOGRAD,
        ("weight", "bias"),
        "sum",
        ("first row", "first-image-only", "only the first row of the batch is counted"),
        ("last row", "last-write", "only the last row of the batch is kept; it is their sum"),
    ),
    factors=lambda name, input, weight, bias=None: [
        mean_over("the batch", input.size // input.shape[-1], AUTOGRAD)
    ],
)


def wrong_batch_norm(
    made,
    name,
    dy,
    input,
    running_mean,
    running_var,
    weight=None,
    bias=None,
    training=False,
    momentum=0.1,
    eps=1e-5,
):
    axes = (0, *range(2, input.ndim))
    channel = (1, -1, *(1,) * (input.ndim - 2))
    mean = (input.mean(axes) if training else running_mean).reshape(channel)
    var = (input.var(axes) if training else running_var).reshape(channel)
    count = input.size // input.shape[1]
    if "n - 1" in made and training:
        var = var * (count / (count - 1))
    scale = 1 / np.sqrt(var + (0 if "no eps" in made else eps))
    normal = (input - mean) * scale
    gamma = np.ones_like(mean) if weight is None else weight.reshape(channel)
    if name == "output":
        return normal * gamma + (0 if bias is None else bias.reshape(channel))
    if name == "bias":
        return dy.sum(axes)
    if name == "weight":
        return (dy * (input if "not normalised" in made else normal)).sum(axes)
    dx = dy
    if training:
        if not made & {"mean constant", "constants"}:
            dx = dx - dy.mean(axes).reshape(channel)
        if not made & {"variance constant", "constants"}:
            dx = dx - normal * (dy * normal).mean(axes).reshape(channel)
    return dx * scale * (1 if "no gamma" in made else gamma)


BATCH_NORM = _family(
    wrong_batch_norm,
    several(
        AUTOGRAD,
        INPUT,
        "statistics",
        (
            "mean constant",
            "statistics-constant",
            "the mean is taken to be a constant; in training it is made from the input",
        ),
        (
            "variance constant",
            "statistics-constant",
            "the variance is taken to be a constant; in training it is made from the input",
        ),
        (
            "constants",
            "statistics-constant",
            "mean and variance are taken to be constants; in training they are made from the input",
        ),
    ),
    several(
        AUTOGRAD,
        INPUT,
        "gamma",
        ("no gamma", "gamma-missing", "the factor gamma (weight) is missing"),
    ),
    several(
        AUTOGRAD,
        ("weight",),
        "normal",
        (
            "not normalised",
            "not-normalised",
            "dgamma is made with x; it is made with the normalised x",
        ),
    ),
    several(
        AUTOGRAD,
        ("output", "input", "weight"),
        "variance",
        ("n - 1", "variance-unbiased", "the variance is divided by n - 1; here it is by n"),
        ("no eps", "eps-missing", "eps is missing below the root"),
    ),
    factors=lambda name, input, *_, **__: [
        mean_over("batch and pixels", input.size // input.shape[1], AUTOGRAD),
        mean_over("the batch", len(input), AUTOGRAD),
    ],
)


def wrong_dropout(made, name, dy, input, p=0.5, training=True, rng=None):
    if not training or p == 0:
        return dy.copy()
    kept = rng.random(input.shape, dtype=np.float32) >= p
    if "all" in made:
        kept = np.ones_like(kept)
    if "dropped" in made:
        kept = ~kept
    return dy * kept / (1 if "no division" in made else 1 - p)


DROPOUT = _family(
    wrong_dropout,
    several(
        AUTOGRAD,
        INPUT,
        "mask",
        ("all", "mask-missing", "what was dropped gets a gradient too"),
        ("dropped", "mask-reversed", "what was dropped gets the gradient, what was kept gets none"),
    ),
    several(
        AUTOGRAD,
        INPUT,
        "scale",
        ("no division", "scale-missing", "the division by 1 - p is missing on the way back"),
    ),
)


# Arithmetic -----------------------------------------------------------------------------------


def wrong_subtract(made, name, dy, a, b):
    if name == "a" or "plus" in made:
        return unbroadcast(dy, a if name == "a" else b)
    return unbroadcast(-dy, b)


SUBTRACT = _family(
    wrong_subtract, _one_of(("b",), ("plus", "sign", "b gets dy; as it is subtracted, it gets -dy"))
)


def wrong_multiply(made, name, dy, a, b):
    own, other = (a, b) if name == "a" else (b, a)
    if "own factor" in made:
        return unbroadcast(dy * np.broadcast_to(own, dy.shape), own)
    if "no factor" in made:
        return unbroadcast(dy, own)
    return unbroadcast(dy * other, own)


MULTIPLY = _family(
    wrong_multiply,
    _one_of(
        ("a", "b"),
        (
            "own factor",
            "factors-exchanged",
            "each factor gets dy times itself; it gets dy times the other",
        ),
        ("no factor", "factor-missing", "the other factor is missing"),
    ),
)


def wrong_divide(made, name, dy, a, b):
    if name == "a":
        return unbroadcast(dy * b if "times b" in made else dy / b, a)
    if "no square" in made:
        return unbroadcast(-dy * a / b, b)
    if "no a" in made:
        return unbroadcast(-dy / np.square(b), b)
    if "plus" in made:
        return unbroadcast(dy * a / np.square(b), b)
    return unbroadcast(-dy * a / np.square(b), b)


DIVIDE = _family(
    wrong_divide,
    _one_of(("a",), ("times b", "factor-inverted", "dy is multiplied by b; it is divided by b")),
    _one_of(
        ("b",),
        ("no square", "square-missing", "the square is missing: db = -dy a / b^2"),
        ("no a", "factor-missing", "the numerator is missing: db = -dy a / b^2"),
    ),
)


def wrong_power(made, name, dy, a, exponent):
    if "exponent kept" in made:
        return dy * exponent * a**exponent
    if "no exponent" in made:
        return dy * a ** (exponent - 1)
    if "value" in made:
        return dy * a**exponent
    if "logarithm" in made:
        return dy * a**exponent * np.log(a)
    return dy * exponent * a ** (exponent - 1)


POWER = _family(
    wrong_power,
    _one_of(
        ("a",),
        ("exponent kept", "exponent-not-lowered", "the exponent is not lowered: n a^(n - 1)"),
        ("no exponent", "factor-missing", "the factor n is missing: n a^(n - 1)"),
        ("value", "value-for-slope", "the function stands where its slope belongs"),
        ("logarithm", "wrong-variable", "this is the derivative by the exponent, a^n log a"),
    ),
)


def wrong_exp(made, name, dy, a):
    if "input" in made:
        return dy * a
    if "lowered" in made:
        return dy * a * np.exp(a - 1)
    return dy.copy() if "no factor" in made else dy * np.exp(a)


EXP = _family(
    wrong_exp,
    _one_of(
        ("a",),
        ("input", "input-for-output", "the input stands where the output belongs"),
        (
            "lowered",
            "exponent-not-lowered",
            "the power rule does not hold for e^a: its slope is e^a itself",
        ),
        ("no factor", "factor-missing", "the slope is missing: dy e^a"),
    ),
)


def wrong_log(made, name, dy, a):
    if "times a" in made:
        return dy * a
    if "output" in made:
        return dy / np.log(a)
    if "square" in made:
        return dy / np.square(a)
    return dy / a


LOG = _family(
    wrong_log,
    _one_of(
        ("a",),
        ("times a", "factor-inverted", "dy is multiplied by a; it is divided by a"),
        ("output", "output-for-input", "the output stands where the input belongs"),
        ("square", "square-too-many", "the division is by a^2; it is by a"),
    ),
)


def wrong_absolute(made, name, dy, a):
    if "at zero" in made:
        return dy * np.where(a >= 0, 1, -1)
    if "no sign" in made:
        return dy.copy()
    if "value" in made:
        return dy * np.abs(a)
    return dy * np.sign(a)


ABSOLUTE = _family(
    wrong_absolute,
    _one_of(
        ("a",),
        ("at zero", "slope-at-zero", "at exactly 0 the slope is 1; here it is 0"),
        ("no sign", "mask-missing", "the slope is taken to be 1 everywhere; it is the sign of a"),
        ("value", "value-for-slope", "the function stands where its slope belongs"),
    ),
)


def wrong_matmul(made, name, dy, a, b):
    if name == "a":
        other = b if "b not transposed" in made and b.shape[-1] == b.shape[-2] else _T(b)
        return unbroadcast(dy @ other, a)
    other = a if "a not transposed" in made and a.shape[-1] == a.shape[-2] else _T(a)
    return unbroadcast(other @ dy, b)


def _T(matrix):
    return matrix.swapaxes(-1, -2)


MATMUL = _family(
    wrong_matmul,
    several(
        AUTOGRAD,
        ("a",),
        "order",
        ("b not transposed", "transposed", "b is not transposed: da = dy b^T"),
    ),
    several(
        AUTOGRAD,
        ("b",),
        "order",
        ("a not transposed", "transposed", "a is not transposed: db = a^T dy"),
    ),
)


def _reduced(a, dim):
    axes = tuple(range(a.ndim)) if dim is None else dim if isinstance(dim, tuple) else (dim,)
    return tuple(axis % a.ndim for axis in axes)


def wrong_mean(made, name, dy, a, dim=None, keepdims=False):
    axes = _reduced(a, dim)
    count = np.prod([a.shape[axis] for axis in axes])
    dy = dy if keepdims else np.expand_dims(dy, axes)
    return np.broadcast_to(dy / count, a.shape)


MEAN = _family(
    wrong_mean,
    factors=lambda name, a, dim=None, keepdims=False: [
        sum_over("the axes", np.prod([a.shape[axis] for axis in _reduced(a, dim)]), AUTOGRAD)
    ],
)


SUM = Family(
    factors=lambda name, a, dim=None, keepdims=False: [
        mean_over("the axes", np.prod([a.shape[axis] for axis in _reduced(a, dim)]), AUTOGRAD)
    ]
)


def wrong_amax(made, name, dy, a, dim=None, keepdims=False):
    axes = _reduced(a, dim)
    dy = dy if keepdims else np.expand_dims(dy, axes)
    largest = a == a.max(axis=axes, keepdims=True)
    if "every tie" in made:
        return dy * largest
    if "everyone" in made:
        return np.broadcast_to(dy, a.shape)
    if "first tie" in made:
        moved = np.moveaxis(largest, axes, range(-len(axes), 0))
        flat = moved.reshape(*moved.shape[: a.ndim - len(axes)], -1)
        first = flat & (flat.cumsum(axis=-1) == 1)
        largest = np.moveaxis(first.reshape(moved.shape), range(-len(axes), 0), axes)
    return dy * largest / largest.sum(axis=axes, keepdims=True)


AMAX = _family(
    wrong_amax,
    _one_of(
        ("a",),
        (
            "every tie",
            "max-ties",
            "every one of several largest gets the whole gradient; here they share it",
        ),
        (
            "first tie",
            "max-ties",
            "the first of several largest gets the gradient; here they share it",
        ),
        ("everyone", "mask-missing", "everybody gets the gradient; only the largest does"),
    ),
)


def wrong_transpose(made, name, dy, a, axes=None):
    order = tuple(range(a.ndim))[::-1] if axes is None else tuple(axes)
    moved = dy.transpose(order if "same order" in made else np.argsort(order))
    return moved.reshape(a.shape) if "reshaped" not in made else dy.reshape(a.shape)


TRANSPOSE = _family(
    wrong_transpose,
    _one_of(
        ("a",),
        (
            "same order",
            "permutation-not-inverted",
            "the axes are permuted a second time; they have to go back, by the inverse permutation",
        ),
        (
            "reshaped",
            "reshape-for-transpose",
            "a reshape stands where the axes have to be permuted back",
        ),
    ),
)


def wrong_getitem(made, name, dy, a, index):
    da = np.zeros_like(a)
    if "last write" in made:
        da[index] = dy
    else:
        np.add.at(da, index, dy)
    return da


GETITEM = _family(
    wrong_getitem,
    several(
        AUTOGRAD,
        ("a",),
        "accumulate",
        (
            "last write",
            "last-write",
            "an element that is picked more than once keeps only the "
            "last gradient; it gets the sum (np.add.at)",
        ),
    ),
)


PLAIN = Family(masks=_sign_masks)  # only the mistakes that everything invites
