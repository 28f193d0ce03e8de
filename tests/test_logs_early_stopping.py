"""The arithmetic of early stopping is LoadGen's own."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mlpinf_core.logs.detail import DetailLog
from mlpinf_core.logs.early_stopping import (
    allowed_over,
    binomial_cdf,
    passes,
    queries_at_share,
    queries_needed,
)

DATA = Path(__file__).parent / "data" / "logs"


@pytest.mark.parametrize(
    ("percentile", "over", "queries"),
    [(0.9, 0, 44), (0.9, 1, 64), (0.99, 0, 459), (0.99, 1, 662), (0.99, 2, 838)],
)
def test_the_numbers_of_queries_are_those_that_mlperf_publishes(
    percentile: float, over: int, queries: int
) -> None:
    assert queries_needed(percentile, over) == queries
    assert allowed_over(queries, percentile) == over
    assert allowed_over(queries - 1, percentile) == over - 1


def test_loadgens_own_advice_comes_to_the_same() -> None:
    detail = DetailLog.read(DATA / "6.0.17" / "server-tokens" / "mlperf_log_detail.txt")
    found = re.search(r"at least (\d+) more", detail.text("early_stopping_tpot_result"))
    assert found is not None
    assert int(found[1]) + detail.integer("result_query_count") == queries_needed(0.99, 0)


def test_the_binomial_sum_is_exact_where_it_can_be_checked() -> None:
    assert binomial_cdf(-1, 10, 0.5) == 0
    assert binomial_cdf(10, 10, 0.5) == 1
    assert binomial_cdf(1, 3, 0.5) == pytest.approx(0.5)
    assert binomial_cdf(4, 5, 0.1) == pytest.approx(1 - 1e-5)


def test_a_long_run_is_allowed_nearly_its_share() -> None:
    assert 2500 < allowed_over(270_336, 0.99) < 2703


def test_a_share_near_the_limit_needs_more_queries_and_one_over_it_cannot_pass() -> None:
    few, many = queries_at_share(0.99, 0.001), queries_at_share(0.99, 0.009)
    assert few is not None
    assert many is not None
    assert few < many
    assert passes(many, int(0.009 * many), 0.99)
    assert queries_at_share(0.99, 0.01) is None
    assert queries_at_share(0.99, 0.00999999) is None
