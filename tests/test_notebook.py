"""Figures in a notebook: what they show as text, and the controls that draw them again."""

import io

import numpy as np
import pytest

from stn_numpy import notebook, plots, reference

U = np.array([[0, 1, 2, 1], [3, 9, 5, 2], [4, 6, 8, 1], [2, 7, 3, 5]], dtype=float)
theta = np.array([[0.25, 0.5, 1.75], [-0.5, 0.25, 2.75]])
x_t, y_t = (points.ravel() for points in np.meshgrid(np.arange(4.0), np.arange(4.0)))
x_s, y_s = (a.reshape(4, 4) for a in reference.eq01_affine_grid(theta, x_t, y_t))

FIGURES = {
    "module": lambda shift=0.0: plots.module_figure(),
    "pixels": lambda shift=0.0: plots.pixels_figure(U, {"p": (2.5 + shift, 2.5)}, "U"),
    "sampling": lambda shift=0.0: plots.sampling_figure(U, x_s + shift, y_s, target=(1, 1)),
    "sampling with V": lambda shift=0.0: plots.sampling_figure(U, x_s, y_s, V=U + shift),
    "weights": lambda shift=0.0: plots.weights_figure(U, 2.25 + shift, 1.75),
    "weights, bicubic": lambda shift=0.0: plots.weights_figure(U, 2.25 + shift, 1.75, "bicubic"),
    "warp": lambda shift=0.0: plots.warp_figure(U, [[1, 0, shift], [0, 1, 0]], title="W"),
    "row": lambda shift=0.0: plots.row_figure(U[2], 2.25 + shift, "row"),
    "surface": lambda shift=0.0: plots.image_surface(U + shift, "U"),
    "kernels": lambda shift=0.0: plots.kernel_figure(("nearest", "bilinear", "bicubic")),
    "tent": lambda shift=0.0: plots.kernel_surface("bilinear", reach=1.5 + shift),
}
STANDING = ("module", "kernels")
each_figure = pytest.mark.parametrize("name", FIGURES)


@each_figure
def test_a_figure_shows_itself_as_picture_and_as_text(name):
    data, metadata = FIGURES[name]()._repr_mimebundle_()
    assert data["image/png"].startswith(b"\x89PNG")
    assert data["text/plain"].startswith("Figure: ")
    assert data["text/plain"].endswith(metadata["image/png"]["alt"])


@each_figure
def test_the_digest_depends_on_what_is_drawn_and_on_nothing_else(name):
    draw = FIGURES[name]
    assert notebook.summary(draw()) == notebook.summary(draw())
    if name not in STANDING:
        assert digest(draw(1e-12)) == digest(draw())  # rounding errors
        assert digest(draw(0.125)) != digest(draw())


def digest(figure) -> str:
    return notebook.summary(figure).partition("[drawn: ")[2][:12]


@each_figure
def test_drawing_a_figure_does_not_change_its_digest(name):
    figure = FIGURES[name]()
    before = notebook.summary(figure)
    notebook.png(figure)
    assert notebook.summary(figure) == before


@each_figure
def test_every_plot_says_what_its_axes_are(name):
    for axes in FIGURES[name]().axes:
        if axes.axison:
            assert axes.get_title() or axes.figure.get_suptitle()
            assert axes.get_xlabel()
            assert axes.get_ylabel()


@pytest.mark.parametrize(
    "change",
    [
        lambda axes: axes.plot([0, 1], [0, 1]),
        lambda axes: axes.text(0, 0, "new"),
        lambda axes: axes.set_title("new"),
        lambda axes: axes.quiver([0], [0], [1], [1]),
        lambda axes: axes.scatter([0], [0]),
        lambda axes: axes.imshow(np.eye(2)),
        lambda axes: axes.vlines([0.5], 0, 1),
        lambda axes: axes.axvspan(0, 1),
        lambda axes: axes.annotate("", (1, 1), (0, 0), arrowprops={}),
        lambda axes: axes.contour(np.add.outer(np.arange(4), np.arange(4)), [2.5]),
        lambda axes: axes.figure.text(0, 0, "new"),
        lambda axes: axes.figure.recorded.append(np.ones(1)),
    ],
)
def test_whatever_is_drawn_is_in_the_digest(change):
    figure = plots.new_figure(2, 2)
    axes = figure.subplots()
    before = digest(figure)
    change(axes)
    assert digest(figure) != before


def draw(x, kernel):
    return plots.weights_figure(U, x, 1.75, kernel)


def film(*shifts):
    return plots.Film([FIGURES["pixels"](shift) for shift in shifts], seconds=0.2)


def test_a_film_shows_its_figures_and_where_nothing_moves_the_last():
    from PIL import Image, ImageChops

    data, metadata = film(0, 0.5, 1)._repr_mimebundle_()
    assert data["text/plain"].startswith("Figure: 3 pictures")
    assert "[drawn: " in data["text/plain"]
    assert metadata["image/png"]["alt"] == "U"
    with Image.open(io.BytesIO(data["image/png"])) as moving:
        assert (moving.format, moving.n_frames) == ("PNG", 4)
        assert moving.size == tuple(metadata["image/png"][side] for side in ("width", "height"))
        pictures = []
        for number in range(4):
            moving.seek(number)
            pictures.append(moving.convert("RGB"))
    still, *frames = pictures
    assert ImageChops.difference(still, frames[-1]).getbbox() is None
    assert ImageChops.difference(frames[0], frames[1]).getbbox() is not None


def test_the_digest_of_a_film_depends_on_all_its_figures():
    def text(*shifts):
        return film(*shifts)._repr_mimebundle_()[0]["text/plain"]

    assert text(0, 1) == text(0, 1) == text(1e-12, 1)
    assert text(0, 1) != text(0.5, 1)


def test_a_film_has_figures_of_one_size():
    with pytest.raises(ValueError, match="Film: figures is empty"):
        plots.Film([])
    with pytest.raises(ValueError, match=r"Film: figures are .* want one size"):
        plots.Film([plots.new_figure(2, 1), plots.new_figure(2, 2)])


def test_without_a_live_notebook_a_control_is_the_figure_at_the_start(monkeypatch):
    figure = plots.drag(draw, x=(0.0, 3.0, 2.25), kernel=["bilinear", "nearest"])
    assert digest(figure) == digest(draw(2.25, "bilinear"))
    monkeypatch.setenv("STN_NUMPY_STATIC", "1")
    assert not notebook._is_live()


def test_a_slider_draws_again(monkeypatch):
    monkeypatch.setattr(notebook, "_is_live", lambda: True)
    control = plots.drag(draw, x=(0.0, 3.0, 2.25), kernel=["bilinear", "nearest"])
    data, metadata = control._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in data
    assert data["image/png"] == bytes(control.picture.value)  # where no widget can be shown
    assert metadata["image/png"]["alt"]
    control.sliders["x"].value = 0.5
    assert bytes(control.picture.value) == notebook.png(draw(0.5, "bilinear"))
    control.sliders["kernel"].value = "nearest"
    assert bytes(control.picture.value) == notebook.png(draw(0.5, "nearest"))


def test_whole_numbers_have_whole_steps(monkeypatch):
    monkeypatch.setattr(notebook, "_is_live", lambda: True)
    control = plots.drag(lambda n: plots.row_figure(U[n], 1.5, "row"), n=(0, 3, 2))
    control.sliders["n"].value = 3
    assert bytes(control.picture.value) == notebook.png(plots.row_figure(U[3], 1.5, "row"))
