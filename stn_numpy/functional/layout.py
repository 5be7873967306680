"""Batch-last memory: how images lie in memory while everybody goes on writing (N, C, H, W)."""

import numpy as np


def batch_last(images: np.ndarray) -> np.ndarray:
    """(N, C, H, W) -> contiguous (C, H, W, N); no copy where memory has that order already."""
    return np.ascontiguousarray(images.transpose(1, 2, 3, 0))


def batch_first(images: np.ndarray) -> np.ndarray:
    """(C, H, W, N) -> the same memory seen as (N, C, H, W)."""
    return images.transpose(3, 0, 1, 2)


def pad(images: np.ndarray, padding: tuple[int, int], value: float = 0) -> np.ndarray:
    """Put a frame of `value` around batch-last images; no copy where the frame is empty."""
    (vertical, horizontal), (C, H, W, N) = padding, images.shape
    if vertical == horizontal == 0:
        return images
    framed = np.full((C, H + 2 * vertical, W + 2 * horizontal, N), value, images.dtype)
    crop(framed, padding)[...] = images
    return framed


def crop(framed: np.ndarray, padding: tuple[int, int]) -> np.ndarray:
    """The images inside their frame: what `pad` put there."""
    vertical, horizontal = padding
    return framed[
        :, vertical : framed.shape[1] - vertical, horizontal : framed.shape[2] - horizontal
    ]


def output_size(size: int, padding: int, kernel: int, stride: int) -> int:
    """How many places a window of `kernel` pixels has in `size` pixels and their frame."""
    return (size + 2 * padding - kernel) // stride + 1


def windows(
    framed: np.ndarray, kernel: tuple[int, int], stride: tuple[int, int], places: tuple[int, int]
) -> list[np.ndarray]:
    """For each pixel (i, j) of the window, row by row: that pixel at every place of the window.

    framed (C, H, W, N) -> kernel[0] * kernel[1] views of shape (C, places[0], places[1], N).
    """
    (sy, sx), (oh, ow) = stride, places
    return [
        framed[:, i : i + sy * (oh - 1) + 1 : sy, j : j + sx * (ow - 1) + 1 : sx]
        for i in range(kernel[0])
        for j in range(kernel[1])
    ]
