"""Scoring: the official script's arithmetic, on logs written by hand."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
import pytest

from mlpinf_core.accuracy import judge, text
from mlpinf_core.errors import AccuracyError, LogError
from mlpinf_core.logs.accuracy import AccuracyLog
from mlpinf_rgat import accuracy
from mlpinf_rgat.samples import RgatSamples

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from mlpinf_rgat.graph import Graph

LABELS = [0, 255, 256, 319, 2982, 300]


@pytest.fixture
def samples(graph: Graph) -> RgatSamples:
    labels = np.array(LABELS, dtype=np.int64)
    return RgatSamples(attrs.evolve(graph, validation=np.arange(6), labels=labels))


def log_of(folder: Path, answers: Sequence[tuple[int, Any]]) -> AccuracyLog:
    lines = [
        f'{{ "seq_id" : {n}, "qsl_idx" : {index}, "data" : "{data.tobytes().hex().upper()}" }}'
        for n, (index, data) in enumerate(answers)
    ]
    path = folder / "mlperf_log_accuracy.json"
    path.write_text("[\n" + ",\n".join(lines) + "\n]\n")
    return AccuracyLog.read(path)


def official(log: AccuracyLog, labels: Sequence[int], dtype: str) -> float:
    """What accuracy_igbh.py computes of a log, in other words."""
    seen: dict[int, int] = {}
    for entry in json.loads(log.path.read_text()):
        value = int(np.frombuffer(bytes.fromhex(entry["data"]), dtype)[0])
        seen.setdefault(entry["qsl_idx"], value)
    return sum(labels[index] == value for index, value in seen.items()) / len(seen)


def test_classes_beyond_a_byte_count_in_full(samples: RgatSamples, tmp_path: Path) -> None:
    log = log_of(tmp_path, [(i, np.int64(label)) for i, label in enumerate(LABELS)])
    assert accuracy.score(samples, log) == {"acc": 1.0}
    assert official(log, LABELS, "int64") == 1.0
    assert official(log, LABELS, "uint8") == 2 / 6  # what the script reads unless it is told


@pytest.mark.parametrize("seed", range(5))
def test_the_score_is_the_official_scripts(seed: int, samples: RgatSamples, tmp_path: Path) -> None:
    rng = np.random.default_rng(seed)
    answers = [(int(i), np.int64(rng.choice(LABELS))) for i in rng.integers(0, 6, 30)]
    log = log_of(tmp_path, answers)
    assert accuracy.score(samples, log)["acc"] == official(log, LABELS, "int64")


def test_an_answer_that_differs_by_256_is_wrong(samples: RgatSamples, tmp_path: Path) -> None:
    log = log_of(tmp_path, [(2, np.int64(0)), (3, np.int64(319))])
    assert accuracy.score(samples, log) == {"acc": 0.5}


def test_of_two_answers_to_a_sample_the_first_counts(samples: RgatSamples, tmp_path: Path) -> None:
    log = log_of(tmp_path, [(1, np.int64(9)), (1, np.int64(255))])
    assert accuracy.score(samples, log) == {"acc": 0.0}


def test_it_is_written_as_the_fraction_that_the_submission_checker_reads(
    samples: RgatSamples, tmp_path: Path
) -> None:
    log = log_of(tmp_path, [(0, np.int64(0)), (1, np.int64(3)), (2, np.int64(256))])
    assert text(judge(accuracy.score(samples, log), {})) == "accuracy=0.6666666667"


@pytest.mark.parametrize(
    ("answers", "error", "message"),
    [
        ([(6, np.int64(1))], AccuracyError, "the log has sample 6 of a data set of 6"),
        ([(1, np.arange(2))], AccuracyError, "sample 1 has 2 numbers instead of one"),
        ([(1, np.zeros(0, np.int64))], AccuracyError, "sample 1 has 0 numbers instead of one"),
        ([(1, np.uint8(255))], LogError, "has 1 bytes, not a multiple of int64's 8"),
    ],
)
def test_a_log_that_cannot_be_scored_says_why(
    answers: Any, error: type[Exception], message: str, samples: RgatSamples, tmp_path: Path
) -> None:
    with pytest.raises(error, match=message):
        accuracy.score(samples, log_of(tmp_path, answers))
