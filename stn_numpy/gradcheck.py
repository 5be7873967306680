"""Is a gradient right? Compare it with finite differences, in every coordinate."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from stn_numpy import checks
from stn_numpy.autograd import Tensor, no_grad


class GradcheckError(AssertionError):
    """A gradient that does not agree with finite differences."""


def gradcheck(
    fn: Callable[..., Tensor],
    inputs: Sequence[Any],
    eps: float = 1e-6,
    atol: float = 1e-7,
    rtol: float = 1e-6,
    rng: np.random.Generator | None = None,
) -> bool:
    """Check the gradients of ``fn(*inputs)`` against central differences.

    fn: takes Tensors, returns one Tensor; the same result for the same inputs.
    inputs: one float64 array or Tensor, or a sequence of them, all checked; float32 has too few
        digits. What needs no check is bound beforehand, say by a lambda.
    eps: the step. atol, rtol: |analytic - numeric| <= atol + rtol * max |numeric| of that input.
    rng: draws the random cotangent; a fixed seed by default.

    A random cotangent v makes the output one number, sum(v * output), with as good as no chance
    that errors cancel; a cotangent of ones would pass a softmax whose gradient is always 0. Central
    differences see the mean of both sides of a kink: keep the inputs off kinks (x = 0 of a ReLU,
    whole pixels of a bilinear sampler), or correct code fails.

    Returns True. Raises GradcheckError naming input, index, analytic and numeric value where they
    differ; TypeError for inputs that are not float64.
    """
    inputs = [inputs] if isinstance(inputs, (np.ndarray, Tensor)) else list(inputs)
    arrays = [np.array(x.data if isinstance(x, Tensor) else x) for x in inputs]
    for i, array in enumerate(arrays):
        if array.dtype != np.float64:
            raise TypeError(f"gradcheck: inputs[{i}] has dtype {array.dtype}, want float64")
    checks.integer("gradcheck", "number of inputs", len(arrays), 1)

    cotangent, analytic = analytic_gradients(fn, arrays, rng)
    numeric = numeric_gradients(fn, arrays, cotangent, eps)
    failures = []
    for i, (a, n) in enumerate(zip(analytic, numeric)):
        bound = atol + rtol * np.abs(n).max(initial=0)
        wrong = ~(np.abs(a - n) <= bound)  # written so that NaN is wrong
        if wrong.any():
            failures.append(_describe(i, a, n, wrong, bound))
    if failures:
        raise GradcheckError("gradcheck: " + "\n".join(failures))
    return True


def analytic_gradients(
    fn: Callable[..., Tensor], arrays: Sequence[np.ndarray], rng: np.random.Generator | None = None
) -> tuple[np.ndarray, list[np.ndarray]]:
    """A random cotangent of the output, and what `backward` makes of it for each input."""
    rng = np.random.default_rng(0) if rng is None else rng
    tensors = [Tensor(array, requires_grad=True) for array in arrays]
    output = fn(*tensors)
    if not isinstance(output, Tensor):
        raise TypeError(f"gradcheck: fn returned {type(output).__name__}, want a Tensor")
    cotangent = rng.standard_normal(output.shape)
    if output.requires_grad:  # else no operation used an input that has a gradient: all are 0
        output.backward(cotangent)
    return cotangent, [np.zeros_like(t.data) if t.grad is None else t.grad for t in tensors]


def numeric_gradients(
    fn: Callable[..., Tensor],
    arrays: Sequence[np.ndarray],
    cotangent: np.ndarray,
    eps: float = 1e-6,
    side: str = "both",
) -> list[np.ndarray]:
    """d sum(cotangent * fn(*arrays)) / d array, one coordinate after the other.

    side: "both" takes the difference over x - eps .. x + eps, "left" over x - eps .. x,
    "right" over x .. x + eps.
    """
    checks.choice("numeric_gradients", "side", side, ("both", "left", "right"))
    below = 0.0 if side == "right" else eps
    above = 0.0 if side == "left" else eps
    arrays = [np.array(array) for array in arrays]

    def value() -> np.ndarray:
        return np.array(fn(*(Tensor(array) for array in arrays)).data)

    gradients = []
    with no_grad():
        for array in arrays:
            gradient = np.empty_like(array)
            for index in np.ndindex(array.shape):
                x = array[index]
                array[index] = high = x + above
                f_high = value()
                array[index] = low = x - below
                f_low = value()
                array[index] = x
                # The step as it came out in floating point; the outputs before the sum, where
                # what did not change cancels exactly.
                gradient[index] = (cotangent * (f_high - f_low)).sum() / (high - low)
            gradients.append(gradient)
    return gradients


def _describe(i: int, analytic, numeric, wrong, bound: float, most: int = 5) -> str:
    error = np.where(np.isnan(analytic - numeric), np.inf, np.abs(analytic - numeric))
    worst = np.argsort(np.where(wrong, -error, 0), axis=None)[: min(most, wrong.sum())]
    lines = [
        f"input {i} of shape {analytic.shape}: {wrong.sum()} of {wrong.size} values are off by "
        f"more than {bound:.1e}; the worst:"
    ]
    for flat in worst:
        index = tuple(int(k) for k in np.unravel_index(flat, analytic.shape))
        lines.append(
            f"    index {index}: analytic {analytic[index]:.10g}, numeric {numeric[index]:.10g}"
        )
    return "\n".join(lines)
