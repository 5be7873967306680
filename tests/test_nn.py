"""Modules: names and shapes as in PyTorch, the same outputs and gradients, modes, loading, repr."""

import copy

import numpy as np
import pytest

import stn_numpy.functional as F
from stn_numpy import Tensor
from stn_numpy.nn import (
    AvgPool2d,
    BatchNorm1d,
    BatchNorm2d,
    Conv2d,
    Dropout,
    Dropout2d,
    Flatten,
    Linear,
    MaxPool2d,
    Module,
    Parameter,
    ReLU,
    Sequential,
    Sigmoid,
    Tanh,
)


def leaf(array):
    return Tensor(array, requires_grad=True)


def torch_pairs():
    """The same layers from both libraries, with the shape of an input."""
    nn = pytest.importorskip("torch").nn
    return {
        "linear": (Linear(5, 3), nn.Linear(5, 3), (4, 5)),
        "linear without bias": (Linear(5, 3, bias=False), nn.Linear(5, 3, bias=False), (4, 5)),
        "conv": (Conv2d(2, 3, 5), nn.Conv2d(2, 3, 5), (4, 2, 7, 6)),
        "conv, all options": (
            Conv2d(2, 3, (3, 2), stride=(2, 1), padding=(1, 0), bias=False),
            nn.Conv2d(2, 3, (3, 2), stride=(2, 1), padding=(1, 0), bias=False),
            (4, 2, 7, 6),
        ),
        "batch norm": (
            BatchNorm2d(3, eps=1e-3, momentum=0.3),
            nn.BatchNorm2d(3, eps=1e-3, momentum=0.3),
            (4, 3, 5, 2),
        ),
        "batch norm of columns": (BatchNorm1d(3), nn.BatchNorm1d(3), (7, 3)),
        "sequential": (
            Sequential(
                Conv2d(2, 3, 3, padding=1),
                BatchNorm2d(3),
                ReLU(),
                MaxPool2d(2),
                Sequential(Conv2d(3, 4, 2), Tanh(), AvgPool2d((2, 1), stride=1), Sigmoid()),
                Flatten(),
                Linear(4 * 2 * 2, 6),
            ),
            nn.Sequential(
                nn.Conv2d(2, 3, 3, padding=1),
                nn.BatchNorm2d(3),
                nn.ReLU(),
                nn.MaxPool2d(2),
                nn.Sequential(
                    nn.Conv2d(3, 4, 2), nn.Tanh(), nn.AvgPool2d((2, 1), stride=1), nn.Sigmoid()
                ),
                nn.Flatten(),
                nn.Linear(16, 6),
            ),
            (5, 2, 8, 6),
        ),
    }


PAIRS = (
    "linear",
    "linear without bias",
    "conv",
    "conv, all options",
    "batch norm",
    "batch norm of columns",
    "sequential",
)


@pytest.mark.parametrize("name", PAIRS)
def test_names_order_shapes_and_dtypes_are_those_of_torch(name):
    ours, theirs, _ = torch_pairs()[name]
    expected = {key: value.numpy() for key, value in theirs.state_dict().items()}
    state = ours.state_dict()
    assert list(state) == list(expected)
    assert {k: (v.shape, v.dtype) for k, v in state.items()} == {
        k: (v.shape, v.dtype) for k, v in expected.items()
    }
    assert [n for n, _ in ours.named_parameters()] == [n for n, _ in theirs.named_parameters()]
    assert [n for n, _ in ours.named_buffers()] == [n for n, _ in theirs.named_buffers()]
    assert ours.num_parameters() == sum(p.numel() for p in theirs.parameters())


@pytest.mark.parametrize("name", PAIRS)
def test_a_torch_state_gives_the_same_outputs_gradients_and_buffers(name, rng):
    torch = pytest.importorskip("torch")
    ours, theirs, shape = torch_pairs()[name]
    for parameter in theirs.parameters():  # also where torch begins with ones and zeros
        parameter.data = torch.tensor(rng.normal(size=parameter.shape))
    theirs.double()
    ours.astype(np.float64).load_state_dict({k: v.numpy() for k, v in theirs.state_dict().items()})

    for mode in (True, True, False):  # twice in training: running means are used in the third
        x = rng.normal(size=shape)
        a, b = leaf(x), torch.tensor(x, requires_grad=True)
        ours.train(mode).zero_grad()
        theirs.train(mode).zero_grad()
        y, z = ours(a), theirs(b)
        cotangent = rng.normal(size=y.shape)
        y.backward(cotangent)
        z.backward(torch.tensor(cotangent))
        np.testing.assert_allclose(y.data, z.detach().numpy(), rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(a.grad, b.grad.numpy(), rtol=1e-9, atol=1e-9)
        for (key, p), q in zip(ours.named_parameters(), theirs.parameters()):
            np.testing.assert_allclose(p.grad, q.grad, rtol=1e-9, atol=1e-9, err_msg=key)
        for (key, u), v in zip(ours.named_buffers(), theirs.buffers()):
            np.testing.assert_allclose(u, v.numpy(), rtol=1e-12, atol=1e-12, err_msg=key)


def test_first_weights_have_the_spread_of_torch(rng):
    layers = Linear(50, 400, rng=rng), Conv2d(2, 400, 5, rng=rng)
    for layer in layers:  # a fan-in of 50 for both
        for parameter in layer.parameters():
            assert parameter.dtype == np.float32
            assert np.abs(parameter.data).max() <= np.float32(1 / np.sqrt(50))
            # Uniform in +-b: the variance is b^2 / 3.
            assert parameter.data.var() == pytest.approx(1 / 150, rel=0.2)


def test_same_generator_state_same_weights_and_none_differs():
    def weights(rng):
        return Conv2d(2, 3, 3, rng=rng).weight.data

    np.testing.assert_array_equal(
        weights(np.random.default_rng(5)), weights(np.random.default_rng(5))
    )
    assert not np.array_equal(weights(None), weights(None))


# Modules


class Small(Module):
    """Two layers, a parameter and a buffer of its own, and things that are neither."""

    def __init__(self, rng):
        self.scale = Parameter(rng.normal(size=(3, 1)).astype(np.float32))
        self.seen = np.zeros(3, np.int64)
        self.fc = Linear(4, 3, rng=rng)
        self.rest = Sequential(ReLU(), last=Linear(3, 3, bias=False, rng=rng))
        self.name = "small"
        self.sizes = [1, 2]

    def forward(self, x):
        return self.rest(self.fc(x))


def test_attributes_are_found_and_named(rng):
    small = Small(rng)
    assert list(small.state_dict()) == ["scale", "seen", "fc.weight", "fc.bias", "rest.last.weight"]
    assert [n for n, _ in small.named_modules()] == ["", "fc", "rest", "rest.0", "rest.last"]
    assert list(small.modules()) == [m for _, m in small.named_modules()]
    assert small.parameters()[1] is small.fc.weight
    assert small.num_parameters() == 3 + 15 + 9


def test_a_shared_layer_is_counted_once_and_saved_under_both_names(rng):
    layer = Linear(3, 3, rng=rng)
    twice = Sequential(layer, ReLU(), layer)
    assert twice.num_parameters() == 12
    assert [name for name, _ in twice.named_parameters()] == ["0.weight", "0.bias"]
    assert list(twice.state_dict()) == ["0.weight", "0.bias", "2.weight", "2.bias"]


def test_state_dict_is_a_copy_and_goes_round(rng):
    one, other = Small(rng), Small(rng)
    state = one.state_dict()
    before = copy.deepcopy(state)
    one.fc.weight.data += 1
    one.seen += 1
    for name, array in before.items():
        np.testing.assert_array_equal(state[name], array)
    array = other.fc.weight.data
    other.load_state_dict(state)
    assert other.fc.weight.data is array  # in place: who holds the array sees the new numbers
    for name, array in other.state_dict().items():
        np.testing.assert_array_equal(array, before[name])


def test_loading_keeps_the_dtype_and_takes_tensors_and_lists(rng):
    layer = Linear(2, 1, rng=rng)
    layer.load_state_dict({"weight": Tensor(np.array([[1.5, 2.5]])), "bias": [3]})
    assert layer.weight.dtype == layer.bias.dtype == np.float32
    np.testing.assert_array_equal(layer.weight.data, [[1.5, 2.5]])
    np.testing.assert_array_equal(layer.bias.data, [3])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fc.bias": None}, "fc.bias is missing"),
        ({"fc.biass": np.zeros(3)}, "fc.biass is not known"),
        ({"fc.weight": np.zeros((3, 5))}, r"fc.weight has shape \(3, 5\), want \(3, 4\)"),
        ({"fc.weight": np.zeros((4, 3))}, r"fc.weight has shape \(4, 3\), want \(3, 4\)"),
        ({"fc.bias": np.array(["a", "b", "c"])}, "fc.bias has dtype <U1, want real numbers"),
        ({"rest.last.weight": np.full((3, 3), None)}, "weight has dtype object, want real numbers"),
        ({"seen": np.zeros(3, complex)}, "seen has dtype complex128, want real numbers"),
        ({"fc.bias": None, "more": 1}, "fc.bias is missing; more is not known"),
    ],
)
def test_loading_is_all_or_nothing(change, message, rng):
    small = Small(rng)
    before = small.state_dict()
    state = {name: array + 1 for name, array in before.items()} | change
    state = {name: array for name, array in state.items() if array is not None}
    with pytest.raises(ValueError, match=f"load_state_dict: .*{message}"):
        small.load_state_dict(state)
    for name, array in small.state_dict().items():
        np.testing.assert_array_equal(array, before[name])


def test_loading_something_else_is_a_type_error(rng):
    with pytest.raises(TypeError, match="load_state_dict: state is list, want a dict"):
        Small(rng).load_state_dict([1, 2])


def test_train_and_eval_reach_all_modules(rng):
    small = Small(rng)
    assert small.training
    assert small.eval() is small
    assert not any(module.training for module in small.modules())
    assert small.train() is small
    assert all(module.training for module in small.modules())


def test_zero_grad_and_astype_forget_gradients(rng):
    small = Small(rng)
    small(rng.normal(size=(2, 4)).astype(np.float32)).sum().backward()
    assert small.fc.weight.grad is not None
    small.zero_grad()
    assert small.fc.weight.grad is None
    small(rng.normal(size=(2, 4)).astype(np.float32)).sum().backward()
    assert small.astype(np.float64) is small
    assert small.fc.weight.grad is None


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_astype_changes_floats_and_nothing_else(dtype, rng):
    net = Sequential(Linear(4, 3, rng=rng), BatchNorm1d(3)).astype(dtype)
    kinds = {name: array.dtype for name, array in net.state_dict().items()}
    assert kinds.pop("1.num_batches_tracked") == np.int64
    assert set(kinds.values()) == {np.dtype(dtype)}
    assert net(rng.normal(size=(2, 4)).astype(dtype)).dtype == dtype


def test_astype_refuses_other_dtypes(rng):
    with pytest.raises(TypeError, match="astype: dtype is int64, want float32 or float64"):
        Linear(2, 2, rng=rng).astype(np.int64)


def test_repr_is_readable(rng):
    net = Sequential(
        Conv2d(1, 8, 7, rng=rng),
        Conv2d(8, 10, (5, 3), stride=2, padding=(1, 0), bias=False, rng=rng),
        MaxPool2d(2),
        AvgPool2d(3, stride=2, padding=1),
        Sequential(Flatten(), Linear(90, 32, rng=rng), Linear(32, 6, bias=False, rng=rng)),
        Dropout2d(0.25),
        BatchNorm2d(4),
        out=ReLU(),
    )
    assert repr(net) == (
        "Sequential(\n"
        "  (0): Conv2d(1, 8, kernel_size=(7, 7))\n"
        "  (1): Conv2d(8, 10, kernel_size=(5, 3), stride=(2, 2), padding=(1, 0), bias=False)\n"
        "  (2): MaxPool2d(kernel_size=(2, 2))\n"
        "  (3): AvgPool2d(kernel_size=(3, 3), stride=(2, 2), padding=(1, 1))\n"
        "  (4): Sequential(\n"
        "    (0): Flatten()\n"
        "    (1): Linear(90, 32)\n"
        "    (2): Linear(32, 6, bias=False)\n"
        "  )\n"
        "  (5): Dropout2d(p=0.25)\n"
        "  (6): BatchNorm2d(4, eps=1e-05, momentum=0.1)\n"
        "  (out): ReLU()\n"
        ")"
    )


def test_sequential_is_a_sequence(rng):
    first, second = Linear(4, 3, rng=rng), ReLU()
    net = Sequential(first, last=second)
    assert len(net) == 2
    assert list(net) == [first, second]
    assert net[0] is first
    assert net[-1] is second
    x = rng.normal(size=(2, 4)).astype(np.float32)
    np.testing.assert_array_equal(net(x).data, F.relu(first(x)).data)


def test_a_module_without_forward_says_so():
    class Nothing(Module):
        pass

    with pytest.raises(NotImplementedError, match="Nothing has no forward"):
        Nothing()(1)


# Dropout and batch normalisation


@pytest.mark.parametrize("layer", [Dropout, Dropout2d])
def test_dropout_is_seeded_and_only_in_training(layer, rng):
    x = rng.normal(size=(6, 5, 4, 3)) + 10

    def drop(seed):
        return layer(0.4, rng=np.random.default_rng(seed))(x).data

    np.testing.assert_array_equal(drop(1), drop(1))
    assert not np.array_equal(drop(1), drop(2))
    assert not np.array_equal(drop(1), x)
    np.testing.assert_array_equal(layer(0.4).eval()(x).data, x)
    np.testing.assert_array_equal(layer(0)(x).data, x)
    np.testing.assert_array_equal(layer(1)(x).data, 0 * x)


def test_dropout2d_drops_whole_channels_and_keeps_the_mean(rng):
    layer = Dropout2d(0.25, rng=rng)
    x = leaf(rng.normal(size=(40, 50, 3, 2)) + 10)
    y = layer(x)
    assert isinstance(y, Tensor)
    kept = y.data / x.data
    assert set(np.unique(kept.round(12))) == {0, round(1 / 0.75, 12)}
    np.testing.assert_allclose(kept, np.broadcast_to(kept[:, :, :1, :1], kept.shape), rtol=1e-12)
    assert (kept == 0).mean() == pytest.approx(0.25, abs=0.04)  # 2000 channels: 4 sigma
    cotangent = rng.normal(size=y.shape)
    y.backward(cotangent)
    np.testing.assert_allclose(x.grad, cotangent * kept, rtol=1e-12)


def test_dropout2d_gives_tensors_for_arrays_and_refuses_other_shapes(rng):
    x = rng.normal(size=(4, 5))
    for layer in (Dropout2d(rng=rng), Dropout2d(rng=rng).eval()):
        assert isinstance(layer(x.reshape(4, 5, 1, 1)), Tensor)
        with pytest.raises(ValueError, match=r"Dropout2d: x has shape \(4, 5\), want \(N, C"):
            layer(x)


def test_batch_norm_counts_batches_in_training_only(rng):
    layer = BatchNorm2d(3)
    x = rng.normal(size=(2, 3, 4, 5)).astype(np.float32)
    layer(x)
    layer(x)
    layer.eval()(x)
    assert layer.num_batches_tracked.shape == ()
    assert int(layer.num_batches_tracked) == 2
    layer.train()
    with pytest.raises(ValueError, match="batch_norm: "):
        layer(x[:, :2])
    assert int(layer.num_batches_tracked) == 2  # a batch that was refused does not count


# Wrong arguments


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Linear(0, 3), ValueError, "Linear: in_features is 0, want at least 1"),
        (lambda: Linear(3, 2.5), TypeError, "Linear: out_features is 2.5, want an integer"),
        (lambda: Linear(3, 2, rng=0), TypeError, "Linear: rng is 0, want a numpy.random.Generator"),
        (lambda: Conv2d(0, 3, 3), ValueError, "Conv2d: in_channels is 0, want at least 1"),
        (lambda: Conv2d(1, -3, 3), ValueError, "Conv2d: out_channels is -3, want at least 1"),
        (lambda: Conv2d(1, 3, (3, 3, 3)), ValueError, r"Conv2d: kernel_size is \(3, 3, 3\), want"),
        (lambda: Conv2d(1, 3, 3, stride=0), ValueError, "Conv2d: stride is 0, want at least 1"),
        (lambda: Conv2d(1, 3, 3, padding=-1), ValueError, "Conv2d: padding is -1, want at least 0"),
        (lambda: Conv2d(1, 3, 3, rng=7), TypeError, "Conv2d: rng is 7, want"),
        (lambda: MaxPool2d(0), ValueError, "MaxPool2d: kernel_size is 0, want at least 1"),
        (lambda: AvgPool2d(2, stride=0), ValueError, "AvgPool2d: stride is 0, want at least 1"),
        (lambda: AvgPool2d(2, padding="1"), ValueError, "AvgPool2d: padding is '1', want"),
        (lambda: Dropout(1.5), ValueError, "Dropout: p is 1.5, want a number"),
        (lambda: Dropout2d(float("nan")), ValueError, "Dropout2d: p is nan, want a number"),
        (lambda: Dropout(rng=3), TypeError, "Dropout: rng is 3, want"),
        (lambda: BatchNorm2d(0), ValueError, "BatchNorm2d: num_features is 0, want at least 1"),
        (lambda: Sequential(ReLU), TypeError, "Sequential: layer 0 is type, want a Module"),
        (lambda: Sequential(a=3), TypeError, "Sequential: layer a is int, want a Module"),
        (lambda: Sequential(forward=ReLU()), ValueError, "a layer can not be named 'forward'"),
        (lambda: Sequential(training=ReLU()), ValueError, "a layer can not be named 'training'"),
        (lambda: Sequential(**{"a.b": ReLU()}), ValueError, "a layer can not be named 'a.b'"),
        (lambda: Parameter(np.arange(3)), TypeError, "dtype int64, which can have no gradient"),
    ],
)
def test_wrong_arguments_are_named(make, error, message):
    with pytest.raises(error, match=message):
        make()
