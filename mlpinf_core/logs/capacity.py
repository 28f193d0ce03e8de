"""Which target QPS a Server run that missed its latency should have had.

The log of one run says little of the system: rates, percentiles, the shortest time of each kind.
Queueing theory fills in the rest, and every doubt is settled towards the lower rate, because the
user wants the next run to pass.

**Waiting** (a whole query's latency, and the time to first token). Let C be the capacity in
queries a second and S the shortest time seen, which is what a query takes when it does not wait.
With Poisson arrivals of rate r and service times of squared coefficient of variation v, the wait
is exponential in heavy traffic (Kingman 1962), so that

    P[time > S + w] = (r / C)^m * exp(-2 (C - r) w / (1 + v)).

For one exponential server (v = 1, m = 0) this is the exact sojourn time of M/M/1; for constant
service (v = 0, m = 1) r / C is the chance of having to wait at all. How variable service is
follows from the log as well: n servers of mean service time T have C = n / T, so m = C * S / n
is the shortest service time over the mean one. Service is taken to be exponential above its
minimum, which gives v = (1 - m)^2. n is the most that the configuration lets run at a time
(workers times batch); with fewer in truth, m comes out too small, v too large, the rate too low.
In a saturated run hardly a query did not wait, so that S says nothing of the others: m is 0.

C is the completed rate when the run was saturated: it falls behind its schedule, the backlog
grows all the time, waits are spread evenly from nothing to the longest, and half of the longest
is the median (a stable queue's is a tenth or less). Otherwise C is the one at which the formula
gives the observed percentile at the completed rate. With C known, the rate is the highest at
which the formula stays under what early stopping lets pass for as many queries as such a run
would have.

**Decoding** (time per output token). Sequences share the machine: a step of b sequences takes
s + k b, s being the shortest time per token seen. By Little's law the mean b is the token rate
times the mean time per token, which gives k from the log, and for any rate r of l tokens a query
the mean time t = s / (1 - r l k), as in processor sharing. Arrivals make b vary like a Poisson
variable, so that the percentile is s + k (b + z sqrt(b)). z is read off the observed percentile
(in a saturated run, whose b is capped, the normal quantile stands for it), and raised to the
quantile that early stopping wants of so many queries. A saturated run never decodes a sequence
alone: its quickest one lived while b grew by r l t, met half of that on average, and is taken to
have met a quarter, the quickest having been lucky; s and k come from that point and the mean.
"""

from __future__ import annotations

import math
import statistics
from typing import TYPE_CHECKING, Final

import attrs

from mlpinf_core.logs.early_stopping import allowed_over, queries_needed
from mlpinf_core.logs.spread import Spread, latency, time_per_output_token, time_to_first_token

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlpinf_core.logs.detail import DetailLog

HEADROOM: Final = 0.95
"""Of the rate that the formulas allow: machines are noisier than queues."""
MARGIN: Final = 0.5
"""Of the queries that early stopping lets be over the limit: aimed at, so that an unlucky run
still passes."""
FARTHEST: Final = 1.5
"""Of the target: the highest rate that is suggested to a run that passed."""
WORTH_WHILE: Final = 1.1
"""Of the target: the least rate that is worth suggesting to a run that passed."""
FAR: Final = 0.8
"""Of the rate that a saturated run gives for the time per token: it is the boldest inference."""
KEEPING_UP: Final = 0.95
"""Completed over scheduled rate, from which on a run is not saturated."""
SLOW: Final = 0.1
"""Of the capacity: the rate to try where a saturated run leaves the answer open."""
SATURATED: Final = 0.3
"""Median wait over longest wait, from which on a run counts as saturated (0.5 in the limit)."""


@attrs.frozen
class Constraint:
    """One latency that a Server run is judged by, and what the run made of it, in nanoseconds.

    Attributes:
        name: ``latency``, ``time to first token`` or ``time per output token``.
        key: the configuration's key of its limit.
        limit: what the percentile must stay under.
        percentile: a share, 0.99.
        observed: the percentile's value.
        shortest: the shortest one seen.
    """

    name: str
    key: str
    limit: float
    percentile: float
    observed: float
    shortest: float

    @property
    def met(self) -> bool:
        """Whether the run stayed under the limit."""
        return self.observed <= self.limit


@attrs.frozen
class Estimate:
    """The highest target QPS likely to pass.

    Attributes:
        qps: queries a second; 0 where the limit is shorter than the shortest time seen, so that
            no rate can help.
        constraint: the one that allows the least.
        saturated: whether the run was saturated, so that the completed rate is the capacity.
    """

    qps: float
    constraint: Constraint
    saturated: bool


def constraints(detail: DetailLog) -> tuple[Constraint, ...]:
    """What LoadGen judged a Server run by: the two token times where tokens are tracked.

    Raises:
        LogError: the log lacks a figure.
    """
    percentile = detail.number("effective_target_latency_percentile")

    def constraint(name: str, key: str, limit: float, spread: Spread) -> Constraint:
        observed = spread.at(100 * percentile)
        return Constraint(name, f"loadgen.{key}", limit, percentile, observed, spread.minimum)

    first, further = time_to_first_token(detail), time_per_output_token(detail)
    if first is None or further is None:
        limit = detail.number("effective_target_latency_ns")
        return (constraint("latency", "target_latency_ms", limit, latency(detail)),)
    ttft = detail.number("requested_server_ttft_latency")
    tpot = detail.number("requested_server_tpot_latency")
    return (
        constraint("time to first token", "ttft_ms", ttft, first),
        constraint("time per output token", "tpot_ms", tpot, further),
    )


def passing_qps(detail: DetailLog, concurrency: int) -> Estimate:
    """The highest target QPS likely to pass, by the formulas above; for a run that missed.

    Args:
        detail: the finished log of a Server run.
        concurrency: the most queries that the configuration lets be served at a time.

    Raises:
        LogError: the log lacks a figure.
    """
    estimates = _estimates(detail, concurrency)
    missed = [e for e in estimates if not e.constraint.met] or estimates
    lowest = min(missed, key=lambda e: e.qps)
    # Whatever the formulas say: a run at the target missed, so the next one aims below it.
    target = detail.number("effective_target_qps")
    completed = detail.number("result_completed_samples_per_sec")
    most = min(target, completed) if lowest.saturated else target
    return attrs.evolve(lowest, qps=HEADROOM * min(lowest.qps, most))


def higher_qps(detail: DetailLog, concurrency: int) -> float | None:
    """A rate over the target that is likely to pass as well; None where there is little room.

    The farther from the run's own rate, the less its log can say, so this goes no farther than
    half as high again.

    Raises:
        LogError: the log lacks a figure.
    """
    estimates = _estimates(detail, concurrency)
    target = detail.number("effective_target_qps")
    rate = min(FARTHEST * target, HEADROOM * min(e.qps for e in estimates))
    saturated = any(e.saturated for e in estimates)
    return None if saturated or rate < WORTH_WHILE * target else rate


def _estimates(detail: DetailLog, concurrency: int) -> list[Estimate]:
    completed = detail.number("result_completed_samples_per_sec")
    whole = latency(detail)
    saturated = is_saturated(detail, whole)
    # The few queries that did not wait in a saturated run do not show how service varies.
    share = 0.0 if saturated else min(1.0, completed * whole.minimum / 1e9 / concurrency)
    found = []
    for constraint in constraints(detail):
        if constraint.key == "loadgen.tpot_ms":
            rate = _decoding_rate(detail, constraint, completed, saturated=saturated)
        elif constraint.shortest >= constraint.limit:
            rate = 0.0
        else:
            rate = _waiting_rate(detail, constraint, completed, share, saturated=saturated)
        found.append(Estimate(rate, constraint, saturated))
    return found


def is_saturated(detail: DetailLog, spread: Spread) -> bool:
    """Whether the run fell behind its schedule, with waits spread as a growing backlog has them."""
    scheduled = detail.number("result_scheduled_samples_per_sec")
    behind = detail.number("result_completed_samples_per_sec") < KEEPING_UP * scheduled
    longest = spread.maximum - spread.minimum
    return behind and spread.at(50) - spread.minimum >= SATURATED * longest


def _waiting_rate(
    detail: DetailLog, constraint: Constraint, completed: float, share: float, *, saturated: bool
) -> float:
    variance = (1 - share) ** 2

    def tail(rate: float, capacity: float, wait: float) -> float:
        decay = 2 * max(0.0, capacity - rate) * wait / 1e9 / (1 + variance)
        return float((rate / capacity) ** share) * math.exp(-decay)

    capacity = completed
    if not saturated:
        wait = max(1.0, constraint.observed - constraint.shortest)
        over = 1 - constraint.percentile
        capacity = _first_true(
            lambda c: tail(completed, c, wait) <= over, completed, completed * 1000
        )
    allowed_wait = constraint.limit - constraint.shortest
    # The first rate that is too high; every one below it passes.
    return _first_true(
        lambda rate: (
            tail(rate, capacity, allowed_wait)
            > MARGIN * _allowed_share(detail, rate, constraint.percentile)
        ),
        0.0,
        capacity,
    )


def _decoding_rate(
    detail: DetailLog, constraint: Constraint, completed: float, *, saturated: bool
) -> float:
    spread = time_per_output_token(detail)
    shortest, limit = constraint.shortest, HEADROOM * constraint.limit
    token_rate = detail.number("result_completed_tokens_per_second")
    # A system that reports first tokens with its completions has a TPOT of 0: no constraint.
    if spread is None or token_rate <= 0 or completed <= 0 or spread.mean <= 0:
        return math.inf
    tokens = token_rate / completed
    batch = token_rate * spread.mean / 1e9
    met = 0.0
    if saturated:
        scheduled = detail.number("result_scheduled_samples_per_sec")
        met = min(batch / 2, 1 + scheduled * tokens * shortest / 1e9 / 4)
    slope = max(spread.mean - shortest, 1.0) / (batch - met)
    shortest = max(0.0, shortest - slope * met)
    if shortest >= limit:
        # A saturated run says little of a sequence by itself; a slow one will say it.
        return completed * SLOW if saturated else 0.0
    normal = statistics.NormalDist()
    usual = normal.inv_cdf(constraint.percentile)
    # How much more, or less, than a Poisson variable the batch varied.
    varied = ((constraint.observed - shortest) / slope - batch) / math.sqrt(batch) / usual
    varied = 1.0 if saturated else max(varied, 0.0)

    def missed(rate: float) -> bool:
        load = rate * tokens * slope / 1e9
        if load >= 1:
            return True
        active = rate * tokens / 1e9 * shortest / (1 - load)
        allowed = MARGIN * _allowed_share(detail, rate, constraint.percentile)
        quantile = varied * normal.inv_cdf(1 - allowed)
        return shortest + slope * (active + quantile * math.sqrt(active)) > limit

    rate = _first_true(missed, 0.0, 2 * max(completed, detail.number("effective_target_qps")))
    return FAR * rate if saturated else rate


def _allowed_share(detail: DetailLog, rate: float, percentile: float) -> float:
    """The share of queries that early stopping lets be over the limit at a rate.

    A run too short to be let have two is taken to be made long enough: that is a cause of its
    own, with its own suggestion.
    """
    queries = max(
        detail.integer("effective_min_query_count"),
        int(rate * detail.number("effective_min_duration_ms") / 1e3),
        queries_needed(percentile, 2),
    )
    return allowed_over(queries, percentile) / queries


def _first_true(condition: Callable[[float], bool], low: float, high: float) -> float:
    """Where a condition that is false at ``low`` and stays true once it is becomes true."""
    for _ in range(60):
        middle = (low + high) / 2
        if condition(middle):
            high = middle
        else:
            low = middle
    return low
