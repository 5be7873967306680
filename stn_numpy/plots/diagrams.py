"""Boxes and arrows: the module, chains of quantities, graphs of operations."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from stn_numpy.plots.figure import BLUE, RED, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure


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
