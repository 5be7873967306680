"""Where an output is read in its input: sampling grids, thetas, mappings both ways, rulers."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from stn_numpy import functional as F
from stn_numpy.plots.figure import BLUE, GREEN, LINES, ORANGE, PURPLE, RED, SKY, new_figure
from stn_numpy.plots.images import draw_pixels, draw_point, number_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


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
        draw_point(right, *point)  # its name stands above: beside it, it would hide a pixel
        right.set_title(f"input U, read at ({point[0]:g}, {point[1]:g})")
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
    G = F.affine_grid(theta[None], (1, 1, *(size or image.shape))).data[0]
    return grid_figure(image, G, title=title, alt=alt)


def grid_figure(
    image: np.ndarray,
    G: np.ndarray,
    points: tuple[np.ndarray, np.ndarray] | None = None,
    title: str = "",
    alt: str = "",
) -> "Figure":
    """Left an image with any grid on it, right what is read there.

    image (H, W); G (H', W', 2) in normalised coordinates; points: some of the output and where they
    are read in the input, (P, 2) each, in normalised coordinates.
    """
    V = F.grid_sample(image[None, None], G[None]).data[0, 0]
    figure = new_figure(7.6, 4.2, alt or title)
    figure.suptitle(title)
    left, right = figure.subplots(1, 2)
    H, W = image.shape
    for axes, shown, name in ((left, image, "input U and grid G"), (right, V, "output V")):
        axes.imshow(shown, cmap="gray", vmin=float(image.min()), vmax=float(image.max()))
        axes.set(title=name, xlabel="x (pixels)", ylabel="y (pixels)")
    draw_grid(left, G, (H, W), step=max(1, H // 7))
    if points is not None:
        for axes, places, (height, width) in zip((right, left), points, (V.shape, image.shape)):
            x, y = ((places.T + 1) * np.array([[width], [height]]) - 1) / 2
            axes.plot(x, y, "o", color=RED, markersize=6, markeredgecolor="white")
    left.set(xlim=(-0.25 * W, 1.25 * W), ylim=(1.25 * H, -0.25 * H), facecolor="#444444")
    return figure


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
    for (name, (x, y)), (color, line) in zip(grids.items(), LINES):
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
        text = "hole" if hole else number_text(value, True)
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
                number_text(scale(x), ".3g"),
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
                number_text(scale(x), ".3g"),
                fontsize=9,
                va="bottom",
                color="black",
                bbox={"boxstyle": "round,pad=0.1", "facecolor": "white", "edgecolor": color},
            )
    axes.text(-0.95, 0, "column", ha="right", va="center", fontsize=10)
    axes.set(xlim=(-0.8, size - 0.2), ylim=(4.2, -0.7), title=title)
    axes.set_axis_off()
    return figure
