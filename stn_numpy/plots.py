"""The figures that the book and the command line share.

Every function takes arrays and returns a matplotlib Figure; nothing is shown or saved here.
"""

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
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


def new_figure(width: float, height: float) -> "Figure":
    """An empty figure, `width` x `height` inches, that no window and no other figure knows of."""
    from matplotlib.figure import Figure  # slow to import, and needed only by those who draw

    return Figure(figsize=(width, height), layout="constrained")


def draw_grid(axes: "Axes", G: np.ndarray, image_size: tuple[int, int], step: int = 4) -> None:
    """Draw a sampling grid on the image it reads.

    G (H', W', 2): normalised (x, y), align_corners=False. image_size: (H, W) of the image, in
    pixels. step: every how many rows and columns of the grid there is a line.
    The outline is the quadrilateral that becomes the output's border; its upper side is thick.
    """
    H, W = image_size
    x = ((G[..., 0] + 1) * W - 1) / 2
    y = ((G[..., 1] + 1) * H - 1) / 2
    rows, columns = ([*range(0, n - 1, step), n - 1] for n in x.shape)
    for i in rows[1:-1]:
        axes.plot(x[i], y[i], color=SKY, linewidth=0.5, alpha=0.8)
    for j in columns[1:-1]:
        axes.plot(x[:, j], y[:, j], color=SKY, linewidth=0.5, alpha=0.8)
    for side in ((slice(None), 0), (slice(None), -1), (-1, slice(None))):
        axes.plot(x[side], y[side], color=ORANGE, linewidth=1.2)
    axes.plot(x[0], y[0], color=ORANGE, linewidth=3)


def transformer_figure(
    inputs: np.ndarray,
    grids: np.ndarray,
    outputs: np.ndarray,
    title: str = "What the spatial transformer does",
    labels: list[str] | None = None,
) -> "Figure":
    """Three rows: inputs, the predicted grids drawn on them, and what is read there.

    inputs (N, H, W), grids (N, H', W', 2), outputs (N, H', W'): one column an image.
    labels: one short text a column.
    """
    N, H, W = inputs.shape
    figure = new_figure(0.95 * N + 1.1, 4.0)
    figure.suptitle(title)
    axes = figure.subplots(3, N, squeeze=False)
    for i in range(N):
        for row, image in zip(axes[:, i], (inputs[i], inputs[i], outputs[i])):
            row.imshow(image, cmap="gray", vmin=0, vmax=1)
            row.set(xticks=[], yticks=[])
        draw_grid(axes[1, i], grids[i], (H, W))
        # Room for grids that reach over the edge of the image.
        axes[1, i].set(xlim=(-0.25 * W, 1.25 * W), ylim=(1.25 * H, -0.25 * H), facecolor="#333333")
        if labels:
            axes[0, i].set_title(labels[i], fontsize=9)
    for row, name in zip(axes[:, 0], ("input U", "grid G on it", "output V")):
        row.set_ylabel(name)
    return figure


def learning_curves(errors: dict[str, list[float]]) -> "Figure":
    """Test error in percent after each epoch, a line for each network.

    errors: by the network's name, each a number from 0 to 1.
    """
    from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

    figure = new_figure(6, 3.6)
    axes = figure.subplots()
    styles = ((BLUE, "o", "-"), (ORANGE, "s", "--"), (GREEN, "^", ":"), (RED, "v", "-."))
    for (name, values), (color, marker, line) in zip(errors.items(), styles * len(errors)):
        percent = 100 * np.array(values)
        epochs = np.arange(1, len(values) + 1)
        every = max(1, len(values) // 15)
        axes.plot(epochs, percent, line, color=color, marker=marker, markevery=every, label=name)
    axes.set(title="Test error while learning", xlabel="epoch", ylabel="test error (%)")
    axes.set_xlim(0.5, max([1, *map(len, errors.values())]) + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    if any(value > 0 for values in errors.values() for value in values):  # else nothing has a log
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5)))
        axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter("{x:g}")
    axes.grid(alpha=0.3)
    if errors:
        axes.legend()
    return figure


def save(figure: "Figure", path) -> None:
    """Write a figure as PNG, all of it or nothing."""
    from stn_numpy.files import atomic_write

    with atomic_write(path) as file:
        figure.savefig(file, format="png", dpi=120)
