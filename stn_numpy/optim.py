"""Gradient descent and the schedules of its learning rate; the formulas are those of PyTorch."""

import math
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

import numpy as np

from stn_numpy import checks
from stn_numpy.autograd import Tensor


class Optimizer:
    """Parameters in groups, each with its own learning rate and options.

    parameters: Parameters (or other Tensors that require a gradient), or groups
    ``{"params": [...], "lr": ...}`` that say what differs from the defaults; so a localisation net
    learns at a tenth of the rate.
    Raises ValueError or TypeError for no parameters, the same one twice, what is no Parameter, an
    option that does not exist or is out of range.
    """

    keeps: ClassVar[tuple[str, ...]] = ()  # what is remembered of each parameter between steps

    def __init__(self, parameters: Iterable[Any], **defaults: Any) -> None:
        name = type(self).__name__
        if not isinstance(parameters, Iterable):
            raise TypeError(f"{name}: parameters is a {type(parameters).__name__}, want a list")
        groups = list(parameters)
        if not any(isinstance(group, dict) for group in groups):
            groups = [{"params": groups}]
        self.groups = [_group(name, group, defaults) for group in groups]
        self.state: list[dict[str, np.ndarray]] = [{} for _ in self._all()]
        self.steps = 0
        if not self.state:
            raise ValueError(f"{name}: parameters is empty, want at least one")
        if len({id(p) for p in self._all()}) != len(self.state):
            raise ValueError(f"{name}: parameters has one of them twice")

    def _all(self) -> list[Tensor]:
        return [parameter for group in self.groups for parameter in group["params"]]

    def zero_grad(self) -> None:
        """Forget the gradients of all parameters."""
        for parameter in self._all():
            parameter.grad = None

    def step(self) -> None:
        """Move every parameter that has a gradient, in place."""
        self.steps += 1
        states = iter(self.state)
        for group in self.groups:
            for parameter in group["params"]:
                state = next(states)
                if parameter.grad is not None:
                    self._update(parameter.data, parameter.grad, state, group)

    def _update(self, p: np.ndarray, g: np.ndarray, state: dict, group: dict) -> None:
        raise NotImplementedError

    def state_dict(self) -> dict[str, np.ndarray]:
        """Everything a resumed run needs, as arrays by name."""
        arrays = {f"{i}.{k}": v.copy() for i, s in enumerate(self.state) for k, v in s.items()}
        return {"steps": np.array(self.steps), **arrays}

    def load_state_dict(self, state: dict[str, np.ndarray]) -> None:
        """Take back what `state_dict` gave, all of it or, with ValueError, nothing.

        A schedule does not notice by itself: let it `step()` to set the rates of the step that was
        reached. Raises ValueError for the state of another optimizer or of other parameters.
        """
        if not isinstance(state, Mapping):
            raise TypeError(f"load_state_dict: state is {type(state).__name__}, want a dict")
        arrays = {name: np.asarray(value) for name, value in state.items()}
        if "steps" not in arrays or arrays["steps"].shape != () or int(arrays["steps"]) < 0:
            raise ValueError("load_state_dict: steps is missing or not one number of 0 or more")
        steps = int(arrays.pop("steps"))
        fresh: list[dict[str, np.ndarray]] = []
        for i, parameter in enumerate(self._all()):
            mine = {key: arrays.pop(f"{i}.{key}", None) for key in self.keeps}
            if all(array is None for array in mine.values()):
                fresh.append({})  # it has had no gradient yet
                continue
            for key, array in mine.items():
                wanted = () if key == "t" else parameter.shape
                if array is None or array.shape != wanted or array.dtype.kind not in "fiu":
                    got = "missing" if array is None else f"of shape {array.shape} {array.dtype}"
                    raise ValueError(
                        f"load_state_dict: {i}.{key} is {got}, want numbers of shape {wanted}"
                    )
            dtypes = {key: int if key == "t" else parameter.dtype for key in mine}
            fresh.append({key: np.array(array, dtypes[key]) for key, array in mine.items()})
        if arrays:
            raise ValueError(
                f"load_state_dict: {', '.join(arrays)} belongs to no parameter of this "
                f"{type(self).__name__}"
            )
        self.state, self.steps = fresh, steps


def _group(function: str, group: Any, defaults: dict[str, Any]) -> dict[str, Any]:
    """A group with all its options, checked."""
    if not isinstance(group, dict) or "params" not in group:
        raise TypeError(
            f'{function}: a group of parameters is {group!r}, want {{"params": [...], ...}}'
        )
    unknown = [name for name in group if name not in ("params", *defaults)]
    if unknown:
        raise ValueError(
            f"{function}: a group has {unknown[0]!r}, want one of {', '.join(defaults)}"
        )
    params = group["params"]
    params = [params] if isinstance(params, Tensor) else list(params)
    for parameter in params:
        if not isinstance(parameter, Tensor):
            raise TypeError(
                f"{function}: parameters has a {type(parameter).__name__}, want Parameters"
            )
        if not parameter.requires_grad or parameter._node is not None:
            raise ValueError(
                f"{function}: parameters has a Tensor that never has a gradient; want a "
                "Parameter, or a Tensor that requires one and that no operation made"
            )
    options = {**defaults, **group}
    for name in defaults:
        value = options[name]
        if name != "betas":
            options[name] = _number(function, name, value, math.inf)
        elif np.shape(value) == (2,):
            options[name] = tuple(_number(function, name, beta, 1) for beta in value)
        else:
            raise ValueError(f"{function}: betas is {value!r}, want two numbers")
    return {**options, "params": params}


def _number(function: str, name: str, value: Any, below: float) -> float:
    """`value` as a Python float, 0 <= value < below: NumPy's own would make float32 float64."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise TypeError(f"{function}: {name} is {value!r}, want a number") from None
    if not 0 <= number < below:
        wanted = "0 or more" if below == math.inf else f"0 or more and less than {below}"
        raise ValueError(f"{function}: {name} is {value}, want {wanted}")
    return number


class SGD(Optimizer):
    """p -= lr v with v = momentum v + g; weight_decay adds weight_decay * p to g."""

    keeps = ("velocity",)

    def __init__(
        self,
        parameters: Iterable[Any],
        lr: float,
        momentum: float = 0.0,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(parameters, lr=lr, momentum=momentum, weight_decay=weight_decay)

    def _update(self, p, g, state, group):
        if group["weight_decay"]:
            g = g + group["weight_decay"] * p
        if group["momentum"]:
            v = state.get("velocity")
            g = state["velocity"] = g.copy() if v is None else group["momentum"] * v + g
        p -= group["lr"] * g


class Adam(Optimizer):
    """p -= lr m / (sqrt(v) + eps), m and v running means of g and g^2, freed of their start at 0.

    weight_decay adds weight_decay * p to g.
    """

    keeps = ("m", "v", "t")
    decoupled = False

    def __init__(
        self,
        parameters: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(parameters, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay)

    def _update(self, p, g, state, group):
        lr, (beta1, beta2), decay = group["lr"], group["betas"], group["weight_decay"]
        if decay and self.decoupled:
            p *= 1 - lr * decay
        elif decay:
            g = g + decay * p
        if not state:
            state |= {"m": np.zeros_like(p), "v": np.zeros_like(p), "t": np.array(0)}
        m, v, t = state["m"], state["v"], state["t"]
        t += 1
        m += (1 - beta1) * (g - m)
        v += (1 - beta2) * (g * g - v)
        root = np.sqrt(v)
        root *= 1 / math.sqrt(1 - beta2 ** int(t))
        root += group["eps"]
        p -= (lr / (1 - beta1 ** int(t))) * m / root


class AdamW(Adam):
    """Adam whose weight decay shrinks p by lr * weight_decay and stays out of m and v."""

    decoupled = True

    def __init__(
        self,
        parameters: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
    ) -> None:
        super().__init__(parameters, lr, betas, eps, weight_decay)


OPTIMIZERS = {"sgd": SGD, "adam": Adam, "adamw": AdamW}


class Schedule:
    """A learning rate that is a function of the number of steps alone, so that runs resume exactly.

    `step()` after each step of the optimizer sets the rate of every group for the next one. The
    rate a group has when the schedule is made is its own; the schedule multiplies that.
    """

    def __init__(self, optimizer: Optimizer) -> None:
        self.optimizer = optimizer
        self.base = [group["lr"] for group in optimizer.groups]
        self.goto(optimizer.steps)

    def factor(self, step: int) -> float:
        """The rate before step number `step` (from 0) as a part of the group's own rate."""
        raise NotImplementedError

    def goto(self, step: int) -> None:
        """Set the rates for step number `step`."""
        for group, base in zip(self.optimizer.groups, self.base):
            group["lr"] = float(base * self.factor(step))

    def step(self) -> None:
        """Set the rates for the optimizer's next step."""
        self.goto(self.optimizer.steps)


class ConstantLR(Schedule):
    """The rate stays as it is."""

    def factor(self, step: int) -> float:
        return 1.0


class StepLR(Schedule):
    """The rate is multiplied by gamma every step_size steps (the paper: by 0.1 every 50,000)."""

    def __init__(self, optimizer: Optimizer, step_size: int, gamma: float = 0.1) -> None:
        self.step_size = checks.integer("StepLR", "step_size", step_size, 1)
        self.gamma = _number("StepLR", "gamma", gamma, math.inf)
        super().__init__(optimizer)

    def factor(self, step: int) -> float:
        return self.gamma ** (step // self.step_size)


class CosineAnnealingLR(Schedule):
    """Half a cosine from the full rate down to 0 after T_max steps."""

    def __init__(self, optimizer: Optimizer, T_max: int) -> None:
        self.T_max = checks.integer("CosineAnnealingLR", "T_max", T_max, 1)
        super().__init__(optimizer)

    def factor(self, step: int) -> float:
        return _cosine(1.0, 0.0, min(1.0, step / self.T_max))


class OneCycleLR(Schedule):
    """Up from 1/25 of the rate to all of it in 30 % of the steps, down to 4e-6 of it in the rest.

    Both ways along half a cosine; `lr` of the groups is the highest rate.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        total_steps: int,
        pct_start: float = 0.3,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
    ) -> None:
        self.total_steps = checks.integer("OneCycleLR", "total_steps", total_steps, 1)
        if not 0 <= pct_start <= 1:
            raise ValueError(f"OneCycleLR: pct_start is {pct_start}, want a part from 0 to 1")
        for name, value in (("div_factor", div_factor), ("final_div_factor", final_div_factor)):
            if not 0 < value < math.inf:
                raise ValueError(f"OneCycleLR: {name} is {value}, want more than 0")
        self.pct_start = pct_start
        self.first = 1 / div_factor
        self.last = self.first / final_div_factor
        super().__init__(optimizer)

    def factor(self, step: int) -> float:
        top = self.pct_start * self.total_steps - 1
        end = self.total_steps - 1
        step = min(step, end)
        if step <= top:
            return _cosine(self.first, 1.0, step / top if top else 1.0)
        return _cosine(1.0, self.last, (step - top) / (end - top))


def _cosine(start: float, end: float, part: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * part)) / 2
