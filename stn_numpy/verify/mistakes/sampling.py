"""Wrong samplers: Eq. (3) and its derivatives, with one mistake or several made on purpose.

A tap is a pixel that the kernel reaches from a point. Here all weights are written out: for each
point a row of H W weights K, and K_x, K_y, their slopes along x and along y. Then

    V = U K^T        dU = dV K        dG = (per_x sum_c dV (U K_x^T), per_y sum_c dV (U K_y^T)),

and nearly every mistake is a change of K. This takes memory H W times the number of points and is
no way to write a sampler, but it is a way to write forty wrong ones.
"""

from dataclasses import dataclass

import numpy as np

from stn_numpy.functional.kernels import KERNELS as BY_NAME
from stn_numpy.functional.kernels import Nearest
from stn_numpy.verify.mistakes.base import (
    BILINEAR,
    COORDINATES,
    GRID,
    IMAGE,
    KERNELS,
    Family,
    Mistake,
    factor,
    mean_over,
    several,
)

CORNERS = {"above left": (0, 0), "above right": (0, 1), "below left": (1, 0), "below right": (1, 1)}
WRITING_ORDERS = (
    "buffered",  # dU[index] += all at once: NumPy keeps one addition for each pixel
    "corners by rows",  # dU[index] = for one corner after the other, 00 01 10 11
    "corners by columns",  # the same, 00 10 01 11
    "points",  # dU[...] = in a loop over the points
)

ALL = ("output", "input", "grid")
U, G = ("input",), ("grid",)


MISTAKES = [
    *several(
        COORDINATES,
        ALL,
        "read",
        (
            "read (y, x)",
            "xy-swapped",
            "x and y are swapped: the grid is read as (y, x), but its last axis is (x, y)",
        ),
    ),
    *several(
        GRID,
        G,
        "stored",
        (
            "stored (y, x)",
            "xy-swapped",
            "x and y are swapped: the gradient is returned as (dy, dx), but it is (dx, dy)",
        ),
    ),
    *several(
        COORDINATES,
        ALL,
        "pixels",
        (
            "align_corners",
            "align-corners-mixed",
            "align_corners is mixed up: points go to pixels by the rule of the other setting",
        ),
        (
            "half pixel",
            "half-pixel-missing",
            "half a pixel is lost: without align_corners the pixel of g is ((g + 1) size - 1) / 2",
        ),
        (
            "size - 2",
            "size-minus-two",
            "points are scaled by (size - 2) / 2: that is no rule of align_corners",
        ),
        (
            "not converted",
            "grid-not-converted",
            "the points of the grid are taken as pixels; they are normalised, and the image is "
            "read in pixels",
        ),
    ),
    *several(
        COORDINATES,
        G,
        "unit",
        (
            "unit missing",
            "unit-factor-missing",
            "the factor from pixels to normalised coordinates is missing: size / 2, or "
            "(size - 1) / 2 with align_corners",
        ),
        (
            "unit twice",
            "unit-factor-twice",
            "the factor from pixels to normalised coordinates is applied twice",
        ),
        (
            "unit inverse",
            "unit-factor-inverted",
            "the factor from pixels to normalised coordinates divides where it should multiply",
        ),
        (
            "unit of other axis",
            "unit-factor-wrong-axis",
            "width and height are exchanged in the factor from pixels to normalised coordinates",
        ),
        (
            "unit of x",
            "unit-factor-one-for-both",
            "the factor of x, made of the width, is taken for y, too, which needs the height",
        ),
        (
            "unit of y",
            "unit-factor-one-for-both",
            "the factor of y, made of the height, is taken for x, too, which needs the width",
        ),
        (
            "unit of output",
            "unit-factor-output-size",
            "the factor from pixels to normalised coordinates is made of the size of the output; "
            "it is that of the input",
        ),
        (
            "unit of other convention",
            "align-corners-mixed",
            "align_corners is mixed up in the factor of the gradient: it is size / 2 without, "
            "(size - 1) / 2 with align_corners",
        ),
    ),
    *several(
        GRID,
        G,
        "slopes",
        (
            "weights for slopes",
            "weights-slopes-exchanged",
            "a weight stands where the slope belongs: the kernel instead of its derivative",
        ),
        (
            "slope of other axis",
            "weights-slopes-exchanged",
            "weight and slope are exchanged: the slope is taken along y for dx, along x for dy",
        ),
    ),
    *several(
        IMAGE,
        U,
        "slopes",
        (
            "slopes for weights x",
            "weights-slopes-exchanged",
            "the slope along x stands where the weight belongs",
        ),
        (
            "slopes for weights y",
            "weights-slopes-exchanged",
            "the slope along y stands where the weight belongs",
        ),
        (
            "slopes for weights",
            "weights-slopes-exchanged",
            "slopes stand where the weights belong",
        ),
    ),
    *several(
        GRID,
        G,
        "one sign",
        ("sign of x", "sign", "the sign of dx is wrong, that of dy is right"),
        ("sign of y", "sign", "the sign of dy is wrong, that of dx is right"),
    ),
    *several(
        GRID,
        G,
        "cross",
        (
            "weight of other axis missing",
            "cross-weight-missing",
            "the weight of the other axis is missing: each row counts in dV/dx with its weight "
            "along y (and each column in dV/dy)",
        ),
    ),
    *several(
        BILINEAR,
        ALL,
        "mirror",
        (
            "mirrored x",
            "weights-mirrored",
            "the weights of the left and right neighbour are exchanged: the nearer weighs more",
        ),
        (
            "mirrored y",
            "weights-mirrored",
            "the weights of the upper and lower neighbour are exchanged: the nearer weighs more",
        ),
        (
            "mirrored",
            "weights-mirrored",
            "the weights of opposite neighbours are exchanged: the nearer weighs more",
        ),
    ),
    *several(
        BILINEAR,
        ALL,
        "outside",
        (
            "clip before weight",
            "clip-before-weight",
            "a point with a neighbour outside gets nothing, though others may be inside: "
            "neighbours are clipped into the image before their weights are computed, which then "
            "cancel, or such points are left out",
        ),
        (
            "clip point before weight",
            "clip-before-weight",
            "the point and its neighbours are clipped into the image before the weights are "
            "computed, which makes the weights wrong at the border",
        ),
        (
            "clip cell before weight",
            "clip-before-weight",
            "the cell of four neighbours is clipped into the image before the weights are "
            "computed, which continues the outermost cells to the outside",
        ),
        (
            "wraps around",
            "index-wraps-around",
            "neighbours outside are taken from the other side of the image, as by a negative index",
        ),
        (
            "as border",
            "padding-mixed",
            "what is outside is read from the nearest pixel inside, as with padding_mode border",
        ),
        (
            "as zeros",
            "padding-mixed",
            "what is outside counts as zero, as with padding_mode zeros",
        ),
        (
            "point test",
            "inside-test-by-point",
            "a point outside the image gets nothing at all, though some of its neighbours may be "
            "inside: the test is made for each neighbour",
        ),
    ),
    *several(
        GRID,
        G,
        "outside",
        (
            "as border, slope kept",
            "padding-mixed",
            "what is outside is read from the nearest pixel inside, as with padding_mode border, "
            "but keeps a slope",
        ),
        (
            "slope kept",
            "clip-slope-forgotten",
            "a point that was moved to the border keeps its slope there; however far it is moved, "
            "it reads the same, so the slope is zero",
        ),
    ),
    *several(
        GRID,
        G,
        "lattice",
        (
            "left",
            "left-derivative",
            "at points on the lattice this is the derivative from the left; here, as in PyTorch, "
            "it is the one from the right",
        ),
        (
            "mean",
            "mean-derivative",
            "at points on the lattice this is the mean of the left and the right derivative; "
            "here, as in PyTorch, it is the right one",
        ),
        (
            "zero",
            "zero-at-lattice",
            "at points on the lattice the slope is zero, as from sign(0); here, as in PyTorch, "
            "it is the derivative from the right",
        ),
        (
            "printed (7)",
            "printed-eq-7",
            "this is Eq. (7) as printed: on the lattice it gives the pixel's own value, which is "
            "no derivative",
        ),
    ),
    *several(
        BILINEAR,
        ALL,
        "lattice",
        (
            "ceil",
            "ceil-at-lattice",
            "the far neighbour is found by ceil: on the lattice both neighbours are the same "
            "pixel and all weights vanish; it is floor + 1",
        ),
    ),
    *several(
        IMAGE,
        U,
        "accumulate",
        (
            "printed (6)",
            "printed-eq-6",
            "this is Eq. (6) as printed, summed over n and m: every pixel gets the sum of all "
            "weights instead of its own",
        ),
        (
            "mean of hits",
            "mean-instead-of-sum",
            "a pixel that is sampled several times gets the mean of what arrives; it is the sum",
        ),
        *(
            (
                f"last write, {order}{clipped}",
                "last-write",
                "a pixel that is sampled more than once keeps only the last contribution; it "
                "gets the sum of all (in NumPy by np.add.at)",
            )
            for order in WRITING_ORDERS
            for clipped in ("", ", clipped")
        ),
    ),
    *several(
        KERNELS,
        ("output", "input"),
        "rounding",
        (
            "half to even",
            "rounding-half-to-even",
            "halves are rounded to even; Eq. (4) rounds them up",
        ),
        (
            "floor",
            "floor-for-round",
            "the nearest pixel is taken by floor(x); it is floor(x + 0.5)",
        ),
    ),
    *several(
        GRID,
        G,
        "channels",
        (
            "channels",
            "channels-summed-first",
            "channels are summed before they are multiplied: it is sum_c (dV_c U_c), not "
            "(sum_c dV_c) (sum_c U_c)",
        ),
    ),
    *several(
        GRID,
        G,
        "batch",
        (
            "first image",
            "first-image-only",
            "every point reads the first image of the batch, not its own",
        ),
    ),
    *several(
        BILINEAR,
        ALL,
        "missing",
        *(
            (
                f"without {corner}",
                "neighbour-missing",
                f"the contribution of the neighbour {corner} of the point is missing",
            )
            for corner in CORNERS
        ),
    ),
]


@dataclass
class Axis:
    """The taps of every point along one axis; arrays (N, P, T)."""

    x: np.ndarray  # (N, P), in pixels
    index: np.ndarray
    weight: np.ndarray
    slope: np.ndarray
    per_unit: np.ndarray | float  # pixels per unit of the grid
    size: int

    def dense(self, values: np.ndarray) -> np.ndarray:
        """(N, P, T) -> (N, P, size): each value at its pixel; what is outside drops out."""
        here = self.index[..., None] == np.arange(self.size)
        return (values[..., None] * here).sum(axis=2)

    def one(self, values: np.ndarray, tap: int) -> np.ndarray:
        return self.dense(values * (np.arange(values.shape[2]) == tap))


def wrong_sampler(
    made,
    name,
    dV,
    input,
    grid,
    mode="bilinear",
    padding_mode="zeros",
    align_corners=False,
    units="normalised",
):
    """`grid_sample` with the mistakes in `made`; the gradient of `name`, or the output.

    units: "normalised", or "pixels" for a grid in pixels.
    """
    (N, C, H, W), (_, H_out, W_out, _) = input.shape, grid.shape
    P = H_out * W_out
    kernel = BY_NAME[mode] if isinstance(mode, str) else mode
    points = grid.reshape(N, P, 2)
    x, y = points[..., 0], points[..., 1]
    if "read (y, x)" in made:
        x, y = y, x
    settings = (kernel, padding_mode, align_corners, units)
    other_unit = {"unit of other axis"}
    X = _axis(x, W, H, W_out, *settings, made | other_unit if "unit of y" in made else made)
    Y = _axis(y, H, W, H_out, *settings, made | other_unit if "unit of x" in made else made)
    if "mirrored x" in made or "mirrored" in made:
        X.weight = _mirrored(X.weight)
    if "mirrored y" in made or "mirrored" in made:
        Y.weight = _mirrored(Y.weight)

    images = input.reshape(N, C, H * W)
    if name == "output":
        K = _table(Y, Y.weight, X, X.weight, made)
        return (images @ K.swapaxes(1, 2)).reshape(N, C, H_out, W_out)
    dV = dV.reshape(N, C, P)
    if name == "input":
        return _grad_image(dV, X, Y, made).reshape(input.shape)
    return _grad_grid(dV, images, X, Y, made).reshape(grid.shape)


def _grad_image(dV, X: Axis, Y: Axis, made) -> np.ndarray:
    along_x = made & {"slopes for weights x", "slopes for weights"}
    along_y = made & {"slopes for weights y", "slopes for weights"}
    weight_x = X.slope if along_x else X.weight
    weight_y = Y.slope if along_y else Y.weight
    K = _table(Y, weight_y, X, weight_x, made)  # (N, P, H W)
    for order in WRITING_ORDERS:
        for clipped in ("", ", clipped"):
            if f"last write, {order}{clipped}" in made:
                return _overwritten(dV, X, weight_x, Y, weight_y, order, bool(clipped), made)
    if "printed (6)" in made:
        K = np.broadcast_to(K.sum(axis=2, keepdims=True), K.shape)
    dU = dV @ K
    if "mean of hits" in made:
        dU = dU / np.maximum((K != 0).sum(axis=1, keepdims=True), 1)
    return dU


def _grad_grid(dV, images, X: Axis, Y: Axis, made) -> np.ndarray:
    weight_x, weight_y = X.weight, Y.weight
    if "weight of other axis missing" in made:
        near = (np.arange(weight_x.shape[2]) > 0).astype(float)  # all taps but the left one
        weight_x, weight_y = (np.broadcast_to(near, w.shape) for w in (weight_x, weight_y))
    K_x = _table(Y, weight_y, X, X.slope, made)
    K_y = _table(Y, Y.slope, X, weight_x, made)
    if "weights for slopes" in made:
        K_x = K_y = _table(Y, Y.weight, X, X.weight, made)
    if "slope of other axis" in made:
        K_x, K_y = K_y, K_x
    if "first image" in made:
        images = np.broadcast_to(images[:1], images.shape)
    if "channels" in made:
        dV, images = dV.sum(axis=1, keepdims=True), images.sum(axis=1, keepdims=True)
    dx = (dV * (images @ K_x.swapaxes(1, 2))).sum(axis=1) * X.per_unit
    dy = (dV * (images @ K_y.swapaxes(1, 2))).sum(axis=1) * Y.per_unit
    if "sign of x" in made:
        dx = -dx
    if "sign of y" in made:
        dy = -dy
    if ("read (y, x)" in made) != ("stored (y, x)" in made):
        dx, dy = dy, dx
    return np.stack([dx, dy], axis=-1)


def _axis(g, size, other_size, size_out, kernel, padding_mode, align_corners, units, made) -> Axis:
    """The taps floor(x) - r .. floor(x) + r of every point: 2 r, and one that left slopes need."""
    aligned = align_corners != ("align_corners" in made)
    per_unit = (size - 1) / 2 if aligned else size / 2
    shift = 0.0 if aligned else 0.5
    if "half pixel" in made:
        shift = 0.0
    if "size - 2" in made:
        per_unit, shift = (size - 2) / 2, 0.0
    if units == "pixels":
        x, per_unit = g, 1.0
    else:
        x = (g + 1) * g.dtype.type(per_unit) - g.dtype.type(shift)
        if "not converted" in made:
            x = g
        per_unit = _unit_factor(per_unit, size, other_size, size_out, aligned, made)

    r = kernel.support
    if padding_mode == "border":  # then reading as with "border" is no mistake
        made = made - {"as border", "as border, slope kept"}
    if made & {"as border", "as border, slope kept"}:
        padding_mode = "border"
    if "as zeros" in made:
        padding_mode = "zeros"
    if padding_mode != "zeros" and r == 1:
        x, turn = _moved_inside(x, size, padding_mode, align_corners)
        if not made & {"slope kept", "as border, slope kept"}:
            per_unit = per_unit * turn
    x = np.clip(x, -r - 1 - size, size + r + size)
    first = np.floor(x)[..., None]
    index = first + np.arange(-r, r + 1)
    d = x[..., None] - index
    weight, slope = kernel.weights(d), _slopes(kernel, d, made)
    if isinstance(kernel, Nearest) and made & {"half to even", "floor"}:
        nearest = np.rint(x) if "half to even" in made else np.floor(x)
        weight = (index == nearest[..., None]).astype(x.dtype)
    if "ceil" in made:
        on_lattice = (x == np.floor(x))[..., None]
        weight, slope = np.where(on_lattice, 0, weight), np.where(on_lattice, 0, slope)
    clips = {"clip before weight", "clip point before weight", "clip cell before weight"}
    if made & clips and r == 1:
        if "clip point before weight" in made:
            x = np.clip(x, 0, size - 1)
            index = np.floor(x)[..., None] + np.arange(-1, 2)
        index = np.clip(index, 0, size - 1)
        if "clip cell before weight" in made:
            index = np.clip(first, 0, max(size - 2, 0)) + np.arange(-1, 2)
        weight = np.stack([0 * x, index[..., 2] - x, x - index[..., 1]], axis=-1)
        slope = np.broadcast_to(np.array([0, -1, 1], x.dtype), weight.shape)
    if "wraps around" in made:
        index = index % size
    if "point test" in made:
        inside = ((x >= 0) & (x <= size - 1))[..., None]
        weight, slope = weight * inside, slope * inside
    if padding_mode != "zeros" and r > 1:
        index = _looked_up(index, size, padding_mode, align_corners)
    return Axis(x, index.astype(int), weight, slope, per_unit, size)


def _unit_factor(per_unit, size, other_size, size_out, aligned, made):
    """What the gradient along an axis is multiplied by; right is per_unit itself."""

    def by_convention(n, a):
        return (n - 1) / 2 if a else n / 2

    if "unit missing" in made:
        return 1.0
    if "unit twice" in made:
        return per_unit**2
    if "unit inverse" in made:
        return 1 / per_unit if per_unit else 0.0
    if "unit of other axis" in made:
        return by_convention(other_size, aligned)
    if "unit of output" in made:
        return by_convention(size_out, aligned)
    if "unit of other convention" in made:
        return by_convention(size, not aligned)
    return per_unit


def _slopes(kernel, d, made):
    right = kernel.slopes(d)
    left = -kernel.slopes(-d)  # the kernel is even, so its slope is odd, and left becomes right
    if "left" in made:
        return left
    if "mean" in made:
        return (left + right) / 2
    if "zero" in made:
        return np.where(d == np.floor(d), 0, right)
    if "printed (7)" in made:  # m - x = -d
        return np.where(np.abs(d) >= 1, 0, np.where(d <= 0, 1, -1)).astype(d.dtype)
    return right


def _moved_inside(x, size, padding_mode, align_corners):
    """Points outside at the place they stand for, and the slope of that move: 1, -1 or 0."""
    turn = np.ones_like(x)
    if padding_mode == "reflection":
        low, span = (0.0, size - 1) if align_corners else (-0.5, size)
        if span == 0:
            return np.zeros_like(x), np.zeros_like(x)
        folds, rest = np.divmod(np.abs(x - low), span)
        odd = folds % 2 == 1
        turn = np.where(odd != (x < low), -turn, turn)
        x = low + np.where(odd, span - rest, rest)
    turn = turn * ((x > 0) & (x < size - 1))
    return np.clip(x, 0, size - 1), turn


def _looked_up(index, size, padding_mode, align_corners):
    """The pixel inside that stands for one outside."""
    if padding_mode == "reflection":
        period = 2 * (size - 1) if align_corners else 2 * size
        index = index % max(period, 1)
        index = np.minimum(index, period - index - (0 if align_corners else 1))
    return np.clip(index, 0, size - 1)


def _mirrored(weight):
    """The weights of the two neighbours, exchanged; only kernels with two have such."""
    return weight[..., [0, 2, 1]] if weight.shape[2] == 3 else weight


def _table(Y: Axis, weight_y, X: Axis, weight_x, made) -> np.ndarray:
    """One weight for each point and pixel, (N, P, H W)."""
    K = Y.dense(weight_y)[..., None] * X.dense(weight_x)[..., None, :]
    for corner, (row, column) in CORNERS.items():
        if f"without {corner}" in made and weight_x.shape[2] == 3:
            K = K - (
                Y.one(weight_y, row + 1)[..., None] * X.one(weight_x, column + 1)[..., None, :]
            )
    return K.reshape(*K.shape[:2], -1)


def _overwritten(dV, X: Axis, weight_x, Y: Axis, weight_y, order, clipped, made) -> np.ndarray:
    """dU by writing where adding is due, in the order of somebody's loops.

    clipped: neighbours outside are clipped into the image and written there with weight 0; else
    they are left out.
    """
    N, C, P = dV.shape
    dU = np.zeros((N, C, Y.size, X.size), dV.dtype)
    if weight_x.shape[2] != 3:
        return dU
    corners = [
        corner for name, corner in CORNERS.items() if f"without {name}" not in made
    ]  # 00 01 10 11
    if order == "corners by columns":
        corners.sort(key=lambda corner: corner[::-1])

    def neighbours(corner):
        rows, columns = Y.index[..., 1 + corner[0]], X.index[..., 1 + corner[1]]
        inside = (rows >= 0) & (rows < Y.size) & (columns >= 0) & (columns < X.size)
        weights = weight_y[..., 1 + corner[0]] * weight_x[..., 1 + corner[1]] * inside
        if clipped:
            rows, columns = np.clip(rows, 0, Y.size - 1), np.clip(columns, 0, X.size - 1)
            inside = np.ones_like(inside)
        return rows, columns, weights, inside

    written = [neighbours(corner) for corner in corners]
    for n in range(N):
        if order == "points":
            for p in range(P):
                for rows, columns, weights, inside in written:
                    if inside[n, p]:
                        dU[n, :, rows[n, p], columns[n, p]] = dV[n, :, p] * weights[n, p]
            continue
        for rows, columns, weights, inside in written:
            k = inside[n]
            values = dV[n][:, k] * weights[n, k]
            if order == "buffered":
                dU[n][:, rows[n, k], columns[n, k]] += values
            else:
                dU[n][:, rows[n, k], columns[n, k]] = values
    return dU


def sampler_factors(name, input, grid, *_, units="normalised", **__) -> list[Mistake]:
    N, C = input.shape[:2]
    P = grid.shape[1] * grid.shape[2]
    if name == "grid":
        found = [
            mean_over("the channels", C, GRID),
            mean_over("the batch", N, GRID),
            mean_over("the points", P, GRID),
        ]
        if units == "normalised":
            found += [
                factor(
                    2,
                    "unit-factor-doubled",
                    "the factor from pixels to normalised coordinates "
                    "is twice too large: it is size / 2, not size (or (size - 1) / 2)",
                    COORDINATES,
                    key="doubled",
                ),
                factor(
                    0.5,
                    "unit-factor-halved",
                    "the factor from pixels to normalised "
                    "coordinates is twice too small: it is size / 2 (or (size - 1) / 2)",
                    COORDINATES,
                    key="halved",
                ),
            ]
        return found
    return [
        mean_over("the points", P, IMAGE),
        mean_over("the batch", N, IMAGE),
        mean_over("the channels", C, IMAGE),
        mean_over("batch and points", N * P, IMAGE),
    ]


def sampler_masks(
    name,
    input,
    grid,
    mode="bilinear",
    padding_mode="zeros",
    align_corners=False,
    units="normalised",
):
    """Special pixels of the image, special points of the grid."""
    N, _, H, W = input.shape
    sizes = np.array([W, H])
    x = grid if units == "pixels" else _to_pixels(grid, sizes, align_corners)
    if name == "input":
        read = wrong_sampler(
            frozenset(),
            "input",
            np.ones((N, 1, *grid.shape[1:3])),
            np.ones((N, 1, H, W)),
            grid.astype(float),
            mode,
            padding_mode,
            align_corners,
            units,
        )
        hits = np.zeros((N, 1, H, W))
        near = np.floor(x).astype(int).reshape(N, -1, 2)
        for n in range(N):
            for dx, dy in ((0, 0), (1, 0), (0, 1), (1, 1)):
                column, row = near[n, :, 0] + dx, near[n, :, 1] + dy
                k = (column >= 0) & (column < W) & (row >= 0) & (row < H)
                np.add.at(hits[n, 0], (row[k], column[k]), 1)
        border = np.zeros((H, W), bool)
        border[[0, -1]] = border[:, [0, -1]] = True
        masks = {
            "at pixels on the border of the image": border,
            "at pixels that are sampled more than once": hits > 1,
            "at pixels that are sampled only once": hits == 1,
            "at pixels that no point reads": (hits == 0) & (read == 0),
        }
    elif name == "grid":
        lattice = x == np.round(x)
        some_out = (x < 0) | (x > sizes - 1)
        all_out = (x <= -1) | (x >= sizes)
        either = {
            "at points on the lattice": lattice,
            "at points with neighbours outside the image": some_out,
            "at points that are all outside the image": all_out,
        }
        masks = {words: mask.any(axis=-1, keepdims=True) for words, mask in either.items()}
        masks["where that coordinate is on the lattice"] = lattice
        masks["where that coordinate is beyond the border pixels"] = some_out
        masks["at points between the lattice lines"] = ~masks["at points on the lattice"]
        masks["at points well inside the image"] = ~some_out.any(axis=-1, keepdims=True)
        masks["in the x component"] = np.array([True, False])
        masks["in the y component"] = np.array([False, True])
    else:
        return {}
    shape = input.shape if name == "input" else grid.shape
    return {words: np.broadcast_to(mask, shape) for words, mask in masks.items()}


def _to_pixels(g, size, align_corners):
    return (g + 1) * (size - 1) / 2 if align_corners else ((g + 1) * size - 1) / 2


def sampler_place(
    name,
    index,
    input,
    grid,
    mode="bilinear",
    padding_mode="zeros",
    align_corners=False,
    units="normalised",
):
    if name == "input":
        n, c, row, column = index
        return f"image {n}, channel {c}, pixel x = {column}, y = {row}"
    if name == "output":
        n, c, row, column = index
        return f"image {n}, channel {c}, output pixel x = {column}, y = {row}"
    n, row, column, component = index
    sizes = np.array([input.shape[3], input.shape[2]])
    point = grid[n, row, column]
    x, y = point if units == "pixels" else _to_pixels(point, sizes, align_corners)
    return (
        f"image {n}, the {'xy'[component]} of output pixel x = {column}, y = {row}, "
        f"which reads the input at ({x:.4g}, {y:.4g})"
    )


SAMPLER = Family(tuple(MISTAKES), wrong_sampler, sampler_factors, sampler_masks, sampler_place)
