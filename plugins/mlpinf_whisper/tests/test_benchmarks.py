"""What the speech plugin declares."""

from __future__ import annotations

import pytest

from mlpinf_core.errors import ConfigurationError, MlpinfError
from mlpinf_core.plan import Request, make_plan
from mlpinf_core.plugins import Plugins
from mlpinf_core.rules import ROUNDS, load_round
from mlpinf_core.vocabulary import Scenario, Variant
from mlpinf_whisper import benchmarks, plugin
from mlpinf_whisper.benchmarks import benchmark

ALL = (Scenario.OFFLINE, Scenario.SERVER, Scenario.SINGLE_STREAM, Scenario.MULTI_STREAM)


@pytest.fixture
def plugins() -> Plugins:
    return Plugins([("whisper", plugin)])


@pytest.mark.parametrize("round_", ROUNDS)
def test_the_benchmark_is_known_to_every_round(round_: str) -> None:
    rules = load_round(round_).benchmarks["whisper"]
    assert rules.dataset_size == 1633
    assert rules.accuracy["99"]["ACCURACY"].lower == 96.953571


@pytest.mark.parametrize("variant", [Variant.TINY, Variant.FULL])
def test_it_runs_in_the_rules_scenario_and_in_three_more(
    variant: Variant, plugins: Plugins
) -> None:
    plan = make_plan(Request(("whisper",), ALL, variant=variant), plugins)
    assert [run.workload.scenario for run in plan.runs] == list(ALL)


def test_tokens_are_counted_where_the_rules_count_them(plugins: Plugins) -> None:
    plan = make_plan(Request(("whisper",), ALL, variant=Variant.FULL), plugins)
    counted = {
        run.workload.scenario: run.config(plugins, run.modes[0]).loadgen.token_latencies
        for run in plan.runs
    }
    assert counted.pop(Scenario.OFFLINE) is not False
    assert set(counted.values()) == {False}


def test_a_full_run_needs_the_two_archives_and_the_models_folder() -> None:
    spec = benchmark().variant(Variant.FULL)
    assert spec.sources == (benchmarks.DEV_CLEAN, benchmarks.DEV_OTHER, benchmarks.LARGE_V3)
    assert spec.unavailable is None
    assert spec.accuracy is None  # the round's


@pytest.mark.parametrize("cap", [1, 221])
def test_an_output_cap_that_the_decoder_cannot_keep_is_refused(cap: int, plugins: Plugins) -> None:
    from mlpinf_core.config.layers import Layer

    layer = Layer("here", {"benchmark": {"max_output_tokens": cap}})
    with pytest.raises(ConfigurationError, match="max_output_tokens"):
        make_plan(Request(("whisper",), ALL, variant=Variant.TINY, layers=(layer,)), plugins)


def test_an_unknown_backend_is_refused_by_name(plugins: Plugins) -> None:
    from mlpinf_core.config.layers import Layer

    layer = Layer("here", {"run": {"backend": "ctranslate"}})
    with pytest.raises(MlpinfError, match="ctranslate2"):
        make_plan(Request(("whisper",), ALL, variant=Variant.TINY, layers=(layer,)), plugins)
