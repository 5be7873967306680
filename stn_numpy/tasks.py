"""What a network is asked: batches of questions with their answers, the loss, what is a mistake.

Training (`training.py`) knows no images and no labels: it takes batches (x, y) from a task, splits
them among its workers, and lets the task say what a network made of its part.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from stn_numpy import functional as F
from stn_numpy import models
from stn_numpy.autograd import Tensor
from stn_numpy.data import DISTORTIONS, batches, distort
from stn_numpy.nn import Module

Batches = Iterator[tuple[np.ndarray, np.ndarray]]


class Digits:
    """Which digit is it? One distorted digit, ten answers."""

    name = "digits"
    channels, classes = 1, 10

    def build(
        self,
        network: str,
        transform: str,
        distortion: str,
        parameters: int,
        rng: np.random.Generator,
    ) -> Module:
        """A fresh network that can be asked."""
        return models.build(
            network,
            transform,
            image_size=DISTORTIONS[distortion].size[0],
            channels=self.channels,
            classes=self.classes,
            parameters=parameters,
            rng=rng,
        )

    def batches(
        self,
        images: np.ndarray,
        labels: np.ndarray,
        batch_size: int,
        rng: np.random.Generator,
        distortion: str,
        shuffle: bool = True,
        workers: int = 1,
    ) -> Batches:
        """Once through the images: x (n, channels, H, W) and y, n integers from 0.

        workers: threads that share the making of a batch.
        """
        return batches(
            images, labels, batch_size, rng, distortion, shuffle=shuffle, workers=workers
        )

    def answer(
        self, network: Module, x: np.ndarray, y: np.ndarray, label_smoothing: float = 0.0
    ) -> tuple[Tensor, int]:
        """The mean loss of a network over x, and how many of its answers are wrong."""
        scores = network(x)
        wrong = int((scores.data.argmax(axis=1) != y).sum())
        return F.cross_entropy(scores, y, label_smoothing), wrong


class Addition(Digits):
    """What is the sum? Two digits, each distorted by itself, as two channels; 0 to 18."""

    name = "addition"
    channels, classes = 2, 19

    def batches(
        self,
        images: np.ndarray,
        labels: np.ndarray,
        batch_size: int,
        rng: np.random.Generator,
        distortion: str,
        shuffle: bool = True,
        workers: int = 1,
    ) -> Batches:
        """As many pairs as there are images; each image is once the first and once the second."""
        rng = np.random.default_rng(rng.integers(2**63))
        first = rng.permutation(len(labels)) if shuffle else np.arange(len(labels))
        second = rng.permutation(len(labels))
        return self._pairs(images, labels, first, second, batch_size, rng, distortion, workers)

    def _pairs(self, images, labels, first, second, size, rng, distortion, workers) -> Batches:
        for start in range(0, len(labels), size):
            pair = [order[start : start + size] for order in (first, second)]
            channels = [
                distort(images, distortion, rng, indices=indices, workers=workers)
                for indices in pair
            ]
            # Stacked as (channels, H, W, n), the order that the batch-last operations like.
            x = np.concatenate([c.transpose(1, 2, 3, 0) for c in channels]).transpose(3, 0, 1, 2)
            yield x, sum(labels[indices] for indices in pair).astype(np.int64)


DIGITS, ADDITION = Digits(), Addition()
TASKS: dict[str, Any] = {task.name: task for task in (DIGITS, ADDITION)}
