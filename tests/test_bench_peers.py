"""Peers of our own kind: they do the same work, or the row is refused."""

import argparse
import json
import sys
from functools import partial

import numpy as np
import pytest

from stn_numpy import bench
from stn_numpy import functional as F
from stn_numpy.bench import peer_code, peers, timing, work
from stn_numpy.errors import UserError

TINY = {"name": "st-cnn", "width": 2}


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Times are not what these tests look at: one run a turn is enough."""
    monkeypatch.setattr(timing, "SHORTEST", 0.0)
    monkeypatch.setattr(timing, "WARM_UP", 1)
    monkeypatch.setattr(peers, "WARM_UP", 1)


@pytest.fixture(params=peer_code.PEERS, ids=lambda peer: peer.package)
def peer(request):
    pytest.importorskip(request.param.package)
    return request.param()


def arguments(*options: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    bench.add_arguments(parser)
    return parser.parse_args(["--repeats", "1", "--workers", "2", "--peers", *options])


def tiny_rows() -> dict:
    return {
        "step": partial(peers.few_in_float64_with, batch=9, **TINY),
        "conv": partial(
            peers.operation, call=work.convolve, inputs=partial(work.conv_inputs, 5, 2, 6, 3, 3)
        ),
        "pool": partial(
            peers.operation, call=work.pool, inputs=partial(work.pool_inputs, 3, 2, 4, 6)
        ),
        "read": partial(
            peers.operation, call=work.read, inputs=partial(work.read_inputs, 3, 2, 4, 5)
        ),
    }


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("name", tiny_rows())
def test_both_sides_of_every_row_do_the_same(name, workers, peer):
    row = partial(tiny_rows()[name], peer=peer)
    times = timing.time_row(name, row, workers, repeats=2)
    assert len(times.ours) == len(times.theirs) == 2


def test_the_table_has_the_rows_that_tiny_rows_stand_for():
    def kind(row):
        return row.func, row.keywords.get("call")

    assert {kind(row) for row in peers.rows().values()} == set(map(kind, tiny_rows().values()))


def test_the_step_compares_the_loss_and_every_parameter(peer):
    with peers.training_step(2, np.float64, batch=5, peer=peer, **TINY) as (ours, theirs):
        got, want = ours.results(ours.run()), theirs.results(theirs.run())
    names = [name for name, _ in work.network(1, **TINY)[0].named_parameters()]
    assert set(want) == {"loss", *(f"gradient of {n}" for n in names)} | {
        f"{n} after the step" for n in names
    }
    for name in want:
        np.testing.assert_allclose(got[name], want[name], rtol=1e-9, atol=1e-14, err_msg=name)
        assert np.any(want[name])


def test_peers_compute_in_float32_where_we_do(peer):
    with peers.training_step(1, np.float32, batch=3, peer=peer, **TINY) as (_, theirs):
        results = theirs.results(theirs.run())
    assert {array.dtype for name, array in results.items() if name != "loss"} == {
        np.dtype(np.float32)
    }


def test_points_outside_read_zeros(peer):
    rng = np.random.default_rng(0)
    U, G = rng.random((2, 3, 4, 5)), 2.5 * rng.standard_normal((2, 6, 3, 2))
    V, _ = peer.gradients(peer.grid_sample, [U, G], np.ones((2, 3, 6, 3)))
    np.testing.assert_allclose(V, F.grid_sample(U, G).data, atol=1e-14)
    assert (V == 0).any() and (V != 0).any()


def test_a_step_that_differs_is_refused(peer, monkeypatch):
    monkeypatch.setattr(peers, "MOMENTUM", 0.8)
    row = partial(tiny_rows()["step"], peer=peer)
    with pytest.raises(timing.DifferentWork, match=f"after the step is .* away from {peer.name}'s"):
        timing.time_row("step", row, 1, repeats=1)


def test_a_peer_has_the_blas_threads_that_are_faster(monkeypatch):
    from threadpoolctl import threadpool_info, threadpool_limits

    def blas_threads() -> set[int]:
        return {lib["num_threads"] for lib in threadpool_info() if lib["user_api"] == "blas"}

    for slow, fast in ((1, 2), (2, 1)):
        times = {1: 1.0, 2: 1.0, slow: 2.0}
        monkeypatch.setattr(peers, "seconds_of", lambda run, _, times=times: times[run.args[0]])
        with threadpool_limits(limits=1, user_api="blas"):
            work = peers.with_blas_threads(blas_threads, 2)
            assert work() in ({fast}, set())  # a NumPy may come without a BLAS that can be asked
            assert blas_threads() in ({1}, set())
    assert peers.with_blas_threads(blas_threads, 1)() in ({1}, set())


# The command


def test_every_peer_that_is_installed_is_in_the_table(peer, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(peers, "rows", tiny_rows)
    monkeypatch.setattr(peers, "PEERS", (type(peer),))
    assert bench.run(arguments("--only", "o", "--json", str(tmp_path / "p.json"))) == 0
    printed = capsys.readouterr().out
    assert f"\n{peer.name} {peers.version(peer.package)}\nwork " in printed
    assert "theirs ms" in printed and "Not installed" not in printed and peers.FOOTNOTE in printed
    found = json.loads((tmp_path / "p.json").read_text())["peers"]
    assert [(row["peer"], row["work"]) for row in found] == [
        (peer.name, "conv"),
        (peer.name, "pool"),
    ]
    for row in found:
        assert row["ratio"] == pytest.approx(row["ours_ms"] / row["theirs_ms"])


def test_a_peer_that_is_not_installed_is_named_with_the_command(monkeypatch, capsys):
    class Absent(peer_code.Peer):
        name, package = "Absent", "no_such_package_anywhere"

    pytest.importorskip("mygrad")
    monkeypatch.setattr(peers, "rows", tiny_rows)
    monkeypatch.setattr(peers, "PEERS", (Absent, peer_code.MyGrad))
    assert bench.run(arguments("--only", "pool")) == 0
    assert (
        "\nNot installed, and so not in the table: Absent (pip install no_such_package_anywhere)\n"
        in capsys.readouterr().out
    )


def test_without_any_peer_one_line_says_what_to_install(monkeypatch):
    for name in ("autograd", "mygrad"):
        monkeypatch.setitem(sys.modules, name, None)  # makes importing it fail
    with pytest.raises(UserError, match=r"pip install autograd mygrad$") as caught:
        bench.run(arguments())
    assert "\n" not in str(caught.value)
