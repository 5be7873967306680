"""The networks: their layers, their sizes, and the same training step as in PyTorch."""

from collections import OrderedDict

import numpy as np
import pytest

import stn_numpy.functional as F
from stn_numpy import Tensor, models
from stn_numpy.optim import SGD, Adam
from stn_numpy.spatial_transformer import ParallelTransformers, SpatialTransformer
from stn_numpy.transforms import TRANSFORMS, ThinPlateSpline

PLAIN = ("fcn", "cnn")
SPATIAL = ("st-fcn", "st-cnn")
SIZES = {"R": 28, "RTS": 42, "P": 28, "E": 28, "TC": 60}  # height and width of the images


def layers(model):
    """The layers as one reads them: ["Conv2d(1, 32, kernel_size=(9, 9))", ...]."""
    return [repr(layer) for layer in model]


# Sizes


@pytest.mark.parametrize("size", sorted(set(SIZES.values())))
@pytest.mark.parametrize("name", PLAIN + SPATIAL)
def test_every_network_of_the_table_has_the_same_number_of_parameters(name, size):
    for transform in TRANSFORMS if name in SPATIAL else ("affine",):
        model = models.build(name, transform, image_size=size)
        assert model.num_parameters() == pytest.approx(400_000, rel=0.02), transform


@pytest.mark.parametrize("name", PLAIN + SPATIAL)
def test_the_width_is_the_one_that_comes_closest(name, rng):
    def count(width):
        return models.build(name, width=width, rng=rng).num_parameters()

    counts = [count(width) for width in range(1, 40)]
    assert counts == sorted(counts)
    for budget in (1, 30_000, counts[15] + 1, counts[16] - 1, (counts[20] + counts[21]) // 2 + 1):
        got = models.build(name, parameters=budget, rng=rng).num_parameters()
        assert abs(got - budget) == min(abs(c - budget) for c in counts), budget


def test_the_st_cnn_with_32_filters_counted_by_hand():
    conv1, conv2, classifier = 32 * 81 + 32, 32 * 32 * 49 + 32, 10 * 32 * 2 * 2 + 10
    localisation = (20 * 25 + 20) + (20 * 20 * 25 + 20) + (20 * 20 + 20) + (20 * 6 + 6)
    model = models.build("st-cnn", width=32)
    assert model.num_parameters() == conv1 + conv2 + classifier + localisation == 65_208


@pytest.mark.parametrize("name", models.MODELS)
@pytest.mark.parametrize("size", [28, 33, 42, 60])
def test_every_network_takes_what_it_is_built_for(name, size, rng):
    model = models.build(
        name, "projective", image_size=size, channels=2, classes=7, width=3, rng=rng
    )
    scores = model(rng.normal(size=(2, 2, size, size)).astype(np.float32))
    assert scores.shape == (2, 7)
    assert scores.dtype == np.float32
    scores.backward(rng.normal(size=(2, 7)))
    assert all(p.grad is not None for p in model.parameters())


@pytest.mark.parametrize(
    ("name", "smallest"), [("fcn", 24), ("cnn", 24), ("st-fcn", 24), ("st-cnn", 28)]
)
def test_the_smallest_images(name, smallest, rng):
    model = models.build(name, image_size=smallest, width=2, rng=rng)
    assert model(np.zeros((1, 1, smallest, smallest), np.float32)).shape == (1, 10)
    with pytest.raises(ValueError, match=f"image_size is {smallest - 1}, want at least {smallest}"):
        models.build(name, image_size=smallest - 1, width=2)


# Layers


def test_the_layers_of_the_fcn():
    assert layers(models.build("fcn", width=128)) == [
        "Flatten()",
        "Linear(784, 128)",
        "ReLU()",
        "Linear(128, 128)",
        "ReLU()",
        "Linear(128, 10)",
    ]


def test_the_layers_of_the_cnn():
    assert layers(models.build("cnn", width=64)) == [
        "Conv2d(1, 64, kernel_size=(9, 9))",
        "MaxPool2d(kernel_size=(2, 2))",
        "ReLU()",
        "Conv2d(64, 64, kernel_size=(7, 7))",
        "MaxPool2d(kernel_size=(2, 2))",
        "ReLU()",
        "Flatten()",
        "Linear(256, 10)",
    ]


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_the_localisation_net_of_the_st_fcn(transform):
    transformer = models.build("st-fcn", transform, width=8)[0]
    assert layers(transformer.localisation) == [
        "Flatten()",
        "Linear(784, 32)",
        "ReLU()",
        "Linear(32, 32)",
        "ReLU()",
        "Linear(32, 32)",
        "ReLU()",
        f"Linear(32, {TRANSFORMS[transform].parameters})",
    ]


@pytest.mark.parametrize(("size", "last"), [(28, 1), (42, 4), (60, 9)])
def test_the_localisation_net_of_the_st_cnn(size, last):
    transformer = models.build("st-cnn", "tps", image_size=size, width=8)[0]
    assert layers(transformer.localisation) == [
        "AvgPool2d(kernel_size=(2, 2))",  # the input downsampled by 2
        "Conv2d(1, 20, kernel_size=(5, 5))",
        "MaxPool2d(kernel_size=(2, 2))",
        "ReLU()",
        "Conv2d(20, 20, kernel_size=(5, 5))",
        "ReLU()",
        "Flatten()",
        f"Linear({20 * last * last}, 20)",
        "ReLU()",
        "Linear(20, 32)",
    ]


@pytest.mark.parametrize("name", SPATIAL)
@pytest.mark.parametrize(
    ("size", "read", "seen"),
    # 42 halved is less than a CNN can take, so there 28 x 28 are read at once.
    [(28, 28, 28), (42, 28, 28), (60, 60, 30)],
)
def test_what_stands_before_the_classifier(name, size, read, seen):
    model = models.build(name, image_size=size, width=8)
    assert models.read_out(size) == (read, seen)
    assert model[0].output_size == (read, read)
    pooled = ["AvgPool2d(kernel_size=(2, 2))"] if read != seen else []
    classifier = models.build(name.removeprefix("st-"), image_size=seen, width=8)
    assert layers(model)[1:] == pooled + layers(classifier)


@pytest.mark.parametrize("transform", TRANSFORMS)
@pytest.mark.parametrize("name", SPATIAL)
def test_fresh_it_sees_what_the_classifier_alone_sees(name, transform, rng):
    model = models.build(name, transform, width=5, rng=rng)
    alone = models.build(name.removeprefix("st-"), width=5)
    state = model.state_dict()
    alone.load_state_dict({key: state[key] for key in alone.state_dict()})
    x = rng.random((3, 1, 28, 28), dtype=np.float32)
    np.testing.assert_allclose(model(x).data, alone(x).data, rtol=0, atol=1e-5)


# Weights


@pytest.mark.parametrize("name", models.MODELS)
def test_same_seed_same_weights(name):
    def state(seed):
        return models.build(name, parameters=30_000, rng=np.random.default_rng(seed)).state_dict()

    one, again, other = state(3), state(3), state(4)
    for key, array in one.items():
        np.testing.assert_array_equal(array, again[key])
    # All differ but the last layer of the localisation net, which says "identity".
    same = [key for key, array in one.items() if np.array_equal(array, other[key])]
    assert len(same) == (0 if name in PLAIN else 4 if name == "2xst-cnn" else 2)


def test_without_a_generator_weights_differ():
    one, other = (models.build("fcn", width=2).state_dict() for _ in range(2))
    assert not np.array_equal(one["fc1.weight"], other["fc1.weight"])


@pytest.mark.parametrize("name", models.MODELS)
def test_the_parameters_of_the_localisation_nets(name):
    model = models.build(name, parameters=30_000)
    names = {id(p): key for key, p in model.named_parameters()}
    got = [names[id(p)] for p in models.localisation_parameters(model)]
    starts = ("transformer.", "localization.", "fc_loc.")
    assert got == [key for key in names.values() if key.startswith(starts)]
    assert bool(got) == (name not in PLAIN)


@pytest.mark.parametrize("name", models.MODELS)
def test_who_can_say_where_the_input_is_read(name, rng):
    model = models.build(name, width=3, rng=rng)
    reader = models.reader(model)
    if name in PLAIN:
        assert reader is None
        return
    kind = models.TutorialNet if name == "tutorial" else SpatialTransformer
    assert isinstance(reader, kind)
    read = 10 if name == "lasagne" else 28
    assert reader.grid(rng.random((2, 1, 28, 28), dtype=np.float32)).shape == (2, read, read, 2)


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_each_of_two_transformers_begins_with_a_channel_of_its_own(channels, rng):
    model = models.build("2xst-cnn", channels=channels, parameters=30_000, rng=rng)
    plain = models.cnn(28, 2 * channels, 10, model.conv1.weight.shape[0], rng)["conv1"].weight.data
    weight = model.conv1.weight.data
    seen = [[*t.localisation.modules()][2].weight.data for t in model.transformer.readers()]
    if channels != 2:  # nothing to share out: all look at all
        assert np.all(weight != 0) and all(np.all(w != 0) for w in seen)
        return
    # conv1 sees (transformer 0, channel 0), (0, 1), (1, 0), (1, 1).
    assert [bool(weight[:, i].any()) for i in range(4)] == [True, False, False, True]
    assert [[bool(w[:, c].any()) for c in (0, 1)] for w in seen] == [[True, False], [False, True]]
    # The weights are of He's size, for the two pictures that count; and all go on to learn.
    he = 2 / (2 * 9 * 9)
    assert (weight[:, [0, 3]] ** 2).mean() == pytest.approx(he, rel=0.1)
    assert (plain**2).mean() == pytest.approx(he / 12, rel=0.1)  # 1 / 3 of 1 / (4 * 9 * 9)
    x = rng.normal(size=(4, 2, 28, 28)).astype(np.float32)
    (model(x) ** 2).sum().backward()
    assert all(model.conv1.weight.grad[:, i].any() for i in range(4))


def test_two_transformers_in_parallel(rng):
    model = models.build("2xst-cnn", "affine", image_size=42, channels=2, classes=19, rng=rng)
    assert model.num_parameters() == pytest.approx(400_000, rel=0.02)
    x = rng.random((3, 2, 42, 42), dtype=np.float32)
    readers = [m for m in model.modules() if isinstance(m, SpatialTransformer)]
    assert len(readers) == 2
    # Each has weights of its own, reads both channels, and their outputs are side by side.
    *_, last = readers[0].localisation.modules()
    last.bias.data[...] = [0.5, 0.1, 0.2, 0.0, 0.7, -0.3]
    both = model.transformer(x).data
    assert both.shape == (3, 4, 28, 28)
    assert np.array_equal(both[:, :2], readers[0](x).data)
    assert np.array_equal(both[:, 2:], readers[1](x).data)
    assert not np.array_equal(both[:, :2], both[:, 2:])
    assert len(models.localisation_parameters(model)) == 2 * 8
    assert model.transformer.readers() == readers
    with pytest.raises(TypeError, match=r"^ParallelTransformers: .* at least 1"):
        ParallelTransformers()
    with pytest.raises(TypeError, match=r"^ParallelTransformers: "):
        ParallelTransformers(readers[0], last)


def test_the_network_of_lasagnes_recipe():
    model = models.build("lasagne", image_size=60)
    assert model.transformer.output_size == (20, 20)
    localisation = (20 * 25 + 20) + (20 * 20 * 25 + 20) + (20 * 81 * 50 + 50) + (50 * 6 + 6)
    classifier = (32 * 9 + 32) + (32 * 32 * 9 + 32) + (32 * 9 * 256 + 256) + 2570
    assert model.num_parameters() == localisation + classifier


# The same networks in PyTorch


def tutorial_in_torch(torch):
    """The network of PyTorch's tutorial on spatial transformers."""
    nn, functional = torch.nn, torch.nn.functional

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv1 = nn.Conv2d(1, 10, kernel_size=5)
            self.conv2 = nn.Conv2d(10, 20, kernel_size=5)
            self.conv2_drop = nn.Dropout2d()
            self.fc1 = nn.Linear(320, 50)
            self.fc2 = nn.Linear(50, 10)
            pooled = nn.MaxPool2d(2, stride=2), nn.ReLU(True)
            self.localization = nn.Sequential(
                nn.Conv2d(1, 8, kernel_size=7), *pooled, nn.Conv2d(8, 10, kernel_size=5), *pooled
            )
            self.fc_loc = nn.Sequential(nn.Linear(90, 32), nn.ReLU(True), nn.Linear(32, 6))

        def forward(self, x):
            theta = self.fc_loc(self.localization(x).view(-1, 90)).view(-1, 2, 3)
            grid = functional.affine_grid(theta, x.size(), align_corners=False)
            x = functional.grid_sample(x, grid, align_corners=False)
            x = functional.relu(functional.max_pool2d(self.conv1(x), 2))
            x = functional.relu(functional.max_pool2d(self.conv2_drop(self.conv2(x)), 2))
            x = functional.relu(self.fc1(x.view(-1, 320)))
            x = functional.dropout(x, training=self.training)
            return functional.log_softmax(self.fc2(x), dim=1)

    return Net()


def st_cnn_in_torch(torch, width, size, read, seen):
    """The paper's ST-CNN with an affine transformer."""
    nn, functional = torch.nn, torch.nn.functional
    halved, last = ((size // 2 - 4) // 2 - 4), ((seen - 8) // 2 - 6) // 2

    class Transformer(nn.Module):
        def __init__(self):
            super().__init__()
            self.localisation = nn.Sequential(
                nn.AvgPool2d(2),
                nn.Conv2d(1, 20, 5),
                nn.MaxPool2d(2),
                nn.ReLU(),
                nn.Conv2d(20, 20, 5),
                nn.ReLU(),
                nn.Flatten(),
                nn.Linear(20 * halved**2, 20),
                nn.ReLU(),
                nn.Linear(20, 6),
            )

        def forward(self, x):
            theta = self.localisation(x).view(-1, 2, 3)
            grid = functional.affine_grid(theta, (len(x), 1, read, read), align_corners=False)
            return functional.grid_sample(x, grid, align_corners=False)

    # ReLU before pooling, as the paper has it; ours pools first, which comes to the same.
    return nn.Sequential(
        OrderedDict(
            transformer=Transformer(),
            average=nn.AvgPool2d(2) if read != seen else nn.Identity(),
            conv1=nn.Conv2d(1, width, 9),
            relu1=nn.ReLU(),
            pool1=nn.MaxPool2d(2),
            conv2=nn.Conv2d(width, width, 7),
            relu2=nn.ReLU(),
            pool2=nn.MaxPool2d(2),
            flatten=nn.Flatten(),
            classifier=nn.Linear(width * last**2, 10),
        )
    )


def fcn_in_torch(torch):
    """The paper's ST-FCN without its transformer."""
    nn = torch.nn
    return nn.Sequential(
        OrderedDict(
            flatten=nn.Flatten(),
            fc1=nn.Linear(784, 9),
            relu1=nn.ReLU(),
            fc2=nn.Linear(9, 9),
            relu2=nn.ReLU(),
            classifier=nn.Linear(9, 10),
        )
    )


PAIRS = {
    "tutorial": (lambda: models.build("tutorial"), tutorial_in_torch, 28),
    "st-cnn": (
        lambda: models.build("st-cnn", width=6),
        lambda torch: st_cnn_in_torch(torch, 6, 28, 28, 28),
        28,
    ),
    "st-cnn, cluttered": (
        lambda: models.build("st-cnn", image_size=60, width=4),
        lambda torch: st_cnn_in_torch(torch, 4, 60, 60, 30),
        60,
    ),
    "fcn": (lambda: models.build("fcn", width=9), fcn_in_torch, 28),
}


@pytest.mark.parametrize("pair", PAIRS)
def test_names_and_shapes_are_those_of_torch(pair):
    torch = pytest.importorskip("torch")
    make, reference, _ = PAIRS[pair]
    ours = {key: array.shape for key, array in make().state_dict().items()}
    theirs = {key: tuple(v.shape) for key, v in reference(torch).state_dict().items()}
    assert list(ours.items()) == list(theirs.items())


@pytest.mark.parametrize("optimizer", ["SGD", "Adam"])
@pytest.mark.parametrize("pair", PAIRS)
def test_training_steps_are_those_of_torch(pair, optimizer, rng):
    """Two steps: outputs, gradients and parameters.

    Weights are random in the localisation net, too, so that no point stands on a whole pixel, where
    rounding decides which of two gradients is right. Without dropout, whose numbers differ.
    """
    torch = pytest.importorskip("torch")
    make, reference, size = PAIRS[pair]
    ours, theirs = make().astype(np.float64), reference(torch).double()
    for model in (ours, theirs):
        model.eval()
    state = {key: value.numpy().copy() for key, value in theirs.state_dict().items()}
    for key, array in state.items():
        array[...] = rng.normal(size=array.shape) / np.sqrt(array[0].size + 1)
        if array.shape == (6,):
            array[...] = [1, 0, 0, 0, 1, 0] + 0.2 * rng.normal(size=6)
        if array.shape[0] == 6 and array.ndim == 2:
            array *= 0.2
        theirs.state_dict()[key].copy_(torch.tensor(array))
    ours.load_state_dict(state)

    step = {"SGD": SGD, "Adam": Adam}[optimizer](ours.parameters(), lr=1e-3)
    reference_step = getattr(torch.optim, optimizer)(theirs.parameters(), lr=1e-3)
    x, y = rng.normal(size=(4, 1, size, size)), rng.integers(0, 10, 4)
    for _ in range(2):
        step.zero_grad()
        reference_step.zero_grad()
        a, b = Tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
        loss = F.cross_entropy(ours(a), y)
        reference_loss = torch.nn.functional.cross_entropy(theirs(b), torch.tensor(y))
        loss.backward()
        reference_loss.backward()
        np.testing.assert_allclose(loss.item(), reference_loss.item(), rtol=1e-12)
        np.testing.assert_allclose(a.grad, b.grad, rtol=1e-9, atol=1e-9)
        for (key, p), q in zip(ours.named_parameters(), theirs.parameters()):
            assert np.abs(p.grad).max() > 1e-6, key
            np.testing.assert_allclose(p.grad, q.grad, rtol=1e-9, atol=1e-12, err_msg=key)
        step.step()
        reference_step.step()
        for (key, p), q in zip(ours.named_parameters(), theirs.parameters()):
            np.testing.assert_allclose(p.data, q.detach(), rtol=0, atol=1e-12, err_msg=key)


def test_the_tutorial_network_forgets_only_in_training(rng):
    model = models.build("tutorial", rng=rng)
    x = rng.random((3, 1, 28, 28), dtype=np.float32)
    for one, other in ((0.5, 0), (0, 0.5)):  # each of the two dropouts, alone
        model.conv2_drop.p, model.fc1_drop.p = one, other
        assert not np.array_equal(model(x).data, model(x).data)
    model.eval()
    np.testing.assert_array_equal(model(x).data, model(x).data)
    np.testing.assert_allclose(np.exp(model(x).data).sum(axis=1), 1, rtol=1e-5)


def test_the_tutorial_network_begins_with_the_identity(rng):
    model = models.TutorialNet(ThinPlateSpline(3), image_size=32, channels=2, rng=rng)
    x = rng.random((3, 2, 32, 32), dtype=np.float32)
    np.testing.assert_allclose(model.stn(x).data, x, rtol=0, atol=1e-4)


# Wrong arguments


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"name": "resnet"}, ValueError, "name is 'resnet', want one of 'fcn', 'cnn', 'st-fcn'"),
        ({"name": None}, ValueError, "name is None, want one of"),
        ({"transform": "rigid"}, ValueError, "transform is 'rigid', want one of 'affine', 'att"),
        ({"transform": 3}, TypeError, "transform is 3, want an object such as"),
        ({"name": "tutorial", "transform": ThinPlateSpline}, TypeError, "transform is <class"),
        ({"image_size": 27}, ValueError, "image_size is 27, want at least 28"),
        ({"image_size": (28, 28)}, TypeError, r"image_size is \(28, 28\), want an integer"),
        ({"name": "tutorial", "image_size": 9}, ValueError, "image_size is 9, want at least 24"),
        ({"channels": 0}, ValueError, "channels is 0, want at least 1"),
        ({"classes": -2}, ValueError, "classes is -2, want at least 1"),
        ({"width": 0}, ValueError, "width is 0, want at least 1"),
        ({"width": 2.5}, TypeError, r"width is 2\.5, want an integer"),
        ({"parameters": 0}, ValueError, "parameters is 0, want at least 1"),
    ],
)
def test_wrong_arguments_are_named(arguments, error, message):
    with pytest.raises(error, match=f"build.*: .*{message}"):
        models.build(**{"name": "st-cnn", **arguments})


def test_other_wrong_arguments_are_named_by_whom_they_reach():
    with pytest.raises(TypeError, match="Conv2d: rng is 0, want a numpy"):
        models.build("cnn", width=3, rng=0)
    with pytest.raises(TypeError, match="TutorialNet: transform is 'affine', want an object"):
        models.TutorialNet("affine")
