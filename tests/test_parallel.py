"""Workers: the same gradients however many there are, the same bits again, nothing left behind."""

import os
import threading

import numpy as np
import pytest

import stn_numpy.functional as F
from stn_numpy import models, no_grad
from stn_numpy.errors import UserError
from stn_numpy.nn import BatchNorm2d, Conv2d, Dropout, Flatten, Linear, Module, ReLU, Sequential
from stn_numpy.optim import SGD
from stn_numpy.parallel import Workers, default_workers, replicate, shards


def loss(model, x, y):
    return F.cross_entropy(model(x), y)


def network(seed=0, *more):
    rng = np.random.default_rng(seed)
    return Sequential(
        Conv2d(2, 3, 3, rng=rng),
        *more,
        ReLU(),
        Flatten(),
        Linear(3 * 4 * 3, 5, rng=rng),
    )


def batch(rng, N, dtype=np.float32):
    return rng.normal(size=(N, 2, 6, 5)).astype(dtype), rng.integers(0, 5, N)


def gradients(model, count, x, y):
    """The loss and the gradients that `count` workers find."""
    model.zero_grad()
    with Workers(model, count) as workers:
        value = workers.gradients(loss, x, y)
    return value, [p.grad for p in model.parameters()]


# Gradients


@pytest.mark.parametrize("N", [1, 2, 3, 7, 12])
def test_any_number_of_workers_finds_the_gradients_of_the_whole_batch(N, rng):
    model = network().astype(np.float64)
    x, y = batch(rng, N, np.float64)
    whole = loss(model, x, y)
    whole.backward()
    expected = [p.grad for p in model.parameters()]
    for count in (1, 2, 3, 5):  # more workers than images are no matter
        value, got = gradients(model, count, x, y)
        assert value == pytest.approx(whole.item(), rel=1e-14)
        for a, b in zip(got, expected):
            np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", ["st-cnn", "tutorial"])
def test_whole_networks_agree_to_rounding(name, rng):
    model = models.build(name, width=4, rng=rng).eval()
    last = [p for p in models.localisation_parameters(model) if p.ndim == 2][-1]
    last.data[...] = 0.05 * rng.normal(size=last.shape)
    x, y = rng.random((11, 1, 28, 28), dtype=np.float32), rng.integers(0, 10, 11)
    value, expected = gradients(model, 1, x, y)
    for count in (2, 3):
        other, got = gradients(model, count, x, y)
        assert other == pytest.approx(value, rel=1e-6)
        for a, b in zip(got, expected):
            assert a.dtype == np.float32
            np.testing.assert_allclose(a, b, rtol=0, atol=2e-5 * max(1, np.abs(b).max()))


@pytest.mark.parametrize("count", [1, 2, 3])
def test_the_same_number_of_workers_gives_the_same_bits(count):
    """Ten steps with dropout and batch normalisation, three times over."""

    def run():
        rng = np.random.default_rng(5)
        model = network(1, BatchNorm2d(3), Dropout(0.3, rng=np.random.default_rng(2)))
        optimizer = SGD(model.parameters(), lr=0.1, momentum=0.9)
        values = []
        with Workers(model, count) as workers:
            for _ in range(10):
                optimizer.zero_grad()
                values.append(workers.gradients(loss, *batch(rng, 10)))
                optimizer.step()
        return values, model.state_dict()

    values, state = run()
    assert values[-1] != values[0]
    for _ in range(2):
        again, other = run()
        assert again == values
        for key, array in state.items():
            np.testing.assert_array_equal(array, other[key])


def test_gradients_are_added_to_those_that_are_there(rng):
    model = network()
    x, y = batch(rng, 6)
    _, once = gradients(model, 2, x, y)
    with Workers(model, 2) as workers:
        workers.gradients(loss, x, y)  # on top of the first
    for p, g in zip(model.parameters(), once):
        np.testing.assert_allclose(p.grad, 2 * g, rtol=1e-5, atol=1e-7)


def test_parameters_that_are_not_used_have_no_gradient(rng):
    model = network()
    model.spare = Linear(2, 2, rng=rng)
    unused = lambda model, x, y: F.cross_entropy(Sequential(*list(model)[:-1])(x), y)  # noqa: E731
    with Workers(model, 2) as workers:
        workers.gradients(unused, *batch(rng, 4))
    assert model.spare.weight.grad is None
    assert model[0].weight.grad is not None


def test_x_and_y_must_match(rng):
    x, y = batch(rng, 4)
    with Workers(network(), 2) as workers:
        with pytest.raises(ValueError, match="gradients: x has 4 images and y 3 targets"):
            workers.gradients(loss, x, y[:3])
        with pytest.raises(ValueError, match="gradients: x has 0 images and y 0 targets"):
            workers.gradients(loss, x[:0], y[:0])


# Replicas


def test_replicas_share_parameters_and_nothing_else(rng):
    model = network(0, BatchNorm2d(3), Dropout(0.5))
    loss(model, *batch(rng, 4)).backward()
    replica = replicate(model)
    for own, other in zip(model.parameters(), replica.parameters()):
        assert own is not other
        assert own.data is other.data
        assert own.grad is not None
        assert other.grad is None
    for (_, own), (_, other) in zip(model.named_buffers(), replica.named_buffers()):
        assert not np.shares_memory(own, other)
        np.testing.assert_array_equal(own, other)
    assert repr(model) == repr(replica)
    assert model[2].rng is not replica[2].rng


def test_an_optimizer_step_reaches_all_replicas(rng):
    model = network()
    with Workers(model, 3) as workers:
        workers.gradients(loss, *batch(rng, 6))
        SGD(model.parameters(), lr=0.5).step()
        for replica in workers.replicas:
            np.testing.assert_array_equal(replica[0].weight.data, model[0].weight.data)
    assert not np.array_equal(model[0].weight.data, network()[0].weight.data)


def test_replicas_follow_the_model(rng):
    """Mode, loaded state and dtype may change after the workers have begun."""
    model = network(0, BatchNorm2d(3))
    other = network(7, BatchNorm2d(3))
    other(batch(rng, 5)[0])  # which moves its running means
    x, _ = batch(rng, 9)

    def predict(replica, x):
        with no_grad():
            return replica(x).data

    with Workers(model, 3) as workers:
        workers.map(predict, shards(x, 3))
        model.load_state_dict(other.state_dict())
        model.eval()
        together = np.concatenate(workers.map(predict, shards(x, 3)))
        np.testing.assert_allclose(together, other.eval()(x).data, rtol=1e-5, atol=1e-6)
        model.astype(np.float64)
        assert workers.map(predict, shards(x.astype(np.float64), 3))[2].dtype == np.float64


def test_all_workers_forget_different_units():
    model = Sequential(Dropout(0.5, rng=np.random.default_rng(3)))
    x = np.ones((3, 1, 10, 10), np.float32)
    with Workers(model, 3) as workers:
        a, b, c = workers.map(lambda replica, x: replica(x).data, shards(x, 3))
    assert not np.array_equal(a, b)
    assert not np.array_equal(b, c)
    assert not np.array_equal(a, c)


def test_running_means_are_the_mean_of_the_busy_workers(rng):
    x, y = batch(rng, 4)

    def after(images):
        model = network(0, BatchNorm2d(3))
        model(images)
        return {key: array.copy() for key, array in model.named_buffers()}

    halves = after(x[:2]), after(x[2:])
    model = network(0, BatchNorm2d(3))
    with Workers(model, 2) as workers:
        workers.gradients(loss, x, y)
    for key in ("1.running_mean", "1.running_var"):
        mean = (halves[0][key] + halves[1][key]) / 2
        np.testing.assert_allclose(dict(model.named_buffers())[key], mean, rtol=1e-6)
    assert int(model[1].num_batches_tracked) == 1

    alone = network(0, BatchNorm2d(3))
    with Workers(alone, 3) as workers:
        workers.gradients(loss, x[:1], y[:1])  # two of three workers stand idle
    expected = after(x[:1])
    for key, array in alone.named_buffers():
        np.testing.assert_array_equal(array, expected[key])


# Threads


def test_map_hands_out_the_parts_in_order_and_works_at_once():
    """All three wait for each other: one after the other, this would never end."""
    barrier = threading.Barrier(3, timeout=20)

    def work(replica, part, other):
        barrier.wait()
        return part, other, threading.current_thread() is threading.main_thread()

    with Workers(network(), 3) as workers:
        assert workers.map(work, "abc", iter([1, 2, 3])) == [
            ("a", 1, True),
            ("b", 2, False),
            ("c", 3, False),
        ]
        barrier.reset()


def test_map_with_fewer_parts_than_workers_and_with_more():
    with Workers(network(), 3) as workers:
        assert workers.map(lambda replica, part: part, [5, 6]) == [5, 6]
        assert workers.map(lambda replica, part: part, []) == []
        assert workers.map(lambda replica, a, b: (a, b), [5], [6, 7, 8]) == [(5, 6)]
        assert workers.map(lambda replica: replica) == workers.replicas
        with pytest.raises(ValueError, match="map: got 4 parts, want at most 3"):
            workers.map(lambda replica, part: part, range(4))


@pytest.mark.parametrize("bad", [0, 1, 2])
def test_an_exception_in_a_worker_comes_out_when_all_have_stopped(bad):
    model = network()
    finished = []

    def work(replica, part):
        if part == bad:
            raise ZeroDivisionError(f"part {part}")
        threading.Event().wait(0.05)
        finished.append(part)
        return part

    with Workers(model, 3) as workers:
        with pytest.raises(ZeroDivisionError, match=f"part {bad}"):
            workers.map(work, range(3))
        assert sorted(finished) == [part for part in range(3) if part != bad]
        assert workers.map(lambda replica, part: part, range(3)) == [0, 1, 2]  # and goes on


def test_a_wrong_batch_is_named_by_the_layer_it_reaches(rng):
    x, y = batch(rng, 5)
    y[4] = 99  # in the second worker's part
    message = r"cross_entropy: target holds \d to 99"
    with Workers(network(), 2) as workers, pytest.raises(ValueError, match=message):
        workers.gradients(loss, x, y)


def blas_threads():
    from threadpoolctl import threadpool_info

    return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]


def test_blas_has_one_thread_inside_and_what_it_had_afterwards():
    from threadpoolctl import threadpool_limits

    if not blas_threads():
        pytest.skip("threadpoolctl does not know this BLAS")
    with threadpool_limits(limits=2, user_api="blas"):
        before = blas_threads()
        assert set(before) == {2}
        workers = Workers(network(), 2)
        for _ in range(2):  # a second time as well
            with workers:
                assert set(blas_threads()) == {1}
                seen = workers.map(lambda replica, part: blas_threads(), range(2))
                assert {n for threads in seen for n in threads} == {1}
            assert blas_threads() == before
        with pytest.raises(KeyError), Workers(network(), 3):
            raise KeyError
        assert blas_threads() == before


def test_no_thread_is_left_behind_and_none_works_outside_with():
    count = threading.active_count()
    with Workers(network(), 3) as workers:
        workers.map(lambda replica, part: part, range(3))
    assert threading.active_count() == count
    with pytest.raises(RuntimeError, match="map: there are no threads outside"):
        workers.map(lambda replica, part: part, range(3))


# Numbers of workers


@pytest.mark.parametrize(("value", "count"), [("1", 1), ("3", 3), (" 2 ", 2), ("16", 16)])
def test_the_environment_decides_the_number(value, count, monkeypatch):
    monkeypatch.setenv("STN_NUMPY_WORKERS", value)
    assert default_workers() == count
    assert Workers(network()).count == count


@pytest.mark.parametrize("value", ["0", "-1", "2.5", "two", "1e1", "²", "٣", "0x2"])
def test_a_bad_environment_is_a_plain_error(value, monkeypatch):
    monkeypatch.setenv("STN_NUMPY_WORKERS", value)
    with pytest.raises(UserError) as raised:
        default_workers()
    assert str(raised.value) == f"STN_NUMPY_WORKERS is {value!r}, want an integer of at least 1"


@pytest.mark.parametrize("value", [None, "", " "])
def test_without_it_the_cores_decide(value, monkeypatch):
    monkeypatch.delenv("STN_NUMPY_WORKERS", raising=False)
    if value is not None:
        monkeypatch.setenv("STN_NUMPY_WORKERS", value)
    for cores, workers in ((1, 1), (3, 3), (4, 4), (64, 4)):
        monkeypatch.setattr(
            os, "sched_getaffinity", lambda _, n=cores: set(range(n)), raising=False
        )
        assert default_workers() == workers
    monkeypatch.delattr(os, "sched_getaffinity")
    for cores, workers in ((2, 2), (None, 1), (99, 4)):
        monkeypatch.setattr(os, "cpu_count", lambda n=cores: n)
        assert default_workers() == workers


@pytest.mark.parametrize(
    ("count", "error", "message"),
    [
        (0, ValueError, "Workers: count is 0, want at least 1"),
        (-2, ValueError, "Workers: count is -2, want at least 1"),
        (1.5, TypeError, r"Workers: count is 1\.5, want an integer"),
    ],
)
def test_a_wrong_count_is_named(count, error, message):
    with pytest.raises(error, match=message):
        Workers(network(), count)


# Parts of a batch


@pytest.mark.parametrize(("N", "count"), [(6, 1), (6, 2), (7, 3), (2, 5), (1, 1)])
def test_shards_are_the_batch_in_parts_each_with_the_batch_last_in_memory(N, count, rng):
    x = rng.normal(size=(N, 2, 3, 4)).astype(np.float32)
    parts = list(shards(x, count))
    expected = [part for part in np.array_split(x, count) if len(part)]
    assert len(parts) == len(expected)
    for part, wanted in zip(parts, expected):
        np.testing.assert_array_equal(part, wanted)
        assert part.dtype == np.float32
        assert part.transpose(1, 2, 3, 0).flags.c_contiguous


def test_a_module_of_ones_own_can_be_replicated(rng):
    class Own(Module):
        def __init__(self):
            self.inside = network()
            self.seen = np.zeros(1)

        def forward(self, x):
            self.seen += len(x)
            return self.inside(x)

    model = Own()
    x, y = batch(rng, 6)
    _, one = gradients(model, 1, x, y)
    _, two = gradients(model, 2, x, y)
    for a, b in zip(one, two):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
