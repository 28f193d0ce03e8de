"""The last steps of a campaign: done once, done again when what they are made from changes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import pytest

from mlpinf_core.campaign.file import CampaignFile, SubmissionEntry, WorkloadEntry
from mlpinf_core.campaign.notes import Notes
from mlpinf_core.campaign.submitting import STEPS, Submitting
from mlpinf_core.errors import ExitCode, PrerequisiteError
from mlpinf_core.plugins import Plugins
from mlpinf_core.submission.packing import verify

from .submission_trees import FIELDS, SUBMITTER

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def submitting(good_tree: Path, posing: None, tmp_path: Path) -> Submitting:
    """A campaign whose runs are there."""
    output = tmp_path / "campaign"
    (output / "state").mkdir(parents=True)
    entry = SubmissionEntry(SUBMITTER, "open", output / "ACME.tar.gz", fields=FIELDS)
    file = CampaignFile((WorkloadEntry("llama3.1-8b"),), "v6.1", output, submission=entry)
    roots = sorted(path for path in good_tree.with_name("runs").glob("*/*") if path.is_dir())
    return Submitting(file, roots, {"runs": {"result.json": "1"}}, Notes(output / "state"))


def changed(submitting: Submitting, **values: object) -> Submitting:
    assert submitting.campaign.submission is not None
    entry = attrs.evolve(submitting.campaign.submission, **values)
    return attrs.evolve(submitting, campaign=attrs.evolve(submitting.campaign, submission=entry))


def carried_out(submitting: Submitting) -> list[ExitCode]:
    plugins = Plugins.from_environment()
    return [submitting.carry_out(step, plugins) for step in STEPS]


def done(submitting: Submitting) -> list[bool]:
    notes = [submitting.note(step) for step in STEPS]
    return [note is not None and note.ok for note in notes]


def test_a_campaigns_runs_become_an_archive_that_can_be_verified(submitting: Submitting) -> None:
    assert done(submitting) == [False] * 3
    assert carried_out(submitting) == [ExitCode.OK] * 3
    assert done(submitting) == [True] * 3
    assert verify(submitting.archive).members
    assert list(submitting.backup.rglob("mlperf_log_accuracy.json"))


def test_what_is_gone_is_to_be_done_again(submitting: Submitting) -> None:
    carried_out(submitting)
    submitting.archive.write_bytes(b"another")
    assert done(submitting) == [True, True, False]
    submitting.tree.rename(submitting.tree.with_name("elsewhere"))
    assert done(submitting) == [False] * 3


def test_other_results_are_staged_checked_and_packed_anew(submitting: Submitting) -> None:
    carried_out(submitting)
    assert done(attrs.evolve(submitting, evidence={"runs": {"result.json": "2"}})) == [False] * 3


def test_a_submitter_whom_the_file_no_longer_names_is_not_packed(submitting: Submitting) -> None:
    carried_out(submitting)
    other = changed(submitting, submitter="OTHER")
    assert done(other) == [False] * 3
    assert carried_out(other) == [ExitCode.OK] * 3
    assert [path.name for path in (other.tree / "open").iterdir()] == ["OTHER"]


def test_staging_that_fails_leaves_the_tree_as_it_was(submitting: Submitting) -> None:
    carried_out(submitting)
    before = sorted(submitting.tree.rglob("*"))
    hopeless = changed(submitting, fields={})
    with pytest.raises(PrerequisiteError, match="not complete"):
        hopeless.carry_out("stage", Plugins.from_environment())
    assert sorted(submitting.tree.rglob("*")) == before
    assert done(submitting) == [True] * 3


def test_a_stage_that_was_killed_is_begun_again(submitting: Submitting) -> None:
    left = submitting.tree.with_name(".submission.new")
    (left / "open").mkdir(parents=True)
    (left / "open/half").write_text("half")
    assert carried_out(submitting) == [ExitCode.OK] * 3
    assert not left.exists()
    assert not (submitting.tree / "open/half").exists()


def test_a_tree_with_errors_is_not_packed(submitting: Submitting) -> None:
    plugins = Plugins.from_environment()
    submitting.carry_out("stage", plugins)
    log = next(submitting.tree.rglob("performance/run_1/mlperf_log_detail.txt"))
    log.write_text(log.read_text().replace('"VALID"', '"INVALID"'))
    assert submitting.carry_out("check", plugins) is ExitCode.INVALID
    note = submitting.note("check")
    assert note is not None
    assert not note.ok
    assert "error" in (submitting.campaign.directory / "check.txt").read_text()


def test_a_password_that_cannot_be_read_is_told(submitting: Submitting, tmp_path: Path) -> None:
    carried_out(submitting)
    before = submitting.archive.read_bytes()
    secret = changed(submitting, password_file=tmp_path / "none")
    with pytest.raises(PrerequisiteError, match="password cannot be read"):
        secret.carry_out("pack", Plugins.from_environment())
    assert submitting.archive.read_bytes() == before
