"""MNIST from a folder, from the cache and from mirrors, and all that can go wrong on the way.

The mirrors are servers on this machine, and the files a small set with checksums of its own.
"""

import contextlib
import functools
import gzip
import hashlib
import http.server
import json
import os
import shutil
import socket
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import stn_numpy.data as data
from stn_numpy.data import MnistUnavailable, load, load_mnist, mnist
from stn_numpy.errors import DataError

NAMES = list(mnist.FILES)
REAL_MNIST = os.environ.get("STN_NUMPY_DATA")
ROOT = Path(__file__).parents[1]


def idx(array):
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


def small_set(seed=0, train=20, test=10):
    """Name -> content of the four files of a small set."""
    rng = np.random.default_rng(seed)
    arrays = [
        array
        for n in (train, test)
        for array in (rng.integers(0, 256, (n, 28, 28)), np.arange(n) % 10)
    ]
    return {name: idx(a.astype(np.uint8)) for name, a in zip(NAMES, arrays, strict=True)}


def write(folder, files, compress=True):
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        if compress:
            (folder / f"{name}.gz").write_bytes(gzip.compress(content))
        else:
            (folder / name).write_bytes(content)
    return folder


def listing(folder):
    """Every file of a folder, hidden ones too, and its content."""
    return {p.name: p.read_bytes() for p in folder.iterdir()} if folder.exists() else {}


class Handler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        self.server.requests.append(f"{self.command} {self.path}")

    def handle(self):
        with contextlib.suppress(ConnectionError):  # a client that was killed
            super().handle()


@contextlib.contextmanager
def serve(handler):
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.requests = []
        server.url = f"http://127.0.0.1:{server.server_port}/"
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()


def mirror(folder):
    """A server of the files in a folder."""
    return serve(functools.partial(Handler, directory=str(folder)))


def answers(body, length=None, wait=None):
    """A server that gives the same answer to everything."""

    class Always(Handler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Length", str(length or len(body)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)
                self.wfile.flush()
                if wait is not None:
                    self.server.reached.set()
                    wait.wait(20)

        do_HEAD = do_GET

    return serve(Always)


def dead_url():
    """An address at which nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}/"


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch, tmp_path):
    """No folder of the user's, an empty cache, no mirrors, and loopback without a proxy."""
    monkeypatch.delenv("STN_NUMPY_DATA", raising=False)
    monkeypatch.setenv("STN_NUMPY_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(mnist, "MIRRORS", ())


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


@pytest.fixture
def files(monkeypatch):
    """A small set that counts as MNIST."""
    files = small_set()
    sums = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    monkeypatch.setattr(mnist, "FILES", sums)
    return files


def use(monkeypatch, *urls):
    monkeypatch.setattr(mnist, "MIRRORS", urls)


def assert_is(dataset, files):
    train_images, train_labels, test_images, test_labels = files.values()
    assert dataset.train_images.tobytes() == train_images[16:]
    assert dataset.test_images.tobytes() == test_images[16:]
    assert dataset.train_labels.astype(np.uint8).tobytes() == train_labels[8:]
    assert dataset.test_labels.astype(np.uint8).tobytes() == test_labels[8:]
    assert dataset.train_images.shape[1:] == dataset.test_images.shape[1:] == (28, 28)
    assert dataset.train_images.dtype == dataset.test_images.dtype == np.uint8
    assert dataset.train_labels.dtype == dataset.test_labels.dtype == np.int64
    assert "\n" not in dataset.notice


def one_line(caught):
    line = str(caught.value)
    assert "\n" not in line
    return line


# A folder of the user's


@pytest.mark.parametrize("compress", [True, False])
@pytest.mark.parametrize("dotted", [True, False])
@pytest.mark.parametrize("named_by", ["argument", "environment"])
def test_folder(tmp_path, monkeypatch, files, compress, dotted, named_by):
    renamed = {n.replace("-idx", ".idx") if dotted else n: c for n, c in files.items()}
    folder = write(tmp_path / "mine", renamed, compress)
    if named_by == "environment":
        monkeypatch.setenv("STN_NUMPY_DATA", str(folder))
    dataset = load_mnist(str(folder) if named_by == "argument" else None)
    assert_is(dataset, files)
    assert dataset.name == "MNIST" and str(folder) in dataset.notice
    assert "20 training and 10 test" in dataset.notice
    assert not (tmp_path / "cache").exists()


def test_argument_goes_before_environment_before_cache(tmp_path, monkeypatch, files, cache):
    folder = write(tmp_path / "argument", small_set(1))
    monkeypatch.setenv("STN_NUMPY_DATA", str(write(tmp_path / "environment", small_set(2))))
    write(cache, files)
    assert_is(load_mnist(folder), small_set(1))
    assert_is(load_mnist(), small_set(2))
    monkeypatch.setenv("STN_NUMPY_DATA", "")  # the same as not set
    assert_is(load_mnist(), files)


def test_another_set_is_accepted_and_called_so(tmp_path, files):
    other = small_set(seed=5, train=30) | {NAMES[3]: files[NAMES[3]]}
    dataset = load(write(tmp_path / "fashion", other))
    assert_is(dataset, other)
    assert "other than MNIST" in dataset.name
    assert "checksum is not that of MNIST for train-images" in dataset.notice
    assert "30 training" in dataset.notice and NAMES[3] not in dataset.notice


@pytest.mark.parametrize("find", [load, load_mnist])
@pytest.mark.parametrize("named_by", ["argument", "environment"])
def test_a_folder_that_cannot_be_used_is_an_error(tmp_path, monkeypatch, files, find, named_by):
    """However good the cache is: what was asked for by name is not replaced in silence."""
    write(tmp_path / "cache", files)
    half = write(tmp_path / "half", dict(list(files.items())[1:3]))
    (half / NAMES[0]).mkdir()  # as some archives unpack: a folder of the name of the file
    file = tmp_path / "file"
    file.write_bytes(b"")
    for folder, message in (
        (tmp_path / "none", "does not exist"),
        (file, "is not a folder"),
        (half, f"no {NAMES[0]}, no {NAMES[3]} (nor with .gz)"),
    ):
        if named_by == "environment":
            monkeypatch.setenv("STN_NUMPY_DATA", str(folder))
        with pytest.raises(DataError) as caught:
            find(folder if named_by == "argument" else None)
        line = one_line(caught)
        assert line.startswith(str(folder)) and message in line
        assert ("$STN_NUMPY_DATA" in line) == (named_by == "environment")
        assert not isinstance(caught.value, MnistUnavailable)


BAD = {
    "images of another size": (0, idx(np.zeros((20, 8, 8), np.uint8)), "want images of 28 x 28"),
    "labels for images": (0, idx(np.zeros(20, np.uint8)), "want images of 28 x 28"),
    "images for labels": (3, idx(np.zeros((10, 28, 28), np.uint8)), "want one label an image"),
    "too few labels": (1, idx(np.zeros(19, np.uint8)), "19 labels for the 20 images"),
    "a label of 10": (3, idx(np.full(10, 10, np.uint8)), "holds the label 10"),
    "a page": (2, b"<html></html>", "HTML page"),
    "cut short": (2, idx(np.zeros((10, 28, 28), np.uint8))[:-100], "cut short"),
}


@pytest.mark.parametrize("which, content, message", BAD.values(), ids=BAD)
def test_a_bad_file_in_a_folder_is_named(tmp_path, files, which, content, message):
    folder = write(tmp_path / "mine", files | {NAMES[which]: content})
    before = listing(folder)
    with pytest.raises(DataError) as caught:
        load(folder)
    line = one_line(caught)
    assert line.startswith(str(folder / f"{NAMES[which]}.gz")) and message in line
    assert listing(folder) == before


# Mirrors


def test_download_then_cache(tmp_path, monkeypatch, files, cache):
    with mirror(write(tmp_path / "mirror", files)) as server:
        use(monkeypatch, server.url)
        dataset = load_mnist()
        assert_is(dataset, files)
        assert dataset.name == "MNIST" and f"downloaded to {cache}" in dataset.notice
        assert sorted(listing(cache)) == sorted(f"{name}.gz" for name in NAMES)
        assert server.requests.count(f"GET /{NAMES[0]}.gz") == 1
        asked = len(server.requests)
        dataset = load_mnist()
        assert_is(dataset, files)
        assert "from the cache" in dataset.notice and len(server.requests) == asked


def test_only_what_is_missing_is_downloaded(tmp_path, monkeypatch, files, cache):
    write(cache, {NAMES[0]: files[NAMES[0]], NAMES[2]: files[NAMES[2]]})
    with mirror(write(tmp_path / "mirror", files)) as server:
        use(monkeypatch, server.url)
        assert_is(load_mnist(), files)
        got = [request for request in server.requests if request.startswith("GET")]
    assert got == [f"GET /{NAMES[1]}.gz", f"GET /{NAMES[3]}.gz"]


def test_no_download_when_told_not_to(tmp_path, monkeypatch, files, cache):
    with mirror(write(tmp_path / "mirror", files)) as server:
        use(monkeypatch, server.url)
        with pytest.raises(MnistUnavailable, match="downloading is switched off"):
            load_mnist(download=False)
        assert not server.requests and not cache.exists()


def test_a_mirror_may_send_the_file_decompressed(tmp_path, monkeypatch, files, cache):
    folder = write(tmp_path / "mirror", {f"{n}.gz": c for n, c in files.items()}, compress=False)
    with mirror(folder) as server:
        use(monkeypatch, server.url)
        assert_is(load_mnist(), files)
    use(monkeypatch)
    assert_is(load_mnist(), files)


def test_dead_mirrors_are_passed_over(tmp_path, monkeypatch, files):
    empty = tmp_path / "empty"
    empty.mkdir()
    with mirror(empty) as nothing_there, mirror(write(tmp_path / "mirror", files)) as good:
        use(monkeypatch, dead_url(), nothing_there.url, good.url)
        assert_is(load_mnist(), files)
        assert not any(request.startswith("GET") for request in nothing_there.requests)


SPOILT = {
    "HTML": (b"<html><body>log in first</body></html>", None, "HTML page"),
    "another file": (gzip.compress(idx(np.zeros((5, 28, 28), np.uint8))), None, "checksum"),
    "truncated gzip": (gzip.compress(small_set()[NAMES[0]])[:-100], None, "cut short"),
    "connection lost": (gzip.compress(small_set()[NAMES[0]])[:500], 15000, "14500 more expected"),
    "nothing": (b"", None, "empty"),
}


@pytest.mark.parametrize("body, length, message", SPOILT.values(), ids=SPOILT)
def test_a_spoilt_download_is_refused(tmp_path, monkeypatch, files, cache, body, length, message):
    with answers(body, length) as bad, mirror(write(tmp_path / "mirror", files)) as good:
        use(monkeypatch, bad.url)
        with pytest.raises(MnistUnavailable, match=message) as caught:
            load_mnist()
        one_line(caught)
        assert listing(cache) == {}
        # With a second mirror that is slower to answer, the first is asked and then given up.
        monkeypatch.setattr(mnist, "_mirrors_that_answer", lambda fetch: iter(mnist.MIRRORS))
        use(monkeypatch, bad.url, good.url)
        dataset = load_mnist()
        assert_is(dataset, files)
        assert sorted(listing(cache)) == sorted(f"{name}.gz" for name in NAMES)


def test_a_mirror_that_fails_half_way_leaves_only_whole_files(tmp_path, monkeypatch, files, cache):
    part = write(tmp_path / "part", {n: files[n] for n in NAMES[:2]})
    with mirror(part) as server:
        use(monkeypatch, server.url)
        with pytest.raises(MnistUnavailable, match="404"):
            load_mnist()
    assert sorted(listing(cache)) == sorted(f"{name}.gz" for name in NAMES[:2])
    with mirror(write(tmp_path / "mirror", files)) as server:
        use(monkeypatch, server.url)
        assert_is(load_mnist(), files)


def test_silent_mirrors_cost_no_more_than_the_patience(monkeypatch, cache):
    monkeypatch.setattr(mnist, "PATIENCE", 0.3)
    with socket.socket() as silent:  # takes connections and never says a word
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        use(monkeypatch, *[f"http://127.0.0.1:{silent.getsockname()[1]}/{i}/" for i in range(3)])
        monkeypatch.setattr(mnist, "TIMEOUT", (0.5, 0.5))  # for the threads left behind
        start = time.monotonic()
        dataset = load()
        assert time.monotonic() - start < 3
        time.sleep(0.6)
    assert dataset.name == "UCI digits" and not cache.exists()


def test_patience_in_earnest_is_a_few_seconds():
    assert mnist.PATIENCE <= 5 and max(mnist.TIMEOUT) <= 10 and len(mnist.FILES) == 4
    # As imported, before any test put others in their place.
    code = "from stn_numpy.data import mnist; print(*mnist.MIRRORS)"
    urls = run(code).split()
    assert len(urls) >= 3
    assert all(url.startswith("https://") and url.endswith("/") for url in urls)


# The cache


def test_a_damaged_cache_is_mended(tmp_path, monkeypatch, files, cache):
    write(cache, files)
    (cache / f"{NAMES[2]}.gz").write_bytes(b"\x1f\x8b half")
    write(cache, {NAMES[1]: idx(np.zeros(20, np.uint8))})  # well-formed, but not MNIST
    with mirror(write(tmp_path / "mirror", files)) as server:
        use(monkeypatch, server.url)
        dataset = load()
    assert_is(dataset, files)
    assert f"{NAMES[2]} was damaged in the cache" in dataset.notice
    assert f"{NAMES[1]} was damaged in the cache" in dataset.notice
    use(monkeypatch)
    assert "was damaged" not in load().notice


@pytest.mark.parametrize("find", [load, load_mnist])
@pytest.mark.parametrize("download", [True, False])
def test_a_damaged_cache_that_cannot_be_mended_is_an_error(files, cache, find, download):
    write(cache, files)
    bad = cache / f"{NAMES[2]}.gz"
    bad.write_bytes(bad.read_bytes()[:100])
    before = listing(cache)
    with pytest.raises(DataError) as caught:
        find(download=download)
    line = one_line(caught)
    assert line.startswith(str(bad)) and "cut short" in line
    assert ("switched off" if not download else "mirrors could be reached") in line
    assert not isinstance(caught.value, MnistUnavailable)
    assert listing(cache) == before


def test_a_cache_that_cannot_be_written(tmp_path, monkeypatch, files, cache):
    cache.write_bytes(b"a file where the folder should be")
    with mirror(write(tmp_path / "mirror", files)) as server:
        use(monkeypatch, server.url)
        dataset = load_mnist()
    assert_is(dataset, files)
    assert "could not be saved" in dataset.notice


def test_a_full_disk(tmp_path, monkeypatch, files, cache):
    def full(handle):
        raise OSError(28, "No space left on device")

    with mirror(write(tmp_path / "mirror", files)) as server:
        use(monkeypatch, server.url)
        monkeypatch.setattr(os, "fsync", full)
        dataset = load_mnist()
    assert_is(dataset, files)
    assert "No space left" in dataset.notice and listing(cache) == {}


def test_temporary_files_of_the_dead_are_swept(tmp_path, monkeypatch, files, cache):
    cache.mkdir()
    old, young, foreign = cache / f".{NAMES[0]}.gz.a", cache / f".{NAMES[0]}.gz.b", cache / ".mine"
    for path in (old, young, foreign):
        path.write_bytes(b"half")
    os.utime(old, (0, 0))
    os.utime(foreign, (0, 0))
    with mirror(write(tmp_path / "mirror", files)) as server:
        use(monkeypatch, server.url)
        assert_is(load_mnist(), files)
    assert not old.exists() and young.exists() and foreign.exists()


def test_the_cache_folder(monkeypatch, tmp_path):
    assert mnist.cache_folder() == tmp_path / "cache"
    monkeypatch.delenv("STN_NUMPY_CACHE")
    assert "stn_numpy" in str(mnist.cache_folder())


# Processes


def program(files, *urls):
    """Python code that loads the small set from mirrors, and prints what it got."""
    sums = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    return (
        "from stn_numpy.data import mnist\n"
        f"mnist.FILES, mnist.MIRRORS = {sums!r}, {urls!r}\n"
        "print(len(mnist.load_mnist().train_labels))"
    )


def launch(code):
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    return subprocess.Popen(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(code):
    with launch(code) as process:
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    return out


def test_a_kill_in_the_middle_of_a_download_leaves_nothing(files, cache):
    half = gzip.compress(files[NAMES[0]])[:1000]
    let_go = threading.Event()
    with answers(half, length=15000, wait=let_go) as server:
        server.reached = threading.Event()
        with launch(program(files, server.url)) as process:
            assert server.reached.wait(30)
            time.sleep(0.2)
            process.kill()
            process.communicate()
        let_go.set()
    assert listing(cache) == {}


def test_a_process_does_not_stay_for_a_mirror_that_is_silent():
    """What still waits for an answer does not keep the program from ending."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        code = (
            "from stn_numpy.data import load, mnist\n"
            f"mnist.MIRRORS = ('http://127.0.0.1:{silent.getsockname()[1]}/',)\n"
            "mnist.PATIENCE, mnist.TIMEOUT = 0.2, (100, 100)\n"
            "print(load().name)"
        )
        assert run(code).strip() == "UCI digits"


def test_several_processes_at_once(tmp_path, files, cache):
    with mirror(write(tmp_path / "mirror", files)) as server:
        processes = [launch(program(files, server.url)) for _ in range(3)]
        for process in processes:
            with process:
                out, err = process.communicate(timeout=60)
            assert process.returncode == 0 and out.split() == ["20"], err
    assert {n: gzip.decompress(c) for n, c in listing(cache).items()} == {
        f"{name}.gz": content for name, content in files.items()
    }


def test_import_is_light():
    heavy = json.loads(
        run(
            "import sys, json, stn_numpy.data\n"
            "print(json.dumps([m for m in ('pooch', 'requests', 'matplotlib', 'tqdm', 'http')"
            " if m in sys.modules]))"
        )
    )
    assert heavy == []


# load


def test_load_prefers_mnist(tmp_path, files, cache):
    write(cache, files)
    assert_is(load(), files)


@pytest.mark.parametrize("download", [True, False])
def test_load_falls_back_to_the_digits_and_says_so(monkeypatch, cache, download):
    use(monkeypatch, dead_url(), dead_url())
    start = time.monotonic()
    dataset = load(download=download)
    assert time.monotonic() - start < mnist.PATIENCE + 2
    assert dataset.name == "UCI digits" and len(dataset.train_labels) == 1297
    for word in (
        "UCI handwritten digits",
        "no MNIST in the cache",
        "--data",
        "$STN_NUMPY_DATA",
        *NAMES,
    ):
        assert word in dataset.notice
    why = "none of the 2 mirrors could be reached" if download else "switched off"
    assert why in dataset.notice and "\n" not in dataset.notice
    assert not cache.exists()


def test_half_a_cache_and_no_network_is_no_error(files, cache):
    write(cache, dict(list(files.items())[:2]))
    assert load().name == "UCI digits"


def test_dataset_cannot_be_reassigned():
    with pytest.raises(AttributeError):
        data.load_digits().name = "MNIST"


@pytest.mark.skipif(not REAL_MNIST, reason="STN_NUMPY_DATA does not name the files of MNIST")
def test_the_real_files(tmp_path, monkeypatch, cache):
    dataset = load(REAL_MNIST)
    assert dataset.name == "MNIST" and "60,000 training and 10,000 test" in dataset.notice
    assert dataset.train_images.shape == (60000, 28, 28)
    assert np.bincount(dataset.test_labels).tolist() == [
        980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009
    ]  # fmt: skip
    assert not dataset.train_images[:, 0, 0].any() and dataset.train_images.max() == 255
    if all((Path(REAL_MNIST) / f"{name}.gz").exists() for name in NAMES):
        shutil.copytree(REAL_MNIST, tmp_path / "mirror")
        with mirror(tmp_path / "mirror") as server:
            use(monkeypatch, server.url)
            assert "downloaded" in load().notice
        assert len(listing(cache)) == 4
