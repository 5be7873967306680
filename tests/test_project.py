"""The repository as a newcomer meets it: its files agree with each other, its README is true."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import stn_numpy
from stn_numpy.experiments import addition, colocalisation, distorted, lasagne
from stn_numpy.experiments.results import mean_error, read_results, results_file, written

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "stn_numpy"
README = (ROOT / "README.md").read_text(encoding="utf-8")


def requirements(text: str) -> set[str]:
    """The packages of requirements.txt, or of environment.yml, with their ranges."""
    lines = (line.strip().removeprefix("- ") for line in text.splitlines())
    found = {line for line in lines if re.match(r"[a-z_]+[<>=]|-e ", line)}
    return {line for line in found if not line.startswith("python>")}


def test_environment_and_requirements_name_the_same_packages():
    pip = requirements((ROOT / "requirements.txt").read_text())
    conda = requirements((ROOT / "environment.yml").read_text())
    assert pip == conda
    assert "-e ." in pip
    assert len(pip) == 9


def test_pyproject_needs_a_part_of_the_requirements():
    project = (ROOT / "pyproject.toml").read_text()
    needed = re.search(r"^dependencies = \[(.*?)\]", project, re.S | re.M).group(1)
    needed = set(re.findall(r'"(.*?)"', needed))
    assert needed
    assert needed <= requirements((ROOT / "requirements.txt").read_text())


def test_pyproject_lists_every_package_folder():
    project = (ROOT / "pyproject.toml").read_text()
    listed = set(
        re.findall(r'"(stn_numpy[\w.]*)"', re.search(r"packages = \[.*?\]", project, re.S)[0])
    )
    folders = {path.parent.relative_to(ROOT) for path in PACKAGE.rglob("__init__.py")}
    assert listed == {".".join(folder.parts) for folder in folders}


def test_ci_runs_the_test_command_of_the_readme():
    commands = [line for line in README.splitlines() if line.endswith("-m pytest")]
    assert commands == [
        "python3 -m venv .venv && .venv/bin/pip install -r requirements.txt "
        "&& .venv/bin/python -m pytest"
    ]
    assert "-m pytest$" in (ROOT / ".ci" / "run").read_text()


def test_the_python_of_the_readme_runs():
    blocks = re.findall(r"```python\n(.*?)```", README, re.S)
    assert len(blocks) == 2
    code = "\n".join(blocks)
    code += "\nassert V.shape == (1, 1, 5, 3) and theta.grad.shape == (1, 2, 3)"
    code += "\nx, W, b = (np.ones(s) for s in ((2, 3), (4, 3), (4,)))"
    code += "\nassert gradcheck(linear, [x, W, b])"
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, cwd=ROOT
    )
    assert run.returncode == 0, run.stderr
    assert "analytic" in run.stdout


def test_the_results_of_the_readme_are_those_of_the_table():
    results = [
        result
        for experiment in (distorted.DISTORTED, distorted.CLUTTERED)
        for result in read_results(results_file(ROOT / "book" / "results", experiment.name))
    ]
    for (model, transform), published in distorted.PAPER.items():
        columns = []
        for kind in (*distorted.COLUMNS, "TC"):
            mean = mean_error(results, distorted.key(model, transform, kind))
            ours = "" if mean is None else f"{100 * mean.error:.2f}"
            columns += [f"{published[kind]:.1f}" if kind in published else "", ours]
        names = [written(model), transform.replace("-", "")]
        row = "|" + "".join(f" {cell} |" if cell else " |" for cell in names + columns)
        assert row in README.splitlines()


def test_the_further_results_of_the_readme_are_those_of_the_lines():
    def lines(name):
        return read_results(results_file(ROOT / "book" / "results", name))

    def percent(mean):
        return "" if mean is None else f"{100 * mean.error:.1f}"

    rows = []
    for (model, transform), published in addition.PAPER.items():
        name = f"{written(model)} {transform.replace('-', '')}".strip()
        ours = percent(mean_error(lines("addition"), addition.key(model, transform)))
        rows.append(["addition, % wrong", name, published, ours])
    for kind, published, mean, *_ in colocalisation.table(lines("colocalisation")).rows:
        rows.append([f"co-localisation on {kind}, % found", "ST alone", published, mean])
    published = f"{100 * lasagne.PUBLISHED:.1f}"
    ours = percent(mean_error(lines("cluttered-lasagne"), lasagne.KEY))
    rows.append(["Lasagne's clutter, % wrong", "ST-CNN affine", published, ours])
    for row in rows:
        assert "|" + "".join(f" {cell} |" if cell else " |" for cell in row) in README.splitlines()


def test_every_file_the_readme_names_exists():
    names = re.findall(r"`((?:stn_numpy|book|tests)/[\w./-]+)`|\]\(((?!http)[^)#]+)\)", README)
    paths = [a or b for a, b in names]
    assert len(paths) > 8
    assert [path for path in paths if not (ROOT / path).exists()] == []


# Top to bottom: a file may import what stands above it. stn_numpy/__init__.py stands below them.
ORDER = [
    "errors files autograd checks gradcheck",
    "functional.layout functional.kernels functional.arithmetic functional.activations",
    "functional.loss functional.linear functional.fourier functional.conv functional.pooling",
    "functional.normalization functional.dropout functional.grid functional.sampler functional",
    "nn transforms spatial_transformer models optim parallel",
    "data.dataset data.idx data.digits data.mnist data.distortions data.batches data",
    "notebook plots.figure plots.images plots.grids plots.kernels plots.gradients",
    "plots.convolution plots.diagrams plots.charts plots.networks plots",
    "tables tasks checkpoint training progress reference op_table",
    "experiments.results experiments.cells experiments.distorted experiments.lasagne",
    "experiments.addition experiments.colocalisation experiments.command experiments",
    "bench.timing bench.work bench.profile bench.twins bench.rows bench.scale",
    "bench.peer_code bench.peers bench",
]


def imported(path: Path) -> set[str]:
    """The modules of this package that a file imports, wherever in the file."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("stn_numpy"):
            inside = node.module.removeprefix("stn_numpy").lstrip(".")
            for alias in node.names:
                name = f"{inside}.{alias.name}".lstrip(".")
                found.add(name if module_path(name) else inside)
        elif isinstance(node, ast.Import):
            found |= {
                alias.name.removeprefix("stn_numpy").lstrip(".")
                for alias in node.names
                if alias.name.startswith("stn_numpy")
            }
    return found - {""}


def module_path(name: str) -> Path | None:
    path = PACKAGE.joinpath(*name.split("."))
    for candidate in (path.with_suffix(".py"), path / "__init__.py"):
        if candidate.exists():
            return candidate
    return None


def test_imports_run_one_way():
    order = " ".join(ORDER).split()
    for place, name in enumerate(order):
        below = imported(module_path(name)) - set(order[:place])
        assert not below, f"{name} imports {below}, which stands below it"


def test_the_core_knows_nothing_of_images():
    assert imported(PACKAGE / "autograd.py") == set()
    assert "functional" not in {name.split(".")[0] for name in imported(PACKAGE / "gradcheck.py")}


@pytest.mark.parametrize("module", ["matplotlib", "pooch", "tqdm", "threadpoolctl", "torch"])
def test_importing_the_package_imports_nothing_heavy(module):
    code = f"import sys, stn_numpy; assert {module!r} not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_the_version_is_one():
    project = (ROOT / "pyproject.toml").read_text()
    assert f'version = "{stn_numpy.__version__}"' in project
