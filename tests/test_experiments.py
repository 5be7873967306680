"""Experiments: cells run, stop, go on and are written down; tables say what the lines say."""

import dataclasses
import json
import re
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from stn_numpy import files, nn
from stn_numpy import functional as F
from stn_numpy.__main__ import main
from stn_numpy.autograd import Tensor
from stn_numpy.data import Dataset, load_digits, mnist
from stn_numpy.errors import CheckpointError, DataError
from stn_numpy.experiments import addition, cells, colocalisation, distorted, lasagne, results
from stn_numpy.experiments.command import EXPERIMENTS
from stn_numpy.experiments.results import Result, add_result, mean_error, read_results
from stn_numpy.gradcheck import gradcheck
from stn_numpy.training import Display, Settings, limited, read_run, trained_model, wilson

BOOK = Path(__file__).resolve().parents[1] / "book"


@pytest.fixture(autouse=True)
def alone(monkeypatch, tmp_path):
    """An empty working folder, no MNIST anywhere, no network."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("STN_NUMPY_DATA", raising=False)
    monkeypatch.setenv("STN_NUMPY_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("STN_NUMPY_WORKERS", "1")
    monkeypatch.setattr(mnist, "MIRRORS", ())


@pytest.fixture(scope="module")
def data():
    return limited(load_digits(), 40)


def tiny(**changes):
    settings = Settings(
        models=("fcn",), epochs=2, batch_size=20, parameters=3000, workers=1, **changes
    )
    return cells.Cell("fcn/R", settings, weights="fcn-R.npz")


def run(cell, data, tmp_path, show=None, said=None):
    return cells.run_cell(
        "test",
        cell,
        data,
        tmp_path / "results",
        tmp_path / "runs",
        lambda epochs: show or Display(),
        weights=tmp_path / "weights",
        announce=(said if said is not None else []).append,
    )


class StopAfter(Display):
    def __init__(self, epochs):
        self.epochs = epochs

    def epoch(self, name, result, seconds):
        self.epochs -= 1
        if self.epochs == 0:
            raise KeyboardInterrupt


# A cell


def test_a_cell_is_one_line_with_all_that_is_needed(data, tmp_path):
    result = run(tiny(), data, tmp_path)
    (line,) = (tmp_path / "results" / "test.jsonl").read_text().splitlines()
    assert json.loads(line) == dataclasses.asdict(result)
    assert result.cell == "fcn/R" and result.seed == 0 and result.epochs == 2
    assert result.images_seen == 2 * 40 and result.test_images == 40
    assert result.error == result.mistakes / 40
    about, _ = read_run(tmp_path / "runs" / "test" / "fcn-R-seed0")
    assert result.error == about["results"]["fcn"]["test_error"]
    assert result.parameters == about["results"]["fcn"]["parameters"] > 1000
    assert result.data == about["data"] and result.settings == about["settings"]
    assert result.minutes >= 0 and result.commit


def test_an_interrupted_cell_goes_on_to_the_same_line(data, tmp_path):
    whole = run(tiny(), data, tmp_path / "whole")
    said = []
    with pytest.raises(KeyboardInterrupt):
        run(tiny(), data, tmp_path / "parts", StopAfter(1), said)
    assert read_results(tmp_path / "parts" / "results" / "test.jsonl") == []
    # On another number of threads too: a run keeps the number that it began with.
    other_threads = dataclasses.replace(tiny().settings, workers=2)
    cell = dataclasses.replace(tiny(), settings=other_threads)
    result = run(cell, data, tmp_path / "parts", said=said)
    assert dataclasses.replace(result, minutes=0) == dataclasses.replace(whole, minutes=0)
    assert "starting" in said[0] and "going on after 1 of 2 epochs" in said[1]


def test_what_is_done_is_not_done_again(data, tmp_path):
    result = run(tiny(), data, tmp_path)
    shutil.rmtree(tmp_path / "runs")
    said = []
    other_threads = dataclasses.replace(tiny().settings, workers=2)
    again = run(dataclasses.replace(tiny(), settings=other_threads), data, tmp_path, said=said)
    assert again == result and "done" in said[0]
    assert not (tmp_path / "runs").exists()
    # Other settings, another seed or other data are other work.
    changed = dataclasses.replace(tiny().settings, lr=1e-3)
    assert run(dataclasses.replace(tiny(), settings=changed), data, tmp_path) != result
    run(tiny(seed=1), data, tmp_path)
    lines = read_results(tmp_path / "results" / "test.jsonl")
    assert [(line.seed, line.settings["lr"]) for line in lines] == [(0, 1e-3), (1, 3e-3)]


def test_a_run_of_other_settings_is_left_alone(data, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run(tiny(), data, tmp_path, StopAfter(1))
    changed = dataclasses.replace(tiny().settings, lr=1e-3)
    with pytest.raises(CheckpointError, match=r"lr 0.003 then, 0.001 now.*delete .*fcn-R-seed0 to"):
        run(dataclasses.replace(tiny(), settings=changed), data, tmp_path)


def test_the_best_network_is_kept(data, tmp_path, monkeypatch):
    errors = iter([0.3, 0.5, 0.2])
    kept = []
    for seed, error in enumerate(errors):
        monkeypatch.setattr(
            cells.Run, "metrics", _with_error(cells.Run.metrics, error), raising=True
        )
        run(tiny(seed=seed), data, tmp_path)
        monkeypatch.undo()
        about, arrays = read_run(tmp_path / "weights" / "fcn-R.npz")
        kept.append(about["settings"]["seed"])
        assert arrays["model/fcn/fc1.weight"].shape[1] == 784
    assert kept == [0, 0, 2]


def test_weights_of_other_data_stay_and_broken_ones_go(data, tmp_path):
    run(tiny(), data, tmp_path)
    kept = tmp_path / "weights" / "fcn-R.npz"
    before = kept.read_bytes()
    run(tiny(), limited(data, 20), tmp_path / "other")
    shutil.copytree(tmp_path / "weights", tmp_path / "other" / "weights", dirs_exist_ok=True)
    shutil.rmtree(tmp_path / "other" / "results")
    run(tiny(), limited(data, 20), tmp_path / "other")
    assert (tmp_path / "other" / "weights" / "fcn-R.npz").read_bytes() == before
    # And what learned from more images takes the place of what learned from fewer.
    (tmp_path / "fewer" / "weights").mkdir(parents=True)
    run(tiny(), limited(data, 20), tmp_path / "fewer")
    shutil.rmtree(tmp_path / "fewer" / "runs")
    run(tiny(), data, tmp_path / "fewer")
    about, _ = read_run(tmp_path / "fewer" / "weights" / "fcn-R.npz")
    assert about["data"]["training_images"] == 40
    kept.write_bytes(before[:100])
    shutil.rmtree(tmp_path / "results")
    run(tiny(), data, tmp_path)
    assert kept.read_bytes() == before


def _with_error(metrics, error):
    def changed(self):
        got = metrics(self)
        for result in got["results"].values():
            result["test_error"] = error
        return got

    return changed


def two_parts(**changes):
    first = dataclasses.replace(tiny().settings, optimizer="sgd", epochs=3)
    return dataclasses.replace(tiny(**changes), first=first)


def test_a_cell_of_two_parts_begins_its_second_with_the_weights_of_the_first(data, tmp_path):
    """At a rate of nothing the second part leaves them as they are."""
    said = []
    result = run(two_parts(lr=1e-30), data, tmp_path, said=said)
    folder = tmp_path / "runs" / "test" / "fcn-R-seed0"
    first, second = read_run(folder / "first"), read_run(folder)
    ours = [name for name in second[1] if name.startswith("model/")]
    assert len(ours) == 6
    for name in ours:
        np.testing.assert_array_equal(first[1][name], second[1][name])
    assert first[0]["results"]["fcn"]["epochs"][-1]["test_error"] == result.error
    assert result.epochs == 5 and result.images_seen == 5 * 40
    assert result.settings == {**second[0]["settings"], "first": first[0]["settings"]}
    assert said == [f"fcn/R, seed 0, part {number} of 2: starting" for number in (1, 2)]


def affine_first(**changes):
    changes = {"parameters": 20_000, "lr": 1e-30} | changes
    spline = tiny().changed(models=("st-cnn",), transform="tps", schedule="constant", **changes)
    first = dataclasses.replace(spline.settings, transform="affine", lr=1e-2, epochs=4)
    return dataclasses.replace(spline, first=first)


def test_a_cell_may_learn_as_affine_first(data, tmp_path):
    """At a rate of nothing the second part reads where the first did at its end."""
    cell = affine_first()
    result = run(cell, data, tmp_path)
    folder = tmp_path / "runs" / "test" / cell.folder
    nets = [trained_model(*read_run(part), "st-cnn") for part in (folder / "first", folder)]
    x = data.test_images[:, None].astype(np.float32) / 255
    affine, spline = [net.transformer.grid(x).data for net in nets]
    assert np.ptp(affine, axis=0).max() > 0.02, "it has learned to read after the image"
    np.testing.assert_allclose(spline, affine, rtol=0, atol=2e-5)
    np.testing.assert_allclose(nets[1](x).data, nets[0](x).data, rtol=0, atol=2e-3)
    before = read_run(folder / "first")[0]["results"]["st-cnn"]["epochs"]
    assert result.error == before[-1]["test_error"]


def test_parts_that_do_not_fit_are_refused_before_the_first_is_trained(data, tmp_path):
    cell, said = affine_first(parameters=16_000), []
    with pytest.raises(ValueError, match=r"conv1.weight has shape \(9, .* want \(8, "):
        run(cell, data, tmp_path, said=said)
    assert not said and not list(tmp_path.glob("runs/**/*.npz"))


@pytest.mark.parametrize("stop", [1, 3, 4])
def test_a_cell_of_two_parts_goes_on_wherever_it_was_interrupted(data, tmp_path, stop):
    whole = run(two_parts(), data, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(two_parts(), data, tmp_path / "parts", StopAfter(stop))
    said = []
    result = run(two_parts(), data, tmp_path / "parts", said=said)
    assert dataclasses.replace(result, minutes=0) == dataclasses.replace(whole, minutes=0)
    where = {
        1: "1 of 2: going on after 1 of 3 epochs",
        3: "2 of 2: starting",
        4: "2 of 2: going on after 1 of 2 epochs",
    }
    assert said[0] == f"fcn/R, seed 0, part {where[stop]}"
    ends = [read_run(tmp_path / part / "runs/test/fcn-R-seed0")[1] for part in ("whole", "parts")]
    for name in ends[0]:
        np.testing.assert_array_equal(ends[0][name], ends[1][name])


@pytest.mark.parametrize("before", [tiny, two_parts])
def test_a_second_part_that_began_otherwise_is_left_alone(data, tmp_path, before):
    """Of one part only, or of a first part that is no longer there."""
    result = run(before(), data, tmp_path)
    folder = tmp_path / "runs" / "test" / "fcn-R-seed0"
    shutil.rmtree(folder / "first", ignore_errors=True)
    other = two_parts()
    other = dataclasses.replace(other, first=dataclasses.replace(other.first, lr=1e-3))
    with pytest.raises(CheckpointError, match=r"did not begin with .*first has now; delete"):
        run(other, data, tmp_path)
    assert read_results(tmp_path / "results" / "test.jsonl") == [result]
    shutil.rmtree(folder)
    assert run(other, data, tmp_path).settings["first"]["lr"] == 1e-3


def test_a_line_names_every_commit_that_trained_it(data, tmp_path, monkeypatch):
    monkeypatch.setattr(cells, "code_version", lambda: "old")
    with pytest.raises(KeyboardInterrupt):
        run(tiny(), data, tmp_path, StopAfter(1))
    assert run(tiny(), data, tmp_path / "at once").commit == "old"
    monkeypatch.setattr(cells, "code_version", lambda: "version 7")
    assert run(tiny(), data, tmp_path).commit == "old, version 7"
    # Where only the line is lost, later code has trained nothing of it.
    shutil.rmtree(tmp_path / "results")
    monkeypatch.setattr(cells, "code_version", lambda: "later")
    assert run(tiny(), data, tmp_path).commit == "old, version 7"


def test_the_commit_is_read_once(monkeypatch):
    """A commit that is made while cells are trained changes nothing of the code that was loaded."""
    asked = []

    def git(command, **kwargs):
        asked.append(command)
        return subprocess.CompletedProcess(command, 0, stdout=f"{len(asked):012x}\n")

    monkeypatch.setattr(cells.subprocess, "run", git)
    cells.code_version.cache_clear()
    try:
        first = cells.code_version()
        assert asked and first.startswith("00000000000")
        before = len(asked)
        assert cells.code_version() == first and len(asked) == before
    finally:
        cells.code_version.cache_clear()


def test_where_lines_can_not_be_written_nothing_is_trained(data, tmp_path):
    (tmp_path / "results").write_text("a file")
    said = []
    with pytest.raises(OSError, match="results"):
        run(tiny(), data, tmp_path, said=said)
    assert not said and not (tmp_path / "runs").exists()


def test_a_broken_checkpoint_says_what_to_do(data, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run(tiny(), data, tmp_path, StopAfter(1))
    folder = tmp_path / "runs" / "test" / "fcn-R-seed0"
    (folder / "checkpoint.npz").write_bytes(b"PK broken")
    with pytest.raises(CheckpointError, match=rf"checkpoint.npz.*; delete {folder} to begin"):
        run(tiny(), data, tmp_path)


def test_what_is_done_is_not_prepared_again(data, tmp_path):
    asked = []

    def prepare(cell, folder, everything, show):
        asked.append((cell.key, folder, len(everything.train_labels)))
        return cell.task

    cell = dataclasses.replace(tiny(), select=lambda d: limited(d, 20), prepare=prepare)
    result = run(cell, data, tmp_path)
    assert asked == [("fcn/R", tmp_path / "runs" / "test", 40)]
    assert result.images_seen == 2 * 20 and result.test_images == 20
    assert run(cell, data, tmp_path) == result and len(asked) == 1


def test_what_a_cell_of_two_parts_has_done_is_known_by_both(data, tmp_path):
    result = run(two_parts(), data, tmp_path)
    cell, said = two_parts(), []
    threads = dataclasses.replace(cell.settings, workers=2)
    first = dataclasses.replace(cell.first, workers=2)
    again = dataclasses.replace(cell, settings=threads, first=first)
    assert run(again, data, tmp_path, said=said) == result and "done" in said[0]
    shutil.rmtree(tmp_path / "runs")
    other = dataclasses.replace(cell, first=dataclasses.replace(cell.first, lr=1e-3))
    assert run(other, data, tmp_path) != result


# Results


def line(cell="cnn/R", seed=0, mistakes=70, name="MNIST", **changes):
    known = {
        "experiment": "distorted-mnist",
        "cell": cell,
        "seed": seed,
        "error": mistakes / 10_000,
        "mistakes": mistakes,
        "test_images": 10_000,
        "epochs": 1,
        "images_seen": 60_000,
        "parameters": 400_000,
        "minutes": 1.0,
        "commit": "0",
        "data": {"name": name, "fingerprint": name},
        "settings": {"models": ["cnn"], "distortion": "R", "workers": 1},
    }
    return Result(**(known | changes))


def test_lines_are_added_and_replaced(tmp_path):
    path = tmp_path / "x.jsonl"
    assert read_results(path) == []
    add_result(path, line(mistakes=1))
    add_result(path, line(seed=1, mistakes=2))
    add_result(path, line(name="UCI digits", mistakes=3))
    add_result(path, line(mistakes=4))
    assert [r.mistakes for r in read_results(path)] == [2, 3, 4]
    path.write_text(path.read_text() + "{}\n")
    with pytest.raises(DataError, match=r"x\.jsonl, line 4: not a result"):
        read_results(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": {}}, "data has no name"),
        ({"data": "MNIST"}, "data is 'MNIST', want dict"),
        ({"test_images": 0}, "test_images is 0, want at least 1"),
        ({"mistakes": "60"}, "mistakes is '60', want int"),
        ({"minutes": None}, "minutes is None, want float"),
        ({"more": 1}, "unexpected keyword argument 'more'"),
    ],
)
def test_a_line_that_is_no_result_is_named(tmp_path, changes, message):
    path = tmp_path / "x.jsonl"
    add_result(path, line())
    path.write_text(path.read_text() + json.dumps(dataclasses.asdict(line()) | changes) + "\n")
    with pytest.raises(DataError, match=rf"x\.jsonl, line 2: not a result .*{message}"):
        read_results(path)


def test_a_file_that_is_no_text_is_no_result(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_bytes(b'{"cell": "\xff"}\n')
    with pytest.raises(DataError, match=r"x\.jsonl, line 1: not a result"):
        read_results(path)


@pytest.mark.skipif(files.fcntl is None, reason="this system has no locks")
def test_who_writes_at_the_same_time_loses_no_line(tmp_path, monkeypatch):
    """The lock is held for an open file, so threads stand for processes here."""

    def slow_write(path, text):
        time.sleep(0.01)
        files.write_text(path, text)

    monkeypatch.setattr(results, "write_text", slow_write)
    path = tmp_path / "x.jsonl"
    with ThreadPoolExecutor(5) as pool:
        list(pool.map(lambda seed: add_result(path, line(seed=seed)), range(5)))
    assert [r.seed for r in sorted(read_results(path), key=lambda r: r.seed)] == [0, 1, 2, 3, 4]


def test_the_mean_of_seeds_has_the_interval_of_one_test():
    lines = [line(seed=seed, mistakes=m) for seed, m in enumerate((60, 70, 95))]
    mean = mean_error(lines, "cnn/R")
    assert mean.error == pytest.approx(0.0075)
    assert (mean.low, mean.high) == wilson(75, 10_000)
    assert str(mean) == "0.75 (0.60-0.94, 3 seeds)"
    assert mean_error(lines, "cnn/RTS") is None


def test_same_work_whatever_the_threads():
    one = line()
    assert one.same_work(line(settings=one.settings | {"workers": 4}, mistakes=3))
    assert not one.same_work(line(seed=1))
    assert not one.same_work(line(settings=one.settings | {"lr": 1}))
    assert not one.same_work(line(name="other"))


# Tables


def test_the_cells_of_the_paper():
    keys = [(cell.key, cell.settings.seed) for cell in distorted.DISTORTED.cells]
    assert len(set(keys)) == len(keys) == 32 + 2 * 2 * 4
    assert ("st-cnn/affine/R", 2) in keys and ("st-fcn/tps/E", 0) in keys
    assert ("cnn/P", 1) not in keys
    assert {cell.key for cell in distorted.CLUTTERED.cells} == {
        "fcn/TC", "cnn/TC", "st-fcn/affine/TC", "st-cnn/affine/TC"
    }  # fmt: skip
    for cell in distorted.DISTORTED.cells:
        assert cell.settings.parameters == 400_000
    # One schedule for all cells of a column.
    for column in distorted.COLUMNS:
        schedules = {
            (s.epochs, s.batch_size, s.lr, s.optimizer, s.schedule)
            for s in (c.settings for c in distorted.DISTORTED.cells)
            if s.distortion == column
        }
        assert len(schedules) == 1


def test_the_pairs_of_addition_learn_as_affine_first():
    for cell in addition.ADDITION.cells:
        first, second = cell.parts
        pair = cell.key.startswith("2xst-cnn")
        assert first.transform == ("affine" if pair else second.transform)
        assert (first.optimizer, second.optimizer) == ("sgd", "adam")
        if pair:
            nets = [part.build("2xst-cnn", cell.task) for part in cell.parts]
            assert len({net.conv1.weight.shape for net in nets}) == 1


def test_the_table_has_the_paper_beside_ours():
    lines = [line("st-cnn/affine/R", mistakes=65), line("st-cnn/affine/R", 1, 75)]
    text = str(distorted.table(("R", "P"), lines))
    (row,) = [row for row in text.splitlines() if row.startswith("ST-CNN") and "affine" in row]
    assert row.split() == ["ST-CNN", "affine", "0.7", "0.70", "(0.55-0.88,", "2", "seeds)", "0.8"]
    assert str(lasagne.table([line(lasagne.KEY, mistakes=300)])).endswith("3.00 (2.68-3.35)")
    text = str(addition.table([line("2xst-cnn/tps/RTS", mistakes=600)]))
    assert "2xST-CNN  tps         5.8    6.00 (5.55-6.48)" in text
    found = colocalisation.table([line("T/0", mistakes=100), line("T/3", mistakes=300)])
    row = next(cell for cell in found.rows if cell[0] == "T")
    assert row[:4] == ["T", "100", "98.0", "99.0"] and row[6] == "97.0"


# Co-localisation


@pytest.mark.parametrize("with_nothing", [False, True])
def test_the_hinge_is_the_double_sum(with_nothing):
    rng = np.random.default_rng(0)
    e, random = rng.normal(size=(5, 3)) * 0.6, rng.normal(size=(5, 3)) * 0.6
    nothing = 2.5 * e[:1]
    total, active, empty = 0.0, 0, 0
    for n in range(5):
        unlike = np.sum((e[n] - random[n]) ** 2)
        if with_nothing and np.sum((e[n] - nothing[0]) ** 2) < unlike:
            unlike, empty = np.sum((e[n] - nothing[0]) ** 2), empty + 1
        for m in range(5):
            if m != n:
                term = np.sum((e[n] - e[m]) ** 2) - unlike + 1
                total, active = total + max(0, term), active + (term > 0)
    assert 0 < active < 20  # both sides of the hinge
    assert 0 < empty < 5 or not with_nothing  # and of the smaller distance
    rest = (Tensor(random), Tensor(nothing) if with_nothing else None)
    got = colocalisation.hinge(Tensor(e), *rest)
    assert got.item() == pytest.approx(total / 20, rel=1e-12)
    assert gradcheck(lambda e: colocalisation.hinge(e, *rest), [e])
    assert colocalisation.hinge(Tensor(e[:1]), Tensor(random[:1])).item() == 0


def test_windows_that_see_nothing_cost_the_whole_margin():
    """All alike, and still no way out: an empty crop is no farther from the empty one."""
    rng = np.random.default_rng(0)
    encoder = nn.Sequential(
        conv=nn.Conv2d(1, 2, 9, rng=rng), flat=nn.Flatten(), classifier=nn.Linear(800, 10, rng=rng)
    )
    task = colocalisation.Colocalisation(encoder)
    codes = {
        name: task.code(Tensor(crops))
        for name, crops in {
            "nothing": np.zeros((3, 1, 28, 28), np.float32),
            "alike": np.repeat(rng.random((1, 1, 28, 28), np.float32), 3, axis=0),
        }.items()
    }
    random = Tensor(-codes["alike"].data)
    loss = {name: colocalisation.hinge(e, random, task.nothing) for name, e in codes.items()}
    assert loss["nothing"].item() == pytest.approx(colocalisation.MARGIN, abs=1e-5)
    assert colocalisation.hinge(codes["nothing"], random).item() < colocalisation.MARGIN
    assert loss["alike"].item() < loss["nothing"].item()


def test_a_window_reads_the_frame_it_is_put_on():
    left_top = np.array([[0, 0], [32, 5], [13, 32]])
    x = np.random.default_rng(0).random((3, 1, 60, 60))
    theta = colocalisation.middles(left_top, 60).astype(float)
    G = colocalisation.Window(28 / 60).grid(theta, (3, 1, 28, 28))
    V = F.grid_sample(x, G).data
    for v, image, (left, top) in zip(V[:, 0], x[:, 0], left_top):
        np.testing.assert_allclose(v, image[top : top + 28, left : left + 28], atol=1e-5)


def test_overlap_counts_pixels():
    def pixels(theta, left_top):
        masks = []
        for left, top in (np.round((theta + 1) * 30 - 14).astype(int), left_top):
            mask = np.zeros((100, 100), bool)
            mask[top + 20 : top + 48, left + 20 : left + 48] = True
            masks.append(mask)
        return (masks[0] & masks[1]).sum() / (masks[0] | masks[1]).sum()

    rng = np.random.default_rng(0)
    left_top = rng.integers(0, 33, (20, 2))
    theta = colocalisation.middles(left_top + rng.integers(-9, 10, (20, 2)), 60)
    got = colocalisation.overlap(theta, left_top, 60)
    np.testing.assert_allclose(got, [pixels(*pair) for pair in zip(theta, left_top)], atol=1e-5)
    assert colocalisation.overlap(theta[:1] + 5, left_top[:1], 60) == 0


def test_colocalisation_learns_where_and_leaves_its_encoder_alone(monkeypatch):
    rng = np.random.default_rng(0)
    encoder = nn.Sequential(
        conv=nn.Conv2d(1, 2, 9, rng=rng), flat=nn.Flatten(), classifier=nn.Linear(800, 10, rng=rng)
    )
    task = colocalisation.Colocalisation(encoder)
    network = task.build("st-cnn", "affine", "T", 0, rng)
    images = np.zeros((6, 28, 28), np.uint8)
    images[:, 9:19, 9:19] = 255
    ((x, y),) = task.batches(images, np.zeros(6, int), 6, np.random.default_rng(1), "T")
    assert x.shape == (6, 1, 60, 60) and y.shape == (6, 4)
    before = {k: v.copy() for k, v in encoder.state_dict().items()}
    loss, wrong = task.answer(network, x, y)
    loss.backward()
    *_, last = network.localisation.modules()
    assert np.abs(last.bias.grad).max() > 0
    assert all(p.grad is None for p in encoder.parameters())
    assert all(np.array_equal(v, before[k]) for k, v in encoder.state_dict().items())
    # At first the windows are at different places, so that the loss has something to compare.
    theta = network.theta(x).data
    assert theta.std(axis=0).min() * 30 > 1.5  # pixels
    assert wrong == np.sum(colocalisation.overlap(theta, y[:, :2], 60) < 0.5)
    last.weight.data[...] = 0
    loss, wrong = task.answer(network, x, y)
    middle = np.zeros((6, 2), np.float32)
    assert wrong == np.sum(colocalisation.overlap(middle, y[:, :2], 60) < 0.5)
    # Windows that look away from what a random crop sees are alike, and cost all the same.
    away = np.zeros_like(x)
    away[:, :, :16, :16] = 1
    loss_away, _ = task.answer(network, away, np.zeros_like(y))
    assert loss_away.item() == pytest.approx(colocalisation.MARGIN, abs=1e-5)
    # The belief about the mean: windows that are all off by the same cost more.
    last.bias.data[...] = [0.3, 0.2]
    total = task.answer(network, x, y)[0].item()
    monkeypatch.setattr(colocalisation, "CENTRE", 0.0)
    alone = task.answer(network, x, y)[0].item()
    assert total - alone == pytest.approx(10 * (0.3**2 + 0.2**2), abs=1e-4)


# The command


@pytest.mark.parametrize("name", ["addition", "cluttered-lasagne", "cluttered-mnist"])
def test_quick_runs_every_cell_and_prints_the_table(name, capsys):
    assert main(["experiment", name, "--quick"]) == 0
    printed = capsys.readouterr().out
    experiment = EXPERIMENTS[name]
    assert f"[{len(experiment.cells)}/{len(experiment.cells)}]" in printed
    assert printed.count("% wrong") == len(experiment.cells)
    assert experiment.title in printed and "UCI digits" in printed
    # Once more: nothing is left to do, and the table can be had alone.
    assert main(["experiment", name, "--quick"]) == 0
    assert "starting" not in capsys.readouterr().out
    assert main(["experiment", name, "--quick", "--table"]) == 0
    assert experiment.title in capsys.readouterr().out


def test_workers_are_asked_for_when_a_cell_is_run(capsys, monkeypatch):
    """A wrong number in the environment is nothing to commands that need none."""
    monkeypatch.setenv("STN_NUMPY_WORKERS", "many")
    code = "import stn_numpy.experiments.command"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=BOOK.parent)
    assert main(["experiment", "addition", "--list"]) == 0
    assert main(["experiment", "addition", "--quick"]) == 2
    assert "experiment: STN_NUMPY_WORKERS is 'many'" in capsys.readouterr().err
    monkeypatch.setenv("STN_NUMPY_WORKERS", "2")
    assert main(["experiment", "distorted-mnist", "--quick", "--only", "fcn/R"]) == 0
    assert read_results("runs/quick/distorted-mnist.jsonl")[0].settings["workers"] == 2


def test_both_parts_of_a_cell_run_on_the_workers_asked_for(capsys):
    command = ["experiment", "addition", "--quick", "--only", "cnn/*", "--workers", "2"]
    assert main(command) == 0
    (line,) = read_results("runs/quick/addition.jsonl")
    assert line.settings["workers"] == line.settings["first"]["workers"] == 2
    assert line.settings["limit"] == line.settings["first"]["limit"] == 300
    assert [line.settings["first"]["optimizer"], line.settings["optimizer"]] == ["sgd", "adam"]


def test_only_some_cells(capsys):
    command = ["experiment", "distorted-mnist", "--quick", "--only", "st-cnn/*/R", "--seed", "0"]
    assert main(command) == 0
    printed = capsys.readouterr().out
    assert printed.count("starting") == 3
    lines = read_results("runs/quick/distorted-mnist.jsonl")
    assert [r.cell for r in lines] == [f"st-cnn/{t}/R" for t in ("affine", "projective", "tps")]
    command = ["experiment", "colocalisation", "--quick", "--only", "T/[03]"]
    assert main(command) == 0
    assert main([*command, "--list"]) == 0
    assert capsys.readouterr().out.endswith("seed 0\nT/3                      seed 0\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing"], "invalid choice: 'nothing'"),
        (["addition", "--only", "cnn/R"], "addition has no cell cnn/R"),
        (["addition", "--seed", "7"], "has no cell .*seed 7"),
        (["addition", "--quick", "--results", str(BOOK / "results")], "would replace the lines"),
        (["addition", "--workers", "0"], "--workers is 0, want at least 1"),
        (["addition", "--table", "--results", "nowhere"], "addition.jsonl: no results yet"),
    ],
)
def test_mistakes_are_one_line(arguments, message, capsys):
    try:
        code = main(["experiment", *arguments])
    except SystemExit as error:
        code = error.code
    err = capsys.readouterr().err
    assert code == 2
    assert len(err.strip().splitlines()) == 1
    assert re.search(message, err)


def test_an_interrupted_experiment_says_how_to_go_on(capsys, monkeypatch):
    def stop(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(cells.Run, "train", stop)
    command = ["experiment", "addition", "--quick", "--only", "cnn/*", "--workers", "2"]
    assert main(command) == 130
    err = capsys.readouterr().err
    again = "experiment addition --only 'cnn/*' --quick --workers 2"
    assert f"to go on: python -m stn_numpy {again}" in err


def test_lines_of_other_data_are_not_mixed(data):
    from stn_numpy.experiments.command import of_one_data_set

    mixed = [line(name="UCI digits"), line(), line(name="UCI digits", seed=1)]
    assert of_one_data_set(mixed) == [mixed[1]]
    assert of_one_data_set([mixed[0], mixed[2]]) == [mixed[0], mixed[2]]
    assert isinstance(data, Dataset) and results.results_file("a", "b").name == "b.jsonl"
