"""Carries out a campaign: looks at what is there, and does what is missing, step by step."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Protocol

import attrs

from mlpinf_core.audits.auditor import audit
from mlpinf_core.audits.counterparts import Counterparts
from mlpinf_core.campaign.file import CampaignFile
from mlpinf_core.campaign.jobs import Job, evidence, jobs_of, state_of
from mlpinf_core.campaign.notes import Notes
from mlpinf_core.campaign.submitting import STEPS, Submitting
from mlpinf_core.errors import ExitCode, InterruptedRunError, MlpinfError, PrerequisiteError
from mlpinf_core.plan import make_plan
from mlpinf_core.plugins import Plugins
from mlpinf_core.preparing import prepare
from mlpinf_core.runner import Runner

if TYPE_CHECKING:
    from mlpinf_core.campaign.jobs import JobState
    from mlpinf_core.plan import Plan
    from mlpinf_core.reporting import Reporter

log = logging.getLogger(__name__)

_GRAVEST = (ExitCode.FAILED, ExitCode.USAGE, ExitCode.INVALID, ExitCode.ACCURACY, ExitCode.OK)


class Listener(Protocol):
    """Is told what a campaign does."""

    def __call__(self, step: str, error: MlpinfError | None = None) -> None:
        """A step begins, or could not be done."""


@attrs.frozen
class Campaign:
    """A campaign on this machine.

    Attributes:
        file: what is asked for.
        plugins: those that are there.
        jobs: its workloads.
        left_out: what it asked for and is not among them, and why.
    """

    file: CampaignFile
    plugins: Plugins
    jobs: tuple[Job, ...]
    left_out: tuple[str, ...]

    @classmethod
    def of(cls, file: CampaignFile, plugins: Plugins) -> Campaign:
        """Resolve a campaign.

        Raises:
            ConfigurationError: a name, a key or a value is wrong.
        """
        return cls(file, plugins, *jobs_of(file, plugins))

    @property
    def notes(self) -> Notes:
        """What it has noted of itself."""
        return Notes(self.file.directory / "state")

    def submitting(self, states: dict[str, JobState]) -> Submitting | None:
        """Its last steps; None where nothing is submitted, or where a run is still missing."""
        if self.file.submission is None:
            return None
        if not all(states[job.folder.name].done(job) for job in self.jobs):
            return None
        made = {job.folder.name: evidence(job, states[job.folder.name]) for job in self.jobs}
        return Submitting(self.file, [job.folder for job in self.jobs], made, self.notes)

    def states(self) -> dict[str, JobState]:
        """What there is of each job, by the name of its folder."""
        return {job.folder.name: state_of(job) for job in self.jobs}


def carry_out(
    campaign: Campaign, listener: Listener, reporter: Reporter, **options: Any
) -> ExitCode:
    """Do everything that is not done yet.

    A workload that fails does not keep the others from being run; nothing is staged before all are
    done.

    Args:
        campaign: what to carry out.
        listener: told of each step.
        reporter: told of each run.
        options: as :class:`~mlpinf_core.runner.Runner` takes them.

    Returns:
        The gravest of what the steps would end the process with.

    Raises:
        ConfigurationError: another process is at it.
        PrerequisiteError: its directory cannot be written.
        InterruptedRunError: the user stopped it; what was finished stays.
    """
    with campaign.notes.alone():
        worker = _Worker(campaign, listener, {"reporter": reporter, **options})
        codes = [worker.guarded("prepare", job, worker.prepare) for job in campaign.jobs]
        codes += [worker.guarded("run", job, worker.run) for job in campaign.jobs]
        codes += [worker.guarded("audit", job, worker.audit) for job in campaign.jobs]
        codes.append(worker.submit())
        return next(code for code in _GRAVEST if code in codes)


@attrs.frozen
class _Worker:
    campaign: Campaign
    listener: Listener
    options: dict[str, Any]

    def guarded(self, what: str, job: Job, step: Any) -> ExitCode:
        """One step of one job; what goes wrong with it does not end the campaign."""
        try:
            code: ExitCode = step(job, f"{what} {job}")
        except (InterruptedRunError, KeyboardInterrupt):
            raise
        except MlpinfError as error:
            self.listener(f"{what} {job}", error)
            self.campaign.notes.write(f"{what}-{job.folder.name}", "", ok=False, detail=error.what)
            return error.exit_code
        return code

    def begin(self, step: str, note: str | None = None) -> None:
        """Tell what is done now, and where it was noted before why that does not count."""
        trouble = self.campaign.notes.trouble(note) if note is not None else None
        if trouble is not None:
            log.warning("%s counts as not done: %s", step, trouble)
        self.campaign.notes.now(step)
        self.listener(step)

    def prepare(self, job: Job, step: str) -> ExitCode:
        """Data set and engine, unless the runs that would need them are there."""
        name, notes = f"prepare-{job.folder.name}", self.campaign.notes
        note = notes.read(name)
        if not state_of(job).missing_modes or (note is not None and note.ok):
            return ExitCode.OK
        self.begin(step, name)
        prepare(self._plan(job), self.campaign.plugins, **self.options)
        notes.write(name, job.folder.name, ok=True, detail="prepared")
        return ExitCode.OK

    def run(self, job: Job, step: str) -> ExitCode:
        """Performance and accuracy, as often as is allowed."""
        code = ExitCode.OK
        for attempt in range(1, self.campaign.file.attempts + 1):
            missing = state_of(job).missing_modes
            if not missing:
                return ExitCode.OK
            self.begin(_numbered(step, attempt))
            plan = self._plan(job, modes=missing)
            code = Runner(plan, self.campaign.plugins, **self.options).run().exit_code
            if code is ExitCode.FAILED:
                break  # what fails would fail again
        return code

    def audit(self, job: Job, step: str) -> ExitCode:
        """The compliance tests of the runs that there are, as often as is allowed."""
        code = ExitCode.OK
        for attempt in range(1, self.campaign.file.attempts + 1):
            state = state_of(job)
            missing = state.missing_tests(job)
            if state.performance is None or state.accuracy is None or not missing:
                return ExitCode.OK  # a missing run has been told
            self.begin(_numbered(step, attempt))
            found = Counterparts(job.planned.workload, missing, state.performance, state.accuracy)
            audits = audit([found], self.campaign.plugins, job.folder, **self.options)
            code = audits.exit_code
            if code is ExitCode.FAILED:
                break  # what fails would fail again
        return code

    def submit(self) -> ExitCode:
        """Stage, check, pack, as far as that is possible."""
        submitting = self.campaign.submitting(self.campaign.states())
        if submitting is None:
            return ExitCode.OK
        checked = self.campaign.notes.read("check")
        anew = checked is not None and not checked.ok  # the tree itself was not in order
        for step in STEPS:
            note = submitting.note(step)
            if note is not None and note.ok and not anew:
                continue
            self.begin(step, step)
            try:
                code = submitting.carry_out(step, self.campaign.plugins)
            except MlpinfError as error:
                self.listener(step, error)
                self.campaign.notes.write(step, "", ok=False, detail=error.what)
                return error.exit_code
            if code is not ExitCode.OK:
                note = submitting.note(step)
                self.listener(step, _unfinished(note.detail if note else ""))
                return code
        return ExitCode.OK

    def _plan(self, job: Job, **changed: Any) -> Plan:
        return make_plan(attrs.evolve(job.request, **changed), self.campaign.plugins)


def _numbered(step: str, attempt: int) -> str:
    return step if attempt == 1 else f"{step}, attempt {attempt}"


def _unfinished(detail: str) -> MlpinfError:
    return PrerequisiteError(
        detail or "it is not in order", remedy="mend it, and start the campaign again: it goes on"
    )
