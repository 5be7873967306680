"""The figures that the book and the command line share.

`..._figure` takes arrays and returns a matplotlib Figure, which shows itself in a notebook; nothing
is shown or saved here. `draw_...` draws on axes that are there. Images are drawn to scale: pixel
[row, column] is the square of side 1 around the point (x, y) = (column, row), y points down.
What a colour says, a number, a marker or a kind of line says too.

Which file holds what, each importing only from those above it:

    figure.py       new_figure, save, the colours, lines and markers
    images.py       images and arrays in numbers, points, arrows and frames on them
    grids.py        where an output is read: grids, thetas, mappings both ways, rulers
    kernels.py      kernels, their slopes, the weights they give
    gradients.py    gradients as heat, arrows, tangents and steps, and their errors
    convolution.py  windows, im2col, pooling, memory
    diagrams.py     boxes and arrows: the module, chains, graphs of operations
    charts.py       curves, bars, tables of words
    networks.py     what networks do, believe and learn
"""

from stn_numpy.notebook import Film, drag
from stn_numpy.plots.charts import (
    bars_figure,
    compared_figure,
    curves_figure,
    intervals_figure,
    stacked_figure,
    verdicts_figure,
)
from stn_numpy.plots.convolution import (
    columns_figure,
    matrices_figure,
    memory_figure,
    pooled_figure,
    pooling_figure,
    seen_from_figure,
    waves_figure,
    window_figure,
)
from stn_numpy.plots.diagrams import chain_figure, graph_figure, module_figure
from stn_numpy.plots.figure import BLUE, GREEN, ORANGE, PURPLE, RED, SKY, new_figure, save
from stn_numpy.plots.gradients import (
    arrows_figure,
    backward_figure,
    descent_figure,
    errors_figure,
    flow_figure,
    matrix_figure,
    nudges_figure,
    tangents_figure,
)
from stn_numpy.plots.grids import (
    draw_grid,
    draw_points_as_grid,
    grid_figure,
    outlines_figure,
    ruler_figure,
    sampling_figure,
    theta_figure,
    thetas_figure,
    two_rows_figure,
    warp_figure,
)
from stn_numpy.plots.images import (
    draw_arrow,
    draw_frame,
    draw_heat,
    draw_pixel_edges,
    draw_pixels,
    draw_point,
    heats_figure,
    numbers_figure,
    pictures_figure,
    pixels_figure,
)
from stn_numpy.plots.kernels import (
    image_surface,
    kernel_figure,
    kernel_surface,
    pixel_weights,
    row_figure,
    weights_figure,
)
from stn_numpy.plots.networks import (
    gallery_figure,
    learning_curves,
    scores_figure,
    transformer_figure,
)

__all__ = [
    "BLUE",
    "GREEN",
    "ORANGE",
    "PURPLE",
    "RED",
    "SKY",
    "Film",
    "arrows_figure",
    "backward_figure",
    "bars_figure",
    "chain_figure",
    "columns_figure",
    "compared_figure",
    "curves_figure",
    "descent_figure",
    "drag",
    "draw_arrow",
    "draw_frame",
    "draw_grid",
    "draw_heat",
    "draw_pixel_edges",
    "draw_pixels",
    "draw_point",
    "draw_points_as_grid",
    "errors_figure",
    "flow_figure",
    "gallery_figure",
    "graph_figure",
    "grid_figure",
    "heats_figure",
    "image_surface",
    "intervals_figure",
    "kernel_figure",
    "kernel_surface",
    "learning_curves",
    "matrices_figure",
    "matrix_figure",
    "memory_figure",
    "module_figure",
    "new_figure",
    "nudges_figure",
    "numbers_figure",
    "outlines_figure",
    "pictures_figure",
    "pixel_weights",
    "pixels_figure",
    "pooled_figure",
    "pooling_figure",
    "row_figure",
    "ruler_figure",
    "sampling_figure",
    "save",
    "scores_figure",
    "seen_from_figure",
    "stacked_figure",
    "tangents_figure",
    "theta_figure",
    "thetas_figure",
    "transformer_figure",
    "two_rows_figure",
    "verdicts_figure",
    "warp_figure",
    "waves_figure",
    "weights_figure",
    "window_figure",
]
