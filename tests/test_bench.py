"""The benchmark: what it compares is the same work, what it prints is what it measured."""

import argparse
import contextlib
import json
import sys
import threading
from functools import partial

import numpy as np
import pytest

from stn_numpy import bench, models, nn
from stn_numpy import functional as F
from stn_numpy.errors import UserError

TINY = {"name": "st-cnn", "width": 2}


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Times are not what these tests look at: one run a turn is enough."""
    monkeypatch.setattr(bench, "SHORTEST", 0.0)


def arguments(*options: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    bench.add_arguments(parser)
    return parser.parse_args(["--repeats", "1", "--workers", "2", *options])


def side(**results) -> bench.Side:
    return bench.Side(lambda: None, lambda _: results)


# What was measured, and how it is printed


def test_timing_is_medians_quartiles_and_the_fastest():
    timing = bench.Timing("work", [3.0, 1.0, 2.0, 8.0, 4.0], [2.0, 2.0, 4.0, 4.0, 8.0])
    assert timing.ratio == 3 / 4
    assert timing.quartiles == (0.5, 1.5)  # of 1.5, 0.5, 0.5, 2, 0.5
    assert timing.fastest == 1 / 2


def test_a_disturbed_line_says_so():
    steady = bench.Timing("work", [1.0] * 4, [2.0] * 4)
    jumping = bench.Timing("work", [1.0, 1.0, 2.0, 2.0], [2.0] * 4)
    without_a_core = bench.Timing("work", [1.0] * 4, [2.0] * 4, waiting=0.3)
    assert not steady.disturbed and "?" not in bench.format_row(steady, 10)
    assert jumping.disturbed and without_a_core.disturbed
    assert "0.50?" in bench.format_row(without_a_core, 10)


def test_rows_stand_under_their_header():
    timing = bench.Timing("short", [0.00123] * 3, [1.5] * 3)
    header, line = bench.format_header(20), bench.format_row(timing, 20)
    assert " ".join(line.split()) == "short 1.23 1500.00 0.00 0.00 to 0.00 0.00"
    for title, cell in (("ours ms", " 1.23"), ("PyTorch ms", "1500.00"), ("fastest", "0.00")):
        end = header.index(title) + len(title)
        assert line[:end].endswith(cell)


def test_turns_are_taken_in_turns_and_the_first_run_of_each_is_not_timed():
    called = []
    times = bench.take_turns(lambda: called.append("a"), lambda: called.append("b"), 3)
    assert [len(seconds) for seconds in times] == [3, 3]
    assert called == ["a", "b"] * bench.WARM_UP + ["a", "a", "b", "b"] * 3


# Options


@pytest.mark.parametrize("option", ["--repeats", "--workers"])
def test_numbers_below_one_are_refused(option):
    with pytest.raises(UserError, match=f"{option} is 0, want at least 1"):
        bench.run(arguments(option, "0"))


def test_without_torch_one_line_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)  # makes `import torch` fail
    with pytest.raises(UserError, match=r"pip install torch \(CPU build is enough\)") as caught:
        bench.run(arguments())
    assert "\n" not in str(caught.value)


def test_only_and_profile_exclude_each_other(capsys):
    with pytest.raises(SystemExit) as caught:
        arguments("--only", "conv", "--profile")
    assert caught.value.code == 2
    assert "not allowed with" in capsys.readouterr().err


def tiny_rows() -> dict[str, bench.Row]:
    convolution = partial(bench.conv_inputs, 5, 2, 6, 3, 3)
    grid = partial(bench.operation, call=bench.generate, inputs=partial(bench.theta_inputs, 3))
    return {
        "step": partial(bench.training_step, batch=5, **TINY),
        "step 42": partial(bench.training_step, batch=3, image_size=42, **TINY),
        "step tutorial": partial(bench.training_step, batch=3, name="tutorial"),
        "inference": partial(bench.inference, images=5, **TINY),
        "conv": partial(bench.operation, call=bench.convolve, inputs=convolution, backward=True),
        "conv forward": partial(
            bench.operation, call=bench.convolve, inputs=convolution, backward=False
        ),
        "pool": partial(
            bench.operation,
            call=bench.pool,
            inputs=partial(bench.pool_inputs, 3, 2, 4, 6),
            backward=True,
        ),
        "sample": partial(
            bench.operation,
            call=bench.sample,
            inputs=partial(bench.sample_inputs, 3, 2, 4, 6),
            backward=True,
        ),
        "grid": partial(grid, backward=True),
        "grid forward": partial(grid, backward=False),
    }


def test_only_names_the_rows_and_json_holds_their_numbers(monkeypatch, capsys, tmp_path):
    pytest.importorskip("torch")
    monkeypatch.setattr(bench, "rows", tiny_rows)
    assert bench.run(arguments("--only", "GRID", "--json", str(tmp_path / "new" / "b.json"))) == 0
    printed = capsys.readouterr().out
    assert "grid forward" in printed and "conv" not in printed
    assert bench.FOOTNOTE in printed
    about = json.loads((tmp_path / "new" / "b.json").read_text())
    assert about["workers"] == 2 and about["repeats"] == 1
    assert [row["work"] for row in about["rows"]] == ["grid", "grid forward"]
    for row in about["rows"]:
        assert row["ours_ms"] == 1e3 * row["ours_seconds"][0] > 0
        assert row["ratio"] == pytest.approx(row["ours_ms"] / row["torch_ms"])


def test_only_without_a_match_names_the_rows():
    pytest.importorskip("torch")
    with pytest.raises(UserError, match="--only nothing: no such row; there are: step of"):
        bench.run(arguments("--only", "nothing"))


# The same work on both sides


@pytest.mark.parametrize(
    ("name", "workers"), [*((name, 2) for name in tiny_rows()), ("step", 1), ("conv", 3)]
)
def test_both_sides_of_every_row_do_the_same(name, workers):
    torch = pytest.importorskip("torch")
    threads = torch.get_num_threads()
    timing = bench.time_row(name, tiny_rows()[name], workers, repeats=2)
    assert len(timing.ours) == len(timing.torch) == 2
    assert torch.get_num_threads() == threads


def test_the_table_has_the_rows_that_tiny_rows_stand_for():
    table = bench.rows()
    makers = {row.func for row in table.values()}
    assert makers == {row.func for row in tiny_rows().values()}
    operations = [row.keywords for row in table.values() if row.func is bench.operation]
    assert {o["call"] for o in operations} == {
        row.keywords["call"] for row in tiny_rows().values() if row.func is bench.operation
    }
    assert all(
        {a["backward"], b["backward"]} == {False, True} for a, b in zip(*[iter(operations)] * 2)
    )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_different_work_is_refused(dtype):
    right = np.arange(6.0).reshape(2, 3)
    bench.check_same_work("work", side(y=right), side(y=right * (1 + 1e-12)), dtype)
    for wrong in (right * 1.1, right.T, right * np.nan, np.zeros_like(right), right[::-1]):
        with pytest.raises(bench.DifferentWork, match="work: y"):
            bench.check_same_work("work", side(y=wrong), side(y=right), dtype)
    with pytest.raises(bench.DifferentWork, match="PyTorch"):
        bench.check_same_work("work", side(y=right), side(y=right, z=right), dtype)


def test_float64_sees_what_rounding_could_hide():
    right = np.arange(6.0)
    close = side(y=right * (1 + 1e-6))
    bench.check_same_work("work", close, side(y=right), np.float32)
    with pytest.raises(bench.DifferentWork):
        bench.check_same_work("work", close, side(y=right), np.float64)


@pytest.mark.parametrize("backward", [False, True])
def test_an_operation_that_differs_between_the_libraries_is_caught(backward):
    pytest.importorskip("torch")

    def call(library, U, G):  # PyTorch reads the same grid in another convention
        return library.grid_sample(U, G, align_corners=library is F)

    row = partial(
        bench.operation,
        call=call,
        inputs=partial(bench.sample_inputs, 3, 2, 5, 4),
        backward=backward,
    )
    with pytest.raises(bench.DifferentWork, match="output"):
        bench.time_row("sample", row, 2, repeats=1)


def test_a_wrong_backward_is_caught(monkeypatch):
    pytest.importorskip("torch")
    walk = bench._gradients

    def doubled(*args):
        return [None if g is None else 2 * g for g in walk(*args)]

    monkeypatch.setattr(bench, "_gradients", doubled)
    with pytest.raises(bench.DifferentWork, match="gradient of input 0"):
        bench.time_row("conv", tiny_rows()["conv"], 2, repeats=1)


def test_a_step_with_another_momentum_is_caught(monkeypatch):
    pytest.importorskip("torch")
    without = bench.SGD
    monkeypatch.setattr(bench, "SGD", lambda p, lr, momentum: without(p, lr))
    with pytest.raises(bench.DifferentWork, match="after the step"):
        bench.time_row("step", tiny_rows()["step"], 1, repeats=1)


@pytest.mark.parametrize("name", models.MODELS)
def test_the_twin_is_the_same_network(name):
    torch = pytest.importorskip("torch")
    net = models.build(name, width=3, image_size=30, rng=np.random.default_rng(1)).eval()
    twin = bench.torch_twin(net.astype(np.float64))
    x = np.random.default_rng(2).random((4, 1, 30, 30))
    with torch.no_grad():
        np.testing.assert_allclose(net(x).data, twin(torch.from_numpy(x)).numpy(), atol=1e-12)
    assert not twin.training


def test_a_layer_without_a_twin_is_refused():
    pytest.importorskip("torch")
    with pytest.raises(TypeError, match="BatchNorm2d"):
        bench.torch_twin(nn.Sequential(nn.BatchNorm2d(3)))


# The profile


@pytest.fixture(scope="module")
def profile():
    return bench.take_apart(2, 2, batch=5, **TINY)


def test_the_profile_has_every_operation_in_order(profile):
    names = [operation.name for operation in profile.operations]
    assert " ".join(name.split()[0] for name in names) == (
        "avg_pool2d conv2d max_pool2d relu conv2d relu flatten linear relu linear reshape "
        "affine_grid grid_sample conv2d max_pool2d relu conv2d max_pool2d relu flatten linear "
        "cross_entropy"
    )
    assert "conv2d conv2" in names and "linear transformer.localisation.9" in names
    by_name = {operation.name: operation for operation in profile.operations}
    assert profile.images == (5, 3) and by_name["conv2d conv1"].input == (3, 1, 28, 28)
    # 2 for every output and weight of its window; twice that backward, where the input needs one.
    assert by_name["conv2d conv1"].flops == [2 * 3 * 2 * 20 * 20 * 81, 4 * 3 * 2 * 20 * 20 * 81]
    first = by_name["conv2d transformer.localisation.1"].flops
    assert first == [2 * 3 * 20 * 10 * 10 * 25] * 2
    assert by_name["linear classifier"].flops == [2 * 3 * 8 * 10, 4 * 3 * 8 * 10]


def test_the_times_of_a_profile(profile):
    for operation in profile.operations:
        has_backward = operation.name != "avg_pool2d"  # of the images, which need no gradient
        for forward, backward in (operation.alone, operation.at_once):
            assert forward > 0 and (backward > 0) == has_backward
    assert min(profile.alone, profile.at_once, profile.step, profile.peak) > 0
    images = 5 * 28 * 28 * 4
    assert images < profile.memory < bench.MEMORY_BUDGET


def test_the_profile_is_printed_and_written(profile, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(bench, "take_apart", lambda workers, repeats: profile)
    monkeypatch.setitem(sys.modules, "torch", None)  # it needs none
    assert bench.run(arguments("--profile", "--json", str(tmp_path / "p.json"))) == 0
    printed = capsys.readouterr().out
    for operation in profile.operations:
        assert f"\n{operation.name} " in printed
    assert "float32 product on one thread" in printed and "budget: 300 MB" in printed
    written = json.loads((tmp_path / "p.json").read_text())["profile"]
    assert written["operations"][1]["alone"] == profile.operations[1].alone


def test_a_printed_profile_adds_up():
    operations = [
        bench.Operation(
            "conv2d conv1", (3, 1, 28, 28), [20_000_000, 40_000_000], [1e-3, 2e-3], [2e-3] * 2
        ),
        bench.Operation("relu", (3, 2, 20, 20), [0, 0], [5e-4, 5e-4], [1e-3, 1e-3]),
    ]
    profile = bench.Profile(2, (6, 3), operations, 5e-3, 7e-3, 8e-3, 1e11, 12_000_000, 0.5)
    lines = bench.format_profile(profile).splitlines()
    rows = {line.split("  ")[0]: line.split()[-7:] for line in lines}
    assert rows["conv2d conv1"] == ["3x1x28x28", "1.00", "2.00", "60.0%", "4.00", "20", "20"]
    assert rows["relu"][-5:] == ["3x2x20x20", "0.50", "0.50", "20.0%", "2.00"][-5:]
    assert rows["sum"][-4:] == ["1.50", "2.50", "80.0%", "6.00"]
    assert rows["tape, modules, checks"][-3:] == ["1.00", "20.0%", "1.00"]
    assert "do not believe" in lines[-1]
    quiet = bench.format_profile(bench.replace(profile, waiting=0.0))
    assert "do not believe" not in quiet


def test_watching_changes_no_gradient_and_leaves_nothing_behind():
    net, x, y = bench.network(4, **TINY)
    functions = {name: getattr(F, name) for name in F.__all__}

    def gradients() -> list[np.ndarray]:
        net.zero_grad()
        F.cross_entropy(net(x), y).backward()
        return [parameter.grad for parameter in net.parameters()]

    with bench.watched(net) as operations:
        watched = gradients()
    assert operations and {name: getattr(F, name) for name in F.__all__} == functions
    for a, b in zip(watched, gradients()):
        np.testing.assert_array_equal(a, b)
    with contextlib.suppress(ValueError), bench.watched(net):
        F.conv2d(np.zeros(3), np.zeros(3))
    assert {name: getattr(F, name) for name in F.__all__} == functions


def test_watching_looks_at_its_own_thread_only():
    net, x, _ = bench.network(4, **TINY)
    with bench.watched(net) as operations:
        other = threading.Thread(target=net, args=(x,))
        other.start()
        other.join()
    assert operations == []
