"""Curves, bars and tables of words, of anything."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from stn_numpy.plots.figure import BLUE, FILLS, LINES, MARKERS, RED, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure


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

    points: those with the name of a curve belong to it, and have its colour.
    jump: where y changes by more from one x to the next, the curve is broken, not drawn upright.
    beside: the legend stands beside the curves, not among them.
    """
    figure = new_figure(8.4 if beside else 6.6, 3.6, alt or title)
    axes = figure.subplots()
    for (name, (x, y)), (color, line) in zip(curves.items(), LINES):
        x, y = np.asarray(x, float), np.asarray(y, float)
        jumps = np.abs(np.diff(y, prepend=y[:1])) > jump
        axes.plot(x, np.where(jumps, np.nan, y), linestyle=line, color=color, label=name)
    of_curve = {name: color for name, (color, _) in zip(curves, LINES)}
    for (name, (x, y)), (color, marker) in zip((points or {}).items(), MARKERS):
        label = "_" if name in of_curve else name  # a name with _ stays out of the legend
        color = of_curve.get(name, color)
        axes.plot(x, y, marker, color=color, markersize=7, markeredgecolor="white", label=label)
    axes.set(title=title, xlabel=xlabel, ylabel=ylabel)
    axes.grid(alpha=0.3)
    place = {"loc": "upper left", "bbox_to_anchor": (1, 1)} if beside else {}
    axes.legend(fontsize=8, **place)
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
    for i, (name, (color, hatch)) in enumerate(zip(names, FILLS)):
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


def intervals_figure(
    intervals: Mapping[str, tuple[float, float, float]],
    title: str = "",
    xlabel: str = "",
    alt: str = "",
) -> "Figure":
    """What was measured, and between which ends the truth may lie: (value, low, high) by name."""
    figure = new_figure(6.6, 1.3 + 0.45 * len(intervals), alt or title)
    axes = figure.subplots()
    for y, ((value, low, high), (color, marker)) in enumerate(zip(intervals.values(), MARKERS)):
        axes.plot([low, high], [y, y], color=color, linewidth=2)
        axes.plot([low, high], [y, y], "|", color=color, markersize=12)
        axes.plot([value], [y], marker, color=color, markersize=8, markeredgecolor="white")
        axes.annotate(
            f"{value:.3g}", (value, y), (0, 8), textcoords="offset points", ha="center", fontsize=9
        )
    axes.set(title=title, xlabel=xlabel, ylim=(len(intervals) - 0.5, -0.7))
    axes.set_yticks(range(len(intervals)), list(intervals))
    axes.grid(axis="x", alpha=0.3)
    return figure


def compared_figure(
    panels: Mapping[str, tuple[Mapping[str, float], Mapping[str, tuple[float, float, float]]]],
    names: tuple[str, str] = ("published", "ours"),
    title: str = "",
    xlabel: str = "",
    alt: str = "",
) -> "Figure":
    """Published numbers beside measured ones with their intervals, a panel for each column.

    panels: by the name of a column, the published number of each row and (value, low, high) of
    those rows that were measured; all larger than 0, as the axis is logarithmic. names: what the
    hollow diamonds and the dots are.
    """
    from matplotlib.ticker import FixedLocator, NullLocator

    rows = list(dict.fromkeys(row for published, _ in panels.values() for row in published))
    numbers = [
        number
        for published, measured in panels.values()
        for number in (*published.values(), *(n for three in measured.values() for n in three))
    ]
    marks = [m * 10.0**k for k in range(-3, 3) for m in (1, 2, 5)]
    figure = new_figure(1.4 + 1.75 * len(panels), 1.5 + 0.34 * len(rows), alt or title)
    figure.suptitle(title)
    (line,) = figure.subplots(1, len(panels), sharey=True, squeeze=False)
    for axes, (name, (published, measured)) in zip(line, panels.items()):
        y = [rows.index(row) - 0.13 for row in published]
        axes.plot(
            list(published.values()),
            y,
            "D",
            color=RED,
            markersize=7,
            markerfacecolor="none",
            label=names[0],
        )
        for row, (value, low, high) in measured.items():
            # A little below the diamond, so that neither hides the other.
            y = rows.index(row) + 0.13
            axes.plot([low, high], [y, y], "-", color=BLUE, linewidth=2)
            axes.plot([low, high], [y, y], "|", color=BLUE, markersize=9)
            axes.plot([value], [y], "o", color=BLUE, markersize=5, label=names[1])
        axes.set(title=name, xlabel=xlabel, xscale="log", ylim=(len(rows) - 0.4, -0.6))
        axes.set_xlim(min(n for n in numbers if n > 0) / 1.3, max(numbers) * 1.3)
        axes.xaxis.set_major_locator(FixedLocator(marks))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter("{x:g}")
        axes.tick_params(axis="x", labelsize=8)
        axes.set_yticks(range(len(rows)), rows)
        axes.grid(alpha=0.3)
    found = {}
    for axes in line:
        found |= {label: h for h, label in zip(*axes.get_legend_handles_labels())}
    figure.legend(found.values(), found, loc="outside lower center", ncols=2, fontsize=9)
    return figure


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
    for i, (part, (color, hatch)) in enumerate(zip(parts, FILLS)):
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
