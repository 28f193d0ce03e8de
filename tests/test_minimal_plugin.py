"""The examples: a third-party plugin from its wheel, and the Python script."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import pytest

if TYPE_CHECKING:
    from conftest import PluginPath

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "examples" / "minimal_plugin"


@attrs.frozen
class Installation:
    """A virtual environment with the core and the example, from their wheels."""

    home: Path

    def run(self, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        outside = ("PYTHONPATH", "VIRTUAL_ENV")
        environment = {k: v for k, v in os.environ.items() if k not in outside}
        return subprocess.run(
            [self.home / "venv" / "bin" / program, *arguments],
            cwd=self.home,
            env={**environment, "MLPERF_SCRATCH_PATH": str(self.home / "scratch")},
            capture_output=True,
            text=True,
            check=False,
        )


def _checked(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    home = tmp_path_factory.mktemp("installed")
    made = Installation(home)
    venv.create(home / "venv", with_pip=True)
    # pip builds what it is given a wheel of, without what is not in the distribution.
    _checked(made.run("pip", "wheel", "--no-deps", "-w", "wheels", str(ROOT), str(EXAMPLE)))
    wheels = [str(path) for path in (home / "wheels").glob("*.whl")]
    assert len(wheels) == 2
    constraints = ["-c", str(ROOT / "constraints.txt")]
    _checked(made.run("pip", "install", "--no-compile", *constraints, *wheels))
    return made


def test_the_example_is_under_120_lines() -> None:
    sources = list((EXAMPLE / "src").rglob("*.py"))
    assert sources
    assert sum(len(path.read_text(encoding="utf-8").splitlines()) for path in sources) < 120


@pytest.mark.slow
@pytest.mark.parametrize(
    ("scenarios", "settings"),
    [
        (("Offline", "SingleStream", "MultiStream"), []),
        # A machine that is busy with other tests as well does not keep the example's own limit.
        (("Server", "Interactive"), ["loadgen.target_qps=300", "loadgen.target_latency_ms=5000"]),
    ],
)
def test_the_example_runs_every_scenario_from_its_wheel(
    installation: Installation, scenarios: tuple[str, ...], settings: list[str]
) -> None:
    settings = ["loadgen.min_query_count=700", *settings]  # early stopping wants 662 at p99
    sets = [part for setting in settings for part in ("--set", setting)]
    arguments = ["run", "digits", "--min-duration", "0", "--scenarios", ",".join(scenarios)]
    done = installation.run("mlpinf", *arguments, *sets, "--json")
    runs = json.loads(done.stdout)["runs"]
    assert [r["verdict"]["causes"] for r in runs if r["exit_code"]] == []
    assert done.returncode == 0
    assert [(r["workload"]["scenario"], r["mode"]) for r in runs] == [
        (scenario, mode) for scenario in scenarios for mode in ("performance", "accuracy")
    ]
    assert all(r["accuracy"]["passed"] for r in runs if r["mode"] == "accuracy")


@pytest.mark.slow
def test_the_example_passes_the_conformance_kit_from_its_wheel(installation: Installation) -> None:
    done = installation.run("mlpinf", "check", "digits", "--json")
    rules = json.loads(done.stdout)["rules"]
    assert [(r["rule"], r["detail"]) for r in rules if r["state"] != "passed"] == []
    assert done.returncode == 0


@pytest.mark.slow
def test_the_tests_that_the_example_brings_pass(
    plugin_path: PluginPath, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLPERF_SCRATCH_PATH", str(tmp_path / "scratch"))
    plugin_path.project(EXAMPLE)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(EXAMPLE)]
    done = subprocess.run(command, cwd=EXAMPLE, capture_output=True, text=True, check=False)
    assert "14 passed" in _checked(done)


@pytest.mark.slow
def test_the_script_runs_a_benchmark_and_prints_what_came_of_it(tmp_path: Path) -> None:
    script = ROOT / "examples" / "run_from_python.py"
    done = subprocess.run(
        [sys.executable, script], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    printed = _checked(done)
    assert "null full Offline (v5.1) performance: VALID" in printed
    assert "exact = 100, passed" in printed
    assert (tmp_path / "mlpinf-runs").is_dir()


def test_the_script_says_what_is_wrong_with_a_name_it_is_given(tmp_path: Path) -> None:
    script = ROOT / "examples" / "run_from_python.py"
    done = subprocess.run(
        [sys.executable, script, "nul"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "did you mean 'null'?" in done.stderr
    assert "Traceback" not in done.stderr
