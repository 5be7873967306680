"""What a candidate is held against: an operation of the package, or a function of the reader's own.

A `Subject` knows how to run forwards, which of its arguments have a gradient, and what the right
gradients are: for an operation of the package those of its own backward pass, for a formula at one
point the literal loops of `reference`, for a function of the reader's own finite differences.
"""

import copy
import inspect
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from stn_numpy.autograd import FLOATS, Tensor
from stn_numpy.verify.mistakes.base import Family

STEP = 1e-6  # of finite differences, relative to the number that is moved where that is above 1


@dataclass(frozen=True)
class Case:
    """One call: positional arguments, options by name, and what is special about it in words."""

    args: tuple
    options: dict[str, Any] = field(default_factory=dict)
    label: str = ""

    def fresh(self) -> tuple[tuple, dict[str, Any]]:
        """Arguments that may be spoiled: copies of arrays and of random generators."""
        return copy.deepcopy((tuple(self.args), self.options))

    def told(self, names: Sequence[str]) -> str:
        """The case in words; names are those of the positional arguments."""
        parts = [f"{name} {_shape(arg)}" for name, arg in zip(names, self.args)]
        parts += [
            f"{name}={'...' if isinstance(value, np.random.Generator) else repr(value)}"
            for name, value in self.options.items()
        ]
        return ", ".join(parts) + (f": {self.label}" if self.label else "")


@dataclass(frozen=True)
class Expected:
    """The right output and gradients of one case, for one cotangent.

    kinks: for gradients by finite differences, half the distance of the two one-sided ones where
    they differ; any value between them is right there.
    noise: how much finite differences may be off by rounding.
    """

    output: np.ndarray
    gradients: dict[str, np.ndarray]
    kinks: dict[str, np.ndarray] = field(default_factory=dict)
    noise: float = 0.0

    def __getitem__(self, name: str) -> np.ndarray:
        return self.output if name == "output" else self.gradients[name]


@dataclass(frozen=True)
class Subject:
    """A function and what is known of it.

    forward: takes arrays or Tensors and options, returns a Tensor or an array.
    inputs: names of the positional arguments; with_gradient: those that have one.
    cases: makes the usual cases from a random generator.
    family: the mistakes that are known for it, as wrong backward passes.
    derive: the right gradient, derive(case, dy, name), where the tape of `forward` does not say it.
    aliases: other names for the inputs, such as the paper's.
    rtol: how large an error may be, relative to the largest expected value, in float64.
    """

    name: str
    forward: Callable
    inputs: tuple[str, ...]
    with_gradient: tuple[str, ...]
    cases: Callable[[np.random.Generator], list[Case]] | None = None
    family: Family = field(default_factory=Family)
    derive: Callable | None = None
    aliases: dict[str, str] = field(default_factory=dict)
    rtol: float = 1e-7
    numeric: bool = False

    def output(self, case: Case) -> np.ndarray:
        args, options = case.fresh()
        return as_output(self.forward(*args, **options))

    def gradients_of(self, case: Case) -> list[str]:
        """The inputs that have a gradient in this case: float arrays that are given."""
        return [
            name
            for name, arg in zip(self.inputs, case.args)
            if name in self.with_gradient and _is_float(arg)
        ]

    def told(self, case: Case) -> str:
        return case.told(self.inputs)

    def is_default(self, option: str, value: Any) -> bool:
        """Whether the function does the same without being told this option."""
        parameter = inspect.signature(self.forward).parameters.get(option)
        return parameter is not None and parameter.default == value

    def argument(self, case: Case, name: str) -> np.ndarray:
        return np.asarray(case.args[self.inputs.index(name)])

    def expected(self, case: Case, dy: np.ndarray) -> Expected:
        names = self.gradients_of(case)
        if self.numeric:
            return _by_finite_differences(self, case, dy, names)
        if self.derive is not None:
            gradients = {name: self.derive(case, dy, name) for name in names}
            return Expected(self.output(case), gradients)
        args, options = case.fresh()
        tensors = {
            name: Tensor(arg, requires_grad=True)
            for name, arg in zip(self.inputs, args)
            if name in names
        }
        result = self.forward(
            *(tensors.get(name, arg) for name, arg in zip(self.inputs, args)), **options
        )
        if result.requires_grad:
            result.backward(dy)
        gradients = {
            name: np.zeros_like(tensor.data) if tensor.grad is None else tensor.grad
            for name, tensor in tensors.items()
        }
        return Expected(result.data, gradients)

    def differences(
        self, case: Case, dy: np.ndarray, name: str, indices: Iterable[tuple[int, ...]]
    ) -> Iterator[tuple[float, float]]:
        """The left and the right difference of sum(dy * output) in some coordinates of one input.

        A step of 1e-6, so float64 is wanted.
        """
        args, options = case.fresh()
        array = np.array(args[self.inputs.index(name)])
        args = tuple(array if n == name else arg for n, arg in zip(self.inputs, args))

        def output() -> np.ndarray:
            # A generator among the options has to start again at every call.
            return as_output(self.forward(*args, **copy.deepcopy(options)))

        middle = np.array(output())
        for index in indices:
            x = array[index]
            step = STEP * max(1.0, abs(float(x)))
            array[index] = low = x - step
            below = np.array(output())
            array[index] = high = x + step
            above = output()
            array[index] = x
            left = (dy * (middle - below)).sum() / (x - low)
            right = (dy * (above - middle)).sum() / (high - x)
            yield float(left), float(right)


def own_subject(function: Callable, args: Sequence) -> Subject:
    """A function of the reader's own: what is right is what finite differences say."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        parameters = ()
    names = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    names = (names + [f"input {i}" for i in range(len(names), len(args))])[: len(args)]
    name = getattr(function, "__name__", type(function).__name__)
    return Subject(name, function, tuple(names), tuple(names), rtol=1e-6, numeric=True)


def as_output(result: Any) -> np.ndarray:
    """The array that a forward function gives, also where it returns (output, backward)."""
    if isinstance(result, tuple) and len(result) == 2 and callable(result[1]):
        result = result[0]
    return np.asarray(result.data if isinstance(result, Tensor) else result)


def _by_finite_differences(
    subject: Subject, case: Case, dy: np.ndarray, names: list[str]
) -> Expected:
    output = subject.output(case)
    noise = 1e-9 * np.abs(dy * output).sum()  # what rounding of the output makes of the quotient
    gradients, kinks = {}, {}
    for name in names:
        shape = subject.argument(case, name).shape
        sides = list(subject.differences(case, dy, name, np.ndindex(shape)))
        left, right = (np.array(side).reshape(shape) for side in zip(*sides))
        gradients[name] = (left + right) / 2
        # The sides of a smooth function differ by the step times its second derivative; those of
        # a kink by far more.
        apart = np.abs(right - left) / 2
        at_kink = apart > noise + 1e-3 * np.abs(gradients[name]).max(initial=0)
        kinks[name] = np.where(at_kink, apart, 0)
    return Expected(output, gradients, kinks, noise)


def _is_float(arg: Any) -> bool:
    return isinstance(arg, (np.ndarray, np.floating)) and arg.dtype in FLOATS


def _shape(arg: Any) -> str:
    if isinstance(arg, np.ndarray) and arg.ndim:
        return f"{arg.shape}" + ("" if arg.dtype == np.float64 else f" {arg.dtype}")
    return f"{arg:.6g}" if isinstance(arg, (float, np.floating)) else repr(arg)
