"""What the language plugin declares."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from click.testing import CliRunner

from mlpinf_core import preflight
from mlpinf_core.cli import cli
from mlpinf_core.errors import ConfigurationError
from mlpinf_core.plan import Request, make_plan
from mlpinf_core.plugins import Plugins
from mlpinf_core.preflight import CheckState
from mlpinf_core.rules import ROUNDS, load_round
from mlpinf_core.scratch import Scratch
from mlpinf_core.vocabulary import Mode, Scenario, Variant
from mlpinf_llm import plugin, tiny
from mlpinf_llm.benchmarks import CTranslate2Settings, LlmSettings, all_benchmarks, data_name
from mlpinf_llm.official import OFFICIAL

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from mlpinf_core.context import Run

NAMES = ("llama2-70b", "llama3.1-8b", "llama3.1-8b-edge", "llama3.1-405b", "deepseek-r1")
ALL = tuple(Scenario)


@pytest.fixture
def plugins() -> Plugins:
    return Plugins([("llm", plugin)])


def request(name: str, **more: object) -> Request:
    return Request((name,), ALL, variant=Variant.TINY, **more)  # type: ignore[arg-type]


def test_the_five_language_benchmarks_are_offered(plugins: Plugins) -> None:
    assert [b.name for b in plugins.benchmarks()] == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_every_benchmark_is_known_to_a_round(name: str) -> None:
    assert any(name in load_round(round_).benchmarks for round_ in ROUNDS)


@pytest.mark.parametrize("name", NAMES)
def test_a_full_variant_says_how_to_get_its_data_before_it_runs(
    name: str, plugins: Plugins, tmp_path: Path
) -> None:
    plan = make_plan(Request((name,)), plugins)
    data = OFFICIAL[name].data.source.name
    checks = preflight.check(plan, plugins, Scratch(tmp_path))
    (missing,) = (check for check in checks if data in f"{check.name} {check.detail}")
    assert missing.state is CheckState.FAILED
    assert "mlc-r2-downloader" in (missing.remedy or "")


@pytest.mark.parametrize("name", NAMES)
def test_the_engine_of_the_tiny_model_runs_no_full_variant(
    name: str, new_run: Callable[..., Run], tmp_path: Path
) -> None:
    from mlpinf_llm import ct2

    run = new_run(name)
    with pytest.raises(ConfigurationError, match="tiny variants' model only"):
        ct2.make(run, None)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", NAMES)
def test_every_tiny_variant_can_be_planned_in_all_five_scenarios(
    name: str, plugins: Plugins
) -> None:
    plan = make_plan(request(name), plugins)
    assert [run.workload.scenario for run in plan.runs] == list(ALL)
    assert not plan.left_out


@pytest.mark.parametrize("name", NAMES)
def test_a_tiny_variant_caps_its_outputs_and_keeps_all_its_prompts_loaded(
    name: str, plugins: Plugins
) -> None:
    run = make_plan(request(name), plugins).runs[0]
    config = run.config(plugins, Mode.PERFORMANCE)
    data = tiny.BENCHMARKS[data_name(name)]
    assert config.benchmark.max_output_tokens == data.cap
    assert config.loadgen.performance_sample_count == len(data.samples())


@pytest.mark.parametrize("name", NAMES)
def test_a_tiny_variant_is_judged_by_every_metric_of_the_full_one(name: str) -> None:
    benchmark = next(b for b in all_benchmarks() if b.name == name)
    limits = benchmark.variants[Variant.TINY].accuracy
    assert limits is not None
    full = load_round("v5.1").benchmark(name).accuracy
    assert set(limits["99"]) == set(next(iter(full.values())))


@pytest.mark.parametrize("scenario", [Scenario.SERVER, Scenario.INTERACTIVE])
def test_a_p99_scenario_asks_for_the_queries_that_early_stopping_needs(
    scenario: Scenario, plugins: Plugins
) -> None:
    plan = make_plan(attrs.evolve(request("llama3.1-8b"), scenarios=(scenario,)), plugins)
    config = plan.runs[0].config(plugins, Mode.PERFORMANCE)
    assert config.loadgen.min_query_count is not None
    assert config.loadgen.min_query_count >= 662


def test_interactive_limits_are_tighter_than_the_servers(plugins: Plugins) -> None:
    plan = make_plan(request("llama2-70b"), plugins)
    by_scenario = {r.workload.scenario: r.config(plugins, Mode.PERFORMANCE) for r in plan.runs}
    server = by_scenario[Scenario.SERVER].loadgen
    interactive = by_scenario[Scenario.INTERACTIVE].loadgen
    assert interactive.ttft_ms is not None
    assert server.ttft_ms is not None
    assert interactive.ttft_ms < server.ttft_ms


def test_a_single_output_token_is_refused_because_loadgen_cannot_count_it() -> None:
    with pytest.raises(ValueError, match="max_output_tokens"):
        LlmSettings(max_output_tokens=1)


def test_an_unknown_quantization_is_refused_with_the_known_ones(plugins: Plugins) -> None:
    from mlpinf_core.config.overrides import parse_assignment

    asked = attrs.evolve(
        request("llama3.1-8b"), layers=(parse_assignment("backend.quantization=int3"),)
    )
    with pytest.raises(ConfigurationError, match=r"backend\.quantization") as caught:
        make_plan(asked, plugins)
    assert "int8" in str(caught.value)


def test_the_default_engine_is_int8_on_the_cpu() -> None:
    assert (CTranslate2Settings().device, CTranslate2Settings().quantization) == ("cpu", "int8")


@pytest.mark.parametrize("name", NAMES)
def test_a_full_variant_has_the_rounds_sample_count_and_the_rules_cap(name: str) -> None:
    official = OFFICIAL[name]
    rules = load_round("v5.1").benchmark(name)
    assert official.data.layout.rows == rules.dataset_size
    benchmark = next(b for b in all_benchmarks() if b.name == name)
    full = benchmark.variants[Variant.FULL]
    cap = {"llama2-70b": 1024, "llama3.1-8b": 128, "llama3.1-8b-edge": 128}
    cap |= {"llama3.1-405b": 2000, "deepseek-r1": 20_000}
    assert full.defaults["benchmark"]["max_output_tokens"] == cap[name]
    assert official.generation.max_tokens == cap[name]
    assert full.accuracy is None  # the round's


@pytest.mark.parametrize("name", NAMES)
def test_the_declarations_of_the_full_variants_are_sound(name: str) -> None:
    from mlpinf_core.testing.declarations import _source

    official = OFFICIAL[name]
    sources = (
        official.data.source, official.calibration.source, official.checkpoint, official.tokenizer,
    )  # fmt: skip
    assert [p for s in sources for p in _source(s, {"benchmark": LlmSettings})] == []


def test_the_calibration_sets_are_of_the_rules_sizes() -> None:
    rows = {name: official.calibration.layout.rows for name, official in OFFICIAL.items()}
    assert rows == {
        "llama2-70b": 1000, "llama3.1-8b": 1000, "llama3.1-8b-edge": 1000, "llama3.1-405b": 512,
        "deepseek-r1": 500,
    }  # fmt: skip


def test_the_model_repositories_that_ask_for_a_licence_say_where_to_accept_it() -> None:
    for name, official in OFFICIAL.items():
        gated = official.tokenizer.gated
        if name == "deepseek-r1":
            assert gated is None
        else:
            assert gated is not None
            assert f"https://huggingface.co/{official.checkpoint.repository}" in gated
            assert "HF_TOKEN" in gated


def asked_for_workers(backend: str) -> Any:
    return CliRunner().invoke(
        cli,
        ["config", "llama3.1-8b", "--variant", "tiny", "--scenarios", "Offline", "--json",
         "--backend", backend, "--client-workers", "3"],
        standalone_mode=False,
    )  # fmt: skip


def test_client_workers_are_those_of_the_backend_that_speaks_to_servers() -> None:
    said = asked_for_workers("openai")
    assert said.exception is None, said.output
    settings = json.loads(said.stdout)["workloads"][0]["settings"]
    (workers,) = [row for row in settings if row["key"] == "backend.client_workers"]
    assert (workers["value"], workers["origin"]) == (3, "--client-workers")


def test_client_workers_of_a_backend_in_process_are_refused_by_name() -> None:
    with pytest.raises(ConfigurationError, match="client_workers") as caught:
        raise asked_for_workers("ctranslate2").exception
    assert caught.value.where == "--client-workers"
