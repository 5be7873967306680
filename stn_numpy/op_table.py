"""One example of every operation, off its kinks, and the table of their gradient errors."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from stn_numpy import functional as F
from stn_numpy.autograd import Tensor
from stn_numpy.functional.grid import control_points
from stn_numpy.gradcheck import analytic_gradients, numeric_gradients

TOLERANCE = 1e-6


class Example(NamedTuple):
    """An operation with its options bound, and float64 arrays to call it with."""

    name: str
    function: Callable[..., Tensor]
    inputs: dict[str, np.ndarray]


class Row(NamedTuple):
    """The error of one gradient, relative to the largest value of the numeric one."""

    name: str
    input: str
    shape: tuple[int, ...]
    error: float


def examples(rng: np.random.Generator) -> Iterator[Example]:
    """An example of every differentiable operation; N, C, H and W all differ."""
    n = rng.standard_normal
    x, row = n((2, 3, 6, 5)), n((4, 5))
    away = x + 0.1 * np.sign(x)  # off the kink of ReLU
    apart = rng.permutation(x.size).reshape(x.shape) / 10  # no two values of a window are near
    theta = np.array([[0.9, 0.3, 0.1], [-0.2, 0.8, -0.15]]) + 0.01 * n((2, 2, 3))
    homography = np.concatenate([theta.reshape(2, 6), 0.05 * n((2, 2))], axis=1)
    knots = control_points(3) + 0.1 * n((2, 9, 2))
    size = (2, 3, 4, 7)

    for op in (F.add, F.subtract, F.multiply, F.divide):
        b = n((5,)) if op is not F.divide else rng.uniform(0.5, 1.5, (5,))
        yield Example(op.__name__, op, {"a": row, "b": b})
    yield Example("power 3", lambda a: F.power(a, 3), {"a": row})
    yield Example("negative", F.negative, {"a": row})
    yield Example("exp", F.exp, {"a": row})
    yield Example("log", F.log, {"a": np.abs(row) + 0.5})
    yield Example("absolute", F.absolute, {"a": away})
    yield Example("matmul", F.matmul, {"a": n((2, 3, 4)), "b": row})
    for op in (F.sum, F.mean):
        yield Example(op.__name__, lambda a, op=op: op(a, (0, 2)), {"a": x})
    yield Example("amax", lambda a: F.amax(a, 1), {"a": apart})
    yield Example("reshape", lambda a: F.reshape(a, (5, -1)), {"a": x})
    yield Example("transpose", lambda a: F.transpose(a, (2, 0, 3, 1)), {"a": x})
    yield Example("getitem", lambda a: F.getitem(a, ([0, 1, 1], slice(1, 3))), {"a": x})
    yield Example("concat", lambda a, b: F.concat([a, b], 1), {"a": row, "b": n((4, 2))})
    yield Example("flatten", F.flatten, {"input": x})

    for op in (F.relu, F.tanh, F.sigmoid, F.softmax, F.log_softmax):
        yield Example(op.__name__, op, {"input": away})
    keep = np.random.default_rng
    yield Example("dropout", lambda x: F.dropout(x, 0.3, True, keep(1)), {"input": x})
    target = np.array([0, 4, 2, 2])
    yield Example("cross_entropy", lambda x: F.cross_entropy(x, target), {"input": row})
    yield Example("mse_loss", F.mse_loss, {"input": row, "target": n((4, 5))})
    yield Example("linear", F.linear, {"input": row, "weight": n((3, 5)), "bias": n(3)})
    weights = {"weight": n((4, 3, 3, 2)), "bias": n(4)}
    yield Example("conv2d", F.conv2d, {"input": x, **weights})
    strided = lambda x, w, b: F.conv2d(x, w, b, stride=(2, 1), padding=(1, 2))  # noqa: E731
    yield Example("conv2d stride (2, 1) padding (1, 2)", strided, {"input": x, **weights})
    yield Example("max_pool2d", lambda x: F.max_pool2d(x, 2), {"input": apart})
    overlapping = lambda x: F.max_pool2d(x, 3, 2, 1)  # noqa: E731
    yield Example("max_pool2d 3 stride 2 padding 1", overlapping, {"input": apart})
    yield Example("avg_pool2d", lambda x: F.avg_pool2d(x, 2), {"input": x})
    scale = {"weight": n(3), "bias": n(3)}
    for training in (True, False):
        running = (n(3), rng.uniform(0.5, 1.5, 3))
        yield Example(
            f"batch_norm {'training' if training else 'evaluation'}",
            lambda x, w, b, t=training, r=running: F.batch_norm(
                x, r[0].copy(), r[1].copy(), w, b, t
            ),
            {"input": x, **scale},
        )

    for corners in (False, True):
        ends = f"align_corners={corners}"
        grids = (F.affine_grid, theta), (F.projective_grid, homography), (F.tps_grid, knots)
        for op, t in grids:
            yield Example(
                f"{op.__name__} {ends}",
                lambda t, op=op, c=corners: op(t, size, c),
                {"theta": t},
            )
    yield Example("attention_matrix", F.attention_matrix, {"theta": n((2, 3))})
    for mode in ("bilinear", "nearest", "bicubic"):
        for padding in ("zeros", "border", "reflection"):
            for corners in (False, True):
                yield Example(
                    f"grid_sample {mode} {padding} align_corners={corners}",
                    lambda U, G, m=mode, p=padding, c=corners: F.grid_sample(U, G, m, p, c),
                    {"input": x, "grid": off_lattice((2, 4, 7), (6, 5), corners, rng)},
                )


def off_lattice(
    shape: tuple[int, ...], image_size: tuple[int, int], align_corners: bool, rng
) -> np.ndarray:
    """Random points (*shape, 2), normalised, some outside, none near a kink of any kernel.

    Kinks of bilinear and bicubic are at whole pixels, of nearest at half ones; the points are
    between 0.1 and 0.4 or 0.6 and 0.9 of a pixel behind a whole one.
    """
    size = np.array(image_size[::-1])  # (W, H), as points are (x, y)
    whole = rng.integers(-2, size + 1, (*shape, 2))
    pixel = whole + rng.choice([0.0, 0.5], (*shape, 2)) + rng.uniform(0.1, 0.4, (*shape, 2))
    return 2 * pixel / (size - 1) - 1 if align_corners else (2 * pixel + 1) / size - 1


def check_all(rng: np.random.Generator) -> Iterator[Row]:
    """Analytic against numeric gradients: a row for each input of each example."""
    for example in examples(rng):
        arrays = list(example.inputs.values())
        cotangent, analytic = analytic_gradients(example.function, arrays, rng)
        numeric = numeric_gradients(example.function, arrays, cotangent)
        for (name, array), a, n in zip(example.inputs.items(), analytic, numeric):
            largest = np.abs(n).max()
            error = np.abs(a - n).max() / (largest if largest > 0 else 1.0)
            yield Row(example.name, name, array.shape, float(error))
