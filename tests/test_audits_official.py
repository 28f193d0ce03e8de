"""The official verification scripts on our logs: the same verdicts, the same files.

They are not part of this repository: set MLPERF_INFERENCE to a checkout of mlcommons/inference.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from mlpinf_core.audits.tokens import check_tokens
from mlpinf_core.runs import find_runs
from mlpinf_core.vocabulary import Mode

from .audited import audited, drifting, made
from .test_audits_checks import accuracy_log, answers

if TYPE_CHECKING:
    from mlpinf_core.audits.model import AuditResult
    from mlpinf_core.logs.accuracy import AccuracyLog

    from .conftest import PluginPath

CHECKOUT = os.environ.get("MLPERF_INFERENCE")
SECONDS = 120.0

pytestmark = pytest.mark.skipif(
    CHECKOUT is None, reason="MLPERF_INFERENCE names no checkout of mlcommons/inference"
)


def official(test: str, folder: Path, *options: str) -> str:
    """What a script prints; it writes its verdict into the working directory."""
    script = Path(CHECKOUT or "") / "compliance" / test / "run_verification.py"
    arguments = [sys.executable, str(script), "-o", "out", *options]
    found = subprocess.run(
        arguments, cwd=folder, capture_output=True, text=True, timeout=SECONDS, check=True
    )
    return found.stdout


def results(output: Path, folder: Path) -> Path:
    """The audited runs as the scripts want them."""
    for run in find_runs(output):
        performance = run.mode is Mode.PERFORMANCE
        target = folder / "results" / ("performance/run_1" if performance else "accuracy")
        target.mkdir(parents=True)
        for path in run.directory.glob("mlperf_log_*"):
            shutil.copy(path, target)
    return folder / "results"


def files(folder: Path) -> dict[str, bytes]:
    found = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def ours(audit: AuditResult) -> dict[str, bytes]:
    return {file.path: (audit.directory / file.path).read_bytes() for file in audit.files}


def passes(printed: str) -> tuple[bool, ...]:
    lines = printed.splitlines()
    return tuple(line.endswith("True") for line in lines if "check pass:" in line)


@pytest.mark.parametrize("test", ["TEST01", "TEST04"])
def test_good_audits_pass_there_too_and_leave_the_same_files(test: str, tmp_path: Path) -> None:
    made(tmp_path / "runs")
    (audit,) = audited(tmp_path / "runs", tests=(test,)).results
    reference = results(tmp_path / "runs", tmp_path)
    more = ("--dtype", "int64") if test == "TEST01" else ()
    run = str(audit.directory / "run")
    printed = official(test, tmp_path, "-r", str(reference), "-c", run, *more)
    assert audit.passed
    assert all(passes(printed))
    theirs = files(tmp_path / "out" / test)
    assert theirs.keys() == ours(audit).keys()
    logs = {name: data for name, data in theirs.items() if "mlperf_log" in name}
    assert logs == {name: ours(audit)[name] for name in logs}


@pytest.mark.parametrize("worse", [0, 3])
def test_answers_whose_first_number_is_wrong_fail_there_and_here(
    worse: int, plugin_path: PluginPath, tmp_path: Path
) -> None:
    plugin_path.write("drifting", drifting(worse))
    made(tmp_path / "runs", "drifting")
    (audit,) = audited(tmp_path / "runs", "drifting").results
    reference = results(tmp_path / "runs", tmp_path)
    run = str(audit.directory / "run")
    printed = official("TEST01", tmp_path, "-r", str(reference), "-c", run, "--dtype", "int64")
    # Its first number is the answer, and the second one drifts, at which the script does not look.
    assert passes(printed) == (worse == 0, True)
    assert audit.passed is (worse == 0)


def test_a_run_that_is_faster_with_one_sample_fails_there_and_here(tmp_path: Path) -> None:
    from mlpinf_core.audits.scores import compare_speed
    from mlpinf_core.logs.detail import DetailLog
    from mlpinf_core.rules import load_round
    from mlpinf_core.vocabulary import Scenario

    made(tmp_path / "runs")
    (audit,) = audited(tmp_path / "runs", tests=("TEST04",)).results
    reference = results(tmp_path / "runs", tmp_path)
    slow = reference / "performance/run_1"
    key = "result_completed_samples_per_sec"
    rate = DetailLog.read(slow / "mlperf_log_detail.txt").number(key)
    for name in ("mlperf_log_detail.txt", "mlperf_log_summary.txt"):
        text = (slow / name).read_text()
        changed = text.replace(f"{rate:.3f}", "1.000").replace(f"{rate:.2f}", "1.00")
        (slow / name).write_text(changed)
    run = audit.directory / "run"
    printed = official("TEST04", tmp_path, "-r", str(reference), "-c", str(run))
    assert passes(printed) == (False,)
    logs = (DetailLog.read(p / "mlperf_log_detail.txt") for p in (slow, run))
    rules = load_round("v5.1").audits["TEST04"]
    assert not compare_speed(*logs, Scenario.SERVER, rules).passed


GOOD = answers([5, 6, 2], [7, 8, 9])


@pytest.mark.parametrize("scenario", ["Offline", "Server"])
@pytest.mark.parametrize(
    ("rows", "good"),
    [
        (GOOD, True),
        ([(n, data, first, count + 1) for n, data, first, count in GOOD], False),
        ([*GOOD, (2, np.array([4, 2, 2], np.int32).tobytes(), GOOD[0][2], 3)], False),
    ],
)
def test_test06_comes_to_the_same_text(
    rows: list[tuple[int, bytes, bytes, int]], good: bool, scenario: str, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    log: AccuracyLog = accuracy_log(folder / "mlperf_log_accuracy.json", rows)
    options = ("-c", str(folder), "-s", scenario, "-d", "int32")  # -e would stay a text
    official("TEST06", tmp_path, *options)
    found = check_tokens(log, dtype="int32", eos=2, first_tokens=scenario != "Offline")
    assert (tmp_path / "out/TEST06/verify_accuracy.txt").read_text() == found.text()
    assert found.passed is good
