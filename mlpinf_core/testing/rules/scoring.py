"""Rules about scoring: a scorer that cannot fail measures nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mlpinf_core.testing.rule import ConformanceError, NotApplicableError, collect, rule
from mlpinf_core.vocabulary import Mode

if TYPE_CHECKING:
    from mlpinf_core.testing.subject import Subject

_REFUSALS: Final = ("AccuracyError:", "LogError:")
"""How a scorer says that a log cannot be scored."""


@rule("The answers of a good run are within the accuracy limits, in every scenario.")
def good_answers_pass(subject: Subject) -> None:
    """A limit that the benchmark's own backend misses rejects every honest result.

    The scenarios' logs differ: Offline's has every answer at once, MultiStream's may have a few
    samples twice.
    """
    subject.sound()
    problems = []
    for scenario in subject.scenarios():
        result = subject.good(scenario, Mode.ACCURACY)
        if not result.verdict.valid:
            continue  # there is nothing to score, and another rule says so
        if result.accuracy is None:
            why = "; ".join(result.verdict.notes) or "there is no accuracy limit"
            problems.append(f"{scenario} was not scored: {why} ({result.directory})")
        elif not result.accuracy.passed:
            missed = ", ".join(
                f"{s.metric} is {s.value:g}" for s in result.accuracy.scores if not s.passed
            )
            problems.append(f"{scenario} misses its limits: {missed} ({result.directory})")
    if not problems and subject.rescored.good is not True:
        problems.append("a good log that is scored a second time does not pass again")
    collect(
        problems,
        where=str(subject.directory),
        remedy="score what the log holds, by log.qsl_indices; set the limits from measured scores",
    )


@rule("Answers that were corrupted miss the accuracy limits, or are refused with an AccuracyError.")
def corrupted_answers_fail(subject: Subject) -> None:
    """The accuracy run is the only thing that keeps a fast wrong system from being a result.

    Off by one, cut off, noise and nothing are what broken SUTs really deliver. A scorer that dies
    of them says nothing to its user either, so it has to refuse in words.
    """
    if not (subject.sound().ok and subject.rescored.good is True):
        raise NotApplicableError("the good answers do not pass")
    problems = []
    for name, found in subject.rescored.corrupted.items():
        if found is True:
            problems.append(f"{name}, and the log passes the accuracy limits")
        elif isinstance(found, str) and not found.startswith(_REFUSALS):
            problems.append(f"{name}, and the scorer dies of it: {found}")
    if problems:
        raise ConformanceError(
            "; ".join(problems),
            where=f"hook check_accuracy of {subject.declared().name}",
            remedy="compare every answer with its own reference; raise AccuracyError for an answer "
            "that cannot be one",
        )
