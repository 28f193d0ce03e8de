"""The tiny benchmarks through real LoadGen: every token accounted for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from mlpinf_core import api
from mlpinf_core.logs.accuracy import AccuracyLog
from mlpinf_core.logs.detail import DetailLog
from mlpinf_core.vocabulary import Mode
from mlpinf_llm import tiny
from mlpinf_llm.benchmarks import data_name
from mlpinf_llm.tables import read_table

if TYPE_CHECKING:
    from pathlib import Path

    from mlpinf_core.results import RunResult

pytestmark = pytest.mark.model
END_OF_TURN = 2


def run(
    gguf: Path, output: Path, name: str, scenario: str, mode: str, **loadgen: float
) -> RunResult:
    results = api.run(
        name,
        scenarios=scenario,
        modes=mode,
        variant="tiny",
        settings={"loadgen": loadgen, "benchmark": {"model_path": str(gguf)}},
        output=output,
    )
    return results.runs[0]


@pytest.mark.parametrize("name", sorted(tiny.BENCHMARKS))
def test_offline_answers_every_prompt_once_and_within_the_accuracy_limits(
    name: str, gguf: Path, tmp_path: Path
) -> None:
    result = run(gguf, tmp_path, name, "Offline", "accuracy")
    assert result.ok, result.verdict
    assert result.accuracy is not None
    assert result.accuracy.passed
    log = AccuracyLog.read(result.directory / "mlperf_log_accuracy.json")
    assert sorted(log.qsl_indices) == list(range(len(tiny.BENCHMARKS[name].samples())))


@pytest.mark.parametrize("scenario", ["Offline", "Server", "SingleStream"])
def test_loadgen_is_told_of_exactly_the_tokens_that_are_in_the_payload(
    scenario: str, gguf: Path, tmp_path: Path
) -> None:
    result = run(gguf, tmp_path, "llama2-70b", scenario, "accuracy", target_qps=8)
    assert result.verdict.valid, result.verdict
    cap = tiny.BENCHMARKS["llama2-70b"].cap
    log = AccuracyLog.read(result.directory / "mlperf_log_accuracy.json")
    answers = log.as_arrays(np.dtype(np.int32))
    assert [len(answer) for answer in answers] == list(log.token_counts)
    assert all(2 <= len(answer) <= cap for answer in answers)
    assert not any(END_OF_TURN in answer for answer in answers)


def test_most_answers_are_token_for_token_those_of_the_float32_model(
    gguf: Path, tmp_path: Path
) -> None:
    result = run(gguf, tmp_path, "llama2-70b", "Offline", "accuracy")
    data = tiny.BENCHMARKS[data_name("llama2-70b")]
    wanted = read_table(tiny.data_path(data.file)).token_ids("tok_output")
    log = AccuracyLog.read(result.directory / "mlperf_log_accuracy.json")
    answers = log.as_arrays(np.dtype(np.int32))
    same = [
        np.array_equal(answer, wanted[index])
        for answer, index in zip(answers, log.qsl_indices, strict=True)
    ]
    assert sum(same) > len(same) / 2


@pytest.mark.slow
def test_a_server_run_reports_first_tokens_before_completions(gguf: Path, tmp_path: Path) -> None:
    result = run(
        gguf, tmp_path, "llama3.1-8b", "Server", "performance", target_qps=6, min_duration=5,
        min_query_count=30,
    )  # fmt: skip
    assert result.mode is Mode.PERFORMANCE
    detail = DetailLog.read(result.directory / "mlperf_log_detail.txt")
    assert not detail.errors
    assert result.performance is not None
    ttft, latency = result.performance.ttft, result.performance.latency
    assert ttft is not None
    assert 0 < ttft.mean < latency.mean


def test_a_second_run_builds_nothing(gguf: Path, tmp_path: Path) -> None:
    first = run(gguf, tmp_path / "1", "llama3.1-8b", "Offline", "accuracy")
    second = run(gguf, tmp_path / "2", "llama3.1-8b", "Offline", "accuracy")
    assert first.ok
    assert second.ok
    events = (second.directory / "events.jsonl").read_text()
    assert "converting" not in events
    assert "building" not in events
