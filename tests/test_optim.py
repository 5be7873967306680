"""Optimisers and schedules: PyTorch's path, step by step; exact resumption; bad arguments."""

import math
import warnings

import numpy as np
import pytest

from stn_numpy import Tensor
from stn_numpy.nn import Linear, Parameter, Sequential
from stn_numpy.optim import (
    OPTIMIZERS,
    SGD,
    Adam,
    AdamW,
    ConstantLR,
    CosineAnnealingLR,
    OneCycleLR,
    Schedule,
    StepLR,
)

SHAPES = ((3, 2), (4,), (2, 1, 3))

CASES = {
    "sgd": ("SGD", {"lr": 0.1}),
    "momentum": ("SGD", {"lr": 0.1, "momentum": 0.9}),
    "weight decay": ("SGD", {"lr": 0.1, "weight_decay": 0.03}),
    "momentum and weight decay": ("SGD", {"lr": 0.1, "momentum": 0.8, "weight_decay": 0.03}),
    "adam": ("Adam", {"lr": 0.02}),
    "adam, all options": (
        "Adam",
        {"lr": 0.02, "betas": (0.7, 0.95), "eps": 1e-3, "weight_decay": 0.1},
    ),
    "adam without memory": ("Adam", {"lr": 0.02, "betas": (0.0, 0.0)}),
    "adamw": ("AdamW", {"lr": 0.02}),
    "adamw, all options": (
        "AdamW",
        {"lr": 0.02, "betas": (0.7, 0.95), "eps": 1e-3, "weight_decay": 0.3},
    ),
}
OURS = {"SGD": SGD, "Adam": Adam, "AdamW": AdamW}


def parameters(rng, dtype=np.float64):
    return [Parameter(rng.normal(size=shape).astype(dtype)) for shape in SHAPES]


def give_gradients(params, rng, skip=()):
    """A gradient for each; None for those to skip."""
    for i, p in enumerate(params):
        g = rng.normal(size=p.shape).astype(p.dtype)
        p.grad = None if i in skip else g


def one():
    return [Parameter(np.ones(2))]


@pytest.mark.parametrize("case", CASES)
def test_the_path_is_that_of_torch(case, rng):
    torch = pytest.importorskip("torch")
    name, options = CASES[case]
    ours = parameters(rng)
    theirs = [torch.nn.Parameter(torch.tensor(p.data)) for p in ours]
    slow = {"lr": options["lr"] / 10}

    def groups(p):
        return [{"params": p[:2]}, {"params": p[2:], **slow}]

    optimizer = OURS[name](groups(ours), **options)
    reference = getattr(torch.optim, name)(groups(theirs), **options)
    start = [p.data.copy() for p in ours]
    for step in range(25):
        # Now and then a parameter has no gradient: it neither moves nor counts the step.
        give_gradients(ours, rng, skip=(1,) if step in (0, 7) else (2,) if step == 4 else ())
        for p, q in zip(ours, theirs):
            q.grad = None if p.grad is None else torch.tensor(p.grad)
        optimizer.step()
        reference.step()
        for p, q in zip(ours, theirs):
            np.testing.assert_allclose(p.data, q.detach().numpy(), rtol=1e-12, atol=1e-12)
    assert all(np.abs(p.data - s).max() > 1e-3 for p, s in zip(ours, start))


@pytest.mark.parametrize("case", CASES)
def test_a_group_may_have_every_option_of_its_own(case, rng):
    """Two groups with different options walk like two optimisers with those options."""
    name, options = CASES[case]
    together = parameters(rng)
    first = [Parameter(p.data.copy()) for p in together[:1]]
    second = [Parameter(p.data.copy()) for p in together[1:]]
    other = {key: 0.5 * v for key, v in options.items() if key != "betas"}
    if "betas" in options:
        other["betas"] = (0.5, 0.6)
    optimizers = [
        OURS[name]([{"params": together[:1]}, {"params": together[1:], **other}], **options),
        OURS[name](first, **options),
        OURS[name](second, **other),
    ]
    for _ in range(4):
        give_gradients(together, rng)
        for p, q in zip(first + second, together):
            p.grad = q.grad
        for optimizer in optimizers:
            optimizer.step()
    for p, q in zip(first + second, together):
        np.testing.assert_array_equal(p.data, q.data)


@pytest.mark.parametrize("case", CASES)
def test_float32_stays_float32_even_with_numpy_rates(case, rng):
    name, options = CASES[case]
    options = {key: np.float64(value) for key, value in options.items()}  # betas: an array
    params = parameters(rng, np.float32)
    plain = [Parameter(p.data.copy()) for p in params]
    optimizer, reference = OURS[name](params, **options), OURS[name](plain, **CASES[case][1])
    schedule = StepLR(optimizer, 1, gamma=np.float64(0.5))
    other = StepLR(reference, 1, gamma=0.5)
    for _ in range(3):
        give_gradients(params, rng)
        for p, q in zip(params, plain):
            q.grad = p.grad
        for thing in (optimizer, reference, schedule, other):
            thing.step()
    assert all(p.dtype == np.float32 for p in params)
    kinds = {array.dtype for state in optimizer.state for k, array in state.items() if k != "t"}
    assert kinds <= {np.dtype(np.float32)}
    for p, q in zip(params, plain):
        np.testing.assert_array_equal(p.data, q.data)


def test_a_step_moves_the_array_itself_and_leaves_the_gradient(rng):
    for name, options in CASES.values():
        params = parameters(rng)
        arrays = [p.data for p in params]
        give_gradients(params, rng)
        gradients = [p.grad.copy() for p in params]
        optimizer = OURS[name](params, **options)
        optimizer.step()
        for p, array, gradient, state in zip(params, arrays, gradients, optimizer.state):
            assert p.data is array
            np.testing.assert_array_equal(p.grad, gradient)
            assert not any(np.shares_memory(kept, p.grad) for kept in state.values())


@pytest.mark.parametrize("case", CASES)
def test_a_resumed_run_continues_bit_for_bit(case, rng):
    name, options = CASES[case]

    def start(params):
        optimizer = OURS[name](params, **options)
        return optimizer, OneCycleLR(optimizer, 12)

    params = parameters(rng, np.float32)
    optimizer, schedule = start(params)
    gradients = [parameters(rng, np.float32) for _ in range(12)]

    def walk(params, optimizer, schedule, steps):
        for step in steps:
            for p, g in zip(params, gradients[step]):
                p.grad = g.data
            params[1].grad = None if step < 6 else params[1].grad  # no state before the break
            optimizer.step()
            schedule.step()

    walk(params, optimizer, schedule, range(5))
    saved, weights = optimizer.state_dict(), [p.data.copy() for p in params]
    walk(params, optimizer, schedule, range(5, 12))

    again = [Parameter(w) for w in weights]
    second, second_schedule = start(again)
    second.load_state_dict(saved)
    second_schedule.step()  # to the rates of the step that was reached
    walk(again, second, second_schedule, range(5, 12))
    for p, q in zip(params, again):
        np.testing.assert_array_equal(p.data, q.data)
    first, other = optimizer.state_dict(), second.state_dict()
    assert first.keys() == other.keys()
    assert optimizer.steps == second.steps == 12
    for key, array in first.items():
        np.testing.assert_array_equal(array, other[key])
        assert array.dtype == other[key].dtype


def test_a_schedule_made_after_loading_starts_where_the_run_was(rng):
    params = parameters(rng)
    give_gradients(params, rng)
    optimizer = SGD(params, lr=0.1)
    for _ in range(5):
        optimizer.step()
    other = SGD(parameters(rng), lr=0.1)
    other.load_state_dict(optimizer.state_dict())
    StepLR(other, 2, gamma=0.5)
    assert other.groups[0]["lr"] == 0.1 * 0.25


def test_state_dict_is_a_copy_and_loading_copies(rng):
    params = parameters(rng)
    optimizer = Adam(params)
    give_gradients(params, rng)
    optimizer.step()
    saved = optimizer.state_dict()
    kept = {key: array.copy() for key, array in saved.items()}
    other = Adam(params)
    other.load_state_dict(saved)
    optimizer.step()
    other.step()
    for key, array in kept.items():
        np.testing.assert_array_equal(saved[key], array)


def test_loading_takes_the_dtype_of_the_parameter(rng):
    double, single = parameters(rng), parameters(rng, np.float32)
    optimizer = SGD(double, lr=0.1, momentum=0.5)
    give_gradients(double, rng)
    optimizer.step()
    other = SGD(single, lr=0.1, momentum=0.5)
    other.load_state_dict(optimizer.state_dict())
    assert other.state[0]["velocity"].dtype == np.float32


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": None}, "steps is missing"),
        ({"steps": np.zeros(2, int)}, "steps is missing or not one number"),
        ({"steps": np.array(-1)}, "steps is missing or not one number of 0 or more"),
        ({"0.m": None}, "0.m is missing"),
        ({"0.m": np.zeros((2, 3))}, r"0.m is of shape \(2, 3\) float64, want .* \(3, 2\)"),
        ({"0.t": np.zeros((3, 2))}, r"0.t is of shape \(3, 2\) float64, want .* \(\)"),
        ({"1.v": np.zeros(4, complex)}, "1.v is of shape .* complex128, want"),
        ({"1.v": np.zeros(())}, r"1.v is of shape \(\) float64, want"),
        ({"3.m": np.zeros(3)}, "3.m belongs to no parameter of this Adam"),
        ({"-1.m": np.zeros(3)}, "-1.m belongs to no parameter"),
        ({"0.velocity": np.zeros((3, 2))}, "0.velocity belongs to no parameter of this Adam"),
        ({"nonsense": np.zeros(3)}, "nonsense belongs to no parameter"),
    ],
)
def test_loading_is_all_or_nothing(change, message, rng):
    params = parameters(rng)
    optimizer = Adam(params)
    give_gradients(params, rng)
    optimizer.step()
    before = optimizer.state_dict()
    state = {key: array + 1 for key, array in before.items()} | change
    state = {key: array for key, array in state.items() if array is not None}
    with pytest.raises(ValueError, match=f"load_state_dict: {message}"):
        optimizer.load_state_dict(state)
    after = optimizer.state_dict()
    assert after.keys() == before.keys()
    for key, array in before.items():
        np.testing.assert_array_equal(after[key], array)


def test_loading_what_is_no_dict_is_a_type_error():
    with pytest.raises(TypeError, match="load_state_dict: state is list, want a dict"):
        SGD(one(), lr=0.1).load_state_dict([])


def test_any_tensor_that_requires_a_gradient_can_be_learned():
    theta = Tensor(np.array([1.0, -2.0]), requires_grad=True)
    optimizer = SGD([theta], lr=0.25)
    for _ in range(3):
        optimizer.zero_grad()
        (theta * theta).sum().backward()
        optimizer.step()
    np.testing.assert_allclose(theta.data, [1 / 8, -2 / 8], rtol=1e-15)
    optimizer.zero_grad()
    assert theta.grad is None


def test_params_may_be_an_iterator_or_a_single_parameter(rng):
    params = parameters(rng)
    optimizer = SGD(
        [{"params": (p for p in params[:2])}, {"params": params[2], "lr": 0.01}], lr=0.1
    )
    give_gradients(params, rng)
    before = [p.data.copy() for p in params]
    optimizer.step()
    for p, old, lr in zip(params, before, (0.1, 0.1, 0.01)):
        np.testing.assert_allclose(p.data, old - lr * p.grad, rtol=1e-14)


def test_names_of_the_command_line():
    assert list(OPTIMIZERS.items()) == [("sgd", SGD), ("adam", Adam), ("adamw", AdamW)]


shared = Parameter(np.ones(2))


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: SGD([], lr=0.1), ValueError, "SGD: parameters is empty, want at least one"),
        (lambda: SGD([{"params": []}], lr=0.1), ValueError, "SGD: parameters is empty"),
        (lambda: SGD([shared, shared], lr=0.1), ValueError, "SGD: parameters has one of them twi"),
        (
            lambda: Adam([{"params": [shared]}, {"params": [shared]}]),
            ValueError,
            "Adam: parameters has one of them twice",
        ),
        (lambda: SGD(shared, lr=0.1), TypeError, "SGD: parameters is a Parameter, want a list"),
        (lambda: SGD(Linear(2, 2), lr=1), TypeError, "SGD: parameters is a Linear, want a list"),
        (
            lambda: SGD(Sequential(Linear(2, 2)), lr=0.1),
            TypeError,
            "SGD: parameters has a Linear, want Parameters",
        ),
        (lambda: Adam([np.ones(2)]), TypeError, "Adam: parameters has a ndarray, want Parameters"),
        (lambda: Adam([Tensor(np.ones(2))]), ValueError, "has a Tensor that never has a gradient"),
        (lambda: Adam([shared * 2]), ValueError, "has a Tensor that never has a gradient"),
        (
            lambda: Adam([{"lr": 0.1}]),
            TypeError,
            "Adam: a group of parameters is {'lr': 0.1}, want",
        ),
        (
            lambda: Adam([{"params": one()}, shared]),
            TypeError,
            "Adam: a group of parameters is Tensor",
        ),
        (
            lambda: SGD([{"params": one(), "rate": 1}], lr=0.1),
            ValueError,
            "SGD: a group has 'rate', want one of lr, momentum, weight_decay",
        ),
        (lambda: SGD(one(), lr=-0.1), ValueError, "SGD: lr is -0.1, want 0 or more"),
        (lambda: SGD(one(), lr=math.nan), ValueError, "SGD: lr is nan, want 0 or more"),
        (lambda: SGD(one(), lr=math.inf), ValueError, "SGD: lr is inf, want 0 or more"),
        (lambda: SGD(one(), lr=None), TypeError, "SGD: lr is None, want a number"),
        (lambda: SGD(one(), lr=1, momentum=-1), ValueError, "SGD: momentum is -1, want 0 or more"),
        (lambda: SGD(one(), lr=1, weight_decay=-1), ValueError, "SGD: weight_decay is -1, want"),
        (
            lambda: SGD([{"params": one(), "lr": -1}], lr=0.1),
            ValueError,
            "SGD: lr is -1, want 0 or more",
        ),
        (lambda: Adam(one(), eps=-1), ValueError, "Adam: eps is -1, want 0 or more"),
        (
            lambda: Adam(one(), betas=(0.9, 1.0)),
            ValueError,
            "Adam: betas is 1.0, want 0 or more an",
        ),
        (lambda: Adam(one(), betas=(-0.1, 0.9)), ValueError, "Adam: betas is -0.1, want 0 or more"),
        (lambda: AdamW(one(), betas=0.9), ValueError, "AdamW: betas is 0.9, want two numbers"),
        (lambda: AdamW(one(), betas=(0.9,)), ValueError, "AdamW: betas is .0.9,., want two num"),
        (
            lambda: Adam([{"params": one(), "betas": (0.9, 2)}]),
            ValueError,
            "Adam: betas is 2, want 0 or more and less than 1",
        ),
    ],
)
def test_wrong_arguments_of_optimisers_are_named(make, error, message):
    with pytest.raises(error, match=message):
        make()


# Schedules

SCHEDULES = {
    "step": (lambda o: StepLR(o, 3, 0.5), "StepLR", {"step_size": 3, "gamma": 0.5}, 14),
    "step, 1/10 every step": (lambda o: StepLR(o, 1), "StepLR", {"step_size": 1}, 6),
    "cosine": (lambda o: CosineAnnealingLR(o, 13), "CosineAnnealingLR", {"T_max": 13}, 13),
    "one cycle": (lambda o: OneCycleLR(o, 40), "OneCycleLR", {"total_steps": 40}, 39),
    "one cycle of 7": (lambda o: OneCycleLR(o, 7), "OneCycleLR", {"total_steps": 7}, 6),
    "one cycle of 2": (lambda o: OneCycleLR(o, 2), "OneCycleLR", {"total_steps": 2}, 1),
    "one cycle of 1": (lambda o: OneCycleLR(o, 1), "OneCycleLR", {"total_steps": 1}, 0),
    "one cycle, all options": (
        lambda o: OneCycleLR(o, 30, pct_start=0.55, div_factor=10.0, final_div_factor=7.0),
        "OneCycleLR",
        {"total_steps": 30, "pct_start": 0.55, "div_factor": 10.0, "final_div_factor": 7.0},
        29,
    ),
    "one cycle, all the way up": (
        lambda o: OneCycleLR(o, 9, pct_start=1.0),
        "OneCycleLR",
        {"total_steps": 9, "pct_start": 1.0},
        8,
    ),
    "one cycle, all the way down": (
        lambda o: OneCycleLR(o, 9, pct_start=0.0),
        "OneCycleLR",
        {"total_steps": 9, "pct_start": 0.0},
        8,
    ),
}


@pytest.mark.parametrize("case", SCHEDULES)
def test_the_rates_of_every_step_are_those_of_torch(case):
    torch = pytest.importorskip("torch")
    make, name, options, steps = SCHEDULES[case]
    rates = (0.3, 0.03)
    ours = SGD([{"params": one(), "lr": r} for r in rates], lr=9, momentum=0.9)
    theirs = torch.optim.SGD(
        [{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": r} for r in rates],
        lr=9,
        momentum=0.9,
    )
    if name == "OneCycleLR":  # torch would move momentum, too, against the rate
        options = {**options, "max_lr": list(rates), "cycle_momentum": False}
    schedule = make(ours)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of pytest's error for any: torch's own are not ours
        reference = getattr(torch.optim.lr_scheduler, name)(theirs, **options)
        for step in range(steps + 1):
            for a, b in zip(ours.groups, theirs.param_groups):
                assert a["lr"] == pytest.approx(b["lr"], rel=1e-11, abs=1e-16), f"step {step}"
            if step < steps:
                for optimizer in (ours, theirs, schedule, reference):
                    optimizer.step()
    assert all(group["momentum"] == 0.9 for group in ours.groups)


@pytest.mark.parametrize("case", SCHEDULES)
def test_a_schedule_depends_on_the_step_alone_and_stays_at_its_end(case):
    make, _, _, steps = SCHEDULES[case]
    optimizer = SGD(one(), lr=0.3)
    schedule = make(optimizer)
    rates = []
    for _ in range(steps + 4):
        rates.append(optimizer.groups[0]["lr"])
        optimizer.step()
        schedule.step()
        schedule.step()  # a second time changes nothing
    for step in (3, 0, steps):
        schedule.goto(step)
        assert optimizer.groups[0]["lr"] == rates[step]
    if not case.startswith("step"):
        assert rates[steps:] == [rates[steps]] * 4
    assert all(type(rate) is float for rate in rates)


def test_a_schedule_of_ones_own_keeps_rates_python_numbers():
    class Halving(Schedule):
        def factor(self, step):
            return np.float64(0.5) ** step  # would make float32 float64

    optimizer = SGD(one(), lr=1.0)
    schedule = Halving(optimizer)
    optimizer.step()
    schedule.step()
    assert optimizer.groups[0]["lr"] == 0.5
    assert type(optimizer.groups[0]["lr"]) is float


def test_constant_and_the_landmarks_of_the_others():
    optimizer = SGD(one(), lr=2.0)
    schedule = ConstantLR(optimizer)
    optimizer.step()
    schedule.step()
    assert optimizer.groups[0]["lr"] == 2.0
    cycle = OneCycleLR(SGD(one(), lr=2.0), 101)
    assert cycle.factor(0) == pytest.approx(1 / 25)
    assert max(map(cycle.factor, range(101))) == pytest.approx(1, rel=1e-3)
    assert cycle.factor(100) == pytest.approx(4e-6)
    # The top on the very first step, where PyTorch 2.13 divides by zero.
    assert OneCycleLR(SGD(one(), lr=2.0), 10, pct_start=0.1).factor(0) == 1
    assert OneCycleLR(SGD(one(), lr=2.0), 1, pct_start=1).factor(0) == 1
    paper = StepLR(SGD(one(), lr=0.01), 50_000)
    steps = (0, 49_999, 50_000, 149_999)
    assert [paper.factor(s) for s in steps] == [1, 1, 0.1, pytest.approx(0.01)]


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda o: StepLR(o, 0), ValueError, "StepLR: step_size is 0, want at least 1"),
        (lambda o: StepLR(o, 2.5), TypeError, "StepLR: step_size is 2.5, want an integer"),
        (lambda o: StepLR(o, 2, -1), ValueError, "StepLR: gamma is -1, want 0 or more"),
        (lambda o: CosineAnnealingLR(o, 0), ValueError, "CosineAnnealingLR: T_max is 0, want at l"),
        (lambda o: OneCycleLR(o, 0), ValueError, "OneCycleLR: total_steps is 0, want at least 1"),
        (lambda o: OneCycleLR(o, 5, 1.5), ValueError, "OneCycleLR: pct_start is 1.5, want a part"),
        (
            lambda o: OneCycleLR(o, 5, div_factor=0),
            ValueError,
            "OneCycleLR: div_factor is 0, want more than 0",
        ),
        (
            lambda o: OneCycleLR(o, 5, final_div_factor=-1),
            ValueError,
            "OneCycleLR: final_div_factor is -1, want more than 0",
        ),
    ],
)
def test_wrong_arguments_of_schedules_are_named(make, error, message):
    optimizer = SGD(one(), lr=0.1)
    with pytest.raises(error, match=message):
        make(optimizer)
    assert optimizer.groups[0]["lr"] == 0.1
