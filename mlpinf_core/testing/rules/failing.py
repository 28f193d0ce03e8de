"""Rules about runs that go wrong: the verdict says so, the process ends, everything is closed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlpinf_core.errors import ExitCode
from mlpinf_core.results import RESULT_NAME
from mlpinf_core.testing.faults import MARK, STRUCK, Fault, events
from mlpinf_core.testing.rule import ConformanceError, NotApplicableError, collect, rule
from mlpinf_core.testing.rules.running import causes_of
from mlpinf_core.vocabulary import Mode

if TYPE_CHECKING:
    from mlpinf_core.results import RunResult
    from mlpinf_core.testing.subject import Subject


@rule("A backend that raises makes the run INVALID, with its reason, and never hangs it.")
def backend_raises(subject: Subject) -> None:
    """Engines run out of memory and lose devices in the middle of a test.

    A SUT that swallows the exception either leaves LoadGen waiting for ever, or answers with
    something made up, and the run is VALID.
    """
    result = _disturbed(subject, Fault.RAISES, Mode.PERFORMANCE)
    _expect_failure(result, "whose backend raises")
    if MARK not in causes_of(result):
        raise ConformanceError(
            f"the verdict does not say what the backend raised; it says: {causes_of(result)}",
            where=str(result.directory),
            remedy="let the exception through, or hand it to responder.fail",
        )


@rule("A backend that returns None instead of answers makes the run INVALID, and never hangs it.")
def backend_returns_nothing(subject: Subject) -> None:
    """A method that forgets to return, or gives up quietly, must not pass for an answer."""
    result = _disturbed(subject, Fault.RETURNS_NOTHING, Mode.ACCURACY)
    # Where neither dtype nor token counts are declared, nothing is an answer, though a wrong one.
    if subject.declared().response_dtype is None and not result.ok:
        return
    _expect_failure(result, "whose backend returns None")


@rule("A backend that answers too few samples makes the run INVALID, and never hangs it.")
def backend_returns_too_few(subject: Subject) -> None:
    """A SUT that zips samples with answers drops the rest; one that pads makes answers up."""
    result = _disturbed(subject, Fault.RETURNS_TOO_FEW, Mode.PERFORMANCE)
    _expect_failure(result, "whose backend leaves a sample out")


@rule("The backend and the SUT are closed once, without an error, after success and after failure.")
def torn_down(subject: Subject) -> None:
    """Servers, worker processes and device memory that outlive a run spoil the next one.

    `close` is called after a failed `load` too, when half of the backend does not exist yet.
    """
    subject.sound()
    cases = {
        "after a good run": (Fault.OUT_OF_ORDER, Mode.ACCURACY, ("sut.close", "backend.close")),
        "after the backend raised": (
            Fault.RAISES,
            Mode.PERFORMANCE,
            ("sut.close", "backend.close"),
        ),
        "after the backend could not be loaded": (
            Fault.LOAD_RAISES,
            Mode.PERFORMANCE,
            ("backend.close",),
        ),
    }
    problems = []
    for case, (fault, mode, wanted) in cases.items():
        result = subject.disturbed(fault, mode)
        happened = events(result.directory)
        for event in wanted:
            calls = [e for e in happened if e["event"] == event]
            errors = [e["error"] for e in calls if e["error"]]
            if len(calls) != 1:
                problems.append(f"{case}, {event} ended {len(calls)} times ({result.directory})")
            problems += [f"{case}, {event} raised {error}" for error in errors]
    collect(
        problems,
        where=str(subject.directory),
        remedy="let close() free what exists, and do nothing about what does not",
    )


def _disturbed(subject: Subject, fault: Fault, mode: Mode) -> RunResult:
    subject.sound()
    result = subject.disturbed(fault, mode)
    if not any(event["event"] == STRUCK for event in events(result.directory)):
        raise NotApplicableError(
            "the fault did not strike: in the test, the SUT calls no method of the backend that "
            "returns outputs"
        )
    return result


def _expect_failure(result: RunResult, what: str) -> None:
    where = str(result.directory)
    if any(cause.code == "hang" for cause in result.verdict.causes):
        raise ConformanceError(
            f"the run {what} hangs: {causes_of(result)}",
            where=where,
            remedy="complete or fail every slot of a query before the SUT's flush returns; "
            "wait for threads, not for answers",
        )
    if result.verdict.valid:
        raise ConformanceError(
            f"the run {what} is VALID",
            where=where,
            remedy="hand what the backend returns to responder.complete as it is, and failures to "
            "responder.fail; never make an answer up",
        )
    if result.exit_code is not ExitCode.FAILED or not (result.directory / RESULT_NAME).is_file():
        raise ConformanceError(
            f"the run {what} is not reported as a failure, but with exit code "
            f"{int(result.exit_code)}: {causes_of(result)}",
            where=where,
            remedy="let the core see the failure instead of ending the test early",
        )
