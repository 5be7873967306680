"""Co-localisation: find what a set of images has in common, without labels and without boxes.

Given are images that all show the same digit, somewhere. A transformer learns to crop each so that
the crops look alike to an encoder (paper, appendix):

    loss = mean of  max(0, |e(crop_n) - e(crop_m)|^2 - |e(crop_n) - e(random_n)|^2 + 1)  over m != n

A crop is to be closer to the crops of the other images than to a random crop of its own image: the
background looks alike too, but so do random crops of it. The encoder is a CNN that has learned to
read digits of other places and sizes (P), and learns no more; e is what comes before its last
layer, brought to length 1.

Four things go wrong without care, and all four were seen. A window whose size is learned grows
until nothing can be told apart, so its size is fixed. Empty corners are alike: to an encoder of
undistorted digits, which changes much with every pixel, they were the easiest place to be, and to
the better one where the digit is thin, every 1 was missed. So a crop is to be closer to the others
than to an empty crop, too: what is subtracted above is the smaller of the two distances. And the
halves of a digit are as alike as the wholes: all windows may be off by one and the same distance.
Nothing in the loss says which part of an object is its middle, so one weak belief is added: on
average over the images, what they have in common is in the middle (CENTRE |mean of t|^2). Last,
windows that begin at the middle, all of them, show the same mixture of halves and clutter: on TC no
direction was better, and the ReLUs died on what little there was to learn. So they begin scattered.
"""

import dataclasses
import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from stn_numpy import functional as F
from stn_numpy import models, nn, tasks
from stn_numpy.autograd import Tensor, no_grad
from stn_numpy.data import DISTORTIONS, Dataset, placed
from stn_numpy.data.distortions import SIDE
from stn_numpy.experiments.cells import Cell, Experiment, Show
from stn_numpy.experiments.results import Result, mean_error
from stn_numpy.spatial_transformer import SpatialTransformer
from stn_numpy.tables import Table
from stn_numpy.training import Run, Settings
from stn_numpy.transforms import Size

MARGIN = 1.0
CENTRE = 10.0  # a large number for a weak belief: of the mean only, which few images can move
TINY = 1e-6  # keeps the length of a code from being 0
SCATTER = 0.3  # standard deviation of the first weights that make places of features
OVERLAP = 0.5  # of the box that was found with the true one; below it, the digit was missed
ENCODER = Settings(models=("cnn",), distortion="P", epochs=4, workers=1)
PAPER = {"T": "100", "TC": "75-93"}  # percent found
EPOCHS = 20


@dataclass(frozen=True)
class Window:
    """A window of fixed size: theta is (t_x, t_y), where its middle is, in normalised coordinates.

    With a size that is learned too, looking at everything from so far away that nothing can be told
    apart is the easiest way to be alike.
    """

    scale: float
    parameters: ClassVar[int] = 2

    def identity(self) -> np.ndarray:
        return np.zeros(2, np.float32)

    def grid(self, theta: Any, size: Size, align_corners: bool = False) -> Tensor:
        scale = np.full((len(theta.data), 1), self.scale, theta.dtype)
        attention = F.attention_matrix(F.concat([scale, theta], dim=1))
        return F.affine_grid(attention, size, align_corners)


class Colocalisation(tasks.Digits):
    """Where is the digit? x are images of one digit on a larger canvas; a mistake is a wrong box.

    y (n, 4): left and top of the digit's 28x28 frame in pixels, used only to count mistakes, and
    left and top of a random frame. encoder: a CNN of `models.build`, whose parameters stay.
    """

    name = "colocalisation"

    def __init__(self, encoder: nn.Module) -> None:
        self.encoder = nn.Sequential(
            **{
                name: layer
                for name, layer in vars(encoder).items()
                if isinstance(layer, nn.Module) and name != "classifier"
            }
        )
        for parameter in self.encoder.parameters():
            parameter.requires_grad = False
        with no_grad():
            self.nothing = self.code(Tensor(np.zeros((1, 1, SIDE, SIDE), np.float32))).detach()

    def build(self, network, transform, distortion, parameters, rng) -> nn.Module:
        """The spatial transformer of the paper's ST-CNN, with a window for its transform."""
        size = DISTORTIONS[distortion].size[0]
        window = Window(SIDE / size)
        localisation = models.cnn_localisation(size, self.channels, window.parameters, rng)
        transformer = SpatialTransformer(localisation, window, (SIDE, SIDE))
        scatter(localisation, rng)
        return transformer

    def batches(self, images, labels, batch_size, rng, distortion, shuffle=True, workers=1):
        rng = np.random.default_rng(rng.integers(2**63))
        order = rng.permutation(len(labels)) if shuffle else np.arange(len(labels))
        return self._batches(images, order, batch_size, rng, distortion)

    def _batches(self, images, order, batch_size, rng, distortion):
        room = DISTORTIONS[distortion].size[0] - SIDE
        for start in range(0, len(order), batch_size):
            indices = order[start : start + batch_size]
            x, truth = placed(images, distortion, rng, indices=indices)
            yield x, np.concatenate([truth, rng.uniform(0, room, (len(indices), 2))], axis=1)

    def answer(self, network, x, y, label_smoothing=0.0) -> tuple[Tensor, int]:
        """The loss of co-localisation, which has no labels to smooth, and how many were missed."""
        theta = network.theta(x)
        with no_grad():
            random = self._encode(network, x, middles(y[:, 2:], x.shape[-1])).detach()
        boxes = overlap(theta.data, y[:, :2], x.shape[-1])
        centre = theta.mean(0)
        loss = hinge(self._encode(network, x, theta), random, self.nothing)
        loss = loss + CENTRE * (centre * centre).sum()
        return loss, int(np.sum(boxes < OVERLAP))

    def _encode(self, network, x, theta) -> Tensor:
        """Unit codes (N, D) of what is read at theta."""
        G = network.transform.grid(theta, (len(x), 1, SIDE, SIDE))
        return self.code(F.grid_sample(x, G))

    def code(self, crops: Tensor) -> Tensor:
        """Unit codes (N, D) of crops (N, 1, 28, 28)."""
        features = self.encoder(crops)
        return features * ((features * features).sum(1, keepdims=True) + TINY) ** -0.5


def scatter(localisation: nn.Module, rng: np.random.Generator) -> None:
    """Let the windows of different images begin at different places, in place of the middle.

    Weights of He's size keep what the images differ in as large, up to the last layer, as it is in
    the image; random weights there (SCATTER) make places of it.
    """
    *before, last = [p for p in localisation.parameters() if p.ndim > 1]
    for weight in before:
        fan_in = weight.data[0].size
        weight.data[:] = rng.normal(0, (2 / fan_in) ** 0.5, weight.shape)
    last.data[:] = rng.normal(0, SCATTER, last.shape)


def hinge(e: Tensor, random: Tensor, nothing: Tensor | None = None) -> Tensor:
    """The loss above, for codes (N, D) of N crops, N random crops, and (1, D) of an empty one."""
    n = len(e.data)
    if n < 2:
        return (e * 0).sum()  # alone there is nothing to be alike with
    squares = (e * e).sum(1, keepdims=True)
    alike = squares + squares.transpose(1, 0) - 2 * (e @ e.transpose(1, 0))
    unlike = ((e - random) * (e - random)).sum(1, keepdims=True)
    if nothing is not None:  # min(a, b) = a - max(0, a - b)
        unlike = unlike - F.relu(unlike - ((e - nothing) * (e - nothing)).sum(1, keepdims=True))
    others = (1 - np.eye(n)).astype(e.dtype)
    return (F.relu(alike - unlike + MARGIN) * others).sum() * (1 / (n * (n - 1)))


def middles(left_top: np.ndarray, size: int) -> np.ndarray:
    """The theta of a Window that reads 28x28 pixels from (left, top): (N, 2) -> (N, 2)."""
    return ((left_top + SIDE / 2) * (2 / size) - 1).astype(np.float32)


def overlap(theta: np.ndarray, left_top: np.ndarray, size: int) -> np.ndarray:
    """Intersection over union of the frames that are read at theta with the true ones: (N,)."""
    distance = np.abs(theta - middles(left_top, size)) * (size / 2)
    shared = np.prod(np.maximum(SIDE - distance, 0), axis=1)
    return shared / (2 * SIDE**2 - shared)


def prepare(cell: Cell, folder: Path, data: Dataset, show: Show) -> Colocalisation:
    """The task with its encoder, which is trained once for all cells, on all digits."""
    limit = None if cell.settings.limit is None else 1_000
    run = Run(folder / "encoder", dataclasses.replace(ENCODER, limit=limit), data)
    run.resume()
    run.train(show(ENCODER.epochs))
    return Colocalisation(run.trainers["cnn"].model.eval())


def of_digit(digit: int, data: Dataset) -> Dataset:
    """The images of one digit."""
    train, test = data.train_labels == digit, data.test_labels == digit
    return dataclasses.replace(
        data,
        train_images=data.train_images[train],
        train_labels=data.train_labels[train],
        test_images=data.test_images[test],
        test_labels=data.test_labels[test],
    )


def cell(distortion: str, digit: int) -> Cell:
    settings = Settings(
        workers=1,
        models=("st-cnn",),
        distortion=distortion,
        epochs=EPOCHS,
        batch_size=128,
        lr=1e-3,
    )
    select = functools.partial(of_digit, digit)
    return Cell(f"{distortion}/{digit}", settings, select=select, prepare=prepare)


def table(results: list[Result]) -> Table:
    """Percent found, for each digit and for all, beside the paper's."""
    rows = []
    for distortion, published in PAPER.items():
        errors = [mean_error(results, f"{distortion}/{digit}") for digit in range(10)]
        known = [e.error for e in errors if e is not None]
        found = [("" if e is None else f"{100 - 100 * e.error:.1f}") for e in errors]
        mean = f"{100 - 100 * np.mean(known):.1f}" if known else ""
        rows.append([distortion, published, mean, *found])
    return Table(["data", "paper", "ours", *map(str, range(10))], rows)


COLOCALISATION = Experiment(
    name="colocalisation",
    title="Co-localisation, digits found in percent (the paper's appendix)",
    cells=tuple(cell(distortion, digit) for distortion in PAPER for digit in range(10)),
    quick={"epochs": 1, "limit": 60, "batch_size": 32},
    table=table,
)
