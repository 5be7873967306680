"""A training step taken apart: every operation is there, and the times add up."""

import argparse
import contextlib
import json
import sys
import threading
from dataclasses import replace

import numpy as np
import pytest

from stn_numpy import bench
from stn_numpy import functional as F
from stn_numpy.bench import profile, work

TINY = {"name": "st-cnn", "width": 2}


def arguments(*options: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    bench.add_arguments(parser)
    return parser.parse_args(["--repeats", "1", "--workers", "2", *options])


@pytest.fixture(scope="module")
def taken_apart():
    return profile.take_apart(2, 2, batch=5, **TINY)


def test_the_profile_has_every_operation_in_order(taken_apart):
    names = [operation.name for operation in taken_apart.operations]
    assert " ".join(name.split()[0] for name in names) == (
        "avg_pool2d conv2d max_pool2d relu conv2d relu flatten linear relu linear reshape "
        "affine_grid grid_sample conv2d max_pool2d relu conv2d max_pool2d relu flatten linear "
        "cross_entropy"
    )
    assert "conv2d conv2" in names and "linear transformer.localisation.9" in names
    by_name = {operation.name: operation for operation in taken_apart.operations}
    assert taken_apart.images == (5, 3) and by_name["conv2d conv1"].input == (3, 1, 28, 28)
    # 2 for every output and weight of its window; twice that backward, where the input needs one.
    assert by_name["conv2d conv1"].flops == [2 * 3 * 2 * 20 * 20 * 81, 4 * 3 * 2 * 20 * 20 * 81]
    first = by_name["conv2d transformer.localisation.1"].flops
    assert first == [2 * 3 * 20 * 10 * 10 * 25] * 2
    assert by_name["linear classifier"].flops == [2 * 3 * 8 * 10, 4 * 3 * 8 * 10]


def test_the_times_of_a_profile(taken_apart):
    for operation in taken_apart.operations:
        has_backward = operation.name != "avg_pool2d"  # of the images, which need no gradient
        for forward, backward in (operation.alone, operation.at_once):
            assert forward > 0 and (backward > 0) == has_backward
    assert min(taken_apart.alone, taken_apart.at_once, taken_apart.step, taken_apart.peak) > 0
    images = 5 * 28 * 28 * 4
    assert images < taken_apart.memory < profile.MEMORY_BUDGET


def test_the_profile_is_printed_and_written(taken_apart, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(profile, "take_apart", lambda workers, repeats: taken_apart)
    monkeypatch.setitem(sys.modules, "torch", None)  # it needs none
    assert bench.run(arguments("--profile", "--json", str(tmp_path / "p.json"))) == 0
    printed = capsys.readouterr().out
    for operation in taken_apart.operations:
        assert f"\n{operation.name} " in printed
    assert "float32 product on one thread" in printed and "budget: 300 MB" in printed
    written = json.loads((tmp_path / "p.json").read_text())["profile"]
    assert written["operations"][1]["alone"] == taken_apart.operations[1].alone


def test_a_printed_profile_adds_up():
    operations = [
        profile.Operation(
            "conv2d conv1", (3, 1, 28, 28), [20_000_000, 40_000_000], [1e-3, 2e-3], [2e-3] * 2
        ),
        profile.Operation("relu", (3, 2, 20, 20), [0, 0], [5e-4, 5e-4], [1e-3, 1e-3]),
    ]
    parts = profile.Profile(
        2, (6, 3), operations, 5e-3, 7e-3, 8e-3, 1e11, 12_000_000, 0.5, {"R": 4e-4}
    )
    lines = profile.format_profile(parts).splitlines()
    rows = {line.split("  ")[0]: line.split()[-7:] for line in lines}
    assert rows["conv2d conv1"] == ["3x1x28x28", "1.00", "2.00", "60.0%", "4.00", "20", "20"]
    assert rows["relu"][-5:] == ["3x2x20x20", "0.50", "0.50", "20.0%", "2.00"][-5:]
    assert rows["sum"][-4:] == ["1.50", "2.50", "80.0%", "6.00"]
    assert rows["tape, modules, checks"][-3:] == ["1.00", "20.0%", "1.00"]
    assert "do not believe" in lines[-1]
    quiet = profile.format_profile(replace(parts, waiting=0.0))
    assert "do not believe" not in quiet
    assert quiet.endswith("afresh, beside the step: R 0.4 ms (5%)")


def test_watching_changes_no_gradient_and_leaves_nothing_behind():
    net, x, y = work.network(4, **TINY)
    functions = {name: getattr(F, name) for name in F.__all__}

    def gradients() -> list[np.ndarray]:
        net.zero_grad()
        F.cross_entropy(net(x), y).backward()
        return [parameter.grad for parameter in net.parameters()]

    with profile.watched(net) as operations:
        watched = gradients()
    assert operations and {name: getattr(F, name) for name in F.__all__} == functions
    for a, b in zip(watched, gradients()):
        np.testing.assert_array_equal(a, b)
    with contextlib.suppress(ValueError), profile.watched(net):
        F.conv2d(np.zeros(3), np.zeros(3))
    assert {name: getattr(F, name) for name in F.__all__} == functions


def test_watching_looks_at_its_own_thread_only():
    net, x, _ = work.network(4, **TINY)
    with profile.watched(net) as operations:
        other = threading.Thread(target=net, args=(x,))
        other.start()
        other.join()
    assert operations == []
