"""The child process of :mod:`mlpinf_llm.grading.symbolic`: an answer a line for each expression."""

from __future__ import annotations

import json
import sys

from mlpinf_llm.grading.sandbox import confine


def is_zero(expression: str) -> bool:
    """Whether an expression simplifies to 0; False for what is none."""
    import sympy
    from sympy.parsing import sympy_parser as parser

    try:
        value = parser.parse_expr(
            expression.replace("^", "**"),
            transformations=(
                *parser.standard_transformations,
                parser.implicit_multiplication_application,
            ),
        )
        return bool(sympy.simplify(value) == 0)
    except Exception:  # noqa: BLE001 - what is no expression has no value
        return False


def main() -> None:
    """Answer until there are no more questions."""
    confine(sys.argv[1])
    answers = sys.stdout
    sys.stdout = sys.stderr  # what is evaluated may print
    for line in sys.stdin:
        answers.write(json.dumps(is_zero(json.loads(line))) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
