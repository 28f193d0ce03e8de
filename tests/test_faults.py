"""Whatever a plugin does wrong, the run ends with a verdict that says so, and nothing is left."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from mlpinf_core import api
from mlpinf_core.errors import ExitCode
from mlpinf_core.results import RunResult

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import PluginPath

PROJECT = Path(__file__).parent / "fault_plugin"
SOON = 20.0
"""Seconds for what happens at once; a limit for broken code, not a measure of good code."""


@pytest.fixture
def pids(plugin_path: PluginPath, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The plugin is installed; the processes it ran in are in this file."""
    plugin_path.project(PROJECT)
    monkeypatch.setenv("MLPINF_FAULTY_PIDS", str(tmp_path / "pids"))
    monkeypatch.setenv("MLPERF_SCRATCH_PATH", str(tmp_path / "scratch"))
    return tmp_path / "pids"


def settings(fault: str, sut: str = "inline", **more: Any) -> dict[str, dict[str, Any]]:
    benchmark = {"fault": fault, "sut": sut, "at_batch": more.pop("at_batch", 1)}
    run = {"hang_timeout": more.pop("hang_timeout", 2), "start_timeout": 30} | more.pop("run", {})
    loadgen = {"min_query_count": 100, "max_query_count": 2000, "target_latency_ms": 1}
    return {"benchmark": benchmark, "run": run, "loadgen": loadgen | more}


def run(
    output: Path, settings: dict[str, dict[str, Any]], scenario: str, mode: str = "performance"
) -> RunResult:
    if scenario in ("Server", "Offline"):
        settings["loadgen"].pop("target_latency_ms")
    results = api.run("faulty", scenarios=scenario, modes=mode, settings=settings, output=output)
    (result,) = results.runs
    assert RunResult.read(result.directory).to_dict() == result.to_dict()
    return result


def is_there(pid: int) -> bool:
    """Whether a process is there and not just waiting to be reaped."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"


def until(condition: Callable[[], bool]) -> bool:
    """Whether a condition comes true, which it does soon unless something is broken."""
    deadline = time.monotonic() + SOON
    while not condition():
        if time.monotonic() > deadline:
            return False
        os.sched_yield()
    return True


def gone(pids: Path) -> bool:
    """Whether every process that the plugin noted comes to its end."""
    numbers = [int(line) for line in pids.read_text(encoding="ascii").split()]
    assert numbers
    return until(lambda: not any(map(is_there, numbers)))


def check(result: RunResult, pids: Path | None, *words: str) -> None:
    """The run failed, says why before all else, and its processes are gone."""
    assert not result.verdict.valid
    text = result.verdict.causes[0].message
    assert result.exit_code is ExitCode.FAILED, text
    for word in words:
        assert word in text
    if pids is not None:
        assert gone(pids)


# -- before the test -------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["dataset", "load", "warm_up", "make_sut"])
def test_what_raises_before_the_test_is_the_cause(place: str, pids: Path, tmp_path: Path) -> None:
    result = run(tmp_path / "out", settings(place), "SingleStream")
    check(result, None if place == "dataset" else pids, f"as told, in {place}")
    if place in ("dataset", "make_sut"):  # hooks, which name their plugin
        message = result.verdict.causes[0].message
        assert "mlpinf-faulty 0.1.0" in message
        assert repr(place) in message


def test_a_hook_that_exits_has_not_done_its_work(pids: Path, tmp_path: Path) -> None:
    check(run(tmp_path / "out", settings("exit in load"), "Offline"), pids, "SystemExit")


def test_a_warm_up_that_hangs_is_ended(pids: Path, tmp_path: Path) -> None:
    wanted = settings("hang in warm_up", run={"start_timeout": 2})
    result = run(tmp_path / "out", wanted, "SingleStream")
    check(result, pids, "nothing happened while warming up for 2 s")


def test_a_meter_that_fails_to_start_ends_the_run(
    pids: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLPINF_FAULTY", "run_started")
    result = run(tmp_path / "out", settings(""), "SingleStream")
    check(result, None, "as told, in run_started", "mlpinf-faulty 0.1.0", "'run_started'")


# -- during the test -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scenario", "sut", "at_batch"),
    [("SingleStream", "inline", 1), ("SingleStream", "inline", 1000), ("Server", "batching", 1000),
     ("Offline", "streaming", 3)],
)  # fmt: skip
def test_a_backend_that_raises_is_named(
    scenario: str, sut: str, at_batch: int, pids: Path, tmp_path: Path
) -> None:
    wanted = settings("raise", sut, at_batch=at_batch, min_query_count=1100)
    wanted["sut"] = {"max_batch_size": 1}
    check(run(tmp_path / "out", wanted, scenario), pids, "ToldError: as told, at a batch")


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("few", "of 8 samples"),
        ("many", "of 8 samples"),
        ("none", "returned None"),
        ("dtype", "float32"),
        ("objects", "object"),
    ],
)
@pytest.mark.parametrize("sut", ["inline", "batching"])
def test_answers_that_do_not_fit_are_told_apart(
    fault: str, words: str, sut: str, pids: Path, tmp_path: Path
) -> None:
    check(run(tmp_path / "out", settings(fault, sut), "MultiStream"), pids, words)


@pytest.mark.parametrize(
    ("fault", "words"),
    [("twice", "completed more than once"), ("stranger", "never issued"),
     ("die", "thread own died: ToldError")],
)  # fmt: skip
@pytest.mark.parametrize("scenario", ["SingleStream", "Server"])
def test_a_sut_of_the_plugins_own_is_watched_too(
    fault: str, words: str, scenario: str, pids: Path, tmp_path: Path
) -> None:
    check(run(tmp_path / "out", settings(fault, "own"), scenario), pids, words)


@pytest.mark.parametrize("sut", ["batching", "streaming"])
def test_a_worker_thread_that_ends_without_a_word(sut: str, pids: Path, tmp_path: Path) -> None:
    check(run(tmp_path / "out", settings("end thread", sut), "Server"), pids, "SystemExit: 3")


@pytest.mark.parametrize("scenario", ["SingleStream", "Server"])
def test_a_sample_that_is_dropped_is_a_hang(scenario: str, pids: Path, tmp_path: Path) -> None:
    result = run(tmp_path / "out", settings("drop", "own"), scenario)
    check(result, pids, "queries were open and none completed for 2 s")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("wait", "queries were open and none completed"),
        ("loop", "queries were open and none completed"),
        ("hold gil", "no sign of life for 2 s"),
        ("block sigterm", "queries were open and none completed"),
    ],
)
@pytest.mark.parametrize("sut", ["inline", "batching"])
def test_a_backend_that_never_returns_is_ended(
    fault: str, words: str, sut: str, pids: Path, tmp_path: Path
) -> None:
    check(run(tmp_path / "out", settings(fault, sut), "SingleStream"), pids, words)


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("kill", "SIGKILL"),
        ("segfault", "SIGSEGV"),
        ("leave badly", "exit code 7"),
        ("leave", "said nothing"),
        ("start child", "SIGKILL"),
    ],
)
def test_a_child_process_that_dies_is_noticed_at_once(
    fault: str, words: str, pids: Path, tmp_path: Path
) -> None:
    wanted = settings(fault, "batching", at_batch=5, hang_timeout=600)
    check(run(tmp_path / "out", wanted, "Server"), pids, words, "while running")


@pytest.mark.parametrize("mode", ["performance", "accuracy"])
def test_what_raises_at_closing_fails_a_run_that_was_fine_until_then(
    mode: str, pids: Path, tmp_path: Path
) -> None:
    check(run(tmp_path / "out", settings("close"), "SingleStream", mode), pids, "as told, in close")


def test_an_accuracy_script_that_raises_fails_the_run(pids: Path, tmp_path: Path) -> None:
    result = run(tmp_path / "out", settings("check_accuracy"), "Offline", "accuracy")
    text = json.dumps(result.to_dict())
    assert result.exit_code is ExitCode.FAILED
    assert "as told, in check_accuracy" in text
    assert gone(pids)


def test_an_accuracy_run_with_a_failed_batch_is_not_scored(pids: Path, tmp_path: Path) -> None:
    result = run(tmp_path / "out", settings("raise", at_batch=3), "Offline", "accuracy")
    check(result, pids, "as told, at a batch")
    assert result.accuracy is None


def test_a_backend_that_writes_a_lot_is_heard_out(pids: Path, tmp_path: Path) -> None:
    result = run(tmp_path / "out", settings("flood"), "Offline")
    assert result.verdict.causes == ()
    assert result.exit_code is ExitCode.OK
    assert gone(pids)


def test_going_on_after_failures_counts_them_all(pids: Path, tmp_path: Path) -> None:
    wanted = settings("raise", run={"stop_on_error": False}, at_batch=51, max_query_count=100)
    result = run(tmp_path / "out", wanted, "SingleStream")
    check(result, pids, "as told, at a batch (50 samples)")


# -- interrupted -----------------------------------------------------------------------------------

PARENT = """
import json, pathlib, sys
from mlpinf_core import api
from mlpinf_core.errors import InterruptedRunError
try:
    api.run("faulty", scenarios="SingleStream", modes="performance", reporter=Reporter(),
            settings=json.loads({settings!r}), output=pathlib.Path({output!r}))
except InterruptedRunError as error:
    sys.exit(error.exit_code)
"""

REPORTER = """
class Reporter:
    def started(self, planned, mode, task): pass
    def event(self, event):
        if event["event"] == "progress":
            print("running", flush=True)
    def finished(self, result): pass
"""


def parent(output: Path, fault: str) -> subprocess.Popen[str]:
    """A process that makes a run which never ends, and is in the middle of it."""
    wanted = json.dumps(settings(fault, hang_timeout=600))
    program = REPORTER + PARENT.format(output=str(output), settings=wanted)
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "running\n"
    return process


@pytest.mark.parametrize("fault", ["wait", pytest.param("block sigterm", marks=pytest.mark.slow)])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_says_so_and_ends_its_child(
    number: signal.Signals, fault: str, pids: Path, tmp_path: Path
) -> None:
    with parent(tmp_path / "out", fault) as process:
        process.send_signal(number)
        assert process.wait(SOON) == ExitCode.INTERRUPTED
    assert gone(pids)
    (path,) = (tmp_path / "out").rglob("result.json")
    result = RunResult.read(path.parent)
    assert result.exit_code is ExitCode.INTERRUPTED
    assert [cause.code for cause in result.verdict.causes] == ["interrupted"]


@pytest.mark.parametrize("fault", ["wait", "block sigterm"])
def test_a_child_does_not_outlive_a_parent_that_is_killed(
    fault: str, pids: Path, tmp_path: Path
) -> None:
    with parent(tmp_path / "out", fault) as process:
        process.kill()
    assert gone(pids)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_command_line_ends_as_interrupted_too(
    number: signal.Signals, pids: Path, tmp_path: Path
) -> None:
    command = "from mlpinf_core.cli import main; main()"
    options = ["--scenarios", "SingleStream", "--mode", "performance"]
    options += ["--set", "benchmark.fault=wait", "--set", "loadgen.target_latency_ms=1"]
    with subprocess.Popen(
        [sys.executable, "-c", command, "run", "faulty", *options, "--output", str(tmp_path)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert until(lambda: any("running" in path.read_text() for path in events_in(tmp_path)))
        process.send_signal(number)
        assert process.wait(SOON) == ExitCode.INTERRUPTED
        assert process.stderr is not None
        assert "Traceback" not in process.stderr.read()
    assert gone(pids)
    (path,) = tmp_path.rglob("result.json")
    assert [cause.code for cause in RunResult.read(path.parent).verdict.causes] == ["interrupted"]


def events_in(directory: Path) -> list[Path]:
    return list(directory.rglob("events.jsonl"))
