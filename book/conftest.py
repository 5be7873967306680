"""How `python -m pytest` runs the book: every cell of the readers' notebooks again, by nbval.

What comes out of a cell has to be, letter by letter, what is stored under it; a figure's text form
stands for the figure. The solved notebooks are run by tests/test_book.py, faster, without a kernel.
"""

import importlib.util
import os
from pathlib import Path

import pytest

collect_ignore = ["solved", "source", "build.py"]

_spec = importlib.util.spec_from_file_location("book_build", Path(__file__).with_name("build.py"))
build = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(build)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_setup(item):
    """Start the kernel, which happens before a notebook's first cell, in the book's environment."""
    # On a new machine matplotlib looks for fonts once, and says so on stderr: not in a chapter.
    import matplotlib.font_manager  # noqa: F401

    before = dict(os.environ)
    os.environ.update(build.environment())
    try:
        return (yield)
    finally:
        os.environ.clear()
        os.environ.update(before)
