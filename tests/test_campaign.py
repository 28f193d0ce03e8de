"""Campaigns: what they do, what they do not do twice, and what being killed costs them."""

from __future__ import annotations

import contextlib
import json
import resource
import shutil
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from mlpinf_core.campaign.file import read_campaign
from mlpinf_core.campaign.jobs import evidence, jobs_of, state_of
from mlpinf_core.campaign.notes import Notes
from mlpinf_core.campaign.running import Campaign, carry_out
from mlpinf_core.campaign.status import status_of
from mlpinf_core.campaign.submitting import STEPS, Submitting
from mlpinf_core.errors import ConfigurationError, ExitCode, MlpinfError, PrerequisiteError
from mlpinf_core.plugins import Plugins
from mlpinf_core.reporting import Silent
from mlpinf_core.results import RunResult
from mlpinf_core.vocabulary import Mode

if TYPE_CHECKING:
    from pathlib import Path

MLPINF = (sys.executable, "-c", "from mlpinf_core.cli import main; main()")
SECONDS = 300.0
"""For what takes a few; a limit for broken code."""

QUICK = """
[[workloads]]
benchmark = "null"
scenarios = ["Server"]
settings.loadgen = { min_duration = 0, target_qps = 700, target_latency_ms = 5000 }
"""
HOPELESS = """
[[workloads]]
benchmark = "null"
scenarios = ["Offline"]
settings.loadgen = { min_duration = 0, target_qps = 1, min_query_count = 10 }
"""
SUBMISSION = """
[submission]
submitter = "ACME"
division = "open"
"""


def campaign_file(folder: Path, *parts: str) -> Path:
    path = folder / "campaign.toml"
    path.write_text("\n".join(parts), encoding="utf-8")
    return path


def campaign_of(path: Path) -> Campaign:
    return Campaign.of(read_campaign(path), Plugins.from_environment())


def carried_out(path: Path) -> tuple[ExitCode, list[str], list[MlpinfError]]:
    """The exit code, the steps that were begun, and what went wrong."""
    steps: list[str] = []
    errors: list[MlpinfError] = []

    def listen(step: str, error: MlpinfError | None = None) -> None:
        if error is None:
            steps.append(step)
        else:
            errors.append(error)

    return carry_out(campaign_of(path), listen, Silent()), steps, errors


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a campaign that has been carried out."""
    path = campaign_file(tmp_path_factory.mktemp("campaign"), QUICK)
    assert carried_out(path)[0] is ExitCode.OK
    return path


def left_by(folder: Path) -> list[str]:
    """Every file, the status of a step apart."""
    paths = (p for p in folder.rglob("*") if p.is_file() and p.name not in ("now.json", ".lock"))
    return sorted(str(path.relative_to(folder)) for path in paths)


def half_written(folder: Path) -> list[Path]:
    """Files of ours that are no JSON."""
    wrong = []
    for path in folder.rglob("*.json"):
        if path.name.startswith("mlperf_log_"):
            continue  # LoadGen's own
        try:
            json.loads(path.read_bytes())
        except ValueError:
            wrong.append(path)
    return wrong


# -- what a submission is made of ------------------------------------------------------------------


@pytest.mark.parametrize("name", ["code/main.py", "calibration.md", "password"])
def test_a_file_that_is_submitted_counts_by_what_is_in_it(tmp_path: Path, name: str) -> None:
    more = 'source = "code"\ncalibration = "calibration.md"\npassword_file = "password"\n'
    (tmp_path / "code/.git").mkdir(parents=True)
    for each in ("code/main.py", "calibration.md", "password"):
        (tmp_path / each).write_text("as it was")
    file = read_campaign(campaign_file(tmp_path, QUICK, SUBMISSION + more))

    def inputs() -> str:
        return Submitting(file, [], {}, Notes(tmp_path)).inputs

    before = inputs()
    (tmp_path / "code/.git/HEAD").write_text("not submitted")
    assert inputs() == before
    (tmp_path / name).write_text("another")
    assert inputs() != before


def test_a_system_file_counts_by_what_is_in_it(finished: Path, tmp_path: Path) -> None:
    path = shutil.copytree(finished.parent, tmp_path / "copy") / finished.name
    (job,) = jobs_of(read_campaign(path), Plugins.from_environment())[0]
    state = state_of(job)
    assert state.performance is not None
    system = tmp_path / "system.toml"
    system.write_text("as it was")
    made = state.performance.directory / "run.json"
    data = json.loads(made.read_text())
    made.write_text(json.dumps({**data, "system": {**data["system"], "file": str(system)}}))
    before = evidence(job, state)
    system.write_text("another")
    assert evidence(job, state) != before


@pytest.mark.parametrize(("in_order", "first"), [(True, "pack"), (False, "stage")])
def test_a_tree_that_was_not_in_order_is_staged_again(
    finished: Path, tmp_path: Path, in_order: bool, first: str
) -> None:
    path = shutil.copytree(finished.parent, tmp_path / "copy") / finished.name
    path.write_text(path.read_text() + SUBMISSION)
    campaign = campaign_of(path)
    submitting = campaign.submitting(campaign.states())
    assert submitting is not None
    submitting.tree.mkdir()
    campaign.notes.write("stage", submitting.inputs, ok=True, detail="")
    campaign.notes.write("check", submitting.inputs, ok=in_order, detail="")
    assert carried_out(path)[1][0] == first


# -- doing what is missing -----------------------------------------------------------------------


def test_a_campaign_prepares_runs_and_audits(finished: Path) -> None:
    status = status_of(campaign_of(finished))
    (job,) = status.jobs
    assert (job.prepare, job.accuracy) == ("done", "passed")
    assert job.performance.endswith("Queries/s")
    assert job.audits == {"TEST01": "passed", "TEST04": "passed"}
    assert status.finished
    assert status.done == (5, 5)


def test_what_is_done_is_not_done_again(finished: Path) -> None:
    before = left_by(finished.parent)
    assert carried_out(finished) == (ExitCode.OK, [], [])
    assert left_by(finished.parent) == before


def test_asking_for_the_status_changes_nothing(tmp_path: Path) -> None:
    path = campaign_file(tmp_path, QUICK)
    status = status_of(campaign_of(path))
    assert [job.performance for job in status.jobs] == ["to do"]
    assert list(tmp_path.iterdir()) == [path]


def test_a_damaged_run_is_made_again_and_what_is_left_of_it_stays(
    finished: Path, tmp_path: Path
) -> None:
    path = shutil.copytree(finished.parent, tmp_path / "copy") / finished.name
    (job,) = jobs_of(read_campaign(path), Plugins.from_environment())[0]
    run = state_of(job).performance
    assert run is not None
    result = run.directory / "result.json"
    result.write_text(result.read_text()[:-20])
    assert state_of(job).missing_modes == (Mode.PERFORMANCE,)
    code, steps, _ = carried_out(path)
    assert code is ExitCode.OK
    # Both audits were held against the run that is gone.
    assert [step.split()[0] for step in steps] == ["run", "audit"]
    assert result.exists()


def test_other_settings_make_other_runs_and_leave_the_old_ones(
    finished: Path, tmp_path: Path
) -> None:
    other = campaign_file(tmp_path, QUICK.replace("700", "800"))
    jobs = [jobs_of(read_campaign(p), Plugins.from_environment())[0][0] for p in (finished, other)]
    assert jobs[0].folder.name != jobs[1].folder.name
    assert jobs[0].folder.name.startswith("null-full-Server-v5.1-99-")


def test_a_workload_that_fails_keeps_no_other_from_being_run_and_nothing_is_staged(
    tmp_path: Path,
) -> None:
    path = campaign_file(tmp_path, "attempts = 1\naudits = false\n", HOPELESS, QUICK, SUBMISSION)
    code, steps, _ = carried_out(path)
    assert code is ExitCode.INVALID
    assert not set(steps) & set(STEPS)
    status = status_of(campaign_of(path))
    bad, good = status.jobs
    assert (bad.performance, good.accuracy) == ("INVALID", "passed")
    assert "performance: " in str(bad.problem)
    assert not status.finished
    assert set(status.steps) == set(STEPS)


def test_a_run_that_ends_invalid_is_made_as_often_as_allowed(tmp_path: Path) -> None:
    path = campaign_file(tmp_path, "attempts = 3\naudits = false\n", HOPELESS)
    _, steps, _ = carried_out(path)
    (job,) = campaign_of(path).jobs
    found = [RunResult.read(p.parent) for p in job.folder.rglob("result.json")]
    assert sum(run.mode is Mode.PERFORMANCE for run in found) == 3
    assert sum(run.mode is Mode.ACCURACY for run in found) == 1
    assert steps[-1].endswith(", attempt 3")


# -- killed --------------------------------------------------------------------------------------


def started(path: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*MLPINF, "campaign", str(path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
    )


def killed_after(path: Path, lines: int) -> int | None:
    """Start the campaign and kill it at once after so many lines; its exit code if it ended."""
    with started(path) as process:
        assert process.stdout is not None
        for number, _ in enumerate(process.stdout, 1):
            if number == lines:
                process.send_signal(signal.SIGKILL)
                process.wait(SECONDS)
                return None
        return process.wait(SECONDS)


@pytest.mark.slow
def test_a_campaign_that_is_killed_again_and_again_comes_to_its_end(tmp_path: Path) -> None:
    path = campaign_file(tmp_path, QUICK)
    ended: int | None = None
    kills = 0
    for lines in range(1, 40):
        kept = list((tmp_path / "campaign").rglob("result.json"))
        ended = killed_after(path, lines)
        assert half_written(tmp_path) == []
        assert all(p.exists() for p in kept)
        if ended is not None:
            break
        kills += 1
    assert ended == ExitCode.OK
    assert kills >= 5
    assert status_of(campaign_of(path)).finished


def test_a_campaign_that_was_killed_is_free_to_be_started_again(tmp_path: Path) -> None:
    path = campaign_file(tmp_path, QUICK)
    assert killed_after(path, 1) is None
    assert campaign_of(path).notes.running() is None
    with campaign_of(path).notes.alone():
        pass


# -- two at once ---------------------------------------------------------------------------------


def test_a_second_process_is_refused_and_told_of_the_first(tmp_path: Path) -> None:
    path = campaign_file(tmp_path, QUICK)
    notes = campaign_of(path).notes
    with notes.alone():
        notes.now("run null")
        running = status_of(campaign_of(path)).running
        found = subprocess.run(
            [*MLPINF, "campaign", str(path)], capture_output=True, text=True, timeout=SECONDS
        )
    assert running is not None
    assert running["step"] == "run null"
    assert found.returncode == ExitCode.USAGE
    assert f"another process ({running['pid']}) is at this campaign" in found.stderr
    assert not (tmp_path / "campaign/runs").exists()


# -- what is wrong with the file -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "workloads"),
        ("workloads = []", "no workloads"),
        ("rounds = 'v6.1'" + QUICK, "did you mean 'round'?"),
        (QUICK.replace("benchmark", "bench"), "did you mean 'benchmark'?"),
        (QUICK.replace("Server", "Servr"), "did you mean 'Server'?"),
        (QUICK.replace('"null"', '"nul"'), "did you mean 'null'?"),
        (QUICK.replace("target_qps", "target_qbs"), "did you mean 'target_qps'?"),
        (QUICK + QUICK, "in the campaign twice"),
        ("attempts = 0" + QUICK, "attempts"),
        (QUICK + SUBMISSION.replace("open", "ajar"), "unknown division 'ajar'"),
        (QUICK + "[submission]\nsubmitter = 'ACME'", "division"),
        ("[[workloads]", "not TOML"),
    ],
)
def test_a_mistake_in_the_file_is_told_before_anything_is_done(
    text: str, words: str, tmp_path: Path
) -> None:
    path = campaign_file(tmp_path, text)
    with pytest.raises(ConfigurationError) as caught:
        campaign_of(path)
    assert words in str(caught.value)
    assert list(tmp_path.iterdir()) == [path]


def test_a_workload_that_nothing_will_be_submitted_of_is_refused_before_it_is_run(
    tmp_path: Path,
) -> None:
    path = campaign_file(tmp_path, QUICK, SUBMISSION)
    for verb in ((), ("status",)):
        found = subprocess.run(
            [*MLPINF, "campaign", *verb, str(path)], capture_output=True, text=True, timeout=SECONDS
        )
        assert found.returncode == ExitCode.USAGE
        assert "cannot be submitted to the open division: v5.1 does not have" in found.stderr
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"no campaign 'campaign\.toml'"):
        read_campaign(tmp_path / "campaign.toml")


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    more = 'archive = "out/acme.tar.gz"\nsource = "code"\n'
    found = read_campaign(campaign_file(tmp_path, QUICK, SUBMISSION + more))
    assert found.submission is not None
    assert found.directory == tmp_path / "campaign"
    assert found.submission.archive == tmp_path / "out/acme.tar.gz"
    assert found.submission.source == tmp_path / "code"


# -- no room -------------------------------------------------------------------------------------


def test_a_directory_that_cannot_be_made_ends_in_one_error(tmp_path: Path) -> None:
    path = campaign_file(tmp_path, QUICK)
    (tmp_path / "campaign").write_text("in the way")
    with pytest.raises(PrerequisiteError, match="directory cannot be written"):
        carried_out(path)


def small(room: int) -> Any:
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))


@pytest.mark.parametrize("room", [0, 50, 2000])
def test_a_disk_that_is_full_ends_in_an_error_and_no_half_file(room: int, tmp_path: Path) -> None:
    path = campaign_file(tmp_path, QUICK)
    found = subprocess.run(
        [*MLPINF, "campaign", str(path)],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        preexec_fn=small(room),
    )
    assert found.returncode == ExitCode.FAILED
    assert "cannot be written" in found.stdout + found.stderr
    assert "Traceback" not in found.stdout + found.stderr
    assert half_written(tmp_path) == []


GOOD_NOTE = {"inputs": "abc", "ok": True, "detail": "fine", "when": "2026-01-01T00:00:00+00:00"}
BAD_NOTES = {
    "": "cut off",
    "{": "cut off",
    json.dumps(GOOD_NOTE)[:-9]: "cut off",
    "[" * 100_000: "cut off",
    "\udcff": "cut off",
    "[]": "is not what a campaign notes",
    "1": "is not what a campaign notes",
    '{"inputs": "abc"}': "is not what a campaign notes",
    json.dumps({**GOOD_NOTE, "ok": "yes"}): "is not what a campaign notes",
    json.dumps({**GOOD_NOTE, "detail": None}): "is not what a campaign notes",
    json.dumps({**GOOD_NOTE, "more": 1}): "is not what a campaign notes",
}


def test_a_note_that_was_written_counts_and_one_that_was_not_is_no_trouble(tmp_path: Path) -> None:
    notes = Notes(tmp_path)
    assert (notes.read("stage"), notes.trouble("stage")) == (None, None)
    notes.write("stage", "abc", ok=True, detail="fine")
    assert notes.read("stage") is not None
    assert notes.trouble("stage") is None


@pytest.mark.parametrize("text", BAD_NOTES, ids=range(len(BAD_NOTES)))
def test_a_note_that_cannot_be_read_does_not_count_and_the_reason_is_said(
    text: str, tmp_path: Path
) -> None:
    notes = Notes(tmp_path)
    (tmp_path / "stage.json").write_bytes(text.encode(errors="surrogateescape"))
    assert notes.read("stage") is None
    assert notes.trouble("stage") == f"{tmp_path / 'stage.json'} {said_of(text)}"


def said_of(text: str) -> str:
    return "is cut off, or no JSON" if BAD_NOTES[text] == "cut off" else BAD_NOTES[text]


def test_a_note_that_may_not_be_read_does_not_count_and_the_reason_is_said(tmp_path: Path) -> None:
    notes = Notes(tmp_path)
    (tmp_path / "stage.json").symlink_to("stage.json")  # as unreadable for root as for anybody
    assert notes.read("stage") is None
    assert "cannot be read: Too many levels" in str(notes.trouble("stage"))


def test_a_campaign_with_notes_that_cannot_be_read_says_so_and_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = campaign_file(tmp_path, QUICK, SUBMISSION)
    campaign = campaign_of(path)
    (job,) = campaign.jobs
    notes = campaign.notes
    notes.folder.mkdir(parents=True)
    name = f"prepare-{job.folder.name}"
    (notes.folder / f"{name}.json").write_text('{"inputs": "ab')
    (notes.folder / "now.json").write_text("[" * 100_000)
    status = status_of(campaign)
    assert status.jobs[0].prepare == "to do"
    assert status.jobs[0].problem == notes.trouble(name)
    _, steps, _ = carried_out(path)
    assert steps[0] == f"prepare {job}"
    told = [r.getMessage() for r in caplog.records if "counts as not done" in r.getMessage()]
    assert len(told) == 1
    assert f"{name}.json is cut off" in told[0]
    assert status_of(campaign_of(path)).jobs[0].prepare == "done"


def test_a_step_whose_note_cannot_be_read_is_to_be_done_and_the_page_says_why(
    finished: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "campaign"
    shutil.copytree(finished.parent, folder)
    campaign = campaign_of(campaign_file(folder, QUICK, SUBMISSION))
    (campaign.notes.folder / "stage.json").write_text(json.dumps({**GOOD_NOTE, "detail": 1}))
    (campaign.notes.folder / "pack.json").write_text("{")
    steps = status_of(campaign).steps
    assert steps["stage"].startswith("to do: ")
    assert "stage.json is not what a campaign notes" in steps["stage"]
    assert steps["check"] == "to do"
    assert "pack.json is cut off" in steps["pack"]


# -- the command line ----------------------------------------------------------------------------


def test_the_status_is_one_page_and_one_document(finished: Path) -> None:
    asked = [*MLPINF, "campaign", "status", str(finished)]
    page = subprocess.run(asked, capture_output=True, text=True, timeout=SECONDS, check=True)
    assert "5 of 5 steps are done" in page.stdout
    found = subprocess.run(
        [*asked, "--json"], capture_output=True, text=True, timeout=SECONDS, check=True
    )
    data = json.loads(found.stdout)
    assert data["finished"] is True
    assert data["jobs"][0]["audits"] == {"TEST01": "passed", "TEST04": "passed"}


def test_without_a_file_it_is_campaign_toml(tmp_path: Path) -> None:
    campaign_file(tmp_path, QUICK)
    with contextlib.chdir(tmp_path):
        found = subprocess.run(
            [*MLPINF, "campaign", "status"], capture_output=True, text=True, timeout=SECONDS
        )
    assert "0 of 5 steps are done" in found.stdout
