"""The paper's experiments, run again: tables of cells, each a training that can be resumed.

    python -m stn_numpy experiment distorted-mnist --only st-cnn/affine/R
    python -m stn_numpy experiment distorted-mnist --table

An `Experiment` is a table with the figures somebody published and the `Cell`s that fill it. A cell
says which network is trained on what, with which seed, in one part or two; `run_cell` trains it in
a folder of its own, goes on where an interrupted run stopped, and adds one line to
`book/results/<experiment>.jsonl`. A table is made from those lines alone, so it is the same
wherever the file is.

The files:

    cells.py            Cell, Experiment; train one cell, or say that it has been done
    results.py          the lines: write one, read all, means and intervals
    distorted.py        Table 1: FCN, CNN, ST-FCN, ST-CNN on R, RTS, P, E; and on TC
    lasagne.py          the cluttered digits of Lasagne's recipe
    addition.py         the sum of two digits, with none, one and two transformers
    colocalisation.py   find the digit that a set of images has in common, without labels
    command.py          the command line
"""

from stn_numpy.experiments.cells import Cell, Experiment, run_cell
from stn_numpy.experiments.results import Result, read_results

__all__ = ["Cell", "Experiment", "Result", "read_results", "run_cell"]
