"""The grid generator: from the parameters theta to the points where the input is read.

A grid G (N, H, W, 2) holds, for each pixel of the output, the point (x_s, y_s) of the input it is
read from: x to the right, y down, both in normalised coordinates, where -1 and 1 are the two ends
of the input. With align_corners=False the ends are the outer edges of the outermost pixels, with
True their centres. Inside, grids lie in memory as (2, H, W, N): the batch comes last.
"""

import functools
import math

import numpy as np

from stn_numpy import checks
from stn_numpy.autograd import op


def target_points(H: int, W: int, align_corners: bool = False, dtype=np.float64) -> np.ndarray:
    """The regular grid of the output in homogeneous coordinates: rows x_t, y_t, 1 of (3, H * W).

    Pixel i of n has its centre at (2 i + 1) / n - 1, or at 2 i / (n - 1) - 1 with align_corners
    (0 where n is 1).
    """

    def centres(n: int) -> np.ndarray:
        if not align_corners:
            return (2 * np.arange(n) + 1) / n - 1
        return np.linspace(-1, 1, n) if n > 1 else np.zeros(1)

    x, y = np.meshgrid(centres(W), centres(H))
    return np.stack([x.ravel(), y.ravel(), np.ones(H * W)]).astype(dtype)


@op
def affine_grid(theta, size, align_corners=False):
    """Eq. (1): (x_s, y_s)^T = theta (x_t, y_t, 1)^T for every pixel of the output.

    theta (N, 2, 3), float32 or float64; size = (N, C, H, W) of the output, whose C does not matter.
    Returns (N, H, W, 2). Raises ValueError or TypeError for another shape, dtype or size.
    """
    theta = checks.floats("affine_grid", "theta", theta, "(N, 2, 3)")
    if theta.shape[1:] != (2, 3):
        raise ValueError(f"affine_grid: theta has shape {theta.shape}, want (N, 2, 3)")
    N, H, W = _checked_size("affine_grid", theta, size)
    P = target_points(H, W, align_corners, theta.dtype)
    G = P.T @ theta.transpose(1, 2, 0)  # (HW, 3) (2, 3, N) -> (2, HW, N)

    def backward(dG):
        # Not printed in the paper: theta moves every point, so it collects from all H W of them.
        dtheta = P @ _points(dG)  # (3, HW) (2, HW, N) -> (2, 3, N)
        return dtheta.transpose(2, 0, 1)

    return G.reshape(2, H, W, N).transpose(3, 1, 2, 0), backward


@op
def attention_matrix(theta):
    """Eq. (2): the affine matrix [[s, 0, t_x], [0, s, t_y]] of isotropic scale and translation.

    theta (N, 3) = (s, t_x, t_y) -> (N, 2, 3), for `affine_grid`.
    """
    theta = checks.floats("attention_matrix", "theta", theta, "(N, 3)")
    if theta.shape[1] != 3:
        raise ValueError(f"attention_matrix: theta has shape {theta.shape}, want (N, 3)")
    A = np.zeros((len(theta), 2, 3), theta.dtype)
    A[:, 0, 0] = A[:, 1, 1] = theta[:, 0]
    A[:, :, 2] = theta[:, 1:]

    def backward(dA):
        # s stands in the matrix twice and receives both gradients.
        return np.stack([dA[:, 0, 0] + dA[:, 1, 1], dA[:, 0, 2], dA[:, 1, 2]], axis=1)

    return A, backward


@op
def projective_grid(theta, size, align_corners=False):
    """A plane seen from another side: an affine map, then a division that depends on the place.

    x_s = (a x_t + b y_t + c) / w,  y_s = (d x_t + e y_t + f) / w,  w = g x_t + h y_t + 1

    theta (N, 8) = (a, b, c, d, e, f, g, h), float32 or float64; size = (N, C, H, W) of the output.
    Returns (N, H, W, 2). On the horizon, w = 0, the point is infinite, which samplers count as
    outside; it has no gradient. Raises ValueError or TypeError for another shape, dtype or size.
    """
    theta = checks.floats("projective_grid", "theta", theta, "(N, 8)")
    if theta.shape[1] != 8:
        raise ValueError(f"projective_grid: theta has shape {theta.shape}, want (N, 8)")
    N, H, W = _checked_size("projective_grid", theta, size)
    P = target_points(H, W, align_corners, theta.dtype)
    homography = np.concatenate([theta, np.ones((N, 1), theta.dtype)], axis=1).T.reshape(3, 3, N)
    numerators = P.T @ homography  # (HW, 3) (3, 3, N) -> (3, HW, N)
    w = numerators[2]
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        G = numerators[:2] / w
    G[(numerators[:2] == 0) & (w == 0)] = np.inf  # 0 / 0 is on the horizon like its neighbours

    def backward(dG):
        # The quotient rule: d(u / w) = du / w - (u / w) dw / w.
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            d_uv = _points(dG) / w
            dw = -(d_uv * G).sum(axis=0, keepdims=True)
        d_uvw = np.concatenate([d_uv, dw])
        d_uvw[:, np.isinf(G).any(axis=0)] = 0  # a point at infinity is seen by nobody
        dtheta = P @ d_uvw  # (3, HW) (3, HW, N) -> (3, 3, N)
        return dtheta.reshape(9, N)[:8].T

    return G.reshape(2, H, W, N).transpose(3, 1, 2, 0), backward


@op
def tps_grid(theta, size, align_corners=False):
    """A thin plate spline: the smoothest map that takes the control points where theta says.

    theta (N, K * K, 2): the point (x_s, y_s) for each of the K x K control points, row by row, that
    stand at the corners of a regular grid on [-1, 1] x [-1, 1] in the output; float32 or float64,
    K >= 2. size = (N, C, H, W) of the output.
    Returns (N, H, W, 2). Raises ValueError or TypeError for another shape, dtype or size.
    """
    theta = checks.floats("tps_grid", "theta", theta, "(N, K * K, 2)")
    K = math.isqrt(theta.shape[1])
    if K < 2 or theta.shape[1] != K * K or theta.shape[2] != 2:
        raise ValueError(f"tps_grid: theta has shape {theta.shape}, want (N, K * K, 2) with K >= 2")
    N, H, W = _checked_size("tps_grid", theta, size)
    # The spline solves a linear system whose right side is theta: the grid is linear in theta.
    B = tps_basis(K, H, W, bool(align_corners), theta.dtype)
    G = B @ theta.transpose(2, 1, 0)  # (HW, KK) (2, KK, N) -> (2, HW, N)

    def backward(dG):
        dtheta = B.T @ _points(dG)  # (KK, HW) (2, HW, N) -> (2, KK, N)
        return dtheta.transpose(2, 1, 0)

    return G.reshape(2, H, W, N).transpose(3, 1, 2, 0), backward


def control_points(K: int, dtype=np.float64) -> np.ndarray:
    """The K x K regular grid on [-1, 1] x [-1, 1], row by row: (K * K, 2) points (x, y)."""
    return target_points(K, K, True, dtype)[:2].T


@functools.lru_cache(maxsize=32)
def tps_basis(K: int, H: int, W: int, align_corners: bool, dtype: np.dtype) -> np.ndarray:
    """How much each control point moves each pixel: (H * W, K * K), rows that sum to 1.

    The spline is f(p) = c + A p + sum_k w_k phi(|p - p_k|) with phi(r) = r^2 log r^2. The weights
    w bend it, [c A] carries the rest; it passes through the control points and its bending dies
    out far away: sum w_k = sum w_k x_k = sum w_k y_k = 0.
    """

    def phi(p: np.ndarray, q: np.ndarray) -> np.ndarray:
        r2 = np.square(p[:, None] - q).sum(axis=2)
        return r2 * np.log(np.where(r2 > 0, r2, 1))

    def affine(p: np.ndarray) -> np.ndarray:
        return np.column_stack([np.ones(len(p)), p])

    knots, pixels = control_points(K), target_points(H, W, align_corners)[:2].T
    edge = affine(knots)
    system = np.block([[phi(knots, knots), edge], [edge.T, np.zeros((3, 3))]])
    unit_pulls = np.eye(K * K + 3, K * K)
    basis = np.hstack([phi(pixels, knots), affine(pixels)]) @ np.linalg.solve(system, unit_pulls)
    basis = basis.astype(dtype)
    basis.flags.writeable = False  # shared by all calls
    return basis


def _points(dG: np.ndarray) -> np.ndarray:
    """(N, H, W, 2) -> (2, H * W, N)."""
    return dG.transpose(3, 1, 2, 0).reshape(2, -1, len(dG))


def _checked_size(function: str, theta: np.ndarray, size) -> tuple[int, int, int]:
    try:
        N, C, H, W = size
    except (TypeError, ValueError):
        raise ValueError(f"{function}: size is {size!r}, want (N, C, H, W)") from None
    N, C, H, W = (checks.integer(function, "size", n, 1) for n in (N, C, H, W))
    if len(theta) != N:
        raise ValueError(
            f"{function}: theta has shape {theta.shape}, want {N} of them as size says"
        )
    return N, H, W
