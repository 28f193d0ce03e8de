"""A rate that is configured nowhere: measured, and corrected by the run that it spoilt."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import mlpinf_core
from mlpinf_core.record import FILE_NAME, read_json

if TYPE_CHECKING:
    from pathlib import Path

    from mlpinf_core.results import RunResult


def origin_of(result: RunResult, key: str) -> str:
    origins: dict[str, str] = read_json(result.directory / FILE_NAME)["config"]["origins"]
    return origins[key]


def test_a_measured_rate_is_recorded_with_that_origin(tmp_path: Path) -> None:
    quick = {"loadgen": {"min_duration": 0}, "run": {"measure_seconds": 0.1}}
    (result,) = mlpinf_core.run(
        "null", scenarios="Server", modes="performance", settings=quick, output=tmp_path
    ).runs
    assert origin_of(result, "loadgen.target_qps").startswith("measured ")


def test_a_rate_that_was_unset_on_purpose_is_measured_too(tmp_path: Path) -> None:
    unset = {"loadgen": {"min_duration": 0, "target_qps": None}, "run": {"measure_seconds": 0.1}}
    (result,) = mlpinf_core.run(
        "null", scenarios="Offline", modes="performance", settings=unset, output=tmp_path
    ).runs
    assert origin_of(result, "loadgen.target_qps").startswith("measured ")


def test_a_rate_that_the_user_chose_is_never_corrected(tmp_path: Path) -> None:
    hopeless = {"loadgen": {"min_duration": 1, "target_qps": 1}}
    (result,) = mlpinf_core.run(
        "null", scenarios="Offline", modes="performance", settings=hopeless, output=tmp_path
    ).runs
    assert not result.verdict.valid
    assert [path.name for path in result.directory.parent.iterdir()] == ["performance"]


@pytest.mark.slow
def test_a_server_run_that_its_measured_rate_spoilt_is_made_once_more_at_a_lower_one(
    tmp_path: Path,
) -> None:
    # Ten times what was measured saturates any machine.
    settings = {
        "loadgen": {"min_duration": 1},
        "run": {"measure_seconds": 0.5, "server_load": 10.0},
    }
    (result,) = mlpinf_core.run(
        "null", scenarios="Server", modes="performance", settings=settings, output=tmp_path
    ).runs
    assert result.directory.name == "performance-2"
    assert "missed its latency" in origin_of(result, "loadgen.target_qps")
    assert any("made once more" in note for note in result.verdict.notes)
    first = result.directory.with_name("performance")
    assert not mlpinf_core.RunResult.read(first).verdict.valid
