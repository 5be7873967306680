"""PyTorch, where it is installed, as the fourth witness: the same outputs and gradients.

Random shapes, strides, memory orders and points, outputs to 1e-10 and gradients to 1e-9. Two
differences are meant and kept out: `nearest` rounds halves up where PyTorch rounds them to even,
and PyTorch is no reference for coordinates that are NaN or infinite.
"""

import numpy as np
import pytest

import stn_numpy.functional as F
from stn_numpy import Tensor

torch = pytest.importorskip("torch")
TF = torch.nn.functional
torch.set_num_threads(1)

MODES = ["nearest", "bilinear", "bicubic"]
PADDINGS = ["zeros", "border", "reflection"]


def cases(n):
    return pytest.mark.parametrize("case", range(n))


all_modes = pytest.mark.parametrize("mode", MODES)
all_paddings = pytest.mark.parametrize("padding_mode", PADDINGS)
both_corners = pytest.mark.parametrize("align_corners", [False, True])


def close(ours, theirs, tolerance, name):
    bound = tolerance * max(1, np.abs(theirs).max(initial=0))
    assert ours.shape == theirs.shape, name
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=bound, err_msg=name)


def compare(ours, theirs, arrays, rng):
    """ours(*Tensors) and theirs(*torch tensors): the output, and the gradient of every input."""
    tensors = [Tensor(shuffled(a, rng), requires_grad=True) for a in arrays]
    references = [torch.tensor(np.ascontiguousarray(a), requires_grad=True) for a in arrays]
    y, y_reference = ours(*tensors), theirs(*references)
    close(y.data, y_reference.detach().numpy(), 1e-10, "output")
    cotangent = rng.standard_normal(y.shape)
    y.backward(shuffled(cotangent, rng) if y.ndim else cotangent)
    y_reference.backward(torch.tensor(cotangent))
    for i, (tensor, reference) in enumerate(zip(tensors, references)):
        close(tensor.grad, reference.grad.numpy(), 1e-9, f"gradient of input {i}")


def shuffled(array, rng):
    """The same numbers, in one of five orders of memory."""
    order = rng.integers(5)
    if order == 1:
        return np.moveaxis(np.moveaxis(array, 0, -1).copy(), -1, 0)  # the batch last
    if order == 2:
        return np.repeat(array, 2, axis=-1)[..., ::2]  # every second of a larger array
    if order == 3:
        return array[::-1].copy()[::-1]  # backwards
    if order == 4:
        return np.asfortranarray(array)
    return array.copy()


def integers(rng, *ranges):
    return [int(rng.integers(low, high + 1)) for low, high in ranges]


# Layers


@cases(60)
def test_conv2d(case, rng):
    N, C, O, kh, kw = integers(rng, *[(1, 4)] * 5)
    stride, padding = tuple(integers(rng, (1, 3), (1, 3))), tuple(integers(rng, (0, 3), (0, 3)))
    H, W = (int(rng.integers(max(1, k - 2 * p), 8)) for k, p in zip((kh, kw), padding))
    arrays = [rng.standard_normal(s) for s in ((N, C, H, W), (O, C, kh, kw), (O,))]
    arrays = arrays[: 3 - case % 2]  # every second one without a bias

    def theirs(x, W, b=None):
        return TF.conv2d(x, W, b, stride=stride, padding=padding)

    compare(lambda *a: F.conv2d(*a, stride=stride, padding=padding), theirs, arrays, rng)


@pytest.mark.parametrize("name", ["max_pool2d", "avg_pool2d"])
@cases(25)
def test_pooling(name, case, rng):
    N, C, kh, kw = integers(rng, (1, 3), (1, 3), (1, 4), (1, 4))
    stride = None if case % 3 == 0 else tuple(integers(rng, (1, 4), (1, 4)))
    padding = (int(rng.integers(kh // 2 + 1)), int(rng.integers(kw // 2 + 1)))
    H, W = (int(rng.integers(max(1, k - 2 * p), 8)) for k, p in zip((kh, kw), padding))
    ours, theirs = getattr(F, name), getattr(TF, name)
    x = rng.standard_normal((N, C, H, W))
    if case % 2:
        x = np.round(x)  # ties: both give the gradient to the first
    options = ((kh, kw), stride, padding)
    compare(lambda x: ours(x, *options), lambda x: theirs(x, *options), [x], rng)


@cases(10)
def test_linear(case, rng):
    I, O = integers(rng, (1, 5), (1, 5))
    shape = (*integers(rng, *[(1, 4)] * (case % 4)), I)
    arrays = [rng.standard_normal(s) for s in (shape, (O, I), (O,))][: 3 - case % 2]
    compare(F.linear, TF.linear, arrays, rng)


ACTIVATIONS = {
    "relu": (F.relu, torch.relu),
    "tanh": (F.tanh, torch.tanh),
    "sigmoid": (F.sigmoid, torch.sigmoid),
    "softmax": (lambda x: F.softmax(x, 1), lambda x: torch.softmax(x, 1)),
    "log_softmax": (lambda x: F.log_softmax(x, 1), lambda x: torch.log_softmax(x, 1)),
    "softmax-last": (F.softmax, lambda x: torch.softmax(x, -1)),
    "exp": (F.exp, torch.exp),
    "absolute": (F.absolute, torch.abs),
    "amax": (lambda x: F.amax(x, 1), lambda x: torch.amax(x, 1)),
    "mean": (lambda x: F.mean(x, (0, 2)), lambda x: torch.mean(x, (0, 2))),
}


@pytest.mark.parametrize("name", ACTIVATIONS)
@cases(3)
def test_elementwise_and_reductions(name, case, rng):
    ours, theirs = ACTIVATIONS[name]
    x = 3 * rng.standard_normal(integers(rng, (1, 4), (1, 5), (1, 6)))
    if case == 2:
        x = np.round(x)  # zeros and ties
    compare(ours, theirs, [x], rng)


@cases(10)
def test_losses(case, rng):
    N, K = integers(rng, (1, 6), (1, 5))
    target = rng.integers(0, K, N)
    scores = [10 * rng.standard_normal((N, K))]
    smoothing = rng.uniform()
    compare(
        lambda x: F.cross_entropy(x, target, smoothing),
        lambda x: TF.cross_entropy(x, torch.tensor(target), label_smoothing=smoothing),
        scores,
        rng,
    )
    compare(
        lambda x: F.cross_entropy(x, target),
        lambda x: TF.cross_entropy(x, torch.tensor(target)),
        scores,
        rng,
    )
    compare(F.mse_loss, TF.mse_loss, [*scores, rng.standard_normal((N, K))], rng)


@pytest.mark.parametrize("training", [True, False])
@cases(8)
def test_batch_norm(training, case, rng):
    shape = [(5, 3), (2, 3, 4, 5), (1, 2, 3, 1), (4, 1, 2, 2)][case % 4]
    C = shape[1]
    statistics = rng.standard_normal(C), rng.uniform(0.5, 2, C)
    running, running_reference = [s.copy() for s in statistics], [*map(torch.tensor, statistics)]
    arrays = [rng.standard_normal(shape), rng.standard_normal(C), rng.standard_normal(C)]
    compare(
        lambda x, w, b: F.batch_norm(x, *running, w, b, training, 0.2, 1e-3),
        lambda x, w, b: TF.batch_norm(x, *running_reference, w, b, training, 0.2, 1e-3),
        arrays,
        rng,
    )
    for ours, theirs in zip(running, running_reference):
        close(ours, theirs.numpy(), 1e-10, "running statistics")


# Grids


@pytest.mark.filterwarnings("ignore:Since version 1.3.0, affine_grid:UserWarning")
@both_corners
@cases(15)
def test_affine_grid(align_corners, case, rng):
    size = integers(rng, *[(1, 5)] * 4)
    theta = rng.standard_normal((size[0], 2, 3))
    if case % 5 == 4:
        theta[:, :, :2] = 0  # no area
    compare(
        lambda t: F.affine_grid(t, size, align_corners),
        lambda t: TF.affine_grid(t, size, align_corners),
        [theta],
        rng,
    )


# The sampler


def to_grid(pixels, size, align_corners):
    """Pixel coordinates (..., 2) in an image of size (H, W), normalised."""
    n = np.array(size[::-1])
    if align_corners:
        return 2 * pixels / np.maximum(n - 1, 1) - 1
    return (2 * pixels + 1) / n - 1


DYADIC = {False: [1, 2, 4, 8], True: [2, 3, 5, 9]}  # sizes whose pixel centres are exact


def inside(rng, shape, size, align_corners):
    return rng.uniform(-1, 1, shape)


def around(rng, shape, size, align_corners):
    return rng.uniform(-3, 3, shape)


def far(rng, shape, size, align_corners):
    """Up to 1000 images away. PyTorch would turn farther points into undefined integers."""
    return rng.uniform(-1, 1, shape) * 10.0 ** rng.integers(0, 4, shape)


def lattice(rng, shape, size, align_corners):
    """Pixel centres, in the image and two pixels around it."""
    H, W = size
    pixels = np.stack([rng.integers(-2, n + 2, shape[:3]) for n in (W, H)], axis=-1)
    return to_grid(pixels.astype(float), size, align_corners)


def border(rng, shape, size, align_corners):
    """One coordinate on the outermost pixels or the outer edge, the other anywhere."""
    H, W = size
    n = np.array([W, H])
    ends = np.stack([0 * n, n - 1, 0 * n - 0.5, n - 0.5])[rng.integers(0, 4, shape), [0, 1]]
    on_border = rng.random(shape) < 0.6
    return np.where(on_border, to_grid(ends, size, align_corners), rng.uniform(-1.2, 1.2, shape))


def no_area(rng, shape, size, align_corners):
    return np.broadcast_to(rng.uniform(-1.3, 1.3, (shape[0], 1, 1, 2)), shape).copy()


POINTS = {f.__name__: f for f in (inside, around, far, lattice, border, no_area)}
EXACT = ("lattice", "border")


def sampler_case(rng, points, align_corners):
    N, C, H_out, W_out = integers(rng, (1, 3), (1, 3), (1, 4), (1, 5))
    sizes = DYADIC[align_corners] if points in EXACT else [1, 2, 3, 4, 5, 6, 7]
    size = [int(n) for n in rng.choice(sizes, 2)]
    G = POINTS[points](rng, (N, H_out, W_out, 2), size, align_corners)
    return rng.standard_normal((N, C, *size)), G


@both_corners
@all_paddings
@all_modes
@pytest.mark.parametrize("points", POINTS)
@cases(3)
def test_grid_sample(case, points, mode, padding_mode, align_corners, rng):
    U, G = sampler_case(rng, points, align_corners)
    if mode == "nearest" and points == "border":
        G = G + 1e-3  # halves are where PyTorch rounds to even
    compare(
        lambda U, G: F.grid_sample(U, G, mode, padding_mode, align_corners),
        lambda U, G: TF.grid_sample(U, G, mode, padding_mode, align_corners),
        [U, G],
        rng,
    )


def test_the_one_difference_of_nearest():
    """x = 0.5, 1.5 and 2.5: Eq. (4) rounds them to 1, 2 and 3, PyTorch to 0, 2 and 2."""
    U, x = np.arange(4.0).reshape(1, 1, 1, 4), np.array([0.5, 1.5, 2.5])
    G = np.stack([(2 * x + 1) / 4 - 1, np.zeros(3)], axis=-1).reshape(1, 1, 3, 2)
    ours = F.grid_sample(U, G, "nearest").data.ravel()
    theirs = TF.grid_sample(torch.tensor(U), torch.tensor(G), "nearest", align_corners=False)
    np.testing.assert_array_equal(ours, [1, 2, 3])
    np.testing.assert_array_equal(theirs.numpy().ravel(), [0, 2, 2])


# The whole chain


@both_corners
@all_paddings
@all_modes
@cases(3)
def test_from_theta_to_the_loss(case, mode, padding_mode, align_corners, rng):
    N, C, O, K = integers(rng, (1, 3), (1, 3), (1, 4), (2, 4))
    size = integers(rng, (1, 7), (1, 7))
    H, W = integers(rng, (4, 7), (4, 7))  # of the sampler's output
    target = rng.integers(0, K, N)
    theta = rng.standard_normal((N, 2, 3))
    pool = "max_pool2d"
    if case == 2:  # no area, so that all pixels are equal: which of them is the largest is luck
        theta[:, :, :2], pool = 0, "avg_pool2d"
    features = O * ((H - 2) // 2) * (W - 1)
    arrays = [
        rng.standard_normal((N, C, *size)),
        theta,
        rng.standard_normal((O, C, 3, 2)),
        rng.standard_normal(O),
        rng.standard_normal((K, features)),
        rng.standard_normal(K),
    ]

    def chain(F, target):
        def loss(U, theta, W1, b1, W2, b2):
            G = F.affine_grid(theta, (N, C, H, W), align_corners)
            V = F.grid_sample(U, G, mode, padding_mode, align_corners)
            y = getattr(F, pool)(F.relu(F.conv2d(V, W1, b1)), (2, 1))
            return F.cross_entropy(F.linear(y.reshape(N, -1), W2, b2), target)

        return loss

    compare(chain(F, target), chain(TF, torch.tensor(target)), arrays, rng)
