"""The literal loops: complete, worded as printed, and equal to the fast code and to differences."""

import inspect
import re

import numpy as np
import pytest

from stn_numpy import functional as F
from stn_numpy import reference
from stn_numpy.autograd import Tensor
from stn_numpy.functional.kernels import KERNELS

EQUATIONS = {
    1: "eq01_affine_grid",
    2: "eq02_attention_grid",
    3: "eq03_sample",
    4: "eq04_integer_kernel",
    5: "eq05_bilinear_kernel",
    6: "eq06_grad_U",
    7: "eq07_grad_xs",
}
CONVENTIONS = ("right", "left", "mean")

# The worked example of the book, in pixels counted from 0.
U4 = np.array([[[0, 1, 2, 1], [3, 9, 5, 2], [4, 6, 8, 1], [2, 7, 3, 5]]], dtype=float)
THETA4 = np.array([[0.25, 0.5, 1.75], [-0.5, 0.25, 2.75]])
X4, Y4 = np.tile(np.arange(4.0), 4), np.repeat(np.arange(4.0), 4)


def one(value):
    return np.array([float(value)])


def random_problem(rng, aligned):
    """An image, points off the lattice (some outside), the same in pixels, and a cotangent."""
    C, H, W, H_out, W_out = 2, 3, 5, 2, 4
    U = rng.standard_normal((C, H, W))
    whole = rng.integers(-2, [W + 1, H + 1], (H_out, W_out, 2))
    pixel = whole + rng.uniform(0.1, 0.9, whole.shape)
    G = np.stack(
        [
            np.vectorize(reference.to_normalised)(pixel[..., k], size, aligned)
            for k, size in enumerate((W, H))
        ],
        axis=-1,
    )
    x_s, y_s = pixel.reshape(-1, 2).T
    return U, G, x_s, y_s, rng.standard_normal((C, H_out * W_out))


def functions():
    return {
        name: f
        for name, f in inspect.getmembers(reference, inspect.isfunction)
        if f.__module__ == reference.__name__ and not name.startswith("_")
    }


def test_no_equation_is_missing_and_none_is_made_up():
    numbered = {name: int(name[2:4]) for name in functions() if re.match(r"eq\d\d_", name)}
    assert set(numbered.values()) == set(EQUATIONS)
    for number, name in EQUATIONS.items():
        assert numbered[name] == number
    twins = {"eq06_grad_U_as_printed", "eq07_grad_xs_as_printed", "eq07_grad_ys"}
    assert set(numbered) - set(EQUATIONS.values()) == twins | {"eq07_grad_ys_as_printed"}


@pytest.mark.parametrize("name", [name for name in functions() if name.startswith("eq")])
def test_each_docstring_states_its_equation(name):
    text = inspect.getdoc(functions()[name])
    assert text.startswith(f"Eq. ({int(name[2:4])})")
    stated = [line for line in text.splitlines() if line.startswith("    ")]
    assert any("=" in line or "(" in line for line in stated), "no formula stands apart"
    if int(name[2:4]) >= 6:
        assert "dV_i^c / d" in text and "max(0, 1 - |" in text
    assert ("as printed" in text.splitlines()[0]) == name.endswith("as_printed")


@pytest.mark.parametrize("name", ["grad_U", "grad_xs", "grad_theta"])
def test_the_steps_between_the_equations_are_stated_too(name):
    assert re.search(r"dL / d\S+ = sum_", inspect.getdoc(functions()[name]))


# Forward --------------------------------------------------------------------------------------


def test_eq01_and_the_target_points_agree_with_affine_grid():
    rng = np.random.default_rng(0)
    for aligned in (False, True):
        theta = rng.standard_normal((2, 3))
        x_t, y_t = reference.target_points(3, 5, aligned)
        x_s, y_s = reference.eq01_affine_grid(theta, x_t, y_t)
        G = F.affine_grid(theta[None], (1, 1, 3, 5), aligned).data.reshape(-1, 2)
        np.testing.assert_allclose(np.stack([x_s, y_s], axis=1), G, atol=1e-14)


def test_eq02_is_eq01_with_the_matrix_of_the_package():
    x_t, y_t = reference.target_points(2, 3)
    points = reference.eq02_attention_grid(0.5, 0.25, -0.125, x_t, y_t)
    A = F.attention_matrix(np.array([[0.5, 0.25, -0.125]])).data[0]
    np.testing.assert_array_equal(points, reference.eq01_affine_grid(A, x_t, y_t))


@pytest.mark.parametrize("aligned", [False, True])
@pytest.mark.parametrize("mode", ["nearest", "bilinear", "bicubic"])
def test_eq03_agrees_with_grid_sample_for_every_kernel(mode, aligned):
    kernel = {
        "nearest": reference.eq04_integer_kernel,
        "bilinear": reference.eq05_bilinear_kernel,
        "bicubic": lambda d: float(KERNELS["bicubic"].weights(np.array(d))),
    }[mode]
    U, G, x_s, y_s, _ = random_problem(np.random.default_rng(1), aligned)
    V = reference.eq03_sample(U, x_s, y_s, kernel)
    fast = F.grid_sample(U[None], G[None], mode, align_corners=aligned).data[0]
    np.testing.assert_allclose(V, fast.reshape(V.shape), atol=1e-13)


def test_eq04_rounds_halves_up():
    weights = [reference.eq04_integer_kernel(d) for d in (-0.75, -0.5, 0.0, 0.25, 0.5, 1.0)]
    assert weights == [0, 1, 1, 1, 0, 0]


def test_counting_from_1_as_the_paper_does_changes_nothing():
    """Shift pixels and points by one: only differences x - m enter."""
    rng = np.random.default_rng(2)
    U, x, y = rng.standard_normal((3, 4)), 1.3, 0.6
    H, W = U.shape
    k = reference.eq05_bilinear_kernel
    one_based = sum(
        U[n - 1, m - 1] * k((x + 1) - m) * k((y + 1) - n)
        for n in range(1, H + 1)
        for m in range(1, W + 1)
    )
    zero_based = reference.eq03_sample(U[None], one(x), one(y), k)[0, 0]
    assert one_based == pytest.approx(zero_based, abs=1e-15)


# Backward -------------------------------------------------------------------------------------


@pytest.mark.parametrize("aligned", [False, True])
def test_eq06_and_eq07_agree_with_grid_sample_and_with_differences(aligned):
    U, G, x_s, y_s, dV = random_problem(np.random.default_rng(3), aligned)
    C, H, W = U.shape
    image, grid = Tensor(U[None], requires_grad=True), Tensor(G[None], requires_grad=True)
    F.grid_sample(image, grid, align_corners=aligned).backward(dV.reshape(1, C, *G.shape[:2]))

    dU = reference.grad_U(dV, reference.eq06_grad_U(U, x_s, y_s))
    np.testing.assert_allclose(dU, image.grad[0], atol=1e-13)
    per_x, per_y = (reference.pixels_per_unit(size, aligned) for size in (W, H))
    for convention in CONVENTIONS:  # off the lattice they are one
        dxs = reference.grad_xs(dV, reference.eq07_grad_xs(U, x_s, y_s, convention))
        dys = reference.grad_xs(dV, reference.eq07_grad_ys(U, x_s, y_s, convention))
        dG = np.stack([dxs * per_x, dys * per_y], axis=1).reshape(G.shape)
        np.testing.assert_allclose(dG, grid.grad[0], atol=1e-12)

    def loss(U, x_s, y_s):
        return (dV * reference.eq03_sample(U, x_s, y_s, reference.eq05_bilinear_kernel)).sum()

    eps = 1e-6
    for index in ((0, 0, 0), (1, 2, 3), (1, 1, 4)):
        step = np.zeros_like(U)
        step[index] = eps
        numeric = (loss(U + step, x_s, y_s) - loss(U - step, x_s, y_s)) / (2 * eps)
        assert dU[index] == pytest.approx(numeric, abs=1e-8)
    for i in range(len(x_s)):
        step = eps * (np.arange(len(x_s)) == i)
        numeric = (loss(U, x_s + step, y_s) - loss(U, x_s - step, y_s)) / (2 * eps)
        assert dxs[i] == pytest.approx(numeric, abs=1e-8)
        numeric = (loss(U, x_s, y_s + step) - loss(U, x_s, y_s - step)) / (2 * eps)
        assert dys[i] == pytest.approx(numeric, abs=1e-8)


@pytest.mark.parametrize("aligned", [False, True])
def test_grad_theta_agrees_with_affine_grid_and_with_differences(aligned):
    rng = np.random.default_rng(4)
    H, W = 3, 4
    theta, dG = rng.standard_normal((2, 3)), rng.standard_normal((H, W, 2))
    x_t, y_t = reference.target_points(H, W, aligned)
    dxs, dys = dG.reshape(-1, 2).T
    dtheta = reference.grad_theta(dxs, dys, x_t, y_t)

    tensor = Tensor(theta[None], requires_grad=True)
    F.affine_grid(tensor, (1, 1, H, W), aligned).backward(dG[None])
    np.testing.assert_allclose(dtheta, tensor.grad[0], atol=1e-13)

    def loss(theta):
        x_s, y_s = reference.eq01_affine_grid(theta, x_t, y_t)
        return (dxs * x_s + dys * y_s).sum()

    for index in np.ndindex(2, 3):
        step = np.zeros((2, 3))
        step[index] = 1e-5
        numeric = (loss(theta + step) - loss(theta - step)) / 2e-5
        assert dtheta[index] == pytest.approx(numeric, abs=1e-8)


def test_conventions_at_the_lattice_are_the_one_sided_differences():
    U, eps = U4, 2.0**-20
    k = reference.eq05_bilinear_kernel
    for x, y in [(float(m), 1.75) for m in range(4)]:
        value = reference.eq03_sample(U, one(x), one(y), k)[0, 0]
        before = reference.eq03_sample(U, one(x - eps), one(y), k)[0, 0]
        behind = reference.eq03_sample(U, one(x + eps), one(y), k)[0, 0]
        left, right = (value - before) / eps, (behind - value) / eps
        found = [reference.eq07_grad_xs(U, one(x), one(y), c)[0, 0] for c in CONVENTIONS]
        assert found == pytest.approx([right, left, (left + right) / 2], abs=1e-6)
        # The same along y, on the transposed image.
        turned = U.transpose(0, 2, 1)
        found_y = [reference.eq07_grad_ys(turned, one(y), one(x), c)[0, 0] for c in CONVENTIONS]
        assert found_y == found


def test_unknown_convention_is_refused():
    for grad in (reference.eq07_grad_xs, reference.eq07_grad_ys):
        with pytest.raises(ValueError, match="at_lattice is 'middle', want one of 'right'"):
            grad(U4, one(1), one(1), "middle")


# The printed forms ----------------------------------------------------------------------------


def test_printed_eq06_is_the_sum_of_all_weights():
    printed = reference.eq06_grad_U_as_printed(U4, one(2.5), one(2.5))[0]
    np.testing.assert_array_equal(printed, np.ones((4, 4)))
    right = reference.eq06_grad_U(U4, one(2.5), one(2.5))[0]
    expected = np.zeros((4, 4))
    expected[2:, 2:] = 0.25
    np.testing.assert_array_equal(right, expected)
    for x, y, total in ((3.25, 2.25, 0.75), (3.5, 3.5, 0.25)):  # partly outside
        assert reference.eq06_grad_U_as_printed(U4, one(x), one(y)).max() == total


def test_printed_eq07_at_whole_x():
    y = np.full(4, 1.75)
    x = np.arange(4.0)
    assert reference.eq07_grad_xs_as_printed(U4, x, y)[0].tolist() == [3.75, 6.75, 7.25, 1.25]
    assert reference.eq07_grad_xs(U4, x, y, "left")[0].tolist() == [3.75, 3, 0.5, -6]
    assert reference.eq07_grad_xs(U4, x, y, "right")[0].tolist() == [3, 0.5, -6, -1.25]
    assert reference.eq07_grad_xs(U4, x, y, "mean")[0].tolist() == [3.375, 1.75, -2.75, -3.625]
    between = x + 0.25
    np.testing.assert_array_equal(
        reference.eq07_grad_xs_as_printed(U4, between, y),
        reference.eq07_grad_xs(U4, between, y),
    )


def test_printed_eq07_on_a_constant_image():
    flat = np.full((1, 3, 3), 7.0)
    assert reference.eq07_grad_xs_as_printed(flat, one(1), one(1)) == 7
    assert reference.eq07_grad_ys_as_printed(flat, one(1), one(1)) == 7
    for convention in CONVENTIONS:
        assert reference.eq07_grad_xs(flat, one(1), one(1), convention) == 0
        assert reference.eq07_grad_ys(flat, one(1), one(1), convention) == 0


# The worked example ---------------------------------------------------------------------------


def test_the_worked_example_in_full():
    x_s, y_s = reference.eq01_affine_grid(THETA4, X4, Y4)
    i = 1 * 4 + 1  # the pixel (1, 1)
    assert (x_s[i], y_s[i]) == (2.5, 2.5)
    V = reference.eq03_sample(U4, x_s, y_s, reference.eq05_bilinear_kernel)
    assert V.reshape(4, 4).tolist() == [
        [4.875, 6.75, 5.75, 3.75],
        [3.5, 4.25, 2.75, 1.5],
        [3.375, 4, 1.5, 0.625],
        [1.875, 2.5, 0.75, 0],
    ]
    nearest = reference.eq03_sample(U4, x_s, y_s, reference.eq04_integer_kernel)
    assert nearest[0, i] == 5

    dV = np.array([[1, -1, 2, 0, 0, 3, 1, -2, 1, 0, -1, 2, 2, 1, 0, 1]], dtype=float)
    dU = reference.grad_U(dV, reference.eq06_grad_U(U4, x_s, y_s))
    assert dU[0].tolist() == [
        [0, 0, 0, 0],
        [0, 0, 0.375, -0.625],
        [0, 0.0625, 1.5625, 1.0625],
        [0, 0.1875, 1.25, 2.375],
    ]
    expected = {
        "right": [[-40.25, -39.5, -30.25], [9.5, -44.75, -10.75]],
        "left": [[-27.5, -35.5, -29.5], [10.5, -33, -8]],
        "printed": [[-69.75, -45.5, -47.75], [16.5, -28.75, -4.75]],
    }
    for convention, dtheta in expected.items():
        if convention == "printed":
            dxs = reference.grad_xs(dV, reference.eq07_grad_xs_as_printed(U4, x_s, y_s))
            dys = reference.grad_xs(dV, reference.eq07_grad_ys_as_printed(U4, x_s, y_s))
        else:
            dxs = reference.grad_xs(dV, reference.eq07_grad_xs(U4, x_s, y_s, convention))
            dys = reference.grad_xs(dV, reference.eq07_grad_ys(U4, x_s, y_s, convention))
        assert reference.grad_theta(dxs, dys, X4, Y4).tolist() == dtheta


def test_pixels_and_normalised_coordinates_are_inverse():
    for size in (1, 2, 5):
        for aligned in (False, True):
            for pixel in range(size):
                g = reference.to_normalised(pixel, size, aligned)
                assert reference.to_pixels(g, size, aligned) == pytest.approx(pixel, abs=1e-15)
    assert reference.pixels_per_unit(4) == 2
    assert reference.pixels_per_unit(4, align_corners=True) == 1.5
