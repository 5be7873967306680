"""Layers with parameters, and the modules that hold them together."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from stn_numpy import checks
from stn_numpy import functional as F
from stn_numpy.autograd import FLOATS, Tensor


class Parameter(Tensor):
    """A Tensor that is learned: a Module that has it as an attribute counts it as its own."""

    __slots__ = ()

    def __init__(self, data: Any) -> None:
        super().__init__(data, requires_grad=True)


class Module:
    """Something with parameters, and with modules inside, that computes an output.

    Attributes that are Parameters, Modules or arrays (buffers: kept with the parameters, but not
    learned) are found by themselves, in the order in which they were set, and bear the name of
    their attribute: ``conv1.weight``. A subclass writes `forward`.
    """

    training = True

    def forward(self, *inputs: Any) -> Tensor:
        raise NotImplementedError(f"{type(self).__name__} has no forward")

    def __call__(self, *inputs: Any) -> Tensor:
        return self.forward(*inputs)

    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, "Module"]]:
        """This module and all inside it: ("", self), ("conv1", ...), ("localisation.0", ...)."""
        yield prefix, self
        for name, value in vars(self).items():
            if isinstance(value, Module):
                yield from value.named_modules(f"{prefix}.{name}" if prefix else name)

    def modules(self) -> Iterator["Module"]:
        """This module and all modules inside it."""
        return (module for _, module in self.named_modules())

    def _named_values(self, kind: type) -> Iterator[tuple[str, Any]]:
        for prefix, module in self.named_modules():
            for name, value in vars(module).items():
                if isinstance(value, kind):
                    yield f"{prefix}.{name}" if prefix else name, value

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """All parameters with their names, such as "conv1.weight"; a shared one comes once."""
        seen = set()
        for name, parameter in self._named_values(Parameter):
            if id(parameter) not in seen:
                seen.add(id(parameter))
                yield name, parameter

    def parameters(self) -> list[Parameter]:
        """All parameters, in the order of `named_parameters`."""
        return [parameter for _, parameter in self.named_parameters()]

    def named_buffers(self) -> Iterator[tuple[str, np.ndarray]]:
        """All buffers with their names, such as "norm.running_mean"."""
        return self._named_values(np.ndarray)

    def num_parameters(self) -> int:
        """How many numbers are learned."""
        return sum(parameter.size for parameter in self.parameters())

    def zero_grad(self) -> None:
        """Forget the gradients of all parameters."""
        for parameter in self.parameters():
            parameter.grad = None

    def train(self, mode: bool = True) -> "Module":
        """Behave as while learning (dropout drops, batch norm looks at the batch), or not."""
        for module in self.modules():
            module.training = mode
        return self

    def eval(self) -> "Module":
        """Behave as in use: the opposite of `train`."""
        return self.train(False)

    def astype(self, dtype: Any) -> "Module":
        """Make all parameters and float buffers float32 or float64."""
        if np.dtype(dtype) not in FLOATS:
            raise TypeError(f"astype: dtype is {np.dtype(dtype)}, want float32 or float64")
        for module in self.modules():
            for name, value in vars(module).items():
                if isinstance(value, Parameter):
                    value.data, value.grad = value.data.astype(dtype), None
                elif isinstance(value, np.ndarray) and value.dtype.kind == "f":
                    setattr(module, name, value.astype(dtype))
        return self

    def state_dict(self) -> dict[str, np.ndarray]:
        """Copies of all parameters and buffers by name; names and shapes are those of PyTorch."""
        return {name: array.copy() for name, array in self._state().items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Copy arrays by name into parameters and buffers, each in the dtype it has here.

        Raises ValueError that lists every name that is missing, not known, of another shape or not
        of numbers; then nothing is copied at all.
        """
        if not isinstance(state, Mapping):
            raise TypeError(f"load_state_dict: state is {type(state).__name__}, want a dict")
        own = self._state()
        arrays = {name: np.asarray(value) for name, value in state.items()}
        problems = [f"{name} is missing" for name in own if name not in arrays]
        problems += [f"{name} is not known" for name in arrays if name not in own]
        for name in (name for name in own if name in arrays):
            if arrays[name].shape != own[name].shape:
                problems.append(f"{name} has shape {arrays[name].shape}, want {own[name].shape}")
            elif arrays[name].dtype.kind not in "fiub":
                problems.append(f"{name} has dtype {arrays[name].dtype}, want real numbers")
        if problems:
            raise ValueError(f"load_state_dict: {'; '.join(problems)}")
        for name, value in own.items():
            value[...] = arrays[name]

    def _state(self) -> dict[str, np.ndarray]:
        return {
            name: value.data if isinstance(value, Parameter) else value
            for name, value in self._named_values((Parameter, np.ndarray))
        }

    def extra_repr(self) -> str:
        """What stands between the brackets of a layer's repr."""
        return ""

    def __repr__(self) -> str:
        inside = [(n, m) for n, m in vars(self).items() if isinstance(m, Module)]
        if not inside:
            return f"{type(self).__name__}({self.extra_repr()})"
        rows = [f"({name}): {module!r}".replace("\n", "\n  ") for name, module in inside]
        extra = [self.extra_repr()] if self.extra_repr() else []
        return f"{type(self).__name__}(\n  " + "\n  ".join(extra + rows) + "\n)"


class Sequential(Module):
    """Modules one after the other, named "0", "1", ... or by the keyword they came with."""

    def __init__(self, *layers: Module, **named: Module) -> None:
        for name, layer in (*enumerate(layers), *named.items()):
            if not isinstance(layer, Module):
                raise TypeError(
                    f"Sequential: layer {name} is {type(layer).__name__}, want a Module"
                )
            if hasattr(self, str(name)) or "." in str(name):
                raise ValueError(
                    f"Sequential: a layer can not be named {name!r}, want another name"
                )
            setattr(self, str(name), layer)

    def __iter__(self) -> Iterator[Module]:
        return (value for value in vars(self).values() if isinstance(value, Module))

    def __len__(self) -> int:
        return len(list(iter(self)))

    def __getitem__(self, index: int) -> Module:
        return list(self)[index]

    def forward(self, x: Any) -> Tensor:
        for layer in self:
            x = layer(x)
        return x


def _generator(function: str, rng: np.random.Generator | None) -> np.random.Generator:
    """`rng`, or a generator that nobody has seeded."""
    if rng is None:
        return np.random.default_rng()
    if not isinstance(rng, np.random.Generator):
        raise TypeError(f"{function}: rng is {rng!r}, want a numpy.random.Generator or None")
    return rng


def _uniform(rng: np.random.Generator, shape: tuple[int, ...], fan_in: int) -> Parameter:
    """Numbers in +- 1 / sqrt(fan_in), float32: PyTorch's choice for weights and biases."""
    bound = 1 / math.sqrt(fan_in)
    return Parameter(rng.uniform(-bound, bound, shape).astype(np.float32))


class Linear(Module):
    """y = x W^T + b with `weight` (out_features, in_features) and `bias` (out_features,).

    rng: a `numpy.random.Generator` for the first weights; without one, they differ every time.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        rng: np.random.Generator | None = None,
    ) -> None:
        for name, value in (("in_features", in_features), ("out_features", out_features)):
            checks.integer("Linear", name, value, 1)
        rng = _generator("Linear", rng)
        self.weight = _uniform(rng, (out_features, in_features), in_features)
        self.bias = _uniform(rng, (out_features,), in_features) if bias else None

    def forward(self, x: Any) -> Tensor:
        return F.linear(x, self.weight, self.bias)

    def extra_repr(self) -> str:
        out_features, in_features = self.weight.shape
        return f"{in_features}, {out_features}{'' if self.bias is not None else ', bias=False'}"


class Conv2d(Module):
    """Cross-correlation with `weight` (out, in, kh, kw) and `bias` (out,); see `F.conv2d`.

    rng: as for `Linear`.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        stride: int | tuple[int, int] = 1,
        padding: int | tuple[int, int] = 0,
        bias: bool = True,
        rng: np.random.Generator | None = None,
    ) -> None:
        for name, value in (("in_channels", in_channels), ("out_channels", out_channels)):
            checks.integer("Conv2d", name, value, 1)
        kernel = checks.pair("Conv2d", "kernel_size", kernel_size, 1)
        self.stride = checks.pair("Conv2d", "stride", stride, 1)
        self.padding = checks.pair("Conv2d", "padding", padding, 0)
        rng = _generator("Conv2d", rng)
        fan_in = in_channels * kernel[0] * kernel[1]
        self.weight = _uniform(rng, (out_channels, in_channels, *kernel), fan_in)
        self.bias = _uniform(rng, (out_channels,), fan_in) if bias else None

    def forward(self, x: Any) -> Tensor:
        return F.conv2d(x, self.weight, self.bias, self.stride, self.padding)

    def extra_repr(self) -> str:
        out_channels, in_channels, kh, kw = self.weight.shape
        parts = [f"{in_channels}, {out_channels}, kernel_size={(kh, kw)}"]
        parts += [f"stride={self.stride}"] if self.stride != (1, 1) else []
        parts += [f"padding={self.padding}"] if self.padding != (0, 0) else []
        parts += ["bias=False"] if self.bias is None else []
        return ", ".join(parts)


class _Pool2d(Module):
    """What both poolings have: a window that moves over the image."""

    def __init__(
        self,
        kernel_size: int | tuple[int, int],
        stride: int | tuple[int, int] | None = None,
        padding: int | tuple[int, int] = 0,
    ) -> None:
        function = type(self).__name__
        self.kernel_size = checks.pair(function, "kernel_size", kernel_size, 1)
        stride = self.kernel_size if stride is None else stride
        self.stride = checks.pair(function, "stride", stride, 1)
        self.padding = checks.pair(function, "padding", padding, 0)

    def extra_repr(self) -> str:
        parts = [f"kernel_size={self.kernel_size}"]
        parts += [f"stride={self.stride}"] if self.stride != self.kernel_size else []
        parts += [f"padding={self.padding}"] if self.padding != (0, 0) else []
        return ", ".join(parts)


class MaxPool2d(_Pool2d):
    """The largest value of each window; see `F.max_pool2d`."""

    def forward(self, x: Any) -> Tensor:
        return F.max_pool2d(x, self.kernel_size, self.stride, self.padding)


class AvgPool2d(_Pool2d):
    """The mean of each window; see `F.avg_pool2d`."""

    def forward(self, x: Any) -> Tensor:
        return F.avg_pool2d(x, self.kernel_size, self.stride, self.padding)


class ReLU(Module):
    """max(0, x)."""

    def forward(self, x: Any) -> Tensor:
        return F.relu(x)


class Tanh(Module):
    """The hyperbolic tangent."""

    def forward(self, x: Any) -> Tensor:
        return F.tanh(x)


class Sigmoid(Module):
    """1 / (1 + exp(-x))."""

    def forward(self, x: Any) -> Tensor:
        return F.sigmoid(x)


class Flatten(Module):
    """(N, C, H, W) -> (N, C H W)."""

    def forward(self, x: Any) -> Tensor:
        return F.flatten(x)


class Dropout(Module):
    """Forget single values while training; see `F.dropout`.

    rng: the `numpy.random.Generator` it draws from; the attribute may be replaced at any time.
    """

    def __init__(self, p: float = 0.5, rng: np.random.Generator | None = None) -> None:
        checks.share(type(self).__name__, "p", p)
        self.p, self.rng = p, _generator(type(self).__name__, rng)

    def forward(self, x: Any) -> Tensor:
        return F.dropout(x, self.p, self.training, self.rng)

    def extra_repr(self) -> str:
        return f"p={self.p}"


class Dropout2d(Dropout):
    """Forget whole channels (N, C, H, W) of single images while training."""

    def forward(self, x: Any) -> Tensor:
        array = checks.floats("Dropout2d", "x", x, "(N, C, H, W)")
        if not self.training:
            return F.dropout(x, self.p, training=False)
        channels = np.ones((*array.shape[:2], 1, 1), array.dtype)
        return F.multiply(x, F.dropout(channels, self.p, True, self.rng))


class BatchNorm2d(Module):
    """Batch normalisation of each channel of (N, C, H, W) or (N, C); see `F.batch_norm`."""

    def __init__(self, num_features: int, eps: float = 1e-5, momentum: float = 0.1) -> None:
        checks.integer(type(self).__name__, "num_features", num_features, 1)
        self.eps, self.momentum = eps, momentum
        self.weight = Parameter(np.ones(num_features, np.float32))
        self.bias = Parameter(np.zeros(num_features, np.float32))
        self.running_mean = np.zeros(num_features, np.float32)
        self.running_var = np.ones(num_features, np.float32)
        self.num_batches_tracked = np.zeros((), np.int64)

    def forward(self, x: Any) -> Tensor:
        y = F.batch_norm(
            x,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            self.training,
            self.momentum,
            self.eps,
        )
        if self.training:
            self.num_batches_tracked += 1
        return y

    def extra_repr(self) -> str:
        return f"{self.weight.size}, eps={self.eps}, momentum={self.momentum}"


class BatchNorm1d(BatchNorm2d):
    """Batch normalisation of each column of (N, C)."""
