"""Gradients: where they go, which way they point, where they lead, and how far they are off."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from stn_numpy.plots.figure import BLUE, GREEN, MARKERS, RED, SKY, new_figure
from stn_numpy.plots.grids import draw_points_as_grid
from stn_numpy.plots.images import draw_heat, draw_pixel_edges, draw_pixels, draw_point, pixel_axes

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def tangents_figure(
    row: np.ndarray, slopes: Mapping[str, np.ndarray], title: str = "", alt: str = ""
) -> "Figure":
    """A row of pixels joined by straight lines, and what is called its slope at every pixel.

    row (W,); slopes: by their names, (W,) each. A name that begins with "left" or "right" is drawn
    on that side of the pixel alone, any other on both.
    """
    W = len(row)
    figure = new_figure(7.0, 4.0, alt or title)
    axes = figure.subplots()
    columns = np.arange(W)
    x = np.arange(-1, W + 1)
    axes.plot(x, np.pad(row, 1), "-", color="#BBBBBB", linewidth=1.5, zorder=1)
    styles = ((BLUE, "-", 3.5), (SKY, "-", 3.5), (GREEN, "--", 1.8), (RED, "-.", 1.8))
    for (name, values), (color, line, width) in zip(slopes.items(), styles):
        before, after = (-0.32, 0.0) if name.startswith("left") else (-0.32, 0.32)
        before = 0.0 if name.startswith("right") else before
        for m in columns:
            ends = np.array([before, after])
            label = name if m == 0 else None
            axes.plot(m + ends, row[m] + values[m] * ends, line, color=color, lw=width, label=label)
    axes.plot(columns, row, "s", color="black", markersize=6, label="pixels")
    axes.set(title=title, xlabel="x (pixels)", ylabel="V", xticks=columns, xlim=(-0.6, W - 0.4))
    axes.legend(fontsize=8, loc="lower left")
    return figure


def matrix_figure(
    matrix: np.ndarray,
    title: str = "",
    xlabel: str = "",
    ylabel: str = "",
    every: int = 4,
    alt: str = "",
) -> "Figure":
    """A matrix of weights, 0 white and the largest blue, lines after `every` rows and columns."""
    from matplotlib.colors import LinearSegmentedColormap

    rows, columns = matrix.shape
    colours = LinearSegmentedColormap.from_list("white to blue", ["white", SKY, BLUE, "black"])
    figure = new_figure(0.26 * columns + 2.0, 0.26 * rows + 1.1, alt or title)
    axes = figure.subplots()
    image = axes.imshow(matrix, cmap=colours, vmin=0, vmax=1.3 * float(matrix.max()))
    for i in np.arange(every, rows, every) - 0.5:
        axes.axhline(i, color="#999999", linewidth=0.7)
    for j in np.arange(every, columns, every) - 0.5:
        axes.axvline(j, color="#999999", linewidth=0.7)
    axes.set(title=title, xlabel=xlabel, ylabel=ylabel)
    axes.set(xticks=range(0, columns, every), yticks=range(0, rows, every))
    bar = figure.colorbar(image, ax=axes, label="weight", shrink=0.9)
    bar.ax.set_ylim(0, float(matrix.max()))
    return figure


def backward_figure(
    dV: np.ndarray,
    x_s: np.ndarray,
    y_s: np.ndarray,
    dU: np.ndarray,
    title: str = "Each pixel of the output sends its gradient to the pixels it was read from",
    alt: str = "",
) -> "Figure":
    """Left the gradient of the output, in the middle where each of its numbers was read, right what
    the pixels of the input get.

    dV, x_s, y_s (H', W'), points in pixels; dU (H, W).
    """
    H, W = dU.shape
    outside = [-x_s.min(), x_s.max() - (W - 1), -y_s.min(), y_s.max() - (H - 1)]
    margin = max(0.0, 0.4 + float(np.max(outside)) - 0.5)
    widths = [dV.shape[1], W + 2 * margin, W]
    figure = new_figure(0.72 * sum(widths) + 1.6, 4.4, alt or title)
    figure.suptitle(title)
    left, middle, right = figure.subplots(1, 3, width_ratios=widths)
    draw_heat(left, dV, "dL/dV, from above")
    draw_pixel_edges(middle, (H, W))
    pixel_axes(middle, (H, W), margin)
    middle.set_title("where it was read")
    for x, y, value in zip(x_s.ravel(), y_s.ravel(), dV.ravel()):
        color = BLUE if value > 0 else RED if value < 0 else "#777777"
        middle.plot([x], [y], "o", color=color, markersize=15, markeredgecolor="white")
        middle.text(x, y, f"{value:g}", ha="center", va="center", color="white", fontsize=9)
    draw_heat(right, dU, "dL/dU", ".3g")
    return figure


def arrows_figure(
    U: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    dx: np.ndarray,
    dy: np.ndarray,
    scale: float = 0.15,
    title: str = "",
    alt: str = "",
) -> "Figure":
    """Points (x, y) on an image, each with its gradient (dx, dy), `scale` pixels for each unit."""
    H, W = U.shape
    ends = [-x, x - (W - 1), -y, y - (H - 1)]
    ends += [-(x + scale * dx), x + scale * dx - (W - 1)]
    ends += [-(y + scale * dy), y + scale * dy - (H - 1)]
    margin = max(0.0, 0.3 + float(np.max(ends)) - 0.5)
    figure = new_figure(5.4, 4.9, alt or title)
    axes = figure.subplots()
    # Lighter than it is, so that the arrows are seen.
    limits = (2 * float(U.min()) - float(U.max()), float(U.max()))
    draw_pixels(axes, U, title, margin=margin, limits=limits)
    axes.plot(x, y, "o", color=RED, markersize=4, markeredgecolor="white", markeredgewidth=0.5)
    axes.quiver(
        x,
        y,
        scale * dx,
        scale * dy,
        angles="xy",
        scale_units="xy",
        scale=1,
        color=RED,
        width=0.008,
        edgecolor="white",
        linewidth=0.5,
        zorder=3,
    )
    return figure


def nudges_figure(
    theta: np.ndarray,
    size: tuple[int, int],
    by: float = 0.25,
    title: str = "",
    alt: str = "",
) -> "Figure":
    """How the points move when one number of theta grows: a plot for each of the six.

    theta (2, 3) in pixels; size (H', W') of the output; by: how much each number grows.
    """
    H, W = size
    y_t, x_t = np.mgrid[:H, :W].astype(float)
    targets = np.stack([x_t.ravel(), y_t.ravel(), np.ones(H * W)])
    x, y = theta @ targets
    figure = new_figure(8.2, 5.8, alt or title)
    figure.suptitle(title)
    margin = 0.4 + by * max(H, W)
    for (row, column), axes in np.ndenumerate(figure.subplots(2, 3, sharex=True, sharey=True)):
        moved = np.zeros((2, H * W))
        moved[row] = by * targets[column]
        draw_points_as_grid(axes, x.reshape(H, W), y.reshape(H, W))
        axes.plot(x, y, "o", color="#999999", markersize=4)
        axes.quiver(
            x, y, *moved, angles="xy", scale_units="xy", scale=1, color=RED, width=0.012, zorder=3
        )
        axes.set(
            title=f"theta_{row + 1}{column + 1} + {by:g}",
            xlim=(x.min() - 0.5, x.max() + margin),
            ylim=(y.max() + margin, y.min() - 0.5),
            aspect="equal",
        )
        if row == 1:
            axes.set_xlabel("x (pixels)")
        if column == 0:
            axes.set_ylabel("y (pixels)")
    return figure


def descent_figure(
    U: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    losses: np.ndarray,
    title: str = "",
    alt: str = "",
) -> "Figure":
    """Left the way of one point over the image, right the loss after each step.

    x, y, losses: one number before the first step and one after each.
    """
    H, W = U.shape
    margin = max(0.0, 0.3 + float(np.max([-x, x - (W - 1), -y, y - (H - 1)])) - 0.5)
    figure = new_figure(8.4, 4.2, alt or title)
    figure.suptitle(title)
    left, right = figure.subplots(1, 2)
    draw_pixels(left, U, "U, and where it is read", margin=margin)
    left.plot(x, y, "-o", color=RED, markersize=4, linewidth=1.2, markeredgecolor="white")
    draw_point(left, x[0], y[0], "start", offset=(10, -14))
    left.plot(x[-1:], y[-1:], "s", color=BLUE, markersize=16, fillstyle="none", markeredgewidth=2)
    draw_point(left, x[-1], y[-1], "end", BLUE, offset=(-12, 10), size=3)
    right.plot(losses, "-o", color=BLUE, markersize=4)
    right.set(title="the loss", xlabel="step", ylabel="L", ylim=(0, None))
    right.grid(alpha=0.3)
    return figure


def errors_figure(
    steps: np.ndarray,
    errors: Mapping[str, np.ndarray],
    best: Mapping[str, float] | None = None,
    title: str = "",
    alt: str = "",
) -> "Figure":
    """Errors of finite differences by their step, both axes logarithmic, a curve for each name.

    best: steps that are marked by an upright line, by their names.
    """
    figure = new_figure(7.2, 4.2, alt or title)
    axes = figure.subplots()
    for (name, values), (color, marker) in zip(errors.items(), MARKERS):
        axes.loglog(steps, values, "-", color=color, marker=marker, markersize=5, label=name)
        figure.recorded.append(np.log10(np.maximum(values, 1e-16)).round(1))
    for (name, step), (color, _) in zip((best or {}).items(), MARKERS):
        axes.axvline(step, color=color, linestyle=":", linewidth=1.5, label=name)
    axes.set(title=title, xlabel="step", ylabel="error of the slope")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    return figure


def flow_figure(
    norms: Mapping[str, Mapping[str, float]], title: str = "", alt: str = ""
) -> "Figure":
    """How large the gradient of each parameter is, at several times.

    norms: {time: {parameter: norm of its gradient}}, the same parameters at all times, from the
    input to the output. The axis is logarithmic; a 0 stands at its left end, as a hollow marker.
    """
    names = list(next(iter(norms.values())))
    positive = [value for values in norms.values() for value in values.values() if value > 0]
    low = 10.0 ** (np.floor(np.log10(min(positive))) - 1)
    figure = new_figure(7.8, 1.4 + 0.29 * len(names), alt or title)
    axes = figure.subplots()
    for i in range(len(names)):
        axes.axhline(i, color="#DDDDDD", linewidth=0.6, zorder=0)
    shifts = 0.16 * (np.arange(len(norms)) - (len(norms) - 1) / 2)
    for (time, values), shift, (color, marker) in zip(norms.items(), shifts, MARKERS):
        y = np.arange(len(names)) + shift
        x = np.array([values[name] for name in names])
        some = x > 0
        axes.plot(x[some], y[some], marker, color=color, markersize=6, label=time)
        axes.plot(np.full((~some).sum(), low), y[~some], marker, color=color, fillstyle="none")
        figure.recorded.append(np.log10(np.maximum(x, low)).round(1))
    axes.set_xscale("log")
    axes.set(title=title, xlabel="norm of the gradient", ylim=(len(names) - 0.5, -0.5))
    axes.set_xlim(low / 2, 3 * max(positive))
    axes.set_yticks(range(len(names)), names, fontsize=8)
    powers = range(round(np.log10(low)) + 1, int(np.ceil(np.log10(max(positive)))) + 1)
    axes.set_xticks([low, *(10.0**p for p in powers)], ["0", *(f"$10^{{{p}}}$" for p in powers)])
    axes.minorticks_off()
    axes.axvline(low, color="#999999", linewidth=0.8)
    axes.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
    return figure
