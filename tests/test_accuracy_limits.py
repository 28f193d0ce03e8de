"""Scores are held against both sides of their limits."""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np
import pytest

from mlpinf_core.accuracy import AccuracyResult, judge, text
from mlpinf_core.errors import AccuracyError
from mlpinf_core.protocols import NotGraded
from mlpinf_core.rules.model import Limit


@pytest.mark.parametrize(
    ("value", "passed"), [(0.9, False), (1.0, True), (2.0, True), (2.1, False), (np.nan, False)]
)
def test_a_score_must_lie_in_its_band_bounds_included(value: float, passed: bool) -> None:
    assert judge({"m": value}, {"m": Limit(1.0, 2.0)}).passed is passed


def test_an_open_side_lets_everything_pass() -> None:
    assert judge({"m": 1e9}, {"m": Limit(lower=1.0)}).passed
    assert judge({"m": -1e9}, {"m": Limit(upper=1.0)}).passed
    assert not judge({"m": float("nan")}, {"m": Limit()}).passed


def test_one_missed_limit_fails_the_run_and_the_others_are_still_shown() -> None:
    result = judge({"a": 1.0, "b": 0.0}, {"a": Limit(1.0), "b": Limit(1.0)})
    assert not result.passed
    assert [(s.metric, s.passed) for s in result.scores] == [("a", True), ("b", False)]


def test_a_limit_without_a_score_is_an_error_that_names_the_metric() -> None:
    with pytest.raises(AccuracyError, match="no score for ROUGE2") as caught:
        judge({"ROUGE1": 1.0}, {"ROUGE1": Limit(1.0), "ROUGE2": Limit(1.0)})
    assert "it gave ROUGE1" in str(caught.value)


def test_a_score_without_a_limit_is_reported_and_not_judged() -> None:
    result = judge({"extra": 3.0, "m": 1.0}, {"m": Limit(1.0)})
    assert [(s.metric, s.limit) for s in result.scores] == [("m", Limit(1.0)), ("extra", None)]
    assert result.passed


def test_a_score_that_is_no_number_is_an_error() -> None:
    with pytest.raises(AccuracyError, match="score of m is 'high'"):
        judge({"m": "high"}, {})


def test_a_metric_that_was_not_graded_does_not_pass_and_has_no_number_anywhere() -> None:
    scores = {"EXACT_MATCH": NotGraded("set benchmark.grade_code"), "TOKENS_PER_SAMPLE": 3.0}
    result = judge(scores, {"EXACT_MATCH": Limit(80.0), "TOKENS_PER_SAMPLE": Limit(1.0)})
    assert not result.passed
    assert [s.metric for s in result.not_graded] == ["EXACT_MATCH"]
    assert result.not_graded[0].not_graded == "set benchmark.grade_code"
    assert text(result) == "{'tokens_per_sample': 3.0}"
    plain = result.to_dict()["scores"][0]
    assert (plain["value"], plain["passed"]) == (None, False)
    again = AccuracyResult.from_dict(json.loads(json.dumps(result.to_dict())))
    assert again.not_graded[0].not_graded == "set benchmark.grade_code"


def test_an_open_band_does_not_let_a_metric_pass_that_was_not_graded() -> None:
    assert not judge({"m": NotGraded("later")}, {"m": Limit()}).passed


def test_a_metric_that_nobody_judges_may_stay_ungraded() -> None:
    result = judge({"m": 1.0, "extra": NotGraded("slow")}, {"m": Limit(1.0)})
    assert result.passed
    assert not result.not_graded


def test_what_was_not_graded_is_known_as_such_on_the_other_side_of_a_pipe() -> None:
    sent = json.loads(json.dumps({"m": NotGraded("slow").to_dict()}))
    assert judge(sent, {"m": Limit(1.0)}).scores[0].not_graded == "slow"


def test_numbers_of_numpy_become_plain_ones() -> None:
    scores: dict[str, Any] = {"ROUGE1": np.float64(38.5), "GEN_LEN": np.int64(7)}
    result = judge(scores, {})
    assert all(type(score.value) is float for score in result.scores)
    assert "np." not in text(result)


def test_a_result_survives_json() -> None:
    result = judge({"a": 1.0, "b": 2.0}, {"a": Limit(1.0, None)})
    assert AccuracyResult.from_dict(json.loads(json.dumps(result.to_dict()))) == result
    broken = judge({"a": float("nan")}, {"a": Limit(1.0)}).to_dict()
    assert AccuracyResult.from_dict(json.loads(json.dumps(broken))).scores[0].passed is False


@pytest.mark.parametrize(
    ("metric", "value", "pattern"),
    [
        ("ROUGE1", 38.7792, r".*'rouge1':\s+'?([\d.]+)'?.*"),
        ("ROUGELSUM", 35.793, r".*'rougeLsum':\s+'?([\d.]+)'?.*"),
        ("GEN_LEN", 8167644.0, r".*'gen_len':\s([\d.]+).*"),
        ("TOKENS_PER_SAMPLE", 294.45, r".*'tokens_per_sample':\s([\d.]+).*"),
        ("exact_match", 0.00001, r".*'exact_match':\s([\d.]+).*"),
        ("CLIP_SCORE", 31.7, r".*'CLIP_SCORE':\s+'?([\d.]+).*"),
        ("acc", 0.7286, r"^(?:\{\"accuracy|accuracy)[\": ]*=?\s*([\d\.]+).*"),
        ("ACCURACY", 97.9329, r"Word Error Rate\:.*, accuracy=([0-9\.]+)%"),
    ],
)
def test_the_submission_checkers_patterns_find_the_value(
    metric: str, value: float, pattern: str
) -> None:
    line = text(judge({metric: value}, {}))
    found = re.match(pattern, line)
    assert found is not None
    assert float(found[1]) == pytest.approx(value)
    assert "\n" not in line
