"""What a terminal shows of long work: a bar for what runs, a line for what has ended."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from stn_numpy.training import Display


class Progress(Display):
    """A bar for the epoch that runs, a line for each that has ended.

    epochs: of the whole training. remaining: add to each line how long the rest will take, if the
    epochs to come take as long as the one that ended.
    """

    def __init__(self, epochs: int, remaining: bool = False) -> None:
        self.epochs, self.remaining = epochs, remaining

    @contextlib.contextmanager
    def bar(self, name: str, epoch: int, images: int) -> Iterator[Callable]:
        from tqdm import tqdm

        title = f"{name} {epoch}/{self.epochs}"
        # disable=None: no bar where the output is no terminal.
        with tqdm(total=images, desc=title, unit=" images", leave=False, disable=None) as bar:

            def progress(images: int, loss: float, error: float) -> None:
                bar.set_postfix_str(f"loss {loss:.3f}, error {100 * error:.2f} %", refresh=False)
                bar.update(images)

            yield progress

    def epoch(self, name: str, result: dict[str, Any], seconds: float) -> None:
        left = (self.epochs - result["epoch"]) * seconds
        print(
            f"{name:8} epoch {result['epoch']:3}/{self.epochs}   loss {result['loss']:.4f}   "
            f"training error {100 * result['train_error']:6.2f} %   "
            f"test error {100 * result['test_error']:6.2f} %   {seconds:5.1f} s"
            + (f"   {duration(left)} to go" if self.remaining and left else ""),
            flush=True,
        )


def duration(seconds: float) -> str:
    """ "45 s", "12 min" or "3.4 h"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
