"""What a performance log has to say."""

from __future__ import annotations

import datetime
import math
import sys
from typing import TYPE_CHECKING, Any, Final

from mlpinf_core.errors import LogError
from mlpinf_core.logs.result import Performance
from mlpinf_core.vocabulary import Scenario

if TYPE_CHECKING:
    from mlpinf_core.logs.detail import DetailLog
    from mlpinf_core.submission.checking.entry import Entry, Model
    from mlpinf_core.submission.checking.notes import Notes

_MS: Final = 1_000_000
_TIMES: Final = "%m-%d-%Y %H:%M:%S.%f"
_CLOCK: Final = 0.5
"""Seconds that a run may seem shorter than it was: the log has its times to the millisecond, and
the clock may be set in between."""


def check_performance(log: DetailLog, entry: Entry, notes: Notes, *, audit: bool = False) -> None:
    """A performance log of a known benchmark and scenario.

    Args:
        log: that is checked; that it is of the right kind is another module's business.
        entry: the result that it belongs to.
        notes: takes the findings.
        audit: whether it is a compliance test's, which has settings of its own.
    """
    _check_verdict(log, notes)
    _check_duration(log, entry, notes)
    if not audit:
        _check_audit_settings(log, notes)
    if entry.scenario is None:
        return
    _check_queries(log, entry, entry.scenario, notes)
    if entry.model is not None:
        _check_samples(log, entry.model, entry, notes)
        _check_tokens(log, entry.model, notes)
        if entry.scenario.is_poisson:
            _check_latency(log, entry.model, entry.scenario, notes)


def figures(log: DetailLog, entry: Entry, notes: Notes) -> tuple[float | None, str]:
    """The result and its unit; None, and a finding, where the log does not have it."""
    if entry.model is None or entry.scenario is None:
        return None, ""
    try:
        found = Performance.from_log(log, entry.scenario, entry.model.rules)
    except (LogError, ArithmeticError, ValueError) as error:
        what = error.what if isinstance(error, LogError) else str(error)
        notes.add("result", log.path, f"the result cannot be told: {what:.200}")
        return None, ""
    wanted = entry.model.rules.result_fields.get(entry.scenario, found.key)
    if wanted not in log.values:
        notes.add("result", log.path, f"the log lacks the round's result, {wanted}")
    if not (math.isfinite(found.value) and found.value > 0):
        notes.add("result", log.path, f"the result is {found.value}")
        return None, found.unit
    return found.value, found.unit


def _number(log: DetailLog, key: str, notes: Notes) -> float | None:
    value = log.get(key)
    if _is_huge(value):
        notes.add("log-incomplete", log.path, f"{key!r} is an integer of many digits")
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or math.isnan(value):
        what = "missing" if value is None else f"{value!r:.40}"
        notes.add("log-incomplete", log.path, f"{key!r} is {what}; a number is expected")
        return None
    return value


def _is_huge(value: Any) -> bool:
    """Whether it is a whole number that no float holds, and so no figure of a run."""
    return isinstance(value, int) and abs(value) > sys.float_info.max


def _check_verdict(log: DetailLog, notes: Notes) -> None:
    said = log.get("result_validity")
    if said != "VALID":
        what = "no verdict is logged" if said is None else f"the run is {said!r:.40}"
        notes.add("invalid", log.path, what)
    for key, rule in (
        ("result_min_duration_met", "min-duration"),
        ("result_min_queries_met", "min-queries"),
        ("early_stopping_met", "early-stopping"),
    ):
        if log.get(key) is False:
            notes.add(rule, log.path, f"{key!r} is false")


def _check_duration(log: DetailLog, entry: Entry, notes: Notes) -> None:
    least = entry.round.min_duration_s
    asked = _number(log, "effective_min_duration_ms", notes)
    if asked is not None and asked < 1000 * least:
        notes.add(
            "min-duration",
            log.path,
            f"the run was to take {asked / 1000:g} s, and the round asks for {least:g} s",
        )
    took = _seconds(log)
    if took is None:
        notes.add("log-incomplete", log.path, "the log does not say when the test began and ended")
    elif took < least - _CLOCK:
        notes.add("min-duration", log.path, f"the run took {took:g} s of {least:g} s")


def _seconds(log: DetailLog) -> float | None:
    """Seconds from beginning to end."""
    try:
        begin, end = (
            datetime.datetime.strptime(str(log.get(key)), _TIMES)  # noqa: DTZ007 - one clock
            for key in ("power_begin", "power_end")
        )
    except ValueError:
        return None
    return (end - begin).total_seconds()


def _check_audit_settings(log: DetailLog, notes: Notes) -> None:
    for key, quiet in (
        ("effective_performance_issue_same", False),
        ("effective_performance_issue_unique", False),
        ("effective_accuracy_log_rng_seed", 0),
        ("effective_accuracy_log_probability", 0),
        ("effective_accuracy_log_sampling_target", 0),
    ):
        said = log.get(key, quiet)
        if said != quiet:
            notes.add("audit-settings", log.path, f"{key!r} is {said!r:.40}, as in an audit")


def _check_queries(log: DetailLog, entry: Entry, scenario: Scenario, notes: Notes) -> None:
    queries = _number(log, "result_query_count", notes)
    defaults = entry.round.defaults
    rules = entry.model.rules if entry.model else None
    least = (rules.min_queries if rules else defaults.min_queries).get(scenario, 1)
    if queries is not None and queries < least:
        message = f"{queries:,.0f} queries, and early stopping needs {least:,}"
        notes.add("min-queries", log.path, message)
    if scenario is Scenario.MULTI_STREAM:
        size = _number(log, "effective_samples_per_query", notes)
        if size is not None and size != defaults.samples_per_query:
            message = f"{size:g} samples a query, and the round says {defaults.samples_per_query}"
            notes.add("samples-per-query", log.path, message)
    if scenario is Scenario.OFFLINE:
        return
    if log.get("early_stopping_met") is None:
        notes.add("early-stopping", log.path, "the log does not say whether it was proved")
    asked = _number(log, "effective_target_latency_percentile", notes)
    wanted = defaults.percentiles[scenario] / 100
    if asked is not None and asked < wanted - 1e-9:
        message = f"percentile {100 * asked:g}, and the round asks for {100 * wanted:g}"
        notes.add("early-stopping", log.path, message)


def _check_samples(log: DetailLog, model: Model, entry: Entry, notes: Notes) -> None:
    rules = model.rules
    total = _number(log, "qsl_reported_total_count", notes)
    if total is not None and total < rules.dataset_size:
        message = f"{total:,.0f} samples, and the data set has {rules.dataset_size:,}"
        notes.add("data-set", log.path, message)
    loaded = _number(log, "effective_performance_sample_count", notes)
    if loaded is not None and loaded < rules.performance_sample_count:
        message = f"{loaded:,.0f} samples of {rules.performance_sample_count:,} were kept loaded"
        notes.add("performance-samples", log.path, message)
    if rules.equal_issue and log.get("effective_sample_concatenate_permutation") is not True:
        said = log.get("effective_sample_concatenate_permutation")
        notes.add("equal-issue", log.path, f"'sample_concatenate_permutation' is {said!r:.40}")
    if entry.scenario is Scenario.OFFLINE:
        # What was asked for is looked at by the official checker, and only in the closed division.
        keys = ["generated_samples_per_query"]
        keys += ["effective_samples_per_query"] if entry.closed else []
        for key in keys:
            issued = _number(log, key, notes)
            if issued is not None and issued < rules.offline_min_samples:
                message = f"{key!r} is {issued:,.0f}, and {rules.offline_min_samples:,} are asked"
                notes.add("offline-samples", log.path, message)


def _check_tokens(log: DetailLog, model: Model, notes: Notes) -> None:
    if model.rules.token_latencies and log.get("requested_use_token_latencies") is not True:
        said: Any = log.get("requested_use_token_latencies")
        notes.add("token-latencies", log.path, f"'use_token_latencies' is {said!r:.40}")


def _check_latency(log: DetailLog, model: Model, scenario: Scenario, notes: Notes) -> None:
    """Measured percentiles, and how a run was configured, against the folder's scenario."""
    limits = model.rules.latency.get(scenario)
    if limits is None:
        return
    percent = f"{limits.percentile:.2f}"
    for limit, key, what in (
        (limits.latency_ms, f"result_{percent}_percentile_latency_ns", "the latency"),
        (
            limits.ttft_ms,
            f"result_first_token_{percent}_percentile_latency_ns",
            "the time to first token",
        ),
        (
            limits.tpot_ms,
            f"result_time_per_output_token_{percent}_percentile_ns",
            "the time per output token",
        ),
        (limits.checker_latency_ms, "effective_target_latency_ns", "the target latency"),
    ):
        if limit is None:
            continue
        found = _number(log, key, notes)
        if found is not None and found > limit * _MS:
            message = f"{what} is {found / _MS:,.4g} ms, over {scenario}'s {limit:g} ms"
            notes.add("latency", log.path, message)
