"""Wrong convolutions and wrong pooling: one window after the other, with mistakes on request.

All of them look at the input through windows: pixel (i, j) of the window at place (p, q) is pixel
(p s + i - padding, q s + j - padding) of the image. `Windows` holds that rule and the ways to get
it wrong; what differs between the operations is what a window does with its pixels.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from stn_numpy.verify.mistakes.base import (
    CONVOLUTION,
    Family,
    Mistake,
    mean_over,
    several,
    sum_over,
)

INPUT, WEIGHT, BIAS = ("input",), ("weight",), ("bias",)

WINDOW_MISTAKES = [
    *several(
        CONVOLUTION,
        ("input", "weight"),
        "stride",
        (
            "stride ignored",
            "stride-ignored",
            "the stride is ignored on the way back: place p of the output stands at pixel p, not "
            "at p times the stride",
        ),
        (
            "stride swapped",
            "stride-swapped",
            "the vertical and the horizontal stride are exchanged on the way back",
        ),
    ),
    *several(
        CONVOLUTION,
        ("input", "weight"),
        "padding",
        (
            "padding ignored",
            "padding-ignored",
            "the padding is ignored on the way back: the image is not at the corner of its frame",
        ),
        (
            "padding swapped",
            "padding-swapped",
            "the vertical and the horizontal padding are exchanged on the way back",
        ),
    ),
    *several(
        CONVOLUTION,
        INPUT,
        "accumulate",
        *(
            (
                f"last write, {order}",
                "last-write",
                "a pixel that several windows see keeps only the last contribution; it gets the "
                "sum of all",
            )
            for order in ("window pixels", "places", "output channels")
        ),
    ),
]


@dataclass
class Windows:
    """Where windows of `kernel` pixels stand; the rule of the forward, or a wrong one."""

    shape: tuple[int, ...]  # of the image (N, C, H, W)
    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    made: frozenset[str] = frozenset()

    def __post_init__(self):
        self.places = [
            (n + 2 * p - k) // s + 1
            for n, p, k, s in zip(self.shape[2:], self.padding, self.kernel, self.stride)
        ]
        if "stride ignored" in self.made:
            self.stride = (1, 1)
        if "stride swapped" in self.made:
            self.stride = self.stride[::-1]
        self.offset = self.padding
        if "padding ignored" in self.made:
            self.offset = (0, 0)
        if "padding swapped" in self.made:
            self.offset = self.padding[::-1]

    def frame(self, value: float = 0.0) -> np.ndarray:
        """Room for the image and everything a window may see, right or wrong."""
        room = [
            n + 2 * max(self.padding) + k + q * (s + 1)
            for n, k, q, s in zip(self.shape[2:], self.kernel, self.places, self.stride)
        ]
        return np.full((*self.shape[:2], *room), value)

    def inside(self, framed: np.ndarray) -> np.ndarray:
        (y, x), (H, W) = self.offset, self.shape[2:]
        return framed[:, :, y : y + H, x : x + W]

    def framed(self, image: np.ndarray, value: float = 0.0) -> np.ndarray:
        framed = self.frame(value)
        self.inside(framed)[...] = image
        return framed

    def pixel(self, framed: np.ndarray, i: int, j: int) -> np.ndarray:
        """Pixel (i, j) of the window at every place: a view (N, C, H', W')."""
        (sy, sx), (oh, ow) = self.stride, self.places
        return framed[:, :, i : i + sy * oh : sy, j : j + sx * ow : sx][:, :, :oh, :ow]

    def pixels(self) -> Iterator[tuple[int, int]]:
        return itertools.product(range(self.kernel[0]), range(self.kernel[1]))

    def scatter(self, parts: dict[tuple[int, int], np.ndarray]) -> np.ndarray:
        """Send parts[i, j] (N, C, H', W') back to the pixels they came from: add, or overwrite."""
        dX = self.frame()
        if "last write, places" in self.made:
            for p, q in itertools.product(range(self.places[0]), range(self.places[1])):
                for i, j in self.pixels():
                    self.pixel(dX, i, j)[:, :, p, q] = parts[i, j][:, :, p, q]
        else:
            for i, j in self.pixels():
                if "last write, window pixels" in self.made:
                    self.pixel(dX, i, j)[...] = parts[i, j]
                else:
                    self.pixel(dX, i, j)[...] += parts[i, j]
        return self.inside(dX)


def _pair(value) -> tuple[int, int]:
    return tuple(value) if isinstance(value, (tuple, list)) else (value, value)


CONV_MISTAKES = [
    *WINDOW_MISTAKES,
    *several(
        CONVOLUTION,
        ("output", "input", "weight"),
        "kernel",
        (
            "flipped",
            "kernel-flip",
            "the kernel is flipped where it should not be, or not where it should: conv2d does not "
            "flip it, so dx is the true convolution, the correlation with the flipped kernel, "
            "dW a correlation",
        ),
        (
            "kernel transposed",
            "transposed",
            "rows and columns of the kernel are exchanged",
        ),
        (
            "channels transposed",
            "transposed",
            "input and output channels of the weight are exchanged",
        ),
    ),
    *several(
        CONVOLUTION,
        WEIGHT + BIAS,
        "sum",
        (
            "first image",
            "first-image-only",
            "only the first image of the batch is counted",
        ),
        (
            "last image",
            "last-write",
            "only what the last image of the batch sends is kept; it is the sum over the batch",
        ),
        (
            "last place",
            "last-write",
            "only what the last place of the window sends is kept; it is the sum over all places",
        ),
    ),
]


def wrong_conv2d(made, name, dy, input, weight, bias=None, stride=1, padding=0):
    """`conv2d` with the mistakes in `made`."""
    windows = Windows(input.shape, weight.shape[2:], _pair(stride), _pair(padding), made)
    W = weight
    if "flipped" in made:
        W = W[..., ::-1, ::-1]
    if "kernel transposed" in made and W.shape[2] == W.shape[3]:
        W = W.swapaxes(2, 3)
    if "channels transposed" in made and W.shape[0] == W.shape[1]:
        W = W.swapaxes(0, 1)
    X = windows.framed(input)
    if name == "output":
        y = sum(
            np.einsum("nchw,oc->nohw", windows.pixel(X, i, j), W[..., i, j])
            for i, j in windows.pixels()
        )
        return y if bias is None else y + bias[:, None, None]
    if name == "input":
        if "last write, output channels" in made:
            dy, W = dy[:, -1:], W[-1:]
        return windows.scatter(
            {(i, j): np.einsum("nohw,oc->nchw", dy, W[..., i, j]) for i, j in windows.pixels()}
        )
    if "first image" in made:
        X, dy = X[:1], dy[:1]
    if "last image" in made:
        X, dy = X[-1:], dy[-1:]
    if "last place" in made:
        dy = dy * (np.arange(dy[0, 0].size) == dy[0, 0].size - 1).reshape(dy.shape[2:])
    if name == "bias":
        return dy.sum(axis=(0, 2, 3))
    dW = np.empty_like(weight)
    for i, j in windows.pixels():
        dW[..., i, j] = np.einsum("nohw,nchw->oc", dy, windows.pixel(X, i, j))
    if "flipped" in made:
        dW = dW[..., ::-1, ::-1]
    if "kernel transposed" in made and dW.shape[2] == dW.shape[3]:
        dW = dW.swapaxes(2, 3)
    if "channels transposed" in made and dW.shape[0] == dW.shape[1]:
        dW = dW.swapaxes(0, 1)
    return dW


def _conv_factors(name, input, weight, bias=None, stride=1, padding=0) -> list[Mistake]:
    N = len(input)
    rows, columns = Windows(input.shape, weight.shape[2:], _pair(stride), _pair(padding)).places
    if name == "input":
        return [mean_over("the batch", N, CONVOLUTION)]
    return [
        mean_over("the batch", N, CONVOLUTION),
        mean_over("the places of the window", rows * columns, CONVOLUTION),
        mean_over("batch and places", N * rows * columns, CONVOLUTION),
    ]


def _seen_more_than_once(input, kernel, stride, padding) -> np.ndarray:
    windows = Windows(input.shape, _pair(kernel), _pair(stride), _pair(padding))
    ones = np.ones((*input.shape[:2], *windows.places))
    return windows.scatter(dict.fromkeys(windows.pixels(), ones)) > 1


def _image_masks(input, kernel, stride, padding) -> dict[str, np.ndarray]:
    border = np.zeros(input.shape, bool)
    border[:, :, [0, -1]] = border[..., [0, -1]] = True
    often = _seen_more_than_once(input, kernel, stride, padding)
    return {
        "at pixels on the border of the image": border,
        "at pixels that more than one window sees": often,
        "at pixels that at most one window sees": ~often,
    }


def _conv_masks(name, input, weight, bias=None, stride=1, padding=0) -> dict[str, np.ndarray]:
    if name != "input":
        return {}
    return _image_masks(input, weight.shape[2:], stride, padding)


def image_place(name, index, *_, **__) -> str:
    names = {
        "input": ("image", "channel", "row", "column"),
        "output": ("image", "channel", "row", "column"),
        "weight": ("output channel", "input channel", "kernel row", "kernel column"),
        "bias": ("channel",),
    }.get(name, ())
    if len(names) != len(index):
        return ""
    return ", ".join(f"{axis} {i}" for axis, i in zip(names, index))


CONV2D = Family(tuple(CONV_MISTAKES), wrong_conv2d, _conv_factors, _conv_masks, image_place)


def _for_pooling(mistakes: list[Mistake]) -> list[Mistake]:
    return [
        Mistake(m.key, m.name, m.words, m.chapter, INPUT, m.group)
        for m in mistakes
        if m.key != "last write, output channels"
    ]


MAX_POOL_MISTAKES = [
    *_for_pooling(WINDOW_MISTAKES),
    *several(
        CONVOLUTION,
        INPUT,
        "winner",
        (
            "every tie",
            "max-pool-ties",
            "every pixel that equals the largest gets the whole gradient; only the first of them "
            "does",
        ),
        (
            "ties share",
            "max-pool-ties",
            "pixels that are equally large share the gradient; here the first of them gets all",
        ),
        (
            "last tie",
            "max-pool-ties",
            "the last of several equally large pixels gets the gradient; here it is the first",
        ),
        (
            "spread",
            "max-pool-spread",
            "the gradient is spread evenly over the window, as in average pooling; it belongs to "
            "the largest pixel alone",
        ),
        (
            "everyone",
            "max-pool-spread",
            "every pixel of the window gets the whole gradient; it belongs to the largest alone",
        ),
        (
            "smallest",
            "max-pool-smallest",
            "the gradient goes to the smallest pixel of the window; it belongs to the largest",
        ),
    ),
]


def wrong_max_pool2d(made, name, dy, input, kernel_size, stride=None, padding=0):
    """`max_pool2d` with the mistakes in `made`."""
    kernel = _pair(kernel_size)
    stride = kernel if stride is None else _pair(stride)
    right = Windows(input.shape, kernel, stride, _pair(padding))
    X = right.framed(input, -np.inf)
    pixels = {k: right.pixel(X, *k) for k in right.pixels()}
    y = np.max(list(pixels.values()), axis=0)
    if name == "output":
        return y
    if "smallest" in made:
        y = np.min([np.where(np.isinf(v), np.inf, v) for v in pixels.values()], axis=0)
    wins = {k: v == y for k, v in pixels.items()}
    if "spread" in made or "everyone" in made:
        wins = {k: np.ones_like(v) for k, v in wins.items()}
    if "spread" in made:
        wins = {k: v / len(wins) for k, v in wins.items()}
    elif "ties share" in made:
        total = np.sum(list(wins.values()), axis=0)
        wins = {k: v / total for k, v in wins.items()}
    elif not made & {"every tie", "everyone"}:
        taken = np.zeros(y.shape, bool)
        for k in reversed(wins) if "last tie" in made else list(wins):
            wins[k] = wins[k] & ~taken
            taken = taken | wins[k]
    if "last write, window pixels" in made or "last write, places" in made:
        return _write_winners(Windows(input.shape, kernel, stride, _pair(padding), made), wins, dy)
    back = Windows(input.shape, kernel, stride, _pair(padding), made)
    return back.scatter({k: win * dy for k, win in wins.items()})


def _write_winners(back: Windows, wins: dict, dy: np.ndarray) -> np.ndarray:
    """Only winners are written, so a pixel that loses in a later window keeps what it has."""
    dX = back.frame()
    if "last write, places" in back.made:
        for p, q in itertools.product(range(back.places[0]), range(back.places[1])):
            for (i, j), win in wins.items():
                here = back.pixel(dX, i, j)[:, :, p, q]
                here[...] = np.where(win[:, :, p, q], win[:, :, p, q] * dy[:, :, p, q], here)
    else:
        for (i, j), win in wins.items():
            here = back.pixel(dX, i, j)
            here[...] = np.where(win, win * dy, here)
    return back.inside(dX)


def _pool_masks(name, input, kernel_size, stride=None, padding=0) -> dict[str, np.ndarray]:
    stride = kernel_size if stride is None else stride
    masks = _image_masks(input, kernel_size, stride, padding)
    counted = np.array([(input == v).sum() for v in input.ravel()]).reshape(input.shape)
    masks["at values that occur more than once"] = counted > 1
    return masks


MAX_POOL2D = Family(
    tuple(MAX_POOL_MISTAKES), wrong_max_pool2d, masks=_pool_masks, place=image_place
)


AVG_POOL_MISTAKES = [
    *_for_pooling(WINDOW_MISTAKES),
    *several(
        CONVOLUTION,
        ("output", "input"),
        "count",
        (
            "inside only",
            "padding-not-counted",
            "the mean is taken over the pixels inside the image; here padded zeros count too",
        ),
    ),
    *several(
        CONVOLUTION,
        INPUT,
        "where",
        ("first pixel", "one-pixel-only", "only the first pixel of each window gets anything"),
    ),
]


def wrong_avg_pool2d(made, name, dy, input, kernel_size, stride=None, padding=0):
    """`avg_pool2d` with the mistakes in `made`."""
    kernel = _pair(kernel_size)
    stride = kernel if stride is None else _pair(stride)
    right = Windows(input.shape, kernel, stride, _pair(padding))
    share = 1 / (kernel[0] * kernel[1])
    if "inside only" in made:
        ones = right.framed(np.ones(input.shape))
        share = 1 / sum(right.pixel(ones, i, j) for i, j in right.pixels())
    if name == "output":
        X = right.framed(input)
        return sum(right.pixel(X, i, j) for i, j in right.pixels()) * share
    back = Windows(input.shape, kernel, stride, _pair(padding), made)
    each = dy * share
    nothing = 0 * each
    return back.scatter(
        {k: nothing if "first pixel" in made and k != (0, 0) else each for k in back.pixels()}
    )


def _avg_factors(name, input, kernel_size, stride=None, padding=0) -> list[Mistake]:
    ky, kx = _pair(kernel_size)
    return [sum_over("the window", ky * kx, CONVOLUTION)]


AVG_POOL2D = Family(
    tuple(AVG_POOL_MISTAKES), wrong_avg_pool2d, _avg_factors, _pool_masks, image_place
)
