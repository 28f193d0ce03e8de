"""One page on where a campaign stands, from what is on disk; nothing is changed by asking."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from mlpinf_core.campaign.submitting import STEPS
from mlpinf_core.vocabulary import Mode

if TYPE_CHECKING:
    from mlpinf_core.campaign.jobs import Job, JobState
    from mlpinf_core.campaign.running import Campaign
    from mlpinf_core.results import RunResult


@attrs.frozen
class JobStatus:
    """One line of the page.

    Attributes:
        workload: what is run.
        prepare: ``done``, ``to do`` or why it failed.
        performance: the figure, or ``to do``, or what came of the latest run.
        accuracy: ``passed``, or as above.
        audits: test to ``passed``, ``to do`` or ``failed``.
        problem: the first cause against it, with its remedy; None where there is none.
    """

    workload: str
    prepare: str
    performance: str
    accuracy: str
    audits: dict[str, str]
    problem: str | None


@attrs.frozen
class CampaignStatus:
    """The page.

    Attributes:
        jobs: in the campaign's order.
        steps: stage, check and pack to where each stands; empty where nothing is submitted.
        running: step, since when and by which process; None where nobody is at it.
        done: steps done, and of how many.
        left_out: what the campaign asks for and is not among the jobs.
    """

    jobs: tuple[JobStatus, ...]
    steps: dict[str, str]
    running: dict[str, Any] | None
    done: tuple[int, int]
    left_out: tuple[str, ...]

    @property
    def finished(self) -> bool:
        """Whether nothing is left to do."""
        return self.done[0] == self.done[1]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {**attrs.asdict(self), "finished": self.finished}


def status_of(campaign: Campaign) -> CampaignStatus:
    """Where a campaign stands."""
    states = campaign.states()
    jobs = tuple(_job(campaign, job, states[job.folder.name]) for job in campaign.jobs)
    steps = _steps(campaign, states)
    good = [line.prepare == "done" for line in jobs]
    for job in campaign.jobs:
        state = states[job.folder.name]
        good += [mode not in state.missing_modes for mode in Mode]
        good += [test not in state.missing_tests(job) for test in job.tests]
    good += [text.startswith("done") for text in steps.values()]
    return CampaignStatus(
        jobs, steps, campaign.notes.running(), (sum(good), len(good)), campaign.left_out
    )


def _job(campaign: Campaign, job: Job, state: JobState) -> JobStatus:
    prepared = campaign.notes.read(f"prepare-{job.folder.name}")
    if not state.missing_modes or (prepared is not None and prepared.ok):
        prepare = "done"
    else:
        prepare = "to do" if prepared is None else "failed"
    problems = [prepared.detail] if prepared is not None and prepare == "failed" else []
    if prepare == "to do" and (trouble := campaign.notes.trouble(f"prepare-{job.folder.name}")):
        problems.append(trouble)
    cells = {}
    for mode, run in ((Mode.PERFORMANCE, state.performance), (Mode.ACCURACY, state.accuracy)):
        cells[mode] = _figure(run) if run is not None else "to do"
        if run is None and (latest := state.latest.get(mode)) is not None:
            cells[mode] = "INVALID" if not latest.verdict.valid else "failed"
            problems.append(_why(latest))
    audits = {}
    missing = state.missing_tests(job)
    for test in job.tests:
        audit = state.audits.get(test)
        audits[test] = "passed" if test not in missing else "failed" if audit else "to do"
        if audit is not None and not audit.passed:
            problems.append(f"{test}: {audit.reasons[0].message}")
    return JobStatus(
        workload=str(job),
        prepare=prepare,
        performance=cells[Mode.PERFORMANCE],
        accuracy=cells[Mode.ACCURACY],
        audits=audits,
        problem=problems[0] if problems else None,
    )


def _figure(run: RunResult) -> str:
    if run.performance is None:
        return "passed"
    value, unit = run.performance.value, run.performance.unit
    return f"{value:,.2f} {unit}" if value < 1000 else f"{value:,.0f} {unit}"


def _why(run: RunResult) -> str:
    causes = (*run.verdict.causes, *([run.unscored] if run.unscored else []))
    if not causes:
        return f"{run.mode}: accuracy is outside the limits ({run.directory})"
    remedy = f"; {causes[0].suggestion}" if causes[0].suggestion else ""
    return f"{run.mode}: {causes[0].message}{remedy} ({run.directory})"


def _steps(campaign: Campaign, states: dict[str, JobState]) -> dict[str, str]:
    if campaign.file.submission is None:
        return {}
    submitting = campaign.submitting(states)
    if submitting is None:
        return dict.fromkeys(STEPS, "to do, when every workload is done")
    found: dict[str, str] = {}
    for step in STEPS:
        note = submitting.note(step)
        if note is None:
            failed, trouble = campaign.notes.read(step), campaign.notes.trouble(step)
            late = failed is not None and not failed.ok and not failed.inputs
            found[step] = f"to do: {trouble}" if trouble else "to do"
            if failed is not None and late:
                found[step] = f"failed: {failed.detail}"
        else:
            found[step] = f"{'done' if note.ok else 'failed'}: {note.detail}"
    return found
