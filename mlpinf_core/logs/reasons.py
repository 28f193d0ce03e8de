"""LoadGen's own reasons for INVALID, with their figures and what to change.

LoadGen names four (results.cc): the run was too short, it issued too few queries, early stopping
could not prove the percentile, or a Server run missed its latency. Its recommendations speak of
its own settings, and two of them mislead; these speak of the configuration's keys.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from typing import TYPE_CHECKING

from mlpinf_core.logs.capacity import Constraint, constraints, higher_qps, passing_qps
from mlpinf_core.logs.cause import Cause
from mlpinf_core.logs.early_stopping import allowed_over, queries_at_share, queries_needed
from mlpinf_core.logs.spread import latency
from mlpinf_core.vocabulary import Scenario

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mlpinf_core.logs.detail import DetailLog

_MORE = re.compile(r"Would need to run at least (\d+) more queries")


def error_lines(detail: DetailLog) -> Iterator[Cause]:
    """One cause for each distinct error that LoadGen logged, with how often and where first."""
    counts = Counter(line.message for line in detail.errors)
    first = {line.message: line.line for line in reversed(detail.errors)}
    for message, count in counts.items():
        often = f", {count} times" if count > 1 else ""
        yield Cause(
            "loadgen-error",
            f"LoadGen logged an error (line {first[message]}{often}): {message.strip()}",
            _remedy(message),
        )
    unseen = detail.error_count - len(detail.errors)
    if unseen > 0:
        yield Cause("loadgen-error", f"LoadGen logged {unseen:,} more errors")


def _remedy(message: str) -> str | None:
    if "Ran out of generated queries" in message:
        return "see the cause 'min-duration'"
    for bound, key in (
        ("Max query count", "max_query_count"),
        ("Max test duration", "max_duration"),
    ):
        if bound in message:
            return f"set loadgen.{key} to 0: LoadGen holds a run that it stopped against it"
    if "twice" in message:
        return "the system under test completes a sample more than once; complete each one once"
    if "token" in message:
        return (
            "the system under test must report a first token before it completes a sample, "
            "and at least 2 tokens for each"
        )
    return None


def too_short(detail: DetailLog, scenario: Scenario) -> Cause:
    """The run was shorter than ``loadgen.min_duration``."""
    wanted = detail.number("effective_min_duration_ms") / 1e3
    if scenario is Scenario.OFFLINE:
        took = detail.number("result_max_latency_ns") / 1e9
        rate = detail.number("result_samples_per_second")
        # LoadGen issues 1.1 * min_duration * target_qps samples. A longer run may be faster.
        suggestion = f"set loadgen.target_qps to {_rounded(1.1 * rate)}"
        return Cause(
            "min-duration", f"the run took {_readable(took)} s of {wanted:g} s", suggestion
        )
    stopped = _stopped_early(detail)
    message = f"the run issued queries for less than the {wanted:g} s of loadgen.min_duration"
    if stopped:
        return Cause("min-duration", message, stopped)
    if scenario.is_poisson:
        return Cause("min-duration", message, None)
    # LoadGen draws 2 * min_duration / target_latency queries beforehand, and ran out of them.
    expected = _rounded_down(0.8 * latency(detail).mean / 1e6)
    return Cause("min-duration", message, f"set loadgen.target_latency_ms to {expected}")


def too_few(detail: DetailLog) -> Cause:
    """Fewer queries, or samples, than ``loadgen.min_query_count``."""
    queries = detail.integer("result_query_count")
    wanted = detail.integer("effective_min_query_count")
    return Cause(
        "min-queries",
        f"the run issued {queries:,} of at least {wanted:,} queries",
        _stopped_early(detail) or f"set loadgen.min_query_count to at most {queries}",
    )


def _stopped_early(detail: DetailLog) -> str | None:
    """What to do when one of the two upper bounds stopped the run; None when neither did."""
    most = detail.integer("effective_max_query_count")
    if 0 < most <= detail.integer("result_query_count"):
        return f"set loadgen.max_query_count to 0: {most} stopped the run"
    longest = detail.number("effective_max_duration_ms") / 1e3
    if longest > 0:
        return f"set loadgen.max_duration to 0: {longest:g} s stopped the run"
    return None


def latency_missed(detail: DetailLog, concurrency: int) -> Iterator[Cause]:
    """A Server run's percentiles over their limits, with the highest rate likely to pass."""
    suggestion = _slower(detail, concurrency)
    missed = [c for c in constraints(detail) if not c.met]
    for constraint in missed:
        yield Cause("performance-constraint", _overrun(constraint), suggestion)
    if not missed:
        yield Cause("performance-constraint", "LoadGen found the latency limits missed", suggestion)


def _overrun(constraint: Constraint) -> str:
    return (
        f"the {100 * constraint.percentile:g}th percentile of the {constraint.name} is "
        f"{_readable(constraint.observed / 1e6)} ms, over the limit of "
        f"{_readable(constraint.limit / 1e6)} ms"
    )


def room(detail: DetailLog, concurrency: int) -> Iterator[str]:
    """A note on a Server run that passed and could have had a higher rate."""
    rate = higher_qps(detail, concurrency)
    if rate is not None:
        yield f"the latency has room: loadgen.target_qps = {_rounded_down(rate)} may pass as well"


def _slower(detail: DetailLog, concurrency: int) -> str:
    estimate = passing_qps(detail, concurrency)
    constraint = estimate.constraint
    target = detail.number("effective_target_qps")
    if estimate.qps <= 0:
        return (
            f"no loadgen.target_qps will do: even the quickest query's {constraint.name} took "
            f"{_readable(constraint.shortest / 1e6)} ms of the "
            f"{_readable(constraint.limit / 1e6)} ms; make the system faster (a smaller "
            "sut.max_batch_size or sut.max_wait_ms, if they add to it)"
        )
    why = "the system was saturated" if estimate.saturated else "the queue was too long"
    completed = detail.number("result_completed_samples_per_sec")
    return (
        f"set loadgen.target_qps to {_rounded_down(estimate.qps)}: {why} at {_readable(target)} "
        f"(it completed {_readable(completed)} a second), and that is the highest rate likely to "
        "pass"
    )


def not_proven(detail: DetailLog, scenario: Scenario, concurrency: int) -> Cause:
    """Early stopping: too few queries, or too many over the limit, to prove the percentile."""
    percentile = detail.number("effective_target_latency_percentile")
    queries = detail.integer("result_query_count")
    share = f"{100 * percentile:g}th percentile"
    if not scenario.is_poisson:
        needed = queries_needed(percentile, 1)
        return Cause(
            "early-stopping",
            f"{queries:,} queries do not prove the {share}: early stopping wants {needed:,}",
            f"set loadgen.min_query_count to {needed}",
        )
    over = _over(detail, percentile, queries)
    allowed = allowed_over(queries, percentile)
    at_this_share = queries_at_share(percentile, over / queries) if over else None
    if over > allowed >= 0:
        message = (
            f"{over:,} of {queries:,} queries were over the latency limit; to prove the {share}, "
            f"early stopping allows {allowed:,}"
        )
        suggestions = [at_this_share] if at_this_share else []
    else:
        message = f"{queries:,} queries are too few to prove the {share}"
        suggestions = [max(at_this_share or 0, queries_needed(percentile, max(1, over)))]
    advice = [f"set loadgen.min_query_count to {needed}" for needed in suggestions]
    if over > max(allowed, 0):
        advice.append(_slower(detail, concurrency))
    return Cause("early-stopping", message, ", or ".join(advice) or None)


def _over(detail: DetailLog, percentile: float, queries: int) -> int:
    """Queries over the limit, of the limit that early stopping tripped over.

    LoadGen logs the number only for whole latencies. For tokens its advice has it in disguise:
    "at least N more queries" means that N + queries is the least number that may have so many.
    """
    keys = ("early_stopping_result", "early_stopping_tpot_result", "early_stopping_ttft_result")
    for key in keys:
        found = _MORE.search(str(detail.get(key, "")))
        if found:
            return max(0, allowed_over(queries + int(found[1]), percentile))
    return 0


def _rounded(value: float) -> str:
    """Upwards, to two significant digits."""
    return _to_digits(value, 2, math.ceil)


def _readable(value: float) -> str:
    """Four significant digits or all whole ones, with thousands separated: 25,610 and 0.1234."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _rounded_down(value: float) -> str:
    """Downwards, to three significant digits: no more than what is likely to pass."""
    return _to_digits(value, 3, math.floor)


def _to_digits(value: float, digits: int, whole: Callable[[float], int]) -> str:
    if not (value > 0 and math.isfinite(value)):
        return f"{value:g}"
    scale = 10.0 ** (digits - 1 - math.floor(math.log10(value)))
    # 1e-9 of a digit is the noise of the multiplication, not a reason to round on.
    noise = 1e-9 if whole is math.floor else -1e-9
    return f"{whole(value * scale + noise) / scale:.10g}"
