"""The same work as users of our peers write it: libraries that differentiate NumPy.

What a library has of its own is used (MyGrad's convolution, pooling and loss); the rest is written
in its NumPy, as its examples do it: windows and points are looked up with arrays of indices. HIPS
autograd has a convolution, too, but it needs SciPy and takes several times as long as this one.
"""

import importlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy

Arrays = Sequence[numpy.ndarray]


class Peer:
    """A library, and our names and arguments for what a network needs, in its NumPy.

    Used like a functional module: ``peer.conv2d(x, weight, bias)``; arrays are (N, C, H, W).
    Raises ImportError where the library is not installed.
    """

    name: str
    package: str  # to install and to import
    np: Any  # the NumPy that the library can differentiate

    def __init__(self) -> None:
        self.library = importlib.import_module(self.package)

    def gradients(
        self, function: Callable, arrays: Arrays, dy: numpy.ndarray | None = None
    ) -> tuple[numpy.ndarray, list[numpy.ndarray]]:
        """function(*arrays), and the gradients of all arrays; dy: of the result, 1 by default."""
        raise NotImplementedError

    def array(self, tensor: Any) -> numpy.ndarray:
        """The numbers of what the library made of an array."""
        raise NotImplementedError

    def linear(self, x: Any, weight: Any, bias: Any) -> Any:
        return self.np.matmul(x, weight.T) + bias

    def relu(self, x: Any) -> Any:
        return self.np.maximum(x, 0)

    def flatten(self, x: Any) -> Any:
        return self.np.reshape(x, (len(x), -1))

    def avg_pool2d(self, x: Any, size: int) -> Any:
        return self.np.mean(self._tiles(x, size), axis=(3, 5))

    def affine_grid(self, theta: Any, size: Sequence[int], align_corners: bool = False) -> Any:
        """Eq. (1). theta (N, 2, 3) -> (N, H, W, 2)."""
        assert not align_corners
        N, _, H, W = size
        x = (2 * numpy.arange(W, dtype=theta.dtype) + 1) / W - 1
        y = (2 * numpy.arange(H, dtype=theta.dtype) + 1) / H - 1
        x, y = numpy.meshgrid(x, y)
        points = numpy.stack([x.ravel(), y.ravel(), numpy.ones_like(x).ravel()], axis=1)
        return self.np.reshape(
            self.np.matmul(points, self.np.transpose(theta, (0, 2, 1))), (N, H, W, 2)
        )

    def grid_sample(self, U: Any, G: Any, align_corners: bool = False) -> Any:
        """Eqs. (3), (5), zeros outside. U (N, C, H, W), G (N, H', W', 2) -> (N, C, H', W')."""
        assert not align_corners
        N, _, H, W = U.shape
        images = numpy.arange(N)[:, None, None]
        x = ((G[..., 0] + 1) * W - 1) / 2
        y = ((G[..., 1] + 1) * H - 1) / 2
        x0, y0 = (numpy.floor(self.array(pixels)) for pixels in (x, y))
        a, b = (x - x0)[..., None], (y - y0)[..., None]
        columns, rows = x0.astype(int), y0.astype(int)

        def pixel(i: numpy.ndarray, j: numpy.ndarray) -> Any:
            """(N, H', W', C)"""
            inside = (i >= 0) & (i < H) & (j >= 0) & (j < W)
            values = U[images, :, numpy.clip(i, 0, H - 1), numpy.clip(j, 0, W - 1)]
            return values * inside[..., None]

        top = pixel(rows, columns) * (1 - a) + pixel(rows, columns + 1) * a
        bottom = pixel(rows + 1, columns) * (1 - a) + pixel(rows + 1, columns + 1) * a
        return self.np.transpose(top * (1 - b) + bottom * b, (0, 3, 1, 2))

    def _tiles(self, x: Any, size: int) -> Any:
        """(N, C, H, W) -> (N, C, H / size, size, W / size, size)."""
        N, C, H, W = x.shape
        return self.np.reshape(x, (N, C, H // size, size, W // size, size))


class HipsAutograd(Peer):
    name, package = "HIPS autograd", "autograd"

    def __init__(self) -> None:
        super().__init__()
        self.np = importlib.import_module("autograd.numpy")

    def gradients(self, function, arrays, dy=None):
        backward, y = self.library.make_vjp(function, tuple(range(len(arrays))))(*arrays)
        return y, list(backward(numpy.ones_like(y) if dy is None else dy))

    def array(self, tensor):
        return self.library.tracer.getval(tensor)

    def conv2d(self, x: Any, weight: Any, bias: Any) -> Any:
        H, W = x.shape[2:]
        kh, kw = weight.shape[2:]
        rows = numpy.arange(H - kh + 1)[:, None] + numpy.arange(kh)
        columns = numpy.arange(W - kw + 1)[:, None] + numpy.arange(kw)
        windows = x[:, :, rows[:, None, :, None], columns[None, :, None, :]]  # N C H' W' kh kw
        y = self.np.tensordot(windows, weight, axes=([1, 4, 5], [1, 2, 3])) + bias
        return self.np.transpose(y, (0, 3, 1, 2))

    def max_pool2d(self, x: Any, size: int) -> Any:
        return self.np.max(self._tiles(x, size), axis=(3, 5))

    def cross_entropy(self, scores: Any, classes: numpy.ndarray) -> Any:
        shifted = scores - self.np.max(scores, axis=1, keepdims=True)
        log_sums = self.np.log(self.np.sum(self.np.exp(shifted), axis=1))
        return self.np.mean(log_sums - shifted[numpy.arange(len(classes)), classes])


class MyGrad(Peer):
    name, package = "MyGrad", "mygrad"

    def __init__(self) -> None:
        super().__init__()
        self.np = self.library
        self.layers = importlib.import_module("mygrad.nnet.layers")
        self.losses = importlib.import_module("mygrad.nnet.losses")

    def gradients(self, function, arrays, dy=None):
        tensors = [self.library.tensor(array, copy=False) for array in arrays]
        y = function(*tensors)
        y.backward(dy)
        return y.data, [tensor.grad for tensor in tensors]

    def array(self, tensor):
        return numpy.asarray(tensor)

    def conv2d(self, x: Any, weight: Any, bias: Any) -> Any:
        return self.layers.conv_nd(x, weight, stride=1) + bias[:, None, None]

    def max_pool2d(self, x: Any, size: int) -> Any:
        return self.layers.max_pool(x, (size, size), size)

    def cross_entropy(self, scores: Any, classes: numpy.ndarray) -> Any:
        return self.losses.softmax_crossentropy(scores, classes)


PEERS = (HipsAutograd, MyGrad)


def st_cnn(F: Peer, weights: dict[str, Any], x: numpy.ndarray) -> Any:
    """Scores of the paper's ST-CNN for images of 28 x 28 pixels; weights by their names in ours."""

    def layer(function: Callable, x: Any, name: str) -> Any:
        return function(x, weights[f"{name}.weight"], weights[f"{name}.bias"])

    look = "transformer.localisation."
    h = F.avg_pool2d(x, 2)
    h = F.relu(F.max_pool2d(layer(F.conv2d, h, f"{look}1"), 2))
    h = F.relu(layer(F.conv2d, h, f"{look}4"))
    h = F.relu(layer(F.linear, F.flatten(h), f"{look}7"))
    theta = F.np.reshape(layer(F.linear, h, f"{look}9"), (-1, 2, 3))
    h = F.grid_sample(x, F.affine_grid(theta, x.shape))
    h = F.relu(F.max_pool2d(layer(F.conv2d, h, "conv1"), 2))
    h = F.relu(F.max_pool2d(layer(F.conv2d, h, "conv2"), 2))
    return layer(F.linear, F.flatten(h), "classifier")
