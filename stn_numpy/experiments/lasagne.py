"""The cluttered digits of Lasagne's recipe: 60x60, six distractors, read at 20x20.

As published: 50,000 training images, Adam at a constant 1e-3, batches of 256, 96.2 % right after 47
epochs. Here the same network and as many images, their clutter drawn afresh in every epoch, and one
cycle of the rate.
"""

from stn_numpy.experiments.cells import Cell, Experiment
from stn_numpy.experiments.results import Result, mean_error
from stn_numpy.tables import Table
from stn_numpy.training import Settings

PUBLISHED = 0.038  # 96.2 % right
KEY = "lasagne/affine/TC9"


def table(results: list[Result]) -> Table:
    ours = mean_error(results, KEY)
    row = ["ST-CNN of the recipe", f"{100 * PUBLISHED:.1f}", "" if ours is None else ours]
    return Table(["network", "published", "ours"], [row])


LASAGNE = Experiment(
    name="cluttered-lasagne",
    title="Lasagne's cluttered MNIST, error in percent",
    cells=(
        Cell(
            KEY,
            Settings(
                workers=1,
                models=("lasagne",),
                distortion="TC9",
                epochs=47,
                lr=2e-3,
                limit=50_000,
                seed=0,
            ),
        ),
    ),
    quick={"epochs": 1, "limit": 500, "batch_size": 64},
    table=table,
)
