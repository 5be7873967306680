"""The work that is timed, as we do it: networks, training steps, operations and their inputs."""

import contextlib
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from stn_numpy import functional as F
from stn_numpy import models, nn
from stn_numpy.autograd import Tensor, op
from stn_numpy.bench.timing import Row, Side
from stn_numpy.functional.layout import batch_first
from stn_numpy.optim import SGD
from stn_numpy.parallel import Workers

ST_CNN = {"name": "st-cnn", "transform": "affine", "width": 32}
RATE, MOMENTUM = 0.01, 0.9  # of every training step
FEW = 8  # images, where steps are only compared

Generator = np.random.Generator
# (arrays that are split along the batch, arrays that all workers share), float32
Inputs = tuple[list[np.ndarray], list[np.ndarray]]


# Networks


def network(
    batch: int, dtype: type = np.float32, **model: Any
) -> tuple[nn.Module, np.ndarray, np.ndarray]:
    """(network, x, y): a network without dropout, a little off the identity, and random images.

    model: for `models.build`. x (batch, C, size, size) from 0 to 1, the batch last in memory.
    """
    rng = np.random.default_rng(0)
    net = models.build(rng=rng, **model).astype(dtype).eval()
    *_, weight, bias = models.localisation_parameters(net)  # of the layer that says theta
    for parameter in (weight, bias):
        parameter.data += np.float32(0.1) * rng.standard_normal(parameter.shape, np.float32)
    size = model.get("image_size", 28)
    x = batch_first(rng.random((model.get("channels", 1), size, size, batch), np.float32))
    return net, x.astype(dtype), rng.integers(0, model.get("classes", 10), batch)


@contextlib.contextmanager
def our_step(net: nn.Module, x: np.ndarray, y: np.ndarray, workers: int) -> Iterator[Callable]:
    """A function that does one training step and returns the loss."""
    optimizer = SGD(net.parameters(), lr=RATE, momentum=MOMENTUM)
    with Workers(net, workers) as pool:

        def step() -> float:
            optimizer.zero_grad()
            loss = pool.gradients(lambda net, x, y: F.cross_entropy(net(x), y), x, y)
            optimizer.step()
            return loss

        yield step


def step_results(loss: float, parameters: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """What a training step leaves behind; parameters: names, and what has a `.grad` and `.data`."""
    arrays: dict[str, Any] = {"loss": loss}
    for name, parameter in parameters:
        arrays[f"gradient of {name}"] = parameter.grad
        arrays[f"{name} after the step"] = parameter.data
    return arrays


def few_in_float64(row: Callable, batch: int, **options: Any) -> Row:
    """A row of `batch` images, and of a few in float64, where the two sides are only compared."""

    def make(workers: int, dtype: type) -> Any:
        images = min(batch, FEW) if dtype is np.float64 else batch
        return row(workers, dtype, batch=images, **options)

    return make


# Single operations


@contextlib.contextmanager
def our_operation(
    workers: int, call: Callable, inputs: Inputs, dy: np.ndarray, backward: bool
) -> Iterator[Side]:
    """One operation; each worker has its part of the batch, and the gradients of all inputs.

    call(F, *arrays): the same words for our functional module and for that of the other side.
    """
    split, shared = inputs

    def parts(array: np.ndarray) -> list[np.ndarray]:
        return [part.copy(order="K") for part in np.array_split(array, workers)]

    def work(_: nn.Module, dy: np.ndarray, *part: np.ndarray) -> tuple[list, list]:
        if not backward:
            return [call(F, *part, *shared).data], []
        switch = Tensor(np.zeros(1), requires_grad=True)
        arrived: list[list[np.ndarray]] = [[] for _ in (*part, *shared)]
        y = call(F, *map(layer_before, [switch] * len(arrived), (*part, *shared), arrived))
        y.backward(dy)
        gradients = [gradient for (gradient,) in arrived]
        return [y.data, *gradients[: len(part)]], gradients[len(part) :]

    def run() -> tuple[list, list]:
        done = pool.map(work, *our_inputs)
        return (
            [own for own, _ in done],
            [sum(g[1:], start=g[0]) for g in zip(*(of_shared for _, of_shared in done))],
        )

    our_inputs = [parts(array) for array in (dy, *split)]
    with Workers(nn.Module(), workers) as pool:
        yield Side(run, lambda done: named([*map(np.concatenate, zip(*done[0])), *done[1]]), "ours")


@op
def layer_before(switch, array, arrived):
    """`array` as if a layer had made it; the gradient that reaches it is put into `arrived`.

    The tape hands gradients on as they are from layer to layer and copies them at leaves only, so
    an operation between layers is not timed with leaves. switch: a tensor that requires a gradient.
    """

    def backward(dy):
        arrived.append(dy)
        return np.zeros_like(switch)

    return array, backward


def cotangent(call: Callable, inputs: Inputs, rng: Generator) -> np.ndarray:
    """A random gradient for the output of an operation, in the memory order of the output."""
    y = call(F, *inputs[0], *inputs[1]).data
    dy = np.empty_like(y)
    dy[...] = rng.standard_normal(dy.shape, np.float32)
    return dy


def named(arrays: Sequence[Any]) -> dict[str, Any]:
    """The output of an operation and the gradients of its inputs, by name."""
    names = ["output", *(f"gradient of input {i}" for i in range(len(arrays) - 1))]
    return dict(zip(names, arrays))


def images(rng: Generator, N: int, C: int, H: int, W: int) -> np.ndarray:
    """(N, C, H, W) normally distributed float32, the batch last in memory."""
    return batch_first(rng.standard_normal((C, H, W, N), np.float32))


def convolve(F: Any, x: Any, weight: Any, bias: Any) -> Any:
    return F.conv2d(x, weight, bias)


def conv_inputs(N: int, C: int, size: int, O: int, k: int, rng: Generator) -> Inputs:
    weight = rng.standard_normal((O, C, k, k), np.float32) / np.float32(k * math.sqrt(C))
    return [images(rng, N, C, size, size)], [weight, rng.standard_normal(O, np.float32)]


def pool(F: Any, x: Any) -> Any:
    return F.max_pool2d(x, 2)


def pool_inputs(N: int, C: int, H: int, W: int, rng: Generator) -> Inputs:
    return [images(rng, N, C, H, W)], []


def sample(F: Any, U: Any, G: Any) -> Any:
    return F.grid_sample(U, G, align_corners=False)


def sample_inputs(N: int, C: int, H: int, W: int, rng: Generator) -> Inputs:
    """Images, each turned and moved a little, no point nearer than 0.01 pixels to the lattice.

    Nearer, rounding may take two correct samplers to two different sides, with different slopes.
    """
    theta = random_theta(N, rng)
    size = np.array([W, H], np.float32)
    pixels = ((F.affine_grid(theta, (N, C, H, W)).data + 1) * size - 1) / 2
    cell = np.floor(pixels)
    pixels = cell + np.clip(pixels - cell, 0.01, 0.99)
    return [images(rng, N, C, H, W), (2 * pixels + 1) / size - 1], []


def generate(F: Any, theta: Any) -> Any:
    return F.affine_grid(theta, (len(theta), 1, 28, 28), align_corners=False)


def theta_inputs(N: int, rng: Generator) -> Inputs:
    return [random_theta(N, rng)], []


def read(F: Any, U: Any, theta: Any) -> Any:
    """Grid generator and sampler."""
    G = F.affine_grid(theta, U.shape, align_corners=False)
    return F.grid_sample(U, G, align_corners=False)


def read_inputs(N: int, C: int, H: int, W: int, rng: Generator) -> Inputs:
    return [images(rng, N, C, H, W), random_theta(N, rng)], []


def random_theta(N: int, rng: Generator) -> np.ndarray:
    """Affine transformations (N, 2, 3) near the identity."""
    return np.eye(2, 3, dtype=np.float32) + 0.1 * rng.standard_normal((N, 2, 3), np.float32)
