"""How a child process ended, and what that makes of its run: causes, verdict, figures."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any, Final, TypeVar

import attrs

from mlpinf_core.errors import LogError, MlpinfError, RunError
from mlpinf_core.loadgen.supervisor import OUTPUT_NAME
from mlpinf_core.logs.accuracy import AccuracyLog
from mlpinf_core.logs.detail import DetailLog
from mlpinf_core.logs.result import Performance
from mlpinf_core.verdict import Cause, Verdict, judge_accuracy_run, judge_performance
from mlpinf_core.vocabulary import Mode

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from mlpinf_core.config.schema import Config
    from mlpinf_core.loadgen.supervisor import Outcome
    from mlpinf_core.plan import PlannedRun
    from mlpinf_core.rules.model import AuditRules


T = TypeVar("T")

SUMMARY_NAME: Final = "mlperf_log_summary.txt"
DETAIL_NAME: Final = "mlperf_log_detail.txt"
ACCURACY_LOG_NAME: Final = "mlperf_log_accuracy.json"


def verdict_of(
    planned: PlannedRun,
    mode: Mode,
    config: Config,
    directory: Path,
    outcome: Outcome,
    audit: AuditRules | None = None,
) -> tuple[Verdict, Performance | None]:
    """The verdict of a finished run from its logs and its child's end, and what it measured.

    Args:
        planned: what was run.
        mode: what was measured of it.
        config: as it was run with.
        directory: of the run.
        outcome: of the child process.
        audit: the compliance test that it is made for; None of an ordinary run.
    """
    if outcome.first_query is None and (causes := causes_of(outcome, directory)):
        return Verdict.of(causes), None  # there was no test, so there are no logs to judge
    detail = _read(DetailLog.read, directory / DETAIL_NAME)
    common: dict[str, Any] = {
        "workload": planned.workload,
        "rules": planned.rules,
        "sample_count": int((outcome.result or {}).get("sample_count") or 0),
        "failures": causes_of(outcome, directory),
        "notes": (
            *wheel_notes(planned.workload.round, outcome),
            *repetition_notes(config.loadgen.total_sample_count),
            *outcome.notes,
        ),
    }
    if mode is Mode.ACCURACY:
        answers = _read(AccuracyLog.read, directory / ACCURACY_LOG_NAME)
        return judge_accuracy_run(detail, answers, **common), None
    concurrency = (outcome.settings or {}).get("concurrency")
    if audit is not None:
        common |= {"sample_count": 0, "by_result": audit.must_be_valid}
    verdict = judge_performance(detail, config=config, concurrency=concurrency, **common)
    if audit is not None:
        verdict = attrs.evolve(verdict, notes=())  # they tell what hinders a submission as a result
    if isinstance(detail, LogError):
        return verdict, None
    try:
        return verdict, Performance.from_log(detail, planned.workload.scenario, planned.rules)
    except LogError:  # a log without figures is among the verdict's causes
        return verdict, None


def _read(read: Callable[[Path], T], path: Path) -> T | LogError:
    """A log, or what is wrong with it: the judges tell that beside what caused it."""
    try:
        return read(path)
    except LogError as error:
        return error


def wheel_notes(round_: str, outcome: Outcome) -> tuple[str, ...]:
    """That the installed LoadGen is of another round, where it is."""
    settings = outcome.settings or {}
    if not settings.get("seeds_enforced"):
        return ()
    embedded = settings["embedded_round"] or "another round"
    return (
        (
            f"not submittable to {round_}: LoadGen {settings['loadgen_version']} is of {embedded}; "
            f"the seeds of {round_} were enforced"
        ),
    )


def repetition_notes(total: int | None) -> tuple[str, ...]:
    """That the data set was presented more than once, where it was."""
    if total is None:
        return ()
    return (
        (
            f"for the open division alone: the data set was presented as {total:,} samples, and "
            "accuracy is that of the first answer to each of its own"
        ),
    )


def causes_of(outcome: Outcome, directory: Path) -> tuple[Cause, ...]:
    """What went wrong in a child process, the root first."""
    found = [
        Cause(
            f"query-{failed.code}",
            failed.message + (f" ({failed.count} samples)" if failed.count else ""),
            f"mend the backend; the traceback is in {directory / OUTPUT_NAME}",
        )
        for failed in outcome.failures
        if failed.code != "aborted" or len(outcome.failures) == 1
    ]
    end = _bad_end(outcome)
    # A child that gives up after failed queries says no more than they do.
    if end is not None and not (found and outcome.hung is None and outcome.error):
        found.append(end)
    return tuple(found)


def trouble_of(outcome: Outcome) -> Cause | None:
    """Why a child process did not do its task, as one cause; None when it did."""
    if (end := _bad_end(outcome)) is not None:
        return end
    if outcome.failures:
        failed = outcome.failures[0]
        return Cause(f"query-{failed.code}", failed.message)
    return None


def _bad_end(outcome: Outcome) -> Cause | None:
    """That a child process was ended, gave up or died."""
    if outcome.hung is not None:
        return Cause(
            "hang",
            f"ended because {outcome.hung}",
            "look at child.log; raise run.hang_timeout or run.start_timeout if it needs longer",
        )
    if outcome.error is not None:
        what, where = outcome.error["what"], outcome.error.get("where")
        return Cause("error", what + (f" ({where})" if where else ""), outcome.error.get("remedy"))
    if outcome.exit_code != 0:
        how = f"exit code {outcome.exit_code}"
        if outcome.exit_code < 0:
            names = {number.value: number.name for number in signal.Signals}
            how = names.get(-outcome.exit_code, f"signal {-outcome.exit_code}")
        hint = " (out of memory?)" if how == "SIGKILL" else ""
        return Cause(
            "crash",
            f"the child process died of {how}{hint} while {outcome.phase}",
            "look at child.log in the run directory",
        )
    return None


def error_of(outcome: Outcome, directory: Path) -> MlpinfError | None:
    """Why a child process did not do its task, as an error to raise; None when it did."""
    cause = trouble_of(outcome)
    if cause is None:
        return None
    return RunError(cause.message, where=str(directory), remedy=cause.suggestion)


def cause_of(error: MlpinfError) -> Cause:
    """An error as a cause of a verdict."""
    message = error.what + (f" ({error.where})" if error.where else "")
    return Cause("error", message, error.remedy)


def interrupted() -> Cause:
    """That the user stopped the run."""
    return Cause("interrupted", "the run was interrupted", "start it again")
