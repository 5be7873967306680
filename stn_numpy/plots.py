"""The figures that the book and the command line share.

`..._figure` takes arrays and returns a matplotlib Figure, which shows itself in a notebook; nothing
is shown or saved here. `draw_...` draws on axes that are there. Images are drawn to scale: pixel
[row, column] is the square of side 1 around the point (x, y) = (column, row), y points down.
What a colour says, a number, a marker or a kind of line says too.
"""

import functools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from stn_numpy import functional as F
from stn_numpy import notebook
from stn_numpy.functional.kernels import KERNELS, Kernel
from stn_numpy.notebook import drag  # noqa: F401  so that a chapter finds it beside the figures

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


def draw_grid(axes: "Axes", G: np.ndarray, image_size: tuple[int, int], step: int = 4) -> None:
    """Draw a sampling grid on the image it reads.

    G (H', W', 2): normalised (x, y), align_corners=False. image_size: (H, W) of the image, in
    pixels. step: every how many rows and columns of the grid there is a line.
    The outline is the quadrilateral that becomes the output's border; its upper side is thick.
    """
    H, W = image_size
    draw_points_as_grid(axes, ((G[..., 0] + 1) * W - 1) / 2, ((G[..., 1] + 1) * H - 1) / 2, step)


def draw_points_as_grid(axes: "Axes", x: np.ndarray, y: np.ndarray, step: int = 1) -> None:
    """The same for points in pixels, x and y (H', W')."""
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


# Images in numbers ------------------------------------------------------------------------------


def draw_pixels(
    axes: "Axes",
    image: np.ndarray,
    title: str = "",
    numbers: bool | str = True,
    margin: float = 0.0,
    limits: tuple[float, float] | None = None,
) -> None:
    """An image (H, W) as grey squares to scale, each with its number.

    numbers: False for none, or a format such as ".2f". margin: room around it, in pixels, for
    points outside. limits: the values that are black and white.
    """
    H, W = image.shape
    low, high = limits or (float(np.min(image)), float(np.max(image)))
    span = (high - low) or 1.0
    axes.imshow(image, cmap="gray", vmin=low, vmax=high)
    draw_pixel_edges(axes, (H, W))
    if numbers is not False:
        for n, m in np.ndindex(H, W):
            shade = (image[n, m] - low) / span
            axes.text(
                m,
                n,
                _shown(image[n, m], numbers),
                ha="center",
                va="center",
                color="white" if shade < 0.5 else "black",
                fontsize=11,
            )
    _pixel_axes(axes, (H, W), margin)
    axes.set_title(title)


def draw_heat(
    axes: "Axes",
    values: np.ndarray,
    title: str = "",
    numbers: bool | str = True,
    margin: float = 0.0,
) -> None:
    """An array (H, W) of weights or gradients: white is 0, blue positive, orange negative.

    Every square bears its number, and the negative ones are hatched.
    """
    from matplotlib.colors import LinearSegmentedColormap
    from matplotlib.patches import Rectangle

    most = float(np.abs(values).max()) or 1.0
    colours = LinearSegmentedColormap.from_list("orange to blue", [ORANGE, "white", BLUE])
    axes.imshow(values, cmap=colours, vmin=-1.3 * most, vmax=1.3 * most)
    draw_pixel_edges(axes, values.shape)
    for n, m in np.ndindex(*values.shape):
        if values[n, m] < 0:
            axes.add_patch(
                Rectangle((m - 0.5, n - 0.5), 1, 1, fill=False, hatch="//", edgecolor="#00000030")
            )
        if numbers is not False:
            strong = abs(values[n, m]) > 0.75 * most and values[n, m] > 0
            color = "white" if strong else "black" if values[n, m] else "#888888"
            text = _shown(values[n, m], numbers)
            axes.text(m, n, text, ha="center", va="center", color=color, fontsize=11)
    _pixel_axes(axes, values.shape, margin)
    axes.set_title(title)


def draw_pixel_edges(axes: "Axes", image_size: tuple[int, int]) -> None:
    """The edges between the pixels of an image of (H, W)."""
    H, W = image_size
    for n in range(H + 1):
        axes.plot([-0.5, W - 0.5], [n - 0.5, n - 0.5], color="#999999", linewidth=0.6)
    for m in range(W + 1):
        axes.plot([m - 0.5, m - 0.5], [-0.5, H - 0.5], color="#999999", linewidth=0.6)


def draw_point(
    axes: "Axes",
    x: float,
    y: float,
    name: str = "",
    color: str = RED,
    marker: str = "o",
    offset: tuple[float, float] = (8, 8),
    size: float = 9,
) -> None:
    """A sampling point at (x, y) in pixels, with its name beside it.

    offset: from the point to its name, in points of type, to the right and up.
    """
    axes.plot([x], [y], marker, color=color, markersize=size, markeredgecolor="white")
    if name:
        box = {"boxstyle": "round,pad=0.15", "facecolor": "white", "edgecolor": color, "alpha": 0.9}
        axes.annotate(
            name,
            (x, y),
            offset,
            textcoords="offset points",
            fontsize=9,
            color="black",
            bbox=box,
            ha="left" if offset[0] >= 0 else "right",
        )


def draw_arrow(
    axes: "Axes",
    x: float,
    y: float,
    dx: float,
    dy: float,
    name: str = "",
    color: str = RED,
    scale: float = 1.0,
) -> None:
    """A gradient at the point (x, y): the arrow (dx, dy), `scale` pixels for each unit."""
    axes.quiver(
        [x],
        [y],
        [scale * dx],
        [scale * dy],
        angles="xy",
        scale_units="xy",
        scale=1,
        color=color,
        width=0.012,
        zorder=3,
    )
    if name:
        axes.annotate(
            name,
            (x + scale * dx, y + scale * dy),
            (4, 6),
            textcoords="offset points",
            fontsize=9,
            bbox={"boxstyle": "round,pad=0.15", "facecolor": "white", "edgecolor": color},
        )


def pixels_figure(
    image: np.ndarray,
    points: Mapping[str, tuple[float, float]] | None = None,
    title: str = "",
    alt: str = "",
) -> "Figure":
    """An image in numbers, with points (x, y) in pixels by their names."""
    H, W = image.shape
    figure = new_figure(0.75 * W + 1.4, 0.75 * H + 1.2, alt or title)
    axes = figure.subplots()
    draw_pixels(axes, image, title)
    for (name, (x, y)), (color, marker) in zip((points or {}).items(), _cycle()):
        draw_point(axes, x, y, name, color, marker)
    return figure


def sampling_figure(
    U: np.ndarray,
    x_s: np.ndarray,
    y_s: np.ndarray,
    V: np.ndarray | None = None,
    target: tuple[int, int] | None = None,
    title: str = "Each pixel of the output looks somewhere in the input",
    alt: str = "",
) -> "Figure":
    """Left the output, right the input with the points it is read at.

    U (H, W); x_s, y_s (H', W') in pixels; V (H', W') if its numbers are known already; target:
    the pixel (x, y) of the output that is followed to its point by an arrow.
    """
    from matplotlib.patches import ConnectionPatch

    H, W = U.shape
    outside = [-x_s.min(), x_s.max() - (W - 1), -y_s.min(), y_s.max() - (H - 1)]
    margin = max(0.0, 0.3 + float(np.max(outside)) - 0.5)
    figure = new_figure(8.2, 4.3, alt or title)
    figure.suptitle(title)
    left, right = figure.subplots(1, 2)
    shown = np.ones(x_s.shape) if V is None else V
    span = (float(U.min()), float(U.max()))
    limits = (0, 1) if V is None else span
    draw_pixels(left, shown, "output V", V is not None, margin, limits)
    draw_pixels(right, U, "input U, and where V looks", margin=margin)
    draw_points_as_grid(right, x_s, y_s)
    right.plot(x_s.ravel(), y_s.ravel(), "o", color=RED, markersize=4, markeredgecolor="white")
    if target is not None:
        x_t, y_t = target
        point = float(x_s[y_t, x_t]), float(y_s[y_t, x_t])
        draw_point(left, x_t, y_t, f"({x_t}, {y_t})", offset=(-10, 12))
        draw_point(right, *point, f"({point[0]:g}, {point[1]:g})")
        arrow = ConnectionPatch(
            (x_t, y_t),
            point,
            "data",
            "data",
            axesA=left,
            axesB=right,
            arrowstyle="-|>",
            mutation_scale=16,
            linestyle="--",
            color=RED,
            shrinkA=5,
            shrinkB=6,
            connectionstyle="arc3,rad=-0.15",
        )
        figure.add_artist(arrow)
        figure.recorded.append(np.array([*target, *point], float))
    return figure


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


def warp_figure(
    image: np.ndarray,
    theta: np.ndarray,
    size: tuple[int, int] | None = None,
    title: str = "",
    alt: str = "",
) -> "Figure":
    """Left an image with the grid of theta on it, right what is read there.

    image (H, W); theta (2, 3) in normalised coordinates; size (H', W') of the output, by default
    the image's.
    """
    theta = np.asarray(theta, image.dtype)
    G = F.affine_grid(theta[None], (1, 1, *(size or image.shape)))
    V = F.grid_sample(image[None, None], G).data[0, 0]
    figure = new_figure(7.6, 4.2, alt or title)
    figure.suptitle(title)
    left, right = figure.subplots(1, 2)
    H, W = image.shape
    for axes, shown, name in ((left, image, "input U and grid G"), (right, V, "output V")):
        axes.imshow(shown, cmap="gray", vmin=float(image.min()), vmax=float(image.max()))
        axes.set(title=name, xlabel="x (pixels)", ylabel="y (pixels)")
    draw_grid(left, G.data[0], (H, W), step=max(1, H // 7))
    left.set(xlim=(-0.25 * W, 1.25 * W), ylim=(1.25 * H, -0.25 * H), facecolor="#444444")
    return figure


def module_figure(alt: str = "") -> "Figure":
    """Figure 2 of the paper: the three parts of a spatial transformer, and what flows."""
    from matplotlib.patches import FancyBboxPatch

    figure = new_figure(
        8.2,
        2.9,
        alt
        or "The image U goes into the localisation net, which gives theta; the grid generator "
        "makes the grid G from theta; the sampler reads U at G and gives V. U is used twice.",
    )
    axes = figure.subplots()
    boxes = {
        "localisation net": (2.0, 2.0, "any network"),
        "grid generator": (5.0, 2.0, "Eqs. (1), (2)"),
        "sampler": (8.0, 0.7, "Eqs. (3), (4), (5)"),
    }
    for name, (x, y, equations) in boxes.items():
        style = "round,pad=0.05,rounding_size=0.12"
        axes.add_patch(
            FancyBboxPatch(
                (x - 0.95, y - 0.42), 1.9, 0.84, style, facecolor="#E8F1F8", edgecolor=BLUE
            )
        )
        axes.text(x, y + 0.12, name, ha="center", va="center", fontsize=11)
        axes.text(x, y - 0.2, equations, ha="center", va="center", fontsize=9, color="#444444")
    # From where to where, the name of what flows, and where that stands.
    arrows = (
        ((0.3, 0.85), (1.0, 1.75), "U", (0.45, 1.5)),
        ((3.0, 2.0), (4.0, 2.0), "theta", (3.5, 2.15)),
        ((6.0, 2.0), (7.2, 1.2), "G", (6.75, 1.85)),
        ((0.3, 0.7), (7.0, 0.7), "U", (3.5, 0.8)),
        ((9.0, 0.7), (9.8, 0.7), "V", (9.4, 0.8)),
    )
    for start, end, name, (x, y) in arrows:
        style = {"arrowstyle": "-|>", "color": "black", "shrinkA": 0, "shrinkB": 0}
        axes.annotate("", end, start, arrowprops=style)
        axes.text(x, y, name, ha="center", fontsize=12, fontstyle="italic")
    axes.text(0.1, 0.7, "U", ha="center", va="center", fontsize=14, fontstyle="italic")
    axes.text(10.0, 0.7, "V", ha="center", va="center", fontsize=14, fontstyle="italic")
    axes.set(xlim=(-0.1, 10.2), ylim=(0, 2.6), title="A spatial transformer")
    axes.set_axis_off()
    return figure


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


# Kernels ----------------------------------------------------------------------------------------


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


# Small things -----------------------------------------------------------------------------------


def _shown(value: float, numbers: bool | str) -> str:
    value = round(float(value), 9) + 0.0  # no -0, and no 1e-17 where 0 is meant
    return f"{value:g}" if numbers is True else f"{value:{numbers}}"


def _pixel_axes(axes: "Axes", image_size: tuple[int, int], margin: float) -> None:
    H, W = image_size
    axes.set(
        xlim=(-0.52 - margin, W - 0.48 + margin),
        ylim=(H - 0.48 + margin, -0.52 - margin),
        xticks=range(W),
        yticks=range(H),
        xlabel="x, column m (pixels)",
        ylabel="y, row n (pixels)",
        aspect="equal",
    )
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _cycle() -> Any:
    return ((RED, "o"), (BLUE, "s"), (GREEN, "^"), (PURPLE, "D"), (ORANGE, "v"), (SKY, "P"))


def save(figure: "Figure", path) -> None:
    """Write a figure as PNG, all of it or nothing."""
    from stn_numpy.files import atomic_write

    with atomic_write(path) as file:
        figure.savefig(file, format="png", dpi=120)


# Curves, matrices, arrows -----------------------------------------------------------------------


def curves_figure(
    curves: Mapping[str, tuple[np.ndarray, np.ndarray]],
    title: str = "",
    xlabel: str = "",
    ylabel: str = "",
    points: Mapping[str, tuple[np.ndarray, np.ndarray]] | None = None,
    jump: float = np.inf,
    beside: bool = False,
    alt: str = "",
) -> "Figure":
    """Curves (x, y) by their names, and points (x, y) by theirs.

    jump: where y changes by more from one x to the next, the curve is broken, not drawn upright.
    beside: the legend stands beside the curves, not among them.
    """
    figure = new_figure(8.4 if beside else 6.6, 3.6, alt or title)
    axes = figure.subplots()
    for (name, (x, y)), (color, line) in zip(curves.items(), _LINES):
        x, y = np.asarray(x, float), np.asarray(y, float)
        jumps = np.abs(np.diff(y, prepend=y[:1])) > jump
        axes.plot(x, np.where(jumps, np.nan, y), linestyle=line, color=color, label=name)
    for (name, (x, y)), (color, marker) in zip((points or {}).items(), _cycle()):
        axes.plot(x, y, marker, color=color, markersize=7, markeredgecolor="white", label=name)
    axes.set(title=title, xlabel=xlabel, ylabel=ylabel)
    axes.grid(alpha=0.3)
    place = {"loc": "upper left", "bbox_to_anchor": (1, 1)} if beside else {}
    axes.legend(fontsize=8, **place)
    return figure


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
    _pixel_axes(middle, (H, W), margin)
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


def bars_figure(
    groups: Mapping[str, Mapping[str, float]],
    title: str = "",
    ylabel: str = "",
    alt: str = "",
) -> "Figure":
    """Groups of bars, each bar with its number: {group: {bar: value}}, the same bars in all."""
    figure = new_figure(1.4 + 1.8 * len(groups), 3.6, alt or title)
    axes = figure.subplots()
    names = list(next(iter(groups.values())))
    width = 0.8 / len(names)
    for i, (name, (color, hatch)) in enumerate(zip(names, _FILLS)):
        x = np.arange(len(groups)) + (i - (len(names) - 1) / 2) * width
        heights = [bars[name] for bars in groups.values()]
        axes.bar(x, heights, 0.9 * width, color=color, hatch=hatch, edgecolor="white", label=name)
        for place, height in zip(x, heights):
            axes.annotate(
                f"{height:g}",
                (place, height),
                (0, 2),
                textcoords="offset points",
                ha="center",
                fontsize=8,
            )
    axes.set(title=title, ylabel=ylabel, xticks=range(len(groups)))
    axes.set_xticklabels(list(groups))
    axes.margins(y=0.15)
    axes.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def pictures_figure(pictures: Mapping[str, np.ndarray], title: str = "", alt: str = "") -> "Figure":
    """Grey images (H, W) side by side, by their names, each from its darkest to its brightest."""
    highest = max(len(picture) / len(picture[0]) for picture in pictures.values())
    figure = new_figure(2.5 * len(pictures) + 0.4, 0.9 + 2.3 * min(highest, 1), alt or title)
    figure.suptitle(title)
    (row,) = figure.subplots(1, len(pictures), squeeze=False)
    for axes, (name, picture) in zip(row, pictures.items()):
        axes.imshow(picture, cmap="gray")
        axes.set(title=name, xlabel="x (pixels)", ylabel="y (pixels)")
    return figure


_LINES = ((BLUE, "-"), (ORANGE, "--"), (GREEN, "-."), (RED, ":"), (PURPLE, (0, (5, 1, 1, 1))))
_FILLS = ((BLUE, ""), (SKY, "//"), (GREEN, ".."), (RED, "xx"), (PURPLE, "--"))


# Windows, columns, memory -----------------------------------------------------------------------


def draw_frame(
    axes: "Axes", top: int, left: int, height: int, width: int, color: str = RED, line: str = "-"
) -> None:
    """A thick frame around the pixels of a window whose first pixel is [top, left]."""
    from matplotlib.patches import Rectangle

    corner = (left - 0.5, top - 0.5)
    axes.add_patch(
        Rectangle(corner, width, height, fill=False, edgecolor=color, lw=3, ls=line, zorder=3)
    )


def heats_figure(
    arrays: Mapping[str, np.ndarray],
    title: str = "",
    numbers: bool | str = True,
    frames: Mapping[str, tuple[int, int, int, int]] | None = None,
    alt: str = "",
) -> "Figure":
    """Arrays (H, W) of weights or gradients side by side by their names, in squares of one size.

    frames: by the name of an array, a frame in it: top, left, height and width in pixels.
    """
    widths = [array.shape[1] for array in arrays.values()]
    tallest = max(array.shape[0] for array in arrays.values())
    size = 0.62 * sum(widths) + 1.0 * len(widths), 0.62 * tallest + 1.5
    figure = new_figure(*size, alt or title)
    figure.suptitle(title)
    panels = figure.subplots(1, len(arrays), squeeze=False, width_ratios=[w + 0.6 for w in widths])
    for axes, (name, array) in zip(panels[0], arrays.items()):
        draw_heat(axes, array, name, numbers)
        if name in (frames or {}):
            draw_frame(axes, *frames[name])
        axes.set(xlabel="column", ylabel="row")
    return figure


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


# Chains, steps, and what a check sees ------------------------------------------------------------


def chain_figure(
    boxes: Sequence[tuple[str, str, str]],
    forward: Sequence[str],
    backward: Sequence[str],
    title: str = "",
    alt: str = "",
) -> "Figure":
    """A chain of quantities: values flow to the right above, gradients to the left below.

    boxes: for each quantity its name, its value, its gradient. forward, backward: what stands at
    the arrows between two boxes, one fewer than boxes; backward from left to right as well.
    """
    from matplotlib.patches import FancyBboxPatch

    figure = new_figure(2.4 * len(boxes), 3.3, alt or title)
    axes = figure.subplots()
    for i, (name, value, gradient) in enumerate(boxes):
        x = 3.7 * i
        axes.text(x, 2.72, name, ha="center", va="center", fontsize=12, fontstyle="italic")
        for y, text, face, edge in (
            (1.75, value, "#E8F1F8", BLUE),
            (0.35, gradient, "#FBEDE6", RED),
        ):
            style = "round,pad=0.03,rounding_size=0.1"
            axes.add_patch(
                FancyBboxPatch((x - 1.1, y - 0.5), 2.2, 1.0, style, facecolor=face, edgecolor=edge)
            )
            axes.text(x, y, text, ha="center", va="center", fontsize=10)
    for i, (above, below) in enumerate(zip(forward, backward)):
        x = 3.7 * i
        arrow = {"arrowstyle": "-|>", "shrinkA": 0, "shrinkB": 0, "linewidth": 1.4}
        axes.annotate("", (x + 2.55, 1.75), (x + 1.15, 1.75), arrowprops=arrow | {"color": BLUE})
        axes.annotate(
            "",
            (x + 1.15, 0.35),
            (x + 2.55, 0.35),
            arrowprops=arrow | {"color": RED, "linestyle": "--"},
        )
        axes.text(x + 1.85, 1.86, above, ha="center", va="bottom", fontsize=8.5)
        axes.text(x + 1.85, 0.24, below, ha="center", va="top", fontsize=8.5)
    axes.text(-1.3, 1.75, "value", ha="right", va="center", fontsize=9, color=BLUE)
    axes.text(-1.3, 0.35, "gradient", ha="right", va="center", fontsize=9, color=RED)
    axes.set(xlim=(-2.0, 3.7 * len(boxes) - 2.5), ylim=(-0.35, 2.95), title=title)
    axes.set_axis_off()
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


# Pooled images, scores ---------------------------------------------------------------------------


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
    for (name, values), (color, marker) in zip(errors.items(), _cycle()):
        axes.loglog(steps, values, "-", color=color, marker=marker, markersize=5, label=name)
        figure.recorded.append(np.log10(np.maximum(values, 1e-16)).round(1))
    for (name, step), (color, _) in zip((best or {}).items(), _cycle()):
        axes.axvline(step, color=color, linestyle=":", linewidth=1.5, label=name)
    axes.set(title=title, xlabel="step", ylabel="error of the slope")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    return figure


def verdicts_figure(
    rows: Sequence[str],
    columns: Sequence[str],
    verdicts: Sequence[Sequence[str]],
    words: Sequence[str],
    title: str = "",
    alt: str = "",
) -> "Figure":
    """A table of words in coloured fields: what each test (column) says of each thing (row).

    verdicts: a list for each row. words: all that occur, up to four; the first is white, the
    others are blue, orange and green.
    """
    figure = new_figure(2.6 + 1.25 * len(columns), 1.5 + 0.36 * len(rows), alt or title)
    axes = figure.subplots()
    faces = dict(zip(words, ("white", "#B9D8EC", "#F6D48C", "#CFE8DF")))
    for i, row in enumerate(verdicts):
        for j, word in enumerate(row):
            axes.fill(
                [j - 0.5, j + 0.5, j + 0.5, j - 0.5],
                [i - 0.5, i - 0.5, i + 0.5, i + 0.5],
                facecolor=faces[word],
                edgecolor="#999999",
                linewidth=0.6,
            )
            weight = "normal" if faces[word] == "white" else "bold"
            axes.text(j, i, word, ha="center", va="center", fontsize=9, fontweight=weight)
    axes.set(xlim=(-0.5, len(columns) - 0.5), ylim=(len(rows) - 0.5, -0.5), title=title)
    axes.set_xticks(range(len(columns)), columns, fontsize=9)
    axes.set_yticks(range(len(rows)), rows, fontsize=9)
    axes.tick_params(length=0)
    return figure


# Thetas in pixels, mappings both ways, rulers ----------------------------------------------------


def _sources(theta: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Where each pixel of an output of `size` is read: x, y (H', W'), all in pixels."""
    y_t, x_t = np.indices(size)
    points = np.stack([x_t.ravel(), y_t.ravel(), np.ones(x_t.size)])
    x, y = np.asarray(theta, float) @ points
    return x.reshape(size), y.reshape(size)


def theta_figure(
    U: np.ndarray,
    theta: np.ndarray,
    size: tuple[int, int] | None = None,
    title: str = "",
    alt: str = "",
) -> "Figure":
    """A theta read by its columns: where pixel (0, 0) is read, and where one step leads.

    U (H, W); theta (2, 3) in pixels; size (H', W') of the output, by default the image's.
    """
    theta = np.asarray(theta, float)
    size = size or U.shape
    x, y = _sources(theta, size)
    outside = [-x.min(), x.max() - (U.shape[1] - 1), -y.min(), y.max() - (U.shape[0] - 1)]
    margin = max(0.9, 0.4 + float(np.max(outside)) - 0.5)  # the legend stands below the image
    figure = new_figure(8.6, 4.9, alt or title)
    figure.suptitle(title)
    left, right = figure.subplots(1, 2)
    draw_pixels(left, np.ones(size), "output V", False, margin, (0, 1))
    draw_points_as_grid(left, *_sources(np.eye(2, 3), size))
    draw_pixels(right, U, "input U, and where V looks", margin=margin)
    draw_points_as_grid(right, x, y)
    for axes, columns in ((left, np.eye(2, 3)), (right, theta)):
        step_right, down, start = columns.T
        axes.plot(*_sources(columns, size), "o", color="#777777", markersize=3.5)
        for step, color in ((step_right, RED), (down, BLUE)):
            style = {"arrowstyle": "-|>", "color": color, "linewidth": 2.5, "mutation_scale": 15}
            style |= {"shrinkA": 0, "shrinkB": 0}
            axes.annotate("", start + step, start, arrowprops=style, zorder=3)
        axes.plot(*start, "o", color="black", markersize=9, markeredgecolor="white", zorder=4)
        parts = {"start": ("black", "o", start), "right": (RED, ">", step_right)}
        parts["down"] = (BLUE, "v", down)
        for name, (color, marker, (dx, dy)) in parts.items():
            axes.plot([], [], marker, color=color, label=f"{name} ({dx:g}, {dy:g})")
        axes.legend(loc="lower center", ncols=3, fontsize=8, columnspacing=1.0, handletextpad=0.1)
    figure.recorded.append(theta)
    return figure


def thetas_figure(
    image: np.ndarray,
    thetas: Mapping[str, np.ndarray],
    size: tuple[int, int] | None = None,
    title: str = "",
    alt: str = "",
) -> "Figure":
    """Above the grid of each theta on the image, below what is read there.

    image (H, W); thetas: by their names, (2, 3) in pixels; size (H', W') of the outputs.
    """
    H, W = image.shape
    figure = new_figure(1.55 * len(thetas) + 0.5, 3.8, alt or title)
    figure.suptitle(title)
    panels = figure.subplots(2, len(thetas), squeeze=False)
    limits = {"vmin": float(image.min()), "vmax": float(image.max())}
    grids = [_sources(theta, size or image.shape) for theta in thetas.values()]
    outside = [max(-x.min() / W, x.max() / W - 1, -y.min() / H, y.max() / H - 1) for x, y in grids]
    room = float(np.clip(max(outside) + 0.05, 0.2, 0.6))  # beside the image, as a part of it
    for (above, below), (name, (x, y)) in zip(panels.T, zip(thetas, grids)):
        G = np.stack([(2 * x + 1) / W - 1, (2 * y + 1) / H - 1], axis=-1)
        V = F.grid_sample(image[None, None].astype(float), G[None]).data[0, 0]
        above.imshow(image, cmap="gray", **limits)
        draw_points_as_grid(above, x, y, step=max(1, len(x) // 7))
        above.set(xlim=(-room * W, (1 + room) * W), ylim=((1 + room) * H, -room * H))
        above.set_facecolor("#444444")
        above.set_title(name, fontsize=10)
        below.imshow(V, cmap="gray", **limits)
        for axes in (above, below):
            axes.set(xticks=[], yticks=[])
    panels[0, 0].set_ylabel("grid on U")
    panels[1, 0].set_ylabel("output V")
    return figure


def outlines_figure(
    U: np.ndarray,
    thetas: Mapping[str, np.ndarray],
    target: tuple[int, int],
    size: tuple[int, int] | None = None,
    title: str = "",
    alt: str = "",
) -> "Figure":
    """Several grids on one image, each as its outline, and in each the point of one pixel.

    U (H, W); thetas: by their names, (2, 3) in pixels; target: the pixel (x, y) of the output. The
    side that becomes the upper border of the output is thick.
    """
    grids = {name: _sources(theta, size or U.shape) for name, theta in thetas.items()}
    xs, ys = (np.stack([grid[i] for grid in grids.values()]) for i in (0, 1))
    outside = [-xs.min(), xs.max() - (U.shape[1] - 1), -ys.min(), ys.max() - (U.shape[0] - 1)]
    margin = max(0.0, 0.4 + float(np.max(outside)) - 0.5)
    figure = new_figure(7.4, 4.8, alt or title)
    axes = figure.subplots()
    # Lighter than it is, so that the outlines are seen.
    limits = (2 * float(U.min()) - float(U.max()), float(U.max()))
    draw_pixels(axes, U, title, margin=margin, limits=limits)
    for (name, (x, y)), (color, line) in zip(grids.items(), _LINES):
        corners = ((0, 0, -1, -1, 0), (0, -1, -1, 0, 0))
        axes.plot(x[corners], y[corners], linestyle=line, color=color, linewidth=1.6, label=name)
        axes.plot(x[0, [0, -1]], y[0, [0, -1]], color=color, linewidth=4, alpha=0.7)
    for x, y in grids.values():
        x_s, y_s = x[target[::-1]], y[target[::-1]]
        axes.plot([x_s], [y_s], "o", color="black", markersize=9, markeredgecolor="white", zorder=4)
    axes.plot([], [], "o", color="black", label=f"pixel {target} of the output")
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1), fontsize=9)
    return figure


def two_rows_figure(
    panels: Mapping[str, tuple[np.ndarray, np.ndarray, np.ndarray, bool]],
    title: str = "",
    alt: str = "",
) -> "Figure":
    """A row of the input above a row of the output, and arrows from one to the other.

    panels: by their titles (above, below, arrows, asks): the numbers of both rows, NaN for a hole;
    arrows (n, 2), for each x above and x below, in pixels; they point down, from the input, or up
    where the output asks.
    """
    longest = max(len(row) for above, below, *_ in panels.values() for row in (above, below))
    figure = new_figure(0.62 * longest * len(panels) + 1.2, 3.1, alt or title)
    figure.suptitle(title)
    for axes, (name, (above, below, arrows, asks)) in zip(
        figure.subplots(1, len(panels), squeeze=False)[0], panels.items()
    ):
        _draw_row(axes, above, 0.0)
        _draw_row(axes, below, 3.0)
        for x_above, x_below in arrows:
            ends = (
                ((x_below, 2.45), (x_above, 0.55)) if asks else ((x_above, 0.55), (x_below, 2.45))
            )
            style = {
                "arrowstyle": "-|>",
                "color": BLUE if asks else RED,
                "shrinkA": 0,
                "shrinkB": 0,
            }
            axes.annotate("", ends[1], ends[0], arrowprops=style)
        figure.recorded += [np.asarray(arrows, float)]
        axes.set(xlim=(-0.9, longest - 0.1), ylim=(3.9, -0.9), aspect="equal", title=name)
        axes.set(yticks=[0, 3], xticks=range(longest), xlabel="x (pixels)")
        axes.set_yticklabels(["input", "output"])
        for side in ("top", "right", "left"):
            axes.spines[side].set_visible(False)
        axes.tick_params(left=False)
    return figure


def _draw_row(axes: "Axes", row: np.ndarray, y: float) -> None:
    """Pixels side by side at the height y, each with its number; a hole is hatched."""
    from matplotlib.patches import Rectangle

    for m, value in enumerate(row):
        hole = bool(np.isnan(value))
        axes.add_patch(
            Rectangle(
                (m - 0.5, y - 0.5),
                1,
                1,
                facecolor="#F5E6DC" if hole else "white",
                edgecolor="#555555",
                hatch="///" if hole else "",
            )
        )
        text = "hole" if hole else _shown(value, True)
        size = 8 if hole or len(text) > 3 else 11
        axes.text(m, y, text, ha="center", va="center", fontsize=size)


def ruler_figure(
    size: int, points: Sequence[float] = (), title: str = "", alt: str = ""
) -> "Figure":
    """A row of pixels and three rulers for it: pixels, and normalised coordinates of both kinds.

    size: how many pixels; points: in pixels, marked on every ruler.
    """
    figure = new_figure(max(6.4, 1.5 * size + 1.6), 3.9, alt or title)
    axes = figure.subplots()
    _draw_row(axes, np.arange(float(size)), 0)
    centres = np.arange(size)
    rulers = (
        ("pixels", 1.2, "#555555", lambda x: x, (-0.5, size - 0.5)),
        ("align_corners=False", 2.4, BLUE, lambda x: (2 * x + 1) / size - 1, (-0.5, size - 0.5)),
        ("align_corners=True", 3.6, RED, lambda x: 2 * x / max(size - 1, 1) - 1, (0, size - 1)),
    )
    for x in centres:
        axes.plot([x, x], [0.5, 3.6], ":", color="#BBBBBB", linewidth=0.9, zorder=0)
    for name, y, color, scale, (low, high) in rulers:
        axes.plot([-0.7, size - 0.3], [y, y], color=color, linewidth=0.7)
        axes.plot([low, high], [y, y], color=color, linewidth=4, solid_capstyle="butt")
        for x in sorted({low, *centres.tolist(), high}):
            at_end = x in (low, high)
            axes.plot([x, x], [y - 0.12, y + 0.12], color=color, linewidth=2 if at_end else 1)
            axes.text(
                x,
                y + 0.2,
                _shown(scale(x), ".3g"),
                ha="center",
                va="top",
                fontsize=9,
                fontweight="bold" if at_end and name != "pixels" else "normal",
            )
        axes.text(-0.95, y, name, ha="right", va="center", fontsize=10, color=color)
    for x, (color, marker) in zip(points, ((PURPLE, "v"), (GREEN, "^"), (ORANGE, "D"))):
        axes.plot([x, x], [-0.5, 3.6], "--", color=color, linewidth=1)
        for _, y, _, scale, _ in rulers:
            axes.plot([x], [y], marker, color=color, markersize=8, markeredgecolor="white")
            axes.text(
                x + 0.06,
                y - 0.1,
                _shown(scale(x), ".3g"),
                fontsize=9,
                va="bottom",
                color="black",
                bbox={"boxstyle": "round,pad=0.1", "facecolor": "white", "edgecolor": color},
            )
    axes.text(-0.95, 0, "column", ha="right", va="center", fontsize=10)
    axes.set(xlim=(-0.8, size - 0.2), ylim=(4.2, -0.7), title=title)
    axes.set_axis_off()
    return figure


# Graphs of operations ----------------------------------------------------------------------------


def graph_figure(
    texts: Mapping[Any, str], edges: list[tuple[Any, Any]], title: str = "", alt: str = ""
) -> "Figure":
    """What was computed from what: an arrow from every input to every operation that takes it.

    texts: by a key for each node, what stands in it; no cycles. edges: pairs of keys, from, to.
    Nodes that nothing leads to are leaves, drawn round: above the others if more than one
    operation takes them, below if it is one. The others stand to the right of all their inputs.
    """
    from matplotlib.patches import FancyBboxPatch

    inputs = {key: [a for a, b in edges if b == key] for key in texts}
    takers = {key: [b for a, b in edges if a == key] for key in texts}
    place = _graph_places(inputs, takers)
    columns, rows = (np.array(numbers) for numbers in zip(*place.values()))
    columns, rows = columns - columns.min(), rows - rows.min()
    place = dict(zip(place, zip(1.75 * columns, 1.15 * rows)))
    size = 1.25 * (np.ptp(columns) + 1) + 0.3, 0.85 * (np.ptp(rows) + 1) + 0.6
    figure = new_figure(*size, alt or title)
    axes = figure.subplots()
    for key, text in texts.items():
        x, y = place[key]
        round_, face, edge = (
            (0.34, "#E8F1F8", BLUE) if not inputs[key] else (0.05, "white", "black")
        )
        style = f"round,pad=0,rounding_size={round_}"
        corner = x - 0.62, y - 0.35
        axes.add_patch(FancyBboxPatch(corner, 1.24, 0.7, style, facecolor=face, edgecolor=edge))
        axes.text(x, y, text, ha="center", va="center", fontsize=9)
    for a, b in dict.fromkeys(edges):
        (xa, ya), (xb, yb) = place[a], place[b]
        up = np.sign(yb - ya)
        if up == 0:
            start, end = (xa + 0.62, ya), (xb - 0.62, yb)
        elif xb - xa > 2 or abs(yb - ya) > 2:  # from the side, to pass by what stands between
            start, end = (xa + 0.62, ya), (xb + 0.2 * np.sign(2 - xb + xa), yb - 0.35 * up)
        else:
            start, end = (xa, ya + 0.35 * up), (xb - 0.2, yb - 0.35 * up)
        # Over what stands between two in one row; one bow for each time that it is taken.
        bows = [0.3, -0.3] if edges.count((a, b)) > 1 else [-0.3 if up == 0 and xb - xa > 2 else 0]
        for bow in bows:
            arrow = {"arrowstyle": "-|>", "color": "#444444", "shrinkA": 0, "shrinkB": 0}
            arrow["connectionstyle"] = f"arc3,rad={bow}"
            axes.annotate("", end, start, arrowprops=arrow)
        figure.recorded.append(np.array([*place[a], *place[b], len(bows)], float))
    axes.set(xlim=(-0.75, 1.75 * np.ptp(columns) + 0.75), title=title)
    axes.set_ylim(-0.5, 1.15 * np.ptp(rows) + 0.5)
    axes.set_aspect("equal")
    axes.set_axis_off()
    return figure


def _graph_places(inputs: dict, takers: dict) -> dict[Any, tuple[float, float]]:
    """Column and row of every node of a graph, as `graph_figure` says."""
    column: dict[Any, int] = {}
    while len(column) < len(inputs):
        for key, sources in inputs.items():
            if key not in column and all(source in column for source in sources):
                column[key] = 1 + max((column[source] for source in sources), default=-1)
    for key, sources in inputs.items():
        if not sources and takers[key]:  # a leaf stands beside the first that takes it
            column[key] = min(column[taker] for taker in takers[key]) - 1
    place: dict[Any, tuple[float, float]] = {}
    for kind in ("operation", "shared leaf", "leaf"):
        for key, sources in inputs.items():
            mine = "operation" if sources else "leaf" if len(takers[key]) < 2 else "shared leaf"
            if mine != kind:
                continue
            step = -1 if kind == "leaf" else 1
            row = 0 if kind == "operation" else step
            while (column[key], row) in place.values():
                row += step
            place[key] = column[key], row
    return place


# Minutes ----------------------------------------------------------------------------------------


def stacked_figure(
    bars: Mapping[str, Sequence[float]],
    parts: Sequence[str],
    title: str = "",
    xlabel: str = "",
    ylabel: str = "",
    alt: str = "",
) -> "Figure":
    """A lying bar for each name, made of parts one behind the other, with its sum at the end."""
    figure = new_figure(7.4, 0.3 * len(bars) + 1.3, alt or title)
    axes = figure.subplots()
    y, left = np.arange(len(bars)), np.zeros(len(bars))
    for i, (part, (color, hatch)) in enumerate(zip(parts, _FILLS)):
        lengths = np.array([values[i] for values in bars.values()], float)
        axes.barh(y, lengths, 0.75, left, color=color, hatch=hatch, edgecolor="white", label=part)
        left += lengths
    for place, total in zip(y, left):
        axes.annotate(f"{total:g}", (total, place), (4, 0), textcoords="offset points", va="center")
    axes.set(title=title, xlabel=xlabel, ylabel=ylabel, yticks=y, ylim=(len(bars) - 0.4, -0.6))
    axes.set_yticklabels(list(bars))
    axes.margins(x=0.1)
    axes.legend(fontsize=8)
    return figure


# Gradients of many parameters --------------------------------------------------------------------


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
    for (time, values), shift, (color, marker) in zip(norms.items(), shifts, _cycle()):
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
