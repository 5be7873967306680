"""The function of somebody else: load it, call it, and survive whatever it does."""

import contextlib
import importlib.util
import inspect
import linecache
import numbers
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from stn_numpy import checks
from stn_numpy.autograd import Tensor
from stn_numpy.errors import UserError
from stn_numpy.verify.subjects import Case, Subject

FORMS = ("op", "backward", "forward", "partial")


@dataclass(frozen=True)
class Problem:
    """Something that a candidate must not do, whatever its numbers are."""

    name: str
    words: str
    input: str = ""
    case: str = ""

    def __str__(self) -> str:
        return f"{self.input}: {self.words}" if self.input else self.words


@dataclass
class Outcome:
    """What a candidate made of one case: arrays by name ("output", or the input they belong to)."""

    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)


class _Refused(Exception):
    """What came can not be used; carries the problem."""

    def __init__(self, name: str, words: str, input: str = ""):
        self.problem = Problem(name, words, input)


@dataclass(frozen=True)
class Candidate:
    """A function in one of four forms, and the names of what it answers for.

    wrt: the inputs whose gradients it returns; None for all.
    """

    function: Callable
    form: str
    wrt: tuple[str, ...] | None

    @property
    def name(self) -> str:
        return getattr(self.function, "__name__", type(self.function).__name__)

    def takes(self, option: str) -> bool:
        """Whether the function has a parameter of that name, or takes any."""
        try:
            parameters = inspect.signature(self.function).parameters.values()
        except (TypeError, ValueError):
            return False
        return any(
            p.kind is p.VAR_KEYWORD
            or (p.name == option and p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY))
            for p in parameters
        )

    def wanted(self, subject: Subject, case: Case) -> list[str]:
        """The names it has to give an array for."""
        gradients = subject.gradients_of(case)
        if self.wrt is not None:
            gradients = [name for name in self.wrt if name in gradients]
        if self.form == "forward":
            return ["output"]
        return ["output", *gradients] if self.form == "op" else gradients

    def run(self, subject: Subject, case: Case, dy: np.ndarray) -> Outcome:
        """Call it twice on copies: what it returns, and what it should not have done."""
        first = self._run_once(subject, case, dy)
        if not first.problems:
            second = self._run_once(subject, case, dy)
            for name, array in first.arrays.items():
                again = second.arrays.get(name)
                if again is None or not _same(array, again):
                    words = "a second call with the same arguments gives other numbers"
                    first.problems.append(Problem("not-deterministic", words, name))
                    break
        return first

    def _run_once(self, subject: Subject, case: Case, dy: np.ndarray) -> Outcome:
        args, options = case.fresh()
        options = {name: value for name, value in options.items() if self.takes(name)}
        outcome, own_dy = Outcome(), dy.copy()
        try:
            with np.errstate(all="ignore"):
                if self.form == "partial":
                    outcome.arrays = self._partial(args)
                else:
                    outcome.arrays = self._arrays(subject, case, args, options, own_dy)
        except _Refused as refusal:
            outcome.problems.append(refusal.problem)
        except (Exception, SystemExit) as error:
            outcome.problems.append(Problem("raised", _told(error, self.function)))
        inputs = zip(("dy", *subject.inputs), (dy, *case.args), (own_dy, *args))
        for name, before, after in inputs:
            if isinstance(before, np.ndarray) and not _same(before, after, exactly=True):
                words = f"it changes its argument {name} in place; work on a copy"
                outcome.problems.append(Problem("changed-input", words))
        for name, array in list(outcome.arrays.items()):
            if not np.isfinite(array).all():
                outcome.problems.append(_not_finite(name, array))
        return outcome

    def _arrays(self, subject: Subject, case: Case, args, options, dy) -> dict[str, np.ndarray]:
        wanted = self.wanted(subject, case)
        if self.form == "backward":
            return _gradients(subject, case, wanted, self.function(dy, *args, **options))
        result = self.function(*args, **options)
        if self.form == "forward":
            return {"output": _array("output", _without_tape(result))}
        if isinstance(result, Tensor):
            return self._by_tape(subject, case, wanted, dy)
        if result is None:
            raise _Refused("returned-nothing", "it returns nothing; want (output, backward)")
        if not (isinstance(result, tuple) and len(result) == 2 and callable(result[1])):
            raise _Refused(
                "no-backward",
                f"it returns {_kind(result)}; want the pair (output, backward), backward a "
                "function of dy (for a backward pass alone say form='backward', for a forward "
                "one form='forward')",
            )
        output, backward = result
        arrays = {"output": _array("output", output)}
        if "needs" in _parameters(backward):
            needs = [name in wanted for name in subject.inputs[: len(args)]]
            returned = backward(dy, needs)
        else:
            returned = backward(dy)
        gradients = [name for name in wanted if name != "output"]
        return arrays | _gradients(subject, case, gradients, returned)

    def _by_tape(self, subject: Subject, case: Case, wanted, dy) -> dict[str, np.ndarray]:
        """A function of Tensors brings its gradients along."""
        args, options = case.fresh()
        options = {name: value for name, value in options.items() if self.takes(name)}
        tensors = {
            name: Tensor(arg, requires_grad=True)
            for name, arg in zip(subject.inputs, args)
            if name in wanted
        }
        output = self.function(
            *(tensors.get(name, arg) for name, arg in zip(subject.inputs, args)), **options
        )
        if output.requires_grad:
            output.backward(dy)
        zero = {name: np.zeros_like(tensor.data) for name, tensor in tensors.items()}
        grads = {name: zero[name] if t.grad is None else t.grad for name, t in tensors.items()}
        return {"output": output.data, **grads}

    def _partial(self, args) -> dict[str, np.ndarray]:
        """Every value of a formula for one partial derivative."""
        U, x, y = args
        (wrt,) = self.wrt
        if wrt != "U":
            return {wrt: np.array(_number(wrt, self.function(U, x, y)))}
        values = np.empty(U.shape)
        for n, m in np.ndindex(U.shape):
            values[n, m] = _number(wrt, self.function(U, x, y, n, m))
        return {wrt: values}


def load_candidate(spec: str) -> Callable:
    """The function that "FILE.py:FUNCTION" names.

    The file is run as an import would, with its own folder on the path. Raises UserError where the
    file or the function can not be had, with one line that says why.
    """
    path, colon, name = spec.rpartition(":")
    if not colon or not path or not name:
        raise UserError(f"{spec!r} names no function; want FILE.py:FUNCTION")
    file = Path(path)
    if not file.is_file():
        raise UserError(f"{path}: no such file")
    if file.suffix != ".py":
        raise UserError(f"{path}: not a Python file; want FILE.py:FUNCTION")
    module_spec = importlib.util.spec_from_file_location(f"candidate_{file.stem}", file.resolve())
    module = importlib.util.module_from_spec(module_spec)
    try:
        with _first_on_path(file.resolve().parent):
            module_spec.loader.exec_module(module)
    except SyntaxError as error:
        raise UserError(f"{path}: line {error.lineno}: {error.msg}") from error
    except (Exception, SystemExit) as error:
        raise UserError(f"{path}: {_one_line(error)} while it was loaded") from error
    function = getattr(module, name, None)
    if function is None:
        known = [
            key
            for key, value in vars(module).items()
            if inspect.isfunction(value) and value.__module__ == module.__name__
        ]
        raise UserError(f"{path}: no function {name}; it has {', '.join(known) or 'none'}")
    if not callable(function):
        raise UserError(f"{path}: {name} is {_kind(function)}, not a function")
    return function


@contextlib.contextmanager
def _first_on_path(folder: Path) -> Iterator[None]:
    before, writes = list(sys.path), sys.dont_write_bytecode
    sys.path.insert(0, str(folder))
    sys.dont_write_bytecode = True  # leave nothing behind in a folder that is not ours
    try:
        yield
    finally:
        sys.path[:], sys.dont_write_bytecode = before, writes


def checked(function: Any, form: str, wrt: Any, subject: Subject) -> Candidate:
    """A Candidate, or ValueError/TypeError naming what is wrong with the call of `verify`."""
    if not callable(function):
        raise TypeError(f"verify: candidate is {_kind(function)}, want a function")
    checks.choice("verify", "form", form, FORMS)
    if wrt is None:
        if form == "partial":
            raise ValueError(
                "verify: wrt is None, want 'U', 'x' or 'y' for form='partial': the derivative "
                "that the formula is for"
            )
        return Candidate(function, form, None)
    names: Sequence[str] = (wrt,) if isinstance(wrt, str) else tuple(wrt)
    names = tuple(subject.aliases.get(name, name) for name in names)
    for name in names:
        checks.choice("verify", "wrt", name, subject.with_gradient)
    if not names or (form == "partial" and len(names) != 1):
        raise ValueError(f"verify: wrt is {wrt!r}, want one name of {subject.with_gradient}")
    return Candidate(function, form, names)


def _gradients(subject, case, wanted: list[str], returned: Any) -> dict[str, np.ndarray]:
    """What a backward returned, by the names of the inputs."""
    if returned is None:
        raise _Refused(
            "returned-nothing", f"backward returns nothing; want the gradient of {_and(wanted)}"
        )
    if isinstance(returned, list):
        raise _Refused(
            "returned-list",
            "backward returns a list; want an array, or a tuple of arrays where there are more",
        )
    values = returned if isinstance(returned, tuple) else (returned,)
    positions = list(subject.inputs[: len(case.args)])
    if len(values) == len(wanted):
        names = wanted
    elif len(values) <= len(positions):
        names = positions[: len(values)]
    else:
        raise _Refused(
            "wrong-count",
            f"backward returns {len(values)} gradients; want {len(wanted)}, of {_and(wanted)}",
        )
    given = {name: value for name, value in zip(names, values) if name in wanted}
    missing = [name for name in wanted if given.get(name) is None]
    if missing:
        raise _Refused("gradient-missing", f"there is no gradient of {_and(missing)}")
    return {name: _array(name, value) for name, value in given.items()}


def _array(name: str, value: Any) -> np.ndarray:
    if isinstance(value, (list, tuple)):
        what = "the output" if name == "output" else f"the gradient of {name}"
        raise _Refused("returned-list", f"{what} is {_kind(value)}; want an array", name)
    if isinstance(value, (numbers.Real, np.ndarray, np.generic)):
        array = np.asarray(value)
        if array.dtype.kind in "fiub":
            return array
        raise _Refused("wrong-dtype", f"the dtype is {array.dtype}; want real numbers", name)
    raise _Refused("not-an-array", f"this is {_kind(value)}; want an array", name)


def _number(name: str, value: Any) -> float:
    if value is None:
        raise _Refused("returned-nothing", "the formula returns nothing; want one number", name)
    if isinstance(value, (list, tuple)):
        words = f"the formula returns {_kind(value)}; want one number"
        raise _Refused("returned-list", words, name)
    array = np.asarray(value)
    if array.shape != () or array.dtype.kind not in "fiub":
        got = f"an array of shape {array.shape}" if array.shape else _kind(value)
        raise _Refused("wrong-shape", f"the formula returns {got}; want one number", name)
    return float(array)


def _without_tape(result: Any) -> Any:
    if isinstance(result, tuple) and len(result) == 2 and callable(result[1]):
        result = result[0]
    return result.data if isinstance(result, Tensor) else result


def _not_finite(name: str, array: np.ndarray) -> Problem:
    bad = ~np.isfinite(array)
    first = tuple(int(i) for i in np.argwhere(bad)[0])
    kind = "NaN" if np.isnan(array).any() else "infinite"
    where = f", first at {first}" if first else ""
    return Problem("nan", f"{bad.sum()} of {bad.size} values are {kind}{where}", name)


def _same(a: Any, b: Any, exactly: bool = False) -> bool:
    a, b = np.asarray(a), np.asarray(b)
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    if np.array_equal(a, b, equal_nan=a.dtype.kind == "f"):
        return True
    if exactly or a.dtype.kind != "f":
        return False
    scale = np.abs(a[np.isfinite(a)]).max(initial=0)
    return np.allclose(a, b, rtol=0, atol=100 * np.finfo(a.dtype).eps * scale, equal_nan=True)


def _told(error: BaseException, function: Callable) -> str:
    """The exception's own text, and the line of the candidate it came from."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if code is not None and f.filename == code.co_filename]
    text = f"it raises {_one_line(error)}"
    if own:
        line = (own[-1].line or linecache.getline(own[-1].filename, own[-1].lineno)).strip()
        text += f" in line {own[-1].lineno}" + (f": {line}" if line else "")
    return text


def _one_line(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split()).rstrip(": ")


def _parameters(function: Callable) -> list[str]:
    try:
        return list(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        return []


def _kind(value: Any) -> str:
    if value is None:
        return "nothing (None)"
    if isinstance(value, np.ndarray):
        return f"an array of shape {value.shape}"
    if isinstance(value, tuple):
        return f"a tuple of {len(value)}"
    article = "an" if type(value).__name__[0] in "aeiou" else "a"
    return f"{article} {type(value).__name__}"


def _and(names: Sequence[str]) -> str:
    return ", ".join(names[:-1]) + (" and " if len(names) > 1 else "") + "".join(names[-1:])
