"""Wrong grid generators, and the wrong spatial transformers that they and wrong samplers make."""

import math

import numpy as np

from stn_numpy.functional.grid import tps_basis
from stn_numpy.verify.mistakes.base import (
    AFFINE,
    COORDINATES,
    THETA,
    Family,
    Mistake,
    mean_over,
    several,
)
from stn_numpy.verify.mistakes.sampling import MISTAKES as SAMPLER_MISTAKES
from stn_numpy.verify.mistakes.sampling import sampler_factors, sampler_masks, wrong_sampler

BOTH = ("output", "theta")
ONLY = ("theta",)

TARGETS = [
    *several(
        AFFINE,
        BOTH,
        "target order",
        (
            "columns swapped",
            "xy-swapped",
            "x_t and y_t are swapped: the first two columns of theta belong to x_t and y_t",
        ),
        (
            "points in columns",
            "points-in-wrong-order",
            "the points of the output are taken column by column; they go row by row",
        ),
        (
            "height and width",
            "height-width-swapped",
            "height and width of the output are exchanged",
        ),
    ),
    *several(
        COORDINATES,
        BOTH,
        "target unit",
        (
            "target align_corners",
            "align-corners-mixed",
            "align_corners is mixed up in the points of the output",
        ),
        (
            "target pixels",
            "targets-in-pixels",
            "the points of the output are in pixels, 0, 1, 2 ..., where they should be normalised",
        ),
    ),
    *several(
        AFFINE,
        BOTH,
        "target direction",
        ("y up", "y-upwards", "y_t points upwards: here y grows downwards, as rows are counted"),
    ),
]
AFFINE_MISTAKES = [
    *TARGETS,
    *several(
        AFFINE,
        BOTH,
        "rows",
        (
            "rows swapped",
            "xy-swapped",
            "x and y are swapped: the first row of theta makes x_s, the second y_s",
        ),
    ),
    *several(
        THETA,
        ONLY,
        "columns",
        (
            "no ones",
            "translation-missing",
            "the last column, the translation, gets nothing: its x_t, y_t is the 1 that stands "
            "below them",
        ),
    ),
    *several(
        COORDINATES,
        ONLY,
        "unit",
        (
            "per pixel",
            "unit-factor-twice",
            "the factor from pixels to normalised coordinates is applied once more; the gradient "
            "of the grid has it already",
        ),
    ),
    *several(
        THETA,
        ONLY,
        "layout",
        (
            "theta reshaped",
            "transposed",
            "theta is transposed: the (3, 2) numbers of sum (x_t, y_t, 1)^T (dx, dy) are put into "
            "(2, 3) by reshape; they need a transpose",
        ),
    ),
    *several(
        THETA,
        ONLY,
        "batch",
        (
            "batch summed",
            "batch-summed",
            "every theta gets the sum over the batch; each image has a theta of its own",
        ),
    ),
    *several(
        THETA,
        ONLY,
        "sum",
        (
            "last point",
            "last-write",
            "theta keeps only what the last point sends; it gets the sum over all points",
        ),
    ),
]


def targets(made, H, W, align_corners, units="normalised") -> np.ndarray:
    """The points of the output, (3, H W): x_t, y_t, 1."""
    if "height and width" in made:
        H, W = W, H
    aligned = align_corners != ("target align_corners" in made)

    def centres(n):
        pixel = np.arange(n, dtype=float)
        if units == "pixels" or "target pixels" in made:
            return pixel
        if aligned:
            return 2 * pixel / (n - 1) - 1 if n > 1 else 0 * pixel
        return (2 * pixel + 1) / n - 1

    y, x = np.meshgrid(centres(H), centres(W), indexing="ij")
    if "points in columns" in made:
        x, y = x.T, y.T
    if "y up" in made:
        y = -y
    if "columns swapped" in made:
        x, y = y, x
    return np.stack([x.ravel(), y.ravel(), np.ones(H * W)])


def wrong_affine(made, name, dG, theta, size, align_corners=False, units="normalised"):
    """`affine_grid` with the mistakes in `made`."""
    N, H, W = len(theta), size[2], size[3]
    P = targets(made, H, W, align_corners, units).astype(theta.dtype)
    if name == "output":
        A = theta[:, ::-1] if "rows swapped" in made else theta
        return (A @ P).swapaxes(1, 2).reshape(N, H, W, 2)
    dG = dG.reshape(N, H * W, 2)
    if "last point" in made:
        dG, P = dG[:, -1:], P[:, -1:]
    dtheta = dG.swapaxes(1, 2) @ P.T
    if "rows swapped" in made:
        dtheta = dtheta[:, ::-1]
    if "no ones" in made:
        dtheta = dtheta * np.array([1, 1, 0])
    if "per pixel" in made and units == "normalised":
        dtheta = dtheta * [[(n - 1) / 2 if align_corners else n / 2] for n in (W, H)]
    if "theta reshaped" in made:
        dtheta = dtheta.swapaxes(1, 2).reshape(N, 2, 3)
    if "batch summed" in made:
        dtheta = np.broadcast_to(dtheta.sum(axis=0), dtheta.shape)
    return dtheta


def grid_factors(name, theta, size, *_, **__) -> list[Mistake]:
    return [
        mean_over("the points", size[2] * size[3], THETA),
        mean_over("the batch", len(theta), THETA),
    ]


def affine_masks(name, theta, *_, **__) -> dict[str, np.ndarray]:
    if name != "theta" or theta.shape[1:] != (2, 3):
        return {}
    rows = {"in the row of x_s": [[True], [False]], "in the row of y_s": [[False], [True]]}
    columns = {
        "in the column of x_t": [True, False, False],
        "in the column of y_t": [False, True, False],
        "in the column of the translation": [False, False, True],
    }
    masks = {words: np.array(mask) for words, mask in (rows | columns).items()}
    return {words: np.broadcast_to(mask, theta.shape) for words, mask in masks.items()}


def affine_place(name, index, theta, *_, **__) -> str:
    if name != "theta":
        n, row, column, component = index
        return f"image {n}, the {'xy'[component]} of output pixel x = {column}, y = {row}"
    n, row, column = index
    return (
        f"image {n}, theta_{row + 1}{column + 1} ({'xy'[row]}_s from {('x_t', 'y_t', '1')[column]})"
    )


AFFINE_GRID = Family(tuple(AFFINE_MISTAKES), wrong_affine, grid_factors, affine_masks, affine_place)


ATTENTION = Family(
    tuple(
        several(
            AFFINE,
            ONLY,
            "scale",
            (
                "s from x",
                "contribution-missing",
                "s gets only the gradient of theta_11; it stands in the matrix twice",
            ),
            (
                "s from y",
                "contribution-missing",
                "s gets only the gradient of theta_22; it stands in the matrix twice",
            ),
            (
                "s mean",
                "mean-instead-of-sum",
                "s gets the mean of its two gradients; it is their sum",
            ),
        )
        + several(
            AFFINE,
            ONLY,
            "order",
            ("t swapped", "xy-swapped", "t_x and t_y are swapped"),
            (
                "s last",
                "parameters-in-wrong-order",
                "the order is (t_x, t_y, s); it is (s, t_x, t_y)",
            ),
        )
    ),
    lambda made, name, dA, theta: _wrong_attention(made, name, dA, theta),
)


def _wrong_attention(made, name, dA, theta):
    s, t_x, t_y = theta.T
    if name == "output":
        zero = 0 * s
        return np.stack([s, zero, t_x, zero, s, t_y], axis=1).reshape(-1, 2, 3)
    ds = dA[:, 0, 0] + dA[:, 1, 1]
    if "s from x" in made:
        ds = dA[:, 0, 0]
    if "s from y" in made:
        ds = dA[:, 1, 1]
    if "s mean" in made:
        ds = ds / 2
    dt_x, dt_y = dA[:, 0, 2], dA[:, 1, 2]
    if "t swapped" in made:
        dt_x, dt_y = dt_y, dt_x
    return np.stack([dt_x, dt_y, ds] if "s last" in made else [ds, dt_x, dt_y], axis=1)


PROJECTIVE = Family(
    (
        *TARGETS,
        *several(
            AFFINE,
            ONLY,
            "quotient",
            (
                "no dw",
                "quotient-rule-incomplete",
                "the denominator w is taken to be a constant: g and h get nothing",
            ),
            (
                "dw sign",
                "quotient-rule-incomplete",
                "the sign of the denominator's part in the quotient rule is wrong",
            ),
            (
                "dw without w",
                "quotient-rule-incomplete",
                "the denominator's part in the quotient rule is divided by w once; u / w^2 needs "
                "it twice",
            ),
        ),
        *several(
            AFFINE,
            ONLY,
            "division",
            (
                "no division",
                "quotient-rule-incomplete",
                "the division by w is missing in the gradient of the numerators",
            ),
        ),
        *several(
            AFFINE,
            ONLY,
            "rows",
            (
                "rows swapped",
                "xy-swapped",
                "x and y are swapped: (a, b, c) make x_s, (d, e, f) y_s",
            ),
        ),
    ),
    lambda made, name, dG, theta, size, align_corners=False: _wrong_projective(
        made, name, dG, theta, size, align_corners
    ),
    grid_factors,
)


def _wrong_projective(made, name, dG, theta, size, align_corners):
    N, H, W = len(theta), size[2], size[3]
    P = targets(made, H, W, align_corners).astype(theta.dtype)
    homography = np.concatenate([theta, np.ones((N, 1), theta.dtype)], axis=1).reshape(N, 3, 3)
    u, v, w = np.moveaxis(homography @ P, 1, 0)  # each (N, H W)
    if name == "output":
        return np.stack([u / w, v / w], axis=-1).reshape(N, H, W, 2)
    dx, dy = np.moveaxis(dG.reshape(N, H * W, 2), 2, 0)
    if "rows swapped" in made:
        dx, dy = dy, dx
    du, dv = (dx, dy) if "no division" in made else (dx / w, dy / w)
    dw = -(dx * u + dy * v) / (w if "dw without w" in made else w * w)
    if "dw sign" in made:
        dw = -dw
    if "no dw" in made:
        dw = 0 * dw
    return (np.stack([du, dv, dw], axis=1) @ P.T).reshape(N, 9)[:, :8]


TPS = Family(
    (
        # On the regular grid of control points, swapping x_t and y_t is taking them in columns.
        *(m for m in TARGETS if m.key not in ("columns swapped", "target pixels")),
        *several(
            AFFINE,
            BOTH,
            "rows",
            (
                "components swapped",
                "xy-swapped",
                "x and y are swapped: a control point is (x_s, y_s)",
            ),
            (
                "control points in columns",
                "points-in-wrong-order",
                "the control points are taken column by column; they go row by row",
            ),
        ),
    ),
    lambda made, name, dG, theta, size, align_corners=False: _wrong_tps(
        made, name, dG, theta, size, align_corners
    ),
    grid_factors,
)


def _wrong_tps(made, name, dG, theta, size, align_corners):
    N, H, W = len(theta), size[2], size[3]
    K = math.isqrt(theta.shape[1])
    if "height and width" in made:
        H, W = W, H
    aligned = bool(align_corners) != ("target align_corners" in made)
    B = tps_basis(K, H, W, aligned, theta.dtype).reshape(H, W, K, K)
    if "points in columns" in made:
        B = B.swapaxes(0, 1)
    if "y up" in made:
        B = B[::-1]
    if "control points in columns" in made:
        B = B.swapaxes(2, 3)
    B = B.reshape(H * W, K * K)
    if name == "output":
        moved = theta[..., ::-1] if "components swapped" in made else theta
        return (B @ moved).reshape(N, size[2], size[3], 2)
    dG = dG.reshape(N, H * W, 2)
    dtheta = B.T @ dG
    return dtheta[..., ::-1] if "components swapped" in made else dtheta


def wrong_transformer(made, name, dV, U, theta, size=None, align_corners=False, units="normalised"):
    """V = grid_sample(U, affine_grid(theta)), each with the mistakes in `made`."""
    size = U.shape if size is None else size
    G = wrong_affine(made, "output", None, theta, size, align_corners, units)
    options = {"align_corners": align_corners, "units": units}
    if name == "output":
        return wrong_sampler(made, "output", None, U, G, **options)
    if name == "U":
        return wrong_sampler(made, "input", dV, U, G, **options)
    dG = wrong_sampler(made, "grid", dV, U, G, **options)
    return wrong_affine(made, "theta", dG, theta, size, align_corners, units)


# Mistakes of a sampler that is not bilinear, or whose padding is not zeros.
OTHER_MODES = {"as zeros", "slope kept", "half to even", "floor"}


def _transformer_mistakes() -> list[Mistake]:
    """Those of the sampler, with a wrong gradient of the grid now one of theta, and of the grid."""
    rename = {"input": "U", "grid": "theta", "output": "output"}
    found = [
        Mistake(m.key, m.name, m.words, m.chapter, tuple(rename[t] for t in m.touches), m.group)
        for m in SAMPLER_MISTAKES
        if m.key not in OTHER_MODES
    ]
    return found + [
        Mistake(
            m.key,
            m.name,
            m.words,
            m.chapter,
            m.touches + ("U",) * ("output" in m.touches),
            m.group,
        )
        for m in AFFINE_MISTAKES
    ]


def _transformer_factors(name, U, theta, size=None, align_corners=False, units="normalised"):
    size = U.shape if size is None else size
    G = np.empty((len(U), *size[2:], 2))
    if name != "theta":
        return sampler_factors("input", U, G)
    return sampler_factors("grid", U, G, units=units)


def _transformer_masks(name, U, theta, size=None, align_corners=False, units="normalised"):
    if name == "theta":
        return affine_masks("theta", theta)
    if name != "U":
        return {}
    size = U.shape if size is None else size
    G = wrong_affine(frozenset(), "output", None, theta, size, align_corners, units)
    return sampler_masks("input", U, G, align_corners=align_corners, units=units)


def _transformer_place(name, index, U, theta, *_, **__):
    if name == "theta":
        return affine_place("theta", index, theta)
    n, c, row, column = index
    return f"image {n}, channel {c}, pixel x = {column}, y = {row}"


TRANSFORMER = Family(
    tuple(_transformer_mistakes()),
    wrong_transformer,
    _transformer_factors,
    _transformer_masks,
    _transformer_place,
)


# One image, one point, in pixels: what a formula for one partial derivative is about.
#   U (H, W), x, y -> V; the gradients of U, x and y.


def wrong_point(made, name, dV, U, x, y):
    """One value of the bilinear sampler, at the pixel coordinates (x, y), and its derivatives."""
    G = np.array([x, y], dtype=float).reshape(1, 1, 1, 2)
    image = np.asarray(U, float)[None, None]
    dV = np.ones((1, 1, 1, 1))
    inner = {"U": "input", "x": "grid", "y": "grid", "output": "output"}[name]
    result = wrong_sampler(made, inner, dV, image, G, units="pixels")
    if inner == "grid":
        return result[0, 0, 0, "xy".index(name)]
    return result[0, 0] if inner == "input" else result[0, 0, 0, 0]


def _point_mistakes() -> list[Mistake]:
    rename = {"input": ("U",), "grid": ("x", "y"), "output": ("output",)}
    not_here = {"unit", "pixels", "channels", "batch", "one sign"}
    words = {
        "read (y, x)": "x and y are swapped: x goes with m, the column, and y with n, the row",
        "stored (y, x)": "x and y are swapped: the derivative along the other axis is wanted",
    }
    return [
        Mistake(
            m.key,
            m.name,
            words.get(m.key, m.words),
            m.chapter,
            tuple(name for t in m.touches for name in rename[t]),
            m.group,
        )
        for m in SAMPLER_MISTAKES
        if m.group not in not_here
        and m.key not in OTHER_MODES
        and not m.key.startswith("last write")
        and m.key not in ("mean of hits", "slope of other axis")  # the latter is "stored (y, x)"
    ]


def _point_masks(name, U, x, y):
    G = np.array([x, y], dtype=float).reshape(1, 1, 1, 2)
    image = np.asarray(U, float)[None, None]
    if name == "U":
        masks = sampler_masks("input", image, G, units="pixels")
        return {words: mask[0, 0] for words, mask in masks.items() if "once" not in words}
    if name not in "xy":
        return {}
    masks = sampler_masks("grid", image, G, units="pixels")
    component = "xy".index(name)
    return {
        words: mask[0, 0, 0, component] for words, mask in masks.items() if "component" not in words
    }


def _point_place(name, index, U, x, y):
    at = f"at the point x = {x:.6g}, y = {y:.6g}"
    return f"pixel n = {index[0]}, m = {index[1]}, {at}" if name == "U" else at


POINT = Family(tuple(_point_mistakes()), wrong_point, masks=_point_masks, place=_point_place)
