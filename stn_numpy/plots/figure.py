"""What every figure begins and ends with: an empty one, colours, lines and markers, a file."""

import functools
from typing import TYPE_CHECKING

from stn_numpy import notebook

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe and Ito's colours, told apart by all kinds of colour vision.
BLUE, ORANGE, GREEN, SKY, RED, PURPLE = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#56B4E9",
    "#D55E00",
    "#CC79A7",
)
# The first of several curves, fills or markers, the second, and so on; more than colours differ.
LINES = ((BLUE, "-"), (ORANGE, "--"), (GREEN, "-."), (RED, ":"), (PURPLE, (0, (5, 1, 1, 1))))
FILLS = ((BLUE, ""), (SKY, "//"), (GREEN, ".."), (RED, "xx"), (PURPLE, "--"))
MARKERS = ((RED, "o"), (BLUE, "s"), (GREEN, "^"), (PURPLE, "D"), (ORANGE, "v"), (SKY, "P"))


def new_figure(width: float, height: float, alt: str = "") -> "Figure":
    """An empty figure, `width` x `height` inches, that no window and no other figure knows of.

    alt: what it will show, in words, for those who do not see it.
    """
    from matplotlib.figure import Figure  # slow to import, and needed only by those who draw

    figure = Figure(figsize=(width, height), layout="constrained")
    figure.alt = alt
    figure.recorded = []  # arrays that are drawn in ways from which they can not be read back
    figure._repr_mimebundle_ = functools.partial(notebook.mimebundle, figure)
    return figure


def save(figure: "Figure", path) -> None:
    """Write a figure as PNG, all of it or nothing."""
    from stn_numpy.files import atomic_write

    with atomic_write(path) as file:
        figure.savefig(file, format="png", dpi=120)
