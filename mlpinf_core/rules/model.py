"""What a round of MLPerf Inference says of a benchmark, as plain data."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import attrs

from mlpinf_core.names import lookup
from mlpinf_core.vocabulary import Category, Scenario

EMPTY: Final[Mapping[object, object]] = MappingProxyType({})


def _no_entries() -> Mapping[object, object]:
    return EMPTY


@attrs.frozen
class Limit:
    """The band a metric must lie in; a side that is None is open. Both bounds are inclusive."""

    lower: float | None = None
    upper: float | None = None

    def admits(self, value: float) -> bool:
        """Whether ``value`` lies in the band (NaN never does)."""
        above = self.lower is None or value >= self.lower
        below = self.upper is None or value <= self.upper
        return above and below and not math.isnan(value)


@attrs.frozen
class LatencyLimits:
    """What a Server or Interactive run must stay under; None where the round sets no limit.

    Attributes:
        latency_ms: a whole query, at ``percentile``.
        ttft_ms: time to first token, at ``percentile``.
        tpot_ms: time per output token after the first, at ``percentile``.
        percentile: 99 unless the round says otherwise.
    """

    latency_ms: float | None = None
    ttft_ms: float | None = None
    tpot_ms: float | None = None
    percentile: float = 99.0


@attrs.frozen
class Seeds:
    """The three seeds of a round, which LoadGen draws samples and arrivals from."""

    qsl_rng_seed: int
    sample_index_rng_seed: int
    schedule_rng_seed: int


@attrs.frozen
class BenchmarkRules:
    """One benchmark in one round. A benchmark outside the rounds makes one of its own.

    Attributes:
        loadgen_name: the benchmark's name in LoadGen's configuration (``llama3_1-8b``).
        dataset_size: samples in the data set of the full variant.
        performance_sample_count: samples that LoadGen keeps loaded in a performance run.
        submission_names: accuracy target ("99") to the name the submission checker uses.
        accuracy: accuracy target to metric to its limit.
        scenarios_required: per system category, what a submission must have.
        scenarios_optional: per system category, what it may have.
        latency: scenario to its limits.
        min_queries: scenario to the least number of queries of a submitted run.
        token_latencies: whether LoadGen tracks first tokens and token counts.
        equal_issue: whether every sample is issued equally often
            (LoadGen's ``sample_concatenate_permutation``).
        audits: the compliance tests asked for.
        result_fields: scenario to the detail log's key of the result.
        units: scenario to the result's unit, where it is not the scenario's own.
    """

    loadgen_name: str
    dataset_size: int
    performance_sample_count: int
    submission_names: Mapping[str, str] = attrs.field(factory=_no_entries)
    accuracy: Mapping[str, Mapping[str, Limit]] = attrs.field(factory=_no_entries)
    scenarios_required: Mapping[Category, tuple[Scenario, ...]] = attrs.field(factory=_no_entries)
    scenarios_optional: Mapping[Category, tuple[Scenario, ...]] = attrs.field(factory=_no_entries)
    latency: Mapping[Scenario, LatencyLimits] = attrs.field(factory=_no_entries)
    min_queries: Mapping[Scenario, int] = attrs.field(factory=_no_entries)
    token_latencies: bool = False
    equal_issue: bool = False
    audits: tuple[str, ...] = ()
    result_fields: Mapping[Scenario, str] = attrs.field(factory=_no_entries)
    units: Mapping[Scenario, str] = attrs.field(factory=_no_entries)

    @property
    def accuracy_targets(self) -> tuple[str, ...]:
        """The accuracy targets on offer, the default first."""
        return tuple(self.accuracy) or ("99",)


@attrs.frozen
class Round:
    """One version of the rules.

    Attributes:
        name: ``v5.1``.
        seeds: the round's seeds.
        benchmarks: proper name (``llama2-70b``, not the checker's ``llama2-70b-99``) to its rules.
    """

    name: str
    seeds: Seeds
    benchmarks: Mapping[str, BenchmarkRules]

    def benchmark(self, name: str) -> BenchmarkRules:
        """The rules of one benchmark.

        Raises:
            UnknownNameError: the round does not have it.
        """
        return lookup(f"benchmark of round {self.name}", name, self.benchmarks)
