"""A run's figures are those that LoadGen logged, under the names that the round gives them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from mlpinf_core.errors import LogError
from mlpinf_core.logs.detail import DetailLog
from mlpinf_core.logs.result import Performance
from mlpinf_core.rules.model import BenchmarkRules
from mlpinf_core.vocabulary import Scenario

DATA = Path(__file__).parent / "data" / "logs"
PLAIN = BenchmarkRules("x", 16, 16)


def real(folder: Path, **spec: object) -> DetailLog:
    command = [sys.executable, str(DATA / "make_log.py"), json.dumps({"out": str(folder), **spec})]
    subprocess.run(command, check=True, timeout=120)
    return DetailLog.read(folder / "mlperf_log_detail.txt")


@pytest.mark.parametrize("tokens", [False, True])
@pytest.mark.parametrize(
    ("scenario", "key", "unit"),
    [
        (Scenario.OFFLINE, "result_samples_per_second", "Samples/s"),
        (Scenario.SERVER, "result_completed_samples_per_sec", "Queries/s"),
        (Scenario.INTERACTIVE, "result_completed_samples_per_sec", "Queries/s"),
        (Scenario.SINGLE_STREAM, "early_stopping_latency_ss", "ms"),
        (Scenario.MULTI_STREAM, "early_stopping_latency_ms", "ms"),
    ],
)
def test_every_scenario_has_its_own_headline(
    tmp_path: Path, scenario: Scenario, key: str, unit: str, tokens: bool
) -> None:
    queries = {Scenario.SINGLE_STREAM: 70, Scenario.MULTI_STREAM: 670}.get(scenario, 20)
    spec = {"scenario": scenario.loadgen_name, "tokens": tokens, "min_queries": queries}
    # What was expected decides how many queries LoadGen draws.
    detail = real(
        tmp_path, target_qps=500, expected_ms=1.0, service_ms=0.5, samples_per_query=2, **spec
    )
    found = Performance.from_log(detail, scenario, PLAIN)
    if scenario is Scenario.SINGLE_STREAM and tokens:
        # LoadGen's own estimate is of the first token then.
        key = "result_90.00_percentile_latency_ns"
    assert (found.key, found.unit) == (key, unit)
    assert found.value == pytest.approx(detail.number(key) * (1e-6 if unit == "ms" else 1))
    assert found.queries == (1 if scenario is Scenario.OFFLINE else queries)
    per_query = {Scenario.OFFLINE: 20, Scenario.MULTI_STREAM: 2}.get(scenario, 1)
    assert found.samples == found.queries * per_query
    assert 0 < found.latency.minimum <= found.latency.at(50) <= found.latency.at(99.9)
    assert found.latency.at(99.9) <= found.latency.maximum
    assert found.duration > 0
    assert (found.scheduled_rate is not None) == scenario.is_poisson
    assert (found.tokens_per_second is not None) == tokens
    assert (found.ttft is not None) == (tokens and scenario is not Scenario.OFFLINE)
    assert (found.tpot is not None) == (tokens and scenario is not Scenario.OFFLINE)
    assert Performance.from_dict(json.loads(json.dumps(found.to_dict()))) == found


@pytest.mark.parametrize("version", ["5.1.2", "6.0.17"])
def test_the_round_says_which_field_is_the_result(version: str) -> None:
    detail = DetailLog.read(DATA / version / "server-tokens" / "mlperf_log_detail.txt")
    rules = BenchmarkRules(
        "x", 8, 8,
        result_fields={Scenario.SERVER: "result_completed_tokens_per_second"},
        units={Scenario.SERVER: "Tokens/s"},
    )  # fmt: skip
    for scenario in (Scenario.SERVER, Scenario.INTERACTIVE):
        found = Performance.from_log(detail, scenario, rules)
        assert found.key == "result_completed_tokens_per_second"
        assert found.unit == "Tokens/s"
        assert found.value == found.tokens_per_second


def test_the_scenarios_own_field_stands_in_for_one_that_was_not_logged() -> None:
    detail = DetailLog.read(DATA / "6.0.17" / "offline" / "mlperf_log_detail.txt")
    rules = BenchmarkRules(
        "x", 8, 8,
        result_fields={Scenario.OFFLINE: "result_tokens_per_second"},
        units={Scenario.OFFLINE: "Tokens/s"},
    )  # fmt: skip
    found = Performance.from_log(detail, Scenario.OFFLINE, rules)
    assert (found.key, found.unit) == ("result_samples_per_second", "Samples/s")


def test_a_percentile_stands_in_where_queries_are_too_few_for_an_estimate(tmp_path: Path) -> None:
    detail = real(tmp_path, scenario="SingleStream", min_queries=5)
    found = Performance.from_log(detail, Scenario.SINGLE_STREAM, PLAIN)
    assert found.key == "result_90.00_percentile_latency_ns"
    assert found.value > 0


def test_the_log_of_another_scenario_is_refused() -> None:
    detail = DetailLog.read(DATA / "6.0.17" / "offline" / "mlperf_log_detail.txt")
    with pytest.raises(LogError, match="of a Offline run, not of Server"):
        Performance.from_log(detail, Scenario.SERVER, PLAIN)


def test_the_log_of_an_accuracy_run_has_no_performance() -> None:
    detail = DetailLog.read(DATA / "6.0.17" / "server-tokens-accuracy" / "mlperf_log_detail.txt")
    with pytest.raises(LogError, match="result_"):
        Performance.from_log(detail, Scenario.SERVER, PLAIN)
