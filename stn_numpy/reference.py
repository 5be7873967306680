"""Eqs. (1) to (7) of the paper as literal loops, one function an equation; slow on purpose.

To be read beside the paper (Jaderberg et al. 2015). Where a printed equation is not the derivative
it claims to be, (6) and (7), the corrected and the printed one stand side by side; at the end comes
the step from the points to theta, which is not printed at all.

The paper's symbols, and the arrays that hold them here:

    U_nm^c          U[c, n, m]      the image: channel c, row n, column m; (C, H, W)
    V_i^c           V[c, i]         the output: channel c, point i;        (C, H' W')
    x_i^s, y_i^s    x_s[i], y_s[i]  the point of the input that output i is read from
    x_i^t, y_i^t    x_t[i], y_t[i]  the point of the output
    theta_11 ...    theta[0, 0] ... the six numbers of the transformation, (2, 3)

Counting. The paper counts channels, rows, columns and points from 1: c = 1..C, n = 1..H, m = 1..W,
i = 1..H'W'. Python counts from 0, and so do these loops; its pixel (n, m) is (n - 1, m - 1) here,
and its point x is x - 1. The equations hold only differences x - m, which are the same in both.

Units. Eqs. (1) and (2) work in any unit, as long as theta is meant in it; the paper normalises
coordinates to -1..1. Eqs. (3) to (7) compare a point x with a column number m, so they are in
pixels. Between the two stands a factor that the paper prints nowhere: `pixels_per_unit`.
"""

from collections.abc import Callable
from math import floor

import numpy as np

from stn_numpy import checks

Kernel = Callable[[float], float]


def eq01_affine_grid(
    theta: np.ndarray, x_t: np.ndarray, y_t: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Eq. (1): where each point of the output is read from.

        ( x_i^s )   ( theta_11  theta_12  theta_13 )  ( x_i^t )
        (       ) = (                              )  ( y_i^t )
        ( y_i^s )   ( theta_21  theta_22  theta_23 )  (   1   )

    theta (2, 3); x_t, y_t (H'W',). Returns x_s, y_s (H'W',), in the unit of x_t and y_t.
    """
    x_s, y_s = np.zeros(len(x_t)), np.zeros(len(x_t))
    for i in range(len(x_t)):
        x_s[i] = theta[0, 0] * x_t[i] + theta[0, 1] * y_t[i] + theta[0, 2]
        y_s[i] = theta[1, 0] * x_t[i] + theta[1, 1] * y_t[i] + theta[1, 2]
    return x_s, y_s


def eq02_attention_grid(
    s: float, t_x: float, t_y: float, x_t: np.ndarray, y_t: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Eq. (2): Eq. (1) with only a scale and a shift, for cropping, zooming and moving.

                  ( s  0  t_x )
        A_theta = (           )
                  ( 0  s  t_y )

    Returns x_s, y_s (H'W',), in the unit of x_t, y_t, t_x and t_y.
    """
    A_theta = np.array([[s, 0, t_x], [0, s, t_y]])
    return eq01_affine_grid(A_theta, x_t, y_t)


def eq03_sample(U: np.ndarray, x_s: np.ndarray, y_s: np.ndarray, k: Kernel) -> np.ndarray:
    """Eq. (3): read the image at any points, with any kernel k.

        V_i^c = sum_n^H sum_m^W  U_nm^c  k(x_i^s - m)  k(y_i^s - n)
                for all i in [1..H'W'], for all c in [1..C]

    U (C, H, W); x_s, y_s (H'W',) in pixels; k a function of one distance. Returns V (C, H'W').
    """
    C, H, W = U.shape
    V = np.zeros((C, len(x_s)))
    for c in range(C):
        for i in range(len(x_s)):
            for n in range(H):
                for m in range(W):
                    V[c, i] += U[c, n, m] * k(x_s[i] - m) * k(y_s[i] - n)
    return V


def eq04_integer_kernel(d: float) -> float:
    """Eq. (4): the kernel that copies the nearest pixel.

        V_i^c = sum_n^H sum_m^W  U_nm^c  delta(floor(x_i^s + 0.5) - m) delta(floor(y_i^s + 0.5) - n)

    As m is a whole number, floor(x + 0.5) - m = floor(x - m + 0.5), so it is Eq. (3) with
    k(d) = delta(floor(d + 0.5)). delta(0) = 1, else 0. Halves are rounded up.
    """
    return 1.0 if floor(d + 0.5) == 0 else 0.0


def eq05_bilinear_kernel(d: float) -> float:
    """Eq. (5): the kernel that weighs the four pixels around a point.

        V_i^c = sum_n^H sum_m^W  U_nm^c  max(0, 1 - |x_i^s - m|)  max(0, 1 - |y_i^s - n|)

    Eq. (3) with k(d) = max(0, 1 - |d|).
    """
    return max(0.0, 1.0 - abs(d))


def eq06_grad_U(U: np.ndarray, x_s: np.ndarray, y_s: np.ndarray) -> np.ndarray:
    """Eq. (6), corrected: how much each pixel moves each output.

        dV_i^c / dU_nm^c = max(0, 1 - |x_i^s - m|)  max(0, 1 - |y_i^s - n|)

    One weight for each pixel: n and m are given on the left, so nothing is summed over them on the
    right. It is the same for all c. Returns (H'W', H, W).
    """
    _, H, W = U.shape
    dV_dU = np.zeros((len(x_s), H, W))
    for i in range(len(x_s)):
        for n in range(H):
            for m in range(W):
                dV_dU[i, n, m] = max(0, 1 - abs(x_s[i] - m)) * max(0, 1 - abs(y_s[i] - n))
    return dV_dU


def eq06_grad_U_as_printed(U: np.ndarray, x_s: np.ndarray, y_s: np.ndarray) -> np.ndarray:
    """Eq. (6) as printed, which is not the derivative.

        dV_i^c / dU_nm^c = sum_n^H sum_m^W  max(0, 1 - |x_i^s - m|)  max(0, 1 - |y_i^s - n|)

    The sums use up n and m: what comes out is the sum of all weights, the same for every pixel, and
    1 for every point inside the image. Returns (H'W', H, W), filled with it.
    """
    _, H, W = U.shape
    dV_dU = np.zeros((len(x_s), H, W))
    for i in range(len(x_s)):
        for n in range(H):
            for m in range(W):
                dV_dU[i] += max(0, 1 - abs(x_s[i] - m)) * max(0, 1 - abs(y_s[i] - n))
    return dV_dU


def eq07_grad_xs(
    U: np.ndarray, x_s: np.ndarray, y_s: np.ndarray, at_lattice: str = "right"
) -> np.ndarray:
    """Eq. (7), corrected: how much a step of the point along x moves each output.

        dV_i^c / dx_i^s = sum_n^H sum_m^W  U_nm^c  max(0, 1 - |y_i^s - n|)  slope(m - x_i^s)

                      1  if  0 < d <= 1       the pixel that the point moves to gains,
        slope(d) =   -1  if -1 < d <= 0       the one it leaves loses,
                      0  else                 no other is seen.

    This is the derivative from the right. at_lattice="left" puts the equality signs at the other
    ends, 0 <= d < 1 and -1 <= d < 0, which matters only where x_i^s is a whole number; "mean" is
    the mean of both. Returns (C, H'W'), in output per pixel.
    """
    checks.choice("eq07_grad_xs", "at_lattice", at_lattice, SLOPES)
    slope = SLOPES[at_lattice]
    C, H, W = U.shape
    dV_dxs = np.zeros((C, len(x_s)))
    for c in range(C):
        for i in range(len(x_s)):
            for n in range(H):
                for m in range(W):
                    weight = max(0, 1 - abs(y_s[i] - n))
                    dV_dxs[c, i] += U[c, n, m] * weight * slope(m - x_s[i])
    return dV_dxs


def eq07_grad_ys(
    U: np.ndarray, x_s: np.ndarray, y_s: np.ndarray, at_lattice: str = "right"
) -> np.ndarray:
    """Eq. (7) for y, corrected ("similarly", says the paper): a step of the point along y.

        dV_i^c / dy_i^s = sum_n^H sum_m^W  U_nm^c  max(0, 1 - |x_i^s - m|)  slope(n - y_i^s)

    slope and at_lattice as in `eq07_grad_xs`. Returns (C, H'W'), in output per pixel.
    """
    checks.choice("eq07_grad_ys", "at_lattice", at_lattice, SLOPES)
    slope = SLOPES[at_lattice]
    C, H, W = U.shape
    dV_dys = np.zeros((C, len(x_s)))
    for c in range(C):
        for i in range(len(x_s)):
            for n in range(H):
                for m in range(W):
                    weight = max(0, 1 - abs(x_s[i] - m))
                    dV_dys[c, i] += U[c, n, m] * weight * slope(n - y_s[i])
    return dV_dys


def eq07_grad_xs_as_printed(U: np.ndarray, x_s: np.ndarray, y_s: np.ndarray) -> np.ndarray:
    """Eq. (7) as printed: the derivative between the columns, none on them.

        dV_i^c / dx_i^s = sum_n^H sum_m^W  U_nm^c  max(0, 1 - |y_i^s - n|)  brace

                  0  if |m - x_i^s| >= 1
        brace =   1  if  m >= x_i^s
                 -1  if  m <  x_i^s

    Where x_i^s is a whole number only the pixel m = x_i^s passes the first line, and it enters
    with +1: the "derivative" is the pixel's own value, 7 on an image that is 7 everywhere.
    Returns (C, H'W').
    """
    C, H, W = U.shape
    dV_dxs = np.zeros((C, len(x_s)))
    for c in range(C):
        for i in range(len(x_s)):
            for n in range(H):
                for m in range(W):
                    brace = 0 if abs(m - x_s[i]) >= 1 else 1 if m >= x_s[i] else -1
                    dV_dxs[c, i] += U[c, n, m] * max(0, 1 - abs(y_s[i] - n)) * brace
    return dV_dxs


def eq07_grad_ys_as_printed(U: np.ndarray, x_s: np.ndarray, y_s: np.ndarray) -> np.ndarray:
    """Eq. (7) as printed, for y: the derivative between the rows, none on them.

        dV_i^c / dy_i^s = sum_n^H sum_m^W  U_nm^c  max(0, 1 - |x_i^s - m|)  brace

                  0  if |n - y_i^s| >= 1
        brace =   1  if  n >= y_i^s
                 -1  if  n <  y_i^s

    Returns (C, H'W').
    """
    C, H, W = U.shape
    dV_dys = np.zeros((C, len(x_s)))
    for c in range(C):
        for i in range(len(x_s)):
            for n in range(H):
                for m in range(W):
                    brace = 0 if abs(n - y_s[i]) >= 1 else 1 if n >= y_s[i] else -1
                    dV_dys[c, i] += U[c, n, m] * max(0, 1 - abs(x_s[i] - m)) * brace
    return dV_dys


def slope_from_the_right(d: float) -> float:
    """What a pixel that lies d ahead of a point gains, for each pixel of a small step forward."""
    return 1 if 0 < d <= 1 else -1 if -1 < d <= 0 else 0


def slope_from_the_left(d: float) -> float:
    """What it has gained, for each pixel of the small step that led to the point."""
    return 1 if 0 <= d < 1 else -1 if -1 <= d < 0 else 0


def mean_slope(d: float) -> float:
    """The mean of both, which is what central differences measure."""
    return (slope_from_the_left(d) + slope_from_the_right(d)) / 2


SLOPES = {"right": slope_from_the_right, "left": slope_from_the_left, "mean": mean_slope}


def grad_U(dV: np.ndarray, dV_dU: np.ndarray) -> np.ndarray:
    """The chain rule behind Eq. (6): a pixel collects from every output that it moves.

        dL / dU_nm^c = sum_i  dL/dV_i^c  dV_i^c/dU_nm^c

    dV (C, H'W') holds dL/dV; dV_dU (H'W', H, W) as from `eq06_grad_U`. Returns (C, H, W).
    """
    C, I = dV.shape
    dU = np.zeros((C, *dV_dU.shape[1:]))
    for c in range(C):
        for i in range(I):
            dU[c] += dV[c, i] * dV_dU[i]
    return dU


def grad_xs(dV: np.ndarray, dV_dxs: np.ndarray) -> np.ndarray:
    """The chain rule behind Eq. (7): a point moves all channels of its output at once.

        dL / dx_i^s = sum_c  dL/dV_i^c  dV_i^c/dx_i^s

    dV (C, H'W') holds dL/dV; dV_dxs (C, H'W') as from `eq07_grad_xs`, or its twin for y.
    Returns (H'W',).
    """
    C, I = dV.shape
    dxs = np.zeros(I)
    for c in range(C):
        for i in range(I):
            dxs[i] += dV[c, i] * dV_dxs[c, i]
    return dxs


def grad_theta(dxs: np.ndarray, dys: np.ndarray, x_t: np.ndarray, y_t: np.ndarray) -> np.ndarray:
    """The step the paper does not print: every point pulls at theta.

        dL / dtheta = sum_i  ( dL/dx_i^s )  ( x_i^t  y_i^t  1 )
                             ( dL/dy_i^s )

    By Eq. (1) dx_i^s/dtheta_11 = x_i^t, dx_i^s/dtheta_12 = y_i^t, dx_i^s/dtheta_13 = 1, and the
    second row of theta moves only y_i^s. dxs, dys, x_t, y_t (H'W',), all in one unit.
    Returns (2, 3).
    """
    dtheta = np.zeros((2, 3))
    for i in range(len(x_t)):
        dtheta[0, 0] += dxs[i] * x_t[i]
        dtheta[0, 1] += dxs[i] * y_t[i]
        dtheta[0, 2] += dxs[i]
        dtheta[1, 0] += dys[i] * x_t[i]
        dtheta[1, 1] += dys[i] * y_t[i]
        dtheta[1, 2] += dys[i]
    return dtheta


def target_points(H: int, W: int, align_corners: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """The points x_t, y_t (H W,) of the output, row by row, normalised to -1..1.

    -1 and 1 are the outer edges of the outermost pixels, or, with align_corners, their centres.
    """
    x_t, y_t = np.zeros(H * W), np.zeros(H * W)
    for n in range(H):
        for m in range(W):
            x_t[n * W + m] = to_normalised(m, W, align_corners)
            y_t[n * W + m] = to_normalised(n, H, align_corners)
    return x_t, y_t


def pixels_per_unit(size: int, align_corners: bool = False) -> float:
    """The factor nobody prints: how many pixels a step of 1 in normalised coordinates is.

    dx_pixels / dx_normalised = size / 2, or (size - 1) / 2 with align_corners.
    """
    return (size - 1) / 2 if align_corners else size / 2


def to_pixels(g: float, size: int, align_corners: bool = False) -> float:
    """A normalised coordinate as a pixel coordinate; 0 is the centre of the first pixel."""
    x = (g + 1) * pixels_per_unit(size, align_corners)
    return x if align_corners else x - 0.5


def to_normalised(x: float, size: int, align_corners: bool = False) -> float:
    """A pixel coordinate as a normalised one; the middle, 0, where there is only one pixel."""
    if align_corners:
        return 2 * x / (size - 1) - 1 if size > 1 else 0.0
    return (2 * x + 1) / size - 1
