"""How a time is distributed over the queries of a run, as LoadGen logs it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Self

import attrs

if TYPE_CHECKING:
    from mlpinf_core.logs.detail import DetailLog


@attrs.frozen
class Spread:
    """How a time is distributed over the queries, in nanoseconds.

    Attributes:
        mean: the arithmetic mean.
        minimum: the shortest.
        maximum: the longest.
        percentiles: percent (``99.0``) to nanoseconds, as many as LoadGen logs.
    """

    mean: float
    minimum: float
    maximum: float
    percentiles: Mapping[float, float]

    def at(self, percent: float) -> float:
        """The time at a percentile, or at the next higher one that LoadGen logs."""
        higher = [p for p in sorted(self.percentiles) if p >= percent - 1e-6]
        return self.percentiles[higher[0]] if higher else self.maximum

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "mean_ns": self.mean,
            "min_ns": self.minimum,
            "max_ns": self.maximum,
            "percentiles_ns": {f"{p:g}": value for p, value in self.percentiles.items()},
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """The inverse of :meth:`to_dict`."""
        return cls(
            mean=float(data["mean_ns"]),
            minimum=float(data["min_ns"]),
            maximum=float(data["max_ns"]),
            percentiles=MappingProxyType(
                {float(p): float(value) for p, value in data["percentiles_ns"].items()}
            ),
        )


def latency(detail: DetailLog) -> Spread:
    """How long a query took; in MultiStream the query, in every other scenario its sample."""
    if "result_mean_query_latency_ns" in detail.values:
        return _spread(
            detail, "result_{}_query_latency_ns", "result_{}_percentile_per_query_latency_ns"
        )
    return _spread(detail, "result_{}_latency_ns", "result_{}_percentile_latency_ns")


def time_to_first_token(detail: DetailLog) -> Spread | None:
    """How long the first token took; None where the run did not track tokens."""
    if "result_first_token_mean_latency_ns" not in detail.values:
        return None
    return _spread(
        detail, "result_first_token_{}_latency_ns", "result_first_token_{}_percentile_latency_ns"
    )


def time_per_output_token(detail: DetailLog) -> Spread | None:
    """How long each further token took; None where the run did not track tokens."""
    if "result_time_to_output_token_mean" not in detail.values:
        return None
    return _spread(
        detail, "result_time_to_output_token_{}", "result_time_per_output_token_{}_percentile_ns"
    )


def _spread(detail: DetailLog, plain: str, percentile: str) -> Spread:
    head, _, tail = percentile.partition("{}")
    pattern = re.compile(rf"{re.escape(head)}(\d+\.\d+){re.escape(tail)}")
    found = ((pattern.fullmatch(key), key) for key in detail.values)
    return Spread(
        mean=detail.number(plain.format("mean")),
        minimum=detail.number(plain.format("min")),
        maximum=detail.number(plain.format("max")),
        percentiles=MappingProxyType(
            {float(match[1]): detail.number(key) for match, key in found if match}
        ),
    )
