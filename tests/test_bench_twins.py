"""The table of the benchmark: PyTorch does the same work, or the row is refused."""

import argparse
import json
from functools import partial

import numpy as np
import pytest

from stn_numpy import Tensor, bench, models, nn, op
from stn_numpy import functional as F
from stn_numpy.bench import rows, timing, twins, work

TINY = {"name": "st-cnn", "width": 2}


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Times are not what these tests look at: one run a turn is enough."""
    monkeypatch.setattr(timing, "SHORTEST", 0.0)
    monkeypatch.setattr(timing, "WARM_UP", 1)


def arguments(*options: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    bench.add_arguments(parser)
    return parser.parse_args(["--repeats", "1", "--workers", "2", *options])


def tiny_rows() -> dict[str, timing.Row]:
    convolution = partial(work.conv_inputs, 5, 2, 6, 3, 3)
    grid = partial(twins.operation, call=work.generate, inputs=partial(work.theta_inputs, 3))
    return {
        "step": partial(twins.training_step, batch=5, **TINY),
        "step 42": partial(twins.training_step, batch=3, image_size=42, **TINY),
        "step tutorial": partial(twins.training_step, batch=3, name="tutorial"),
        "inference": partial(twins.inference, images=5, **TINY),
        "conv": partial(twins.operation, call=work.convolve, inputs=convolution, backward=True),
        "conv forward": partial(
            twins.operation, call=work.convolve, inputs=convolution, backward=False
        ),
        "pool": partial(
            twins.operation,
            call=work.pool,
            inputs=partial(work.pool_inputs, 3, 2, 4, 6),
            backward=True,
        ),
        "sample": partial(
            twins.operation,
            call=work.sample,
            inputs=partial(work.sample_inputs, 3, 2, 4, 6),
            backward=True,
        ),
        "grid": partial(grid, backward=True),
        "grid forward": partial(grid, backward=False),
    }


def test_only_names_the_rows_and_json_holds_their_numbers(monkeypatch, capsys, tmp_path):
    pytest.importorskip("torch")
    monkeypatch.setattr(rows, "rows", tiny_rows)
    assert bench.run(arguments("--only", "GRID", "--json", str(tmp_path / "new" / "b.json"))) == 0
    printed = capsys.readouterr().out
    assert "grid forward" in printed and "conv" not in printed
    assert rows.FOOTNOTE in printed
    about = json.loads((tmp_path / "new" / "b.json").read_text())
    assert about["workers"] == 2 and about["repeats"] == 1
    assert [row["work"] for row in about["rows"]] == ["grid", "grid forward"]
    for row in about["rows"]:
        assert row["ours_ms"] == 1e3 * row["ours_seconds"][0] > 0
        assert row["ratio"] == pytest.approx(row["ours_ms"] / row["torch_ms"])


# The same work on both sides


@pytest.mark.parametrize(
    ("name", "workers"), [*((name, 2) for name in tiny_rows()), ("step", 1), ("conv", 3)]
)
def test_both_sides_of_every_row_do_the_same(name, workers):
    torch = pytest.importorskip("torch")
    threads = torch.get_num_threads()
    times = timing.time_row(name, tiny_rows()[name], workers, repeats=1)
    assert len(times.ours) == len(times.theirs) == 1
    assert torch.get_num_threads() == threads


def test_the_table_has_the_rows_that_tiny_rows_stand_for():
    table = rows.rows()
    makers = {row.func for row in table.values()}
    assert makers == {row.func for row in tiny_rows().values()}
    operations = [row.keywords for row in table.values() if row.func is twins.operation]
    assert {o["call"] for o in operations} == {
        row.keywords["call"] for row in tiny_rows().values() if row.func is twins.operation
    }
    assert all(
        {a["backward"], b["backward"]} == {False, True} for a, b in zip(*[iter(operations)] * 2)
    )


@pytest.mark.parametrize("backward", [False, True])
def test_an_operation_that_differs_between_the_libraries_is_caught(backward):
    pytest.importorskip("torch")

    def call(library, U, G):  # PyTorch reads the same grid in another convention
        return library.grid_sample(U, G, align_corners=library is F)

    row = partial(
        twins.operation,
        call=call,
        inputs=partial(work.sample_inputs, 3, 2, 5, 4),
        backward=backward,
    )
    with pytest.raises(timing.DifferentWork, match="output"):
        timing.time_row("sample", row, 2, repeats=1)


def test_a_wrong_backward_is_caught(monkeypatch):
    pytest.importorskip("torch")
    right = F.conv2d.__wrapped__

    @op
    def doubled(*arrays):
        y, backward = right(*arrays)
        return y, lambda dy: tuple(2 * g for g in backward(dy, [True] * len(arrays)))

    monkeypatch.setattr(F, "conv2d", doubled)
    with pytest.raises(timing.DifferentWork, match="gradient of input 0"):
        timing.time_row("conv", tiny_rows()["conv"], 2, repeats=1)


def test_a_step_with_another_momentum_is_caught(monkeypatch):
    pytest.importorskip("torch")
    without = work.SGD
    monkeypatch.setattr(work, "SGD", lambda p, lr, momentum: without(p, lr))
    with pytest.raises(timing.DifferentWork, match="after the step"):
        timing.time_row("step", tiny_rows()["step"], 1, repeats=1)


def test_an_operation_between_layers_gets_the_gradients_that_leaves_get():
    rng = np.random.default_rng(3)
    inputs = work.conv_inputs(4, 2, 6, 3, 3, rng)
    dy = work.cotangent(work.convolve, inputs, rng)
    leaves = [Tensor(array, requires_grad=True) for array in (*inputs[0], *inputs[1])]
    y = work.convolve(F, *leaves)
    y.backward(dy)
    with work.our_operation(1, work.convolve, inputs, dy, backward=True) as ours:
        results = ours.results(ours.run())
    assert list(results) == ["output", *(f"gradient of input {i}" for i in range(3))]
    for array, want in zip(results.values(), (y.data, *(leaf.grad for leaf in leaves))):
        np.testing.assert_array_equal(array, want)


@pytest.mark.parametrize("name", models.MODELS)
def test_the_twin_is_the_same_network(name):
    torch = pytest.importorskip("torch")
    net = models.build(name, width=3, image_size=36, rng=np.random.default_rng(1)).eval()
    twin = twins.torch_twin(net.astype(np.float64))
    x = np.random.default_rng(2).random((4, 1, 36, 36))
    with torch.no_grad():
        np.testing.assert_allclose(net(x).data, twin(torch.from_numpy(x)).numpy(), atol=1e-12)
    assert not twin.training


def test_a_layer_without_a_twin_is_refused():
    pytest.importorskip("torch")
    with pytest.raises(TypeError, match="BatchNorm2d"):
        twins.torch_twin(nn.Sequential(nn.BatchNorm2d(3)))
