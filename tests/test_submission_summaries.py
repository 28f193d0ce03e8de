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
    "Offline": {
        "result_samples_per_second": 1234570,
        "result_tokens_per_second": 5.51153,
        "result_inferred_tokens_per_second": 0.00551153,
        "result_min_latency_ns": 17,
        "result_max_latency_ns": 90,
        "result_mean_latency_ns": 40,
        "result_99.90_percentile_latency_ns": 89,
    },
    "Server": {
        "result_completed_samples_per_sec": 46849.1,
        "result_scheduled_samples_per_sec": 50461.7,
        "result_completed_tokens_per_second": 93705.2,
        "result_inferred_completed_tokens_per_second": 0.004,
        "result_first_token_min_latency_ns": 1,
        "result_first_token_max_latency_ns": 32626451,
        "result_first_token_mean_latency_ns": 11250812,
        "result_first_token_99.00_percentile_latency_ns": 30270246,
        "result_time_to_output_token_min": 17496,
        "result_time_to_output_token_max": 9249195,
        "result_time_to_output_token_mean": 885016,
        "result_time_per_output_token_99.00_percentile_ns": 9249195,
    },
    "SingleStream": {
        "result_qps_with_loadgen_overhead": 0.464601,
        "result_qps_without_loadgen_overhead": 0.464612,
        "result_90.00_percentile_latency_ns": 2152399408,
        "result_first_token_90.00_percentile_latency_ns": 12,
        "result_token_throughput_with_loadgen_overhead": 12.3457,
        "result_token_throughput": 1.23457e-08,
        "result_completed_tokens_per_second": 12.3,
    },
    "MultiStream": {
        "result_min_query_latency_ns": 600,
        "result_max_query_latency_ns": 800,
        "result_mean_query_latency_ns": 650,
        "result_99.00_percentile_per_query_latency_ns": 700,
        "result_min_latency_ns": 400,
        "result_max_latency_ns": 600,
        "result_mean_latency_ns": 450,
        "result_99.00_percentile_latency_ns": 500,
    },
}
SPREAD = """\
Min latency (ns)                : {}
Max latency (ns)                : {}
Mean latency (ns)               : {}
"""
GOOD = {
    "Offline": "Samples per second: 1.23457e+06\nTokens per second: 5.51153\n"
    "Tokens per second (inferred): 0.00551153\n"
    + SPREAD.format(17, 90, 40)
    + "99.90 percentile latency (ns)   : 89\n",
    "Server": "Completed samples per second    : 46849.10\nCompleted tokens per second: 93705.20\n"
    "Completed tokens per second (inferred): 0.00\nScheduled samples per second : 50461.67\n"
    "Min First Token latency (ns)                : 1\n"
    "Max First Token latency (ns)                : 32626451\n"
    "Mean First Token latency (ns)               : 11250812\n"
    "99.00 percentile first token latency (ns)   : 30270246\n"
    "Min Time {} Output Token (ns)                : 17496\n"
    "Max Time {} Output Token (ns)                : 9249195\n"
    "Mean Time {} Output Token (ns)               : 885016\n"
    "99.00 percentile time to output token (ns)   : 9249195\n".replace("{}", "per"),
    "SingleStream": "90.0th percentile latency (ns) : 2152399408\n"
    "90.0th first token percentile latency (ns) : 12\n"
    "QPS w/ loadgen overhead         : 0.46\nQPS w/o loadgen overhead        : 0.46\n"
    "90.00 percentile latency (ns)   : 2152399408\n"
    "TPS w/ loadgen overhead         : 12.35\nTPS w/o loadgen overhead        : 12.35\n"
    "90.00 percentile first token latency (ns)   : 12\n",
    "MultiStream": "99.0th percentile latency (ns) : 700\nPer-query latency:  \n"
    + SPREAD.format(600, 800, 650)
    + "99.00 percentile latency (ns)   : 700\n",
}
APART = ("TPS w/o loadgen overhead",)
"""What is not compared."""


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


def test_what_loadgen_5_1_calls_the_time_of_a_token_is_compared_too(tmp_path: Path) -> None:
    older = GOOD["Server"].replace("Time per", "Time to")
    assert messages(tmp_path, "Server", older) == []
    assert len(messages(tmp_path, "Server", older.replace(": 885016", ": 885015"))) == 1


def figures(scenario: str) -> list[tuple[str, str]]:
    """Each line of a good summary, split at its colon."""
    lines = (line.partition(":") for line in GOOD[scenario].splitlines())
    return [(name, figure.strip()) for name, _, figure in lines if figure.strip()]


@pytest.mark.parametrize(
    ("scenario", "name", "figure"),
    [(scenario, *found) for scenario in GOOD for found in figures(scenario)],
)
def test_every_figure_that_was_edited_is_named_with_both_values(
    scenario: str, name: str, figure: str, tmp_path: Path
) -> None:
    # By the last digit of a latency, and of a rate by one of a thousand, in two places at least.
    more = float(figure) * 1.001 + (0.0 if scenario == "Offline" else 0.01)
    edited = str(int(figure) + 1) if figure.isdigit() else f"{more:.6g}"
    found = messages(tmp_path, scenario, f"{GOOD[scenario]}{name}: {edited}\n")
    if name.strip() in APART:
        assert found == []
        return
    assert len(found) == 1, found
    assert name.strip() in found[0]
    assert "of the detail log is" in found[0]


@pytest.mark.parametrize("figure", ["fast", "nan", "inf", "1e999", "1234570 or so", ""])
def test_what_is_no_number_is_named(figure: str, tmp_path: Path) -> None:
    body = f"{GOOD['Offline']}Samples per second: {figure}\n"
    assert len(messages(tmp_path, "Offline", body)) == 1


def test_a_slow_system_has_no_wider_tolerance(tmp_path: Path) -> None:
    body = GOOD["Offline"].replace(": 5.51153", ": 0.009")
    (found,) = messages(tmp_path, "Offline", body, result_tokens_per_second=0.004)
    assert "'Tokens per second' is 0.009" in found


@pytest.mark.parametrize("scenario", GOOD)
def test_a_figure_that_is_gone_is_named(scenario: str, tmp_path: Path) -> None:
    lines = GOOD[scenario].splitlines(keepends=True)
    for name, _ in figures(scenario):
        rest = "".join(line for line in lines if not line.startswith(f"{name}:"))
        said_twice = name.startswith(("90.0", "99.0")) and "Stream" in scenario
        if name.strip() in APART or said_twice:
            continue
        (found,) = messages(tmp_path, scenario, rest)
        assert "it does not say" in found
    (found,) = messages(tmp_path, scenario, "")
    assert "more of its figures" in found


def test_the_headline_of_a_stream_is_missed_though_its_percentile_is_there(tmp_path: Path) -> None:
    rest = "".join(
        line for line in GOOD["SingleStream"].splitlines(keepends=True) if "th " not in line
    )
    assert messages(tmp_path, "SingleStream", rest) == ["it does not say the result"]


def test_a_line_of_a_million_spaces_is_read_like_any_other(tmp_path: Path) -> None:
    body = f"{GOOD['Offline']}x{' ' * 1_000_000}y\n"
    assert messages(tmp_path, "Offline", body) == []


def test_a_log_with_a_word_for_a_figure_disagrees_with_any(tmp_path: Path) -> None:
    body = GOOD["Offline"]
    assert len(messages(tmp_path, "Offline", body, result_samples_per_second="many")) == 1
    assert len(messages(tmp_path, "Offline", body, result_samples_per_second=10**400)) == 1
