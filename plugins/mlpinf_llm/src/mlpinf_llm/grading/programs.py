"""Grading generated programs by LiveCodeBench's tests; each program runs in a child process.

The child is given a test's input and never its expected output: what it wrote or returned is
compared here.
"""

from __future__ import annotations

import ast
import base64
import io
import json
import pickle
import zlib
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, Final

import attrs

from mlpinf_core.errors import IntegrityError
from mlpinf_core.machine import usable_processors
from mlpinf_llm.grading import sandbox

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

_WORKER: Final = "mlpinf_llm.grading.program_worker"
_TEST_S: Final = 60
"""Seconds for one test, as in the reference."""
_START_S: Final = 30


@attrs.frozen
class Problem:
    """The tests of one problem.

    Attributes:
        inputs: of each test: standard input, or the arguments as JSON, one a line.
        outputs: what is expected: standard output, or the result as JSON.
        function: what is called; None where the program reads and writes.
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    function: str | None


def read_problems(path: Path, wanted: Sequence[str]) -> dict[str, Problem]:
    """The problems of LiveCodeBench's ``test.jsonl``, by their ids.

    Args:
        path: the file, one JSON object a line.
        wanted: ids that must be there.

    Raises:
        IntegrityError: it is another file, or lacks a problem.
    """
    remedy = "give test.jsonl of livecodebench/code_generation_lite, release_v1"
    needed, found = set(wanted), {}
    try:
        with path.open(encoding="utf-8") as lines:
            for line in lines:
                row = json.loads(line)
                if row["question_id"] in needed:
                    found[row["question_id"]] = _problem(row)
    except (ValueError, KeyError, TypeError, zlib.error, pickle.UnpicklingError) as error:
        what = f"LiveCodeBench's tests cannot be read: {type(error).__name__}: {error}"
        raise IntegrityError(what, where=str(path), remedy=remedy) from error
    except OSError as error:
        what = f"LiveCodeBench's tests cannot be read: {error.strerror}"
        raise IntegrityError(what, where=str(path), remedy=remedy) from error
    if missing := sorted(needed - set(found)):
        first = missing[0]
        what = f"LiveCodeBench's tests lack {len(missing)} of {len(needed)} problems: {first}, say"
        raise IntegrityError(what, where=str(path), remedy=remedy)
    return found


def _problem(row: Mapping[str, Any]) -> Problem:
    tests = json.loads(row["public_test_cases"]) + _private(row["private_test_cases"])
    if not tests:  # every program would pass
        raise ValueError(f"the problem {row['question_id']} has no tests")
    return Problem(
        tuple(test["input"] for test in tests),
        tuple(test["output"] for test in tests),
        json.loads(row["metadata"]).get("func_name"),
    )


def _private(text: str) -> list[dict[str, str]]:
    """The tests that are not public: JSON, or that compressed, pickled and in base 64."""
    try:
        found: list[dict[str, str]] = json.loads(text)
    except ValueError:
        packed = zlib.decompress(base64.b64decode(text))
        found = json.loads(_TextOnly(io.BytesIO(packed)).load())
    return found


class _TextOnly(pickle.Unpickler):
    """Unpickles text, and nothing that would have to be looked up."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"a test names {module}.{name}; it was not loaded")


def grade(programs: Sequence[tuple[str, Problem]]) -> list[bool]:
    """Whether each program passes all tests of its problem; one at a time a core."""
    with ThreadPoolExecutor(usable_processors()) as pool:
        return list(pool.map(lambda pair: passes(*pair), programs))


def passes(program: str, problem: Problem, *, test_s: int = _TEST_S) -> bool:
    """Whether a program passes all tests, in a child process of its own."""
    question = {
        "program": program,
        "inputs": problem.inputs,
        "function": problem.function,
        "seconds": test_s,
    }
    whole = test_s * len(problem.inputs) + _START_S
    answers = sandbox.ask(_WORKER, question, sandbox.Limits(cpu_s=whole), whole)
    if not isinstance(answers, list) or len(answers) != len(problem.outputs):
        return False
    same = _same_text if problem.function is None else _same_result
    return all(
        isinstance(answer, str) and same(answer, expected)
        for answer, expected in zip(answers, problem.outputs, strict=True)
    )


def _same_result(answer: str, expected: str) -> bool:
    """Whether a result, as Python writes it, is the expected one, in JSON."""
    try:
        result = ast.literal_eval(answer)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return False
    return bool((list(result) if isinstance(result, tuple) else result) == json.loads(expected))


def _same_text(answer: str, expected: str) -> bool:
    """Whether a text is the expected one: line by line, numbers by value, without outer space."""
    got, wanted = (_lines(text) for text in (answer, expected))
    return len(got) == len(wanted) and all(map(_same_line, got, wanted))


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.strip().split("\n")]


def _same_line(got: str, wanted: str) -> bool:
    if got == wanted:
        return True
    try:
        return [Decimal(word) for word in got.split()] == [Decimal(word) for word in wanted.split()]
    except InvalidOperation:
        return False
