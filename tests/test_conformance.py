"""The conformance kit, held to what it says: each rule finds the plugin that breaks it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from mlpinf_core.errors import ConfigurationError, ExitCode, UnknownNameError
from mlpinf_core.testing import PluginConformance, RuleState, check_plugin
from mlpinf_core.testing.rules import RULES

if TYPE_CHECKING:
    from conftest import PluginPath

WRAPPER = """
from mlpinf_core import hookimpl


@hookimpl(wrapper=True)
def make_sut(run):
    return (yield)
"""

BACKEND = """
from mlpinf_core import BackendInfo, hookimpl


@hookimpl
def backends():
    return [BackendInfo("off-by-none", benchmarks=("null",), summary="as good as echo")]


@hookimpl
def build_backend():
    from mlpinf_core.builtin.null import NullBackend

    return NullBackend()
"""

BROKEN = Path(__file__).parent / "broken_plugins"


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A scratch space of the test's own: what a plugin prepares again is looked for in it."""
    monkeypatch.setenv("MLPERF_SCRATCH_PATH", str(tmp_path / "scratch"))


def install(name: str, plugin_path: PluginPath) -> None:
    """Install one of the plugins, with the good one's module that it takes the rest from."""
    for module in ("squares", "onnxruntime"):
        source = BROKEN / f"{module}.py"
        (plugin_path.root / source.name).write_text(source.read_text(encoding="utf-8"))
    source = BROKEN / f"{name}.py"
    plugin_path.write(name, source.read_text(encoding="utf-8"), module=name)


@pytest.mark.slow
@pytest.mark.usefixtures("scratch")
@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_a_plugin_that_breaks_one_rule_fails_that_rule_and_no_other(
    rule, plugin_path: PluginPath
) -> None:
    name = f"breaks_{rule.name}"
    install(name, plugin_path)
    scenarios = ("Offline", "SingleStream") if rule.name == "scenarios_run" else ("Offline",)
    report = check_plugin(name, scenarios=scenarios)
    failed = {r.rule.name: r for r in report.results if r.state is RuleState.FAILED}
    assert failed.keys() == {rule.name}
    assert failed[rule.name].detail
    assert failed[rule.name].remedy
    assert report.exit_code is ExitCode.FAILED


@pytest.mark.slow
@pytest.mark.usefixtures("scratch")
def test_a_plugin_that_breaks_none_passes_all(plugin_path: PluginPath) -> None:
    install("squares", plugin_path)
    report = check_plugin("squares")
    assert {r.state for r in report.results} == {RuleState.PASSED}
    assert report.exit_code is ExitCode.OK


@pytest.mark.slow
@pytest.mark.usefixtures("scratch")
def test_a_plugin_that_waits_for_answers_that_never_come_is_said_to_hang(
    plugin_path: PluginPath,
) -> None:
    install("waits_for_ever", plugin_path)
    short = {"run": {"hang_timeout": 2.0}}
    report = check_plugin("waits_for_ever", scenarios=("Offline",), settings=short)
    failed = {r.rule.name: r.detail for r in report.results if r.state is RuleState.FAILED}
    assert failed.keys() == {"backend_raises", "torn_down"}  # what hangs cannot be closed
    assert "hangs" in failed["backend_raises"]


def test_every_broken_plugin_is_one_of_a_rule() -> None:
    broken = {path.stem.removeprefix("breaks_") for path in BROKEN.glob("breaks_*.py")}
    assert broken == {rule.name for rule in RULES}


def test_every_rule_is_a_test_of_the_base_class_and_says_why_it_is_there() -> None:
    tests = {name for name in vars(PluginConformance) if name.startswith("test_")}
    assert tests == {f"test_{rule.name}" for rule in RULES}
    for rule in RULES:
        assert rule.statement.endswith(".")
        assert rule.why


def test_an_unknown_plugin_is_refused_by_name() -> None:
    with pytest.raises(UnknownNameError, match="unknown plugin 'cor'"):
        check_plugin("cor")


def test_a_benchmark_that_the_plugin_has_no_part_in_is_refused(plugin_path: PluginPath) -> None:
    install("squares", plugin_path)
    with pytest.raises(ConfigurationError, match="has no part in benchmark 'null'"):
        check_plugin("squares", benchmark="null")


def test_a_plugin_of_wrappers_only_is_held_to_the_rules_that_need_no_run(
    plugin_path: PluginPath,
) -> None:
    plugin_path.write("meter", WRAPPER)
    states = {r.rule.name: r.state for r in check_plugin("meter").results}
    assert {name for name, state in states.items() if state is RuleState.PASSED} == {
        "entry_point_loads",
        "light_import",
        "declarations_are_sane",
    }
    assert RuleState.FAILED not in states.values()


@pytest.mark.slow
@pytest.mark.usefixtures("scratch")
def test_a_backend_for_anothers_benchmark_is_checked_by_running_that_benchmark(
    plugin_path: PluginPath,
) -> None:
    plugin_path.write("engine", BACKEND)
    report = check_plugin("engine", backend="off-by-none", scenarios=("Offline",))
    assert {r.state for r in report.results} == {RuleState.PASSED}


def test_importing_the_kit_does_not_need_pytest() -> None:
    code = (
        "import sys; sys.modules['pytest'] = None; "
        "from mlpinf_core.testing import check_plugin; import mlpinf_core.cli.check"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.slow
class TestCore(PluginConformance):
    """The core's own plugin keeps the rules."""

    plugin = "core"
    benchmark = "null"


@pytest.mark.slow
@pytest.mark.usefixtures("scratch")
def test_the_command_line_prints_the_report_and_ends_with_5_for_a_broken_plugin(
    plugin_path: PluginPath,
) -> None:
    install("breaks_light_import", plugin_path)
    command = [sys.executable, "-c", "from mlpinf_core.cli import main; main()", "check"]
    arguments = ["breaks_light_import", "--scenarios", "Offline", "--set", "benchmark.samples=24"]
    done = subprocess.run(
        [*command, *arguments, "--json"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 5
    report = json.loads(done.stdout)
    states = {r["rule"]: r["state"] for r in report["rules"]}
    assert states.pop("light_import") == "failed"
    assert set(states.values()) == {"passed"}
