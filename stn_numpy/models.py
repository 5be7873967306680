"""The networks of the paper, and of the well-known PyTorch tutorial, by name.

FCN and CNN are the paper's classifiers; ST-FCN and ST-CNN are the same behind a spatial
transformer, 2xST-CNN behind two in parallel. Max-pooling stands before ReLU: the result is the
same, with a quarter of the work.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from stn_numpy import checks
from stn_numpy import functional as F
from stn_numpy.autograd import Tensor
from stn_numpy.nn import (
    AvgPool2d,
    Conv2d,
    Dropout,
    Dropout2d,
    Flatten,
    Linear,
    MaxPool2d,
    Module,
    Parameter,
    ReLU,
    Sequential,
)
from stn_numpy.spatial_transformer import (
    ParallelTransformers,
    SpatialTransformer,
    start_at_identity,
)
from stn_numpy.transforms import TRANSFORMS, Affine, Transform, check_transform

Generator = np.random.Generator
Layers = dict[str, Module]
MODELS = ("fcn", "cnn", "st-fcn", "st-cnn", "2xst-cnn", "tutorial", "lasagne")

# The smallest image that a 9x9 convolution, a pooling, a 7x7 convolution and a pooling can take,
# and the smallest whose half a 5x5 convolution, a pooling and a 5x5 convolution can take.
SMALLEST, SMALLEST_HALVED = 24, 28


def build(
    name: str,
    transform: str | Transform = "affine",
    image_size: int = 28,
    channels: int = 1,
    classes: int = 10,
    width: int | None = None,
    parameters: int = 400_000,
    rng: Generator | None = None,
) -> Module:
    """A network by name: the paper's "fcn", "cnn", "st-fcn", "st-cnn" and "2xst-cnn", or one of
    two that are well known, "tutorial" (PyTorch's) and "lasagne" (Lasagne's recipe).

    transform: for the spatial transformer: "affine", "attention", "projective", "tps" or an object.
    image_size: height and width of the input in pixels. channels, classes: of input and output.
    width: filters of each convolution, or units of each hidden layer of an FCN; without it, the
    width for which the whole network comes closest to `parameters` learned numbers; of these the
    localisation net takes its fixed share, which may be more than all of a small budget.
    Of two channels, each transformer of a "2xst-cnn" begins with its own, and its classifier with
    larger weights (see `start_apart`).
    rng: draws the first weights; the same rng state, the same weights.
    Raises ValueError for an unknown name or transform, or for an image that is too small.
    """
    checks.choice("build", "name", name, MODELS)
    if isinstance(transform, str):
        checks.choice("build", "transform", transform, TRANSFORMS)
        transform = TRANSFORMS[transform]
    check_transform("build", transform)
    counts = {"channels": channels, "classes": classes, "parameters": parameters}
    for argument, value in counts.items():
        checks.integer("build", argument, value, 1)
    halved = name in ("st-cnn", "2xst-cnn", "lasagne")
    smallest = SMALLEST_HALVED if halved else SMALLEST
    checks.integer(f"build {name}", "image_size", image_size, smallest)
    if name == "tutorial":
        return TutorialNet(transform, image_size, channels, classes, rng)
    if name == "lasagne":
        return lasagne(transform, image_size, channels, classes, rng)

    def of_width(width: int, rng: Generator | None) -> Module:
        how_many, _, classifier = name.rpartition("st-")
        seen, maps, before = image_size, channels, {}
        if classifier != name:
            read, seen = read_out(image_size)

            def reader() -> SpatialTransformer:
                localise = LOCALISATIONS[classifier]
                localisation = localise(image_size, channels, transform.parameters, rng)
                return SpatialTransformer(localisation, transform, (read, read))

            if how_many == "2x":
                maps = 2 * channels
                before["transformer"] = ParallelTransformers(reader(), reader())
            else:
                before["transformer"] = reader()
            if read != seen:
                before["average"] = AvgPool2d(2)
        layers = CLASSIFIERS[classifier](seen, maps, classes, width, rng)
        if how_many == "2x" and channels == 2:
            start_apart(before["transformer"], layers)
        return Sequential(**before, **layers)

    if width is None:
        drawn = np.random.default_rng(0)
        width = _closest(lambda w: of_width(w, drawn).num_parameters(), parameters)
    return of_width(checks.integer("build", "width", width, 1), rng)


def read_out(image_size: int) -> tuple[int, int]:
    """How large the transformer's output is, and how large the classifier sees it, in pixels.

    MNIST's own 28 stay. From larger images the paper reads as many pixels as come in and averages
    them 2 x 2. Where that is less than the classifier can take (42 x 42, so 21 x 21), the
    transformer reads 28 x 28 at once: the digit is about that large.
    """
    if image_size <= 28:
        return image_size, image_size
    return (image_size, image_size // 2) if image_size // 2 >= SMALLEST else (28, 28)


def start_apart(transformers: ParallelTransformers, classifier: Layers) -> None:
    """Let the k-th of k parallel transformers begin with the k-th of k channels.

    All of them see all channels, and nothing says which is whose: left alone, they may well all
    follow the mean of all. So localisation net k begins with weights of 0 for every channel but
    its own, and so does what conv1 sees of transformer k (its other weights are larger by sqrt(k):
    fewer of them count). They are weights as any others, and learn. As long as the transformers
    read the same, they learn the same; for that to weigh less, the classifier begins with weights
    of He's variance, 2 / n for n inputs, in place of the usual 1 / (3 n). All this is ours; the
    paper does not say how its pair began.

    classifier: layers with a conv1 of weight (width, k k, 9, 9); its maps are in the order of
    `ParallelTransformers`: all channels of transformer 0, then all of 1. Both are changed in place.
    """
    readers = transformers.readers()
    own = np.eye(len(readers))  # (transformer, channel)
    for layer in classifier.values():
        if isinstance(layer, Conv2d | Linear):
            layer.weight.data *= np.sqrt(6)  # from 1 / (3 n) to 2 / n
    classifier["conv1"].weight.data *= own.reshape(-1, 1, 1) * np.sqrt(len(readers))
    for transformer, channels in zip(readers, own, strict=True):
        first = next(m for m in transformer.localisation.modules() if isinstance(m, Conv2d))
        first.weight.data *= channels.reshape(-1, 1, 1)


def fcn(size: int, channels: int, classes: int, width: int, rng: Generator | None) -> Layers:
    """The paper's FCN: two fully connected layers and the classifier."""
    return {
        "flatten": Flatten(),
        "fc1": Linear(channels * size**2, width, rng=rng),
        "relu1": ReLU(),
        "fc2": Linear(width, width, rng=rng),
        "relu2": ReLU(),
        "classifier": Linear(width, classes, rng=rng),
    }


def cnn(size: int, channels: int, classes: int, width: int, rng: Generator | None) -> Layers:
    """The paper's CNN: 9x9 convolution, pooling, 7x7 convolution, pooling, the classifier."""
    last = ((size - 8) // 2 - 6) // 2
    return {
        "conv1": Conv2d(channels, width, 9, rng=rng),
        "pool1": MaxPool2d(2),
        "relu1": ReLU(),
        "conv2": Conv2d(width, width, 7, rng=rng),
        "pool2": MaxPool2d(2),
        "relu2": ReLU(),
        "flatten": Flatten(),
        "classifier": Linear(width * last**2, classes, rng=rng),
    }


def fcn_localisation(size: int, channels: int, outputs: int, rng: Generator | None) -> Sequential:
    """The paper's localisation net of the ST-FCN: three hidden layers of 32 units."""
    layers: list[Module] = [Flatten()]
    for inputs in (channels * size**2, 32, 32):
        layers += [Linear(inputs, 32, rng=rng), ReLU()]
    return Sequential(*layers, Linear(32, outputs, rng=rng))


def cnn_localisation(size: int, channels: int, outputs: int, rng: Generator | None) -> Sequential:
    """The paper's localisation net of the ST-CNN: half the resolution, two 5x5 convolutions."""
    last = (size // 2 - 4) // 2 - 4
    return Sequential(
        AvgPool2d(2),
        Conv2d(channels, 20, 5, rng=rng),
        MaxPool2d(2),
        ReLU(),
        Conv2d(20, 20, 5, rng=rng),
        ReLU(),
        Flatten(),
        Linear(20 * last**2, 20, rng=rng),
        ReLU(),
        Linear(20, outputs, rng=rng),
    )


CLASSIFIERS: dict[str, Callable[..., Layers]] = {"fcn": fcn, "cnn": cnn}
LOCALISATIONS = {"fcn": fcn_localisation, "cnn": cnn_localisation}


def lasagne(
    transform: Transform, size: int, channels: int, classes: int, rng: Generator | None
) -> Sequential:
    """The network of Lasagne's recipe for cluttered MNIST: from 60 x 60 it reads 20 x 20."""
    read = max(size // 3, 10)  # its two convolutions and poolings take 10 at least
    seen = (size // 2 - 4) // 2 - 4
    localisation = Sequential(
        MaxPool2d(2),
        Conv2d(channels, 20, 5, rng=rng),
        MaxPool2d(2),
        ReLU(),
        Conv2d(20, 20, 5, rng=rng),
        ReLU(),
        Flatten(),
        Linear(20 * seen**2, 50, rng=rng),
        ReLU(),
        Linear(50, transform.parameters, rng=rng),
    )
    last = ((read - 2) // 2 - 2) // 2
    return Sequential(
        transformer=SpatialTransformer(localisation, transform, (read, read)),
        conv1=Conv2d(channels, 32, 3, rng=rng),
        pool1=MaxPool2d(2),
        relu1=ReLU(),
        conv2=Conv2d(32, 32, 3, rng=rng),
        pool2=MaxPool2d(2),
        relu2=ReLU(),
        flatten=Flatten(),
        fc=Linear(32 * last**2, 256, rng=rng),
        relu3=ReLU(),
        classifier=Linear(256, classes, rng=rng),
    )


class TutorialNet(Module):
    """The network of PyTorch's spatial transformer tutorial, its parts named as there."""

    def __init__(
        self,
        transform: Transform | None = None,
        image_size: int = 28,
        channels: int = 1,
        classes: int = 10,
        rng: Generator | None = None,
    ) -> None:
        self.transform = Affine() if transform is None else transform
        check_transform("TutorialNet", self.transform)
        last = ((image_size - 4) // 2 - 4) // 2
        self.conv1 = Conv2d(channels, 10, 5, rng=rng)
        self.conv2 = Conv2d(10, 20, 5, rng=rng)
        self.conv2_drop = Dropout2d(rng=rng)
        self.fc1 = Linear(20 * last**2, 50, rng=rng)
        self.fc1_drop = Dropout(rng=rng)
        self.fc2 = Linear(50, classes, rng=rng)
        self.localization = Sequential(
            Conv2d(channels, 8, 7, rng=rng),
            MaxPool2d(2),
            ReLU(),
            Conv2d(8, 10, 5, rng=rng),
            MaxPool2d(2),
            ReLU(),
        )
        flat = 10 * (((image_size - 6) // 2 - 4) // 2) ** 2
        self.fc_loc = Sequential(
            Linear(flat, 32, rng=rng), ReLU(), Linear(32, self.transform.parameters, rng=rng)
        )
        start_at_identity(self.fc_loc, self.transform)

    def grid(self, x: Any) -> Tensor:
        """Where x would be read: (N, H, W, 2)."""
        theta = self.fc_loc(F.flatten(self.localization(x)))
        return self.transform.grid(theta, x.shape)

    def stn(self, x: Any) -> Tensor:
        """The spatial transformer: the input, seen as the network wants to see it."""
        return F.grid_sample(x, self.grid(x))

    def forward(self, x: Any) -> Tensor:
        x = self.stn(x)
        x = F.relu(F.max_pool2d(self.conv1(x), 2))
        x = F.relu(F.max_pool2d(self.conv2_drop(self.conv2(x)), 2))
        x = self.fc1_drop(F.relu(self.fc1(F.flatten(x))))
        return F.log_softmax(self.fc2(x))


def localisation_parameters(model: Module) -> list[Parameter]:
    """The parameters of the localisation nets of a model, for a learning rate of their own."""
    names = ("localisation.", "localization.", "fc_loc.")
    return [p for name, p in model.named_parameters() if any(part in name for part in names)]


def reader(model: Module) -> SpatialTransformer | TutorialNet | None:
    """The first part of a model that can say where it reads its input, by `grid(x)`."""
    for module in model.modules():
        if isinstance(module, (SpatialTransformer, TutorialNet)):
            return module
    return None


def _closest(count: Callable[[int], int], wanted: int) -> int:
    """The width whose count is closest to `wanted`; the count grows with the width."""
    high = 1
    while count(high) < wanted:
        high *= 2
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if count(middle) < wanted else (low, middle)
    return min((w for w in (low, high) if w > 0), key=lambda w: abs(count(w) - wanted))
