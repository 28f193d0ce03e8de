"""Real child processes: the null benchmark through real LoadGen, in every scenario."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

from mlpinf_core import api, record
from mlpinf_core.config import dump
from mlpinf_core.config.layers import Layer
from mlpinf_core.errors import ExitCode
from mlpinf_core.loadgen import supervisor
from mlpinf_core.loadgen.supervisor import Outcome, supervise
from mlpinf_core.logs.accuracy import AccuracyLog
from mlpinf_core.logs.detail import DetailLog
from mlpinf_core.plan import Request, make_plan
from mlpinf_core.plugins import Plugins
from mlpinf_core.vocabulary import Mode, Scenario

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from conftest import PluginPath

EVERY = [(scenario, mode) for scenario in Scenario for mode in Mode]
SAMPLES = 300


def directory_for(tmp_path: Path, scenario: Scenario, mode: Mode, **loadgen: Any) -> Path:
    """A run directory with its ``run.json``, as the runner makes it."""
    rate = {} if scenario.is_stream else {"target_qps": 2000}
    values = {
        "loadgen": {"min_duration": 0, "min_query_count": 700} | rate | loadgen,
        "benchmark": {"samples": SAMPLES},
        "run": {"measure_seconds": 0.05},
    }
    plugins = Plugins.from_environment()
    request = Request(("null",), scenarios=(scenario,), layers=(Layer("test", values),))
    (run,) = make_plan(request, plugins).runs
    directory = tmp_path / f"{scenario}-{mode}"
    directory.mkdir()
    made = record.make(
        run.workload,
        mode,
        dump.to_dict(run.config(plugins, mode)),
        directory=directory,
        scratch=tmp_path / "scratch",
        plugins=plugins.infos(),
    )
    record.write_json(directory / record.FILE_NAME, made)
    return directory


def child(
    task: str, directory: Path, *, hang_timeout: float = 60
) -> tuple[Outcome, list[Mapping[str, Any]]]:
    events: list[Mapping[str, Any]] = []
    outcome = supervise(
        task, directory, start_timeout=60, hang_timeout=hang_timeout, on_event=events.append
    )
    return outcome, events


@pytest.mark.parametrize(("scenario", "mode"), EVERY)
def test_every_scenario_runs_to_its_end(scenario: Scenario, mode: Mode, tmp_path: Path) -> None:
    directory = directory_for(tmp_path, scenario, mode)
    outcome, _ = child("execute", directory)
    assert outcome.error is None
    assert (outcome.exit_code, outcome.hung, outcome.failures) == (0, None, ())
    assert outcome.result is not None
    assert outcome.result["sample_count"] == SAMPLES
    assert outcome.first_query is not None
    detail = DetailLog.read(directory / "mlperf_log_detail.txt")
    assert not detail.errors
    if mode is Mode.ACCURACY:
        log = AccuracyLog.read(directory / "mlperf_log_accuracy.json")
        # Every sample once; MultiStream repeats some to fill its last query.
        assert set(log.qsl_indices) == set(range(SAMPLES))
        assert len(log.qsl_indices) == (304 if scenario is Scenario.MULTI_STREAM else SAMPLES)
        scored, _ = child("score", directory)
        assert scored.result is not None
        assert scored.result["scores"] == {"exact": 100.0}


@pytest.mark.parametrize("scenario", list(Scenario))
def test_every_scenario_can_be_measured(scenario: Scenario, tmp_path: Path) -> None:
    outcome, _ = child("measure", directory_for(tmp_path, scenario, Mode.PERFORMANCE))
    assert outcome.error is None
    assert outcome.result is not None
    assert outcome.result["rate"] > 0


def test_preparing_says_that_it_has(tmp_path: Path) -> None:
    directory = directory_for(tmp_path, Scenario.OFFLINE, Mode.PERFORMANCE)
    outcome, _ = child("prepare", directory)
    assert (outcome.exit_code, outcome.error) == (0, None)
    assert outcome.result is not None
    assert outcome.first_query is None


def test_events_come_in_order_and_are_kept(tmp_path: Path) -> None:
    directory = directory_for(tmp_path, Scenario.OFFLINE, Mode.PERFORMANCE)
    _, events = child("execute", directory)
    kept = (directory / supervisor.EVENTS_NAME).read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) for line in kept] == events
    phases = [event["name"] for event in events if event["event"] == "phase"]
    assert phases == ["preparing", "loading", "warming up", "running"]
    (settings,) = [event for event in events if event["event"] == "settings"]
    assert settings["user_conf"] == (directory / "user.conf").read_text(encoding="utf-8")
    last = [event for event in events if event["event"] == "progress"][-1]
    assert last["issued"] == last["completed"] >= SAMPLES


def test_an_unwritable_directory_is_an_error_and_no_hang(tmp_path: Path) -> None:
    directory = directory_for(tmp_path, Scenario.OFFLINE, Mode.PERFORMANCE)
    (directory / "mlperf_log_detail.txt").mkdir()  # root may write anywhere: a name that is taken
    (directory / "mlperf_log_summary.txt").mkdir()
    outcome, _ = child("execute", directory)
    assert outcome.exit_code == 5
    assert outcome.error is not None
    assert "LoadGen returned without issuing a query" in outcome.error["what"]


def test_a_damaged_record_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    directory = directory_for(tmp_path, Scenario.OFFLINE, Mode.PERFORMANCE)
    (directory / record.FILE_NAME).write_text("{", encoding="utf-8")
    outcome, _ = child("execute", directory)
    assert outcome.error is not None
    assert record.FILE_NAME in outcome.error["what"]
    assert outcome.exit_code == outcome.error["exit_code"] != 0


def test_what_interrupts_a_listener_ends_the_child_first(tmp_path: Path) -> None:
    directory = directory_for(tmp_path, Scenario.SERVER, Mode.PERFORMANCE, min_duration=600)
    started: list[subprocess.Popen[bytes]] = []

    class Recorded(subprocess.Popen[bytes]):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            started.append(self)

    def listen(event: Mapping[str, Any]) -> None:
        if event["event"] == "progress":
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mlpinf_core.loadgen.supervisor.subprocess.Popen", Recorded)
        with pytest.raises(KeyboardInterrupt):
            supervise("execute", directory, start_timeout=60, hang_timeout=60, on_event=listen)
    (process,) = started
    assert process.returncode is not None
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)


def test_a_display_that_fails_takes_no_run_with_it(tmp_path: Path) -> None:
    directory = directory_for(tmp_path, Scenario.OFFLINE, Mode.ACCURACY)
    heard = []

    def listen(event: Mapping[str, Any]) -> None:
        heard.append(event["event"])
        raise ValueError("[/data] is not markup")

    outcome = supervise("execute", directory, start_timeout=60, hang_timeout=60, on_event=listen)
    assert outcome.exit_code == 0
    assert "result" in heard


def test_children_can_be_supervised_from_another_thread(tmp_path: Path) -> None:
    directory = directory_for(tmp_path, Scenario.SINGLE_STREAM, Mode.PERFORMANCE)
    outcomes = []
    thread = threading.Thread(target=lambda: outcomes.append(child("execute", directory)[0]))
    thread.start()
    thread.join()
    assert [outcome.exit_code for outcome in outcomes] == [0]


def test_two_children_do_not_hold_each_others_pipes(
    tmp_path: Path, plugin_path: PluginPath
) -> None:
    """The second child lives on when the first one ends: its pipe must close all the same."""
    first = directory_for(tmp_path, Scenario.OFFLINE, Mode.PERFORMANCE)
    second = directory_for(
        tmp_path, Scenario.SERVER, Mode.PERFORMANCE, min_duration=600, min_query_count=1
    )
    running, stop = threading.Event(), threading.Event()

    class StopError(BaseException):
        pass

    def listen(event: Mapping[str, Any]) -> None:
        if event["event"] == "progress":
            running.set()
            if stop.is_set():
                raise StopError

    def supervise_second() -> None:
        with pytest.raises(StopError):
            supervise("execute", second, start_timeout=60, hang_timeout=60, on_event=listen)

    thread = threading.Thread(target=supervise_second)
    thread.start()
    assert running.wait(60)
    outcome, _ = child("execute", first)
    assert (outcome.exit_code, outcome.hung) == (0, None)
    stop.set()
    thread.join()


def test_a_child_started_by_hand_ends_with_its_standard_input(tmp_path: Path) -> None:
    directory = directory_for(tmp_path, Scenario.SERVER, Mode.PERFORMANCE, min_duration=600)
    reader, writer = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-m", "mlpinf_core.loadgen.child", "execute", str(directory), str(writer)],
        stdin=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        pass_fds=(writer,),
        start_new_session=True,
    )
    os.close(writer)
    with os.fdopen(reader, "rb") as events, process:
        for line in events:
            if json.loads(line).get("name") == "running":
                break
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(20) != 0


LACKING = """
from mlpinf_core import BackendInfo, hookimpl

@hookimpl
def backends():
    requires = {"no_such_module_a": "no-such[a]", "no_such_module_b": "no-such[a]"}
    return [BackendInfo("lacking", ("null",), "needs what is not there", requires=requires)]
"""


def test_a_backend_that_lacks_a_package_is_refused_with_the_command_that_brings_it(
    tmp_path: Path, plugin_path: PluginPath
) -> None:
    plugin_path.write("lacking", LACKING)
    settings = {"run": {"backend": "lacking"}, "loadgen": {"target_qps": 1}}
    results = api.run(
        "null", scenarios="Offline", modes="performance", settings=settings, output=tmp_path
    )
    (cause,) = results.runs[0].verdict.causes
    assert "the backend 'lacking' needs what is not installed: no-such[a]" in cause.message
    assert cause.suggestion == "pip install 'no-such[a]'"
    assert results.exit_code is ExitCode.FAILED
