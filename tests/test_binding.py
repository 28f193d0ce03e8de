"""Processes and threads bound to processors, and what is said of it."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

import mlpinf_core
from mlpinf_core import binding, builtin
from mlpinf_core.config.schema import RunSettings, SutSettings
from mlpinf_core.errors import ConfigurationError
from mlpinf_core.machine import number_list, number_text
from mlpinf_core.plan import Request, make_plan
from mlpinf_core.plugins import Plugins
from mlpinf_core.record import read_json

if TYPE_CHECKING:
    from pathlib import Path

HERE = sorted(os.sched_getaffinity(0))


@given(st.sets(st.integers(0, 4095)))
def test_a_list_of_numbers_reads_back(numbers: set[int]) -> None:
    assert set(number_list(number_text(numbers))) == numbers


@pytest.mark.parametrize("text", ["a", "3-1", "-1", "1-", "0x3", "1;2", "0-99999999"])
def test_what_is_no_list_of_numbers_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="range"):
        number_list(text)


@given(st.text())
def test_any_text_is_a_list_or_a_value_error(text: str) -> None:
    with contextlib.suppress(ValueError):
        binding.check_cpu_list(text)


def test_lists_are_checked_with_the_other_settings() -> None:
    plugins = Plugins([("core", builtin)])
    from mlpinf_core.config.overrides import parse_assignment

    for text in ("run.cpus=0-x", "run.memory_nodes=node0", "sut.worker_cpus=0,3-1"):
        request = Request(("null",), layers=(parse_assignment(text),))
        with pytest.raises(ConfigurationError) as caught:
            make_plan(request, plugins)
        assert text.partition("=")[0] in caught.value.what


def test_settings_accept_processors_and_nodes() -> None:
    assert RunSettings(cpus="0-3,8,node:1", memory_nodes="0-1").cpus
    assert SutSettings(worker_cpus=("node:0", "0-3")).worker_cpus
    with pytest.raises(ValueError, match="empty"):
        SutSettings(worker_cpus=("0", ""))


def test_processors_that_are_not_there_are_an_error_that_names_those_that_are() -> None:
    with pytest.raises(ConfigurationError, match="this process may use") as caught:
        binding.processors("60000", "run.cpus")
    assert number_text(HERE) in caught.value.what
    assert caught.value.where == "run.cpus"


def test_a_node_is_its_processors() -> None:
    if not os.path.exists("/sys/devices/system/node/node0"):  # noqa: PTH110
        pytest.skip("this machine tells of no NUMA nodes")
    assert binding.processors("node:0", "run.cpus") <= set(HERE)
    with pytest.raises(ConfigurationError, match="no NUMA node 4000"):
        binding.processors("node:4000", "run.cpus")


def in_child(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_process_and_its_threads_are_bound() -> None:
    code = (
        "import os, threading\n"
        "from mlpinf_core.binding import bind_process\n"
        "ready, go = threading.Event(), threading.Event()\n"
        "found = []\n"
        "def work():\n"
        "    ready.set(); go.wait(); found.append(os.sched_getaffinity(0))\n"
        "thread = threading.Thread(target=work); thread.start(); ready.wait()\n"
        f"made = bind_process('{HERE[0]}', '')\n"
        "go.set(); thread.join()\n"
        f"assert os.sched_getaffinity(0) == {{{HERE[0]}}} == found[0]\n"
        "print(made.cpus, made.not_applied)"
    )
    assert in_child(code) == str(HERE[0])


def test_memory_is_bound_or_it_is_said_why_not() -> None:
    code = (
        "from mlpinf_core.binding import bind_process\n"
        "made = bind_process('', '0')\n"
        "assert (made.memory_nodes == '0') != bool(made.not_applied)\n"
        "policy = open('/proc/self/numa_maps').read() if made.memory_nodes else 'bind:0'\n"
        "assert 'bind:0' in policy, policy\n"
    )
    if not os.path.exists("/sys/devices/system/node/node0"):  # noqa: PTH110
        pytest.skip("this machine tells of no NUMA nodes")
    in_child(code)


def test_memory_of_a_node_that_is_not_there_is_an_error() -> None:
    with pytest.raises(ConfigurationError, match="NUMA nodes 4000 are not there"):
        binding.bind_process("", "4000")


def test_without_libnuma_memory_is_not_bound_and_that_is_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(name: str) -> None:
        raise OSError(name)

    monkeypatch.setattr(binding.ctypes, "CDLL", refuse)
    monkeypatch.setattr(binding, "_all_nodes", lambda: {0})
    made = binding.bind_process("", "0")
    assert made.memory_nodes is None
    assert made.not_applied == "memory of nodes 0: libnuma is not installed"


def test_a_thread_is_bound_alone() -> None:
    found: list[set[int]] = []

    def work() -> None:
        binding.bind_thread({HERE[-1]})
        found.append(os.sched_getaffinity(0))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [{HERE[-1]}]
    assert sorted(os.sched_getaffinity(0)) == HERE


def test_a_run_is_bound_and_its_record_says_to_what_and_what_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLPERF_SCRATCH_PATH", str(tmp_path / "scratch"))
    results = mlpinf_core.run(
        "null",
        scenarios="Offline",
        modes="accuracy",
        settings={
            "run": {"cpus": str(HERE[-1])},
            "sut": {"workers": 2, "worker_cpus": [str(HERE[-1])]},
        },
        output=tmp_path / "runs",
    )
    (run,) = results.runs
    assert run.exit_code == 0
    record = read_json(run.directory / "run.json")
    assert record["binding"]["cpus"] == str(HERE[-1])
    unbound = "sut.worker_cpus: InlineSut has no workers that could be bound"
    assert record["binding"]["not_applied"] == unbound
    assert any(unbound in note for note in run.verdict.notes)
    assert record["system"]["name"]
    assert record["system"]["facts"]["memory.total_bytes"]["source"] == "/proc/meminfo MemTotal"


def test_a_run_on_processors_that_are_not_there_ends_with_a_clear_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLPERF_SCRATCH_PATH", str(tmp_path / "scratch"))
    results = mlpinf_core.run(
        "null",
        scenarios="Offline",
        modes="accuracy",
        settings={"run": {"cpus": "60000"}},
        output=tmp_path / "runs",
    )
    (run,) = results.runs
    assert run.exit_code == 2
    assert "60000" in str(run.verdict.causes[0].message)
