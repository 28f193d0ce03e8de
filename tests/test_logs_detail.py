"""The detail log: what LoadGen writes is read, and anything else is refused with a LogError."""

from __future__ import annotations

import contextlib
import json
import tempfile
from array import array
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlpinf_core.errors import LogError
from mlpinf_core.logs.detail import KEPT, DetailLog

DATA = Path(__file__).parent / "data" / "logs"
VERSIONS = ("5.1.2", "6.0.17")
GOOD = (DATA / "6.0.17" / "server-tokens" / "mlperf_log_detail.txt").read_bytes()


def log_of(folder: Path, *lines: str, end: str = "\n") -> Path:
    path = folder / "mlperf_log_detail.txt"
    path.write_text("\n".join(lines) + end, encoding="utf-8")
    return path


def line(key: str, value: object, *, error: bool = False, warning: bool = False) -> str:
    metadata = {"is_error": error, "is_warning": warning, "file": "x.cc", "line_no": 1}
    return ":::MLLOG " + json.dumps({"key": key, "value": value, "metadata": metadata})


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    "run",
    ["offline", "server-tokens", "single-stream", "server-tokens-accuracy",
     "offline-tokens-accuracy"],
)  # fmt: skip
def test_the_logs_of_every_wheel_are_read_whole(version: str, run: str) -> None:
    path = DATA / version / run / "mlperf_log_detail.txt"
    detail = DetailLog.read(path)
    assert detail.text("loadgen_version").startswith(version)
    assert detail.finished
    assert detail.error_count == 0
    assert sum(detail.counts.values()) == len(path.read_bytes().splitlines())


def test_values_have_the_types_that_loadgen_logs() -> None:
    detail = DetailLog.read(DATA / "6.0.17" / "server-tokens" / "mlperf_log_detail.txt")
    assert detail.integer("result_query_count") == 70
    assert detail.number("effective_target_latency_percentile") == 0.99
    assert detail.flag("result_min_duration_met") is True
    assert detail.text("effective_scenario") == "Server"
    assert isinstance(detail.require("loaded_qsl_set"), array)
    assert sorted(detail.require("loaded_qsl_set")) == list(range(8))


def test_the_last_of_several_values_counts_and_all_are_kept(tmp_path: Path) -> None:
    detail = DetailLog.read(log_of(tmp_path, line("a", 1), line("b", 2), line("a", 3)))
    assert detail.get("a") == 3
    assert [(found.line, found.value) for found in detail.all("a")] == [(1, 1), (3, 3)]
    assert detail.all("c") == ()


def test_errors_and_warnings_keep_their_lines(tmp_path: Path) -> None:
    detail = DetailLog.read(
        log_of(
            tmp_path,
            line("a", 1),
            line("error_runtime", "bad", error=True),
            line("warning_generic_message", "odd", warning=True),
        )
    )
    assert [(e.line, e.key, e.message) for e in detail.errors] == [(2, "error_runtime", "bad")]
    assert [(w.line, w.message) for w in detail.warnings] == [(3, "odd")]


def test_a_flood_of_errors_is_counted_and_not_kept(tmp_path: Path) -> None:
    flood = [line("error_runtime", f"bad {i}", error=True) for i in range(KEPT + 5)]
    detail = DetailLog.read(log_of(tmp_path, *flood))
    assert detail.error_count == KEPT + 5
    assert len(detail.errors) == len(detail.all("error_runtime")) == KEPT
    assert detail.get("error_runtime") == f"bad {KEPT + 4}"


def test_the_empty_log_of_a_process_that_died_is_called_that(tmp_path: Path) -> None:
    path = tmp_path / "mlperf_log_detail.txt"
    path.touch()
    with pytest.raises(LogError, match="empty: the process died") as caught:
        DetailLog.read(path)
    assert caught.value.where == str(path)


def test_a_missing_log_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(LogError, match="cannot be read") as caught:
        DetailLog.read(tmp_path / "none.txt")
    assert "none.txt" in str(caught.value)


def test_a_line_that_is_cut_off_is_an_error_with_its_number(tmp_path: Path) -> None:
    with pytest.raises(LogError, match="truncated") as caught:
        DetailLog.read(log_of(tmp_path, line("a", 1), line("b", 2)[:-3], end=""))
    assert "line 2" in str(caught.value)


@pytest.mark.parametrize(
    "text",
    ["noise", ":::MLLOG", ":::MLLOG []", ':::MLLOG {"key": 1}', ":::MLLOG {not json}",
     ':::MLLOG {"key": 3, "value": 1, "metadata": {"is_error": false, "is_warning": false}}',
     ":::MLLOG " + "[" * 100_000, ":::MLLOG " + "9" * 10_000, line("loaded_qsl_set", ["x"]),
     line("loaded_qsl_set", [2**70])],
)  # fmt: skip
def test_a_line_that_loadgen_does_not_write_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(LogError) as caught:
        DetailLog.read(log_of(tmp_path, line("a", 1), text))
    assert "line 2" in str(caught.value)


def test_a_log_that_breaks_off_between_lines_is_read_and_is_not_finished(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"".join(GOOD.splitlines(keepends=True)[:40]))
    detail = DetailLog.read(path)
    assert not detail.finished
    with pytest.raises(LogError, match="no 'result_validity'") as caught:
        detail.require("result_validity")
    assert "did not finish" in str(caught.value)


@pytest.mark.parametrize("how", ["number", "integer", "flag", "text"])
def test_an_accessor_refuses_a_value_of_another_type(tmp_path: Path, how: str) -> None:
    detail = DetailLog.read(log_of(tmp_path, line("a", {"x": 1})))
    with pytest.raises(LogError, match="'a' in the detail log is"):
        getattr(detail, how)("a")


def test_true_is_not_a_number_and_one_is_not_true(tmp_path: Path) -> None:
    detail = DetailLog.read(log_of(tmp_path, line("t", value=True), line("n", 1), line("f", 2.0)))
    for how, key in (("number", "t"), ("integer", "t"), ("flag", "n")):
        with pytest.raises(LogError):
            getattr(detail, how)(key)
    assert detail.integer("f") == 2


def test_rates_of_a_single_query_are_numbers_although_not_finite(tmp_path: Path) -> None:
    text = line("a", 0).replace('"value": 0', '"value": Infinity')
    assert DetailLog.read(log_of(tmp_path, text)).number("a") == float("inf")


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_any_corruption_of_a_good_log_is_a_log_error_or_none(data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(GOOD)))
    stop = data.draw(st.integers(start, min(len(GOOD), start + 300)))
    damaged = GOOD[:start] + data.draw(st.binary(max_size=20)) + GOOD[stop:]
    if data.draw(st.booleans()):
        damaged = damaged[: data.draw(st.integers(0, len(damaged)))]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "log"
        path.write_bytes(damaged)
        # What is not a LogError fails the test by itself.
        with contextlib.suppress(LogError):
            DetailLog.read(path).number("result_query_count")
