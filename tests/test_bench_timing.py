"""The clockwork of the benchmark: turns, medians, and no row that compares two different things."""

import numpy as np
import pytest

from stn_numpy.bench import timing


def side(**results) -> timing.Side:
    return timing.Side(lambda: None, lambda _: results)


def test_timing_is_medians_quartiles_and_the_fastest():
    row = timing.Timing("work", [3.0, 1.0, 2.0, 8.0, 4.0], [2.0, 2.0, 4.0, 4.0, 8.0])
    assert row.ratio == 3 / 4
    assert row.quartiles == (0.5, 1.5)  # of 1.5, 0.5, 0.5, 2, 0.5
    assert row.fastest == 1 / 2


def test_a_disturbed_line_says_so():
    steady = timing.Timing("work", [1.0] * 4, [2.0] * 4)
    jumping = timing.Timing("work", [1.0, 1.0, 2.0, 2.0], [2.0] * 4)
    without_a_core = timing.Timing("work", [1.0] * 4, [2.0] * 4, waiting=0.3)
    assert not steady.disturbed and "?" not in timing.format_row(steady, 10)
    assert jumping.disturbed and without_a_core.disturbed
    assert "0.50?" in timing.format_row(without_a_core, 10)


def test_rows_stand_under_their_header():
    row = timing.Timing("short", [0.00123] * 3, [1.5] * 3)
    header, line = timing.format_header(20), timing.format_row(row, 20)
    assert " ".join(line.split()) == "short 1.23 1500.00 0.00 0.00 to 0.00 0.00"
    for title, cell in (("ours ms", " 1.23"), ("PyTorch ms", "1500.00"), ("fastest", "0.00")):
        end = header.index(title) + len(title)
        assert line[:end].endswith(cell)


def test_turns_are_taken_in_turns_and_the_first_run_of_each_is_not_timed(
    monkeypatch,
):
    monkeypatch.setattr(timing, "SHORTEST", 0.0)
    called = []
    times = timing.take_turns([lambda: called.append("a"), lambda: called.append("b")], 3)
    assert [len(seconds) for seconds in times] == [3, 3]
    assert called == ["a", "b"] * timing.WARM_UP + ["a", "a", "b", "b"] * 3


def test_one_side_may_run_alone_and_every_turn_ticks(monkeypatch):
    monkeypatch.setattr(timing, "SHORTEST", 0.0)
    called, ticks = [], []
    (times,) = timing.take_turns([lambda: called.append("a")], 4, lambda: ticks.append(1))
    assert len(times) == len(ticks) == 4 and len(called) == timing.WARM_UP + 8
    alone = timing.Timing("work", times)
    assert not alone.disturbed and timing.Timing("work", times, waiting=0.3).disturbed
    assert set(alone.as_dict("torch")) == {
        "work",
        "ours_ms",
        "waiting",
        "disturbed",
        "ours_seconds",
    }


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_different_work_is_refused(dtype):
    right = np.arange(6.0).reshape(2, 3)
    timing.check_same_work("work", side(y=right), side(y=right * (1 + 1e-12)), dtype)
    for wrong in (right * 1.1, right.T, right * np.nan, np.zeros_like(right), right[::-1]):
        with pytest.raises(timing.DifferentWork, match="work: y"):
            timing.check_same_work("work", side(y=wrong), side(y=right), dtype)
    with pytest.raises(timing.DifferentWork, match="PyTorch"):
        timing.check_same_work("work", side(y=right), side(y=right, z=right), dtype)


def test_float64_sees_what_rounding_could_hide():
    right = np.arange(6.0)
    close = side(y=right * (1 + 1e-6))
    timing.check_same_work("work", close, side(y=right), np.float32)
    with pytest.raises(timing.DifferentWork):
        timing.check_same_work("work", close, side(y=right), np.float64)
