"""One row of a table: check that both sides do the same, then let them run in turns."""

import contextlib
import math
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

WARM_UP = 3  # untimed runs of each side
SHORTEST = 0.02  # seconds: work that is shorter is repeated until it takes this long
# The largest relative difference (2-norm) of results that are the same. In float32, rounding may
# take a point or a maximum to its neighbour, and with it the gradient.
TOLERANCE = {np.float64: 1e-9, np.float32: 0.05}
# More than this says that the machine was busy with something else: the part of the time for which
# threads that could run had no core (a tenth is their own doing: idle threads of one side are still
# awake when the other begins), and the distance of a ratio's quartiles, relative to the ratio.
WAITING, SPREAD = 0.25, 0.2


class DifferentWork(RuntimeError):
    """The two sides of a row do not compute the same: there is nothing to compare."""


class Side(NamedTuple):
    """One of the two that are compared."""

    run: Callable[[], Any]  # does the work once
    results: Callable[[Any], dict[str, Any]]  # from what `run` returned: arrays to compare, by name
    name: str = "PyTorch"  # of the other side


# (workers, dtype) -> ours and the other side, or ours alone
Row = Callable[[int, type], AbstractContextManager[Sequence[Side]]]


@dataclass(frozen=True)
class Timing:
    """One row of a table: seconds of every turn; `ours[i]` and `theirs[i]` are neighbours.

    Without another side `theirs` is empty, and there is no ratio.
    """

    work: str
    ours: Sequence[float]
    theirs: Sequence[float] = ()
    waiting: float = 0.0  # for this part of the time, threads of either waited for a core

    @property
    def ratio(self) -> float:
        """Median of ours over median of theirs."""
        return statistics.median(self.ours) / statistics.median(self.theirs)

    @property
    def quartiles(self) -> tuple[float, float]:
        """First and third quartile of the ratios of all turns."""
        low, high = np.percentile(np.divide(self.ours, self.theirs), [25, 75])
        return float(low), float(high)

    @property
    def fastest(self) -> float:
        """Fastest of ours over fastest of theirs: other work on the machine only ever slows."""
        return min(self.ours) / min(self.theirs)

    @property
    def disturbed(self) -> bool:
        """The machine was busy with something else, and the times say more about that."""
        if self.waiting > WAITING or not self.theirs:
            return self.waiting > WAITING
        low, high = self.quartiles
        return high - low > SPREAD * self.ratio

    def as_dict(self, theirs: str) -> dict[str, Any]:
        """All numbers, for a JSON file; `theirs`: what the other side is called in it."""
        numbers = {
            "work": self.work,
            "ours_ms": 1e3 * statistics.median(self.ours),
            "waiting": self.waiting,
            "disturbed": self.disturbed,
            "ours_seconds": list(self.ours),
        }
        if self.theirs:
            numbers |= {
                f"{theirs}_ms": 1e3 * statistics.median(self.theirs),
                "ratio": self.ratio,
                "quartiles": list(self.quartiles),
                "fastest": self.fastest,
                f"{theirs}_seconds": list(self.theirs),
            }
        return numbers


def format_header(width: int, theirs: str = "PyTorch") -> str:
    return f"{'work':{width}}   ours ms  {theirs:>7} ms  ratio   quartiles     fastest"


def format_row(timing: Timing, width: int) -> str:
    ours, theirs = (1e3 * statistics.median(side) for side in (timing.ours, timing.theirs))
    low, high = timing.quartiles
    return (
        f"{timing.work:{width}}  {ours:8.2f}  {theirs:10.2f}  {timing.ratio:5.2f}"
        f"{'?' if timing.disturbed else ' '}  {low:.2f} to {high:.2f}  {timing.fastest:7.2f}"
    )


def no_tick() -> None:
    """Where nobody watches the turns go by."""


def time_row(
    work: str, row: Row, workers: int, repeats: int, tick: Callable[[], Any] = no_tick
) -> Timing:
    """Check and time one row; `tick` is called after every turn. Raises DifferentWork."""
    with row(workers, np.float64) as sides:
        if len(sides) > 1:
            check_same_work(work, *sides, np.float64)
    with row(workers, np.float32) as sides:
        if len(sides) > 1:
            check_same_work(work, *sides, np.float32)
        start, before = time.perf_counter(), seconds_waited()
        times = take_turns([side.run for side in sides], repeats, tick)
        waiting = (seconds_waited() - before) / (time.perf_counter() - start)
    return Timing(work, *times, waiting=waiting)


def check_same_work(work: str, ours: Side, theirs: Side, dtype: type) -> None:
    """Raises DifferentWork unless both come to the same results.

    In float64 the work is done twice: only the second step of an optimizer has a momentum.
    """
    if dtype is np.float64:
        ours.run()
        theirs.run()
    got, want = ours.results(ours.run()), theirs.results(theirs.run())
    if got.keys() != want.keys():
        raise DifferentWork(f"{work}: ours gives {list(got)}, {theirs.name} {list(want)}")
    for name in want:
        a, b = (np.asarray(side[name], dtype=np.float64) for side in (got, want))
        if a.shape != b.shape:
            raise DifferentWork(f"{work}: {name} has shape {a.shape}, with {theirs.name} {b.shape}")
        difference, size = np.linalg.norm(a - b), np.linalg.norm(b)
        if not difference <= TOLERANCE[dtype] * size:
            raise DifferentWork(
                f"{work}: {name} is {difference:.1e} away from {theirs.name}'s, whose norm is "
                f"{size:.1e} ({dtype.__name__})"
            )


def take_turns(
    sides: Sequence[Callable], repeats: int, tick: Callable[[], Any] = no_tick
) -> list[list[float]]:
    """Seconds of one run of each side, `repeats` times, in turns.

    The first run of a turn finds the other's data in the cache and the other's threads still
    awake; it is not timed.
    """
    warm = [seconds_of(side, 1) for _ in range(WARM_UP) for side in sides]
    calls = max(1, math.ceil(SHORTEST / min(warm)))
    times: list[list[float]] = [[] for _ in sides]
    for _ in range(repeats):
        for side, own in zip(sides, times):
            side()
            own.append(seconds_of(side, calls))
        tick()
    return times


def seconds_waited() -> float:
    """Seconds for which threads of this process could run and had no core; 0 where not known."""
    total = 0
    for thread in Path("/proc/self/task").glob("*/schedstat"):  # Linux has it
        with contextlib.suppress(OSError):  # a thread may end at any time
            _on_a_core, waiting_for_one, _turns = thread.read_text().split()
            total += int(waiting_for_one)
    return total / 1e9


def seconds_of(work: Callable, calls: int) -> float:
    """Seconds of one of so many calls."""
    start = time.perf_counter()
    for _ in range(calls):
        work()
    return (time.perf_counter() - start) / calls
