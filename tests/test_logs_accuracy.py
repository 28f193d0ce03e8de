"""The accuracy log: answers come out as they went in, and a damaged log is refused."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlpinf_core.errors import LogError
from mlpinf_core.logs.accuracy import AccuracyLog

DATA = Path(__file__).parent / "data" / "logs"
NAME = "mlperf_log_accuracy.json"
GOOD = (DATA / "6.0.17" / "server-tokens-accuracy" / NAME).read_bytes()


def real(folder: Path, **spec: object) -> AccuracyLog:
    spec = {"out": str(folder), "mode": "AccuracyOnly", "target_qps": 1000, **spec}
    command = [sys.executable, str(DATA / "make_log.py"), json.dumps(spec)]
    subprocess.run(command, check=True, timeout=120)
    return AccuracyLog.read(folder / NAME)


def written(folder: Path, text: str) -> Path:
    path = folder / NAME
    path.write_text(text, encoding="utf-8")
    return path


def entry(sample: int, data: str = "0A000000") -> str:
    return f'{{ "seq_id" : 0, "qsl_idx" : {sample}, "data" : "{data}" }}'


@pytest.mark.parametrize("tokens", [False, True])
@pytest.mark.parametrize("scenario", ["Offline", "Server", "SingleStream", "MultiStream"])
def test_loadgen_logs_every_sample_with_what_was_answered(
    tmp_path: Path, scenario: str, tokens: bool
) -> None:
    log = real(tmp_path, scenario=scenario, tokens=tokens, samples=20)
    assert log.missing(20).size == log.unknown(20).size == 0
    arrays = log.as_arrays(np.int32)
    for sample, array in zip(log.qsl_indices.tolist(), arrays, strict=True):
        assert array.tolist() == list(range(sample, sample + 4))
    assert set(log.token_counts.tolist()) == ({4} if tokens else {-1})
    firsts = [np.frombuffer(first, np.int32).tolist() for first in log.first_tokens]
    streamed = tokens and scenario != "Offline"
    assert firsts == [[sample] if streamed else [] for sample in log.qsl_indices.tolist()]


def test_multi_stream_answers_the_samples_that_pad_its_last_query_twice(tmp_path: Path) -> None:
    log = real(tmp_path, scenario="MultiStream", samples=20)
    assert len(log) == 24
    assert log.duplicates().size == 4
    assert log.qsl_indices[log.first_entries()].tolist() == list(range(20))


@pytest.mark.parametrize("version", ["5.1.2", "6.0.17"])
@pytest.mark.parametrize("run", ["server-tokens-accuracy", "offline-tokens-accuracy"])
def test_the_logs_of_every_wheel_are_read(version: str, run: str) -> None:
    path = DATA / version / run / NAME
    log = AccuracyLog.read(path)
    plain = json.loads(path.read_text(encoding="utf-8"))
    assert [bytes.fromhex(e["data"]) for e in plain] == list(log.payloads())
    assert [e["qsl_idx"] for e in plain] == log.qsl_indices.tolist()
    assert [e["seq_id"] for e in plain] == log.sequence_ids.tolist()
    assert [e["token_count"] for e in plain] == log.token_counts.tolist()
    assert log.payload(3) == bytes.fromhex(plain[3]["data"])


def test_the_log_of_a_performance_run_is_empty_and_good(tmp_path: Path) -> None:
    log = AccuracyLog.read(written(tmp_path, "[\n]\n"))
    assert len(log) == 0
    assert log.as_arrays(np.int8) == []
    assert log.missing(2).tolist() == [0, 1]


def test_duplicates_and_strangers_are_named(tmp_path: Path) -> None:
    lines = ",\n".join(entry(sample) for sample in (3, 1, 3, 9))
    log = AccuracyLog.read(written(tmp_path, f"[\n{lines}\n]\n"))
    assert log.duplicates().tolist() == [3]
    assert log.missing(4).tolist() == [0, 2]
    assert log.unknown(4).tolist() == [9]
    assert log.first_entries().tolist() == [1, 0, 3]


def test_an_answer_of_the_wrong_size_is_an_error_that_names_the_sample(tmp_path: Path) -> None:
    log = AccuracyLog.read(written(tmp_path, f"[\n{entry(7, 'AABBCC')}\n]\n"))
    with pytest.raises(LogError, match=r"sample 7 has 3 bytes, not a multiple of int32's 4"):
        log.as_arrays(np.int32)


def test_an_empty_answer_is_an_answer(tmp_path: Path) -> None:
    log = AccuracyLog.read(written(tmp_path, f"[\n{entry(7, '')}\n]\n"))
    assert log.payload(0) == b""
    assert log.as_arrays(np.int32)[0].size == 0


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "empty"),
        ("[", "truncated"),
        (f"[\n{entry(1)},\n", "truncated"),
        (f"[\n{entry(1)}\n", "truncated"),
        (f"[\n{entry(1)[:-9]}", "cut off"),
        (f"[\n{entry(1)},\n]\n", "comma"),
        (f"[\n{entry(1)}\n{entry(2)}\n]\n", "not what LoadGen writes"),
        (f"[\n{entry(1, 'ABC')}\n]\n", "half a byte"),
        (f"[\n{entry(1, 'XY')}\n]\n", "not what LoadGen writes"),
        ("[\n]\n]\n", "goes on"),
        ("{}\n", "does not begin"),
    ],
)
def test_a_damaged_log_is_refused_with_the_reason(tmp_path: Path, text: str, why: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(LogError, match=why) as caught:
        AccuracyLog.read(path)
    assert str(path) in str(caught.value)


def test_a_missing_log_is_a_log_error(tmp_path: Path) -> None:
    with pytest.raises(LogError, match="cannot be read"):
        AccuracyLog.read(tmp_path / NAME)


def test_a_log_that_changed_after_it_was_read_is_not_trusted(tmp_path: Path) -> None:
    path = written(tmp_path, f"[\n{entry(1)}\n]\n")
    log = AccuracyLog.read(path)
    path.write_text("[\n", encoding="utf-8")
    with pytest.raises(LogError, match="has changed"):
        log.payload(0)
    path.unlink()
    with pytest.raises(LogError, match="has changed"):
        log.as_arrays(np.int8)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_any_truncation_of_a_good_log_is_a_log_error(data: st.DataObject) -> None:
    # Without its last newline the log is still whole.
    cut = data.draw(st.integers(0, len(GOOD) - 2))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / NAME
        path.write_bytes(GOOD[:cut])
        with pytest.raises(LogError):
            AccuracyLog.read(path)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_any_corruption_of_a_good_log_is_a_log_error_or_none(data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(GOOD)))
    stop = data.draw(st.integers(start, min(len(GOOD), start + 100)))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / NAME
        path.write_bytes(GOOD[:start] + data.draw(st.binary(max_size=20)) + GOOD[stop:])
        # What is not a LogError fails the test by itself.
        with contextlib.suppress(LogError):
            AccuracyLog.read(path).as_arrays(np.int32)
