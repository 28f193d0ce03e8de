"""The benchmark ``rgat``: its settings, its variants, its backend."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Final, Literal

import attrs

from mlpinf_core.benchmark import BackendInfo, Benchmark, VariantSpec
from mlpinf_core.config.schema import setting
from mlpinf_core.rules.model import Limit
from mlpinf_core.vocabulary import Scenario, Variant
from mlpinf_rgat.layout import sources

NAME: Final = "rgat"
BACKEND: Final = "torch"

TINY_PAPERS: Final = 20_000
TINY_CLASSES: Final = 320
TINY_SAMPLES: Final = 2_000

TINY_LIMIT: Final = 0.845
"""Least accuracy of the tiny variant; the shipped weights reach 0.863 in float32."""

#: Milliseconds; a query of one sample takes some ten.
_TINY_SERVER: Final = {"target_latency_ms": 500.0}

#: Early stopping wants 662 queries at p99 when none is over the limit, and more for each that is.
_P99_QUERIES: Final = 700


@attrs.frozen
class RgatSettings:
    """Settings of the benchmark, the table ``[benchmark]``."""

    data_path: Path | None = setting(
        None, "Where the graph is, in IGBH's layout; the folder of the fetched one where unset."
    )
    graph_path: Path | None = setting(
        None, "A graph that is prepared already; nothing is looked up or prepared then."
    )
    model_path: Path | None = setting(None, "Where the checkpoint is: the official RGAT.pt.")
    paper_nodes: int = setting(
        TINY_PAPERS,
        "Papers of the synthetic graph of the tiny variant; the other node types follow from it.",
        validator=attrs.validators.ge(100),
    )
    classes: int = setting(
        2983, "Classes of papers.", validator=attrs.validators.in_(range(2, 1 << 31))
    )
    validation_share: float = setting(
        0.005,
        "The share of the labelled papers that is asked for; the rules say 0.005.",
        validator=attrs.validators.and_(attrs.validators.gt(0), attrs.validators.le(0.4)),
    )
    features: Literal["float32", "float16", "float8_e4m3"] = setting(
        "float16",
        "How node features are stored for a run. float32 are used where they lie and take no room.",
    )
    memory: str = setting("64GB", "Memory that preprocessing may use, with a unit.")
    fanouts: tuple[int, int, int] = setting(
        (15, 10, 5),
        "Most edges that a node draws of each relation, by its distance from the paper that is "
        "asked for, nearest first. The reference writes them the other way round.",
        validator=attrs.validators.deep_iterable(attrs.validators.ge(1)),
    )
    sampling_seed: int = setting(
        42, "Of the draws of neighbours.", validator=attrs.validators.in_(range(1 << 31))
    )


@attrs.frozen
class TorchSettings:
    """Settings of the ``torch`` backend, the table ``[backend]``."""

    device: Literal["cpu", "cuda"] = setting("cpu", "What the model runs on.")
    devices: int = setting(
        1,
        "Devices, each with a process of its own; on CPUs, processes that share the cores.",
        validator=attrs.validators.ge(1),
    )
    precision: Literal["float32", "bfloat16", "float16"] = setting(
        "float32", "What the model computes in; sums of attention are float32 in any case."
    )
    graph_on: Literal["host", "device"] = setting(
        "device", "Where the edges are, and neighbours are drawn."
    )
    features_on: Literal["host", "device"] = setting(
        "host", "Where the features are; from the host, those of a batch are copied."
    )
    fused: bool = setting(
        True,
        "On CUDA, draw neighbours and sum over them in kernels of the plugin's own; needs Triton, "
        "and is unused without it and on CPUs.",
    )
    replicas: int = setting(
        0,
        "Batches that are on their way at the same time on a device; 0 is one a core of a CPU, one "
        "for 8 cores with the full graph, 3 on GPUs, where one is drawn and gathered while another "
        "is computed, and 1 in SingleStream and MultiStream.",
        validator=attrs.validators.ge(0),
    )
    threads: int = setting(
        0,
        "Threads a batch is computed with on CPUs; 0 shares the cores between the batches.",
        unit="threads",
        validator=attrs.validators.ge(0),
    )


def _full() -> VariantSpec:
    return VariantSpec(
        summary="IGBH-full (2.2 TB) and the official checkpoint",
        backend=BACKEND,
        sources=sources(),
        defaults={
            "benchmark": {"classes": 2983},
            "sut": {"max_batch_size": 4096, "max_wait_ms": 0.0},
        },
    )


def _tiny() -> VariantSpec:
    return VariantSpec(
        summary=f"a synthetic graph of {TINY_PAPERS:,} papers in IGBH's layout, and a small model "
        "trained on it",
        backend=BACKEND,
        defaults={
            "benchmark": {
                "classes": TINY_CLASSES,
                "validation_share": 0.1,
                "features": "float32",
                "memory": "500MB",
            },
            "loadgen": {"min_duration": 10, "performance_sample_count": TINY_SAMPLES},
            "run": {"hang_timeout": 120},
            "sut": {"max_batch_size": 1024, "max_wait_ms": 1.0},
        },
        scenario_defaults={
            Scenario.OFFLINE: {"loadgen": {"min_query_count": TINY_SAMPLES}},
            Scenario.SERVER: {"loadgen": {**_TINY_SERVER, "min_query_count": _P99_QUERIES}},
            Scenario.INTERACTIVE: {"loadgen": {**_TINY_SERVER, "min_query_count": _P99_QUERIES}},
        },
        accuracy={"99": {"acc": Limit(lower=TINY_LIMIT)}},
        measurements={
            "input_data_types": "fp32",
            "retraining": "Yes: a small model of its own, trained on a synthetic graph",
            "starting_weights_filename": "the plugin's own tiny weights",
            "weight_data_types": "fp32",
            "weight_transformations": "none",
        },
    )


@functools.cache
def all_benchmarks() -> tuple[Benchmark, ...]:
    """R-GAT."""
    return (
        Benchmark(
            name=NAME,
            summary="graph node classification, R-GAT on IGBH",
            variants={Variant.FULL: _full(), Variant.TINY: _tiny()},
            settings=RgatSettings,
            aliases=("r-gat",),
            response_dtype="int64",
        ),
    )


def all_backends() -> list[BackendInfo]:
    """PyTorch."""
    return [
        BackendInfo(
            name=BACKEND,
            benchmarks=(NAME,),
            summary="PyTorch in process, on CPUs or CUDA devices",
            settings=TorchSettings,
            requires={"torch": "torch"},
        )
    ]
