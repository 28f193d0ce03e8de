"""Whether two expressions have the same value, decided by SymPy in a child process.

SymPy evaluates what it parses, and may take for ever to simplify it.
"""

from __future__ import annotations

import json
import re
import select
from contextlib import ExitStack
from typing import IO, TYPE_CHECKING, Final, Self, TypeAlias, cast

from mlpinf_llm.grading import sandbox

if TYPE_CHECKING:
    import subprocess
    from types import TracebackType

Pipes: TypeAlias = tuple[IO[bytes], IO[bytes]]

_WORKER: Final = "mlpinf_llm.grading.symbolic_worker"
_LIMITS: Final = sandbox.Limits(cpu_s=600)
_TIMEOUT_S: Final = 20.0
"""For one comparison; the first one also waits for SymPy to be imported."""
_POWERS: Final = re.compile(r"\^\{|\^\(|\^[0-9]+\^|\^[0-9][0-9]+")
_MOST_LETTERS: Final = 2


class Comparer:
    """Compares expressions; a context manager, because it holds a child process."""

    def __init__(self, timeout_s: float = _TIMEOUT_S) -> None:
        self._timeout_s = timeout_s
        self._open = ExitStack()
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        """The process starts with the first comparison."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the process."""
        self._stop()

    def same_value(self, wanted: str, got: str) -> bool:
        """Whether their difference simplifies to 0; False too where that takes too long.

        Expressions with more than two different letters or with large powers are not tried.
        """
        expression = f"({wanted})-({got})"
        letters = expression.replace("sqrt", "").replace("frac", "")
        if len({sign for sign in letters if sign.isalpha()}) > _MOST_LETTERS:
            return False
        if _POWERS.search(expression):
            return False
        return self._ask(expression)

    def _ask(self, expression: str) -> bool:
        if self._process is None:
            self._process = self._open.enter_context(sandbox.started(_WORKER, _LIMITS))
        asked, answers = cast("Pipes", (self._process.stdin, self._process.stdout))
        try:
            asked.write(json.dumps(expression).encode() + b"\n")
            asked.flush()
        except BrokenPipeError:
            self._stop()
            return False
        ready, _, _ = select.select([answers], [], [], self._timeout_s)
        answer = answers.readline() if ready else b""
        if not answer:
            self._stop()  # it died or hangs; the next comparison gets another
        return answer == b"true\n"

    def _stop(self) -> None:
        self._open.close()
        self._process = None
