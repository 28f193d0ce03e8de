"""The runs that are audited: which performance run, which accuracy run, and which tests."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from mlpinf_core.errors import ConfigurationError
from mlpinf_core.names import lookup
from mlpinf_core.results import RunResult
from mlpinf_core.rules import load_round
from mlpinf_core.runs import best, find_runs, origin_of
from mlpinf_core.vocabulary import Mode, Scenario, Variant, Workload

if TYPE_CHECKING:
    from mlpinf_core.plugins import Plugins


@attrs.frozen
class AuditRequest:
    """What the user asks for; None stands for every one that there is.

    Attributes:
        benchmarks: proper names.
        against: where the runs are that are audited: a session, or what was given to ``--output``.
        output: where the audits are made.
        scenarios: of the runs.
        variant: likewise.
        round: likewise.
        accuracy_target: likewise.
        tests: None means those that the round asks of each benchmark.
    """

    benchmarks: tuple[str, ...]
    against: Path
    output: Path
    scenarios: tuple[Scenario, ...] | None = None
    variant: Variant | None = None
    round: str | None = None
    accuracy_target: str | None = None
    tests: tuple[str, ...] | None = None

    def wants(self, workload: Workload) -> bool:
        """Whether a workload is among those asked for."""
        return (
            workload.benchmark in self.benchmarks
            and (self.scenarios is None or workload.scenario in self.scenarios)
            and self.variant in (None, workload.variant)
            and self.round in (None, workload.round)
            and self.accuracy_target in (None, workload.accuracy_target)
        )


@attrs.frozen
class Counterparts:
    """What one workload's audits are held against.

    Attributes:
        workload: of both runs.
        tests: those to make.
        performance: the best valid performance run.
        accuracy: an accuracy run that passed, of the same command where there is one; None where
            there is none.
    """

    workload: Workload
    tests: tuple[str, ...]
    performance: RunResult
    accuracy: RunResult | None


def find_counterparts(request: AuditRequest, plugins: Plugins) -> tuple[Counterparts, ...]:
    """The workloads to audit, in the order of their first runs.

    Raises:
        ConfigurationError: nothing was run that could be audited, or a test needs a run that is
            not there.
        UnknownNameError: there is no such test.
    """
    runs = [run for run in find_runs(request.against) if request.wants(run.workload)]
    found = []
    for workload in dict.fromkeys(run.workload for run in runs):
        own = [run for run in runs if run.workload == workload and run.ok]
        # What staging takes: the best of those that an accuracy run of their backend vouches for.
        performance = best(run for run in own if _accuracy(own, run)) or best(own)
        if performance is None:
            raise _nothing(request, f"there is no valid performance run of {workload}")
        _check_system(request, workload, own)
        tests = _tests(request, workload, plugins)
        accuracy = _accuracy(own, performance)
        if accuracy is None and (needing := [t for t in tests if needs_accuracy_run(t)]):
            raise _nothing(
                request, f"{needing[0]} needs an accuracy run of {workload} that has passed"
            )
        found.append(Counterparts(workload, tests, performance, accuracy))
    missing = [
        name for name in request.benchmarks if not any(c.workload.benchmark == name for c in found)
    ]
    if missing:
        raise _nothing(request, f"there is no run of {', '.join(missing)} as asked for")
    return tuple(found)


def needs_accuracy_run(test: str) -> bool:
    """Whether a test compares answers with those of the accuracy run."""
    return test == "TEST01"


def _tests(request: AuditRequest, workload: Workload, plugins: Plugins) -> tuple[str, ...]:
    round_ = load_round(workload.round)
    benchmark = plugins.benchmark(workload.benchmark)
    rules = round_.rules_of(benchmark.name, benchmark.rules)
    if request.tests is None:
        return rules.audits
    known = {name: name for name in round_.audits}
    return tuple(dict.fromkeys(lookup("test", test, known) for test in request.tests))


def _check_system(request: AuditRequest, workload: Workload, runs: list[RunResult]) -> None:
    """An audit is made on one machine, so that it cannot vouch for another's runs."""
    systems = sorted({origin_of(run)[0] for run in runs} - {""})
    if len(systems) > 1:
        raise ConfigurationError(
            f"there are runs of {workload} on several systems: {', '.join(systems)}",
            where=str(request.against),
            remedy="name the folder of this system's runs with --against",
        )


def _accuracy(runs: list[RunResult], performance: RunResult) -> RunResult | None:
    """The latest that passed with the performance run's backend, of its command if there is one."""
    backend = origin_of(performance)[1]
    passed = [
        r
        for r in runs
        if r.mode is Mode.ACCURACY and r.accuracy is not None and origin_of(r)[1] == backend
    ]
    together = [r for r in passed if r.directory.parent == performance.directory.parent]
    return next(reversed(together or passed), None)


def _nothing(request: AuditRequest, what: str) -> ConfigurationError:
    names = " ".join(request.benchmarks)
    return ConfigurationError(
        what,
        where=str(request.against),
        remedy=f"make one: mlpinf run {names} ..., or name another place with --against",
    )
