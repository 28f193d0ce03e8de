"""Scoring an accuracy log: real logs' format, references by the log's own indices."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from mlpinf_core.errors import AccuracyError, LogError
from mlpinf_core.logs.accuracy import AccuracyLog
from mlpinf_whisper import alphabet
from mlpinf_whisper.accuracy import score
from mlpinf_whisper.manifest import Entry, Manifest
from mlpinf_whisper.samples import AudioSamples

if TYPE_CHECKING:
    from pathlib import Path

SAID = ["he was there", "a tea cup of tea", "nobody - but nobody!"]


def samples(folder: Path, transcripts: list[str] = SAID) -> AudioSamples:
    entries = tuple(Entry(text, folder / f"{n}.wav", 1) for n, text in enumerate(transcripts))
    audio = np.zeros(len(entries), dtype=np.int16)
    manifest = Manifest(folder / "dev-all-repack.json", entries)
    return AudioSamples(audio, np.arange(len(entries) + 1), manifest)


def log(folder: Path, *heard: tuple[int, str]) -> AccuracyLog:
    return raw_log(folder, *((row, alphabet.encode(text).tobytes()) for row, text in heard))


def raw_log(folder: Path, *answers: tuple[int, bytes]) -> AccuracyLog:
    lines = [
        f'{{ "seq_id" : {n}, "qsl_idx" : {row}, "data" : "{data.hex().upper()}" }}'
        for n, (row, data) in enumerate(answers)
    ]
    path = folder / "mlperf_log_accuracy.json"
    path.write_text("[\n" + ",\n".join(lines) + "\n]\n", encoding="ascii")
    return AccuracyLog.read(path)


def test_right_transcripts_score_100_in_any_order(tmp_path: Path) -> None:
    heard = log(tmp_path, (2, "Nobody, but nobody."), (0, "He was there!"), (1, "a teacup of tea"))
    assert score(samples(tmp_path), heard) == {"ACCURACY": 100.0, "WER": 0.0}


def test_the_rate_is_over_all_words(tmp_path: Path) -> None:
    heard = log(tmp_path, (0, "he is there"), (1, "a tea cup"), (2, "nobody but nobody"))
    found = score(samples(tmp_path), heard)
    assert found["WER"] == pytest.approx(100 * 3 / 11, abs=1e-9)
    assert found["ACCURACY"] == pytest.approx(100 * 8 / 11, abs=1e-9)


def test_a_sample_that_is_answered_twice_counts_once(tmp_path: Path) -> None:
    heard = log(tmp_path, (0, "he was there"), (0, "nothing like it"))
    assert score(samples(tmp_path), heard)["WER"] == 0


def test_an_empty_answer_misses_every_word(tmp_path: Path) -> None:
    assert score(samples(tmp_path), log(tmp_path, (0, ""))) == {"ACCURACY": 0.0, "WER": 100.0}


def test_a_sample_that_the_data_set_does_not_have_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AccuracyError, match="sample 3 of a data set of 3"):
        score(samples(tmp_path), log(tmp_path, (3, "he was there")))


def test_a_number_that_is_no_label_is_refused(tmp_path: Path) -> None:
    heard = raw_log(tmp_path, (1, np.array([3, 77], dtype=np.int64).tobytes()))
    with pytest.raises(AccuracyError, match="answer to sample 1 is no transcript: label 77"):
        score(samples(tmp_path), heard)


def test_bytes_where_the_reference_has_int64_are_refused(tmp_path: Path) -> None:
    heard = raw_log(tmp_path, (0, np.array([3, 7, 1], dtype=np.int8).tobytes()))
    with pytest.raises(LogError, match="not a multiple of int64"):
        score(samples(tmp_path), heard)


def test_references_without_words_are_an_error_and_no_division_by_zero(tmp_path: Path) -> None:
    with pytest.raises(AccuracyError, match="the references have no words"):
        score(samples(tmp_path, ["--"]), log(tmp_path, (0, "he was there")))
