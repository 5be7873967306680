"""Images and other arrays in numbers, points and frames on them, and images side by side."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from stn_numpy.plots.figure import BLUE, MARKERS, ORANGE, RED, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


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
                number_text(image[n, m], numbers),
                ha="center",
                va="center",
                color="white" if shade < 0.5 else "black",
                fontsize=11,
            )
    pixel_axes(axes, (H, W), margin)
    axes.set_title(title)


def draw_heat(
    axes: "Axes",
    values: np.ndarray,
    title: str = "",
    numbers: bool | str = True,
    margin: float = 0.0,
    most: float | None = None,
) -> None:
    """An array (H, W) of weights or gradients: white is 0, blue positive, orange negative.

    Every square bears its number, and the negative ones are hatched. most: what is darkest; by
    default the largest of the array.
    """
    from matplotlib.colors import LinearSegmentedColormap
    from matplotlib.patches import Rectangle

    most = most or float(np.abs(values).max()) or 1.0
    colours = LinearSegmentedColormap.from_list("orange to blue", [ORANGE, "white", BLUE])
    axes.imshow(values, cmap=colours, vmin=-1.3 * most, vmax=1.3 * most)
    draw_pixel_edges(axes, values.shape)
    for n, m in np.ndindex(*values.shape):
        if values[n, m] < 0:
            axes.add_patch(
                Rectangle((m - 0.5, n - 0.5), 1, 1, fill=False, hatch="//", edgecolor="#00000030")
            )
        if numbers is not False:
            strong = values[n, m] > (0.75 + 1e-9) * most  # equals look equal, however rounded
            color = "white" if strong else "black" if values[n, m] else "#888888"
            text = number_text(values[n, m], numbers)
            axes.text(m, n, text, ha="center", va="center", color=color, fontsize=11)
    pixel_axes(axes, values.shape, margin)
    axes.set_title(title)


def draw_pixel_edges(axes: "Axes", image_size: tuple[int, int]) -> None:
    """The edges between the pixels of an image of (H, W)."""
    H, W = image_size
    for n in range(H + 1):
        axes.plot([-0.5, W - 0.5], [n - 0.5, n - 0.5], color="#999999", linewidth=0.6)
    for m in range(W + 1):
        axes.plot([m - 0.5, m - 0.5], [-0.5, H - 0.5], color="#999999", linewidth=0.6)


def pixel_axes(axes: "Axes", image_size: tuple[int, int], margin: float) -> None:
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


def number_text(value: float, numbers: bool | str) -> str:
    """A number as it stands in a picture; numbers: True, or a format."""
    value = round(float(value), 9) + 0.0  # no -0, and no 1e-17 where 0 is meant
    return f"{value:g}" if numbers is True else f"{value:{numbers}}"


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


def draw_frame(
    axes: "Axes", top: int, left: int, height: int, width: int, color: str = RED, line: str = "-"
) -> None:
    """A thick frame around the pixels of a window whose first pixel is [top, left]."""
    from matplotlib.patches import Rectangle

    corner = (left - 0.5, top - 0.5)
    axes.add_patch(
        Rectangle(corner, width, height, fill=False, edgecolor=color, lw=3, ls=line, zorder=3)
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
    for (name, (x, y)), (color, marker) in zip((points or {}).items(), MARKERS):
        draw_point(axes, x, y, name, color, marker)
    return figure


def heats_figure(
    arrays: Mapping[str, np.ndarray],
    title: str = "",
    numbers: bool | str = True,
    frames: Mapping[str, tuple[int, int, int, int]] | None = None,
    alt: str = "",
    one_scale: bool = False,
) -> "Figure":
    """Arrays (H, W) of weights or gradients side by side by their names, in squares of one size.

    frames: by the name of an array, a frame in it: top, left, height and width in pixels.
    one_scale: the same colour means the same number in all arrays.
    """
    most = max(float(np.abs(a).max()) for a in arrays.values()) if one_scale else None
    widths = [array.shape[1] for array in arrays.values()]
    tallest = max(array.shape[0] for array in arrays.values())
    size = 0.62 * sum(widths) + 1.0 * len(widths), 0.62 * tallest + 1.5
    figure = new_figure(*size, alt or title)
    figure.suptitle(title)
    panels = figure.subplots(1, len(arrays), squeeze=False, width_ratios=[w + 0.6 for w in widths])
    for axes, (name, array) in zip(panels[0], arrays.items()):
        draw_heat(axes, array, name, numbers, most=most)
        if name in (frames or {}):
            draw_frame(axes, *frames[name])
        axes.set(xlabel="column", ylabel="row")
    return figure


def pictures_figure(
    pictures: Mapping[str, np.ndarray],
    title: str = "",
    alt: str = "",
    limits: tuple[float | None, float | None] = (None, None),
) -> "Figure":
    """Grey images (H, W) or coloured ones (H, W, 3) side by side, by their names.

    limits: the values that are black and white; by default each picture's darkest and brightest.
    """
    highest = max(len(picture) / len(picture[0]) for picture in pictures.values())
    figure = new_figure(2.5 * len(pictures) + 0.4, 0.9 + 2.3 * min(highest, 1), alt or title)
    figure.suptitle(title)
    (row,) = figure.subplots(1, len(pictures), squeeze=False)
    for axes, (name, picture) in zip(row, pictures.items()):
        axes.imshow(picture, cmap="gray", vmin=limits[0], vmax=limits[1])
        axes.set(title=name, xlabel="x (pixels)", ylabel="y (pixels)")
    return figure


def numbers_figure(
    images: Mapping[str, np.ndarray],
    title: str = "",
    numbers: bool | str = True,
    frames: Mapping[str, tuple[int, int, int, int]] | None = None,
    origin: tuple[int, int] = (0, 0),
    columns: int = 3,
    alt: str = "",
) -> "Figure":
    """Images (H, W) in numbers, by their names, in squares of one size, black and white alike.

    frames: by the name of an image, a frame in it: top, left, height and width, counted in squares
    from the upper left. origin: which [row, column] the upper left square is. columns: how many
    images stand side by side.
    """
    heights, widths = zip(*(image.shape for image in images.values()))
    limits = tuple(float(f([f(image) for image in images.values()])) for f in (np.min, np.max))
    rows = -(-len(images) // columns)
    beside = min(columns, len(images))
    size = beside * (0.36 * max(widths) + 0.7), rows * (0.36 * max(heights) + 0.9) + 0.4
    figure = new_figure(*size, alt or title)
    figure.suptitle(title)
    panels = figure.subplots(rows, beside, squeeze=False).ravel()
    for axes, (name, image) in zip(panels, images.items()):
        draw_pixels(axes, image, name, numbers, limits=limits)
        if name in (frames or {}):
            draw_frame(axes, *frames[name])
        axes.set_yticklabels([origin[0] + n for n in range(image.shape[0])])
        axes.set_xticklabels([origin[1] + m for m in range(image.shape[1])])
        axes.set(xlabel="column", ylabel="row")
    for axes in panels[len(images) :]:
        axes.set_axis_off()
    return figure
