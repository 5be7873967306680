"""The spatial transformer: localisation net, grid generator, sampler."""

from typing import Any

import numpy as np

from stn_numpy import checks
from stn_numpy import functional as F
from stn_numpy.autograd import Tensor
from stn_numpy.functional.kernels import KERNELS, Kernel
from stn_numpy.functional.sampler import PADDING_MODES
from stn_numpy.nn import Linear, Module
from stn_numpy.transforms import Transform, check_transform


class SpatialTransformer(Module):
    """Look at the input, decide where to read it, read it there.

              U ──────────────────────────┐
              │                           ▼
        localisation ─ theta ─► grid ─ G ─► sampler ─► V

    U is used twice, so it receives two gradients. Fresh, the transformer returns its input.

    localisation: a Module from (N, C, H, W) to theta (N, P) whose last layer is a Linear with
        P = transform.parameters outputs. That layer is set to zero weights and the identity as
        its bias; nothing may squash theta behind it.
    transform: one of `stn_numpy.transforms`.
    output_size: (H', W') in pixels; that of the input by default.
    mode, padding_mode, align_corners: as for `F.grid_sample`.
    Raises ValueError or TypeError, and changes nothing, where one of these does not fit.
    """

    def __init__(
        self,
        localisation: Module,
        transform: Transform,
        output_size: tuple[int, int] | None = None,
        mode: str | Kernel = "bilinear",
        padding_mode: str = "zeros",
        align_corners: bool = False,
    ) -> None:
        if output_size is not None:
            output_size = checks.pair("SpatialTransformer", "output_size", output_size, 1)
        if not isinstance(mode, Kernel):
            checks.choice("SpatialTransformer", "mode (unless it is a kernel)", mode, KERNELS)
        checks.choice("SpatialTransformer", "padding_mode", padding_mode, PADDING_MODES)
        start_at_identity(localisation, transform)
        self.localisation = localisation
        self.transform = transform
        self.output_size = output_size
        self.mode, self.padding_mode, self.align_corners = mode, padding_mode, align_corners

    def forward(self, U: Any) -> Tensor:
        theta = self.localisation(U)
        G = self.transform.grid(theta, self._size(U), self.align_corners)
        return F.grid_sample(U, G, self.mode, self.padding_mode, self.align_corners)

    def theta(self, U: Any) -> Tensor:
        """What the localisation net says of U: (N, transform.parameters)."""
        return self.localisation(U)

    def grid(self, U: Any) -> Tensor:
        """Where U would be read: (N, H', W', 2), (x, y) in normalised coordinates."""
        return self.transform.grid(self.theta(U), self._size(U), self.align_corners)

    def _size(self, U: Any) -> tuple[int, int, int, int]:
        return (*U.shape[:2], *(self.output_size or U.shape[2:]))

    def extra_repr(self) -> str:
        size = "" if self.output_size is None else f", output_size={self.output_size}"
        corners = ", align_corners=True" if self.align_corners else ""
        modes = f"mode={self.mode!r}, padding_mode={self.padding_mode!r}"
        return f"{self.transform}{size}, {modes}{corners}"


class ParallelTransformers(Module):
    """Several readers of one input, side by side: (N, C, H, W) -> (N, k C, H', W').

    Each decides for itself where to look, so a network can look at k places at once.

    transformers: SpatialTransformers with outputs of one size.
    """

    def __init__(self, *transformers: SpatialTransformer) -> None:
        if not transformers or not all(isinstance(t, SpatialTransformer) for t in transformers):
            raise TypeError(
                f"ParallelTransformers: got {transformers!r}, want SpatialTransformers, at least 1"
            )
        for i, transformer in enumerate(transformers):
            setattr(self, str(i), transformer)

    def readers(self) -> list[SpatialTransformer]:
        """The transformers, in their order."""
        return [module for module in vars(self).values() if isinstance(module, SpatialTransformer)]

    def forward(self, U: Any) -> Tensor:
        return F.concat([reader(U) for reader in self.readers()], dim=1)


def start_at_identity(localisation: Module, transform: Transform) -> None:
    """Let the last layer of a localisation net say "change nothing", whatever it is shown.

    Raises TypeError where one of them is not what its name says; ValueError where the net does not
    end with a Linear with a bias and transform.parameters outputs.
    """
    if not isinstance(localisation, Module):
        raise TypeError(f"SpatialTransformer: localisation is {localisation!r}, want a Module")
    check_transform("SpatialTransformer", transform)
    *_, last = localisation.modules()
    if not isinstance(last, Linear) or last.bias is None:
        raise ValueError(
            f"SpatialTransformer: localisation ends with {last!r}, want a Linear with a bias"
        )
    if last.weight.shape[0] != transform.parameters:
        raise ValueError(
            f"SpatialTransformer: localisation has {last.weight.shape[0]} outputs, "
            f"want {transform.parameters} for {transform}"
        )
    last.weight.data[...] = 0
    last.bias.data[...] = transform.identity()


def begin_as_affine(model: Module, affine: Module) -> None:
    """Give a network the weights of its affine twin: it does just the same, and can learn more.

    All is copied but the last layer of each localisation net. There theta = W h + b, and the theta
    of the other kind that maps alike, `of_affine(theta)`, is linear in it: so of each column of W,
    and of b, it is taken once.

    model: its transformations have an `of_affine`: projective, thin plate spline. affine: the same
    network with affine transformers. Raises TypeError or ValueError, and changes nothing, where
    they are not such twins.
    """
    arrays, kinds = affine.state_dict(), {}
    for reader in model.modules():
        if isinstance(reader, SpatialTransformer):
            *_, last = reader.localisation.modules()
            kinds |= {id(last.weight): reader.transform, id(last.bias): reader.transform}
    for name, parameter in model.named_parameters():
        transform = kinds.get(id(parameter))
        if transform is None or name not in arrays:
            continue
        if not hasattr(transform, "of_affine"):
            raise TypeError(f"begin_as_affine: {transform} has no of_affine, the affine maps")
        theta = transform.of_affine(np.atleast_2d(arrays[name].T))
        arrays[name] = theta.T if parameter.ndim > 1 else theta[0]
    model.load_state_dict(arrays)
