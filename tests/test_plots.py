"""The figures say what they show, draw grids where they are, and need no window."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from stn_numpy import functional as F
from stn_numpy import plots
from stn_numpy.plots.convolution import between_pixels

ROOT = Path(__file__).parents[1]


def lines(axes):
    """The lines of a plot as (n, 2) arrays of (x, y)."""
    return [np.column_stack(line.get_data()) for line in axes.get_lines()]


def drawn(G, image_size, **options):
    axes = plots.new_figure(3, 3).subplots()
    plots.draw_grid(axes, G, image_size, **options)
    return axes


def identity(H, W, size):
    theta = np.array([[[1.0, 0, 0], [0, 1, 0]]])
    return F.affine_grid(theta, (1, 1, H, W)).data[0], size


@pytest.mark.parametrize("size", [(6, 9), (28, 28), (7, 4)])
def test_the_identity_is_on_the_centres_of_the_pixels(size):
    """imshow has the centre of pixel [row, column] at (column, row)."""
    H, W = size
    G, _ = identity(H, W, size)
    axes = drawn(G, size, step=1)
    points = np.concatenate(lines(axes))
    assert np.allclose(points, points.round(), atol=1e-12)
    assert {(x, y) for x, y in points.round().astype(int)} == {
        (x, y) for x in range(W) for y in range(H)
    }
    # Every row and every column is a line of its own, straight and in order.
    rows = [line for line in lines(axes) if np.ptp(line[:, 1].round()) == 0]
    columns = [line for line in lines(axes) if np.ptp(line[:, 0].round()) == 0]
    assert sorted(round(line[0, 1]) for line in rows) == list(range(H))
    assert sorted(round(line[0, 0]) for line in columns) == list(range(W))
    assert all(np.allclose(line[:, 0], np.arange(W)) for line in rows)
    assert all(np.allclose(line[:, 1], np.arange(H)) for line in columns)


def test_a_grid_of_another_size_than_the_image():
    """2 x 2 points over 8 x 4 pixels: each in the middle of its quarter."""
    G, size = identity(2, 2, (8, 4))
    points = np.concatenate(lines(drawn(G, size)))
    assert {(x, y) for x, y in points} == {(0.5, 1.5), (2.5, 1.5), (0.5, 5.5), (2.5, 5.5)}


def test_the_pixels_are_those_the_sampler_reads(rng):
    """Where a drawn point is a whole pixel, the sampler reads that pixel and no other."""
    U = rng.standard_normal((1, 1, 5, 8))
    columns, rows = rng.integers(0, 8, 12), rng.integers(0, 5, 12)
    G = np.stack([(2 * columns + 1) / 8 - 1, (2 * rows + 1) / 5 - 1], axis=-1).reshape(1, 3, 4, 2)
    points = np.concatenate(lines(drawn(G[0], (5, 8), step=1)))
    V = F.grid_sample(U, G).data
    assert np.allclose(V.ravel(), U[0, 0, rows, columns])
    assert {(round(x), round(y)) for x, y in points} == set(zip(columns.tolist(), rows.tolist()))


def test_the_upper_side_is_thick_and_goes_with_the_grid():
    """Upside down, the upper side of the output is read at the bottom of the input."""
    theta = np.array([[[-1.0, 0, 0], [0, -1, 0]]])
    axes = drawn(F.affine_grid(theta, (1, 1, 5, 5)).data[0], (5, 5))
    thick = max(axes.get_lines(), key=lambda line: line.get_linewidth())
    assert np.allclose(thick.get_ydata(), 4)
    assert np.allclose(thick.get_xdata(), [4, 3, 2, 1, 0])


@pytest.mark.parametrize("shape", [(1, 1), (1, 6), (5, 1), (2, 2)])
def test_tiny_grids_are_drawn(shape):
    G, size = identity(*shape, (6, 6))
    assert lines(drawn(G, size))


@pytest.mark.parametrize("N", [1, 4])
def test_what_a_transformer_does(rng, tmp_path, N):
    inputs, outputs = rng.uniform(size=(N, 28, 20)), rng.uniform(size=(N, 9, 14))
    grids = rng.uniform(-1, 1, (N, 9, 14, 2))
    labels = [f"digit {i}" for i in range(N)]
    figure = plots.transformer_figure(inputs, grids, outputs, "A title", labels)
    axes = np.array(figure.axes).reshape(3, N)
    assert figure.get_suptitle() == "A title"
    assert [row.get_ylabel() for row in axes[:, 0]] == ["input U", "grid G on it", "output V"]
    assert [column.get_title() for column in axes[0]] == labels
    for i in range(N):
        for row, image in zip(axes[:, i], (inputs[i], inputs[i], outputs[i])):
            assert np.array_equal(row.images[0].get_array(), image)
            assert row.images[0].get_clim() == (0, 1)
        # Only the row in the middle has lines, and room for some beside the image.
        assert [bool(row.lines) for row in axes[:, i]] == [False, True, False]
        left, right = axes[1, i].get_xlim()
        low, high = axes[1, i].get_ylim()
        assert left < -0.5
        assert right > 19.5
        assert low > high  # y points down
        assert high < -0.5
        assert low > 27.5
    plots.save(figure, tmp_path / "figure.png")
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")


def test_a_figure_of_one_s_own_has_a_title():
    figure = plots.transformer_figure(
        np.zeros((1, 4, 4)), np.zeros((1, 3, 3, 2)), np.zeros((1, 3, 3))
    )
    assert figure.get_suptitle()


def test_learning_curves(tmp_path):
    errors = {"st-cnn": [0.5, 0.1, 0.02], "cnn": [0.6, 0.25]}
    figure = plots.learning_curves(errors)
    (axes,) = figure.axes
    assert axes.get_title()
    assert axes.get_xlabel() == "epoch"
    assert axes.get_ylabel() == "test error (%)"
    assert [text.get_text() for text in axes.get_legend().get_texts()] == list(errors)
    one, two = lines(axes)
    assert np.allclose(one, [(1, 50), (2, 10), (3, 2)])
    assert np.allclose(two, [(1, 60), (2, 25)])
    styles = [(line.get_color(), line.get_linestyle(), line.get_marker()) for line in axes.lines]
    assert all(a != b for a, b in zip(*styles))  # to be told apart in grey, too
    plots.save(figure, tmp_path / "curves.png")
    assert all(tick == round(tick) for tick in axes.get_xticks())


def test_a_gallery(rng, tmp_path):
    rows = {"above": rng.uniform(size=(3, 8, 6)), "below": rng.uniform(size=(3, 5, 5))}
    grids = {"above": rng.uniform(-1, 1, (3, 9, 9, 2))}
    figure = plots.gallery_figure(rows, grids, "A title", ["a", "b", "c"])
    panels = np.array(figure.axes).reshape(2, 3)
    assert figure.get_suptitle() == "A title"
    assert [axes.get_title() for axes in panels[0]] == ["a", "b", "c"]
    assert [axes.get_ylabel() for axes in panels[:, 0]] == list(rows)
    for line, images in zip(panels, rows.values()):
        for axes, image in zip(line, images):
            assert np.array_equal(axes.images[0].get_array(), image)
            assert axes.images[0].get_clim() == (0, 1)
    assert [bool(axes.lines) for axes in panels[:, 0]] == [True, False]
    plots.save(figure, tmp_path / "gallery.png")


def test_a_gallery_has_room_for_its_grids():
    images, wide = np.zeros((2, 8, 6)), np.ones((2, 9, 9, 2))
    wide[0, 0, 0] = -1.8, 1.7  # (x, y) in normalised coordinates, 1 is the edge of the image
    for axes in plots.gallery_figure({"a": images}, {"a": wide}).axes:
        left, right, below, above = *axes.get_xlim(), *axes.get_ylim()
        x, y = ((-1.8 + 1) * 6 - 1) / 2, ((1.7 + 1) * 8 - 1) / 2
        assert left < x < right and above < y < below


def test_points_with_the_name_of_a_curve_have_its_colour():
    curve = np.arange(3), np.arange(3)
    figure = plots.curves_figure({"a": curve, "b": curve}, points={"c": curve, "b": curve})
    (axes,) = figure.axes
    b, c, of_b = axes.lines[1:]
    assert of_b.get_color() == b.get_color() != c.get_color()
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["a", "b", "c"]


def test_intervals(tmp_path):
    figure = plots.intervals_figure({"a": (2.0, 1.5, 2.75), "b": (4.0, 3.0, 5.5)}, "T", "error (%)")
    (axes,) = figure.axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "b"]
    assert [text.get_text() for text in axes.texts] == ["2", "4"]
    for y, ends in enumerate([(1.5, 2.75), (3.0, 5.5)]):
        bar = axes.lines[3 * y]
        assert (tuple(bar.get_xdata()), set(bar.get_ydata())) == (ends, {y})
    assert axes.get_ylim()[0] > axes.get_ylim()[1]  # the first is on top
    plots.save(figure, tmp_path / "intervals.png")


@pytest.mark.parametrize(
    "errors",
    [
        {"a": [0.0, 0.0]},
        {"a": [0.5, 0.0], "b": [0.0, 0.1]},
        {"a": [0.47]},
        {"a": []},
        {},
        {str(i): [0.1 * i] for i in range(1, 8)},
    ],
)
def test_learning_curves_of_any_run(tmp_path, errors):
    """No error at all, which has no logarithm; one epoch; none; more networks than colours."""
    figure = plots.learning_curves(errors)  # any warning is an error here
    plots.save(figure, tmp_path / "curves.png")
    assert len(figure.axes[0].lines) == len(errors)


def test_a_figure_that_can_not_be_drawn_leaves_the_one_before(tmp_path, monkeypatch):
    figure = plots.new_figure(1, 1)
    plots.save(figure, tmp_path / "figure.png")
    before = (tmp_path / "figure.png").read_bytes()

    def fails(file, **_):
        file.write(b"half of it")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(figure, "savefig", fails)
    with pytest.raises(OSError, match="No space left"):
        plots.save(figure, tmp_path / "figure.png")
    assert (tmp_path / "figure.png").read_bytes() == before
    assert os.listdir(tmp_path) == ["figure.png"]


def test_published_and_measured_numbers_stand_in_the_row_of_their_name():
    panels = {
        "R": ({"fcn": 2.1, "cnn": 1.2, "st": 0.7}, {"st": (0.6, 0.5, 0.8)}),
        "TC": ({"fcn": 13.2, "st": 1.7}, {}),
    }
    R, TC = plots.compared_figure(panels).axes
    diamonds, *whiskers, dot = R.lines
    assert list(diamonds.get_xdata()) == [2.1, 1.2, 0.7] and list(dot.get_xdata()) == [0.6]
    assert [list(line.get_xdata()) for line in whiskers] == [[0.5, 0.8]] * 2
    assert np.array_equal(np.round(diamonds.get_ydata()), [0, 1, 2])
    assert np.round(dot.get_ydata()) == 2 and dot.get_ydata() > diamonds.get_ydata()[2]
    (alone,) = TC.lines
    assert np.array_equal(np.round(alone.get_ydata()), [0, 2])  # the row of cnn stays empty
    low, high = R.get_xlim()
    assert (low, high) == TC.get_xlim() and low < 0.5 and high > 13.2


def test_no_window_and_no_matplotlib_before_it_is_needed(tmp_path):
    """Imports of this package do not load matplotlib; drawing does not load pyplot."""
    code = f"""
import sys
import stn_numpy, stn_numpy.training, stn_numpy.plots, stn_numpy.__main__, stn_numpy.data
assert not any(name.split(".")[0] == "matplotlib" for name in sys.modules)
from stn_numpy import plots
plots.save(plots.learning_curves({{"cnn": [0.5, 0.2]}}), {str(tmp_path / "x.png")!r})
assert "matplotlib.figure" in sys.modules
assert "matplotlib.pyplot" not in sys.modules
"""
    # A screen that is not there and a window system that needs one: either would be an error.
    env = {**os.environ, "PYTHONPATH": str(ROOT), "MPLBACKEND": "tkagg", "DISPLAY": ":99"}
    subprocess.run([sys.executable, "-c", code], check=True, env=env, cwd=tmp_path)
    assert (tmp_path / "x.png").exists()


@pytest.mark.parametrize("n", [9, 10])
@pytest.mark.parametrize("k", [0, 1, 4])
def test_between_the_pixels_a_wave_is_a_wave(n, k):
    row = 1.5 * np.cos(2 * np.pi * k * np.arange(n) / n + 0.3)
    places, values = between_pixels(row)
    expected = 1.5 * np.cos(2 * np.pi * k * places / n + 0.3)
    np.testing.assert_allclose(values, expected, rtol=0, atol=1e-8)
    assert places[0] == 0 and places[-1] == n - 1
