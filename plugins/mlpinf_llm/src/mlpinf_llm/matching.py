"""Exact matches: what llama3.1-405b's answers, and the tiny variants', are held against."""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING, Final

from mlpinf_llm.sentences import lines

if TYPE_CHECKING:
    from collections.abc import Sequence

log = logging.getLogger(__name__)

_UUID: Final = re.compile(r"\w{8}-\w{4}-\w{4}-\w{4}-\w{12}")
_NUMBER: Final = re.compile(r"-?\d+(?:[.,]\d+)*")
_ANSWER_MARK: Final = "Answer: "


def exact_match(
    predictions: Sequence[str], references: Sequence[str], kinds: Sequence[str]
) -> float:
    """Percentage of answers that match, each judged by its kind (see :func:`match`).

    Raises:
        ValueError: the three differ in number, there are none, or a kind is unknown.
    """
    if not len(predictions) == len(references) == len(kinds):
        raise ValueError(f"{len(predictions)} predictions for {len(references)} references")
    if not predictions:
        raise ValueError("there are no outputs to score")
    empty = sum(
        kind == "qa_em" and not p.strip() for p, kind in zip(predictions, kinds, strict=True)
    )
    if empty:
        log.warning("%d empty answers count as matches, as the official script counts them", empty)
    graded = [match(*row) for row in zip(predictions, references, kinds, strict=True)]
    return sum(graded) / len(graded)


def match(prediction: str, reference: str, kind: str) -> float:
    """How well one answer matches, 0 to 100, by one of three kinds.

    ``qa_em``: the reference's alternatives are separated by ``|``; one of them must occur in the
    answer (what follows the last "Answer: " if there is one), regardless of case and white space,
    or the answer in the reference as it stands. An empty answer therefore matches.
    ``niah_em``: identifiers (UUIDs) in the answer and the reference are compared in order. Each
    counts by the share of the expected one's characters that occur anywhere in it, so a wrong one
    still scores something; the mean is rounded to two decimals.
    ``number``: the last number of the answer is the reference.
    """
    if kind == "qa_em":
        return 100.0 * _holds_answer(lines(prediction), lines(reference))
    if kind == "niah_em":
        return _same_identifiers(prediction, reference)
    if kind == "number":
        number = final_number(prediction)
        return 100.0 * (number is not None and number == final_number(reference))
    raise ValueError(f"{kind!r} is not a kind of exact match: qa_em, niah_em, number")


def _holds_answer(prediction: str, reference: str) -> bool:
    answer = prediction.rpartition(_ANSWER_MARK)[2]
    squeezed = _squeeze(answer)
    return answer in reference or any(_squeeze(entry) in squeezed for entry in reference.split("|"))


def _squeeze(text: str) -> str:
    return re.sub(r"\s+", "", text).lower()


def _same_identifiers(prediction: str, reference: str) -> float:
    found, expected = _UUID.findall(prediction), _UUID.findall(reference)
    if not found:
        return 0.0
    shares = [
        sum(letter.lower() in answer.lower() for letter in wanted) / len(wanted)
        for answer, wanted in zip(found, expected, strict=False)
    ]
    return round(sum(shares) / len(found) * 100, 2)


def final_number(text: str) -> str | None:
    """The last number in ``text``, without thousands separators; None where there is none."""
    found = _NUMBER.findall(text)
    return found[-1].replace(",", "") if found else None
