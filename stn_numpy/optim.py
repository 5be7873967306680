"""Gradient descent and the schedules of its learning rate; the formulas are those of PyTorch."""

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from stn_numpy.nn import Parameter


class Optimizer:
    """Parameters in groups, each with its own learning rate and options.

    parameters: Parameters, or groups ``{"params": [...], "lr": ...}`` that say what differs from
    the defaults; so a localisation net learns at a tenth of the rate.
    """

    def __init__(self, parameters: Iterable[Any], **defaults: Any) -> None:
        groups = list(parameters)
        if groups and not isinstance(groups[0], dict):
            groups = [{"params": groups}]
        self.groups: list[dict[str, Any]] = [{**defaults, **group} for group in groups]
        self.state: list[dict[str, np.ndarray]] = [{} for _ in self._all()]
        self.steps = 0
        if not self.state:
            raise ValueError(f"{type(self).__name__}: parameters is empty, want at least one")
        if len({id(p) for p in self._all()}) != len(self.state):
            raise ValueError(f"{type(self).__name__}: parameters has one of them twice")
        for group in self.groups:
            for name in ("lr", "weight_decay", "momentum", "eps"):
                if not 0 <= group.get(name, 0) < math.inf:
                    raise ValueError(
                        f"{type(self).__name__}: {name} is {group[name]}, want 0 or more"
                    )

    def _all(self) -> list[Parameter]:
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
        """Take back what `state_dict` gave; ValueError where it is of other parameters."""
        shapes = [p.shape for p in self._all()]
        fresh: list[dict[str, np.ndarray]] = [{} for _ in shapes]
        for name, array in state.items():
            if name == "steps":
                continue
            i, _, key = name.partition(".")
            known = i.isdigit() and int(i) < len(shapes)
            if not known or array.shape not in (shapes[int(i)], ()):
                raise ValueError(
                    f"load_state_dict: {name} of shape {array.shape} fits no parameter"
                )
            fresh[int(i)][key] = array.copy()
        self.state, self.steps = fresh, int(state["steps"])


class SGD(Optimizer):
    """p -= lr v with v = momentum v + g; weight_decay adds weight_decay * p to g."""

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

    decoupled = False

    def __init__(
        self,
        parameters: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        if not all(0 <= beta < 1 for beta in betas):
            raise ValueError(f"{type(self).__name__}: betas is {betas}, want two of 0 <= beta < 1")
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

    def __init__(self, parameters: Iterable[Any], lr: float = 1e-3, **options: Any) -> None:
        super().__init__(parameters, lr, **{"weight_decay": 1e-2, **options})


OPTIMIZERS = {"sgd": SGD, "adam": Adam, "adamw": AdamW}


class Schedule:
    """A learning rate that is a function of the number of steps alone, so that runs resume exactly.

    `step()` after each step of the optimizer sets the rate of every group for the next one.
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
            group["lr"] = base * self.factor(step)

    def step(self) -> None:
        """Set the rates for the next step."""
        self.goto(self.optimizer.steps)


class ConstantLR(Schedule):
    """The rate stays as it is."""

    def factor(self, step: int) -> float:
        return 1.0


class StepLR(Schedule):
    """The rate is multiplied by gamma every step_size steps (the paper: by 0.1 every 50,000)."""

    def __init__(self, optimizer: Optimizer, step_size: int, gamma: float = 0.1) -> None:
        self.step_size, self.gamma = step_size, gamma
        super().__init__(optimizer)

    def factor(self, step: int) -> float:
        return self.gamma ** (step // self.step_size)


class CosineAnnealingLR(Schedule):
    """Half a cosine from the full rate down to 0 after T_max steps."""

    def __init__(self, optimizer: Optimizer, T_max: int) -> None:
        self.T_max = T_max
        super().__init__(optimizer)

    def factor(self, step: int) -> float:
        return (1 + math.cos(math.pi * min(step, self.T_max) / self.T_max)) / 2


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
        if total_steps < 1:
            raise ValueError(f"OneCycleLR: total_steps is {total_steps}, want at least 1")
        self.total_steps, self.pct_start = total_steps, pct_start
        self.first = 1 / div_factor
        self.last = self.first / final_div_factor
        super().__init__(optimizer)

    def factor(self, step: int) -> float:
        top = self.pct_start * self.total_steps - 1
        end = self.total_steps - 1
        if step <= top and top > 0:
            return _cosine(self.first, 1.0, step / top)
        return _cosine(1.0, self.last, min(1.0, (step - top) / (end - top)))


def _cosine(start: float, end: float, part: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * part)) / 2
