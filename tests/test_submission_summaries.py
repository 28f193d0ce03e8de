"""A summary is held against the detail log beside it, figure by figure."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from mlpinf_core.logs.detail import DetailLog
from mlpinf_core.submission.checking.notes import Notes
from mlpinf_core.submission.checking.summaries import check_summary

if TYPE_CHECKING:
    from pathlib import Path

HEAD = "SUT name : x\nScenario : {}\nMode     : PerformanceOnly\n"
LOGGED: dict[str, dict[str, Any]] = {
    "Offline": {"result_samples_per_second": 1234570, "result_tokens_per_second": 5.51153},
    "Server": {
        "result_completed_samples_per_sec": 46849.1,
        "result_completed_tokens_per_second": 93705.2,
        "result_first_token_99.00_percentile_latency_ns": 30270246,
        "result_time_per_output_token_99.00_percentile_ns": 9249195,
    },
    "SingleStream": {"result_90.00_percentile_latency_ns": 2152399408},
    "MultiStream": {
        "result_99.00_percentile_per_query_latency_ns": 700,
        "result_99.00_percentile_latency_ns": 500,
    },
}
GOOD = {
    "Offline": "Samples per second: 1.23457e+06\nTokens per second: 5.51153\n",
    "Server": "Completed samples per second    : 46849.10\nCompleted tokens per second: 93705.20\n"
    "99.00 percentile first token latency (ns)   : 30270246\n"
    "99.00 percentile time to output token (ns)   : 9249195\n",
    "SingleStream": "90.0th percentile latency (ns) : 2152399408\n"
    "90.00 percentile latency (ns)   : 2152399408\n",
    "MultiStream": "99.0th percentile latency (ns) : 700\nPer-query latency:  \n",
}


def messages(folder: Path, scenario: str, body: str, **values: object) -> list[str]:
    quiet = {"is_error": False, "is_warning": False}
    said: dict[str, object] = {
        "result_validity": "VALID",
        "effective_scenario": scenario,
        **LOGGED[scenario],
    }
    lines = (
        json.dumps({"key": key, "value": value, "metadata": quiet})
        for key, value in (said | values).items()
    )
    log = folder / "mlperf_log_detail.txt"
    log.write_text("".join(f":::MLLOG {line}\n" for line in lines))
    (folder / "mlperf_log_summary.txt").write_text(
        HEAD.format(scenario) + body + "Result is : VALID\n"
    )
    notes = Notes(folder)
    check_summary(DetailLog.read(log), "PerformanceOnly", notes)
    assert {finding.rule for finding in notes.findings} <= {"summary"}
    assert {finding.path for finding in notes.findings} <= {"mlperf_log_summary.txt"}
    assert all("neither is to be edited" in finding.remedy for finding in notes.findings)
    return [finding.message for finding in notes.findings]


@pytest.mark.parametrize("scenario", GOOD)
def test_figures_that_agree_to_their_digits_are_accepted(scenario: str, tmp_path: Path) -> None:
    assert messages(tmp_path, scenario, GOOD[scenario]) == []


@pytest.mark.parametrize("scenario", GOOD)
def test_every_figure_that_was_edited_is_named_with_both_values(
    scenario: str, tmp_path: Path
) -> None:
    lines = [line for line in GOOD[scenario].splitlines() if line.partition(":")[2].strip()]
    for line in lines:
        name, _, figure = line.partition(":")
        edited = f"{name}: {float(figure) * 1.01:.6g}"
        found = messages(tmp_path, scenario, "\n".join([*lines, edited]) + "\n")
        assert len(found) == 1, found
        assert name.strip() in found[0]
        assert "of the detail log is" in found[0]


@pytest.mark.parametrize("figure", ["fast", "nan", "inf", "1e999"])
def test_what_is_no_number_is_named(figure: str, tmp_path: Path) -> None:
    assert len(messages(tmp_path, "Offline", f"Samples per second: {figure}\n")) == 1


def test_a_figure_that_is_gone_is_named(tmp_path: Path) -> None:
    assert messages(tmp_path, "Server", "") == ["it does not say the result"]


def test_a_log_with_a_word_for_a_figure_disagrees_with_any(tmp_path: Path) -> None:
    body = GOOD["Offline"]
    assert len(messages(tmp_path, "Offline", body, result_samples_per_second="many")) == 1
    assert len(messages(tmp_path, "Offline", body, result_samples_per_second=10**400)) == 1
