"""Carrying out a plan: measure where a rate is missing, execute, judge, score, record."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import attrs

from mlpinf_core import accuracy as judging
from mlpinf_core import record
from mlpinf_core.config import dump
from mlpinf_core.errors import (
    ExitCode,
    InterruptedRunError,
    MlpinfError,
    PluginError,
    RunError,
)
from mlpinf_core.hashing import write_atomically
from mlpinf_core.loadgen.supervisor import Outcome, supervise
from mlpinf_core.outcomes import cause_of, causes_of, interrupted, trouble_of, verdict_of
from mlpinf_core.preflight import needs_measuring
from mlpinf_core.rates import Rate, corrected
from mlpinf_core.record import new_directory, unwritable
from mlpinf_core.reporting import Reporter, Silent
from mlpinf_core.results import Results, RunResult
from mlpinf_core.scratch import Scratch
from mlpinf_core.systems.detection import detect
from mlpinf_core.systems.host import ThisHost
from mlpinf_core.verdict import Cause, Verdict
from mlpinf_core.vocabulary import Mode

if TYPE_CHECKING:
    from pathlib import Path

    from mlpinf_core.accuracy import AccuracyResult
    from mlpinf_core.config.layers import Layer
    from mlpinf_core.config.schema import Config
    from mlpinf_core.plan import Plan, PlannedRun
    from mlpinf_core.plugins import Plugins
    from mlpinf_core.rules.model import AuditRules

log = logging.getLogger(__name__)


class Runner:
    """Carries out the runs of one plan, one after the other."""

    def __init__(
        self,
        plan: Plan,
        plugins: Plugins,
        *,
        scratch: Scratch | None = None,
        reporter: Reporter | None = None,
        debug: bool = False,
    ) -> None:
        """Prepare to run a plan.

        Args:
            plan: what to run.
            plugins: those the plan was made with.
            scratch: where data and engines live; the environment's by default.
            reporter: who is told.
            debug: let child processes log in detail.
        """
        self._plan = plan
        self._plugins = plugins
        self._scratch = scratch or Scratch.from_environment()
        self._reporter = reporter or Silent()
        self._debug = debug
        self._rates: dict[tuple[str, ...], Rate] = {}
        self._detected: dict[str, Any] | None = None

    def run(self) -> Results:
        """Carry out the plan.

        Returns:
            A result for every run that was begun, whatever its verdict.

        Raises:
            PrerequisiteError: the output directory cannot be written.
            InterruptedRunError: the user stopped it; the run's verdict has been written, and the
                error holds the results so far as ``results``.
        """
        session = new_directory(self._plan.output)
        results: list[RunResult] = []
        skipped: list[str] = []
        broken: set[tuple[str, str]] = set()
        for planned in self._plan.runs:
            for mode in planned.modes:
                key = (planned.workload.benchmark, planned.workload.variant.value)
                if key in broken:
                    skipped.append(f"{planned.workload} {mode}: it would fail as the run before")
                    continue
                result = self._one(planned, mode, session, mode.value)
                if self._correct_rate(planned, mode, result):
                    note = f"made once more: the measured rate was wrong in {result.directory}"
                    result = self._one(planned, mode, session, f"{mode.value}-2", note)
                results.append(result)
                self._finished(result)
                if result.exit_code is ExitCode.INTERRUPTED:
                    error = InterruptedRunError(
                        "interrupted", where=str(result.directory), remedy="start it again"
                    )
                    error.results = Results(tuple(results), session)
                    raise error
                if result.exit_code is ExitCode.FAILED and result.first_query_seconds is None:
                    broken.add(key)  # what failed before the test fails again in the next one
        return Results(tuple(results), session, tuple(skipped))

    def _finished(self, result: RunResult) -> None:
        try:
            self._reporter.finished(result)
        except Exception:
            log.exception("a result could not be shown")

    # -- one run ---------------------------------------------------------------------------------

    def _one(
        self, planned: PlannedRun, mode: Mode, session: Path, name: str, *notes: str
    ) -> RunResult:
        directory = session / planned.workload.slug / name
        made: dict[str, Any] = {}
        try:
            measured = self._measured_layers(planned, mode, session)
            config = planned.config(self._plugins, mode, *measured)
            made = self._record(planned, mode, config, directory)
            self._plugins.notify("run_started", run=made)
            outcome = self._supervise(planned, mode, "execute", config, directory)
            self._keep_binding(made, directory, outcome)
            result = self._judge(planned, mode, config, directory, outcome)
        except KeyboardInterrupt:
            result = _undone(planned, mode, directory, interrupted(), ExitCode.INTERRUPTED)
        except MlpinfError as error:
            began = getattr(error, "first_query", None)
            result = _undone(
                planned, mode, directory, cause_of(error), error.exit_code, first_query=began
            )
        except Exception as error:
            # A bug of ours must not take the other runs' results with it.
            log.exception("%s %s", planned.workload, mode)
            cause = Cause("internal", f"{type(error).__name__}: {error}", "run again with -v")
            result = _undone(planned, mode, directory, cause, ExitCode.FAILED)
        verdict = attrs.evolve(result.verdict, notes=(*result.verdict.notes, *notes))
        result = attrs.evolve(result, verdict=verdict)
        try:
            directory.mkdir(parents=True, exist_ok=True)
            result.write()
        except OSError as error:
            raise unwritable(directory, error) from error
        if made:
            try:
                self._plugins.notify("run_finished", run=made, result=result.to_dict())
            except PluginError as error:
                log.error("%s", error)
        return result

    def _record(
        self, planned: PlannedRun, mode: Mode, config: Config, directory: Path
    ) -> dict[str, Any]:
        """Make the run directory and its ``run.json``."""
        made = record.make(
            planned.workload,
            mode,
            dump.to_dict(config),
            directory=directory,
            scratch=self._scratch.root,
            plugins=self._plugins.infos(),
            system=self._system(),
        )
        try:
            directory.mkdir(parents=True, exist_ok=True)
            record.write_json(directory / record.FILE_NAME, made)
        except OSError as error:
            raise unwritable(directory, error) from error
        return made

    def _system(self) -> dict[str, Any]:
        """Which system this is, and what it is made of; found out once a command."""
        if self._detected is None:
            self._detected = detect(ThisHost()).to_dict()
        return {**self._plan.system.to_dict(), "facts": self._detected}

    def _keep_binding(self, made: dict[str, Any], directory: Path, outcome: Outcome) -> None:
        """Add to ``run.json`` what the child bound itself to, which it alone knows."""
        if outcome.binding is None:
            return
        made["binding"] = dict(outcome.binding)
        try:
            record.write_json(directory / record.FILE_NAME, made)
        except OSError as error:
            raise unwritable(directory, error) from error

    def _supervise(
        self,
        planned: PlannedRun,
        mode: Mode,
        task: str,
        config: Config,
        directory: Path,
        *,
        called: str | None = None,
    ) -> Outcome:
        """Have a child do a task; ``called`` is what to tell of it instead of the task's name."""
        self._reporter.started(planned, mode, called or task)
        return supervise(
            task,
            directory.absolute(),
            start_timeout=config.run.start_timeout,
            hang_timeout=config.run.hang_timeout,
            on_event=self._reporter.event,
            debug=self._debug,
        )

    # -- rates -----------------------------------------------------------------------------------

    def _measured_layers(self, planned: PlannedRun, mode: Mode, session: Path) -> list[Layer]:
        """Settings found in a short measured pass, where none are configured and one is needed."""
        if not needs_measuring(planned, self._plugins, mode):
            return []
        config = planned.config(self._plugins, mode)
        rate = self._rate(planned, mode, config, session)
        return [rate.layer(planned.workload.scenario, config)]

    def _correct_rate(self, planned: PlannedRun, mode: Mode, result: RunResult) -> bool:
        """After a run that is INVALID for its measured rate alone, have a better one ready."""
        if result.exit_code is not ExitCode.INVALID or mode is not Mode.PERFORMANCE:
            return False
        if not needs_measuring(planned, self._plugins, mode):
            return False  # the user chose the rate
        config = planned.config(self._plugins, mode)
        key = _rate_key(planned, config)
        better = corrected(
            self._rates[key], planned.workload.scenario, config, result.directory, result.verdict
        )
        if better is not None:
            self._rates[key] = better
        return better is not None

    def _rate(self, planned: PlannedRun, mode: Mode, config: Config, session: Path) -> Rate:
        """Samples (streams: queries) a second of this backend; measured once a command."""
        scenario = planned.workload.scenario
        key = _rate_key(planned, config)
        if key not in self._rates:
            directory = session / planned.workload.slug / f"measure-{len(self._rates) + 1}"
            self._record(planned, Mode.PERFORMANCE, config, directory)
            outcome = self._supervise(planned, mode, "measure", config, directory)
            cause = trouble_of(outcome)
            rate = (outcome.result or {}).get("rate")
            if cause is not None or not rate:
                failed = RunError(
                    "the measured pass failed: " + (cause.message if cause else "no rate"),
                    where=str(directory),
                    remedy=(cause.suggestion if cause else None) or "set loadgen.target_qps",
                )
                failed.first_query = outcome.first_query
                raise failed
            unit = "queries/s" if scenario.is_stream else "samples/s"
            self._rates[key] = Rate(rate, f"measured {rate:.4g} {unit}")
        return self._rates[key]

    # -- judging ---------------------------------------------------------------------------------

    def _judge(
        self,
        planned: PlannedRun,
        mode: Mode,
        config: Config,
        directory: Path,
        outcome: Outcome,
        audit: AuditRules | None = None,
    ) -> RunResult:
        verdict, performance = verdict_of(planned, mode, config, directory, outcome, audit)
        exit_code = ExitCode.OK if verdict.valid else ExitCode.INVALID
        if causes_of(outcome, directory):
            exit_code = ExitCode.FAILED
        if outcome.error is not None and outcome.first_query is None:
            exit_code = ExitCode(outcome.error["exit_code"])  # before the test, as it says itself
        scored: AccuracyResult | None = None
        unscored: Cause | None = None
        if mode is Mode.ACCURACY and verdict.valid:
            scored, unscored = self._score(planned, config, directory)
            if unscored is not None:
                exit_code = ExitCode.FAILED
            elif scored is not None and not scored.passed:
                exit_code = ExitCode.ACCURACY
        return RunResult(
            workload=planned.workload,
            mode=mode,
            directory=directory,
            verdict=verdict,
            exit_code=exit_code,
            performance=performance,
            accuracy=scored,
            unscored=unscored,
            first_query_seconds=outcome.first_query,
            loadgen={
                name: value
                for name, value in (outcome.settings or {}).items()
                if name not in ("event", "time", "user_conf")
            },
        )

    def _score(
        self, planned: PlannedRun, config: Config, directory: Path
    ) -> tuple[AccuracyResult | None, Cause | None]:
        outcome = self._supervise(planned, Mode.ACCURACY, "score", config, directory)
        cause = trouble_of(outcome)
        if cause is not None:
            return None, cause
        scores = (outcome.result or {})["scores"]
        try:
            result = judging.judge(scores, planned.limits)
        except MlpinfError as error:
            return None, cause_of(error)
        try:
            write_atomically(directory / "accuracy.txt", f"{judging.text(result)}\n".encode())
        except OSError as error:
            return None, cause_of(unwritable(directory, error))
        return result, None


def _rate_key(planned: PlannedRun, config: Config) -> tuple[str, ...]:
    """What a measured rate holds for."""
    bound = (config.run.cpus, config.run.memory_nodes)
    settings = (config.backend, config.sut, config.benchmark)
    return (planned.workload.slug, *bound, *map(str, settings))


def _undone(
    planned: PlannedRun,
    mode: Mode,
    directory: Path,
    cause: Cause,
    exit_code: ExitCode,
    *,
    first_query: float | None = None,
) -> RunResult:
    """The result of a run that did not come to an end."""
    verdict = Verdict(valid=False, causes=(cause,), notes=())
    return RunResult(
        planned.workload, mode, directory, verdict, exit_code, first_query_seconds=first_query
    )
