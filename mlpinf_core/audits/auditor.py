"""Makes audits: runs a test, looks at what came out, leaves what a submission wants of it."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import attrs

from mlpinf_core import accuracy as judging
from mlpinf_core import record
from mlpinf_core.audits import config as audit_config
from mlpinf_core.audits.counterparts import needs_accuracy_run
from mlpinf_core.audits.findings import (
    Findings,
    look_at_answers,
    look_at_speed,
    look_at_tokens,
)
from mlpinf_core.audits.model import RUN_NAME, AuditedRun, AuditResult, records_of
from mlpinf_core.audits.payloads import write_subset
from mlpinf_core.errors import (
    ExitCode,
    InterruptedRunError,
    LogError,
    MlpinfError,
    PluginError,
    PrerequisiteError,
    RunError,
)
from mlpinf_core.hashing import copy_atomically, sync_folder, write_atomically
from mlpinf_core.logs.detail import DetailLog
from mlpinf_core.outcomes import ACCURACY_LOG_NAME, DETAIL_NAME, SUMMARY_NAME, cause_of, trouble_of
from mlpinf_core.plan import Request, make_plan
from mlpinf_core.record import new_directory, unwritable
from mlpinf_core.repeating import request_to_repeat
from mlpinf_core.rules import load_round
from mlpinf_core.runner import Runner
from mlpinf_core.vocabulary import Mode

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlpinf_core.accuracy import AccuracyResult
    from mlpinf_core.audits.counterparts import Counterparts
    from mlpinf_core.config.schema import Config
    from mlpinf_core.logs.accuracy import AccuracyLog
    from mlpinf_core.logs.cause import Cause
    from mlpinf_core.plan import PlannedRun
    from mlpinf_core.plugins import Plugins
    from mlpinf_core.results import RunResult
    from mlpinf_core.rules.model import AuditRules

log = logging.getLogger(__name__)

_LOGS = (SUMMARY_NAME, DETAIL_NAME, ACCURACY_LOG_NAME)


@attrs.frozen
class Audits:
    """All audits of one command.

    Attributes:
        results: in the order in which they were made.
        directory: that holds their directories.
        exit_code: the gravest of what they would end the process with.
    """

    results: tuple[AuditResult, ...]
    directory: Path
    exit_code: ExitCode


def audit(
    counterparts: Sequence[Counterparts], plugins: Plugins, output: Path, **options: Any
) -> Audits:
    """Make the tests of some workloads.

    Args:
        counterparts: what is audited, and by which tests.
        plugins: those that are there.
        output: where the audits' directories are made.
        options: as :class:`~mlpinf_core.runner.Runner` takes them.

    Returns:
        Every test's result. A test that fails is a result, not an exception.

    Raises:
        PrerequisiteError: the output directory cannot be written.
        ConfigurationError: a run's settings are no longer known.
        InterruptedRunError: the user stopped it; audits that were finished stay.
    """
    session = new_directory(output)
    results: list[AuditResult] = []
    codes = {ExitCode.OK}
    for found in counterparts:
        request = request_to_repeat(
            found.performance.directory, Request(benchmarks=(), output=output)
        )
        plan = make_plan(request, plugins)
        auditor = _Auditor(plan, plugins, **options)
        for test in found.tests:
            result, code = auditor.audit(plan.runs[0], test, found, session)
            results.append(result)
            codes.add(code)
    gravest = (ExitCode.FAILED, ExitCode.INVALID, ExitCode.OK)
    return Audits(tuple(results), session, next(code for code in gravest if code in codes))


class _Auditor(Runner):
    """Makes the tests of one workload."""

    def audit(
        self, planned: PlannedRun, test: str, found: Counterparts, session: Path
    ) -> tuple[AuditResult, ExitCode]:
        """Make one test in a directory of its own."""
        directory = session / planned.workload.slug / test
        rules = load_round(planned.workload.round).audits[test]
        keys = audit_config.keys_of(test, rules, planned.rules, planned.workload.scenario)
        config = planned.config(self._plugins, Mode.PERFORMANCE)
        run = self._test_run(planned, test, config, keys, directory / RUN_NAME)
        findings = Findings()
        findings.reasons += run.verdict.causes
        if run.exit_code is not ExitCode.FAILED:  # else there is nothing to look at
            findings.reasons += self._not_taken(keys, run.directory)
            self._look(findings, planned, test, config, found, run.directory)
        try:
            result = _finish(directory, planned, test, rules, findings, found)
        except OSError as error:
            raise unwritable(directory, error) from error
        self._finished(attrs.evolve(run, verdict=_shown(run, result)))
        code = ExitCode.OK if result.passed else ExitCode.INVALID
        return result, ExitCode.FAILED if run.exit_code is ExitCode.FAILED else code

    def _test_run(
        self, planned: PlannedRun, test: str, config: Config, keys: dict[str, int], directory: Path
    ) -> RunResult:
        """LoadGen with the test's audit.config, which lies in the run's own directory."""
        rules = load_round(planned.workload.round).audits[test]
        try:
            made = self._record(planned, Mode.PERFORMANCE, config, directory)
            made["audit"] = {"test": test, "config": keys}
            try:
                record.write_json(directory / record.FILE_NAME, made)
                write_atomically(
                    directory / audit_config.FILE_NAME, audit_config.text(keys).encode()
                )
            except OSError as error:
                raise unwritable(directory, error) from error
            self._plugins.notify("run_started", run=made)
            outcome = self._supervise(
                planned, Mode.PERFORMANCE, "execute", config, directory, called=test
            )
            self._keep_binding(made, directory, outcome)
            result = self._judge(planned, Mode.PERFORMANCE, config, directory, outcome, rules)
        except KeyboardInterrupt:
            raise InterruptedRunError(
                f"interrupted during {test}", where=str(directory), remedy="start it again"
            ) from None
        result = attrs.evolve(result, audit=test)
        try:
            result.write()
        except OSError as error:
            raise unwritable(directory, error) from error
        try:
            self._plugins.notify("run_finished", run=made, result=result.to_dict())
        except PluginError as error:
            log.error("%s", error)
        return result

    def _not_taken(self, keys: dict[str, int], run: Path) -> list[Cause]:
        try:
            return list(audit_config.not_taken(keys, DetailLog.read(run / DETAIL_NAME)))
        except LogError as error:
            return [cause_of(error)]

    def _look(
        self,
        findings: Findings,
        planned: PlannedRun,
        test: str,
        config: Config,
        found: Counterparts,
        run: Path,
    ) -> None:
        audit = load_round(planned.workload.round).audits[test]
        if test == "TEST06":
            look_at_tokens(findings, planned, run)
        if needs_accuracy_run(test) and found.accuracy is not None:
            try:
                look_at_answers(
                    findings,
                    found.accuracy.directory,
                    run,
                    planned.rules.audit_margins,
                    lambda reference, log: self._rescored(planned, config, reference, log, run),
                    judging.text,
                )
            except PrerequisiteError:
                raise  # a full disk says nothing of the answers
            except MlpinfError as error:
                findings.reasons.append(cause_of(error))
        if audit.speed is not None:
            look_at_speed(
                findings, found.performance.directory, run, planned.workload.scenario, audit
            )

    def _rescored(
        self,
        planned: PlannedRun,
        config: Config,
        reference: AccuracyLog,
        test: AccuracyLog,
        run: Path,
    ) -> tuple[AccuracyResult, AccuracyResult]:
        """The scores of the same samples in the accuracy run's log, and in the test's.

        Each log is scored in a directory of its own, in a process of its own.
        """
        scored = []
        for name, log in (("baseline", reference), ("compliance", test)):
            directory = run.parent / name
            self._record(planned, Mode.ACCURACY, config, directory)
            try:
                write_subset(log, test.qsl_indices, directory / ACCURACY_LOG_NAME)
            except OSError as error:
                raise unwritable(directory, error) from error
            outcome = self._supervise(planned, Mode.ACCURACY, "score", config, directory)
            if (cause := trouble_of(outcome)) is not None:
                raise RunError(cause.message, where=str(directory), remedy=cause.suggestion)
            scored.append(judging.judge((outcome.result or {})["scores"], {}))
        return scored[0], scored[1]


def _finish(
    directory: Path,
    planned: PlannedRun,
    test: str,
    rules: AuditRules,
    findings: Findings,
    found: Counterparts,
) -> AuditResult:
    """Leave the test's files and, last of all, ``audit.json``."""
    run = directory / RUN_NAME
    kept = []
    for name in dict.fromkeys((*rules.files, *rules.optional_files, *findings.texts)):
        target = directory / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if name in findings.texts:
            write_atomically(target, findings.texts[name].encode())
        elif (source := run / PurePosixPath(name).name).is_file():
            copy_atomically(source, target)
        else:
            continue  # the run came to nothing, and its reasons say so
        sync_folder(target.parent)
        kept.append(name)
    # Of every test, also of one that compares no speeds: it vouches for this run and no other.
    runs = {
        "audit": AuditedRun.of(run, _present(run)),
        "performance": _audited(found.performance, (SUMMARY_NAME, DETAIL_NAME)),
    }
    if needs_accuracy_run(test) and found.accuracy is not None:
        runs["accuracy"] = _audited(found.accuracy, (ACCURACY_LOG_NAME,))
    result = AuditResult(
        directory=directory,
        workload=planned.workload,
        test=test,
        passed=not findings.reasons,
        reasons=tuple(dict.fromkeys(findings.reasons)),
        checks=tuple(findings.checks),
        runs=runs,
        files=records_of(directory, kept),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    result.write()
    return result


def _present(run: Path) -> list[str]:
    names = (record.FILE_NAME, audit_config.FILE_NAME, *_LOGS)
    return [name for name in names if (run / name).is_file()]


def _audited(run: RunResult, names: Sequence[str]) -> AuditedRun:
    """As much of it as is there: what is missing is among the reasons."""
    return AuditedRun.of(run.directory, [n for n in names if (run.directory / n).is_file()])


def _shown(run: RunResult, result: AuditResult) -> Any:
    """The run's verdict as the progress display tells it: the audit's."""
    return attrs.evolve(run.verdict, valid=result.passed, causes=result.reasons)
