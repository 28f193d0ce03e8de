"""deepseek-r1's exact match: its parts graded, and what keeps one from being graded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs

from mlpinf_core.benchmark import is_installed
from mlpinf_core.protocols import NotGraded
from mlpinf_llm.grading import parts, programs
from mlpinf_llm.grading.parts import Part

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from mlpinf_llm.grading.programs import Problem

METRIC: Final = "exact_match"

_MATHEMATICS: Final = ("sympy", "pylatexenc")


@attrs.frozen
class Answer:
    """One answer.

    Attributes:
        text: what the model wrote.
        reference: the right answer; of a program, the id of its problem.
        part: which part of the data set it belongs to.
    """

    text: str
    reference: str
    part: Part


def scores(
    answers: Sequence[Answer], problems: Callable[[Sequence[str]], Mapping[str, Problem]] | None
) -> dict[str, float | NotGraded]:
    """The exact match of all answers, and of each part.

    Args:
        answers: all of them.
        problems: gives the tests of the problems with these ids; None where programs are not to be
            executed.

    Returns:
        ``exact_match``, percent, not graded while a part of it is not; and for each part that
        occurs ``exact_match_gpqa`` and so on, which nothing judges.
    """
    by_part = {part: [a for a in answers if a.part is part] for part in Part}
    graded = {part: _graded(part, of, problems) for part, of in by_part.items() if of}
    whole: float | NotGraded
    left_out = [found.reason for found in graded.values() if isinstance(found, NotGraded)]
    if left_out:
        whole = NotGraded("; ".join(left_out))
    else:
        right = sum(sum(found) for found in graded.values() if not isinstance(found, NotGraded))
        whole = 100.0 * right / len(answers)
    return {METRIC: whole} | {
        f"{METRIC}_{part}": found
        if isinstance(found, NotGraded)
        else 100.0 * sum(found) / len(found)
        for part, found in graded.items()
    }


def _graded(
    part: Part,
    answers: Sequence[Answer],
    problems: Callable[[Sequence[str]], Mapping[str, Problem]] | None,
) -> list[bool] | NotGraded:
    count = len(answers)
    if part is Part.AIME:
        return [parts.is_right_integer(a.text, a.reference) for a in answers]
    if part is Part.MATH:
        if not all(map(is_installed, _MATHEMATICS)):
            return NotGraded(
                f"{count} answers of mathematics need SymPy: pip install 'mlpinf-llm[grading]'"
            )
        return _mathematics(answers)
    if part is Part.CODE:
        if problems is None:
            return NotGraded(
                f"{count} programs were not executed: set benchmark.grade_code and "
                "benchmark.code_tests_path"
            )
        return _programs(answers, problems)
    return [parts.is_right_choice(a.text, a.reference, part) for a in answers]


def _mathematics(answers: Sequence[Answer]) -> list[bool]:
    from mlpinf_llm.grading.math_answers import same_answer
    from mlpinf_llm.grading.symbolic import Comparer

    with Comparer() as comparer:
        return [
            same_answer(found, a.reference, comparer.same_value)
            if (found := parts.boxed(a.text)) and a.reference
            else False
            for a in answers
        ]


def _programs(
    answers: Sequence[Answer], problems: Callable[[Sequence[str]], Mapping[str, Problem]]
) -> list[bool]:
    tests = problems([a.reference for a in answers])
    written = [parts.program(a.text) for a in answers]
    tried = [place for place, program in enumerate(written) if program]
    passed = programs.grade([(written[i] or "", tests[answers[i].reference]) for i in tried])
    right = dict(zip(tried, passed, strict=True))
    return [right.get(place, False) for place in range(len(answers))]
