"""LoadGen's early stopping: how many queries prove a percentile.

LoadGen accepts a run of n queries of which t were over the limit when, were the share of queries
under the limit just p in truth, so few over it would be seen with less than 1 % probability:
P[Binomial(n, 1 - p) <= t] < 1 - 0.99 (loadgen/early_stopping.cc, where it is written with the
regularised beta function). At p = 0.9 that takes 44 queries with none over, 64 with one; at
p = 0.99, 459 and 662.
"""

from __future__ import annotations

import math
from typing import Final

CONFIDENCE: Final = 0.99
MOST_QUERIES: Final = 100_000_000


def binomial_cdf(over: int, queries: int, share: float) -> float:
    """P[Binomial(queries, share) <= over], by summing from the largest term downwards."""
    if over < 0:
        return 0.0
    if over >= queries:
        return 1.0
    log_term = (
        math.lgamma(queries + 1)
        - math.lgamma(over + 1)
        - math.lgamma(queries - over + 1)
        + over * math.log(share)
        + (queries - over) * math.log1p(-share)
    )
    # Terms are relative to the one at `over`; above the mean they first grow downwards.
    term, total = 1.0, 1.0
    mode = queries * share
    for k in range(over, 0, -1):
        term *= k / (queries - k + 1) * (1 - share) / share
        total += term
        if k < mode and term < total * 1e-15:
            break
        if math.isinf(total):
            return 1.0
    return min(1.0, math.exp(log_term) * total)


def passes(queries: int, over: int, percentile: float) -> bool:
    """Whether LoadGen's early stopping accepts a run; ``percentile`` is a share, 0.99."""
    return binomial_cdf(over, queries, 1 - percentile) < 1 - CONFIDENCE


def queries_needed(percentile: float, over: int) -> int:
    """The least number of queries that may have ``over`` of them over the limit."""
    low, high = over, max(64, 2 * over)
    while not passes(high, over, percentile):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        if passes(middle, over, percentile):
            high = middle
        else:
            low = middle
    return high


def allowed_over(queries: int, percentile: float) -> int:
    """The most queries that may be over the limit; -1 where even none is too many."""
    low, high = -1, int(queries * (1 - percentile)) + 1
    while high - low > 1:
        middle = (low + high) // 2
        if passes(queries, middle, percentile):
            low = middle
        else:
            high = middle
    return low


def queries_at_share(percentile: float, share: float) -> int | None:
    """The least number of queries that pass when ``share`` of them is over the limit.

    None where no number will do: the share is no smaller than the percentile allows, or so near
    to it that it would take over 100,000,000 queries.
    """
    if share >= 1 - percentile:
        return None
    low, high = 0, queries_needed(percentile, 1)
    while not passes(high, math.ceil(share * high), percentile):
        low, high = high, 2 * high
        if high > MOST_QUERIES:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        if passes(middle, math.ceil(share * middle), percentile):
            high = middle
        else:
            low = middle
    return high
