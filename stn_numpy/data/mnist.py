"""MNIST: from a folder of the reader's, from the cache, or from a public mirror.

The four files and their checksums are those of the original set (LeCun, Cortes and Burges, 1998).
"""

import contextlib
import hashlib
import io
import os
import queue
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from stn_numpy.data.dataset import Dataset
from stn_numpy.data.idx import decompress, parse_idx, read_bytes
from stn_numpy.errors import DataError
from stn_numpy.files import atomic_write

# SHA-256 of each file after decompression: mirrors compress the same bytes in different ways.
FILES = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
    "https://raw.githubusercontent.com/fgnt/mnist/master/",
)
PATIENCE = 4.0  # seconds within which a mirror must answer at all
TIMEOUT = (5.0, 10.0)  # seconds to connect, and between two pieces of a file


class MnistUnavailable(DataError):
    """MNIST is not in the cache and cannot be downloaded; nothing is wrong with any file."""


def load_mnist(folder: str | os.PathLike | None = None, download: bool = True) -> Dataset:
    """MNIST: 60,000 training and 10,000 test images.

    Looked for in this order:

    1. `folder`, if given; else the folder named by the environment variable `STN_NUMPY_DATA`, if
       set. It must hold all four files, as `train-images-idx3-ubyte` or
       `train-images.idx3-ubyte`, with or without `.gz`. Another set of 28x28 images and labels 0
       to 9 in the same format is accepted too (Fashion-MNIST, a part of MNIST); the notice says
       that it is not MNIST.
    2. The cache folder: the user's own cache, or the one named by `STN_NUMPY_CACHE`.
    3. If `download` is true, the mirrors, quickest first. Only a file with the right checksum
       enters the cache.

    Raises DataError, which names the file and says what to do, if a folder was named and does not
    hold a usable set, or if a file in the cache is damaged and cannot be replaced;
    MnistUnavailable if there is no MNIST and nothing else is wrong.
    """
    if folder is not None:
        return _from_folder(_path(folder), "")
    if os.environ.get("STN_NUMPY_DATA"):
        folder = _path(os.environ["STN_NUMPY_DATA"])
        return _from_folder(folder, " (named by $STN_NUMPY_DATA)")
    return _from_cache(download)


def cache_folder() -> Path:
    """Where downloads are kept: `$STN_NUMPY_CACHE`, or this user's cache folder."""
    if os.environ.get("STN_NUMPY_CACHE"):
        return _path(os.environ["STN_NUMPY_CACHE"])
    import pooch  # here, because importing it takes a tenth of a second

    return Path(pooch.os_cache("stn_numpy"))


def _path(name: str | os.PathLike) -> Path:
    return Path(os.path.expanduser(name))


# A folder of the reader's


def _from_folder(folder: Path, named_by: str) -> Dataset:
    # os.path says no where a path may not be looked at; the methods of Path raise an error.
    if not os.path.isdir(folder):
        problem = "is not a folder" if os.path.exists(folder) else "does not exist"
        raise DataError(f"{folder}{named_by}: {problem}; want a folder with the files of MNIST")
    paths = {name: _find(folder, name) for name in FILES}
    missing = [name for name, path in paths.items() if path is None]
    if missing:
        raise DataError(
            f"{folder}{named_by}: no {', no '.join(missing)} (nor with .gz); "
            "put all four files of MNIST there"
        )
    contents = {name: read_bytes(path) for name, path in paths.items()}
    arrays = [parse_idx(contents[name], str(paths[name])) for name in FILES]
    _check_set(arrays, [str(path) for path in paths.values()])
    other = [name for name in FILES if _sha256(contents[name]) != FILES[name]]
    if not other:
        return _dataset(arrays, "MNIST", f"from {folder}")
    return _dataset(
        arrays,
        "IDX files other than MNIST",
        f"from {folder}; the checksum is not that of MNIST for {', '.join(other)}",
    )


def _find(folder: Path, name: str) -> Path | None:
    """The file `name` of MNIST in one of its usual spellings."""
    for spelling in (name, name.replace("-idx", ".idx")):
        for path in (folder / spelling, folder / f"{spelling}.gz"):
            if os.path.isfile(path):
                return path
    return None


def _check_set(arrays: list[np.ndarray], names: list[str]) -> None:
    """Raise DataError unless the four arrays are two sets of 28x28 images with labels 0 to 9."""
    for images, labels, image_file, label_file in (
        (*arrays[:2], *names[:2]),
        (*arrays[2:], *names[2:]),
    ):
        if images.shape[1:] != (28, 28):
            raise DataError(f"{image_file}: shape {images.shape}, want images of 28 x 28 pixels")
        if labels.ndim != 1:
            raise DataError(f"{label_file}: shape {labels.shape}, want one label an image")
        if len(images) != len(labels):
            raise DataError(
                f"{label_file}: {len(labels)} labels for the {len(images)} images of {image_file}; "
                "want files of the same set"
            )
        if labels.max() > 9:
            raise DataError(f"{label_file}: holds the label {labels.max()}, want labels 0 to 9")


def _dataset(arrays: list[np.ndarray], name: str, origin: str) -> Dataset:
    train_images, train_labels, test_images, test_labels = arrays
    notice = (
        f"Data: {name}, {len(train_labels):,} training and {len(test_labels):,} test images, "
        f"{origin}."
    )
    return Dataset(
        train_images,
        train_labels.astype(np.int64),
        test_images,
        test_labels.astype(np.int64),
        name,
        notice,
    )


# The cache and the mirrors


def _from_cache(download: bool) -> Dataset:
    cache = cache_folder()
    contents, damaged = _read_cache(cache)
    missing = [name for name in FILES if name not in contents]
    remarks: list[str] = []
    if missing and download:
        contents |= _download(missing, cache, remarks)
    elif missing:
        remarks.append("downloading is switched off")

    lost = [name for name in FILES if name not in contents]
    why = "; ".join(remarks)
    for name in lost:
        if name in damaged:
            raise DataError(f"{damaged[name]} (it could not be replaced: {why})")
    if lost:
        raise MnistUnavailable(
            f"no MNIST in the cache {cache}, and {why}; for MNIST, put {', '.join(FILES)} (or the "
            "same with .gz) into a folder and name it with --data DIR or $STN_NUMPY_DATA"
        )

    remarks = [f"{name} was damaged in the cache" for name in damaged] + remarks
    origin = f"downloaded to {cache}" if missing else f"from the cache {cache}"
    arrays = [parse_idx(contents[name], str(cache / name)) for name in FILES]
    return _dataset(arrays, "MNIST", "; ".join([origin, *remarks]))


def _read_cache(cache: Path) -> tuple[dict[str, bytes], dict[str, DataError]]:
    """The good files of the cache, decompressed, and what is wrong with the others."""
    contents, damaged = {}, {}
    for name in FILES:
        path = cache / f"{name}.gz"
        if os.path.exists(path):
            try:
                contents[name] = _verified(path.read_bytes(), name, str(path))
            except OSError as error:
                damaged[name] = DataError(f"{path}: cannot be read ({error.strerror or error})")
            except DataError as error:
                damaged[name] = error
    return contents, damaged


def _verified(raw: bytes, name: str, where: str) -> bytes:
    """The content of the MNIST file `name`. Raises DataError if it is anything else."""
    content = decompress(raw, where)
    if _sha256(content) != FILES[name]:
        parse_idx(content, where)  # which often can say more precisely what is wrong
        raise DataError(f"{where}: the checksum is not that of MNIST; get the file again")
    return content


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _download(names: list[str], cache: Path, remarks: list[str]) -> dict[str, bytes]:
    """Fetch files of MNIST and save each in the cache once its checksum is seen to be right.

    Returns what could be had, decompressed; `remarks` gets what went wrong on the way. A mirror
    that fails once is not asked again.
    """
    import pooch

    bar = bool(sys.stderr and sys.stderr.isatty())
    fetch = pooch.HTTPDownloader(progressbar=bar, chunk_size=1 << 16, timeout=TIMEOUT)
    contents: dict[str, bytes] = {}
    answered = False
    for mirror in _mirrors_that_answer(fetch):
        answered = True
        try:
            for name in names:
                if name not in contents:
                    # In memory, so that whatever interrupts this leaves no part of a file behind.
                    raw = io.BytesIO()
                    fetch(f"{mirror}{name}.gz", raw, None)
                    contents[name] = _verified(raw.getvalue(), name, f"{mirror}{name}.gz")
                    _save(cache / f"{name}.gz", raw.getvalue(), remarks)
            return contents
        except OSError as error:  # the errors of the requests package are OSErrors too
            remarks.append(f"{mirror} failed ({' '.join(str(error).split())})")
        except DataError as error:
            remarks.append(str(error))
    if not answered:
        remarks.append(f"none of the {len(MIRRORS)} mirrors could be reached")
    return contents


def _mirrors_that_answer(fetch: Callable) -> Iterator[str]:
    """The mirrors that have the files, the quickest first; none after PATIENCE seconds.

    They are asked all at once and from daemon threads. Without a network a look-up of a name can
    hang for half a minute, and no time-out of a connection covers that; nobody waits for it here.
    """
    answers: queue.Queue[str | None] = queue.Queue()

    def knock(mirror: str) -> None:
        try:
            there = fetch(f"{mirror}{next(iter(FILES))}.gz", None, None, check_only=True)
        except Exception:
            there = False
        answers.put(mirror if there else None)

    deadline = time.monotonic() + PATIENCE
    for mirror in MIRRORS:
        threading.Thread(target=knock, args=(mirror,), daemon=True).start()
    for _ in MIRRORS:
        try:
            mirror = answers.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            return
        if mirror is not None:
            yield mirror


def _save(path: Path, raw: bytes, remarks: list[str]) -> None:
    """Put a verified file into the cache. That it cannot be written is worth a remark, no more."""
    try:
        for leftover in path.parent.glob(f".{path.name}.*"):
            # A temporary file of a process that was killed. A live one is seconds old.
            with contextlib.suppress(FileNotFoundError):
                if time.time() - leftover.stat().st_mtime > 3600:
                    leftover.unlink()
        with atomic_write(path) as file:
            file.write(raw)
    except OSError as error:
        remarks.append(f"{path} could not be saved ({error.strerror or error})")
