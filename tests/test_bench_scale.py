"""Time against size: the exponent is that of the times, and every size is one training step."""

import argparse
import json
import sys

import numpy as np
import pytest

from stn_numpy import bench
from stn_numpy.bench import scale, timing

TINY = {"name": "st-cnn", "width": 2}
SMALL = {
    "batch size": scale.Series("28x28", "batch", (2, 3), TINY),
    "filters": scale.Series("batch 3", "width", (1, 2), {**TINY, "batch": 3}),
}


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Times are not what these tests look at: one run a turn of small steps is enough."""
    monkeypatch.setattr(timing, "SHORTEST", 0.0)
    monkeypatch.setattr(timing, "WARM_UP", 1)
    monkeypatch.setattr(scale, "SERIES", SMALL)


def arguments(*options: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    bench.add_arguments(parser)
    return parser.parse_args(["--repeats", "1", "--workers", "2", "--scale", *options])


@pytest.mark.parametrize("p", [0.0, 0.5, 1.0, 2.3])
def test_the_exponent_of_a_power_law_is_found(p):
    sizes = np.array([16, 32, 64, 100, 1024])
    assert scale.exponent(sizes, 3e-4 * sizes**p) == pytest.approx(p, abs=1e-12)


def test_the_exponent_is_that_of_least_squares():
    # ln 1, ln e, ln e^2 -> 0, 1, 2; log times 0, 2, 1: the slope is (1 - 0) / 2.
    assert scale.exponent(np.exp([0, 1, 2]), np.exp([0, 2, 1])) == pytest.approx(0.5)
    assert scale.exponent([7], [1.0]) is None and scale.exponent([], []) is None


def test_the_exponents_of_both_sides_are_printed():
    timings = {
        size: timing.Timing("step", [1e-3 * size] * 3, [2e-3 * size**2] * 3) for size in (2, 4, 16)
    }
    assert scale.format_exponents(timings) == "time ~ size^p: p = 1.00 ours, 2.00 PyTorch"
    alone = {size: timing.Timing("step", t.ours) for size, t in timings.items()}
    assert scale.format_exponents(alone) == "time ~ size^p: p = 1.00 ours"
    assert "two sizes" in scale.format_exponents({2: timings[2]})


def test_lines_stand_under_their_header():
    row = timing.Timing("step", [0.00123] * 3, [1.5] * 3, waiting=0.9)
    header, line = scale.format_header(alone=False), scale.format_size(1024, row)
    assert line.split() == ["1024", "1.23", "1500.00", "0.00?", "0.00", "to", "0.00"]
    for title, cell in (("size", "1024"), ("ours ms", " 1.23"), ("PyTorch ms", "1500.00")):
        assert line[: header.index(title) + len(title)].endswith(cell)
    alone = timing.Timing("step", [0.00123] * 3)
    assert scale.format_size(1024, alone).split() == ["1024", "1.23"]
    assert scale.format_header(alone=True).split() == ["size", "ours", "ms"]
    assert scale.format_size(1024, timing.Timing("step", [1.0], waiting=0.9)).endswith("?")


def test_the_series_that_are_measured(monkeypatch):
    monkeypatch.undo()
    batch, image, filters = scale.SERIES.values()
    assert batch.sizes == (16, 32, 64, 128, 256, 512, 1024)
    assert image.sizes == (28, 42, 60, 96, 128) and filters.sizes == (8, 16, 32, 64, 128)
    paper = {"name": "st-cnn", "transform": "affine", "width": 32}
    assert batch.at(64) == {**paper, "batch": 64}
    assert image.at(42) == {**paper, "batch": 64, "image_size": 42}
    assert filters.at(8) == {**paper, "batch": 128, "width": 8}
    for series in scale.SERIES.values():
        assert max(scale.memory_needed(**series.at(size)) for size in series.sizes) < scale.MEMORY


def test_every_size_is_timed_with_pytorch_printed_and_written(capsys, tmp_path):
    pytest.importorskip("torch")
    assert bench.run(arguments("--workers", "1", "--json", str(tmp_path / "s.json"))) == 0
    printed = capsys.readouterr().out
    assert "\nbatch size (28x28)\n" in printed and "\nfilters (batch 3)\n" in printed
    assert printed.count("time ~ size^p: p = ") == 2 and scale.FOOTNOTE in printed
    found = json.loads((tmp_path / "s.json").read_text())["scale"]
    assert [(point["series"], point["size"]) for point in found] == [
        ("batch size", 2),
        ("batch size", 3),
        ("filters", 1),
        ("filters", 2),
    ]
    for point in found:
        assert point["ratio"] == pytest.approx(point["ours_ms"] / point["torch_ms"])


def test_different_work_is_not_taken_for_a_lack_of_memory(monkeypatch):
    def different(*_):
        raise timing.DifferentWork("step: loss is 1 away")

    monkeypatch.setattr(scale, "time_row", different)
    with pytest.raises(timing.DifferentWork):
        scale.time_size({**TINY, "batch": 2}, 1, arguments(), True, timing.no_tick)


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried")]
)
def test_a_step_without_enough_memory_is_skipped(monkeypatch, error):
    def without_memory(*_):
        raise error

    monkeypatch.setattr(scale, "time_row", without_memory)
    skipped = scale.time_size({**TINY, "batch": 2}, 1, arguments(), True, timing.no_tick)
    assert skipped == "not enough memory"


def test_without_torch_ours_is_shown_alone(monkeypatch, capsys, tmp_path):
    monkeypatch.setitem(sys.modules, "torch", None)  # makes `import torch` fail
    assert bench.run(arguments("--only", "FILTERS", "--json", str(tmp_path / "s.json"))) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == "PyTorch is not installed (pip install torch): these are our times alone."
    assert not any("batch size" in line for line in lines)
    assert [line.split()[0] for line in lines if line.strip()[:1].isdigit()] == ["1", "2"]
    found = json.loads((tmp_path / "s.json").read_text())["scale"]
    assert all("ratio" not in point and point["ours_ms"] > 0 for point in found)


def test_a_size_that_needs_too_much_memory_is_skipped_and_says_why(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "torch", None)
    small, large = (scale.memory_needed(**SMALL["batch size"].at(size)) for size in (2, 3))
    assert large == 1.5 * small > 2 * 28 * 28 * 4
    limit = (small + large) / 2e9
    assert bench.run(arguments("--only", "batch", "--memory", str(limit))) == 0
    printed = capsys.readouterr().out
    assert "     3  skipped: needs about " in printed and "of --memory" in printed
    assert "p needs two sizes" in printed


def test_an_interruption_leaves_what_was_measured(monkeypatch, capsys, tmp_path):
    monkeypatch.setitem(sys.modules, "torch", None)
    done = []

    def time_size(step, *_):
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(step["batch"])
        return timing.Timing("step", [1e-3 * step["batch"] ** 2])

    monkeypatch.setattr(scale, "time_size", time_size)
    longer = scale.Series("28x28", "batch", (2, 4, 8), TINY)
    monkeypatch.setattr(scale, "SERIES", {"batch size": longer})
    args = arguments("--json", str(tmp_path / "s.json"))
    with pytest.raises(KeyboardInterrupt):
        bench.run(args)
    printed = capsys.readouterr().out
    assert "     2      4.00\n     4     16.00\ntime ~ size^p: p = 2.00 ours\n" in printed
    assert args.when_interrupted == "stopped; what was measured is printed above"
    found = json.loads((tmp_path / "s.json").read_text())["scale"]
    assert [point["size"] for point in found] == [2, 4]
