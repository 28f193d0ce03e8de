"""Rules about runs that go well."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mlpinf_core.testing.corruption import ACCURACY_LOG, answers_of
from mlpinf_core.testing.faults import STRUCK, Fault, events
from mlpinf_core.testing.rule import ConformanceError, NotApplicableError, collect, rule
from mlpinf_core.vocabulary import Mode

if TYPE_CHECKING:
    from mlpinf_core.results import RunResult
    from mlpinf_core.testing.subject import Subject

_OF_SHORT_RUNS: Final = frozenset(
    {
        "early-stopping",
        "min-duration",
        "min-queries",
        "offline-samples",
        "performance-constraint",
    }
)
"""Codes of causes that a run has because the kit makes it short, and not because of the plugin."""

_SHOWN: Final = 3


def causes_of(result: RunResult) -> str:
    """Why a run is not valid, in one line."""
    return "; ".join(cause.message for cause in result.verdict.causes) or "no cause was given"


@rule("A performance and an accuracy run of every scenario end without a failure.")
def scenarios_run(subject: Subject) -> None:
    """Whoever installs a benchmark may choose any scenario that it declares."""
    problems = []
    for scenario in subject.scenarios():
        for mode in (Mode.ACCURACY, Mode.PERFORMANCE):
            result = subject.good(scenario, mode)
            causes = [c for c in result.verdict.causes if c.code not in _OF_SHORT_RUNS]
            if causes or (mode is Mode.PERFORMANCE and result.performance is None):
                problems.append(
                    f"{scenario} {mode} failed: {causes_of(result)} ({result.directory})"
                )
    collect(
        problems,
        where=str(subject.directory),
        remedy="look at child.log in the run directory, or declare fewer scenarios",
    )


@rule("Two processes see the same samples in the same order.")
def same_samples(subject: Subject) -> None:
    """LoadGen draws samples by their index, from seeds that a round fixes for everybody.

    If index 7 is another sample in another process, no two runs measure the same thing, and an
    accuracy log cannot be scored by anyone but the process that wrote it.
    """
    first, second = subject.sound(), subject.repeat.result
    if not second.verdict.valid:
        raise NotApplicableError(f"the second run is INVALID: {causes_of(second)}")
    one, two = (answers_of(r.directory / ACCURACY_LOG) for r in (first, second))
    if one.keys() != two.keys():
        raise ConformanceError(
            f"one process has {len(one)} samples, and another {len(two)}",
            where=f"{first.directory} and {second.directory}",
            remedy="make the data set's size depend on its files and settings only",
        )
    different = differing(one, two)
    if subject.repeatable and different:
        raise ConformanceError(
            f"{len(different)} of {len(one)} samples were answered otherwise in a second process: "
            f"{shown(different)}",
            where=f"{first.directory} and {second.directory}",
            remedy="order samples by what is in the files, never by a set, a listing or a clock; "
            "if the backend itself cannot repeat its answers, say repeatable = False",
        )


@rule("A second run finds what the first has prepared, and builds nothing.")
def prepared_once(subject: Subject) -> None:
    """Preparation takes minutes to days at full size, and every test is a process of its own.

    An artifact whose inputs are never the same again is built for each of them.
    """
    subject.sound()
    repeat = subject.repeat
    if repeat.changed:
        raise ConformanceError(
            f"the second run wrote {len(repeat.changed)} files to the scratch space: "
            f"{', '.join(repeat.changed[:_SHOWN])}",
            where=str(repeat.result.directory),
            remedy="build artifacts with run.store.build, from inputs that stay the same: "
            "checksums, settings and versions, no times, paths or process numbers",
        )


@rule("Each sample gets its own answer exactly once, whatever order samples and answers come in.")
def answers_in_any_order(subject: Subject) -> None:
    """Batches are shuffled before the SUT gets them, their answers split and told last first.

    A SUT that goes by position instead of by slot gives samples each other's answers as soon as
    queries are batched, cut, or answered by more than one device, and nothing but the accuracy
    run will show it.
    """
    good = subject.sound()
    result = subject.disturbed(Fault.OUT_OF_ORDER, Mode.ACCURACY)
    remedy = (
        "complete query.slots with outputs in the order of query.indices; slots are a range or an "
        "array, neither sorted nor the same as indices"
    )
    if not any(event["event"] == STRUCK for event in events(result.directory)):
        raise ConformanceError(
            f"the run did not get as far as the SUT: {causes_of(result)}",
            where=str(result.directory),
        )
    if not result.verdict.valid:
        raise ConformanceError(causes_of(result), where=str(result.directory), remedy=remedy)
    different = differing(
        answers_of(good.directory / ACCURACY_LOG), answers_of(result.directory / ACCURACY_LOG)
    )
    if different and _repeats(subject, good):
        raise ConformanceError(
            f"{len(different)} samples got other answers than in order: {shown(different)}",
            where=f"{good.directory} and {result.directory}",
            remedy=remedy,
        )
    if different and good.ok and not result.ok:
        raise ConformanceError(
            "out of order, the answers are outside the accuracy limits",
            where=str(result.directory),
            remedy=remedy,
        )


def _repeats(subject: Subject, good: RunResult) -> bool:
    """Whether an undisturbed run repeats its answers; if not, the order is not to blame."""
    second = subject.repeat.result
    return subject.repeatable and not differing(
        answers_of(good.directory / ACCURACY_LOG), answers_of(second.directory / ACCURACY_LOG)
    )


def differing(one: dict[int, bytes], two: dict[int, bytes]) -> list[int]:
    """The samples that have other answers, or answers in one only."""
    return sorted(s for s in one.keys() | two.keys() if one.get(s) != two.get(s))


def shown(samples: list[int]) -> str:
    """The first few."""
    more = ", ..." if len(samples) > _SHOWN else ""
    return ", ".join(map(str, samples[:_SHOWN])) + more
