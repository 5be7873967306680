"""What networks do, believe and learn."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from stn_numpy.plots.figure import BLUE, GREEN, ORANGE, RED, SKY, new_figure
from stn_numpy.plots.grids import draw_grid

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def transformer_figure(
    inputs: np.ndarray,
    grids: np.ndarray,
    outputs: np.ndarray,
    title: str = "What the spatial transformer does",
    labels: list[str] | None = None,
    alt: str = "",
) -> "Figure":
    """Three rows: inputs, the predicted grids drawn on them, and what is read there.

    inputs (N, H, W), grids (N, H', W', 2), outputs (N, H', W'): one column an image.
    labels: one short text a column.
    """
    N, H, W = inputs.shape
    figure = new_figure(0.95 * N + 1.1, 4.0, alt or title)
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


def gallery_figure(
    rows: Mapping[str, np.ndarray],
    grids: Mapping[str, np.ndarray] | None = None,
    title: str = "",
    columns: Sequence[str] = (),
    alt: str = "",
    inches: float = 0.9,
) -> "Figure":
    """Rows of small images, each row with its name, an image (H, W) from 0 to 1 a column.

    rows: (N, H, W) by their names. grids: by the name of a row, the grid (N, H', W', 2) that is
    drawn on each of its images. columns: a short text above each column. inches: width of an image.
    """
    N = len(next(iter(rows.values())))
    margin = 1.0 + 0.07 * max(map(len, rows))
    figure = new_figure(inches * N + margin, (inches + 0.05) * len(rows) + 0.7, alt or title)
    figure.suptitle(title)
    panels = figure.subplots(len(rows), N, squeeze=False)
    for line, (name, images) in zip(panels, rows.items()):
        H, W = images.shape[1:]
        for i, (axes, image) in enumerate(zip(line, images)):
            axes.imshow(image, cmap="gray", vmin=0, vmax=1)
            axes.set(xticks=[], yticks=[])
            if name in (grids or {}):
                draw_grid(axes, grids[name][i], (H, W), step=max(1, grids[name].shape[1] // 4))
                # Room for grids that reach over the edge of the image.
                room = min(0.75, max(0.25, (np.abs(grids[name]).max() - 1) / 2 + 0.03))
                low, high = -room, 1 + room  # of the image, whose edge is at -0.5 pixels
                axes.set(xlim=(low * W - 0.5, high * W - 0.5), ylim=(high * H - 0.5, low * H - 0.5))
                axes.set_facecolor("#333333")
        line[0].set_ylabel(name, rotation=0, ha="right", va="center")
    for axes, text in zip(panels[0], columns):
        axes.set_title(text, fontsize=9)
    return figure


def scores_figure(
    image: np.ndarray, percent: np.ndarray, title: str = "", alt: str = ""
) -> "Figure":
    """Left an image (H, W), right how much a classifier believes in each class, in percent."""
    figure = new_figure(6.8, 3.2, alt or title)
    figure.suptitle(title)
    left, right = figure.subplots(1, 2, width_ratios=[1, 1.5])
    left.imshow(image, cmap="gray", vmin=0, vmax=1)
    left.set(title="what it is shown", xlabel="x (pixels)", ylabel="y (pixels)")
    best = int(np.argmax(percent))
    classes = np.arange(len(percent))
    right.barh(classes, percent, color=[RED if k == best else SKY for k in classes])
    right.annotate(
        f"{percent[best]:.0f} %",
        (percent[best], best),
        (4, 0),
        textcoords="offset points",
        va="center",
    )
    right.set(title="what it takes it for", xlabel="belief (%)", ylabel="digit", yticks=classes)
    right.set_xlim(0, 115)
    right.invert_yaxis()
    return figure


def learning_curves(errors: dict[str, list[float]], alt: str = "") -> "Figure":
    """Test error in percent after each epoch, a line for each network.

    errors: by the network's name, each a number from 0 to 1.
    """
    from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

    figure = new_figure(6, 3.6, alt)
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
