"""A run on disk: everything that is needed to go on with it, in one file of plain arrays."""

import json
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from stn_numpy.errors import CheckpointError
from stn_numpy.files import atomic_write

FORMAT = "stn_numpy checkpoint 1"


def save(path: str | os.PathLike, about: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    """Write `about` (anything JSON can hold) and named arrays; the file before stays until then."""
    contents = np.array(json.dumps({"about": about, "arrays": list(arrays)}))
    with atomic_write(path) as file:
        np.savez(file, format=np.array(FORMAT), contents=contents, **arrays)


def load(path: str | os.PathLike) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """What `save` wrote. Raises CheckpointError, and changes nothing, for any other file."""
    path = Path(path)
    if not path.exists():
        raise CheckpointError(f"{path}: there is no such checkpoint")
    try:
        # NumPy compares checksums only where it reads to the end, and a damaged header can make it
        # stop before.
        with zipfile.ZipFile(path) as file:
            if (damaged := file.testzip()) is not None:
                raise ValueError(f"wrong checksum of {damaged}")
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except Exception as error:  # damage can make zipfile and NumPy raise nearly anything
        raise CheckpointError(
            f"{path}: not a readable checkpoint ({_first_line(error)}); it is left as it is"
        ) from None
    if str(arrays.pop("format", "")) != FORMAT:
        raise CheckpointError(f"{path}: not written by this program; it is left as it is")
    try:
        contents = json.loads(str(arrays.pop("contents")))
        about, names = contents["about"], contents["arrays"]
        complete = isinstance(about, dict) and set(names) == set(arrays)
    except (KeyError, ValueError, TypeError):
        complete = False
    if not complete:
        raise CheckpointError(f"{path}: a part of it is missing; it is left as it is")
    return about, arrays


def under(prefix: str, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The arrays whose names begin with `prefix`/, without it."""
    start = f"{prefix}/"
    return {name[len(start) :]: a for name, a in arrays.items() if name.startswith(start)}


def prefixed(prefix: str, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The arrays with `prefix`/ before their names."""
    return {f"{prefix}/{name}": array for name, array in arrays.items()}


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
