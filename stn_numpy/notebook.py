"""Figures and controls as a notebook shows them.

A figure of `plots.new_figure` shows itself as a picture, and as text: its titles, a digest of what
is drawn, and a sentence for those who do not see it. Two pictures of the same data have the same
digest on every machine, so a notebook's figures can be compared without comparing pixels.
"""

import hashlib
import io
import os
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.figure import Figure

DPI = 150
SHOWN_DPI = 90  # in a notebook a figure is smaller than it is rendered, so that it is sharp


def mimebundle(figure: "Figure", **_) -> tuple[dict[str, Any], dict[str, Any]]:
    """What a notebook shows of a figure: a PNG, its size and its `alt` text, and `summary`."""
    width, height = (round(SHOWN_DPI * inches) for inches in figure.get_size_inches())
    data = {"text/plain": summary(figure), "image/png": png(figure)}
    metadata = {"image/png": {"width": width, "height": height}}
    if alt := getattr(figure, "alt", ""):
        metadata["image/png"]["alt"] = alt
    return data, metadata


def png(figure: "Figure") -> bytes:
    """A figure as PNG of 256 colours, which line drawings do not exceed, and of no date."""
    from PIL import Image  # matplotlib needs it, too

    full, small = io.BytesIO(), io.BytesIO()
    figure.savefig(full, format="png", dpi=DPI, facecolor="white")
    image = Image.open(full).convert("RGB")
    image.quantize(256, dither=Image.Dither.NONE).save(small, format="png", optimize=True)
    return small.getvalue()


def summary(figure: "Figure") -> str:
    """The titles and a digest of all that is drawn, to five decimals; then the `alt` text."""
    titles = [figure.get_suptitle(), *(axes.get_title() for axes in figure.axes)]
    shown = " | ".join(title.replace("\n", " ") for title in titles if title)
    sha = hashlib.sha256()
    for part in _contents(figure):
        if isinstance(part, str):
            sha.update(part.encode())
        else:
            sha.update(str(part.shape).encode())
            sha.update(_whole(part).tobytes())
    alt = getattr(figure, "alt", "")
    return f"Figure: {shown} [drawn: {sha.hexdigest()[:12]}]" + (f"\n{alt}" if alt else "")


def _whole(values: np.ndarray) -> np.ndarray:
    """Numbers as integers that rounding errors do not change.

    No number that is likely to be drawn lies where the floor changes: not 0.5, 1/3 or 2^-k.
    """
    scaled = np.floor(np.asarray(values, float) * 1e5 + 0.5137)
    return np.nan_to_num(scaled, nan=-(2.0**62), posinf=2.0**62, neginf=-(2.0**61)).astype("<i8")


def _contents(figure: "Figure") -> Iterator[str | np.ndarray]:
    yield figure.get_suptitle()
    yield from (text.get_text() for text in figure.texts)
    for axes in figure.axes:
        yield from (axes.get_title(), axes.get_xlabel(), axes.get_ylabel())
        legend = axes.get_legend()
        texts = [*axes.texts, *(legend.get_texts() if legend else ())]
        yield from (text.get_text() for text in texts)
        for artist in (*axes.lines, *axes.images, *axes.patches, *axes.collections, *axes.texts):
            yield from map(np.ma.getdata, _numbers(artist))
    yield from getattr(figure, "recorded", [])


def _numbers(artist: "Artist") -> Iterator[np.ndarray]:
    """The numbers that an artist draws, in the units of the data."""
    if type(artist).__module__.startswith("mpl_toolkits"):
        return  # three dimensions are made two while drawing; `recorded` has the numbers
    if hasattr(artist, "get_xydata"):
        yield np.asarray(artist.get_xydata(), float)
    elif hasattr(artist, "xy1"):  # an arrow from one plot to another
        yield np.array([artist.xy1, artist.xy2], float)
    elif hasattr(artist, "get_patch_transform") and not hasattr(artist, "get_arrowstyle"):
        yield artist.get_patch_transform().transform(artist.get_path().vertices)
    elif hasattr(artist, "U") and hasattr(artist, "XY"):  # arrows
        yield from (np.asarray(artist.XY, float), np.asarray(artist.U), np.asarray(artist.V))
    elif hasattr(artist, "xy") and hasattr(artist, "get_text"):  # a text with an arrow
        yield np.array(artist.xy, float)
    elif hasattr(artist, "get_array") and artist.get_array() is not None:
        yield np.asarray(np.ma.filled(np.ma.asarray(artist.get_array(), float), np.nan))
    if hasattr(artist, "get_segments"):
        yield from (np.asarray(segment, float) for segment in artist.get_segments())
    elif hasattr(artist, "get_offsets") and not hasattr(artist, "XY"):
        yield np.asarray(np.ma.filled(artist.get_offsets(), np.nan), float)


# Films ------------------------------------------------------------------------------------------


class Film:
    """Figures of one size, one after the other, over and over; where nothing moves, the last.

    It is an animated PNG, which needs no program to run it, and is a picture to all that do not
    know how to move it. figures: at least one. seconds: how long each is seen; the last is seen
    three times as long.
    """

    def __init__(self, figures: Sequence["Figure"], seconds: float = 0.4) -> None:
        self.figures, self.seconds = list(figures), seconds
        if not self.figures:
            raise ValueError("Film: figures is empty, want at least one")
        sizes = {tuple(figure.get_size_inches()) for figure in self.figures}
        if len(sizes) > 1:
            raise ValueError(f"Film: figures are {sorted(sizes)} inches large, want one size")

    def _repr_mimebundle_(self, **_) -> tuple[dict[str, Any], dict[str, Any]]:
        last = self.figures[-1]
        size = (round(SHOWN_DPI * inches) for inches in last.get_size_inches())
        metadata = {"image/png": dict(zip(("width", "height"), size))}
        if alt := getattr(last, "alt", ""):
            metadata["image/png"]["alt"] = alt
        drawn = hashlib.sha256("".join(map(summary, self.figures)).encode()).hexdigest()[:12]
        text = f"Figure: {len(self.figures)} pictures, the last: {last.get_suptitle()} "
        data = {"text/plain": f"{text}[drawn: {drawn}]" + (f"\n{alt}" if alt else "")}
        return data | {"image/png": moving_png(self.figures, self.seconds)}, metadata


def moving_png(figures: Sequence["Figure"], seconds: float) -> bytes:
    """Figures as one animated PNG of 256 colours; its still picture is the last of them."""
    from PIL import Image

    pictures = []
    for figure in figures:
        file = io.BytesIO()
        figure.savefig(file, format="png", dpi=SHOWN_DPI, facecolor="white")
        pictures.append(Image.open(file).convert("RGB"))
    # On one sheet, so that all get the same colours.
    width, height = pictures[0].size
    sheet = Image.new("RGB", (width, height * len(pictures)))
    for i, picture in enumerate(pictures):
        sheet.paste(picture, (0, i * height))
    sheet = sheet.quantize(256, dither=Image.Dither.NONE)
    frames = [sheet.crop((0, y, width, y + height)) for y in range(0, sheet.height, height)]
    times = [1000 * seconds] * (len(frames) - 1) + [3000 * seconds]
    moving = io.BytesIO()
    frames[-1].save(
        moving,
        format="png",
        optimize=True,
        save_all=True,
        default_image=True,
        append_images=frames,
        duration=times,
        loop=0,
    )
    return moving.getvalue()


# Controls ---------------------------------------------------------------------------------------


def drag(draw: Callable[..., "Figure"], **controls: Any) -> Any:
    """A figure with controls: draw(**values) again for every move of a slider.

    draw: a function that returns a figure. controls: for each of its arguments (low, high, start),
    a slider, of whole numbers where all three are; or a list of texts to choose from, which starts
    with its first. Without a live notebook, without ipywidgets, and where the environment variable
    STN_NUMPY_STATIC is set, it is the figure at the start, and nothing else.
    """
    start = {
        name: control[0] if isinstance(control, list) else control[2]
        for name, control in controls.items()
    }
    return Control(draw, controls, start) if _is_live() else draw(**start)


class Control:
    """Sliders over a figure; where a reader's page can not show them, the figure at the start."""

    def __init__(self, draw: Callable, controls: dict[str, Any], start: dict[str, Any]):
        import ipywidgets

        self.still = data, metadata = mimebundle(draw(**start))
        width = metadata["image/png"]["width"]
        self.picture = ipywidgets.Image(value=data["image/png"], width=width)
        self.sliders = {
            name: _slider(ipywidgets, name, control, start[name])
            for name, control in controls.items()
        }
        self.draw = draw
        for slider in self.sliders.values():
            slider.observe(self._moved, names="value")
        self.box = ipywidgets.VBox([*self.sliders.values(), self.picture])

    def _moved(self, _change) -> None:
        values = {name: slider.value for name, slider in self.sliders.items()}
        self.picture.value = png(self.draw(**values))

    def _repr_mimebundle_(self, **options) -> tuple[dict[str, Any], dict[str, Any]]:
        data, metadata = self.still
        return {**self.box._repr_mimebundle_(**options), **data}, metadata


def _slider(ipywidgets, name: str, control: Any, start: Any):
    if isinstance(control, list):
        return ipywidgets.ToggleButtons(options=control, value=start, description=name)
    low, high, _ = control
    if all(isinstance(number, int) for number in control):
        return ipywidgets.IntSlider(start, low, high, description=name)
    step = 10 ** np.floor(np.log10(high - low)) / 20
    return ipywidgets.FloatSlider(start, min=low, max=high, step=step, description=name)


def _is_live() -> bool:
    if os.environ.get("STN_NUMPY_STATIC"):
        return False
    try:
        import ipywidgets  # noqa: F401
        from IPython import get_ipython
    except ImportError:
        return False
    return hasattr(get_ipython(), "kernel")
