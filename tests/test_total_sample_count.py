"""A small data set presented as a larger one: LoadGen sees the larger, all else the small."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from mlpinf_core import api
from mlpinf_core.errors import ExitCode
from mlpinf_core.logs.accuracy import AccuracyLog
from mlpinf_core.logs.detail import DetailLog

if TYPE_CHECKING:
    from pathlib import Path

    from mlpinf_core.results import RunResult

OWN, TOTAL = 48, 100


def run(output: Path, mode: str, scenario: str = "Offline", total: int = TOTAL) -> RunResult:
    loadgen: dict[str, Any] = {"total_sample_count": total, "performance_sample_count": total}
    loadgen |= {"min_duration": 0, "min_query_count": 700}
    if scenario in ("Offline", "Server"):
        loadgen["target_qps"] = 50_000
    if scenario == "Server":
        loadgen["target_latency_ms"] = 60_000
    (result,) = api.run(
        "null",
        scenarios=scenario,
        modes=mode,
        settings={"loadgen": loadgen, "benchmark": {"samples": OWN}},
        system="none",
        output=output,
    ).runs
    return result


@pytest.mark.parametrize("scenario", ["Offline", "Server"])
def test_loadgen_is_told_of_the_larger_data_set(scenario: str, tmp_path: Path) -> None:
    result = run(tmp_path, "performance", scenario)
    assert result.verdict.valid, result.verdict
    log = DetailLog.read(result.directory / "mlperf_log_detail.txt")
    assert log.integer("qsl_reported_total_count") == TOTAL
    assert log.integer("effective_performance_sample_count") == TOTAL


def test_every_sample_is_answered_as_the_data_set_numbers_it(tmp_path: Path) -> None:
    result = run(tmp_path, "accuracy")
    assert result.ok, result.verdict
    log = AccuracyLog.read(result.directory / "mlperf_log_accuracy.json")
    assert sorted(log.qsl_indices) == list(range(TOTAL))
    answers = np.concatenate(log.as_arrays(np.dtype(np.int64)))
    assert (answers == log.qsl_indices % OWN).all()
    assert (log.folded(OWN).qsl_indices == answers).all()


def test_it_is_said_in_the_verdict(tmp_path: Path) -> None:
    notes = run(tmp_path, "accuracy").verdict.notes
    assert any("open division alone" in note and "100 samples" in note for note in notes)


def test_a_smaller_number_than_the_data_set_has_is_refused(tmp_path: Path) -> None:
    result = run(tmp_path, "performance", total=OWN - 1)
    assert result.exit_code is ExitCode.USAGE
    assert "loadgen.total_sample_count is 47" in result.verdict.causes[0].message
