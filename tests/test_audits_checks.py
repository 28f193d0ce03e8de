"""The checks of each test on logs that are made for it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlpinf_core.audits.config import keys_of, not_taken, text
from mlpinf_core.audits.payloads import compare, write_subset
from mlpinf_core.audits.scores import compare_speed
from mlpinf_core.audits.tokens import check_tokens
from mlpinf_core.logs.accuracy import AccuracyLog
from mlpinf_core.logs.detail import DetailLog
from mlpinf_core.rules import ROUNDS, load_round
from mlpinf_core.vocabulary import Scenario

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

AUDITS = load_round("v5.1").audits


def accuracy_log(path: Path, entries: Sequence[tuple[int, bytes, bytes, int]]) -> AccuracyLog:
    """A log of (sample, answer, first token, tokens)."""
    lines = [
        f'{{ "seq_id" : {n}, "qsl_idx" : {sample}, "data" : "{answer.hex().upper()}"'
        + (f', "token_data" : "{first.hex().upper()}"' if first else "")
        + f', "token_count" : {count} }}'
        for n, (sample, answer, first, count) in enumerate(entries)
    ]
    path.write_text("[\n" + ",\n".join(lines) + ("\n" if lines else "") + "]\n")
    return AccuracyLog.read(path)


def answers(*rows: list[int]) -> list[tuple[int, bytes, bytes, int]]:
    """Answers of tokens to samples 0, 1, ..., reported as they are."""
    arrays = [np.array(row, np.int32) for row in rows]
    return [(n, a.tobytes(), a[:1].tobytes(), len(a)) for n, a in enumerate(arrays)]


def detail_log(path: Path, **values: Any) -> DetailLog:
    lines = [
        json.dumps(
            {"key": key, "value": value, "metadata": {"is_error": False, "is_warning": False}}
        )
        for key, value in values.items()
    ]
    path.write_text("".join(f":::MLLOG {line}\n" for line in lines))
    return DetailLog.read(path)


# -- TEST01: whole answers -----------------------------------------------------------------------


@given(
    rows=st.lists(st.binary(min_size=1, max_size=24), min_size=1, max_size=8),
    data=st.data(),
)
def test_one_other_byte_anywhere_in_an_answer_is_found(
    rows: list[bytes], data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("logs")
    good = [(n, row, b"", 1) for n, row in enumerate(rows)]
    sample = data.draw(st.integers(0, len(rows) - 1))
    place = data.draw(st.integers(0, len(rows[sample]) - 1))
    other = bytearray(rows[sample])
    other[place] ^= data.draw(st.integers(1, 255))
    changed = [(n, bytes(other) if n == sample else row, f, c) for n, row, f, c in good]
    reference = accuracy_log(folder / "reference.json", good)
    assert compare(reference, accuracy_log(folder / "same.json", good)).passed
    found = compare(reference, accuracy_log(folder / "other.json", changed))
    assert not found.passed
    assert found.differing == (sample,)


def test_an_answer_that_is_cut_short_differs(tmp_path: Path) -> None:
    reference = accuracy_log(tmp_path / "a", answers([1, 2, 3]))
    found = compare(reference, accuracy_log(tmp_path / "b", answers([1, 2])))
    assert found.mismatches == 1
    assert "num_perf_log_data_mismatch = 1\n" in found.text()
    assert found.text().endswith("TEST FAIL\n")


def test_a_test_that_logged_nothing_does_not_pass(tmp_path: Path) -> None:
    reference = accuracy_log(tmp_path / "a", answers([1]))
    assert "no answers" in str(compare(reference, accuracy_log(tmp_path / "b", [])).reason)


def test_a_subset_is_written_as_loadgen_writes(tmp_path: Path) -> None:
    log = accuracy_log(tmp_path / "a", answers([1, 2], [3], [4, 5, 6]))
    write_subset(log, np.array([2, 0, 2]), tmp_path / "b")
    found = AccuracyLog.read(tmp_path / "b")
    assert found.qsl_indices.tolist() == [0, 2]
    assert [a.tolist() for a in found.as_arrays(np.int32)] == [[1, 2], [4, 5, 6]]
    assert found.token_counts.tolist() == [2, 3]
    assert found.first_tokens == (log.first_tokens[0], log.first_tokens[2])


# -- TEST06: tokens ------------------------------------------------------------------------------


def tokens(path: Path, rows: list[tuple[int, bytes, bytes, int]], *, server: bool = True) -> str:
    log = accuracy_log(path / "log", rows)
    return check_tokens(log, dtype="int32", eos=2, first_tokens=server).text()


def test_good_answers_pass_every_check(tmp_path: Path) -> None:
    assert tokens(tmp_path, answers([5, 6, 2], [7, 8])) == (
        "First token check pass: True\nEOS check pass: True\n"
        "Sample length check pass: True\nTEST06 verification complete\n"
    )


def test_offline_reports_no_first_tokens_and_is_not_asked_for_them(tmp_path: Path) -> None:
    rows = [(n, data, b"", count) for n, data, _, count in answers([5, 6])]
    assert "First token check pass: Skipped\n" in tokens(tmp_path, rows, server=False)
    assert "First token check pass: False\n" in tokens(tmp_path, rows)


@pytest.mark.parametrize("row", [[5, 2, 2], [2, 2]])
def test_more_than_one_end_of_sequence_token_fails(row: list[int], tmp_path: Path) -> None:
    assert "EOS check pass: False\n" in tokens(tmp_path, answers(row))


def test_a_count_that_is_not_the_length_fails(tmp_path: Path) -> None:
    rows = [(n, data, first, count + 1) for n, data, first, count in answers([5, 6])]
    assert "Sample length check pass: False\n" in tokens(tmp_path, rows)


def test_another_first_token_fails(tmp_path: Path) -> None:
    rows = [(n, data, data[4:8], count) for n, data, _, count in answers([5, 6])]
    assert "First token check pass: False\n" in tokens(tmp_path, rows)


def test_half_a_token_fails(tmp_path: Path) -> None:
    rows = [(n, data + b"\0", first, count) for n, data, first, count in answers([5, 6])]
    assert "Sample length check pass: False\n" in tokens(tmp_path, rows)


def test_no_answers_fail(tmp_path: Path) -> None:
    text = tokens(tmp_path, [])
    assert "True" not in text
    assert text.endswith("TEST06 verification failed\n")


# -- TEST01, TEST04: speed -----------------------------------------------------------------------

OFFLINE = {
    "effective_scenario": "Offline",
    "effective_test_mode": "PerformanceOnly",
    "result_validity": "VALID",
}
STREAM = {**OFFLINE, "effective_scenario": "SingleStream"}


def speed(tmp_path: Path, test: str, reference: float, score: float, **other: Any) -> bool:
    key = "result_samples_per_second"
    one = detail_log(tmp_path / "reference", **OFFLINE, **{key: reference})
    two = detail_log(tmp_path / "test", **{**OFFLINE, key: score, **other})
    return compare_speed(one, two, Scenario.OFFLINE, AUDITS[test]).passed


@pytest.mark.parametrize(
    ("test", "score", "passed"),
    [
        ("TEST01", 89.9, False), ("TEST01", 90.0, True), ("TEST01", 110.0, True),
        ("TEST01", 110.1, False), ("TEST04", 1.0, True), ("TEST04", 109.9, True),
        ("TEST04", 110.1, False),
    ],
)  # fmt: skip
def test_the_score_may_differ_by_what_the_test_allows(
    test: str, score: float, passed: bool, tmp_path: Path
) -> None:
    assert speed(tmp_path, test, 100.0, score) is passed


@pytest.mark.parametrize(
    ("latency", "passed"), [(150_000, True), (190_000, True), (1_000_000, False)]
)
def test_a_short_latency_may_differ_by_more(latency: float, passed: bool, tmp_path: Path) -> None:
    key = "early_stopping_latency_ss"
    one = detail_log(tmp_path / "reference", **STREAM, **{key: latency})
    two = detail_log(tmp_path / "test", **STREAM, **{key: latency * 1.15})
    assert compare_speed(one, two, Scenario.SINGLE_STREAM, AUDITS["TEST01"]).passed is passed


@pytest.mark.parametrize(
    "other",
    [
        {"result_validity": "INVALID"}, {"effective_scenario": "Server"},
        {"effective_test_mode": "AccuracyOnly"}, {"result_samples_per_second": "fast"},
        {"result_samples_per_second": float("nan")},
    ],
)  # fmt: skip
def test_a_run_that_is_no_match_fails(other: dict[str, Any], tmp_path: Path) -> None:
    assert not speed(tmp_path, "TEST01", 100.0, 100.0, **other)


def test_server_runs_with_different_limits_are_not_compared(tmp_path: Path) -> None:
    server = {**OFFLINE, "effective_scenario": "Server", "result_completed_samples_per_sec": 9.0}
    one, two = (
        detail_log(tmp_path / str(limit), **server, effective_target_latency_ns=limit)
        for limit in (1, 2)
    )
    check = compare_speed(one, two, Scenario.SERVER, AUDITS["TEST01"])
    assert "latency limits differ" in str(check.reason)


# -- audit.config --------------------------------------------------------------------------------


@pytest.mark.parametrize("round_", ROUNDS)
def test_every_test_that_a_round_asks_for_is_described(round_: str) -> None:
    rules = load_round(round_)
    for benchmark in rules.benchmarks.values():
        for test in benchmark.audits:
            keys = keys_of(test, rules.audits[test], benchmark, Scenario.OFFLINE)
            assert keys["mode"] == 2
            assert test != "TEST01" or keys["accuracy_log_sampling_target"] in (128, 4096)


def test_a_benchmark_adds_to_a_tests_settings() -> None:
    rules = load_round("v5.1")
    sdxl = rules.benchmark("stable-diffusion-xl")
    offline = keys_of("TEST04", rules.audits["TEST04"], sdxl, Scenario.OFFLINE)
    assert offline["min_query_count"] == 500
    server = keys_of("TEST04", rules.audits["TEST04"], sdxl, Scenario.SERVER)
    assert "min_query_count" not in server
    assert "*.*.performance_issue_same_index = 3\n" in text(server)


def test_settings_that_loadgen_did_not_take_are_told(tmp_path: Path) -> None:
    detail = detail_log(
        tmp_path / "log",
        effective_test_mode="PerformanceOnly",
        effective_performance_issue_same=False,
    )
    causes = list(not_taken({"mode": 2, "performance_issue_same": 1}, detail))
    assert [cause.code for cause in causes] == ["audit-config"]
    assert "effective_performance_issue_same" in causes[0].message
