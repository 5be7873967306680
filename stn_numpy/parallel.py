"""Several processor cores: each takes a part of the batch, with one BLAS thread of its own.

NumPy uses more than one core inside matrix products only. Here a whole training step runs on each
worker, for its own images and a replica of the network that shares the parameters; the gradients
are then added in the order of the workers, so that a run with the same number of workers gives the
same numbers, bit for bit.
"""

import contextlib
import copy
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from stn_numpy.autograd import Tensor
from stn_numpy.functional.layout import batch_first
from stn_numpy.nn import Module


def default_workers() -> int:
    """$STN_NUMPY_WORKERS, or the cores this process may use, at most 4."""
    asked = os.environ.get("STN_NUMPY_WORKERS", "")
    if asked:
        if not asked.isdigit() or int(asked) < 1:
            raise ValueError(f"STN_NUMPY_WORKERS is {asked!r}, want an integer of at least 1")
        return int(asked)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return min(cores or 1, 4)


class Workers:
    """A pool of threads that hold replicas of a network. Use it in a `with` statement.

    Inside, BLAS has one thread for each worker (for the whole process, until the end of `with`).
    """

    def __init__(self, model: Module, count: int | None = None) -> None:
        self.model = model
        self.count = default_workers() if count is None else count
        self.replicas = [model] + [replicate(model) for _ in range(self.count - 1)]
        self._exit = contextlib.ExitStack()

    def __enter__(self) -> "Workers":
        from threadpoolctl import threadpool_limits  # 20 ms that importing the package need not pay

        self._exit.enter_context(threadpool_limits(limits=1, user_api="blas"))
        if self.count > 1:
            self._pool = self._exit.enter_context(ThreadPoolExecutor(self.count - 1))
        return self

    def __exit__(self, *exception: object) -> None:
        self._exit.close()

    def map(self, work: Callable[..., Any], *parts: Sequence[Any]) -> list:
        """work(replica, part, ...) for each worker at once; the first in the calling thread."""
        jobs = list(zip(self.replicas, *parts))
        others = [self._pool.submit(work, *job) for job in jobs[1:]]
        results = [work(*job) for job in jobs[:1]]
        return results + [future.result() for future in others]

    def gradients(
        self, loss: Callable[[Module, np.ndarray, np.ndarray], Tensor], x: np.ndarray, y: np.ndarray
    ) -> float:
        """Add d loss / d parameter to the gradients of the model; return the loss.

        loss(replica, x, y): the mean over the images it is given. x (N, C, H, W), y (N,).
        """

        def work(replica: Module, x: np.ndarray, y: np.ndarray) -> tuple[float, list]:
            replica.zero_grad()
            part = loss(replica, x, y) * (len(y) / total)
            part.backward()
            return part.item(), [parameter.grad for parameter in replica.parameters()]

        total = len(y)
        before = [parameter.grad for parameter in self.model.parameters()]
        results = self.map(work, shards(x, self.count), np.array_split(y, self.count))
        gradients = [before] + [grads for _, grads in results]
        for parameter, *parts in zip(self.model.parameters(), *gradients):
            known = [part for part in parts if part is not None]
            parameter.grad = sum(known[1:], start=known[0]) if known else None
        self._share_buffers()
        return sum(value for value, _ in results)

    def _share_buffers(self) -> None:
        """Give all replicas the mean of what each made of its running means."""
        for (_, own), *others in zip(*(replica.named_buffers() for replica in self.replicas)):
            if own.dtype.kind == "f" and others:
                own[...] = sum((other for _, other in others), start=own) / self.count
                for _, other in others:
                    other[...] = own


def shards(x: np.ndarray, count: int) -> Iterator[np.ndarray]:
    """x (N, C, H, W) in `count` parts of about N / count images, each batch-last in memory."""
    last = x.transpose(1, 2, 3, 0)
    return (batch_first(np.ascontiguousarray(part)) for part in np.array_split(last, count, axis=3))


def replicate(model: Module) -> Module:
    """A copy with gradients and buffers of its own that shares the arrays of the parameters."""
    shared = {id(parameter.data): parameter.data for parameter in model.parameters()}
    return copy.deepcopy(model, shared)
