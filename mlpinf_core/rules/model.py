"""What a round of MLPerf Inference says of a benchmark, as plain data."""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import attrs

from mlpinf_core.names import lookup
from mlpinf_core.rules.submission import SubmissionRules
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
        checker_latency_ms: the submission checker's cap on the whole-query target latency that a
            Server run was configured with; it does not judge the measured latency.
    """

    latency_ms: float | None = None
    ttft_ms: float | None = None
    tpot_ms: float | None = None
    percentile: float = 99.0
    checker_latency_ms: float | None = None


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
        loadgen_interactive_name: the same for Interactive, which LoadGen keeps as a model of its
            own; None where the round has no Interactive.
        dataset_size: samples in the data set of the full variant.
        performance_sample_count: samples that LoadGen keeps loaded in a performance run.
        submission_names: accuracy target ("99") to the name the submission checker uses.
        accuracy: accuracy target to metric to its limit.
        scenarios_required: per system category, what a submission must have.
        scenarios_optional: per system category, what it may have.
        latency: scenario to its limits.
        min_queries: scenario to the least number of queries with which a run can be VALID: what
            early stopping needs, and one for Offline.
        offline_min_samples: samples that Offline's one query must have at least.
        token_latencies: whether LoadGen tracks first tokens and token counts.
        equal_issue: whether every sample is issued equally often
            (LoadGen's ``sample_concatenate_permutation``).
        audits: the compliance tests asked for.
        audit_margins: metric to the percentage by which it may differ between the two accuracy
            files of a TEST01 whose exact comparison failed.
        audit_settings: test to what its audit.config says for this benchmark besides; in the form
            of :attr:`AuditRules.config`.
        result_fields: scenario to the detail log's key of the result. LoadGen writes latencies in
            ns, whatever the key is called.
        units: scenario to the unit that its result is published in.
    """

    loadgen_name: str
    dataset_size: int
    performance_sample_count: int
    loadgen_interactive_name: str | None = None
    submission_names: Mapping[str, str] = attrs.field(factory=_no_entries)
    accuracy: Mapping[str, Mapping[str, Limit]] = attrs.field(factory=_no_entries)
    scenarios_required: Mapping[Category, tuple[Scenario, ...]] = attrs.field(factory=_no_entries)
    scenarios_optional: Mapping[Category, tuple[Scenario, ...]] = attrs.field(factory=_no_entries)
    latency: Mapping[Scenario, LatencyLimits] = attrs.field(factory=_no_entries)
    min_queries: Mapping[Scenario, int] = attrs.field(factory=_no_entries)
    offline_min_samples: int = 1
    token_latencies: bool = False
    equal_issue: bool = False
    audits: tuple[str, ...] = ()
    audit_margins: Mapping[str, float] = attrs.field(factory=_no_entries)
    audit_settings: Mapping[str, Mapping[str, Mapping[str, int]]] = attrs.field(factory=_no_entries)
    result_fields: Mapping[Scenario, str] = attrs.field(factory=_no_entries)
    units: Mapping[Scenario, str] = attrs.field(factory=_no_entries)

    @property
    def accuracy_targets(self) -> tuple[str, ...]:
        """The accuracy targets on offer, the default first."""
        return tuple(self.accuracy) or ("99",)

    def loadgen_model(self, scenario: Scenario) -> str:
        """The model name to give LoadGen's configuration for one scenario."""
        if scenario is Scenario.INTERACTIVE and self.loadgen_interactive_name:
            return self.loadgen_interactive_name
        return self.loadgen_name


class Speed(enum.StrEnum):
    """How the score of a compliance test must compare with that of the performance run."""

    SAME = "same"
    NOT_FASTER = "not faster"


@attrs.frozen
class AuditRules:
    """One compliance test.

    Attributes:
        config: what LoadGen is told in audit.config: a scenario, or ``*`` for each, to key to
            value. Booleans are 0 and 1, durations in ms.
        files: what the test leaves, and a submission has to have, relative to its folder.
        optional_files: what it leaves besides, and a submission may have.
        must_be_valid: whether LoadGen has to call the test's own run VALID.
        speed: how its score is compared; None where it is not.
        speed_margin: per cent by which the score may differ (``same``), or by which it may
            be higher (``not faster``).
        relaxed_margin: the same for a stream whose score is at most ``relaxed_up_to``.
        relaxed_up_to: scenario to that score.
    """

    config: Mapping[str, Mapping[str, int]]
    files: tuple[str, ...]
    must_be_valid: bool
    speed: Speed | None = None
    speed_margin: float = 0.0
    relaxed_margin: float = 0.0
    relaxed_up_to: Mapping[Scenario, float] = attrs.field(factory=_no_entries)
    optional_files: tuple[str, ...] = ()


@attrs.frozen
class Defaults:
    """What holds for every benchmark of a round that says nothing else, and for all outside it.

    Attributes:
        samples_per_query: of MultiStream.
        percentiles: scenario to the latency percentile that early stopping looks at.
        min_queries: see :class:`BenchmarkRules`, like the following ones.
        result_fields: as there.
        units: as there.
    """

    samples_per_query: int
    percentiles: Mapping[Scenario, float]
    min_queries: Mapping[Scenario, int]
    result_fields: Mapping[Scenario, str]
    units: Mapping[Scenario, str]


@attrs.frozen
class SystemDescriptionRules:
    """What a round wants to know of the system that was measured.

    Attributes:
        statuses: what the key ``status`` may say: how far the system can be had.
        types: what the key ``system_type`` may say.
        divisions: what the key ``division`` may say.
        required: every key that has to be there.
        meaningful: those of them that may not be empty.
        power: what is wanted beside them with a power measurement.
        network: what may be there as well, and is wanted of a submission over a network.
        optional: what else may be there.
    """

    statuses: tuple[str, ...]
    types: tuple[str, ...]
    divisions: tuple[str, ...]
    required: tuple[str, ...]
    meaningful: tuple[str, ...]
    power: tuple[str, ...]
    network: tuple[str, ...]
    optional: tuple[str, ...]

    @property
    def keys(self) -> tuple[str, ...]:
        """Every key that a description may have."""
        return (*self.required, *self.power, *self.network, *self.optional)


@attrs.frozen
class Round:
    """One version of the rules.

    Attributes:
        name: ``v5.1``.
        min_duration_s: the least length of a performance run, in seconds.
        seeds: the round's seeds.
        system_description: what it wants to know of a system.
        audits: the compliance tests, by name (``TEST01``).
        submission: what it asks of a submission's tree.
        defaults: what a benchmark need not say.
        benchmarks: proper name (``llama2-70b``, not the checker's ``llama2-70b-99``) to its rules,
            with the defaults filled in.
    """

    name: str
    min_duration_s: float
    seeds: Seeds
    system_description: SystemDescriptionRules
    audits: Mapping[str, AuditRules]
    submission: SubmissionRules
    defaults: Defaults
    benchmarks: Mapping[str, BenchmarkRules]

    def benchmark(self, name: str) -> BenchmarkRules:
        """The rules of one benchmark.

        Raises:
            UnknownNameError: the round does not have it.
        """
        return lookup(f"benchmark of round {self.name}", name, self.benchmarks)

    def rules_of(self, name: str, own: BenchmarkRules | None) -> BenchmarkRules:
        """A benchmark's rules: its own where it brings some, and the round's otherwise.

        Raises:
            UnknownNameError: it brings none, and the round does not have it.
        """
        return self.benchmark(name) if own is None else self.complete(own)

    def audit_files(self, test: str) -> tuple[str, ...]:
        """What has to lie in a submission's folder of a compliance test, relative to it.

        Where the test's accuracy log is cut, ``accuracy.txt`` takes the checksum of the whole one.
        """
        cut = test in self.submission.truncated_audits
        return (*self.audits[test].files, *(("accuracy/accuracy.txt",) if cut else ()))

    def complete(self, rules: BenchmarkRules) -> BenchmarkRules:
        """``rules`` with the round's defaults where they are silent.

        For the rules that a benchmark outside the rounds brings along; those of the round's own
        benchmarks are complete already.
        """
        return attrs.evolve(
            rules,
            min_queries={**self.defaults.min_queries, **rules.min_queries},
            result_fields={**self.defaults.result_fields, **rules.result_fields},
            units={**self.defaults.units, **rules.units},
        )
