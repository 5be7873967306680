"""Chapter 15 shows our results where there are some, and its answers and figures what they say."""

import importlib.util
import types
from pathlib import Path

import numpy as np
import pytest

from stn_numpy import functional as F
from stn_numpy import plots
from stn_numpy.exercises import ch15
from stn_numpy.experiments import addition, colocalisation, read_results
from stn_numpy.experiments.results import Result, add_result, results_file

BOOK = Path(__file__).parents[1] / "book"
spec = importlib.util.spec_from_file_location("book_build", BOOK / "build.py")
build = importlib.util.module_from_spec(spec)
spec.loader.exec_module(build)

KEYS = {
    "addition": [addition.key(*kind) for kind in addition.PAPER],
    "colocalisation": [f"{kind}/{digit}" for kind in ("T", "TC") for digit in range(10)],
}


def result(experiment: str, cell: str, data: str = "MNIST", seed: int = 0) -> Result:
    known = {"experiment": experiment, "cell": cell, "seed": seed, "data": {"name": data}}
    counts = {"mistakes": 7, "test_images": 100, "epochs": 1, "images_seen": 1, "parameters": 1}
    return Result(error=0.07, minutes=1.0, commit="", settings={}, **known, **counts)


def cell_of(experiment: str) -> str:
    """The cell of the chapter that reads the results of an experiment."""
    cells = build.read_percent(build.source_of("15_beyond_affine").read_text(encoding="utf-8"))
    reading = f'"results", "{experiment}")'
    (found,) = [text for kind, text in cells if kind == "code" and reading in text]
    return found


@pytest.mark.parametrize("experiment", KEYS)
@pytest.mark.parametrize("done", [0, 1, 4, None])
def test_the_chapter_shows_whatever_results_there_are(experiment, done, tmp_path):
    folder = tmp_path / "book" / "results"
    folder.mkdir(parents=True)
    keys = KEYS[experiment][:done]
    for key in keys:
        add_result(results_file(folder, experiment), result(experiment, key))
    if keys:  # a second seed is no second cell, and digits of another kind do not count
        add_result(results_file(folder, experiment), result(experiment, keys[0], seed=1))
        other = result(experiment, KEYS[experiment][-1], "UCI digits")
        add_result(results_file(folder, experiment), other)
    namespace = {
        "stn_numpy": types.SimpleNamespace(__file__=str(tmp_path / "stn_numpy" / "__init__.py")),
        "addition": addition,
        "colocalisation": colocalisation,
        "read_results": read_results,
        "results_file": results_file,
        "Path": Path,
    }
    exec(cell_of(experiment), namespace)
    assert len({r.cell for r in namespace["ours"]}) == len(keys)


def test_the_influence_is_that_of_the_packages_spline():
    H, W = 3, 5
    pulls = np.zeros((16, 16, 2))
    pulls[np.arange(16), np.arange(16), 0] = 1
    B = F.tps_grid(pulls, (16, 1, H, W)).data[..., 0].reshape(16, H * W).T
    p = F.affine_grid(np.eye(2, 3)[None], (1, 1, H, W)).data.reshape(-1, 2)
    knots = F.affine_grid(np.eye(2, 3)[None], (1, 1, 4, 4), align_corners=True).data.reshape(-1, 2)
    assert np.allclose(ch15.influence(p, knots, 0), B, rtol=0, atol=1e-12)
    # Nails that give without end leave the plane that fits best.
    soft = ch15.influence(p, knots, 1e9)
    assert np.allclose(soft, ch15.plane_alone(p, knots, 0), rtol=0, atol=1e-6)


def test_two_homographies_in_series_lead_to_the_same_points(rng):
    identity = np.array([1.0, 0, 0, 0, 1, 0, 0, 0])
    first, second = identity + rng.uniform(-0.3, 0.3, (2, 8))

    def image(numbers, points):
        u, v, w = ch15.square(numbers) @ points
        return np.stack([u / w, v / w, np.ones_like(w)])

    points = np.vstack([rng.uniform(-1, 1, (2, 9)), np.ones(9)])
    at_once = image(ch15.composed(first, second), points)
    assert np.allclose(at_once, image(first, image(second, points)), rtol=0, atol=1e-12)


def test_a_grid_of_any_kind_is_drawn_with_its_points(rng):
    """The points of the output on the output, those of the input on the input, in pixels."""
    image = rng.uniform(size=(6, 9))
    G = F.affine_grid(np.eye(2, 3)[None], (1, 1, 4, 8)).data[0]
    asked = np.array([[-1.0, -1], [0, 0.5]])
    where = np.array([[-0.5, 0.25], [0.75, 1]])
    left, right = plots.grid_figure(image, G, (asked, where), title="A grid").axes
    on_input, on_output = (axes.get_lines()[-1].get_xydata() for axes in (left, right))
    assert np.allclose(on_output, [[-0.5, -0.5], [3.5, 2.5]])
    assert np.allclose(on_input, [[1.75, 3.25], [7.375, 5.5]])
    assert np.allclose(right.images[0].get_array(), F.grid_sample(image[None, None], G[None]).data)
