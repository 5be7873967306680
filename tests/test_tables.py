"""A table says the same to those who see Markdown and to those who see text."""

import pytest

from stn_numpy.tables import Table

TABLE = Table(["symbol", "shape"], [["$U$", (1, 2)], ["a|b", "two\nlines"]])


def test_markdown_has_one_line_a_row_and_no_bar_of_a_cell():
    assert TABLE.markdown().splitlines() == [
        "| symbol | shape |",
        "| :-- | :-- |",
        "| $U$ | (1, 2) |",
        "| a\\|b | two lines |",
    ]


def test_text_is_aligned():
    lines = str(Table(["a", "long name"], [["long cell", 1], ["b", 22]])).splitlines()
    assert lines == [
        "a          long name",
        "---------  ---------",
        "long cell  1",
        "b          22",
    ]


def test_a_notebook_gets_both():
    data, metadata = TABLE._repr_mimebundle_()
    assert data == {"text/plain": repr(TABLE), "text/markdown": TABLE.markdown()}
    assert metadata == {}


def test_a_row_of_another_length_is_refused():
    with pytest.raises(ValueError, match=r"Table: row \['1'\] has 1 cells, want 2"):
        Table(["a", "b"], [["1"]])


def test_a_table_may_be_empty():
    assert str(Table(["a", "b"], [])).splitlines() == ["a  b", "-  -"]
