"""The configuration of a run: every key, its type, its default, its unit and what it means."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, TypeVar

import attrs

from mlpinf_core.binding import are_cpu_lists, is_cpu_list, is_node_list

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

TABLES: Final = ("run", "loadgen", "sut", "benchmark", "backend")
"""The tables of a settings file; each is a field of :class:`Config`."""


def setting(
    default: T,
    doc: str,
    *,
    unit: str | None = None,
    validator: Callable[[Any, Any, Any], Any] | None = None,
) -> T:
    """A documented field of a settings class; plugins declare theirs with it too.

    Args:
        default: used where no layer sets the key.
        doc: one or two sentences; printed by ``mlpinf config --keys`` and in the documentation.
        unit: of the value ("s", "ms", "samples").
        validator: an attrs validator for values beyond what the type says.
    """
    field: T = attrs.field(
        default=default, validator=validator, metadata={"doc": doc, "unit": unit}
    )
    return field


_positive = attrs.validators.optional(attrs.validators.gt(0))
_not_negative = attrs.validators.optional(attrs.validators.ge(0))


@attrs.frozen
class RunSettings:
    """The table ``[run]``: how a run is carried out and watched."""

    backend: str = setting("", "What computes; the variant's own backend where it is empty.")
    warmup: bool = setting(True, "Warm the backend up before the timed part.")
    stop_on_error: bool = setting(
        True, "End the run at the first failed query; a run with a failed query is INVALID anyway."
    )
    start_timeout: float = setting(
        3600.0,
        "Give up when preparing, loading or warming up shows no sign of life for so long.",
        unit="s",
        validator=_positive,
    )
    hang_timeout: float = setting(
        600.0,
        "Give up when queries are open and none has completed for so long, or the SUT does not "
        "return.",
        unit="s",
        validator=_positive,
    )
    cpus: str = setting(
        "",
        "Processors that the run's process may use, as 0-31,64-95 or node:0; all where it is "
        "empty.",
        validator=is_cpu_list,
    )
    memory_nodes: str = setting(
        "",
        "NUMA nodes that the run's process takes memory from, as 0 or 0-1; all where it is empty. "
        "Needs libnuma.",
        validator=is_node_list,
    )
    measure_seconds: float = setting(
        2.0,
        "Length of the measured pass that finds a rate where none is configured.",
        unit="s",
        validator=_positive,
    )
    server_load: float = setting(
        0.5,
        "Server target QPS as a fraction of the measured throughput, where none is configured.",
        validator=_positive,
    )


@attrs.frozen
class LoadGenSettings:
    """The table ``[loadgen]``: what is written to user.conf; unset keys are left to LoadGen."""

    target_qps: float | None = setting(
        None,
        "Server: queries issued a second. Offline: expected samples a second. "
        "Measured in a short pass where it is unset.",
        unit="1/s",
        validator=_positive,
    )
    min_duration: float | None = setting(
        None, "Least length of a performance run.", unit="s", validator=_not_negative
    )
    max_duration: float | None = setting(
        None, "Stop issuing after so long; 0 is never.", unit="s", validator=_not_negative
    )
    min_query_count: int | None = setting(
        None, "Least number of queries (Offline: samples).", validator=_not_negative
    )
    max_query_count: int | None = setting(
        None, "Stop issuing after so many queries; 0 is never.", validator=_not_negative
    )
    performance_sample_count: int | None = setting(
        None,
        "Samples kept loaded in a performance run; at most the data set's size.",
        unit="samples",
        validator=_positive,
    )
    total_sample_count: int | None = setting(
        None,
        "Present the data set as so many samples: after its last one it begins anew. For a tiny "
        "data set in the open division, where a submission still has as many samples as the "
        "benchmark's own; unset, the data set is what it is.",
        unit="samples",
        validator=_positive,
    )
    target_latency_ms: float | None = setting(
        None,
        "Server: the latency limit. SingleStream and MultiStream: the expected latency, which "
        "decides how many queries are drawn; measured in a short pass where it is unset.",
        unit="ms",
        validator=_not_negative,
    )
    target_latency_percentile: float | None = setting(
        None, "The percentile that a latency limit applies to.", unit="%", validator=_positive
    )
    ttft_ms: float | None = setting(
        None, "Server: limit of the time to first token.", unit="ms", validator=_positive
    )
    tpot_ms: float | None = setting(
        None, "Server: limit of the time per output token.", unit="ms", validator=_positive
    )
    samples_per_query: int | None = setting(
        None, "MultiStream: samples in a query.", unit="samples", validator=_positive
    )
    coalesce_queries: bool | None = setting(
        None, "Server: hand over queries that are due together in one call."
    )
    token_latencies: bool | None = setting(
        None, "Track first tokens and token counts; the benchmark's rules decide where unset."
    )
    equal_issue: bool | None = setting(
        None, "Issue every sample equally often; the benchmark's rules decide where unset."
    )


@attrs.frozen
class SutSettings:
    """The table ``[sut]``: how queries become batches."""

    max_batch_size: int = setting(
        32, "Most samples in a batch.", unit="samples", validator=attrs.validators.ge(1)
    )
    max_wait_ms: float = setting(
        5.0,
        "Longest that the first sample of a batch waits for more to come.",
        unit="ms",
        validator=attrs.validators.ge(0),
    )
    workers: int = setting(
        1, "Threads that take batches to the backend.", validator=attrs.validators.ge(1)
    )
    worker_cpus: tuple[str, ...] = setting(
        (),
        "Processors of each worker, as in run.cpus; workers beyond the list begin it anew. "
        "Empty: those of the process.",
        validator=are_cpu_lists,
    )


@attrs.frozen
class Config:
    """A resolved configuration: every value, and where each came from.

    Attributes:
        benchmark: an instance of the benchmark's own settings class.
        backend: an instance of the backend's own settings class.
        origins: dotted key (``loadgen.target_qps``) to the layer that set it, for every key.
    """

    run: RunSettings = attrs.field(factory=RunSettings)
    loadgen: LoadGenSettings = attrs.field(factory=LoadGenSettings)
    sut: SutSettings = attrs.field(factory=SutSettings)
    benchmark: Any = None
    backend: Any = None
    origins: Mapping[str, str] = attrs.field(factory=lambda: MappingProxyType({}))
