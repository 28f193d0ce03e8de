"""What keeps a valid run from being submitted as it is, and what LoadGen warned of."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from mlpinf_core.logs.result import RESULT_FIELDS
from mlpinf_core.vocabulary import Scenario, Variant

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mlpinf_core.logs.detail import DetailLog
    from mlpinf_core.rules.model import BenchmarkRules
    from mlpinf_core.vocabulary import Workload


def notes_of_any_run(detail: DetailLog, workload: Workload) -> Iterator[str]:
    """The variant, and LoadGen's warnings."""
    if workload.variant is Variant.TINY:
        yield "not submittable as the benchmark: the tiny variant has a model and data of its own"
    # LoadGen warns whenever its own log buffers grew, which says nothing of the run.
    warnings = (w.message for w in detail.warnings if "Logging allocation" not in w.message)
    for message, count in Counter(warnings).items():
        often = f" ({count} times)" if count > 1 else ""
        yield f"LoadGen warned{often}: {message.strip()}"


def notes_of_performance(
    detail: DetailLog, workload: Workload, rules: BenchmarkRules, min_duration_s: float
) -> Iterator[str]:
    """What else there is to say of a performance run; ``min_duration_s`` is the round's."""
    yield from notes_of_any_run(detail, workload)
    length = detail.get("effective_min_duration_ms", 0)
    if isinstance(length, int) and length < min_duration_s * 1000:
        yield (
            f"not submittable: loadgen.min_duration was {length / 1e3:g} s, and the round asks "
            f"for {min_duration_s:g} s"
        )
    if rules.equal_issue and detail.get("effective_sample_concatenate_permutation") is False:
        yield "not submittable: samples were not issued equally often (loadgen.equal_issue)"
    for key in ("performance_issue_same", "performance_issue_unique"):
        if detail.get(f"effective_{key}") is True:
            yield f"not submittable: {key} was on, as in an audit"
    wanted = rules.result_fields.get(workload.scenario, RESULT_FIELDS[workload.scenario])
    if detail.finished and wanted not in detail.values:
        yield f"not submittable: the log lacks the round's result, {wanted}"
    if workload.variant is Variant.FULL:
        yield from _loosened(detail, workload, rules)


def _loosened(detail: DetailLog, workload: Workload, rules: BenchmarkRules) -> Iterator[str]:
    """Where a full run was judged by less than the round asks."""
    loaded = detail.get("effective_performance_sample_count", rules.performance_sample_count)
    if isinstance(loaded, int) and loaded < rules.performance_sample_count:
        yield (
            f"not submittable: {loaded:,} samples were kept loaded, and the round asks for "
            f"{rules.performance_sample_count:,} (loadgen.performance_sample_count)"
        )
    issued = detail.get("generated_samples_per_query", rules.offline_min_samples)
    if workload.scenario is Scenario.OFFLINE and issued < rules.offline_min_samples:
        yield (
            f"not submittable: Offline issued {issued:,} samples, and the round asks for "
            f"{rules.offline_min_samples:,}"
        )
    limits = rules.latency.get(workload.scenario)
    if limits is None or not workload.scenario.is_poisson:
        return
    for key, limit, setting in (
        ("effective_target_latency_ns", limits.latency_ms, "target_latency_ms"),
        ("requested_server_ttft_latency", limits.ttft_ms, "ttft_ms"),
        ("requested_server_tpot_latency", limits.tpot_ms, "tpot_ms"),
    ):
        used = detail.get(key, 0)
        if limit is not None and isinstance(used, int | float) and used > limit * 1e6 * 1.0001:
            yield (
                f"not submittable: loadgen.{setting} was {used / 1e6:g}, over the round's {limit:g}"
            )
