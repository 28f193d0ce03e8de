from __future__ import annotations

import itertools
import subprocess
import sys
import tomllib
from importlib import resources

import attrs
import pytest

from mlpinf_core.benchmark import Benchmark
from mlpinf_core.errors import UnknownNameError
from mlpinf_core.rules import DEFAULT_ROUND, ROUNDS, load_round, round_name, round_of_seeds
from mlpinf_core.rules.model import BenchmarkRules, LatencyLimits, Limit, Round
from mlpinf_core.vocabulary import Category, Scenario

LLMS = ("llama2-70b", "llama3.1-8b", "llama3.1-8b-edge", "llama3.1-405b", "deepseek-r1")
OTHERS = ("stable-diffusion-xl", "whisper", "rgat")


@pytest.fixture(params=ROUNDS)
def round_(request: pytest.FixtureRequest) -> Round:
    return load_round(request.param)


def test_the_default_round_is_v5_1() -> None:
    assert DEFAULT_ROUND == "v5.1"
    assert DEFAULT_ROUND in ROUNDS


@pytest.mark.parametrize("text", ["v5.1", "V5.1", "5.1", "v5_1", " 5.1"])
def test_a_round_is_found_however_it_is_spelt(text: str) -> None:
    assert round_name(text) == "v5.1"
    assert load_round(text) is load_round("v5.1")


@pytest.mark.parametrize(("text", "guess"), [("v6.2", "v6"), ("5.2", "v5.1"), ("", "v5.1")])
def test_an_unknown_round_suggests_the_nearest_or_lists_all(text: str, guess: str) -> None:
    with pytest.raises(UnknownNameError) as caught:
        load_round(text)
    assert guess in str(caught.value.remedy)


@pytest.mark.parametrize(
    ("name", "benchmarks"),
    [
        ("v5.1", {*LLMS, *OTHERS}),
        ("v6.0", {*LLMS, *OTHERS}),
        ("v6.1", {*LLMS, *OTHERS} - {"llama3.1-405b"}),
    ],
)
def test_every_benchmark_of_every_round_is_there(name: str, benchmarks: set[str]) -> None:
    assert set(load_round(name).benchmarks) == benchmarks


def test_every_key_of_a_mapping_is_the_word_of_the_vocabulary_itself(round_: Round) -> None:
    for rules in round_.benchmarks.values():
        for by_scenario in (rules.latency, rules.min_queries, rules.result_fields, rules.units):
            assert all(type(key) is Scenario for key in by_scenario)
        for by_category in (rules.scenarios_required, rules.scenarios_optional):
            assert all(type(key) is Category for key in by_category)
            assert all(type(s) is Scenario for each in by_category.values() for s in each)


def test_every_benchmark_says_how_each_scenario_is_measured(round_: Round) -> None:
    for rules in round_.benchmarks.values():
        assert set(rules.result_fields) == set(rules.units) == set(Scenario)
        assert set(rules.min_queries) == set(Scenario)


def test_every_accuracy_target_has_a_submission_name_and_a_lower_limit(round_: Round) -> None:
    for rules in round_.benchmarks.values():
        assert set(rules.submission_names) == set(rules.accuracy) == set(rules.accuracy_targets)
        for metrics in rules.accuracy.values():
            assert metrics
            for limit in metrics.values():
                assert limit.lower is not None
                assert limit.upper is None or limit.lower < limit.upper


def test_a_required_scenario_is_never_optional_too(round_: Round) -> None:
    for rules in round_.benchmarks.values():
        assert rules.scenarios_required
        for category, required in rules.scenarios_required.items():
            assert not set(required) & set(rules.scenarios_optional.get(category, ()))


def test_a_benchmark_with_interactive_has_its_limits_and_a_loadgen_model(round_: Round) -> None:
    for rules in round_.benchmarks.values():
        scenarios = itertools.chain(
            *rules.scenarios_required.values(), *rules.scenarios_optional.values()
        )
        offered = Scenario.INTERACTIVE in scenarios
        assert (Scenario.INTERACTIVE in rules.latency) is offered
        assert (rules.loadgen_interactive_name is not None) is offered
        expected = f"{rules.loadgen_name}-interactive" if offered else rules.loadgen_name
        assert rules.loadgen_model(Scenario.INTERACTIVE) == expected
        assert rules.loadgen_model(Scenario.SERVER) == rules.loadgen_name


def test_each_round_has_seeds_of_its_own_and_is_told_by_them() -> None:
    seeds = [load_round(name).seeds for name in ROUNDS]
    assert len({value for each in seeds for value in attrs.astuple(each)}) == 9
    assert [round_of_seeds(each) for each in seeds] == list(ROUNDS)
    assert round_of_seeds(attrs.evolve(seeds[0], qsl_rng_seed=0)) is None


def test_the_seeds_are_the_published_ones() -> None:
    assert load_round("v5.1").seeds.qsl_rng_seed == 1780908523862526354
    assert load_round("v5.1").seeds.sample_index_rng_seed == 14771362308971278857
    assert load_round("v6.0").seeds.schedule_rng_seed == 3936089224930324775
    assert load_round("v6.1").seeds.qsl_rng_seed == 2085463073848966840


def test_llama2_70b_has_two_accuracy_targets_until_v6_1() -> None:
    rules = load_round("v5.1").benchmark("llama2-70b")
    assert rules.accuracy_targets == ("99", "99.9")
    assert rules.submission_names["99.9"] == "llama2-70b-99.9"
    assert rules.accuracy["99"]["ROUGE1"] == Limit(lower=43.986888)
    assert rules.accuracy["99.9"]["ROUGE1"] == Limit(lower=44.3867688)
    assert rules.accuracy["99"]["TOKENS_PER_SAMPLE"] == Limit(265.005, 323.895)
    assert load_round("v6.1").benchmark("llama2-70b").accuracy_targets == ("99.9",)


def test_stable_diffusion_xl_is_held_between_two_limits_on_both_metrics(round_: Round) -> None:
    metrics = round_.benchmark("stable-diffusion-xl").accuracy["99"]
    assert metrics["FID_SCORE"] == Limit(23.01085758, 23.95007626)
    assert metrics["CLIP_SCORE"] == Limit(31.68631873, 31.81331801)


@pytest.mark.parametrize(
    ("benchmark", "server", "interactive"),
    [
        ("llama2-70b", (2000, 200), (450, 40)),
        ("llama3.1-8b", (2000, 100), (500, 30)),
        ("llama3.1-405b", (6000, 175), (4500, 80)),
        ("deepseek-r1", (2000, 80), None),
    ],
)
def test_the_token_latency_limits_of_v5_1_are_those_of_the_rules(
    benchmark: str, server: tuple[float, float], interactive: tuple[float, float] | None
) -> None:
    latency = load_round("v5.1").benchmark(benchmark).latency

    def tokens(limits: LatencyLimits | None) -> tuple[float | None, float | None] | None:
        return None if limits is None else (limits.ttft_ms, limits.tpot_ms)

    assert tokens(latency[Scenario.SERVER]) == server
    assert tokens(latency.get(Scenario.INTERACTIVE)) == interactive


def test_deepseek_r1_has_interactive_from_v6_0_on() -> None:
    for name in ("v6.0", "v6.1"):
        limits = load_round(name).benchmark("deepseek-r1").latency[Scenario.INTERACTIVE]
        assert (limits.ttft_ms, limits.tpot_ms, limits.percentile) == (1500, 15, 99)


def test_the_whole_query_limit_of_sdxl_is_not_the_checkers_cap_of_an_llm() -> None:
    v51 = load_round("v5.1")
    assert v51.benchmark("stable-diffusion-xl").latency[Scenario.SERVER].latency_ms == 20_000
    llama = v51.benchmark("llama3.1-405b").latency[Scenario.SERVER]
    assert llama.latency_ms is None
    assert llama.checker_latency_ms == 60_000


@pytest.mark.parametrize(
    ("benchmark", "category", "required"),
    [
        ("stable-diffusion-xl", "datacenter", {"Offline", "Server"}),
        ("stable-diffusion-xl", "edge", {"Offline", "SingleStream"}),
        ("llama3.1-8b-edge", "edge", {"Offline", "SingleStream"}),
        ("deepseek-r1", "datacenter", {"Offline", "Server"}),
        ("llama3.1-8b", "datacenter", {"Offline"}),
        ("whisper", "edge", {"Offline"}),
        ("rgat", "datacenter", {"Offline"}),
    ],
)
def test_a_submission_to_v5_1_needs_these_scenarios(
    benchmark: str, category: str, required: set[str]
) -> None:
    rules = load_round("v5.1").benchmark(benchmark)
    assert set(rules.scenarios_required[Category.parse(category)]) == required


def test_sdxl_is_an_edge_benchmark_only_from_v6_0_on() -> None:
    for name in ("v6.0", "v6.1"):
        rules = load_round(name).benchmark("stable-diffusion-xl")
        assert set(rules.scenarios_required) == {Category.EDGE}


@pytest.mark.parametrize(
    ("benchmark", "size", "tokens", "equal_issue", "audits"),
    [
        ("llama2-70b", 24_576, True, True, ("TEST06",)),
        ("llama3.1-8b-edge", 5000, True, True, ()),
        ("stable-diffusion-xl", 5000, False, False, ("TEST01", "TEST04")),
        ("whisper", 1633, True, True, ("TEST01",)),
        ("rgat", 788_379, False, True, ("TEST01",)),
    ],
)
def test_sizes_flags_and_audits_are_those_of_loadgen_and_the_checker(
    benchmark: str, size: int, tokens: bool, equal_issue: bool, audits: tuple[str, ...]
) -> None:
    rules = load_round("v5.1").benchmark(benchmark)
    assert rules.dataset_size == rules.performance_sample_count == size
    assert rules.offline_min_samples == size
    assert (rules.token_latencies, rules.equal_issue) == (tokens, equal_issue)
    assert rules.audits == audits
    assert ("TEST01" in audits) is bool(rules.audit_margins)


def test_llms_and_whisper_are_measured_in_tokens_and_the_rest_is_not() -> None:
    v51 = load_round("v5.1")
    for name in ("llama2-70b", "whisper"):
        rules = v51.benchmark(name)
        assert rules.result_fields[Scenario.OFFLINE] == "result_tokens_per_second"
        assert rules.units[Scenario.OFFLINE] == "Tokens/s"
    interactive = v51.benchmark("llama2-70b").result_fields[Scenario.INTERACTIVE]
    assert interactive == "result_completed_tokens_per_second"
    rgat = v51.benchmark("rgat")
    assert rgat.result_fields[Scenario.OFFLINE] == "result_samples_per_second"
    assert rgat.result_fields[Scenario.SINGLE_STREAM] == "early_stopping_latency_ss"
    edge = v51.benchmark("llama3.1-8b-edge").result_fields[Scenario.SINGLE_STREAM]
    assert edge == "result_90.00_percentile_latency_ns"


def test_a_run_takes_ten_minutes_and_early_stopping_decides_how_many_queries() -> None:
    v51 = load_round("v5.1")
    assert v51.min_duration_s == 600
    assert v51.defaults.samples_per_query == 8
    assert v51.defaults.percentiles[Scenario.SINGLE_STREAM] == 90
    assert v51.defaults.percentiles[Scenario.SERVER] == 99
    assert v51.defaults.min_queries[Scenario.SERVER] == 662
    assert v51.defaults.min_queries[Scenario.SINGLE_STREAM] == 64


@pytest.mark.parametrize("name", ROUNDS)
def test_what_a_test_leaves_is_what_a_submission_of_it_needs(name: str) -> None:
    found = load_round(name)
    assert set(found.audits) == set(found.submission.audits)
    text = resources.files("mlpinf_core.rules").joinpath(f"{name}.toml").read_text("utf-8")
    for test, rules in found.audits.items():
        more = {"accuracy/accuracy.txt"} if test == "TEST01" else set()
        assert set(found.audit_files(test)) == {*rules.files, *more}
    assert "audits" not in tomllib.loads(text)["submission"]["files"]
    assert found.audit_files("TEST06") == ("verify_accuracy.txt",)


def test_a_benchmark_outside_the_rounds_gets_the_rounds_defaults() -> None:
    own = BenchmarkRules(
        loadgen_name="mine",
        dataset_size=10,
        performance_sample_count=10,
        units={Scenario.OFFLINE: "Widgets/s"},
    )
    complete = load_round("v5.1").complete(own)
    assert complete.units[Scenario.OFFLINE] == "Widgets/s"
    assert complete.units[Scenario.SERVER] == "Queries/s"
    assert complete.result_fields[Scenario.OFFLINE] == "result_samples_per_second"
    assert complete.accuracy_targets == ("99",)


def test_a_benchmark_is_found_in_loadgens_spelling_and_a_wrong_one_suggests_the_nearest() -> None:
    v51 = load_round("v5.1")
    assert v51.benchmark("LLAMA3_1-405B") is v51.benchmarks["llama3.1-405b"]
    with pytest.raises(UnknownNameError, match=r"llama3\.1-8b-egde") as caught:
        v51.benchmark("llama3.1-8b-egde")
    assert "llama3.1-8b-edge" in str(caught.value.remedy)


@pytest.mark.parametrize(
    ("limit", "value", "admitted"),
    [
        (Limit(1.0, 2.0), 1.0, True),
        (Limit(1.0, 2.0), 2.0, True),
        (Limit(1.0, 2.0), 2.1, False),
        (Limit(1.0), 0.9, False),
        (Limit(upper=1.0), -5.0, True),
        (Limit(), float("nan"), False),
    ],
)
def test_a_limit_admits_its_bounds_and_never_nan(
    limit: Limit, value: float, admitted: bool
) -> None:
    assert limit.admits(value) is admitted


@pytest.mark.parametrize("name", ROUNDS)
def test_a_misspelt_key_or_a_wrong_type_in_a_rules_file_is_refused(name: str) -> None:
    from mlpinf_core import rules

    text = resources.files(rules).joinpath(f"{name}.toml").read_text(encoding="utf-8")
    for key, wrong in (
        ("dataset_sise", 1),
        ("dataset_size", "1"),
        ("equal_issue", "false"),
        ("loadgen_name", 1),
        ("audits", [1]),
        ("latency", {"Sever": {}}),
    ):
        data = tomllib.loads(text)
        data["benchmarks"]["rgat"][key] = wrong
        with pytest.raises(Exception, match="structuring"):
            rules._converter().structure(data, Round)


def test_importing_the_rules_loads_no_cattrs() -> None:
    code = "import sys, mlpinf_core.rules; sys.exit('cattrs' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_declared_benchmark_takes_rules_of_its_own() -> None:
    own = BenchmarkRules(loadgen_name="mine", dataset_size=1, performance_sample_count=1)
    assert Benchmark(name="mine", summary="", variants={}, rules=own).rules is own
