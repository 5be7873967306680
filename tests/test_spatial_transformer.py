"""The spatial transformer: fresh it changes nothing, and every gradient finds its way."""

import numpy as np
import pytest

import stn_numpy.functional as F
from stn_numpy import Tensor, gradcheck
from stn_numpy.functional.kernels import Bicubic
from stn_numpy.nn import Conv2d, Flatten, Linear, Module, ReLU, Sequential, Tanh
from stn_numpy.spatial_transformer import (
    ParallelTransformers,
    SpatialTransformer,
    begin_as_affine,
    start_at_identity,
)
from stn_numpy.transforms import Affine, Attention, Projective, ThinPlateSpline

ALL = (Affine(), Attention(), Projective(), ThinPlateSpline(), ThinPlateSpline(3))
each_transform = pytest.mark.parametrize("transform", ALL, ids=repr)
both_corners = pytest.mark.parametrize("align_corners", [False, True])

SHAPE = (2, 3, 5, 7)  # N, C, H, W


def localisation(transform, rng, shape=SHAPE, hidden=4):
    inputs = int(np.prod(shape[1:]))
    return Sequential(
        Flatten(),
        Linear(inputs, hidden, rng=rng),
        Tanh(),
        Linear(hidden, transform.parameters, rng=rng),
    )


def awake(transformer, rng, spread=0.05):
    """A transformer in float64 whose theta depends on what it sees, near the identity."""
    transformer.astype(np.float64)
    last = transformer.localisation[-1]
    last.weight.data[...] = spread * rng.normal(size=last.weight.shape)
    last.bias.data += spread * rng.normal(size=last.bias.shape)
    return transformer


# Fresh


@both_corners
@each_transform
@pytest.mark.parametrize("mode", ["bilinear", "nearest", "bicubic"])
@pytest.mark.parametrize("padding_mode", ["zeros", "border", "reflection"])
def test_fresh_it_returns_its_input(transform, align_corners, mode, padding_mode, rng):
    transformer = SpatialTransformer(
        localisation(transform, rng), transform, None, mode, padding_mode, align_corners
    )
    U = rng.normal(size=SHAPE).astype(np.float32)
    V = transformer(U)
    assert V.dtype == np.float32
    np.testing.assert_allclose(V.data, U, rtol=0, atol=2e-5)
    theta = transformer.theta(U)
    np.testing.assert_array_equal(theta.data, np.tile(transform.identity(), (2, 1)))


@both_corners
@pytest.mark.parametrize("transform", [Affine(), Attention(), Projective(), ThinPlateSpline(3)])
def test_fresh_in_float64_it_returns_its_input_to_fifteen_digits(transform, align_corners, rng):
    transformer = SpatialTransformer(
        localisation(transform, rng), transform, align_corners=align_corners
    )
    transformer.astype(np.float64)
    U = rng.normal(size=SHAPE)
    np.testing.assert_allclose(transformer(U).data, U, rtol=0, atol=5e-14)


def test_only_the_last_layer_is_changed_at_the_start(rng):
    net = localisation(Affine(), rng)
    before = net.state_dict()
    SpatialTransformer(net, Affine())
    after = net.state_dict()
    for name in ("1.weight", "1.bias"):
        np.testing.assert_array_equal(after[name], before[name])
    np.testing.assert_array_equal(after["3.weight"], 0)
    np.testing.assert_array_equal(after["3.bias"], [1, 0, 0, 0, 1, 0])


# Parts


@both_corners
@each_transform
def test_output_size_theta_and_grid(transform, align_corners, rng):
    N, C = SHAPE[:2]
    transformer = SpatialTransformer(
        localisation(transform, rng), transform, (4, 9), align_corners=align_corners
    )
    awake(transformer, rng)
    U = rng.normal(size=SHAPE)
    theta, G, V = transformer.theta(U), transformer.grid(U), transformer(U)
    assert theta.shape == (N, transform.parameters)
    assert np.abs(theta.data - transform.identity()).min() > 0
    assert G.shape == (N, 4, 9, 2)
    assert V.shape == (N, C, 4, 9)
    np.testing.assert_array_equal(theta.data, transformer.localisation(U).data)
    np.testing.assert_array_equal(
        G.data, transform.grid(theta, (N, C, 4, 9), align_corners=align_corners).data
    )
    np.testing.assert_array_equal(V.data, F.grid_sample(U, G, align_corners=align_corners).data)


def test_output_size_may_be_one_number_and_reads_the_whole_image(rng):
    transformer = SpatialTransformer(localisation(Affine(), rng), Affine(), 2)
    U = np.broadcast_to(np.arange(7, dtype=np.float32), SHAPE)
    V = transformer(U)
    assert V.shape == (2, 3, 2, 2)
    # Pixel centres at -1/2 and 1/2: a quarter and three quarters of 7 pixels, less half a pixel.
    np.testing.assert_allclose(V.data, np.broadcast_to([1.25, 4.75], V.shape), atol=1e-6)


@pytest.mark.parametrize("mode", ["bilinear", "nearest", "bicubic", Bicubic(-0.5)])
@pytest.mark.parametrize("padding_mode", ["zeros", "border", "reflection"])
@both_corners
def test_options_reach_the_sampler(mode, padding_mode, align_corners, rng):
    transformer = SpatialTransformer(
        localisation(Affine(), rng), Affine(), (6, 5), mode, padding_mode, align_corners
    )
    awake(transformer, rng, spread=0.4)
    U = rng.normal(size=SHAPE)
    G = transformer.grid(U).data
    assert (np.abs(G) > 1.2).any()  # some points are outside, where the padding decides
    expected = F.grid_sample(U, G, mode, padding_mode, align_corners)
    np.testing.assert_array_equal(transformer(U).data, expected.data)


def test_repr_tells_the_options(rng):
    net = Sequential(Flatten(), Linear(4, 3, rng=rng))
    transformer = SpatialTransformer(
        net, Attention(), (3, 2), mode="bicubic", padding_mode="border", align_corners=True
    )
    assert repr(transformer) == (
        "SpatialTransformer(\n"
        "  Attention(), output_size=(3, 2), mode='bicubic', padding_mode='border', "
        "align_corners=True\n"
        "  (localisation): Sequential(\n"
        "    (0): Flatten()\n"
        "    (1): Linear(4, 3)\n"
        "  )\n"
        ")"
    )


def test_its_state_is_that_of_the_localisation_net(rng):
    transformer = SpatialTransformer(localisation(Affine(), rng), Affine())
    names = ["1.weight", "1.bias", "3.weight", "3.bias"]
    assert list(transformer.state_dict()) == [f"localisation.{name}" for name in names]


# Gradients


@both_corners
@each_transform
@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
def test_from_theta_and_input_to_the_loss(transform, align_corners, mode, rng):
    N, C = 2, 2
    U = rng.normal(size=(N, C, 4, 5))
    target = rng.normal(size=(N, C, 3, 6))
    theta = transform.identity() + 0.1 * rng.normal(size=(N, transform.parameters))

    def loss(U, theta):
        G = transform.grid(theta, (N, C, 3, 6), align_corners)
        return F.mse_loss(F.grid_sample(U, G, mode, align_corners=align_corners), target)

    assert gradcheck(loss, [U, theta], rng=rng)


@pytest.mark.parametrize("transform", [Affine(), Attention(), Projective(), ThinPlateSpline(2)])
def test_the_whole_module_with_its_localisation_net(transform, rng):
    """U is used twice; convolution, localisation net and classifier are part of the chain."""
    shape = (2, 2, 5, 6)
    net = Sequential(
        Conv2d(2, 2, (2, 3), rng=rng),
        Tanh(),
        Flatten(),
        Linear(2 * 4 * 4, 3, rng=rng),
        Tanh(),
        Linear(3, transform.parameters, rng=rng),
    )
    transformer = awake(SpatialTransformer(net, transform, (4, 5)), rng, spread=0.1)
    classifier = Linear(2 * 4 * 5, 3, rng=rng).astype(np.float64)
    owners = [(net[0], "weight"), (net[3], "bias"), (net[5], "weight"), (net[5], "bias")]
    start = [getattr(layer, name).data for layer, name in owners]
    labels = np.array([2, 0])

    def loss(U, *parameters):
        for (layer, name), parameter in zip(owners, parameters):
            setattr(layer, name, parameter)
        return F.cross_entropy(classifier(F.flatten(transformer(U))), labels)

    assert gradcheck(loss, [rng.normal(size=shape), *start], rng=rng)


@each_transform
def test_the_input_receives_both_gradients(transform, rng):
    """Through what is read and through where it is read: together they are the whole."""
    transformer = awake(SpatialTransformer(localisation(transform, rng), transform), rng)
    image = rng.normal(size=SHAPE)
    cotangent = rng.normal(size=SHAPE)

    def gradient(forward):
        U = Tensor(image, requires_grad=True)
        forward(U).backward(cotangent)
        return U.grad

    whole = gradient(transformer)
    what = gradient(lambda U: F.grid_sample(U, transformer.grid(image).detach()))
    where = gradient(lambda U: F.grid_sample(image, transformer.grid(U)))
    np.testing.assert_allclose(whole, what + where, rtol=1e-12, atol=1e-12)
    assert np.abs(what).max() > 0.1
    assert np.abs(where).max() > 1e-3


@each_transform
def test_at_the_first_step_only_the_last_layer_of_the_localisation_net_learns(transform, rng):
    """Zero weights pass nothing on to what stands before them; their own gradient is not zero."""
    transformer = SpatialTransformer(localisation(transform, rng), transform)
    U = Tensor(rng.normal(size=SHAPE).astype(np.float32), requires_grad=True)
    transformer(U).backward(rng.normal(size=SHAPE))
    _, first, _, last = transformer.localisation
    np.testing.assert_array_equal(first.weight.grad, 0)
    np.testing.assert_array_equal(first.bias.grad, 0)
    assert (last.bias.grad != 0).all()
    assert (last.weight.grad != 0).any()
    assert (U.grad != 0).any()


def test_nothing_learns_where_to_look_by_nearest(rng):
    transformer = SpatialTransformer(localisation(Affine(), rng), Affine(), mode="nearest")
    transformer(rng.normal(size=SHAPE).astype(np.float32)).backward(rng.normal(size=SHAPE))
    for parameter in transformer.parameters():
        np.testing.assert_array_equal(parameter.grad, 0)


def test_it_agrees_with_torch(rng):
    torch = pytest.importorskip("torch")
    for align_corners in (False, True):
        transformer = SpatialTransformer(
            localisation(Affine(), rng), Affine(), (6, 4), align_corners=align_corners
        )
        awake(transformer, rng, spread=0.3)
        image = rng.normal(size=SHAPE)
        cotangent = rng.normal(size=(2, 3, 6, 4))

        ours = Tensor(image, requires_grad=True)
        V = transformer(ours)
        V.backward(cotangent)

        theirs = torch.tensor(image, requires_grad=True)
        _, first, _, last = transformer.localisation
        W1, b1, W2, b2 = weights = [
            torch.tensor(p.data, requires_grad=True)
            for p in (first.weight, first.bias, last.weight, last.bias)
        ]
        theta = torch.tanh(theirs.flatten(1) @ W1.T + b1) @ W2.T + b2
        grid = torch.nn.functional.affine_grid(
            theta.view(-1, 2, 3), (2, 3, 6, 4), align_corners=align_corners
        )
        reference = torch.nn.functional.grid_sample(theirs, grid, align_corners=align_corners)
        reference.backward(torch.tensor(cotangent))

        np.testing.assert_allclose(V.data, reference.detach(), rtol=1e-10, atol=1e-10)
        np.testing.assert_allclose(ours.grad, theirs.grad, rtol=1e-9, atol=1e-9)
        for p, q in zip(transformer.parameters(), weights):
            np.testing.assert_allclose(p.grad, q.grad, rtol=1e-9, atol=1e-9)


# Wrong arguments


class Backwards(Module):
    """Ends with a Linear, but of the wrong kind: another stands behind it."""

    def __init__(self):
        self.head = Linear(3, 6)
        self.body = Linear(4, 3)


@pytest.mark.parametrize(
    ("net", "error", "message"),
    [
        (
            lambda: Linear(4, 6, bias=False),
            ValueError,
            "ends with Linear.4, 6, bias=False., want a",
        ),
        (
            lambda: Sequential(Linear(4, 6), Tanh()),
            ValueError,
            r"ends with Tanh\(\), want a Linear",
        ),
        (lambda: Sequential(Linear(4, 6), Flatten()), ValueError, r"ends with Flatten\(\), want"),
        (lambda: Sequential(), ValueError, r"ends with Sequential\(\), want a Linear with a bias"),
        (lambda: Conv2d(1, 6, 3), ValueError, "ends with Conv2d.*, want a Linear with a bias"),
        (lambda: Linear(4, 3), ValueError, r"has 3 outputs, want 6 for Affine\(\)"),
        (Backwards, ValueError, r"has 3 outputs, want 6 for Affine\(\)"),
        (lambda: Linear, TypeError, "is <class .*Linear.*>, want a Module"),
        (lambda: lambda U: U, TypeError, "is <function .*, want a Module"),
        (lambda: None, TypeError, "is None, want a Module"),
    ],
)
def test_a_wrong_localisation_net_is_refused_and_left_alone(net, error, message):
    net = net()
    before = net.state_dict() if isinstance(net, Module) else {}
    with pytest.raises(error, match=f"SpatialTransformer: localisation {message}"):
        SpatialTransformer(net, Affine())
    for name, array in before.items():
        np.testing.assert_array_equal(net.state_dict()[name], array)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"transform": "affine"}, TypeError, "transform is 'affine', want an object such as"),
        ({"transform": Affine}, TypeError, "transform is <class .*Affine.*>, want an object such"),
        ({"transform": ThinPlateSpline()}, ValueError, r"has 6 outputs, want 32 for ThinPlate"),
        ({"output_size": (3, 0)}, ValueError, "output_size is 0, want at least 1"),
        ({"output_size": (3, 4, 5)}, ValueError, r"output_size is \(3, 4, 5\), want"),
        ({"output_size": 2.5}, TypeError, "output_size is 2.5, want an integer"),
        ({"mode": "cubic"}, ValueError, "mode .* is 'cubic', want one of 'nearest', 'bilinear'"),
        ({"mode": None}, ValueError, "mode .* is None, want one of"),
        ({"padding_mode": "wrap"}, ValueError, "padding_mode is 'wrap', want one of 'zeros'"),
    ],
)
def test_other_wrong_arguments_are_named(arguments, error, message, rng):
    net = Sequential(ReLU(), Linear(4, 6, rng=rng))
    before = net[1].weight.data.copy()
    with pytest.raises(error, match=f"SpatialTransformer: .*{message}"):
        SpatialTransformer(net, **{"transform": Affine(), **arguments})
    np.testing.assert_array_equal(net[1].weight.data, before)


def test_start_at_identity_serves_networks_of_another_make(rng):
    net = Sequential(Linear(5, 8, rng=rng))
    start_at_identity(net, Projective())
    theta = net(rng.normal(size=(2, 5)).astype(np.float32))
    np.testing.assert_array_equal(theta.data, [[1, 0, 0, 0, 1, 0, 0, 0]] * 2)


# To begin as affine


def reader_and_more(transform, rng, readers=1, hidden=4):
    """A network of some transformers and a layer behind, awake."""
    readers = [
        awake(SpatialTransformer(localisation(transform, rng, hidden=hidden), transform), rng, 0.3)
        for _ in range(readers)
    ]
    behind = Linear(len(readers) * int(np.prod(SHAPE[1:])), 3, rng=rng).astype(np.float64)
    return Sequential(ParallelTransformers(*readers), Flatten(), behind)


@pytest.mark.parametrize("transform", [Projective(), ThinPlateSpline(), ThinPlateSpline(3)])
@pytest.mark.parametrize("readers", [1, 2])
def test_begun_as_affine_it_does_what_its_twin_does(transform, readers, rng):
    affine = reader_and_more(Affine(), rng, readers)
    model = reader_and_more(transform, rng, readers)
    U = rng.normal(size=SHAPE)
    before = {name: value.copy() for name, value in affine.state_dict().items()}
    assert np.abs(model(U).data - affine(U).data).max() > 0.1
    begin_as_affine(model, affine)
    np.testing.assert_allclose(model(U).data, affine(U).data, rtol=0, atol=1e-12)
    thetas = [reader.theta(U).data for reader in affine[0].readers()]
    assert all(np.ptp(theta, axis=0).min() > 1e-3 for theta in thetas), "they depend on U"
    for name, value in affine.state_dict().items():
        np.testing.assert_array_equal(value, before[name])


def test_twins_only(rng):
    affine, pair = reader_and_more(Affine(), rng), reader_and_more(Affine(), rng, 2)
    other = reader_and_more(ThinPlateSpline(), rng)
    for model, twin, error, message in (
        (reader_and_more(Attention(), rng), affine, TypeError, r"Attention\(\) has no of_affine"),
        (reader_and_more(Projective(), rng), other, ValueError, r"\(4, 32\), want \(N, 6\)"),
        (reader_and_more(Projective(), rng, 2), affine, ValueError, "0.1.* is missing"),
        (reader_and_more(Projective(), rng), pair, ValueError, "0.1.* is not known"),
        (reader_and_more(Projective(), rng, hidden=5), affine, ValueError, r"want \(8, 5\)"),
    ):
        before = {name: value.copy() for name, value in model.state_dict().items()}
        with pytest.raises(error, match=message):
            begin_as_affine(model, twin)
        for name, value in model.state_dict().items():
            np.testing.assert_array_equal(value, before[name])
