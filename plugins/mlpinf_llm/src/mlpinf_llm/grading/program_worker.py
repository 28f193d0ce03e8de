"""The child process of :mod:`mlpinf_llm.grading.programs`: runs a program on its tests' inputs."""

from __future__ import annotations

import contextlib
import io
import json
import signal
import sys
import types
from typing import TYPE_CHECKING, Any, Final, NoReturn

from mlpinf_llm.grading.sandbox import confine

if TYPE_CHECKING:
    from collections.abc import Callable

_PRELUDE: Final = "\n".join(
    [
        *(
            f"from {module} import *"
            for module in (
                "string", "re", "datetime", "collections", "heapq", "bisect", "copy", "math",
                "random", "statistics", "itertools", "functools", "operator", "io", "sys", "json",
                "builtins", "typing",
            )
        ),
        "import string, re, datetime, collections, heapq, bisect, copy, math, random, statistics",
        "import itertools, functools, operator, io, sys, json",
        "sys.setrecursionlimit(50000)",
    ]
)  # fmt: skip
"""The tests' programs are written as on the platforms that they come from: with all of it there."""


class _TimeIsUpError(BaseException):
    """A test took too long; not an Exception, so that a program cannot easily catch it."""


def _time_is_up(*_: object) -> NoReturn:
    raise _TimeIsUpError


def answers(
    program: str, inputs: list[str], function: str | None, seconds: int
) -> list[str | None]:
    """What the program answers to each input, up to the first that it fails to answer."""
    run = _reader(program) if function is None else _called(program, function, seconds)
    found: list[str | None] = []
    for text in inputs:
        signal.alarm(seconds)
        try:
            found.append(run(text))
        except BaseException:  # noqa: BLE001 - whatever the program raises, it has not answered
            return [*found, None]
        finally:
            signal.alarm(0)
    return found


def _reader(program: str) -> Callable[[str], str]:
    """A program that reads standard input and writes standard output."""
    code = compile(f"{_PRELUDE}\n{program}", "program", "exec")

    def run(text: str) -> str:
        out = io.StringIO()
        stdin = io.TextIOWrapper(io.BytesIO(text.encode()), encoding="utf-8")
        kept, sys.stdin = sys.stdin, stdin
        try:
            with contextlib.redirect_stdout(out), contextlib.suppress(SystemExit):
                exec(code, {"__name__": "__main__"})  # noqa: S102 - that is what is asked for
        finally:
            sys.stdin = kept
        return out.getvalue()

    return run


def _called(program: str, function: str, seconds: int) -> Callable[[str], str]:
    """A function, or the method of a class Solution, that is called with the input's lines."""
    module = types.ModuleType("solution")
    signal.alarm(seconds)
    exec(f"{_PRELUDE}\n{program}", module.__dict__)  # noqa: S102 - that is what is asked for
    signal.alarm(0)
    owner: Any = module.Solution() if "class Solution" in program else module
    method = getattr(owner, function)
    return lambda text: repr(method(*(json.loads(line) for line in text.split("\n"))))


def main() -> None:
    """Answer one question."""
    confine(sys.argv[1])
    question = json.load(sys.stdin)
    out = sys.stdout
    sys.stdout = io.StringIO()  # a function may print what it likes
    signal.signal(signal.SIGALRM, _time_is_up)
    try:
        found = answers(
            question["program"], question["inputs"], question["function"], question["seconds"]
        )
    except BaseException:  # noqa: BLE001 - it does not even compile
        found = []
    sys.stdout = out
    out.write(json.dumps(found))


if __name__ == "__main__":
    main()
