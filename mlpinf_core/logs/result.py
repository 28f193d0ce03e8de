"""What a performance run achieved, as LoadGen's detail log has it."""

from __future__ import annotations

import datetime
import math
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Self

import attrs

from mlpinf_core.errors import LogError
from mlpinf_core.logs.spread import (
    Spread,
    latency,
    time_per_output_token,
    time_to_first_token,
)
from mlpinf_core.vocabulary import Scenario

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlpinf_core.logs.detail import DetailLog
    from mlpinf_core.rules.model import BenchmarkRules

RESULT_FIELDS: Final[Mapping[Scenario, str]] = MappingProxyType(
    {
        Scenario.OFFLINE: "result_samples_per_second",
        Scenario.SERVER: "result_completed_samples_per_sec",
        Scenario.INTERACTIVE: "result_completed_samples_per_sec",
        Scenario.SINGLE_STREAM: "early_stopping_latency_ss",
        Scenario.MULTI_STREAM: "early_stopping_latency_ms",
    }
)
"""Each scenario's own result, where the round names no other: LoadGen's and the checker's."""

_TIMES: Final = "%m-%d-%Y %H:%M:%S.%f"


@attrs.frozen
class Performance:
    """The figures of one performance run.

    Attributes:
        scenario: the scenario that was run.
        value: the headline figure, in ``unit``.
        unit: the unit it is published in: ``Tokens/s``, ``Queries/s``, ``Samples/s`` or ``ms``.
        key: the detail log's key that the headline figure came from.
        queries: queries issued.
        samples: samples issued (Offline: all in one query).
        tokens_per_second: output tokens a second; None where tokens were not tracked.
        duration: seconds from the first query's issue to the last completion.
        latency: of a query.
        ttft: time to first token; None where tokens were not tracked.
        tpot: time per output token after the first; None where tokens were not tracked.
        scheduled_rate: queries a second as scheduled; None but for Server and Interactive.
        completed_rate: queries a second as completed; None but for Server and Interactive.
    """

    scenario: Scenario
    value: float
    unit: str
    key: str
    queries: int
    samples: int
    tokens_per_second: float | None
    duration: float
    latency: Spread
    ttft: Spread | None
    tpot: Spread | None
    scheduled_rate: float | None
    completed_rate: float | None

    @classmethod
    def from_log(cls, detail: DetailLog, scenario: Scenario, rules: BenchmarkRules) -> Self:
        """The figures in a log.

        The headline is the round's field for the benchmark. Where the run did not log it
        (token latencies were off), or LoadGen made no early stopping estimate (too few queries),
        the next best figure stands in, and ``key`` says which.

        Raises:
            LogError: the log is of another scenario, or lacks a figure (LoadGen did not finish).
        """
        logged = detail.text("effective_scenario")
        if logged != scenario.loadgen_name:
            raise LogError(
                f"the log is of a {logged} run, not of {scenario.loadgen_name}",
                where=str(detail.path),
            )
        key = result_key(detail, scenario, rules)
        queries = detail.integer("result_query_count")
        server = scenario.is_poisson
        tokens = next(
            (
                detail.number(name)
                for name in ("result_tokens_per_second", "result_completed_tokens_per_second")
                if name in detail.values
            ),
            None,
        )
        unit = _unit(key, scenario, rules)
        # LoadGen logs every time in ns, early_stopping_latency_ms (MultiStream) among them.
        scale = 1e-6 if unit == "ms" else 1.0
        return cls(
            scenario=scenario,
            value=detail.number(key) * scale,
            unit=unit,
            key=key,
            queries=queries,
            samples=queries * detail.integer("generated_samples_per_query"),
            tokens_per_second=tokens,
            duration=_duration(detail, scenario),
            latency=latency(detail),
            ttft=time_to_first_token(detail),
            tpot=time_per_output_token(detail),
            scheduled_rate=detail.number("result_scheduled_samples_per_sec") if server else None,
            completed_rate=detail.number("result_completed_samples_per_sec") if server else None,
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON; a figure that is not finite (one query has no rate) is null."""
        data: dict[str, Any] = {}
        for name, value in attrs.asdict(self, recurse=False).items():
            if isinstance(value, Spread):
                data[name] = value.to_dict()
            else:
                finite = not isinstance(value, float) or math.isfinite(value)
                data[name] = value if finite else None
        return data | {"scenario": self.scenario.value}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """The inverse of :meth:`to_dict`, but for what was not finite."""
        plain = dict(data)
        plain["scenario"] = Scenario.parse(str(data["scenario"]))
        for name in ("latency", "ttft", "tpot"):
            plain[name] = data[name] and Spread.from_dict(data[name])
        for name in ("value", "duration"):
            plain[name] = math.nan if data[name] is None else float(data[name])
        return cls(**plain)


def result_key(detail: DetailLog, scenario: Scenario, rules: BenchmarkRules) -> str:
    """The key of the headline figure: the round's, the scenario's own, or what stands in for it.

    LoadGen's ``early_stopping_latency_ss`` is 0 when there were too few queries for an estimate,
    and with token latencies on it is the estimate of the *first token* (results.cc calls
    EarlyStopping on first tokens last). The plain percentile stands in for both, as the
    submission checker itself has it for its one SingleStream benchmark with tokens.
    """
    fields = rules.result_fields
    wanted = fields.get(scenario)
    if wanted is None and scenario is Scenario.INTERACTIVE:
        wanted = fields.get(Scenario.SERVER)
    for key in (wanted, RESULT_FIELDS[scenario]):
        if key is not None and key in detail.values and not _is_no_estimate(detail, key):
            return key
    if not scenario.is_stream:
        return RESULT_FIELDS[scenario]
    percent = 100 * detail.number("effective_target_latency_percentile")
    kind = "percentile_per_query" if scenario is Scenario.MULTI_STREAM else "percentile"
    return f"result_{percent:.2f}_{kind}_latency_ns"


def _is_no_estimate(detail: DetailLog, key: str) -> bool:
    if not key.startswith("early_stopping_latency"):
        return False
    of_first_token = key.endswith("_ss") and time_to_first_token(detail) is not None
    return of_first_token or detail.number(key) == 0


def _unit(key: str, scenario: Scenario, rules: BenchmarkRules) -> str:
    """The published unit, where it fits the figure that was found."""
    if "tokens_per_second" in key:
        return "Tokens/s"
    if "samples_per_sec" not in key:
        return "ms"
    published = rules.units.get(scenario)
    if published is not None and published.lower() in ("samples/s", "queries/s"):
        return published
    return "Queries/s" if scenario.is_poisson else "Samples/s"


def _duration(detail: DetailLog, scenario: Scenario) -> float:
    """Seconds the system was at work; LoadGen logs it only to the millisecond, as two times."""
    if scenario is Scenario.OFFLINE:
        return detail.number("result_max_latency_ns") / 1e9
    begin, end = detail.text("power_begin"), detail.text("power_end")
    try:
        # Both are of one clock without a zone; only their difference counts.
        first, last = (datetime.datetime.strptime(t, _TIMES) for t in (begin, end))  # noqa: DTZ007
    except ValueError:
        raise LogError(
            f"the run's times are not times: {begin!r}, {end!r}", where=str(detail.path)
        ) from None
    return (last - first).total_seconds()
