"""Whole networks at once: theta -> grid -> sample -> conv -> pool -> linear -> loss.

Every coordinate of every input against finite differences, in float64.
"""

import numpy as np
import pytest

import stn_numpy.functional as F
from stn_numpy import Tensor, gradcheck
from stn_numpy.functional.grid import control_points

N, C, O, K = 2, 3, 2, 4  # images, channels, filters, classes
INPUT, OUTPUT = (4, 5), (5, 6)  # (H, W) before and after the sampler
TARGET = np.array([3, 0])

all_modes = pytest.mark.parametrize("mode", ["nearest", "bilinear", "bicubic"])
all_paddings = pytest.mark.parametrize("padding_mode", ["zeros", "border", "reflection"])
both_corners = pytest.mark.parametrize("align_corners", [False, True])


def affine(rng):
    return np.array([[1.0, 0, 0], [0, 1, 0]]) + 0.4 * rng.standard_normal((N, 2, 3))


def attention(rng):
    return np.array([0.8, 0, 0]) + 0.3 * rng.standard_normal((N, 3))


def projective(rng):
    return np.array([1.0, 0, 0, 0, 1, 0, 0, 0]) + rng.uniform(-0.3, 0.3, (N, 8))


def spline(rng):
    return control_points(3) + 0.3 * rng.standard_normal((N, 9, 2))


def attention_grid(theta, size, align_corners=False):
    return F.affine_grid(F.attention_matrix(theta), size, align_corners)


TRANSFORMS = {
    "affine": (affine, F.affine_grid),
    "attention": (attention, attention_grid),
    "projective": (projective, F.projective_grid),
    "spline": (spline, F.tps_grid),
}


def parameters(rng):
    """Images, filters, their bias, weights of the classes, their bias."""
    features = O * 2 * 4
    shapes = (N, C, *INPUT), (O, C, 2, 3), (O,), (K, features), (K,)
    return [rng.standard_normal(shape) / max(1, shape[-1] / 4) for shape in shapes]


def classify(V, W1, b1, W2, b2, pool=F.max_pool2d):
    """conv -> pool -> linear."""
    y = pool(F.tanh(F.conv2d(V, W1, b1)), (2, 2), (2, 1), (0, 1))
    return F.linear(F.flatten(y[:, :, :, :4]), W2, b2)


@both_corners
@all_paddings
@all_modes
def test_from_theta_to_cross_entropy(mode, padding_mode, align_corners, rng):
    def loss(theta, U, *weights):
        G = F.affine_grid(theta, (N, C, *OUTPUT), align_corners)
        V = F.grid_sample(U, G, mode, padding_mode, align_corners)
        return F.cross_entropy(classify(V, *weights), TARGET)

    assert gradcheck(loss, [affine(rng), *parameters(rng)], atol=1e-8, rng=rng)


@both_corners
@pytest.mark.parametrize("name", TRANSFORMS)
def test_every_transformation(name, align_corners, rng):
    draw, make_grid = TRANSFORMS[name]

    def scores(theta, U, *weights):
        V = F.grid_sample(U, make_grid(theta, (N, C, *OUTPUT), align_corners))
        return classify(V, *weights, pool=F.avg_pool2d)

    assert gradcheck(scores, [draw(rng), *parameters(rng)], atol=1e-8, rng=rng)


@pytest.mark.parametrize("name", TRANSFORMS)
def test_theta_learns_something(name, rng):
    """A gradient of zeros would agree with the finite differences of a chain that is cut."""
    draw, make_grid = TRANSFORMS[name]
    theta = Tensor(draw(rng), requires_grad=True)
    V = F.grid_sample(rng.standard_normal((N, C, *INPUT)), make_grid(theta, (N, C, *OUTPUT)))
    V.backward(rng.standard_normal(V.shape))
    assert np.abs(theta.grad).min() > 1e-4


def test_the_localisation_net_learns_through_the_sampler(rng):
    """U -> localisation -> theta -> grid -> sample -> conv -> norm -> pool -> linear -> loss."""
    U, W1, b1, W2, b2 = parameters(rng)
    Wl, A = rng.standard_normal((3, C, 3, 2)) / 2, rng.standard_normal((6, 3 * 1 * 2)) / 6
    gamma, beta = rng.uniform(0.5, 2, O), rng.standard_normal(O)

    def loss(image, Wl, A, W1, b1, gamma, beta, W2, b2):
        U = F.tanh(image)  # read twice: by the localisation net and by the sampler
        local = F.max_pool2d(F.relu(F.conv2d(U, Wl)), 2)
        theta = F.linear(F.flatten(local), A) + np.array([0.9, 0.1, 0, -0.1, 0.9, 0])
        V = F.grid_sample(U, F.affine_grid(theta.reshape(N, 2, 3), (N, C, *OUTPUT)))
        y = F.batch_norm(F.conv2d(V, W1, b1), None, None, gamma, beta, training=True)
        y = F.max_pool2d(F.relu(y), 2)
        y = F.dropout(F.flatten(y), 0.3, rng=np.random.default_rng(1))
        return F.cross_entropy(F.linear(y, W2[:, : y.shape[1]], b2), TARGET)

    # Batch normalisation takes every constant out again, so that the gradient of b1 is 0.
    assert gradcheck(loss, [U, Wl, A, W1, b1, gamma, beta, W2, b2], atol=1e-8, rng=rng)


def test_two_samplers_one_behind_the_other(rng):
    def twice(U, theta_1, theta_2):
        V = F.grid_sample(U, F.affine_grid(theta_1, (N, C, 3, 6)), padding_mode="border")
        return F.grid_sample(V, F.affine_grid(theta_2, (N, C, 5, 2)), "bicubic", "reflection")

    U = rng.standard_normal((N, C, *INPUT))
    assert gradcheck(twice, [U, affine(rng), affine(rng)], atol=1e-8, rng=rng)


def test_two_transformers_side_by_side(rng):
    """Both read U; their outputs are stacked as channels."""

    def scores(U, theta_1, theta_2, W):
        V = F.concat(
            [
                F.grid_sample(U, F.affine_grid(theta, (N, C, *OUTPUT)))
                for theta in (theta_1, theta_2)
            ],
            dim=1,
        )
        return F.log_softmax(F.flatten(F.conv2d(V, W, stride=2)))

    U, W = rng.standard_normal((N, C, *INPUT)), rng.standard_normal((1, 2 * C, 3, 2))
    assert gradcheck(scores, [U, affine(rng), affine(rng), W], atol=1e-8, rng=rng)


def test_a_theta_without_area(rng):
    """All points are one point, and theta still learns from all of them."""
    theta = np.zeros((N, 2, 3))
    theta[:, :, 2] = [[0.3, -0.2], [-0.1, 0.45]]

    def loss(theta, U, *weights):
        V = F.grid_sample(U, F.affine_grid(theta, (N, C, *OUTPUT)))
        return F.cross_entropy(classify(V, *weights, pool=F.avg_pool2d), TARGET)

    assert gradcheck(loss, [theta, *parameters(rng)], atol=1e-8, rng=rng)


@pytest.mark.parametrize("size", [(1, 5), (4, 1), (1, 1)], ids=str)
@both_corners
def test_images_of_one_row_or_column(align_corners, size, rng):
    def loss(theta, U):
        G = F.affine_grid(theta, (N, C, 2, 3), align_corners)
        V = F.grid_sample(U, G, align_corners=align_corners)
        return F.mse_loss(F.avg_pool2d(V, 2, 1), np.ones((N, C, 1, 2)))

    assert gradcheck(loss, [affine(rng), rng.standard_normal((N, C, *size))], atol=1e-8, rng=rng)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_chain_keeps_its_dtype(dtype, rng):
    arrays = [a.astype(dtype) for a in (affine(rng), *parameters(rng))]
    tensors = [Tensor(a, requires_grad=True) for a in arrays]
    theta, U, *weights = tensors
    V = F.grid_sample(U, F.affine_grid(theta, (N, C, *OUTPUT)))
    loss = F.cross_entropy(classify(V, *weights), TARGET) * 0.5 + 1
    loss.backward()
    assert loss.dtype == dtype
    assert all(t.grad.dtype == dtype and np.isfinite(t.grad).all() for t in tensors)
