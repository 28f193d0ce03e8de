"""What the graph plugin declares."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from mlpinf_core.config.overrides import parse_assignment
from mlpinf_core.errors import ConfigurationError
from mlpinf_core.plan import Request, make_plan
from mlpinf_core.plugins import Plugins
from mlpinf_core.rules import ROUNDS, load_round
from mlpinf_core.vocabulary import Mode, Scenario, Variant
from mlpinf_rgat import benchmarks, plugin, tiny
from mlpinf_rgat.benchmarks import RgatSettings, all_benchmarks

TINY = Request(("rgat",), tuple(Scenario), variant=Variant.TINY)


@pytest.fixture
def plugins() -> Plugins:
    return Plugins([("rgat", plugin)])


def test_every_round_knows_the_benchmark() -> None:
    assert all("rgat" in load_round(round_).benchmarks for round_ in ROUNDS)


def test_the_full_data_set_is_the_rounds() -> None:
    from mlpinf_rgat import split

    assert load_round("v5.1").benchmark("rgat").dataset_size == split.FULL.validation_count


def test_every_scenario_of_the_tiny_variant_can_be_planned(plugins: Plugins) -> None:
    plan = make_plan(TINY, plugins)
    assert [run.workload.scenario for run in plan.runs] == list(Scenario)


def test_what_is_declared_of_the_tiny_variant_is_what_its_graph_has(plugins: Plugins) -> None:
    run = make_plan(TINY, plugins).runs[0]
    config = run.config(plugins, Mode.PERFORMANCE)
    assert config.benchmark.paper_nodes == tiny.GRAPH.papers
    assert config.benchmark.classes == tiny.GRAPH.classes >= 300
    assert config.benchmark.validation_share == tiny.VALIDATION_SHARE
    assert config.benchmark.fanouts == tiny.FANOUTS
    assert config.benchmark.sampling_seed == tiny.SAMPLING_SEED
    assert config.loadgen.performance_sample_count == benchmarks.TINY_SAMPLES
    assert tiny.GRAPH.papers * tiny.VALIDATION_SHARE == benchmarks.TINY_SAMPLES


def test_the_tiny_variant_is_judged_by_the_rounds_metric_and_below_what_noise_allows() -> None:
    (benchmark,) = all_benchmarks()
    limits = benchmark.variants[Variant.TINY].accuracy
    assert limits is not None
    assert set(limits["99"]) == set(load_round("v5.1").benchmark("rgat").accuracy["99"])
    lower = limits["99"]["acc"].lower
    assert lower is not None
    assert 0.85 * tiny.GRAPH.best_accuracy < lower < tiny.GRAPH.best_accuracy


def test_responses_are_int64() -> None:
    assert all_benchmarks()[0].response_dtype == "int64"


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("benchmark.features=float64", "float8_e4m3"),
        ("benchmark.paper_nodes=99", "paper_nodes"),
        ("benchmark.validation_share=0.5", "validation_share"),
        ("benchmark.fanouts=5,10", "fanouts"),
        ("benchmark.fanouts=5,10,0", "fanouts"),
        ("benchmark.classes=1", "classes"),
        ("backend.precision=int8", "bfloat16"),
        ("backend.devices=0", "devices"),
    ],
)
def test_a_setting_that_cannot_be_is_refused(
    assignment: str, message: str, plugins: Plugins
) -> None:
    asked = attrs.evolve(TINY, layers=(parse_assignment(assignment),))
    with pytest.raises(ConfigurationError, match=message):
        make_plan(asked, plugins)


def test_fan_outs_can_be_set_from_the_command_line(plugins: Plugins) -> None:
    asked = attrs.evolve(TINY, layers=(parse_assignment("benchmark.fanouts=[5, 10, 15]"),))
    config = make_plan(asked, plugins).runs[0].config(plugins, Mode.PERFORMANCE)
    assert config.benchmark.fanouts == (5, 10, 15)


def test_the_rules_values_are_the_defaults() -> None:
    settings: Any = RgatSettings()
    assert (settings.fanouts, settings.validation_share, settings.classes) == (
        (15, 10, 5), 0.005, 2983,
    )  # fmt: skip
