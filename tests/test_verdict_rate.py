"""The suggested target QPS of a run that missed its latency really passes when it is run.

Each synthetic system has a known capacity (200 queries a second; 100 with the longer service), or
known steps, and works on a virtual clock. The percentile is 90, of which 200 queries leave room
for the hiccups of a busy machine; the formulas do not know the difference.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mlpinf_core.logs.capacity import higher_qps, passing_qps
from mlpinf_core.logs.detail import DetailLog

SCRIPT = Path(__file__).parent / "data" / "logs" / "make_log.py"
BASE = {"scenario": "Server", "percentile": 0.9, "min_queries": 200, "min_duration_ms": 1500}
ONE = {"service_ms": 5.0, "latency_ms": 60.0}
FOUR = {"service_ms": 20.0, "servers": 4, "latency_ms": 90.0}
STEPS = {
    "model": "steps", "tokens": True, "tokens_per_sample": 8, "max_batch": 16,
    "step_ms": 4.0, "sequence_ms": 1.0,
}  # fmt: skip


def real(folder: Path, **spec: Any) -> DetailLog:
    spec = {"out": str(folder), **BASE, **spec}
    subprocess.run([sys.executable, str(SCRIPT), json.dumps(spec)], check=True, timeout=120)
    return DetailLog.read(folder / "mlperf_log_detail.txt")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("spec", "target", "concurrency", "least"),
    [
        pytest.param(ONE, 400, 1, 110, id="one server, far too much"),
        pytest.param({**ONE, "service_ms": 10.0}, 99, 1, 40, id="one server, a little too much"),
        pytest.param({**ONE, "exponential": True}, 400, 1, 80, id="variable service, far too much"),
        pytest.param(FOUR, 500, 4, 110, id="four servers"),
        pytest.param(FOUR, 500, 32, 60, id="four servers, configured for 32"),
        pytest.param(
            {**STEPS, "ttft_ms": 150.0, "tpot_ms": 200.0}, 200, 16, 30,
            id="first tokens, far too much",
        ),
        pytest.param(
            {**STEPS, "ttft_ms": 900.0, "tpot_ms": 11.0}, 75, 16, 15,
            id="time per token, a little too much",
        ),
        pytest.param(
            {**STEPS, "ttft_ms": 900.0, "tpot_ms": 11.0}, 200, 16, 15,
            id="time per token, far too much",
        ),
    ],
)  # fmt: skip
def test_the_suggested_rate_passes_and_is_not_needlessly_low(
    tmp_path: Path, spec: dict[str, Any], target: float, concurrency: int, least: float
) -> None:
    missed = real(tmp_path / "missed", target_qps=target, **spec)
    assert missed.text("result_validity") == "INVALID"
    estimate = passing_qps(missed, concurrency)
    assert least < estimate.qps < target
    passed = real(tmp_path / "passed", target_qps=estimate.qps, **spec)
    assert passed.text("result_validity") == "VALID", passed.get("result_invalid_reason")


@pytest.mark.slow
@pytest.mark.parametrize("spec", [ONE, {**ONE, "exponential": True}, FOUR])
def test_a_run_that_passed_with_room_is_told_a_higher_rate_that_passes_too(
    tmp_path: Path, spec: dict[str, Any]
) -> None:
    rate = higher_qps(real(tmp_path / "low", target_qps=70, **spec), spec.get("servers", 1))
    assert rate is not None
    assert 77 <= rate <= 105
    passed = real(tmp_path / "high", target_qps=rate, **spec)
    assert passed.text("result_validity") == "VALID"


def test_a_saturated_run_is_told_from_one_that_only_queued(tmp_path: Path) -> None:
    spec = {**ONE, "min_queries": 100, "min_duration_ms": 500}
    assert passing_qps(real(tmp_path / "a", target_qps=600, **spec), 1).saturated
    assert not passing_qps(real(tmp_path / "b", target_qps=100, **spec), 1).saturated


def test_the_suggested_rate_is_always_lower_than_the_one_that_missed(tmp_path: Path) -> None:
    spec = {**ONE, "min_queries": 100, "min_duration_ms": 500, "latency_ms": 6.0}
    for target in (50.0, 150.0, 600.0):
        detail = real(tmp_path / str(target), target_qps=target, **spec)
        assert passing_qps(detail, 1).qps < target
