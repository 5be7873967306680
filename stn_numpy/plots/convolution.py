"""Windows on an image, im2col, pooling, and numbers as they lie in memory."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from stn_numpy.plots.figure import BLUE, RED, new_figure
from stn_numpy.plots.images import draw_frame, draw_heat, draw_pixels

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def window_figure(
    image: np.ndarray,
    kernel: np.ndarray,
    output: np.ndarray,
    place: tuple[int, int],
    stride: tuple[int, int] = (1, 1),
    title: str = "",
    alt: str = "",
) -> "Figure":
    """A window on an image, the kernel it is weighed with, and the number that comes out.

    place (p, q): row and column of the output; image (H, W) with its frame of padding, if any.
    """
    (p, q), (kh, kw) = place, kernel.shape
    figure = new_figure(8.6, 3.6, alt or title)
    figure.suptitle(title)
    widths = [image.shape[1], kw + 0.5, output.shape[1]]
    left, middle, right = figure.subplots(1, 3, width_ratios=widths)
    draw_pixels(left, image, "image")
    draw_frame(left, p * stride[0], q * stride[1], kh, kw)
    draw_heat(middle, kernel, "kernel W")
    middle.set(xlabel="j", ylabel="i")
    draw_heat(right, output, f"output y; here y[{p}, {q}] = {output[p, q]:g}")
    right.set(xlabel="q", ylabel="p")
    draw_frame(right, p, q, 1, 1)
    return figure


def columns_figure(
    image: np.ndarray,
    columns: np.ndarray,
    kernel_size: tuple[int, int],
    places: tuple[int, int],
    place: tuple[int, int] = (0, 0),
    title: str = "",
    alt: str = "",
) -> "Figure":
    """im2col: left a window on the image, right the matrix whose columns are the windows.

    columns (kh kw, H' W') of an image (H, W), stride 1; places (H', W'); the window at `place` and
    its column are framed.
    """
    (kh, kw), (p, q) = kernel_size, place
    rows, many = columns.shape
    figure = new_figure(0.62 * (image.shape[1] + many) + 2.4, 3.9, alt or title)
    figure.suptitle(title)
    left, right = figure.subplots(1, 2, width_ratios=[image.shape[1], many])
    draw_pixels(left, image, f"the window at place ({p}, {q})")
    draw_frame(left, p, q, kh, kw)
    draw_pixels(right, columns, "columns", limits=(float(image.min()), float(image.max())))
    draw_frame(right, 0, p * places[1] + q, rows, 1)
    right.set(xlabel="place (p, q) of the window", ylabel="pixel (i, j) of the window")
    right.set_xticklabels([f"{a},{b}" for a, b in np.ndindex(*places)])
    right.set_yticklabels([f"{i},{j}" for i, j in np.ndindex(kh, kw)])
    return figure


def matrices_figure(
    matrices: Mapping[str, np.ndarray], every: int = 4, title: str = "", alt: str = ""
) -> "Figure":
    """Matrices of mostly zeros side by side; what is not 0 is a dark square.

    every: after how many rows and columns there is a line.
    """
    from matplotlib.colors import ListedColormap

    cell = 0.15
    width = sum(matrix.shape[1] for matrix in matrices.values())
    height = max(matrix.shape[0] for matrix in matrices.values())
    size = cell * width + 0.9 * len(matrices), cell * height + 1.6
    figure = new_figure(*size, alt or title)
    figure.suptitle(title)
    ratios = [matrix.shape[1] for matrix in matrices.values()]
    panels = figure.subplots(1, len(matrices), squeeze=False, width_ratios=ratios)
    for axes, (name, matrix) in zip(panels[0], matrices.items()):
        axes.imshow(matrix != 0, cmap=ListedColormap(["white", BLUE]), vmin=0, vmax=1)
        for i in np.arange(0, matrix.shape[0] + 1, every) - 0.5:
            axes.axhline(i, color="#999999", linewidth=0.6)
        for j in np.arange(0, matrix.shape[1] + 1, every) - 0.5:
            axes.axvline(j, color="#999999", linewidth=0.6)
        axes.set(title=name, xlabel="column", ylabel="row", anchor="N")
        axes.set(xticks=range(0, matrix.shape[1], every), yticks=range(0, matrix.shape[0], every))
        axes.tick_params(labelsize=8)
    return figure


def seen_from_figure(
    image: np.ndarray, kernel: np.ndarray, pixel: tuple[int, int], title: str = "", alt: str = ""
) -> "Figure":
    """All windows that see one pixel [row, column] of an image (H, W), stride 1.

    Each window is drawn with its weights in it; the weight that lies on the pixel is its title.
    """
    (r, s), (kh, kw), (H, W) = pixel, kernel.shape, image.shape
    rows = [p for p in range(r - kh + 1, r + 1) if 0 <= p <= H - kh]
    columns = [q for q in range(s - kw + 1, s + 1) if 0 <= q <= W - kw]
    figure = new_figure(2.5 * len(columns) + 0.4, 2.5 * len(rows) + 0.7, alt or title)
    figure.suptitle(title)
    panels = figure.subplots(len(rows), len(columns), squeeze=False)
    for (a, p), (b, q) in ((a, b) for a in enumerate(rows) for b in enumerate(columns)):
        axes = panels[a, b]
        seen = np.zeros(image.shape)
        seen[p : p + kh, q : q + kw] = kernel
        draw_heat(axes, seen, f"place ({p}, {q}): weight {seen[r, s]:g}", numbers=False)
        for i, j in np.ndindex(kh, kw):
            here = (p + i, q + j) == (r, s)
            axes.text(
                q + j,
                p + i,
                f"{kernel[i, j]:g}",
                ha="center",
                va="center",
                fontsize=13 if here else 10,
                fontweight="bold" if here else "normal",
                bbox={"boxstyle": "circle,pad=0.25", "facecolor": "white", "edgecolor": RED}
                if here
                else None,
            )
        draw_frame(axes, p, q, kh, kw, "black")
        axes.set(xlabel="column", ylabel="row")
    return figure


def pooling_figure(
    x: np.ndarray,
    dy: np.ndarray,
    dx: np.ndarray,
    winners: Sequence[tuple[int, int]],
    kernel_size: tuple[int, int],
    title: str = "",
    alt: str = "",
) -> "Figure":
    """What goes back through a pooling: the image with its windows, dy, and dx.

    x, dx (H, W); dy (H', W'); winners: the pixels [row, column] that get a ring; windows that do
    not overlap, framed.
    """
    W, (kh, kw) = x.shape[1], kernel_size
    figure = new_figure(9.0, 3.9, alt or title)
    figure.suptitle(title)
    left, middle, right = figure.subplots(1, 3, width_ratios=[W, dy.shape[1] + 1, W])
    draw_pixels(left, x, "image x")
    draw_heat(middle, dy, "dL/dy, from above")
    middle.set(xlabel="q", ylabel="p")
    draw_heat(right, dx, "dL/dx", ".4g")
    for p, q in np.ndindex(*dy.shape):
        for axes in (left, right):
            draw_frame(axes, p * kh, q * kw, kh, kw, "black")
    for n, m in winners:
        left.plot([m], [n], "o", markersize=24, fillstyle="none", color=RED, markeredgewidth=2.5)
    for axes in (left, right):
        axes.set(xlabel="column", ylabel="row")
    return figure


def memory_figure(
    rows: Mapping[str, tuple[np.ndarray, np.ndarray]], every: int, title: str = "", alt: str = ""
) -> "Figure":
    """Numbers as they lie in memory, one after the other; those that are read are dark.

    rows: by their names (texts, read), two arrays of one length: what stands in each cell, and
    whether it is read. every: after how many cells there is a thicker line.
    """
    from matplotlib.patches import Rectangle

    length = max(len(texts) for texts, _ in rows.values())
    figure = new_figure(0.26 * length + 0.4, 1.15 * len(rows) + 0.5, alt or title)
    figure.suptitle(title)
    panels = figure.subplots(len(rows), 1, squeeze=False)
    for axes, (name, (texts, read)) in zip(panels[:, 0], rows.items()):
        for i, (text, dark) in enumerate(zip(texts, read)):
            color = BLUE if dark else "white"
            axes.add_patch(Rectangle((i, 0), 1, 1, facecolor=color, edgecolor="#999999"))
            axes.text(
                i + 0.5,
                0.48,
                str(text),
                ha="center",
                va="center",
                fontsize=9,
                color="white" if dark else "#555555",
                fontweight="bold" if dark else "normal",
            )
        for i in range(0, len(texts) + 1, every):
            axes.plot([i, i], [-0.15, 1.15], color="black", linewidth=1.3)
        axes.set(title=name, xlabel="address in memory")
        axes.set(xlim=(-0.2, length + 0.2), ylim=(-0.2, 1.2))
        axes.set(yticks=[], xticks=np.arange(0, len(texts), every) + 0.5)
        axes.set_xticklabels(range(0, len(texts), every))
        for side in ("top", "left", "right", "bottom"):
            axes.spines[side].set_visible(False)
    return figure


def pooled_figure(
    images: Mapping[str, np.ndarray], cell: int = 2, title: str = "", alt: str = ""
) -> "Figure":
    """Images (H, W) by their names with their cells framed, each above what max-pooling keeps.

    cell: height and width of a cell in pixels, which divides H and W.
    """
    H, W = next(iter(images.values())).shape
    size = 0.62 * W * len(images) + 1.6, 0.62 * (H + H // cell) + 2.0
    figure = new_figure(*size, alt or title)
    figure.suptitle(title)
    panels = figure.subplots(2, len(images), squeeze=False, height_ratios=[H, H // cell + 0.6])
    for (above, below), (name, image) in zip(panels.T, images.items()):
        pooled = image.reshape(H // cell, cell, W // cell, cell).max(axis=(1, 3))
        limits = float(image.min()), float(image.max())
        draw_pixels(above, image, name, limits=limits)
        draw_pixels(below, pooled, "the largest of each cell", limits=limits)
        below.set(xlabel="column of cells", ylabel="row of cells")
        for n, m in np.ndindex(*pooled.shape):
            draw_frame(above, n * cell, m * cell, cell, cell)
    return figure


def waves_figure(
    waves: Mapping[str, tuple[np.ndarray, np.ndarray]], title: str = "", alt: str = ""
) -> "Figure":
    """By their names, side by side: a row of pixels that goes in, and the row that comes out.

    Behind the pixels stands the slowest wave that goes through all of them.
    """
    figure = new_figure(2.9 * len(waves), 2.9, alt or title)
    figure.suptitle(title)
    panels = np.atleast_1d(figure.subplots(1, len(waves), sharey=True))
    for axes, (name, (into, out)) in zip(panels, waves.items()):
        axes.plot(*between_pixels(into), "--", color=BLUE, linewidth=1)
        axes.plot(*between_pixels(out), "-", color=RED, linewidth=1)
        axes.plot(into, "o", color=BLUE, markersize=4, label="in")
        axes.plot(out, "s", color=RED, markersize=4, label="out")
        axes.axhline(0, color="0.7", linewidth=0.8, zorder=0)
        axes.set(title=name, xlabel="pixel")
    panels[0].set_ylabel("value")
    panels[-1].legend(fontsize=8)
    return figure


def between_pixels(row: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Places from the first pixel to the last, and the row's waves there."""
    n = len(row)
    places = np.linspace(0, n - 1, 20 * n)
    waves = np.fft.rfft(row) / n
    parts = [
        (1 if k in (0, n / 2) else 2) * (wave * np.exp(2j * np.pi * k * places / n)).real
        for k, wave in enumerate(waves)
    ]
    return places, np.sum(parts, axis=0).round(9)
