"""Several processor cores: each takes a part of the batch, with one BLAS thread of its own.

NumPy uses more than one core inside matrix products only. Here a whole training step runs on each
worker, for its own images and a replica of the network that shares the parameters; the gradients
are then added in the order of the workers, so that a run with the same number of workers gives the
same numbers, bit for bit.
"""

import contextlib
import contextvars
import copy
import ctypes
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any

import numpy as np

from stn_numpy import checks
from stn_numpy.autograd import Tensor
from stn_numpy.errors import UserError
from stn_numpy.functional.layout import batch_first
from stn_numpy.nn import Dropout, Module


def default_workers() -> int:
    """$STN_NUMPY_WORKERS, or the cores this process may use, at most 4.

    Raises UserError where the variable is set to something that is no number of workers.
    """
    asked = os.environ.get("STN_NUMPY_WORKERS", "").strip()
    if asked:
        if not (asked.isascii() and asked.isdigit()) or int(asked) < 1:
            raise UserError(f"STN_NUMPY_WORKERS is {asked!r}, want an integer of at least 1")
        return int(asked)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return min(cores or 1, 4)


def keep_freed_memory() -> None:
    """Ask the C library to keep freed memory for the next array (glibc; elsewhere nothing happens).

    Left alone, it gives large arrays back to the system as soon as they are freed, and the next
    step pays for every page of them again: some 4,000 page faults, a tenth of its time.
    """
    M_MMAP_THRESHOLD, M_TRIM_THRESHOLD = -3, -1
    with contextlib.suppress(OSError, AttributeError, TypeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(M_MMAP_THRESHOLD, 1 << 30)
        mallopt(M_TRIM_THRESHOLD, 1 << 30)


class Workers:
    """A pool of threads that hold replicas of a network. Use it in a `with` statement.

    Inside, BLAS has one thread for each worker (for the whole process, until the end of `with`).

    count: how many; by default what `default_workers` says. The first works on the model itself.
    """

    def __init__(self, model: Module, count: int | None = None) -> None:
        count = default_workers() if count is None else count
        self.count = checks.integer("Workers", "count", count, 1)
        self.model = model
        self.replicas = [model] + [replicate(model) for _ in range(self.count - 1)]
        # What belongs together in all of them, the model's own first; looked up once, not per step.
        self._modules = list(zip(*(replica.modules() for replica in self.replicas)))
        self._parameters = list(zip(*(replica.parameters() for replica in self.replicas)))
        self._buffers = [
            (modules, name)
            for modules in self._modules
            for name, value in vars(modules[0]).items()
            if isinstance(value, np.ndarray)
        ]
        self._pool: ThreadPoolExecutor | None = None
        self._exit = contextlib.ExitStack()

    def __enter__(self) -> "Workers":
        from threadpoolctl import threadpool_limits  # 20 ms that importing the package need not pay

        keep_freed_memory()
        # Threads take turns in Python between NumPy's calls; with many short calls, shorter turns.
        self._exit.callback(sys.setswitchinterval, sys.getswitchinterval())
        sys.setswitchinterval(5e-4)
        self._exit.enter_context(threadpool_limits(limits=1, user_api="blas"))
        if self.count > 1:
            self._pool = self._exit.enter_context(ThreadPoolExecutor(self.count - 1))
        return self

    def __exit__(self, *exception: object) -> None:
        self._pool = None
        self._exit.close()

    def map(self, work: Callable[..., Any], *parts: Iterable[Any]) -> list:
        """work(replica, part, ...) for each worker at once; the first in the calling thread.

        parts: each with an entry for every worker; where one is shorter, workers stand idle.
        The replicas first take over what has changed in the model: its mode, its buffers. A
        `no_grad` of the caller holds in the caller's thread only, so `work` has to say it itself;
        an `np.errstate` holds in all.
        What `work` raises is raised here, when all workers have stopped.
        """
        parts = [list(part) for part in parts]
        for part in parts:
            if len(part) > self.count:
                raise ValueError(f"Workers.map: got {len(part)} parts, want at most {self.count}")
        jobs = list(zip(self.replicas, *parts))
        if self._pool is None and len(jobs) > 1:
            raise RuntimeError("Workers.map: there are no threads outside `with Workers(...)`")
        self._follow_model()
        others = [self._pool.submit(contextvars.copy_context().run, work, *job) for job in jobs[1:]]
        try:
            results = [work(*job) for job in jobs[:1]]
        finally:
            wait(others)
        return results + [future.result() for future in others]

    def gradients(
        self, loss: Callable[[Module, np.ndarray, np.ndarray], Tensor], x: np.ndarray, y: np.ndarray
    ) -> float:
        """Add d loss / d parameter to the gradients of the model; return the loss.

        loss(replica, x, y): the mean over the images it is given. x (N, C, H, W), y (N, ...),
        N >= 1; where N is less than the number of workers, some stand idle. Batch normalisation
        looks at the images of one worker at a time; the running means are the mean of theirs.
        Raises ValueError where x and y are empty or of different lengths.
        """
        total = len(y)
        if total == 0 or len(x) != total:
            raise ValueError(
                f"Workers.gradients: x has {len(x)} images and y {total} targets, "
                "want the same number, at least 1"
            )
        busy = min(self.count, total)

        def work(replica: Module, x: np.ndarray, y: np.ndarray) -> float:
            part = loss(replica, x, y) * (len(y) / total)
            part.backward()
            return part.item()

        for _, *others in self._parameters:  # the gradients of the model itself are added to
            for other in others:
                other.grad = None
        values = self.map(work, shards(x, busy), np.array_split(y, busy))
        for parameter, *others in self._parameters:
            parts = [p.grad for p in (parameter, *others) if p.grad is not None]
            parameter.grad = sum(parts[1:], start=parts[0]) if parts else None
        self._average_buffers(busy)
        return sum(values)

    def _follow_model(self) -> None:
        """Make the replicas what the model is now: parameters (shared), buffers and mode."""
        for own, *others in self._modules:
            for other in others:
                other.training = own.training
        for own, *others in self._parameters:
            for other in others:
                other.data = own.data
        for (own, *others), name in self._buffers:
            for other in others:
                setattr(other, name, getattr(own, name).copy())

    def _average_buffers(self, busy: int) -> None:
        """Give the model the mean of what each busy worker made of its running means."""
        for modules, name in self._buffers:
            own, *others = (getattr(module, name) for module in modules[:busy])
            if own.dtype.kind == "f":
                own[...] = sum(others, start=own) / busy


def shards(x: np.ndarray, count: int) -> Iterator[np.ndarray]:
    """x (N, C, H, W) in parts of about N / count images, each batch-last in memory.

    The parts are of the sizes that `np.array_split` makes; there are `count`, but no empty ones.
    """
    last = x.transpose(1, 2, 3, 0)
    parts = np.array_split(last, min(count, len(x)), axis=3)
    return (batch_first(np.ascontiguousarray(part)) for part in parts)


def replicate(model: Module) -> Module:
    """A copy that shares the arrays of the parameters; its gradients and buffers are its own.

    Its dropout draws numbers of its own, too, else all workers would forget the same units.
    """
    shared = {id(parameter.data): parameter.data for parameter in model.parameters()}
    replica = copy.deepcopy(model, shared)
    replica.zero_grad()
    for own, other in zip(model.modules(), replica.modules()):
        if isinstance(own, Dropout):
            other.rng = own.rng.spawn(1)[0]
    return replica
