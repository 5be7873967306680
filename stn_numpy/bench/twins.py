"""The same work in PyTorch: each row gives our side and its twin."""

import contextlib
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from stn_numpy import models, nn
from stn_numpy.autograd import no_grad
from stn_numpy.bench.timing import Side
from stn_numpy.bench.work import (
    MOMENTUM,
    RATE,
    cotangent,
    named,
    network,
    our_operation,
    our_step,
    step_results,
)
from stn_numpy.errors import UserError
from stn_numpy.parallel import Workers, shards
from stn_numpy.spatial_transformer import ParallelTransformers, SpatialTransformer

INFERENCE_BATCH = 512  # as in training.mistakes_on_test

Sides = tuple[Side, Side]


def import_torch() -> Any:
    """PyTorch. Raises UserError where it is not installed."""
    try:
        import torch
    except ImportError:
        raise UserError(
            "PyTorch, to compare with, is not installed: pip install torch (CPU build is enough)"
        ) from None
    return torch


@contextlib.contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Inside, PyTorch has so many threads. To be entered after Workers, which set every BLAS."""
    torch = import_torch()
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextlib.contextmanager
def training_step(workers: int, dtype: type, batch: int, **model: Any) -> Iterator[Sides]:
    """zero_grad, forward, cross-entropy, backward, SGD with momentum; model: for `models.build`."""
    torch = import_torch()
    net, x, y = network(batch, dtype, **model)
    twin = torch_twin(net)
    optimizer = torch.optim.SGD(twin.parameters(), lr=RATE, momentum=MOMENTUM)
    torch_x, torch_y = torch.from_numpy(np.ascontiguousarray(x)), torch.from_numpy(y)

    def torch_step() -> float:
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(twin(torch_x), torch_y)
        loss.backward()
        optimizer.step()
        return loss.item()

    with our_step(net, x, y, workers) as step, torch_threads(workers):
        yield (
            Side(step, lambda loss: step_results(loss, net.named_parameters()), "ours"),
            Side(torch_step, lambda loss: step_results(loss, twin.named_parameters())),
        )


@contextlib.contextmanager
def inference(workers: int, dtype: type, images: int, **model: Any) -> Iterator[Sides]:
    """Scores of all images, in batches, nothing recorded."""
    torch = import_torch()
    net, x, _ = network(images, dtype, **model)
    twin = torch_twin(net)
    starts = range(0, images, INFERENCE_BATCH)
    batches = [x[start : start + INFERENCE_BATCH].copy(order="K") for start in starts]
    torch_batches = [torch.from_numpy(np.ascontiguousarray(batch)) for batch in batches]

    def scores(replica: nn.Module, x: np.ndarray) -> np.ndarray:
        with no_grad():  # each thread has a tape of its own to switch off
            return replica(x).data

    def ours() -> np.ndarray:
        return np.concatenate([s for x in batches for s in pool.map(scores, shards(x, workers))])

    def theirs() -> Any:
        with torch.no_grad():
            return torch.cat([twin(x) for x in torch_batches])

    with Workers(net, workers) as pool, torch_threads(workers):
        yield Side(ours, lambda y: {"scores": y}, "ours"), Side(theirs, lambda y: {"scores": y})


@contextlib.contextmanager
def operation(
    workers: int, dtype: type, call: Callable, inputs: Callable, backward: bool
) -> Iterator[Sides]:
    """One operation.

    call(F, *arrays): the same words for our functional module and for PyTorch's.
    inputs(rng): (arrays that are split along the batch, arrays that all workers share), float32.
    """
    torch = import_torch()
    rng = np.random.default_rng(0)
    split, shared = ([array.astype(dtype) for array in arrays] for arrays in inputs(rng))
    dy = cotangent(call, (split, shared), rng)
    torch_inputs = [torch.from_numpy(np.ascontiguousarray(a)) for a in (*split, *shared)]
    torch_inputs = [tensor.clone().requires_grad_(backward) for tensor in torch_inputs]
    torch_dy = torch.from_numpy(np.ascontiguousarray(dy))

    def theirs() -> list:
        with torch.set_grad_enabled(backward):
            y = call(torch.nn.functional, *torch_inputs)
            return [y, *(torch.autograd.grad(y, torch_inputs, torch_dy) if backward else ())]

    def results(tensors: list) -> dict[str, Any]:
        return named([tensor.detach() for tensor in tensors])

    with (
        our_operation(workers, call, (split, shared), dy, backward) as ours,
        torch_threads(workers),
    ):
        yield ours, Side(theirs, results)


def torch_twin(net: nn.Module) -> Any:
    """The same network in PyTorch: the same layers in the same order, with the same weights."""
    torch = import_torch()
    functional = torch.nn.functional

    def read(U: Any, theta: Any, size: tuple[int, int] | None = None) -> Any:
        shape = [*U.shape[:2], *(size or U.shape[2:])]
        G = functional.affine_grid(theta.view(-1, 2, 3), shape, align_corners=False)
        return functional.grid_sample(U, G, align_corners=False)

    class Transformer(torch.nn.Module):
        def __init__(self, module: SpatialTransformer) -> None:
            super().__init__()
            self.localisation, self.size = twin(module.localisation), module.output_size

        def forward(self, U: Any) -> Any:
            return read(U, self.localisation(U), self.size)

    class Parallel(torch.nn.Module):
        def __init__(self, module: ParallelTransformers) -> None:
            super().__init__()
            for name, part in children(module):
                setattr(self, name, part)

        def forward(self, U: Any) -> Any:
            return torch.cat([reader(U) for reader in self.children()], dim=1)

    class Tutorial(torch.nn.Module):
        def __init__(self, module: models.TutorialNet) -> None:
            super().__init__()
            for name, part in children(module):
                setattr(self, name, part)

        def forward(self, x: Any) -> Any:
            x = read(x, self.fc_loc(self.localization(x).flatten(1)))
            x = functional.relu(functional.max_pool2d(self.conv1(x), 2))
            x = functional.relu(functional.max_pool2d(self.conv2_drop(self.conv2(x)), 2))
            x = self.fc1_drop(functional.relu(self.fc1(x.flatten(1))))
            return functional.log_softmax(self.fc2(x), dim=-1)

    def children(module: nn.Module) -> list[tuple[str, Any]]:
        parts = vars(module).items()
        return [(name, twin(part)) for name, part in parts if isinstance(part, nn.Module)]

    def twin(module: nn.Module) -> Any:
        layer = getattr(torch.nn, type(module).__name__, None)
        match module:
            case SpatialTransformer():
                return Transformer(module)
            case ParallelTransformers():
                return Parallel(module)
            case models.TutorialNet():
                return Tutorial(module)
            case nn.Sequential():
                return torch.nn.Sequential(OrderedDict(children(module)))
            case nn.Conv2d():
                O, C, *kernel = module.weight.shape
                return layer(C, O, tuple(kernel), module.stride, module.padding)
            case nn.Linear():
                return layer(*module.weight.shape[::-1])
            case nn.MaxPool2d() | nn.AvgPool2d():
                return layer(module.kernel_size, module.stride, module.padding)
            case nn.Dropout():  # and Dropout2d
                return layer(module.p)
            case nn.ReLU() | nn.Flatten():
                return layer()
        raise TypeError(f"torch_twin: {module!r} is not known here")

    result = twin(net).to(torch.from_numpy(net.parameters()[0].data).dtype)
    result.load_state_dict({name: torch.from_numpy(a) for name, a in net.state_dict().items()})
    return result.train(net.training)
