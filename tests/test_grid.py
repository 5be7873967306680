"""The grid generator: Eqs. (1) and (2), projective and thin plate spline, against literal loops."""

import numpy as np
import pytest

import stn_numpy.functional as F
from stn_numpy import Tensor, gradcheck
from stn_numpy.functional.grid import control_points, target_points, tps_basis

both_corners = pytest.mark.parametrize("align_corners", [False, True])

SIZES = [(2, 5, 3, 4), (3, 1, 4, 1), (1, 2, 1, 5), (2, 3, 1, 1), (4, 1, 2, 3)]
all_sizes = pytest.mark.parametrize("size", SIZES, ids=str)


def leaf(values, dtype=np.float64):
    return Tensor(np.asarray(values, dtype), requires_grad=True)


def centre(i, n, align_corners):
    """Pixel i of n in normalised coordinates, as the README of any sampler has it."""
    if align_corners:
        return -1 + i * 2 / (n - 1) if n > 1 else 0.0
    return -1 + (i + 0.5) * 2 / n


def by_loops(size, align_corners, source):
    """source(n, x_t, y_t) -> (x_s, y_s), at every pixel of every image."""
    N, _, H, W = size
    G = np.zeros((N, H, W, 2))
    for n, i, j in np.ndindex(N, H, W):
        G[n, i, j] = source(n, centre(j, W, align_corners), centre(i, H, align_corners))
    return G


# Eq. (1)


@both_corners
@all_sizes
def test_the_identity_gives_the_centres_of_the_pixels(size, align_corners):
    theta = np.tile([[1.0, 0, 0], [0, 1, 0]], (size[0], 1, 1))
    expected = by_loops(size, align_corners, lambda n, x, y: (x, y))
    np.testing.assert_allclose(
        F.affine_grid(theta, size, align_corners).data, expected, rtol=1e-15, atol=1e-15
    )


@both_corners
@all_sizes
def test_affine_grid(size, align_corners, rng):
    theta = rng.standard_normal((size[0], 2, 3))
    expected = by_loops(size, align_corners, lambda n, x, y: theta[n] @ [x, y, 1])
    np.testing.assert_allclose(
        F.affine_grid(theta, size, align_corners).data, expected, rtol=1e-13, atol=1e-13
    )
    gradcheck(lambda t: F.affine_grid(t, size, align_corners), theta, atol=1e-8, rng=rng)


def test_theta_collects_from_every_pixel(rng):
    theta, dG = leaf(rng.standard_normal((2, 2, 3))), rng.standard_normal((2, 3, 4, 2))
    F.affine_grid(theta, (2, 1, 3, 4)).backward(dG)
    expected = np.zeros((2, 2, 3))
    for n, i, j in np.ndindex(2, 3, 4):
        target = [centre(j, 4, False), centre(i, 3, False), 1]
        expected[n] += np.outer(dG[n, i, j], target)
    np.testing.assert_allclose(theta.grad, expected, rtol=1e-13, atol=1e-13)


def test_x_points_right_and_y_points_down():
    G = F.affine_grid(np.array([[[1.0, 0, 0], [0, 1, 0]]]), (1, 1, 2, 3), True).data[0]
    np.testing.assert_array_equal(G[:, :, 0], [[-1, 0, 1], [-1, 0, 1]])
    np.testing.assert_array_equal(G[:, :, 1], [[-1, -1, -1], [1, 1, 1]])


@both_corners
def test_a_theta_without_area_reads_one_point(align_corners):
    theta = np.array([[[0.0, 0, 0.3], [0, 0, -0.7]]])
    G = F.affine_grid(theta, (1, 1, 4, 5), align_corners).data
    np.testing.assert_array_equal(G, np.broadcast_to([0.3, -0.7], (1, 4, 5, 2)))


@pytest.mark.parametrize(
    "make, shape",
    [(F.affine_grid, (2, 2, 3)), (F.projective_grid, (2, 8)), (F.tps_grid, (2, 4, 2))],
)
def test_the_size_may_be_any_four_integers(make, shape, rng):
    theta = 1 + 0.1 * rng.standard_normal(shape)
    expected = make(theta, (2, 3, 4, 5)).data
    for size in ([2, 3, 4, 5], np.array([2, 3, 4, 5]), (np.int64(2), 99, np.uint8(4), 5)):
        np.testing.assert_array_equal(make(theta, size).data, expected)
    assert expected.shape == (2, 4, 5, 2)


@both_corners
def test_target_points(align_corners):
    P = target_points(3, 4, align_corners)
    assert P.shape == (3, 12) and (P[2] == 1).all()
    for i, j in np.ndindex(3, 4):
        expected = centre(j, 4, align_corners), centre(i, 3, align_corners)
        np.testing.assert_allclose(P[:2, 4 * i + j], expected, atol=1e-15)


# Eq. (2)


def test_attention_matrix(rng):
    theta = rng.standard_normal((3, 3))
    A = F.attention_matrix(theta).data
    for (s, t_x, t_y), matrix in zip(theta, A):
        np.testing.assert_array_equal(matrix, [[s, 0, t_x], [0, s, t_y]])
    gradcheck(F.attention_matrix, theta, rng=rng)
    gradcheck(lambda t: F.affine_grid(F.attention_matrix(t), (3, 1, 2, 4)), theta, rng=rng)


# Projective


def homographies(rng, n):
    return np.array([1.0, 0, 0, 0, 1, 0, 0, 0]) + rng.uniform(-0.3, 0.3, (n, 8))


@both_corners
@all_sizes
def test_projective_grid(size, align_corners, rng):
    theta = homographies(rng, size[0])

    def source(n, x, y):
        a, b, c, d, e, f, g, h = theta[n]
        w = g * x + h * y + 1
        return (a * x + b * y + c) / w, (d * x + e * y + f) / w

    expected = by_loops(size, align_corners, source)
    G = F.projective_grid(theta, size, align_corners).data
    np.testing.assert_allclose(G, expected, rtol=1e-13, atol=1e-13)
    gradcheck(lambda t: F.projective_grid(t, size, align_corners), theta, atol=1e-8, rng=rng)


@both_corners
def test_without_perspective_it_is_affine(align_corners, rng):
    theta = homographies(rng, 2)
    theta[:, 6:] = 0
    size = (2, 1, 3, 4)
    expected = F.affine_grid(theta[:, :6].reshape(2, 2, 3), size, align_corners).data
    G = F.projective_grid(theta, size, align_corners).data
    np.testing.assert_allclose(G, expected, rtol=1e-14, atol=1e-15)


HORIZON = np.array([[1.0, 0, 0, 0, 1, 0, 4 / 3, 0]])  # w = 0 in the first of four columns
ODD = (1, 2, 3, 4)  # the middle row has y_t = 0: its point on the horizon is 0 / 0


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_horizon_is_infinitely_far(dtype):
    theta = HORIZON.astype(dtype)
    theta[0, 6] = 1 / dtype(0.75)
    w = theta[0, 6] * target_points(1, 4, dtype=dtype)[0, 0] + 1
    assert w == 0
    G = F.projective_grid(theta, ODD).data
    assert np.isinf(G[:, :, 0]).all() and np.isfinite(G[:, :, 1:]).all()


@pytest.mark.parametrize("padding_mode", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("mode", ["nearest", "bilinear", "bicubic"])
def test_the_horizon_is_outside_and_teaches_nothing(mode, padding_mode, rng):
    U, theta = leaf(rng.standard_normal(ODD)), leaf(HORIZON)
    V = F.grid_sample(U, F.projective_grid(theta, ODD), mode, padding_mode)
    V.backward(rng.standard_normal(ODD))
    assert np.isfinite(V.data).all() and np.isfinite(U.grad).all()
    assert np.isfinite(theta.grad).all()
    if padding_mode == "zeros":
        assert (V.data[..., 0] == 0).all()


def test_points_off_the_horizon_teach_as_if_it_were_not_there(rng):
    """dtheta is the sum over all points but those of the first column."""
    theta, dG = leaf(HORIZON), rng.standard_normal((1, 3, 4, 2))
    dG[:, :, 0] = 0
    F.projective_grid(theta, ODD).backward(dG)
    a, b, c, d, e, f, g, h = HORIZON[0]
    expected = np.zeros(8)
    for i, j in np.ndindex(3, 4):
        x, y = centre(j, 4, False), centre(i, 3, False)
        w = g * x + h * y + 1
        if j > 0:
            u, v = a * x + b * y + c, d * x + e * y + f
            du, dv = dG[0, i, j] / w
            dw = -(du * u + dv * v) / w
            expected += [du * x, du * y, du, dv * x, dv * y, dv, dw * x, dw * y]
    np.testing.assert_allclose(theta.grad[0], expected, rtol=1e-12)


def test_a_nan_in_theta_is_nan_in_the_grid():
    theta = np.array([[1.0, 0, np.nan, 0, 1, 0, 0, 0]])
    G = F.projective_grid(theta, (1, 1, 2, 2)).data
    assert np.isnan(G[..., 0]).all() and np.isfinite(G[..., 1]).all()


# Thin plate spline

ALL_K = pytest.mark.parametrize("K", [2, 3, 4, 5])


@ALL_K
def test_the_spline_passes_through_its_control_points(K, rng):
    """With align_corners, pixels of a K x K output stand on the control points."""
    theta = rng.standard_normal((3, K * K, 2))
    G = F.tps_grid(theta, (3, 1, K, K), align_corners=True).data
    np.testing.assert_allclose(G.reshape(3, K * K, 2), theta, rtol=1e-10, atol=1e-10)


@both_corners
@ALL_K
def test_a_spline_of_affine_points_is_affine(K, align_corners, rng):
    A, size = rng.standard_normal((2, 2, 3)), (2, 1, 4, 7)
    knots = np.column_stack([control_points(K), np.ones(K * K)])
    theta = np.stack([knots @ matrix.T for matrix in A])
    np.testing.assert_allclose(
        F.tps_grid(theta, size, align_corners).data,
        F.affine_grid(A, size, align_corners).data,
        rtol=1e-10,
        atol=1e-10,
    )


def test_control_points_go_row_by_row():
    expected = [[-1, -1], [0, -1], [1, -1], [-1, 0], [0, 0], [1, 0], [-1, 1], [0, 1], [1, 1]]
    np.testing.assert_array_equal(control_points(3), expected)


def spline(theta, x, y):
    """f(p) = c + A p + sum_k w_k phi(|p - p_k|), solved and evaluated for one image and point."""
    knots = [(float(px), float(py)) for px, py in control_points(int(len(theta) ** 0.5))]

    def phi(p, q):
        r = np.hypot(p[0] - q[0], p[1] - q[1])
        return r**2 * np.log(r**2) if r > 0 else 0.0

    n = len(knots)
    system, values = np.zeros((n + 3, n + 3)), np.zeros((n + 3, 2))
    for k, p in enumerate(knots):
        system[k, :n] = [phi(p, q) for q in knots]
        system[k, n:] = system[n:, k] = 1, *p
        values[k] = theta[k]
    weights = np.linalg.solve(system, values)
    return np.array([*(phi((x, y), q) for q in knots), 1, x, y]) @ weights


@both_corners
@pytest.mark.parametrize("K", [2, 3, 4])
def test_tps_grid(K, align_corners, rng):
    theta, size = rng.standard_normal((2, K * K, 2)), (2, 1, 3, 5)
    expected = by_loops(size, align_corners, lambda n, x, y: spline(theta[n], x, y))
    G = F.tps_grid(theta, size, align_corners).data
    np.testing.assert_allclose(G, expected, rtol=1e-9, atol=1e-8)
    gradcheck(lambda t: F.tps_grid(t, size, align_corners), theta, atol=1e-8, rng=rng)


@all_sizes
def test_tps_grid_of_any_size(size, rng):
    theta = rng.standard_normal((size[0], 9, 2))
    assert F.tps_grid(theta, size).shape == (size[0], *size[2:], 2)
    gradcheck(lambda t: F.tps_grid(t, size), theta, atol=1e-8, rng=rng)


def test_the_shared_basis_can_not_be_written_to():
    basis = tps_basis(3, 4, 5, False, np.dtype(np.float64))
    np.testing.assert_allclose(basis.sum(axis=1), 1, rtol=1e-12)
    with pytest.raises(ValueError, match="read-only"):
        basis[0] = 0
    assert tps_basis(3, 4, 5, True, np.dtype(np.float64)) is not basis
    assert tps_basis(3, 4, 5, False, np.dtype(np.float32)).dtype == np.float32
