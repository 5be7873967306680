"""The transformations a localisation net can ask for: how many parameters, which of them is the
identity, and the grid they stand for.

Every transformation maps points of the output to points of the input (inverse mapping): theta says
where to *read*. A scale below 1 zooms in, a shift to the right moves what is seen to the left.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np

from stn_numpy import checks
from stn_numpy import functional as F
from stn_numpy.autograd import Tensor
from stn_numpy.functional.grid import control_points

Size = tuple[int, int, int, int]


@runtime_checkable
class Transform(Protocol):
    """What `SpatialTransformer` asks of a transformation."""

    @property
    def parameters(self) -> int:
        """How many numbers theta has for one image."""

    def identity(self) -> np.ndarray:
        """The theta that changes nothing: (parameters,) float32."""

    def grid(self, theta: Any, size: Size, align_corners: bool = False) -> Tensor:
        """theta (N, parameters) -> where to read each pixel of an output of `size`: (N, H, W, 2).

        size = (N, C, H, W). Raises ValueError or TypeError for another shape, dtype or size.
        """


@dataclass(frozen=True)
class Affine:
    """Eq. (1): six parameters, [[theta_11, theta_12, theta_13], [theta_21, theta_22, theta_23]]."""

    parameters: ClassVar[int] = 6

    def identity(self) -> np.ndarray:
        return np.array([1, 0, 0, 0, 1, 0], np.float32)

    def grid(self, theta: Any, size: Size, align_corners: bool = False) -> Tensor:
        N = _checked("Affine", theta, self.parameters)
        return F.affine_grid(F.reshape(theta, (N, 2, 3)), size, align_corners)


@dataclass(frozen=True)
class Attention:
    """Eq. (2): isotropic scale and translation, (s, t_x, t_y)."""

    parameters: ClassVar[int] = 3

    def identity(self) -> np.ndarray:
        return np.array([1, 0, 0], np.float32)

    def grid(self, theta: Any, size: Size, align_corners: bool = False) -> Tensor:
        return F.affine_grid(F.attention_matrix(theta), size, align_corners)


@dataclass(frozen=True)
class Projective:
    """A homography: eight parameters, its rows (a, b, c), (d, e, f), (g, h, 1)."""

    parameters: ClassVar[int] = 8

    def identity(self) -> np.ndarray:
        return np.array([1, 0, 0, 0, 1, 0, 0, 0], np.float32)

    def grid(self, theta: Any, size: Size, align_corners: bool = False) -> Tensor:
        return F.projective_grid(theta, size, align_corners)

    def of_affine(self, theta: np.ndarray) -> np.ndarray:
        """The theta (N, 8) that maps as the affine one of Eq. (1), (N, 6), does: g = h = 0.

        Float32 or float64, and so is the result. Raises ValueError or TypeError for other thetas.
        """
        N = _checked("Projective.of_affine", theta, Affine.parameters)
        return np.concatenate([theta, np.zeros((N, 2), theta.dtype)], axis=1)


@dataclass(frozen=True)
class ThinPlateSpline:
    """K x K control points, row by row, each (x, y): where in the input to find them."""

    K: int = 4

    def __post_init__(self) -> None:
        checks.integer("ThinPlateSpline", "K", self.K, 2)

    @property
    def parameters(self) -> int:
        return 2 * self.K * self.K

    def identity(self) -> np.ndarray:
        return control_points(self.K, np.float32).ravel()

    def grid(self, theta: Any, size: Size, align_corners: bool = False) -> Tensor:
        N = _checked("ThinPlateSpline", theta, self.parameters)
        return F.tps_grid(F.reshape(theta, (N, self.K * self.K, 2)), size, align_corners)

    def of_affine(self, theta: np.ndarray) -> np.ndarray:
        """The theta (N, 2 K K) that maps as the affine one of Eq. (1), (N, 6), does: each control
        point is found where the affine map takes it, in normalised coordinates; nothing bends.

        Float32 or float64, and so is the result. Raises ValueError or TypeError for other thetas.
        """
        N = _checked("ThinPlateSpline.of_affine", theta, Affine.parameters)
        A = theta.reshape(N, 2, 3)
        points = control_points(self.K, theta.dtype)
        return (points @ A[:, :, :2].swapaxes(1, 2) + A[:, None, :, 2]).reshape(N, -1)


def _checked(function: str, theta: Any, parameters: int) -> int:
    """How many thetas there are, each of as many parameters as it should have."""
    shape = checks.floats(function, "theta", theta, "(N, P)").shape
    if shape[1] != parameters:
        raise ValueError(f"{function}: theta has shape {shape}, want (N, {parameters})")
    return shape[0]


def check_transform(function: str, transform: Any) -> None:
    """Raise TypeError unless `transform` has, as an object, all that `Transform` asks for."""
    if not isinstance(transform, Transform) or isinstance(transform, type):
        raise TypeError(
            f"{function}: transform is {transform!r}, want an object such as "
            "stn_numpy.transforms.Affine()"
        )


TRANSFORMS: dict[str, Transform] = {
    "affine": Affine(),
    "attention": Attention(),
    "projective": Projective(),
    "tps": ThinPlateSpline(),
}
