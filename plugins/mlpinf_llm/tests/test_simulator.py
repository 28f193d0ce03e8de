"""The timing model agrees with its closed form, and keeps the rules of a backend."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlpinf_core import api
from mlpinf_core.vocabulary import Scenario
from mlpinf_llm.simulator.estimate import p99
from mlpinf_llm.simulator.model import Arrival, Cluster, capacity, output_lengths
from mlpinf_llm.simulator.settings import SimulatorSettings

if TYPE_CHECKING:
    from pathlib import Path

    from mlpinf_core.results import RunResult


def saturated(model: SimulatorSettings, prompt: int, outputs: Any, cap: int) -> float:
    """Requests a second of a cluster that never lacks work, from its middle half."""
    cluster = Cluster(model, cap)
    for number, output in enumerate(outputs):
        cluster.submit(Arrival(number, prompt, int(output)), 0.0)
    ends: list[float] = []
    while cluster.load:
        step = cluster.end_step()
        ends += [step.ends] * len(step.finished)
    quarter = len(ends) // 4
    return 2 * quarter / (ends[3 * quarter] - ends[quarter])


@settings(max_examples=20)
@given(
    batch=st.integers(8, 64),
    step_ms=st.floats(5, 40),
    sequence_ms=st.floats(0, 0.5),
    prompt=st.integers(16, 512),
    output=st.integers(20, 60),
    instances=st.integers(1, 3),
)
def test_throughput_at_saturation_is_that_of_the_closed_form_to_two_percent(
    batch: int,
    step_ms: float,
    sequence_ms: float,
    prompt: int,
    output: int,
    instances: int,
) -> None:
    model = SimulatorSettings(
        instances=instances,
        max_batch_size=batch,
        step_ms=step_ms,
        sequence_ms=sequence_ms,
        output_tokens=output,
        max_step_tokens=1 << 20,
    )
    outputs = output_lengths(model, 300 * batch * instances, 1, 4 * output)
    found = saturated(model, prompt, outputs, 4 * output)
    wanted = capacity(model, prompt, float(outputs.mean()), 4 * output).requests
    assert found == pytest.approx(wanted, rel=0.02)


@settings(max_examples=10)
@given(prompt=st.integers(16, 512), joining=st.integers(1, 3), part=st.floats(0, 0.9))
def test_prompts_that_join_one_after_the_other_limit_the_batch(
    prompt: int, joining: int, part: float
) -> None:
    tokens = int((joining + part) * prompt)  # part of a prompt is not taken in
    model = SimulatorSettings(
        max_batch_size=1000, max_step_tokens=tokens, output_tokens=40, sequence_ms=0.2
    )
    outputs = output_lengths(model, 12_000, 1, 160)
    wanted = capacity(model, prompt, float(outputs.mean()), 160)
    assert wanted.batch == pytest.approx(40 * joining, rel=0.03)
    assert saturated(model, prompt, outputs, 160) == pytest.approx(wanted.requests, rel=0.02)


def test_the_kv_cache_limits_the_batch() -> None:
    model = SimulatorSettings(max_batch_size=64, kv_tokens=16 * 300, output_tokens=50, jitter=0)
    outputs = output_lengths(model, 8000, 1, 200)
    wanted = capacity(model, 100, float(outputs.mean()), 200)
    assert wanted.batch == 16
    assert saturated(model, 100, outputs, 200) == pytest.approx(wanted.requests, rel=0.02)


def test_a_request_alone_has_the_times_that_the_rates_say() -> None:
    model = SimulatorSettings(prefill_rate=1000, step_ms=9, sequence_ms=1, jitter=0)
    cluster = Cluster(model, 10)
    cluster.submit(Arrival(7, 100, 3), now=5.0)
    steps = [cluster.end_step() for _ in range(3)]
    assert [step.ends for step in steps] == pytest.approx([5.11, 5.12, 5.13])
    assert [list(step.first) for step in steps] == [[7], [], []]
    assert [list(step.finished) for step in steps] == [[], [], [7]]
    assert cluster.next is None


def test_lengths_are_the_same_in_every_run_and_within_their_bounds() -> None:
    model = SimulatorSettings(output_tokens=100, output_spread=1.0)
    lengths = output_lengths(model, 1000, 2, 300)
    assert np.array_equal(lengths, output_lengths(model, 1000, 2, 300))
    assert lengths.min() >= 2
    assert lengths.max() == 300


def test_latencies_rise_with_the_rate() -> None:
    model = SimulatorSettings(prompt_tokens=100, output_tokens=20, max_batch_size=16)
    outputs = output_lengths(model, 2000, 1, 40)
    able = capacity(model, 100, float(outputs.mean()), 40).requests
    calm, busy = p99(model, 0.3 * able, outputs, 40), p99(model, 1.2 * able, outputs, 40)
    assert calm[0] < busy[0]
    assert calm[1] < busy[1]


# -- under LoadGen ---------------------------------------------------------------------------------


def run(output: Path, scenario: str, mode: str = "performance", **more: Any) -> RunResult:
    loadgen = {"min_duration": 0, "target_qps": 200, "min_query_count": 700, "ttft_ms": 1000,
               "tpot_ms": 500} | more.pop("loadgen", {})  # fmt: skip
    results = api.run(
        "llama3.1-8b",
        scenarios=scenario,
        modes=mode,
        variant="tiny",
        settings={
            "loadgen": loadgen,
            "run": {"backend": "simulator", **more.pop("run", {})},
            "backend": {"step_ms": 2.0, "max_batch_size": 32, "output_tokens": 6.0, **more},
        },
        output=output,
    )
    return results.runs[0]


@pytest.mark.slow
@pytest.mark.parametrize("scenario", [str(each) for each in Scenario])
def test_every_scenario_is_valid(scenario: str, tmp_path: Path) -> None:
    result = run(tmp_path, scenario)
    assert result.verdict.valid, result.verdict.causes
    assert any("come from a model" in note for note in result.verdict.notes)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "cause", "words"),
    [
        ({"fail_every": 100}, "query-raised", "(7 samples)"),
        ({"crash_after": 300}, "query-raised", "the engine died after 300 requests"),
        ({"lose_every": 350}, "hang", "none completed for 5 s"),
    ],
)
def test_faults_on_demand_are_told_by_the_verdict(
    fault: dict[str, int], cause: str, words: str, tmp_path: Path
) -> None:
    result = run(tmp_path, "Offline", run={"stop_on_error": False, "hang_timeout": 5}, **fault)
    assert words in {found.code: found.message for found in result.verdict.causes}[cause]


def test_a_plan_tells_durations_and_a_rate_where_the_rates_are_given(tmp_path: Path) -> None:
    import json

    from click.testing import CliRunner

    from mlpinf_core.cli import cli

    said = CliRunner().invoke(
        cli,
        ["plan", "llama3.1-8b", "--variant", "tiny", "--scenarios", "Offline,Server", "--mode",
         "performance", "--json", "--set", "run.backend=simulator", "--set",
         "backend.prompt_tokens=100", "--set", "backend.output_tokens=6"],
    )  # fmt: skip
    offline, server = json.loads(said.stdout)["runs"]
    model = SimulatorSettings(prompt_tokens=100.0, output_tokens=6.0)
    outputs = output_lengths(model, 3000, 2, 8)
    able = capacity(model, 100, float(outputs.mean()), 8).requests
    assert offline["estimated_samples_per_second"] == pytest.approx(able)
    assert 0 < server["estimated_target_qps"] <= able
    assert attrs.evolve(model).instances == 1
