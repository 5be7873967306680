"""The operations that a derivation can be checked against, and the usual cases of each.

Cases are small, and vary all that can be confused: no two sizes are equal (but where a mistake
needs a square to show), batches of two and of three, points outside the image, between pixels and
on them, pixels that are read often, windows that overlap, ties, both settings of align_corners.
"""

import functools

import numpy as np

from stn_numpy import checks, reference
from stn_numpy import functional as F
from stn_numpy.autograd import op
from stn_numpy.functional.grid import control_points
from stn_numpy.verify.mistakes import elementwise, grids, sampling, windows
from stn_numpy.verify.subjects import Case, Subject

Rng = np.random.Generator


def _between(rng: Rng, shape: tuple[int, ...], low, high) -> np.ndarray:
    """Random pixel coordinates (*shape, 2) from low to high, at least 0.1 off whole pixels."""
    span = np.asarray(high) - low
    whole = np.floor(rng.random((*shape, 2)) * span)
    return low + whole + rng.uniform(0.1, 0.9, (*shape, 2))


def _normalised(pixel: np.ndarray, size: tuple[int, int], align_corners: bool) -> np.ndarray:
    """Pixel coordinates (x, y) in an image of size (W, H) as normalised ones."""
    size = np.asarray(size)
    return 2 * pixel / (size - 1) - 1 if align_corners else (2 * pixel + 1) / size - 1


def _grid_sample(rng: Rng) -> list[Case]:
    cases = []
    for N, C, H, W, size_out, aligned in (
        (2, 3, 4, 5, (3, 6), False),
        (3, 2, 5, 3, (4, 2), False),
        (2, 3, 3, 6, (4, 5), True),
        (3, 1, 4, 2, (2, 3), True),
    ):
        U = rng.standard_normal((N, C, H, W))
        pixel = _between(rng, (N, *size_out), (-3, -3), (W + 2, H + 2))
        G = _normalised(pixel, (W, H), aligned)
        cases.append(Case((U, G), {"align_corners": aligned}, "points between pixels"))
    # On the lattice. The sizes are such that no rule for the pixel of g needs rounding.
    for N, C, H, W, size_out, aligned in ((2, 3, 4, 8, (3, 5), False), (2, 3, 3, 5, (2, 4), True)):
        U = rng.standard_normal((N, C, H, W))
        pixel = _between(rng, (N, *size_out), (0, 0), (W - 1, H - 1))
        pixel = np.round(pixel * 8) / 8  # short binary fractions
        whole = np.round(pixel)
        pixel = np.where(rng.random(pixel.shape) < 0.6, whole, pixel)
        G = _normalised(pixel, (W, H), aligned)
        cases.append(Case((U, G), {"align_corners": aligned}, "points on the lattice"))
    return cases


def _spatial_transformer(rng: Rng) -> list[Case]:
    cases = []
    for N, C, H, W, scale, aligned in (
        (2, 3, 4, 5, 1.0, False),
        (3, 2, 5, 3, 0.4, False),  # a close look: every pixel in sight is read several times
        (2, 2, 3, 6, 1.0, True),
    ):
        U = rng.standard_normal((N, C, H, W))
        theta = scale * np.array([[0.9, 0.4, 0.1], [-0.3, 1.1, -0.2]])
        theta = theta + 0.1 * rng.standard_normal((N, 2, 3))
        cases.append(Case((U, theta), {"align_corners": aligned}, "a turn, a stretch and a shift"))
    cases.append(Case((U, theta), {"size": (2, 2, 4, 5)}, "another size of the output"))
    # Identity and whole shifts: every point is on the lattice, as in a fresh network.
    U = rng.standard_normal((2, 3, 4, 8))
    theta = np.array([[[1, 0, 0], [0, 1, 0]], [[1, 0, 0.25], [0, 1, -0.5]]], dtype=float)
    cases.append(Case((U, theta), {}, "the identity and a shift by one pixel"))
    U = rng.standard_normal((2, 2, 4, 4))
    theta = np.array([[0.25, 0.5, 1.75], [-0.5, 0.25, 2.75]]) + rng.integers(-3, 3, (2, 2, 3)) / 16
    cases.append(Case((U, theta), {"units": "pixels"}, "theta in pixels"))
    return cases


def spatial_transformer(U, theta, size=None, align_corners=False, units="normalised"):
    """V = grid_sample(U, affine_grid(theta, size)).

    units="pixels": theta takes the pixel (x, y) of the output to the pixel of the input it is read
    from, both counted from 0, as in the worked example of the book.
    """
    checks.choice("spatial_transformer", "units", units, ("normalised", "pixels"))
    size = U.shape if size is None else size
    if units == "pixels":
        return _transformer_in_pixels(U, theta, size)
    return F.grid_sample(U, F.affine_grid(theta, size, align_corners), align_corners=align_corners)


@op
def _transformer_in_pixels(U, theta, size):
    def right(name, dV=None):
        return grids.wrong_transformer(frozenset(), name, dV, U, theta, size, units="pixels")

    def backward(dV):
        return right("U", dV), right("theta", dV)

    return right("output"), backward


def _points(rng: Rng) -> list[Case]:
    cases = []
    image = rng.integers(-9, 10, (4, 5)).astype(float)
    for label, low, high, count in (
        ("inside", (0, 0), (4, 3), 8),
        ("around the border", (-1, -1), (5, 4), 6),
    ):
        for x, y in _between(rng, (count,), low, high):
            cases.append(Case((image, x, y), {}, label))
    on_lattice = [(2, 1.25), (1.75, 2), (0, 1), (3, 1.5), (1.5, 0), (4, 1.5), (2, 3)]
    for x, y in np.array(on_lattice):
        cases.append(Case((image, x, y), {}, "on the lattice"))
    return cases


def _point_forward(U, x, y):
    V = reference.eq03_sample(
        np.asarray(U)[None],
        np.array([float(x)]),
        np.array([float(y)]),
        reference.eq05_bilinear_kernel,
    )
    return V[0, 0]


def _point_gradient(case: Case, dy: np.ndarray, name: str) -> np.ndarray:
    U, x, y = case.args
    at = U[None], np.array([x]), np.array([y])
    if name == "U":
        return reference.eq06_grad_U(*at)[0]
    grad = reference.eq07_grad_xs if name == "x" else reference.eq07_grad_ys
    return grad(*at)[0, 0]


POINT = Subject(
    "the bilinear sampler at one point",
    _point_forward,
    ("U", "x", "y"),
    ("U", "x", "y"),
    _points,
    grids.POINT,
    _point_gradient,
)


def _grid_generator(parameters):
    def cases(rng: Rng) -> list[Case]:
        return [
            Case(
                (parameters(rng, N), (N, 1, H, W)),
                {"align_corners": True} if aligned else {},
            )
            for N, H, W, aligned in ((2, 4, 5, False), (3, 3, 2, False), (2, 3, 6, True))
        ]

    return cases


def _conv2d(rng: Rng) -> list[Case]:
    n = rng.standard_normal
    cases = []
    for N, C, O, size, kernel, options, label in (
        (2, 3, 4, (5, 6), (3, 2), {}, ""),
        (3, 2, 2, (5, 4), (3, 3), {}, "square kernel, as many channels out as in"),
        (2, 3, 2, (6, 7), (2, 3), {"stride": (2, 3), "padding": (1, 2)}, ""),
        (2, 2, 3, (5, 5), (3, 3), {"stride": 2}, ""),
        (2, 2, 3, (4, 5), (3, 3), {"padding": 1}, ""),
    ):
        args = n((N, C, *size)), n((O, C, *kernel)), n(O)
        cases.append(Case(args, options, label))
    return cases


def _pooling(rng: Rng, ties: bool) -> list[Case]:
    cases = []
    for N, C, size, kernel, options, label in (
        (2, 3, (6, 4), 2, {}, ""),
        (3, 2, (5, 6), (3, 2), {"stride": (2, 1)}, "overlapping windows"),
        (2, 3, (5, 6), (3, 2), {"stride": (1, 3), "padding": (1, 0)}, "padding"),
    ):
        x = rng.permutation(N * C * size[0] * size[1]).reshape(N, C, *size) / 10.0 - 3
        cases.append(Case((x, kernel), options, label))
    if ties:
        x = rng.integers(0, 3, (2, 3, 4, 6)).astype(float)
        cases.append(Case((x, 2), {}, "ties"))
    return cases


def _linear(rng: Rng) -> list[Case]:
    n = rng.standard_normal
    return [
        Case((n((4, 5)), n((3, 5)), n(3))),
        Case((n((2, 4)), n((4, 4)), n(4)), {}, "square weight"),
        Case((n((3, 2)), n((5, 2)), n(5))),
    ]


def _elementwise(rng: Rng, positive: bool = False, zeros: bool = False) -> list[Case]:
    cases = []
    for shape in ((3, 4), (2, 3, 4), (5, 2)):
        x = rng.standard_normal(shape)
        x = np.abs(x) + 0.5 if positive else x + 0.1 * np.sign(x)
        cases.append(Case((x,)))
    if zeros:
        x = rng.integers(-1, 2, (4, 6)).astype(float)
        cases.append(Case((x,), {}, "zeros among the inputs"))
    return cases


def _rows(rng: Rng) -> list[Case]:
    x = [Case((rng.standard_normal(shape),)) for shape in ((3, 4), (5, 3), (2, 5))]
    return [*x, Case((rng.standard_normal((3, 4)),), {"dim": 0})]


def _cross_entropy(rng: Rng) -> list[Case]:
    return [
        Case((2 * rng.standard_normal((N, K)), rng.integers(0, K, N)))
        for N, K in ((4, 5), (3, 7), (2, 3))
    ]


def _pairs(rng: Rng, offset: float = 0.0) -> list[Case]:
    n = rng.standard_normal

    def b(shape):
        return np.abs(n(shape)) + offset if offset else n(shape)

    return [
        Case((n((3, 4)), b((3, 4)))),
        Case((n((2, 3, 4)), b((4,))), {}, "broadcast"),
        Case((n((3, 1)), b((2, 3, 5))), {}, "broadcast"),
    ]


def _mse(rng: Rng) -> list[Case]:
    n = rng.standard_normal
    return [Case((n((3, 4)), n((3, 4)))), Case((n((2, 5)), n((2, 5))))]


def _batch_norm(rng: Rng) -> list[Case]:
    n = rng.standard_normal
    train = [
        Case((n((*shape[:1], 3, *shape[1:])), None, None, n(3), n(3)), {"training": True})
        for shape in ((4,), (2, 3, 2))
    ]
    constant = (n(3), rng.uniform(0.5, 1.5, 3))
    return [*train, Case((n((4, 3)), *constant, n(3), n(3)), {}, "evaluation")]


def _dropout(rng: Rng) -> list[Case]:
    return [
        Case(
            (rng.standard_normal(shape),),
            {"p": p, "training": True, "rng": np.random.default_rng(int(rng.integers(1 << 30)))},
        )
        for shape, p in (((4, 5), 0.3), ((3, 2, 4), 0.6))
    ]


def _reduction(rng: Rng, ties: bool = False) -> list[Case]:
    cases = []
    for shape, dim in (((3, 4), None), ((2, 3, 4), 1), ((4, 2, 3), (0, 2))):
        x = rng.permutation(int(np.prod(shape))).reshape(shape) / 10.0 - 1
        cases.append(Case((x,), {} if dim is None else {"dim": dim}))
    if ties:
        x = rng.integers(0, 3, (4, 5)).astype(float)
        cases.append(Case((x,), {}, "ties"))
        cases.append(Case((x,), {"dim": 1}, "ties"))
    return cases


def _matmul(rng: Rng) -> list[Case]:
    n = rng.standard_normal
    return [
        Case((n((3, 4)), n((4, 5)))),
        Case((n((3, 3)), n((3, 3))), {}, "square"),
        Case((n((2, 3, 4)), n((4, 2))), {}, "a stack of matrices"),
    ]


def _power(rng: Rng) -> list[Case]:
    return [Case((np.abs(rng.standard_normal((3, 4))) + 0.5, p)) for p in (3, 2, 0.5)]


def _reshape(rng: Rng) -> list[Case]:
    return [Case((rng.standard_normal((3, 4)), (2, 6))), Case((rng.standard_normal((2, 6)), (-1,)))]


def _transpose(rng: Rng) -> list[Case]:
    n = rng.standard_normal
    return [
        Case((n((3, 4)),)),
        Case((n((3, 3, 3)),), {"axes": (1, 2, 0)}, "three equal axes"),
        Case((n((2, 3, 4)),), {"axes": (2, 0, 1)}),
    ]


def _getitem(rng: Rng) -> list[Case]:
    n = rng.standard_normal
    return [
        Case((n((4, 3)), (slice(1, 3), 0))),
        Case((n((3, 4)), np.array([0, 2, 2, 0, 2])), {}, "rows picked more than once"),
    ]


def _concat(rng: Rng) -> list[Case]:
    n = rng.standard_normal
    return [Case((n((2, 3)), n((4, 3)))), Case((n((2, 3)), n((2, 5))), {"dim": 1})]


def _flatten(rng: Rng) -> list[Case]:
    return [Case((rng.standard_normal((2, 3, 4)),)), Case((rng.standard_normal((3, 2, 2, 2)),))]


def _attention_matrix(rng: Rng) -> list[Case]:
    return [Case((rng.standard_normal((N, 3)),)) for N in (2, 3)]


def _theta(rng: Rng, N: int) -> np.ndarray:
    return rng.standard_normal((N, 2, 3))


def _homography(rng: Rng, N: int) -> np.ndarray:
    return np.concatenate([rng.standard_normal((N, 6)), rng.uniform(-0.3, 0.3, (N, 2))], axis=1)


def _knots(rng: Rng, N: int) -> np.ndarray:
    return control_points(3) + 0.2 * rng.standard_normal((N, 9, 2))


def concat(*tensors, dim=0):
    """`F.concat` of tensors that come one by one."""
    return F.concat(list(tensors), dim)


PAPER = {"x": "input", "U": "input", "G": "grid", "W": "weight", "b": "bias"}


def _subject(forward, inputs: str, cases, family, constants: str = "", **aliases: str) -> Subject:
    """inputs: the positional arguments, of which `constants` have no gradient."""
    names = tuple(inputs.split())
    with_gradient = tuple(name for name in names if name not in constants.split())
    known = {short: name for short, name in (PAPER | aliases).items() if name in with_gradient}
    return Subject(forward.__name__, forward, names, with_gradient, cases, family, aliases=known)


def _subjects() -> list[Subject]:
    E, part = elementwise, functools.partial
    return [
        _subject(F.grid_sample, "input grid", _grid_sample, sampling.SAMPLER),
        _subject(
            spatial_transformer, "U theta", _spatial_transformer, grids.TRANSFORMER, input="U"
        ),
        _subject(F.affine_grid, "theta size", _grid_generator(_theta), grids.AFFINE_GRID, "size"),
        _subject(
            F.projective_grid, "theta size", _grid_generator(_homography), grids.PROJECTIVE, "size"
        ),
        _subject(F.tps_grid, "theta size", _grid_generator(_knots), grids.TPS, "size"),
        _subject(F.attention_matrix, "theta", _attention_matrix, grids.ATTENTION),
        _subject(F.conv2d, "input weight bias", _conv2d, windows.CONV2D),
        _subject(
            F.max_pool2d,
            "input kernel_size",
            part(_pooling, ties=True),
            windows.MAX_POOL2D,
            "kernel_size",
        ),
        _subject(
            F.avg_pool2d,
            "input kernel_size",
            part(_pooling, ties=False),
            windows.AVG_POOL2D,
            "kernel_size",
        ),
        _subject(F.linear, "input weight bias", _linear, E.LINEAR),
        _subject(
            F.batch_norm,
            "input running_mean running_var weight bias",
            _batch_norm,
            E.BATCH_NORM,
            "running_mean running_var",
            gamma="weight",
            beta="bias",
        ),
        _subject(F.dropout, "input", _dropout, E.DROPOUT),
        _subject(F.relu, "input", part(_elementwise, zeros=True), E.RELU),
        _subject(F.tanh, "input", _elementwise, E.TANH),
        _subject(F.sigmoid, "input", _elementwise, E.SIGMOID),
        _subject(F.softmax, "input", _rows, E.SOFTMAX),
        _subject(F.log_softmax, "input", _rows, E.LOG_SOFTMAX),
        _subject(F.cross_entropy, "input target", _cross_entropy, E.CROSS_ENTROPY, "target"),
        _subject(F.mse_loss, "input target", _mse, E.MSE),
        _subject(F.add, "a b", _pairs, E.PLAIN),
        _subject(F.subtract, "a b", _pairs, E.SUBTRACT),
        _subject(F.multiply, "a b", _pairs, E.MULTIPLY),
        _subject(F.divide, "a b", part(_pairs, offset=0.5), E.DIVIDE),
        _subject(F.matmul, "a b", _matmul, E.MATMUL),
        _subject(F.power, "a exponent", _power, E.POWER, "exponent"),
        _subject(F.negative, "a", _elementwise, E.PLAIN),
        _subject(F.exp, "a", _elementwise, E.EXP),
        _subject(F.log, "a", part(_elementwise, positive=True), E.LOG),
        _subject(F.absolute, "a", part(_elementwise, zeros=True), E.ABSOLUTE),
        _subject(F.sum, "a", _reduction, E.SUM),
        _subject(F.mean, "a", _reduction, E.MEAN),
        _subject(F.amax, "a", part(_reduction, ties=True), E.AMAX),
        _subject(F.reshape, "a shape", _reshape, E.PLAIN, "shape"),
        _subject(F.transpose, "a", _transpose, E.TRANSPOSE),
        _subject(F.getitem, "a index", _getitem, E.GETITEM, "index"),
        _subject(concat, "a b", _concat, E.PLAIN),
        _subject(F.flatten, "input", _flatten, E.PLAIN),
    ]


SUBJECTS = {subject.name: subject for subject in _subjects()}
