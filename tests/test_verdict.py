"""A verdict names every cause, and what it suggests makes the next run pass."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import attrs
import pytest

from mlpinf_core.config.schema import Config, SutSettings
from mlpinf_core.errors import LogError
from mlpinf_core.logs.accuracy import AccuracyLog
from mlpinf_core.logs.detail import DetailLog
from mlpinf_core.rules import load_round
from mlpinf_core.rules.model import BenchmarkRules, LatencyLimits
from mlpinf_core.verdict import Cause, Verdict, judge_accuracy_run, judge_performance
from mlpinf_core.vocabulary import Scenario, Variant, Workload

SCRIPT = Path(__file__).parent / "data" / "logs" / "make_log.py"
SEEDS = list(attrs.astuple(load_round("v5.1").seeds))
RULES = BenchmarkRules("x", 16, 16)


def workload(scenario: str, variant: Variant = Variant.FULL) -> Workload:
    return Workload("v5.1", "x", Scenario.parse(scenario), variant, "99")


def real(folder: Path, **spec: Any) -> DetailLog:
    spec = {"out": str(folder), "seeds": SEEDS, **spec}
    subprocess.run([sys.executable, str(SCRIPT), json.dumps(spec)], check=True, timeout=120)
    return DetailLog.read(folder / "mlperf_log_detail.txt")


def judged(
    detail: DetailLog | LogError, scenario: str = "Offline", *, samples: int = 16, **more: Any
) -> Verdict:
    more.setdefault("workload", workload(scenario))
    # The synthetic system serves one query at a time.
    config = Config(sut=SutSettings(max_batch_size=1))
    return judge_performance(
        detail, **{"config": config, "rules": RULES, "sample_count": samples, **more}
    )


def codes(verdict: Verdict) -> list[str]:
    return [cause.code for cause in verdict.causes]


def suggested(verdict: Verdict, key: str) -> float:
    """The value that the verdict says to set a key to."""
    for cause in verdict.causes:
        found = re.search(rf"set {re.escape(key)} to ([\d.]+)", cause.suggestion or "")
        if found:
            return float(found[1])
    raise AssertionError(f"no {key} in {verdict}")


@pytest.mark.parametrize(
    ("scenario", "queries"),
    [("Offline", 16), ("Server", 470), ("SingleStream", 70), ("MultiStream", 670)],
)
def test_a_good_run_is_valid(tmp_path: Path, scenario: str, queries: int) -> None:
    detail = real(
        tmp_path, scenario=scenario, min_queries=queries, target_qps=500, service_ms=0.1,
        samples_per_query=2, latency_ms=5000,
    )  # fmt: skip
    verdict = judged(detail, scenario)
    assert verdict.valid
    assert verdict.causes == ()
    assert str(verdict) == "VALID"
    assert any("min_duration was 0 s, and the round asks for 600 s" in n for n in verdict.notes)


def test_an_offline_run_that_was_too_short_is_told_a_rate_that_makes_it_long_enough(
    tmp_path: Path,
) -> None:
    spec = {"min_duration_ms": 600, "service_ms": 4.0}
    verdict = judged(real(tmp_path / "a", target_qps=150, **spec))
    assert codes(verdict) == ["min-duration"]
    rate = suggested(verdict, "loadgen.target_qps")
    assert judged(real(tmp_path / "b", target_qps=rate, **spec)).valid


def test_an_offline_run_must_issue_the_whole_data_set(tmp_path: Path) -> None:
    detail = real(tmp_path, min_queries=5, performance_samples=5)
    verdict = judged(detail)
    assert codes(verdict) == ["offline-samples"]
    assert suggested(verdict, "loadgen.min_query_count") == 16


def test_a_stream_that_ran_out_of_queries_is_told_the_latency_to_expect(tmp_path: Path) -> None:
    spec = {"scenario": "SingleStream", "min_duration_ms": 300, "service_ms": 2.0}
    verdict = judged(real(tmp_path / "a", expected_ms=50, **spec), "SingleStream")
    assert codes(verdict) == ["loadgen-error", "min-duration", "early-stopping"]
    latency = suggested(verdict, "loadgen.target_latency_ms")
    assert judged(real(tmp_path / "b", expected_ms=latency, **spec), "SingleStream").valid


@pytest.mark.parametrize(("scenario", "needed"), [("SingleStream", 64), ("MultiStream", 662)])
def test_a_stream_with_too_few_queries_is_told_how_many_it_needs(
    tmp_path: Path, scenario: str, needed: int
) -> None:
    spec = {"scenario": scenario, "samples_per_query": 2, "service_ms": 0.1}
    verdict = judged(real(tmp_path / "a", min_queries=20, **spec), scenario)
    assert codes(verdict) == ["early-stopping"]
    assert suggested(verdict, "loadgen.min_query_count") == needed
    assert judged(real(tmp_path / "b", min_queries=needed, **spec), scenario).valid


def test_a_server_run_with_too_few_queries_is_told_how_many_it_needs(tmp_path: Path) -> None:
    detail = real(tmp_path, scenario="Server", min_queries=50, target_qps=500, latency_ms=5000)
    verdict = judged(detail, "Server")
    assert codes(verdict) == ["early-stopping"]
    assert suggested(verdict, "loadgen.min_query_count") == 662


def test_a_bound_that_stopped_the_run_is_named(tmp_path: Path) -> None:
    detail = real(
        tmp_path, scenario="SingleStream", max_queries=70, min_queries=100, min_duration_ms=5000
    )
    verdict = judged(detail, "SingleStream")
    assert {"min-duration", "min-queries"} <= set(codes(verdict))
    assert all("loadgen.max_query_count to 0" in str(c.suggestion) for c in verdict.causes)


def test_a_limit_below_the_quickest_query_is_said_to_be_out_of_reach(tmp_path: Path) -> None:
    detail = real(
        tmp_path, scenario="Server", target_qps=100, service_ms=8, latency_ms=4, min_queries=100
    )
    cause = next(c for c in judged(detail, "Server").causes if c.code == "performance-constraint")
    assert "over the limit of 4 ms" in cause.message
    assert "no loadgen.target_qps will do" in str(cause.suggestion)


def test_each_missed_token_limit_is_a_cause_of_its_own(tmp_path: Path) -> None:
    detail = real(
        tmp_path, scenario="Server", tokens=True, target_qps=900, service_ms=4, ttft_ms=2,
        tpot_ms=0.1, min_queries=100,
    )  # fmt: skip
    causes = [c for c in judged(detail, "Server").causes if c.code == "performance-constraint"]
    assert [c.message.split(" of the ")[1].split(" is ")[0] for c in causes] == [
        "time to first token",
        "time per output token",
    ]


@pytest.mark.parametrize(
    ("fault", "scenario", "message"),
    [("twice", "Offline", "complete a sample twice"), ("no_first_token", "Server", "first token")],
)
def test_every_error_line_is_a_cause(
    tmp_path: Path, fault: str, scenario: str, message: str
) -> None:
    detail = real(
        tmp_path, scenario=scenario, fault=fault, tokens=True, min_queries=500, target_qps=1000,
        service_ms=0.1, ttft_ms=5000, tpot_ms=5000,
    )  # fmt: skip
    verdict = judged(detail, scenario)
    assert not verdict.valid
    found = [c for c in verdict.causes if c.code == "loadgen-error"]
    assert any(message in c.message for c in found)
    assert all(re.search(r"\(line \d+", c.message) for c in found)


def test_seeds_of_another_round_are_a_cause_each(tmp_path: Path) -> None:
    verdict = judged(real(tmp_path, seeds=[1, *SEEDS[1:]], min_queries=16))
    assert codes(verdict) == ["seeds"]
    assert f"qsl_rng_seed was 1, and round v5.1 has {SEEDS[0]}" in verdict.causes[0].message


def test_what_the_run_saw_fail_comes_first_and_makes_it_invalid(tmp_path: Path) -> None:
    detail = real(tmp_path, min_queries=16)
    failure = Cause("query-failed", "3 queries failed", "look at the backend")
    verdict = judged(detail, failures=[failure], notes=["a wheel of another round"])
    assert verdict.causes == (failure,)
    assert not verdict.valid
    assert verdict.notes[0] == "a wheel of another round"


def test_a_log_that_cannot_be_read_is_a_cause_beside_the_failures(tmp_path: Path) -> None:
    (tmp_path / "log").touch()
    with pytest.raises(LogError) as caught:
        DetailLog.read(tmp_path / "log")
    verdict = judged(caught.value, failures=[Cause("crash", "the process died")])
    assert codes(verdict) == ["crash", "detail-log"]
    assert "empty" in verdict.causes[1].message


def test_a_log_that_breaks_off_is_incomplete(tmp_path: Path) -> None:
    path = real(tmp_path, min_queries=16).path
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:60]))
    assert codes(judged(DetailLog.read(path))) == ["log-incomplete"]


def test_a_finished_log_without_its_figures_is_incomplete_too(tmp_path: Path) -> None:
    path = real(tmp_path, min_queries=16).path
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(x for x in lines if b"result_min_duration_met" not in x))
    verdict = judged(DetailLog.read(path))
    assert codes(verdict) == ["log-incomplete"]
    assert "result_min_duration_met" in verdict.causes[0].message


def test_the_log_of_another_test_is_no_proof(tmp_path: Path) -> None:
    detail = real(tmp_path, min_queries=16)
    assert codes(judged(detail, "SingleStream"))[0] == "wrong-test"


def test_notes_say_why_a_valid_run_cannot_be_submitted(tmp_path: Path) -> None:
    detail = real(tmp_path, scenario="Server", min_queries=500, target_qps=900, latency_ms=900)
    rules = BenchmarkRules(
        "x", 16, 99, equal_issue=True,
        latency={Scenario.SERVER: LatencyLimits(latency_ms=100)},
        result_fields={Scenario.SERVER: "result_completed_tokens_per_second"},
    )  # fmt: skip
    notes = "\n".join(judged(detail, "Server", rules=rules).notes)
    for said in ("equal_issue", "99", "target_latency_ms was 900, over the round's 100",
                 "lacks the round's result"):  # fmt: skip
        assert said in notes
    tiny = judged(detail, "Server", rules=rules, workload=workload("Server", Variant.TINY))
    assert any("tiny variant" in note for note in tiny.notes)


def test_a_verdict_survives_json() -> None:
    verdict = Verdict.of([Cause("a", "b", "c"), Cause("d", "e"), Cause("d", "e")], ["n"])
    assert Verdict.from_dict(json.loads(json.dumps(verdict.to_dict()))) == verdict
    assert len(verdict.causes) == 2


class TestAccuracyRuns:
    def judged(self, folder: Path, scenario: str, *, samples: int = 20, **more: Any) -> Verdict:
        try:
            log: AccuracyLog | LogError = AccuracyLog.read(folder / "mlperf_log_accuracy.json")
        except LogError as error:
            log = error
        return judge_accuracy_run(
            DetailLog.read(folder / "mlperf_log_detail.txt"), log, workload=workload(scenario),
            rules=RULES, sample_count=samples, **more,
        )  # fmt: skip

    @pytest.mark.parametrize("tokens", [False, True])
    @pytest.mark.parametrize("scenario", ["Offline", "Server", "SingleStream", "MultiStream"])
    def test_a_run_with_an_answer_to_every_sample_is_valid(
        self, tmp_path: Path, scenario: str, tokens: bool
    ) -> None:
        real(
            tmp_path, scenario=scenario, mode="AccuracyOnly", samples=20, tokens=tokens,
            performance_samples=10,
        )  # fmt: skip
        assert self.judged(tmp_path, scenario).causes == ()

    def test_missing_double_and_strange_answers_are_counted_and_named(self, tmp_path: Path) -> None:
        real(tmp_path, mode="AccuracyOnly", samples=20)
        path = tmp_path / "mlperf_log_accuracy.json"
        text = path.read_text(encoding="utf-8")
        text = text.replace('"qsl_idx" : 3,', '"qsl_idx" : 99,')
        path.write_text(text.replace('"qsl_idx" : 4,', '"qsl_idx" : 5,'), encoding="utf-8")
        verdict = self.judged(tmp_path, "Offline")
        assert codes(verdict) == ["missing-answers", "duplicate-answers", "unknown-answers"]
        assert "2 of 20 samples have no answer: 3, 4" in verdict.causes[0].message
        assert verdict.causes[1].message.endswith(": 5")
        assert verdict.causes[2].message.endswith(": 99")

    def test_a_cut_log_wrong_seeds_and_failures_are_all_causes(self, tmp_path: Path) -> None:
        real(tmp_path, mode="AccuracyOnly", samples=20, seeds=[1, *SEEDS[1:]])
        path = tmp_path / "mlperf_log_accuracy.json"
        path.write_bytes(path.read_bytes()[:100])
        verdict = self.judged(tmp_path, "Offline", failures=[Cause("crash", "died")])
        assert codes(verdict) == ["crash", "seeds", "accuracy-log"]
