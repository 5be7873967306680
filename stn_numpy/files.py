"""Write files so that a kill, a full disk or a power cut never costs what was there before."""

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

try:
    import fcntl
except ImportError:
    fcntl = None


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike) -> Iterator[BinaryIO]:
    """Open a binary file that takes the place of `path` only once it is complete.

    The bytes go to a temporary file in the same folder, are flushed to the disk, and the file is
    then renamed over `path`: a reader sees the old content or the new, never a part. If the body
    raises, the temporary file is removed and `path` is as before. An OSError names `path` where it
    named nothing, as that of a full disk.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not by the module tempfile, whose files only their owner can read whatever the umask says.
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        with open(temporary, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        if isinstance(error, OSError) and error.filename is None:
            error.filename = str(path)
        raise


@contextlib.contextmanager
def alone(path: str | os.PathLike) -> Iterator[None]:
    """Let one process at a time read `path`, change it and write it back; others wait.

    The lock is the file `.<name>.lock` beside it, and ends with the process, however that ends.
    Where the system has no such locks (Windows), nobody waits.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path.with_name(f".{path.name}.lock"), "wb") as file:
        if fcntl is not None:
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def write_text(path: str | os.PathLike, text: str) -> None:
    """Replace `path` by `text` in UTF-8, all of it or nothing."""
    with atomic_write(path) as file:
        file.write(text.encode())
