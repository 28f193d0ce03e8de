"""One workload of a campaign: what it has to leave, and what of that is on disk."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from mlpinf_core.audits.model import AuditResult, find_audits
from mlpinf_core.config import dump
from mlpinf_core.errors import ConfigurationError, LogError
from mlpinf_core.hashing import digest
from mlpinf_core.plan import PlannedRun, Request, make_plan
from mlpinf_core.record import FILE_NAME, read_json
from mlpinf_core.results import RunResult
from mlpinf_core.rules import load_round
from mlpinf_core.runs import best, find_runs
from mlpinf_core.vocabulary import Division, Mode

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mlpinf_core.campaign.file import CampaignFile
    from mlpinf_core.plugins import Plugins


@attrs.frozen
class Job:
    """A workload with its settings.

    Attributes:
        request: that makes its runs.
        planned: the same, resolved.
        tests: the audits that it needs.
        folder: its own: named by the workload and a digest of its settings, so that runs with other
            settings are never taken for these.
    """

    request: Request
    planned: PlannedRun
    tests: tuple[str, ...]
    folder: Path

    def __str__(self) -> str:
        """The workload."""
        return str(self.planned.workload)


@attrs.frozen
class JobState:
    """What there is of a job.

    Attributes:
        performance: the best valid performance run.
        accuracy: the latest accuracy run that passed.
        latest: mode to the latest run whatever it came to.
        audits: test to the latest audit, of those held against these runs.
    """

    performance: RunResult | None
    accuracy: RunResult | None
    latest: Mapping[Mode, RunResult]
    audits: Mapping[str, AuditResult]

    @property
    def missing_modes(self) -> tuple[Mode, ...]:
        """The runs still to be made."""
        there = {Mode.PERFORMANCE: self.performance, Mode.ACCURACY: self.accuracy}
        return tuple(mode for mode in Mode if there[mode] is None)

    def missing_tests(self, job: Job) -> tuple[str, ...]:
        """The audits still to be made, those that failed among them."""
        passed = {test for test, audit in self.audits.items() if audit.passed}
        return tuple(test for test in job.tests if test not in passed)

    def done(self, job: Job) -> bool:
        """Whether nothing is missing."""
        return not self.missing_modes and not self.missing_tests(job)


def jobs_of(campaign: CampaignFile, plugins: Plugins) -> tuple[tuple[Job, ...], tuple[str, ...]]:
    """Every workload of a campaign, and what was left out of it.

    Raises:
        ConfigurationError: a name, a key or a value is wrong, or a workload is there twice.
        PrerequisiteError: a variant cannot be run yet.
    """
    found: dict[str, Job] = {}
    left_out: list[str] = []
    for request in campaign.requests():
        plan = make_plan(request, plugins)
        left_out += plan.left_out
        for planned in plan.runs:
            slug = planned.workload.slug
            if slug in found:
                raise ConfigurationError(
                    f"{planned.workload} is in the campaign twice",
                    remedy="one workload has one result: take one of the tables out",
                )
            found[slug] = _job(campaign, request, planned, plugins)
    return tuple(found.values()), tuple(dict.fromkeys(left_out))


def check_submittable(campaign: CampaignFile, jobs: Iterable[Job], plugins: Plugins) -> None:
    """Refuse before hours of runs what staging would leave out after them.

    Raises:
        ConfigurationError: the submission's division does not take a workload.
    """
    from mlpinf_core.submission.naming import barred

    if campaign.submission is None:
        return
    division = Division.parse(campaign.submission.division)
    for planned in (job.planned for job in jobs):
        config = planned.config(plugins, Mode.PERFORMANCE)
        why = barred(
            planned.workload,
            load_round(campaign.round),
            division,
            enlarged=bool(config.loadgen.total_sample_count),
        )
        if why is not None:
            raise ConfigurationError(
                f"{planned.workload} cannot be submitted to the {division} division: {why}",
                where="[submission]",
                remedy="take the workload into a campaign of its own, or change the division",
            )


def _job(campaign: CampaignFile, request: Request, planned: PlannedRun, plugins: Plugins) -> Job:
    configs = [planned.config(plugins, mode) for mode in planned.modes]
    key = digest([dump.to_dict(config)["values"] for config in configs])
    folder = campaign.directory / "runs" / f"{planned.workload.slug}-{key[:8]}"
    own = attrs.evolve(request, scenarios=(planned.workload.scenario,), output=folder)
    return Job(own, planned, planned.rules.audits if campaign.audits else (), folder)


def state_of(job: Job) -> JobState:
    """Look at what is on disk. A run or an audit that is damaged does not count."""
    runs = [run for run in find_runs(job.folder) if run.workload == job.planned.workload]
    performance = best(run for run in runs if run.ok and _whole(run))
    passed = [r for r in runs if r.ok and r.mode is Mode.ACCURACY and r.accuracy and _whole(r)]
    accuracy = passed[-1] if passed else None
    against = {run.mode: run.directory for run in (performance, accuracy) if run is not None}
    audits: dict[str, AuditResult] = {}
    for audit in sorted(find_audits(job.folder), key=lambda each: each.created):
        if audit.workload == job.planned.workload and audit.fault(against) is None:
            audits[audit.test] = audit
    return JobState(performance, accuracy, {run.mode: run for run in runs}, audits)


def _whole(run: RunResult) -> bool:
    """Whether LoadGen's logs are still beside the result."""
    names = ["mlperf_log_summary.txt", "mlperf_log_detail.txt"]
    if run.mode is Mode.ACCURACY:
        names += ["mlperf_log_accuracy.json", "accuracy.txt"]
    return all((run.directory / name).is_file() for name in names)


def evidence(job: Job, state: JobState) -> dict[str, str]:
    """What a submission of the job would be made of: results and system files by checksum.

    Raises:
        LogError: a file is gone.
    """
    from mlpinf_core.hashing import sha256_of

    runs = [run.directory for run in (state.performance, state.accuracy) if run]
    paths = [run / "result.json" for run in runs]
    paths += [state.audits[test].directory / "audit.json" for test in job.tests]
    systems = [read_json(run / FILE_NAME).get("system", {}).get("file") for run in runs]
    try:
        made = {str(path.relative_to(job.folder)): sha256_of(path) for path in paths}
        files = {Path(file) for file in systems if file}
        return made | {str(file): sha256_of(file) for file in files if file.is_file()}
    except OSError as error:
        raise LogError(f"{error.filename} cannot be read", where=str(job.folder)) from error
