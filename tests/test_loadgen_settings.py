"""LoadGen's settings: what is configured is what LoadGen has, with the seeds of the round.

LoadGen counts its configurations in the process, so each test has a process of its own.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from mlpinf_core.rules import ROUNDS, load_round
from mlpinf_core.vocabulary import Scenario

if TYPE_CHECKING:
    from pathlib import Path

PROGRAM = """
import json, pathlib, sys
from mlpinf_core.artifacts import ArtifactStore
from mlpinf_core.benchmark import Benchmark, VariantSpec
from mlpinf_core.config.schema import Config, LoadGenSettings
from mlpinf_core.context import Run
from mlpinf_core.errors import MlpinfError
from mlpinf_core.loadgen.settings import prepare
from mlpinf_core.rules import load_round
from mlpinf_core.rules.model import BenchmarkRules
from mlpinf_core.scratch import Scratch
from mlpinf_core.vocabulary import *

asked = json.loads(sys.argv[1])
round_ = load_round(asked["round"])
rules = BenchmarkRules(loadgen_name="nobody-knows-it", dataset_size=9, performance_sample_count=9)
if asked["benchmark"]:
    rules = round_.benchmark(asked["benchmark"])
directory = pathlib.Path(asked["directory"])
scratch = Scratch(directory)
name = asked["benchmark"] or "unknown"
run = Run(
    workload=Workload(round_.name, name, Scenario(asked["scenario"]), Variant.FULL, "99"),
    mode=Mode(asked["mode"]),
    config=Config(loadgen=LoadGenSettings(**asked["loadgen"])),
    rules=rules,
    benchmark=Benchmark(name, "", {Variant.FULL: VariantSpec("", "none")}),
    scratch=scratch,
    store=ArtifactStore(scratch),
    directory=directory,
)
if asked["earlier"]:
    import mlperf_loadgen as lg
    for _ in range(asked["earlier"]):
        lg.TestSettings().FromConfig("", "x", "Offline", 0)
try:
    made = prepare(run, asked["samples"])
except MlpinfError as error:
    print(json.dumps({"error": str(error), "exit_code": error.exit_code}))
else:
    settings = made.test_settings
    found = {}
    for name in dir(settings):
        value = getattr(settings, name)
        if isinstance(value, (bool, int, float)):
            found[name] = value
    found["scenario"], found["mode"] = str(settings.scenario), str(settings.mode)
    found = {"settings": found, "user_conf": made.user_conf, "model": made.model}
    found |= {"embedded": made.embedded_round, "enforced": made.seeds_enforced}
    print(json.dumps(found | {"version": made.loadgen_version}))
"""


def prepare(
    directory: Path,
    scenario: Scenario,
    benchmark: str = "",
    *,
    round_name: str = "v5.1",
    mode: str = "performance",
    samples: int = 1000,
    earlier: int = 0,
    loadgen_from: Path | None = None,
    **loadgen: Any,
) -> dict[str, Any]:
    """What LoadGen was told, in a fresh process."""
    asked = {
        "round": round_name, "benchmark": benchmark, "scenario": scenario.value, "mode": mode,
        "samples": samples, "loadgen": loadgen, "directory": str(directory), "earlier": earlier,
    }  # fmt: skip
    environment = dict(os.environ)
    if loadgen_from is not None:
        parts = [str(loadgen_from), environment.get("PYTHONPATH", "")]
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, parts))
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps(asked)],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        env=environment,
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def seeds_of(settings: dict[str, Any]) -> dict[str, int]:
    names = ("qsl_rng_seed", "sample_index_rng_seed", "schedule_rng_seed")
    return {name: settings[name] for name in names}


def seeds_in(round_name: str) -> dict[str, int]:
    seeds = load_round(round_name).seeds
    return seeds_of({name: getattr(seeds, name) for name in dir(seeds) if name.endswith("seed")})


def test_what_is_configured_is_written_and_taken(tmp_path: Path) -> None:
    made = prepare(
        tmp_path,
        Scenario.SERVER,
        min_duration=2.5,
        max_duration=4,
        min_query_count=5,
        max_query_count=50,
        target_qps=12.25,
        target_latency_ms=30,
        target_latency_percentile=97,
        performance_sample_count=64,
        coalesce_queries=True,
    )
    settings = made["settings"]
    assert settings["min_duration_ms"] == 2500
    assert settings["max_duration_ms"] == 4000
    assert (settings["min_query_count"], settings["max_query_count"]) == (5, 50)
    assert settings["server_target_qps"] == 12.25
    assert settings["server_target_latency_ns"] == 30_000_000
    assert settings["server_target_latency_percentile"] == pytest.approx(0.97)
    assert settings["performance_sample_count_override"] == 64
    assert settings["server_coalesce_queries"] is True
    assert settings["scenario"] == "TestScenario.Server"
    assert settings["mode"] == "TestMode.PerformanceOnly"
    assert made["user_conf"] == (tmp_path / "user.conf").read_text(encoding="utf-8")
    assert "nobody-knows-it.Server.target_qps = 12.25\n" in made["user_conf"]


def test_only_what_differs_from_loadgens_own_configuration_is_written(tmp_path: Path) -> None:
    made = prepare(tmp_path, Scenario.OFFLINE, "llama2-70b", samples=24576, token_latencies=True)
    assert made["settings"]["use_token_latencies"] is True
    assert "use_token_latencies" not in made["user_conf"]


@pytest.mark.parametrize("on", [True, False])
def test_a_switch_can_be_turned_off_as_well_as_on(on: bool, tmp_path: Path) -> None:
    made = prepare(tmp_path, Scenario.OFFLINE, "llama2-70b", token_latencies=on, equal_issue=on)
    assert made["settings"]["use_token_latencies"] is on
    if "sample_concatenate_permutation" in made["settings"]:
        assert made["settings"]["sample_concatenate_permutation"] is on
    else:  # 5.1.2 reads it from user.conf and does not show it
        assert f"sample_concatenate_permutation = {int(on)}\n" in made["user_conf"]


@pytest.mark.parametrize(
    ("scenario", "names"),
    [
        (Scenario.SINGLE_STREAM, ["single_stream_expected_latency_ns"]),
        (Scenario.MULTI_STREAM, ["multi_stream_expected_latency_ns"]),
    ],
)
def test_the_expected_latency_of_a_stream_may_be_a_fraction_of_a_millisecond(
    scenario: Scenario, names: list[str], tmp_path: Path
) -> None:
    settings = prepare(tmp_path, scenario, target_latency_ms=0.125)["settings"]
    assert [settings[name] for name in names] == [125_000]


@pytest.mark.parametrize(
    ("setting", "value", "nearest"),
    [("target_latency_ms", 1.5, "2"), ("ttft_ms", 450.4, "450"), ("min_duration", 0.0015, "0.002")],
)
def test_a_fraction_of_a_millisecond_that_loadgen_cannot_take_is_refused(
    setting: str, value: float, nearest: str, tmp_path: Path
) -> None:
    wanted: dict[str, Any] = {setting: value}
    made = prepare(tmp_path, Scenario.SERVER, **wanted)
    assert made["exit_code"] == 2
    assert f"loadgen.{setting} is {value}" in made["error"]
    assert f"set it to {nearest}" in made["error"]


def test_the_performance_set_is_at_most_the_data_set(tmp_path: Path) -> None:
    made = prepare(tmp_path, Scenario.OFFLINE, samples=10, performance_sample_count=64)
    assert made["settings"]["performance_sample_count_override"] == 10


def test_a_benchmark_that_loadgen_does_not_know_gets_the_general_configuration(
    tmp_path: Path,
) -> None:
    made = prepare(tmp_path, Scenario.OFFLINE)
    assert made["model"] == "nobody-knows-it"
    assert made["settings"]["min_duration_ms"] == 600_000
    assert made["settings"]["use_token_latencies"] is False
    assert made["settings"]["qsl_rng_seed"] != 0


def test_interactive_is_a_model_of_its_own_in_loadgens_server(tmp_path: Path) -> None:
    made = prepare(tmp_path, Scenario.INTERACTIVE, "llama2-70b", ttft_ms=450, tpot_ms=40)
    assert made["model"] == "llama2-70b-interactive"
    assert made["settings"]["scenario"] == "TestScenario.Server"
    assert made["settings"]["ttft_latency"] == 450_000_000
    assert made["settings"]["tpot_latency"] == 40_000_000


def test_an_accuracy_run_is_one(tmp_path: Path) -> None:
    made = prepare(tmp_path, Scenario.OFFLINE, mode="accuracy")
    assert made["settings"]["mode"] == "TestMode.AccuracyOnly"


@pytest.mark.parametrize("round_name", ROUNDS)
def test_the_seeds_are_the_rounds_whatever_the_wheel_embeds(
    round_name: str, tmp_path: Path
) -> None:
    made = prepare(tmp_path, Scenario.OFFLINE, "llama2-70b", round_name=round_name)
    assert seeds_of(made["settings"]) == seeds_in(round_name)
    assert made["embedded"] in ROUNDS
    assert made["enforced"] == (made["embedded"] != round_name)
    assert made["version"] == importlib.metadata.version("mlcommons-loadgen")


def test_loadgens_count_of_configurations_does_not_bite(tmp_path: Path) -> None:
    once = prepare(tmp_path, Scenario.OFFLINE, "llama2-70b")
    later = prepare(tmp_path, Scenario.OFFLINE, "llama2-70b", earlier=3)
    assert later == once
    assert later["settings"]["use_token_latencies"] is True


@pytest.fixture(scope="session")
def oldest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The oldest LoadGen that is supported, in a directory of its own."""
    place = tmp_path_factory.mktemp("loadgen")
    done = subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
         "--no-deps", "--only-binary=:all:", "--target", str(place), "mlcommons-loadgen==5.1.2"],
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    if done.returncode:
        pytest.skip(f"LoadGen 5.1.2 is not to be had here: {done.stderr.splitlines()[-1]}")
    return place


@pytest.mark.slow
@pytest.mark.parametrize("scenario", list(Scenario))
def test_the_oldest_loadgen_takes_the_same_settings(
    scenario: Scenario, oldest: Path, tmp_path: Path
) -> None:
    made = prepare(
        tmp_path,
        scenario,
        "llama2-70b",
        loadgen_from=oldest,
        round_name="v6.0",
        min_duration=3,
        min_query_count=70,
        token_latencies=False,
    )
    assert made["version"] == "5.1.2"
    assert (made["embedded"], made["enforced"]) == ("v5.1", True)
    assert seeds_of(made["settings"]) == seeds_in("v6.0")
    assert made["settings"]["min_duration_ms"] == 3000
    assert made["settings"]["min_query_count"] == 70
    assert made["settings"]["use_token_latencies"] is False
