"""Wrong input: ValueError or TypeError that names function, argument, what came and what is wanted.

One line a mistake, under the name of its function: the call, the error, and what its message holds,
in this order: the argument, what came, what is wanted.
"""

import numpy as np
import pytest

import stn_numpy.functional as F
from stn_numpy import Tensor
from stn_numpy.functional.kernels import Bicubic, Bilinear

V, T = ValueError, TypeError
ones = np.ones
IMAGES = ones((2, 3, 4, 5))
INTEGERS = ones((2, 3, 4, 5), np.int64)
HALF = ones((2, 3, 4, 5), np.float16)
COMPLEX = 1j * IMAGES
OBJECTS = np.full((2, 3, 4, 5), None)
WEIGHT = ones((4, 3, 2, 2))
GRID = np.zeros((2, 6, 7, 2))
SCORES = ones((4, 3))
SIZE = (2, 3, 4, 5)
RNG = np.random.default_rng(0)


def f32(*shape):
    return ones(shape, np.float32)


def target(*values):
    return np.array(values, int)


class WrongShape(Bilinear):
    """A kernel whose weights do not have the shape of the distances."""

    def weights(self, d):
        return ones(3)


def support(n):
    kernel = Bilinear()
    object.__setattr__(kernel, "support", n)
    return kernel


MISTAKES = {
    # Arithmetic
    "add": [
        (lambda: F.add(ones((2, 3)), ones((3, 2))), V, "b has shape (3, 2), want (2, 3)"),
        (lambda: Tensor(ones(3)) + ones(4), V, "b has shape (4,), want (3,)"),
        (lambda: ones(4) + Tensor(ones(3)), V, "b has shape (4,), want (3,)"),
        (lambda: F.add(OBJECTS, 1), T, "a has dtype object, want real numbers"),
        (lambda: Tensor(1.0) + "a", T, "b has dtype <U1, want real numbers"),
    ],
    "subtract": [
        (lambda: ones(4) - Tensor(ones(3)), V, "b has shape (3,), want (4,)"),
        (lambda: F.subtract(1, OBJECTS), T, "b has dtype object, want real numbers"),
    ],
    "multiply": [
        (lambda: F.multiply(ones((2, 3)), ones(2)), V, "b has shape (2,), want (2, 3)"),
        (lambda: Tensor(1.0) * None, T, "b has dtype object, want real numbers"),
    ],
    "divide": [
        (lambda: F.divide(ones((2, 3)), ones(2)), V, "b has shape (2,), want (2, 3)"),
        (lambda: F.divide(1, COMPLEX), T, "b has dtype complex128, want real numbers"),
    ],
    "power": [
        (lambda: F.power(ones(2), ones(2)), T, "exponent has shape (2,), want one number"),
        (lambda: F.power(ones(2), "2"), T, "exponent has dtype <U1, want real numbers"),
        (lambda: F.power(OBJECTS, 2), T, "a has dtype object, want real numbers"),
    ],
    "negative": [(lambda: F.negative(OBJECTS), T, "a has dtype object, want real numbers")],
    "exp": [(lambda: F.exp(OBJECTS), T, "a has dtype object, want real numbers")],
    "log": [(lambda: F.log(np.array(["a"])), T, "a has dtype <U1, want real numbers")],
    "absolute": [(lambda: F.absolute(COMPLEX), T, "a has dtype complex128, want real numbers")],
    "matmul": [
        (lambda: F.matmul(ones((2, 3)), ones((2, 3))), V, "(2, 3) (2, 3) want (..., I, J)"),
        (lambda: F.matmul(ones(3), ones((3, 2))), V, "(3,) (3, 2) want (..., I, J)"),
        (lambda: Tensor(ones((2, 3))) @ ones(3), V, "(2, 3) (3,) want (..., I, J) (..., J, K)"),
        (lambda: F.matmul(ones((2, 1, 3)), ones((5, 3, 1))), V, "(2, 1, 3) (5, 3, 1) want"),
        (lambda: F.matmul(OBJECTS, IMAGES), T, "a has dtype object, want real numbers"),
    ],
    "sum": [
        (lambda: F.sum(IMAGES, 4), V, "dim is 4, want -4 to 3"),
        (lambda: F.sum(IMAGES, (0, -4)), V, "dim is (0, -4), want no axis twice"),
        (lambda: F.sum(OBJECTS), T, "a has dtype object, want real numbers"),
    ],
    "mean": [
        (lambda: F.mean(IMAGES, -5), V, "dim is -5, want -4"),
        (lambda: F.mean(IMAGES, 1.0), T, "dim is 1.0, want integer"),
        (lambda: F.mean(ones((0, 3))), V, "a has shape (0, 3), want no empty axis"),
    ],
    "amax": [
        (lambda: F.amax(IMAGES, "x"), T, "dim is 'x', want integer"),
        (lambda: F.amax(ones((2, 0)), 1), V, "a has shape (2, 0), want no empty axis"),
    ],
    "reshape": [
        (lambda: F.reshape(IMAGES, (7, -1)), V, "shape is (7, -1), want (2, 3, 4, 5)"),
        (lambda: Tensor(IMAGES).reshape(2, 3), V, "shape is (2, 3), want (2, 3, 4, 5)"),
        (lambda: F.reshape(IMAGES, "a"), V, "shape is a, want (2, 3, 4, 5)"),
    ],
    "transpose": [
        (lambda: F.transpose(IMAGES, (0, 1)), V, "axes is (0, 1), want 4 axes"),
        (lambda: F.transpose(IMAGES, (0, 1, 2, 4)), V, "axes is 4, want -4 to 3"),
        (lambda: F.transpose(IMAGES, (0, 1, 1, 2)), V, "axes is (0, 1, 1, 2), want no axis twice"),
    ],
    "flatten": [
        (lambda: F.flatten(IMAGES, 4), V, "start_dim is 4, want -4 to 3"),
        (lambda: F.flatten(IMAGES, 0, -5), V, "end_dim is -5, want -4"),
        (lambda: F.flatten(IMAGES, 2, 1), V, "start_dim is 2, want end_dim 1"),
    ],
    "concat": [
        (lambda: F.concat([]), V, "tensors list at least one"),
        (lambda: F.concat(Tensor(IMAGES)), V, "tensors list at least one"),
        (lambda: F.concat([IMAGES, GRID], 1), V, "tensors[1] (2, 6, 7, 2), want (2, 3, 4, 5)"),
        (lambda: F.concat([IMAGES, SCORES]), V, "tensors[1] (4, 3), want (2, 3, 4, 5)"),
        (lambda: F.concat([IMAGES], 4), V, "dim is 4, want -4 to 3"),
        (lambda: F.concat([IMAGES, OBJECTS]), T, "tensors[1] has dtype object, want real numbers"),
    ],
    # Layers
    "linear": [
        (lambda: F.linear(ones((3, 5)), ones((2, 4))), V, "input has shape (3, 5), want (..., 4)"),
        (lambda: F.linear(ones((3, 4)), ones(4)), V, "weight has shape (4,), want (O, I)"),
        (lambda: F.linear(1.0, ones((2, 4))), V, "input has shape (), want (..., 4)"),
        (lambda: F.linear(ones(4), ones((2, 4)), ones(3)), V, "bias has shape (3,), want (2,)"),
        (lambda: F.linear(ones(4), ones((2, 4)), SCORES), V, "bias has shape (4, 3), want (O,)"),
        (lambda: F.linear(ones(4), f32(2, 4)), T, "weight is float32 input is float64"),
        (lambda: F.linear(ones(4), ones((2, 4)), f32(2)), T, "bias is float32 input is float64"),
        (
            lambda: F.linear(ones(4, np.int64), ones((2, 4))),
            T,
            "input has dtype int64, want float32",
        ),
        (lambda: F.linear(OBJECTS, ones((2, 5))), T, "input has dtype object, want real numbers"),
    ],
    "conv2d": [
        (lambda: F.conv2d(IMAGES[0], WEIGHT), V, "input has shape (3, 4, 5), want (N, C, H, W)"),
        (lambda: F.conv2d(IMAGES, WEIGHT[0]), V, "weight (3, 2, 2), want (O, C, kh, kw)"),
        (lambda: F.conv2d(IMAGES, WEIGHT[:, :2]), V, "weight (4, 2, 2, 2), want (O, 3, kh, kw)"),
        (lambda: F.conv2d(IMAGES, WEIGHT, ones(3)), V, "bias has shape (3,), want (4,)"),
        (lambda: F.conv2d(IMAGES, WEIGHT, SCORES), V, "bias has shape (4, 3), want (O,)"),
        (lambda: F.conv2d(IMAGES, WEIGHT, stride=0), V, "stride is 0, want at least 1"),
        (lambda: F.conv2d(IMAGES, WEIGHT, stride=(1, -1)), V, "stride is -1, want at least 1"),
        (lambda: F.conv2d(IMAGES, WEIGHT, stride=(1, 1, 1)), V, "stride is (1, 1, 1), want pair"),
        (lambda: F.conv2d(IMAGES, WEIGHT, stride=1.5), T, "stride is 1.5, want integer"),
        (lambda: F.conv2d(IMAGES, WEIGHT, stride=None), T, "stride is None, want integer"),
        (lambda: F.conv2d(IMAGES, WEIGHT, padding=-1), V, "padding is -1, want at least 0"),
        (lambda: F.conv2d(IMAGES, WEIGHT, padding="same"), V, "padding is 'same', want pair"),
        (lambda: F.conv2d(IMAGES, ones((4, 3, 5, 2))), V, "weight 5 x 2 padded input 4 x 5"),
        (lambda: F.conv2d(IMAGES, ones((4, 3, 2, 8)), None, 1, 1), V, "weight 2 x 8 padded 6 x 7"),
        (lambda: F.conv2d(IMAGES[:0], WEIGHT), V, "input has shape (0, 3, 4, 5), want no empty"),
        (lambda: F.conv2d(IMAGES[..., :0], WEIGHT), V, "input (2, 3, 4, 0), want no empty axis"),
        (lambda: F.conv2d(IMAGES, WEIGHT[:0]), V, "weight (0, 3, 2, 2), want no empty axis"),
        (lambda: F.conv2d(INTEGERS, WEIGHT), T, "input has dtype int64, want float32 float64"),
        (lambda: F.conv2d(IMAGES, f32(4, 3, 2, 2)), T, "weight is float32 input is float64"),
        (lambda: F.conv2d(IMAGES, WEIGHT, f32(4)), T, "bias is float32 input is float64"),
        (lambda: F.conv2d(OBJECTS, WEIGHT), T, "input has dtype object, want real numbers"),
    ],
    "batch_norm": [
        (lambda: F.batch_norm(ones(3), None, None), V, "input has shape (3,), want (N, C)"),
        (lambda: F.batch_norm(SCORES, ones(4), ones(3)), V, "running_mean (4,), want (3,)"),
        (lambda: F.batch_norm(SCORES, ones(3), SCORES), V, "running_var (4, 3), want (3,)"),
        (lambda: F.batch_norm(SCORES, ones(3), ones(3), ones(2)), V, "weight (2,), want (3,)"),
        (lambda: F.batch_norm(SCORES, ones(3), ones(3), None, ones(1)), V, "bias (1,), want (3,)"),
        (lambda: F.batch_norm(SCORES, None, ones(3)), V, "running_mean is None, want both"),
        (lambda: F.batch_norm(SCORES[:1], None, None, None, None, True), V, "input (1, 3), want"),
        (lambda: F.batch_norm(SCORES[:0], None, None, None, None, True), V, "input (0, 3), want"),
        (lambda: F.batch_norm(SCORES, f32(3), f32(3)), T, "running_mean is float32 is float64"),
        (lambda: F.batch_norm(INTEGERS, ones(3), ones(3)), T, "input has dtype int64, want float"),
        (lambda: F.batch_norm(OBJECTS, ones(3), ones(3)), T, "input has dtype object, want real"),
    ],
    "dropout": [
        (lambda: F.dropout(IMAGES, 1.5, rng=RNG), V, "p is 1.5, want from 0 to 1"),
        (lambda: F.dropout(IMAGES, -0.1, training=False), V, "p is -0.1, want from 0 to 1"),
        (lambda: F.dropout(IMAGES, np.nan, rng=RNG), V, "p is nan, want from 0 to 1"),
        (lambda: F.dropout(IMAGES), T, "rng is NoneType, want numpy.random.Generator"),
        (lambda: F.dropout(IMAGES, rng=3), T, "rng is int, want numpy.random.Generator"),
        (lambda: F.dropout(INTEGERS, rng=RNG), T, "input has dtype int64, want float32 float64"),
        (lambda: F.dropout(OBJECTS, rng=RNG), T, "input has dtype object, want real numbers"),
    ],
    # Losses
    "cross_entropy": [
        (lambda: F.cross_entropy(ones(3), target(1)), V, "input has shape (3,), want (N, K)"),
        (lambda: F.cross_entropy(SCORES, target(1, 2)), V, "target has shape (2,), want (4,)"),
        (lambda: F.cross_entropy(SCORES, SCORES), V, "target has shape (4, 3), want (N,)"),
        (lambda: F.cross_entropy(SCORES, target(0, 1, 2, 3)), V, "target 0 to 3, want 0 to 2"),
        (lambda: F.cross_entropy(SCORES, target(0, -1, 2, 1)), V, "target -1 to 2, want 0 to 2"),
        (lambda: F.cross_entropy(SCORES, ones(4)), T, "target has dtype float64, want integers"),
        (lambda: F.cross_entropy(SCORES, ones(4) > 0), T, "target has dtype bool, want integers"),
        (lambda: F.cross_entropy(SCORES, [None] * 4), T, "target has dtype object, want"),
        (lambda: F.cross_entropy(SCORES[:0], target()), V, "input (0, 3), want no empty axis"),
        (lambda: F.cross_entropy(ones((1, 0)), target(0)), V, "input (1, 0), want no empty axis"),
        (lambda: F.cross_entropy([[1, 2]], target(0)), T, "input has dtype int64, want float32"),
        (lambda: F.cross_entropy(SCORES, target(0, 1, 2, 0), 1.1), V, "label_smoothing is 1.1"),
        (lambda: F.cross_entropy(SCORES, target(0, 1, 2, 0), -0.1), V, "label_smoothing is -0.1"),
        (lambda: F.cross_entropy(SCORES, target(0, 1, 2, 0), "a"), V, "want a number from 0 to 1"),
    ],
    "mse_loss": [
        (lambda: F.mse_loss(SCORES, ones(3)), V, "target has shape (3,), want (4, 3)"),
        (lambda: F.mse_loss(SCORES[:0], SCORES[:0]), V, "input (0, 3), want no empty axis"),
        (lambda: F.mse_loss(SCORES, f32(4, 3)), T, "target is float32 input is float64"),
        (lambda: F.mse_loss(SCORES, SCORES > 0), T, "target has dtype bool, want float32 float64"),
        (lambda: F.mse_loss(OBJECTS, OBJECTS), T, "input has dtype object, want real numbers"),
    ],
    # The sampler
    "grid_sample": [
        (lambda: F.grid_sample(IMAGES[0], GRID), V, "input (3, 4, 5), want (N, C, H, W)"),
        (lambda: F.grid_sample(IMAGES, GRID[0]), V, "grid (6, 7, 2), want (N, H', W', 2)"),
        (lambda: F.grid_sample(IMAGES, GRID[..., :1]), V, "grid (2, 6, 7, 1), want (N, H', W', 2)"),
        (lambda: F.grid_sample(IMAGES, IMAGES), V, "grid (2, 3, 4, 5), want (N, H', W', 2) (x, y)"),
        (
            lambda: F.grid_sample(IMAGES, GRID[:1]),
            V,
            "grid (1, 6, 7, 2), want 2 input (2, 3, 4, 5)",
        ),
        (
            lambda: F.grid_sample(IMAGES[:1], GRID),
            V,
            "grid (2, 6, 7, 2), want 1 input (1, 3, 4, 5)",
        ),
        (lambda: F.grid_sample(IMAGES[:0], GRID[:0]), V, "input (0, 3, 4, 5), want no empty axis"),
        (lambda: F.grid_sample(IMAGES[:, :, :0], GRID), V, "input (2, 3, 0, 5), want no empty"),
        (lambda: F.grid_sample(IMAGES, GRID[:, :0]), V, "grid (2, 0, 7, 2), want no empty axis"),
        (
            lambda: F.grid_sample(IMAGES, GRID.astype("int64")),
            T,
            "grid has dtype int64, want float32",
        ),
        (lambda: F.grid_sample(IMAGES, f32(2, 6, 7, 2)), T, "grid is float32 input is float64"),
        (lambda: F.grid_sample(HALF, GRID), T, "grid is float64 input is float16 want one dtype"),
        (lambda: F.grid_sample(OBJECTS, GRID), T, "input has dtype object, want real numbers"),
        (lambda: F.grid_sample(COMPLEX, GRID), T, "input has dtype complex128, want real numbers"),
        (
            lambda: F.grid_sample(IMAGES, [[[[None] * 2]]] * 2),
            T,
            "grid has dtype object, want real",
        ),
        (lambda: F.grid_sample(IMAGES, GRID, "linear"), V, "mode is 'linear', want 'bilinear'"),
        (lambda: F.grid_sample(IMAGES, GRID, "linear"), V, "kernel want 'nearest' 'bicubic'"),
        (lambda: F.grid_sample(IMAGES, GRID, None), V, "mode is None, want 'bilinear'"),
        (lambda: F.grid_sample(IMAGES, GRID, Bicubic), V, "mode Bicubic want 'bilinear'"),
        (lambda: F.grid_sample(IMAGES, GRID, "nearest", "wrap"), V, "padding_mode is 'wrap', want"),
        (lambda: F.grid_sample(IMAGES, GRID, "nearest", True), V, "padding_mode is True, want"),
        (lambda: F.grid_sample(IMAGES, GRID, WrongShape()), V, "mode.weights (3,), want (6, 7, 2)"),
        (lambda: F.grid_sample(IMAGES, GRID, support(0)), V, "mode.support is 0, want at least 1"),
        (lambda: F.grid_sample(IMAGES, GRID, support(1.5)), T, "mode.support is 1.5, want integer"),
    ],
    "attention_matrix": [
        (lambda: F.attention_matrix(ones(3)), V, "theta has shape (3,), want (N, 3)"),
        (lambda: F.attention_matrix(ones((2, 4))), V, "theta has shape (2, 4), want (N, 3)"),
        (lambda: F.attention_matrix([[1, 0, 0]]), T, "theta has dtype int64, want float32 float64"),
        (lambda: F.attention_matrix([[None] * 3]), T, "theta has dtype object, want real numbers"),
    ],
    # Tensor
    "Tensor": [
        (lambda: Tensor(INTEGERS, True), T, "data has dtype int64 want float32 float64"),
        (
            lambda: F.grid_sample(Tensor(INTEGERS, True), GRID),
            T,
            "data has dtype int64 want float32",
        ),
        (lambda: Tensor(OBJECTS), T, "data has dtype object, want real numbers"),
    ],
    "backward": [
        (lambda: Tensor(IMAGES, True).backward(), V, "shape (2, 3, 4, 5) pass grad (2, 3, 4, 5)"),
        (lambda: Tensor(IMAGES, True).backward(1.0), V, "grad has shape (), want (2, 3, 4, 5)"),
        (lambda: Tensor(IMAGES, True).backward(OBJECTS), T, "grad has dtype object, want float64"),
        (lambda: Tensor(1.0).backward(), V, "requires a gradient"),
    ],
}


def pooling(f):
    return [
        (lambda: f(IMAGES[0], 2), V, "input has shape (3, 4, 5), want (N, C, H, W)"),
        (lambda: f(IMAGES, 0), V, "kernel_size is 0, want at least 1"),
        (lambda: f(IMAGES, (2, -2)), V, "kernel_size is -2, want at least 1"),
        (lambda: f(IMAGES, (2, 2, 2)), V, "kernel_size is (2, 2, 2), want pair"),
        (lambda: f(IMAGES, 2.0), T, "kernel_size is 2.0, want integer"),
        (lambda: f(IMAGES, 2, 0), V, "stride is 0, want at least 1"),
        (lambda: f(IMAGES, 2, 2, -1), V, "padding is -1, want at least 0"),
        (lambda: f(IMAGES, 3, 1, 2), V, "padding is (2, 2), want half of kernel_size (3, 3)"),
        (lambda: f(IMAGES, 5), V, "kernel_size 5 x 5 padded input 4 x 5"),
        (lambda: f(IMAGES, (2, 8), 1, (0, 1)), V, "kernel_size 2 x 8 padded input 4 x 7"),
        (lambda: f(IMAGES[:0], 2), V, "input has shape (0, 3, 4, 5), want no empty axis"),
        (lambda: f(IMAGES[:, :, :0], 2, 1, 1), V, "input (2, 3, 0, 5), want no empty axis"),
        (lambda: f(IMAGES > 0, 2), T, "input has dtype bool, want numbers"),
        (lambda: f(OBJECTS, 2), T, "input has dtype object, want real numbers"),
    ]


def activation(f):
    return [
        (lambda: f(INTEGERS), T, "input has dtype int64, want float32 float64"),
        (lambda: f(HALF), T, "input has dtype float16, want float32 float64"),
        (lambda: f(COMPLEX), T, "input has dtype complex128, want real numbers"),
        (lambda: f(OBJECTS), T, "input has dtype object, want real numbers"),
    ]


def along_an_axis(f):
    return [
        (lambda: f(IMAGES, 4), V, "dim is 4, want -4 to 3"),
        (lambda: f(IMAGES, -5), V, "dim is -5, want -4"),
        (lambda: f(IMAGES, None), T, "dim is None, want integer"),
        (lambda: f(IMAGES[..., :0]), V, "input (2, 3, 4, 0), want no empty axis"),
    ]


def grid(f, right, wanted, *wrong):
    theta, message = ones(right), f"theta has shape {right}, want"
    return [
        *[(lambda s=s: f(ones(s), SIZE), V, f"theta has shape {s}, want {wanted}") for s in wrong],
        (lambda: f(theta, (3, 1, 4, 5)), V, f"{message} 3 size"),
        (lambda: f(theta, (2, 1, 0, 5)), V, "size is 0, want at least 1"),
        (lambda: f(theta, (2, 1, 4, -5)), V, "size is -5, want at least 1"),
        (lambda: f(theta, (4, 5)), V, "size is (4, 5), want (N, C, H, W)"),
        (lambda: f(theta, 28), V, "size is 28, want (N, C, H, W)"),
        (lambda: f(theta, (2, 1, 4.0, 5)), T, "size is 4.0, want integer"),
        (lambda: f(theta[:0], SIZE), V, f"theta has shape {(0, *right[1:])}, want 2 size"),
        (lambda: f(theta.astype("int64"), SIZE), T, "theta has dtype int64, want float32 float64"),
        (lambda: f(np.full(right, None), SIZE), T, "theta has dtype object, want real numbers"),
    ]


affine = (2, 2, 3), "(N, 2, 3)", (2, 3), (2, 3, 2), (2, 2, 2), (2, 6), (2, 3, 3)
projective = (2, 8), "(N, 8)", (8,), (2, 9), (2, 3, 3)
spline = (2, 16, 2), "(N, K * K, 2)", (2, 32), (2, 15, 2), (2, 16, 3), (2, 1, 2), (2, 0, 2)

MISTAKES |= {
    "max_pool2d": pooling(F.max_pool2d),
    "avg_pool2d": [
        *pooling(F.avg_pool2d),
        (lambda: F.avg_pool2d(INTEGERS, 2), T, "input has dtype int64, want float32 float64"),
    ],
    "relu": activation(F.relu),
    "tanh": activation(F.tanh),
    "sigmoid": activation(F.sigmoid),
    "softmax": activation(F.softmax) + along_an_axis(F.softmax),
    "log_softmax": activation(F.log_softmax) + along_an_axis(F.log_softmax),
    "affine_grid": grid(F.affine_grid, *affine),
    "projective_grid": grid(F.projective_grid, *projective),
    "tps_grid": grid(F.tps_grid, *spline),
}

ROWS = [
    pytest.param(name, *mistake, id=f"{name} {i}: {mistake[2]}")
    for name, mistakes in MISTAKES.items()
    for i, mistake in enumerate(mistakes)
]


@pytest.mark.parametrize("name, call, error, wanted", ROWS)
def test_the_message_names_what_is_wrong(name, call, error, wanted):
    with pytest.raises(error) as caught:
        call()
    assert type(caught.value) is error
    message = str(caught.value)
    assert message.startswith(f"{name}: ") and "\n" not in message
    rest = message
    for part in parts(wanted):
        assert part in rest, f"{part!r} is missing, or not in its place, in: {message}"
        rest = rest[rest.index(part) + len(part) :]


def parts(wanted):
    """Words and shapes; a shape such as (2, 3) is one part."""
    found, depth = [""], 0
    for character in wanted:
        depth += (character == "(") - (character == ")")
        if character == " " and depth == 0:
            found.append("")
        else:
            found[-1] += character
    return [part.rstrip(",") for part in found]


def test_every_operation_is_there():
    assert set(F.__all__) - set(MISTAKES) == {"getitem"}
    with pytest.raises(IndexError, match="out of bounds"):  # as everywhere in Python
        Tensor(ones(3))[5]


def test_nothing_is_done_before_everything_is_checked():
    mean, var = np.zeros(3), ones(3)
    with pytest.raises(ValueError, match="batch_norm: weight"):
        F.batch_norm(IMAGES, mean, var, ones(4), None, training=True)
    assert not mean.any() and (var == 1).all()
