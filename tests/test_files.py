"""A file is replaced by a complete one or not at all, whatever happens on the way."""

import errno
import io
import os
import stat
import sys

import pytest

from stn_numpy import files
from stn_numpy.files import atomic_write, write_text

posix = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no umask")


@pytest.fixture
def path(tmp_path):
    """A file that holds b"before", alone in its folder."""
    path = tmp_path / "folder" / "file.bin"
    path.parent.mkdir()
    path.write_bytes(b"before")
    return path


def alone(path):
    """Whether nothing else, hidden or not, is in the folder of `path`."""
    return os.listdir(path.parent) == [path.name]


def test_the_old_content_stays_until_the_new_is_complete(path):
    with atomic_write(path) as file:
        file.write(b"aft")
        file.flush()
        assert path.read_bytes() == b"before"
        file.write(b"er")
    assert path.read_bytes() == b"after"
    assert alone(path)


def test_the_temporary_file_is_hidden_beside_the_file_and_named_after_it(path):
    with atomic_write(path):
        (other,) = set(os.listdir(path.parent)) - {path.name}
        assert other.startswith(f".{path.name}.")


def test_two_writers_at_once_do_not_meet(path):
    with atomic_write(path) as one:
        with atomic_write(path) as two:
            one.write(b"one")
            two.write(b"two, longer")
        assert path.read_bytes() == b"two, longer"
    assert path.read_bytes() == b"one"
    assert alone(path)


def test_missing_folders_are_made(tmp_path):
    with atomic_write(tmp_path / "a" / "b" / "c") as file:
        file.write(b"x")
    assert (tmp_path / "a" / "b" / "c").read_bytes() == b"x"


def test_a_bare_name_is_in_the_working_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_text("name", "x")
    assert os.listdir(tmp_path) == ["name"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit, GeneratorExit])
def test_an_error_in_the_body_changes_nothing(path, error):
    with pytest.raises(error), atomic_write(path) as file:
        file.write(b"half of it")
        raise error
    assert path.read_bytes() == b"before"
    assert alone(path)


class FullDisk(io.FileIO):
    """A file on a disk with room for 5 more bytes."""

    def write(self, data):
        if self.tell() + len(data) > 5:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().write(data)


def test_a_full_disk_changes_nothing_and_is_named(path, monkeypatch):
    monkeypatch.setattr(files, "open", lambda name, mode: FullDisk(name, mode), raising=False)
    with pytest.raises(OSError, match="No space left") as caught, atomic_write(path) as file:
        file.write(b"12345")
        file.write(b"6")
    assert caught.value.errno == errno.ENOSPC
    assert caught.value.filename == str(path)
    assert path.read_bytes() == b"before"
    assert alone(path)


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_an_error_of_the_last_steps_changes_nothing(path, monkeypatch, step):
    def fails(*_):
        raise OSError(errno.EIO, "the disk is broken")

    monkeypatch.setattr(os, step, fails)
    with pytest.raises(OSError, match="the disk is broken"), atomic_write(path) as file:
        file.write(b"after")
    assert path.read_bytes() == b"before"
    assert alone(path)


def test_the_content_is_on_the_disk_before_it_gets_its_name(path, monkeypatch):
    steps, fsync, replace = [], os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda f: (steps.append(os.fstat(f).st_size), fsync(f)))
    monkeypatch.setattr(os, "replace", lambda a, b: (steps.append("replace"), replace(a, b)))
    with atomic_write(path) as file:
        file.write(b"after")
    assert steps == [5, "replace"]


def test_a_file_in_the_way_of_a_folder_is_named_and_stays(path):
    with pytest.raises(OSError) as caught, atomic_write(path / "below"):
        raise AssertionError("unreachable")
    assert caught.value.filename is not None
    assert path.read_bytes() == b"before"


def test_a_folder_in_the_way_of_the_file(tmp_path):
    (tmp_path / "name").mkdir()
    with pytest.raises(OSError), atomic_write(tmp_path / "name") as file:
        file.write(b"x")
    assert os.listdir(tmp_path) == ["name"]


@posix
@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_who_may_read_it_is_up_to_the_umask(tmp_path, umask, mode):
    before = os.umask(umask)
    try:
        write_text(tmp_path / "name", "x")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "name").stat().st_mode) == mode


def test_text_is_utf_8_and_its_line_ends_are_kept(tmp_path):
    write_text(tmp_path / "name", "θ\r\n≈ 1\n")
    assert (tmp_path / "name").read_bytes() == b"\xce\xb8\r\n\xe2\x89\x88 1\n"
