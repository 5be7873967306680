"""Kernels and their slopes, the weights they give to pixels, and what is between two pixels."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from stn_numpy.functional.kernels import KERNELS, Kernel
from stn_numpy.plots.figure import BLUE, GREEN, ORANGE, RED, new_figure
from stn_numpy.plots.images import draw_heat, draw_pixels, draw_point

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def kernel_figure(kernels: Sequence[str] = ("nearest", "bilinear"), alt: str = "") -> "Figure":
    """Kernels k(d) and their slopes k'(d) as curves, by their names in `kernels.KERNELS`."""
    figure = new_figure(8.2, 3.4, alt or f"The kernels {', '.join(kernels)} and their slopes.")
    left, right = figure.subplots(1, 2)
    d = np.linspace(-2.2, 2.2, 881)
    styles = ((BLUE, "-"), (ORANGE, "--"), (GREEN, "-."), (RED, ":"))
    for name, (color, line) in zip(kernels, styles):
        kernel = KERNELS[name]
        left.plot(d, _weights(kernel, d), line, color=color, label=name)
        right.plot(d, _broken(d, _slopes(kernel, d)), line, color=color, label=name)
    left.set(title="the kernel k(d)", xlabel="d = x - m (pixels)", ylabel="weight of pixel m")
    right.set(title="its slope k'(d)", xlabel="d = x - m (pixels)", ylabel="weight per pixel")
    for axes in (left, right):
        axes.axhline(0, color="#999999", linewidth=0.6)
        axes.set_xticks(range(-2, 3))
        axes.grid(alpha=0.3)
    left.legend()
    return figure


def kernel_surface(
    kernel: str | Kernel = "bilinear", title: str = "", alt: str = "", reach: float = 1.5
) -> "Figure":
    """The weight k(dx) k(dy) of a pixel as a surface over where the point is beside it."""
    name = kernel if isinstance(kernel, str) else type(kernel).__name__
    kernel = KERNELS[kernel] if isinstance(kernel, str) else kernel
    d = np.linspace(-reach, reach, 61)
    along = _weights(kernel, d)
    weights = along[:, None] * along
    title = title or f"How much a pixel counts: the {name} kernel"
    figure = new_figure(5.6, 4.2, alt or title)
    axes = figure.add_subplot(projection="3d")
    axes.plot_surface(
        *np.meshgrid(d, d), weights, cmap="cividis", rcount=61, ccount=61, antialiased=False
    )
    axes.set(
        title=title,
        xlabel="x - m (pixels)",
        ylabel="y - n (pixels)",
        zlabel="weight",
        xticks=np.arange(-np.floor(reach), reach + 0.1),
        yticks=np.arange(-np.floor(reach), reach + 0.1),
    )
    axes.view_init(28, -60)
    axes.set_box_aspect((1, 1, 0.7), zoom=0.95)
    figure.recorded.append(weights)
    return figure


def _weights(kernel: Kernel, d: np.ndarray) -> np.ndarray:
    """k(d) at any distance; beyond the support, where no sampler asks, it is 0."""
    return np.where(np.abs(d) <= kernel.support, kernel.weights(d), 0)


def _slopes(kernel: Kernel, d: np.ndarray) -> np.ndarray:
    return np.where(np.abs(d) <= kernel.support, kernel.slopes(d), 0)


def _broken(d: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The curve without the upright lines where it jumps."""
    jump = np.abs(np.diff(values, prepend=values[:1])) > 0.5
    return np.where(jump, np.nan, values)


def weights_figure(
    U: np.ndarray,
    x: float,
    y: float,
    kernel: str | Kernel = "bilinear",
    title: str = "",
    alt: str = "",
) -> "Figure":
    """Left the image and one point in it, right the weight of every pixel there."""
    kernel = KERNELS[kernel] if isinstance(kernel, str) else kernel
    weights = pixel_weights(U.shape, x, y, kernel)
    V = float((weights * U).sum())
    H, W = U.shape
    margin = max(0.0, 0.3 + max(-x, -y, x - (W - 1), y - (H - 1)) - 0.5)
    figure = new_figure(8.2, 4.2, alt or f"The weights of the pixels for the point ({x:g}, {y:g}).")
    figure.suptitle(title or f"Reading U at ({x:g}, {y:g})")
    left, right = figure.subplots(1, 2)
    draw_pixels(left, U, f"U, and the point: V = {V:g}", margin=margin)
    draw_point(left, x, y, f"({x:g}, {y:g})")
    draw_heat(right, weights, f"weights; their sum is {weights.sum():g}", ".4g", margin)
    draw_point(right, x, y)
    return figure


def pixel_weights(image_size: tuple[int, int], x: float, y: float, kernel: Kernel) -> np.ndarray:
    """The weight k(x - m) k(y - n) of every pixel [n, m], of (H, W), for one point in pixels."""
    H, W = image_size

    def along(point: float, size: int) -> np.ndarray:
        d = point - np.arange(size, dtype=float)
        near = np.abs(d) <= kernel.support
        return np.where(near, kernel.weights(np.clip(d, -kernel.support, kernel.support)), 0)

    return along(y, H)[:, None] * along(x, W)


def row_figure(row: np.ndarray, x: float, title: str = "", alt: str = "") -> "Figure":
    """One row of pixels as posts, the straight lines between them, and the point x on them."""
    W = len(row)
    figure = new_figure(6.4, 3.4, alt or title)
    axes = figure.subplots()
    columns = np.arange(W)
    axes.vlines(columns, 0, row, color="#999999", linewidth=2)
    axes.plot(columns, row, "-", color=BLUE, label="straight lines between pixels")
    axes.plot(columns, row, "s", color=BLUE, markersize=8, label="pixels")
    for m in columns:
        axes.annotate(f"{row[m]:g}", (m, row[m]), (6, 6), textcoords="offset points")
    value = float(np.interp(x, columns, row))
    axes.plot([x, x], [0, value], ":", color=RED)
    draw_point(axes, x, value, f"x = {x:g}: {value:g}", offset=(10, 2))
    axes.plot([], [], "o", color=RED, label="what is read")
    axes.set(title=title, xlabel="x, column m (pixels)", ylabel="grey value", xticks=columns)
    axes.set(xlim=(-0.3, W - 0.4), ylim=(0, 1.2 * float(np.max(row))))
    axes.legend(fontsize=8)
    return figure


def image_surface(image: np.ndarray, title: str = "", alt: str = "") -> "Figure":
    """What bilinear sampling makes of an image between its pixels, as a surface with posts."""
    H, W = image.shape
    fine = 12
    x = np.linspace(0, W - 1, fine * (W - 1) + 1)
    y = np.linspace(0, H - 1, fine * (H - 1) + 1)
    tent = KERNELS["bilinear"]
    columns = tent.weights(x[:, None] - np.arange(W))
    rows = tent.weights(y[:, None] - np.arange(H))
    values = rows @ image @ columns.T
    figure = new_figure(6.2, 4.6, alt or title)
    axes = figure.add_subplot(projection="3d")
    axes.computed_zorder = False
    axes.plot_surface(
        *np.meshgrid(x, y),
        values,
        cmap="cividis",
        rcount=len(y),
        ccount=len(x),
        antialiased=False,
        alpha=0.9,
    )
    m, n = np.meshgrid(np.arange(W), np.arange(H))
    axes.scatter(m, n, image, color=RED, s=18, depthshade=False, label="pixels")
    axes.set(
        title=title,
        xlabel="x (pixels)",
        ylabel="y (pixels)",
        zlabel="V",
        xticks=range(W),
        yticks=range(H),
    )
    axes.invert_yaxis()
    axes.view_init(38, -65)
    axes.set_box_aspect((W - 1, H - 1, 0.6 * (W - 1)), zoom=0.95)
    axes.legend(loc="upper left", fontsize=8)
    figure.recorded += [image, values]
    return figure
