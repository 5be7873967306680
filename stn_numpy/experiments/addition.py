"""MNIST addition: two digits, each distorted by itself, as two channels; what is their sum?

One transformer warps both channels alike, so it can bring one digit upright at the cost of the
other; two in parallel can give each digit its own.

The optimiser is plain SGD, as the paper's. Adam brings every weight up to speed alike, also those
that tie a transformer to the other's digit, and both of a pair come to follow both digits. The rate
is high from the first step on (half a cosine, from 0.03 to 0): a slow start is lost time here.
"""

from stn_numpy import tasks
from stn_numpy.experiments.cells import Cell, Experiment
from stn_numpy.experiments.results import Result, mean_error, written
from stn_numpy.tables import Table
from stn_numpy.training import Settings

EPOCHS = 30
PAPER = {
    ("cnn", "-"): 14.7,
    ("st-cnn", "affine"): 22.6,
    ("st-cnn", "projective"): 18.5,
    ("st-cnn", "tps"): 19.1,
    ("2xst-cnn", "affine"): 9.0,
    ("2xst-cnn", "projective"): 5.9,
    ("2xst-cnn", "tps"): 5.8,
}


def key(model: str, transform: str) -> str:
    return "/".join(part for part in (model, transform, "RTS") if part != "-")


def cell(model: str, transform: str) -> Cell:
    settings = Settings(
        models=(model,),
        distortion="RTS",
        epochs=EPOCHS,
        batch_size=128,
        optimizer="sgd",
        lr=0.03,
        schedule="cosine",
        localisation_rate=0.4,
        parameters=400_000,
        **({} if transform == "-" else {"transform": transform}),
    )
    return Cell(key(model, transform), settings, tasks.ADDITION)


def table(results: list[Result]) -> Table:
    rows = []
    for (model, transform), published in PAPER.items():
        ours = mean_error(results, key(model, transform))
        rows.append([written(model), transform, published, "" if ours is None else ours])
    return Table(["network", "transform", "paper", "ours"], rows)


ADDITION = Experiment(
    name="addition",
    title="MNIST addition, error in percent (the paper's appendix)",
    cells=tuple(cell(*row) for row in PAPER),
    quick={"epochs": 1, "limit": 300, "batch_size": 64, "parameters": 30_000},
    table=table,
)
