"""mlpinf: a plugin framework for MLPerf Inference.

What a program or a plugin needs is here; it is imported on first use, so that importing the package
costs nothing::

    import mlpinf_core

    quick = {"loadgen": {"min_duration": 1}}
    results = mlpinf_core.run("null", scenarios="Offline", settings=quick)
    for run in results.runs:
        print(run.workload, run.verdict, run.performance)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from mlpinf_core.api import run
    from mlpinf_core.benchmark import (
        BackendInfo,
        Benchmark,
        Estimate,
        FolderSource,
        NoSettings,
        Source,
        VariantSpec,
    )
    from mlpinf_core.config.schema import setting
    from mlpinf_core.context import Run
    from mlpinf_core.errors import (
        AccuracyError,
        BackendError,
        ConfigurationError,
        ExitCode,
        IntegrityError,
        InterruptedRunError,
        LogError,
        MlpinfError,
        PluginError,
        PrerequisiteError,
        RunError,
        UnknownNameError,
    )
    from mlpinf_core.hookspecs import hookimpl
    from mlpinf_core.logs.accuracy import AccuracyLog
    from mlpinf_core.protocols import Backend, NotGraded, Outputs, Query, Samples, Sut
    from mlpinf_core.results import Results, RunResult
    from mlpinf_core.rules.model import BenchmarkRules, LatencyLimits, Limit
    from mlpinf_core.servers import ServeOptions, ServerSpec
    from mlpinf_core.suts.asynchronous import AsyncSut, Desk
    from mlpinf_core.suts.batching import BatchingSut
    from mlpinf_core.suts.inline import InlineSut
    from mlpinf_core.suts.ordering import longest_first
    from mlpinf_core.suts.pipeline import PipelineSut, Stage
    from mlpinf_core.suts.processes import ProcessSut, WorkerPool
    from mlpinf_core.suts.streaming import Stream, StreamingSut
    from mlpinf_core.vocabulary import Category, Mode, Scenario, Variant, Workload

__all__ = [
    "AccuracyError",
    "AccuracyLog",
    "AsyncSut",
    "Backend",
    "BackendError",
    "BackendInfo",
    "BatchingSut",
    "Benchmark",
    "BenchmarkRules",
    "Category",
    "ConfigurationError",
    "Desk",
    "Estimate",
    "ExitCode",
    "FolderSource",
    "InlineSut",
    "IntegrityError",
    "InterruptedRunError",
    "LatencyLimits",
    "Limit",
    "LogError",
    "MlpinfError",
    "Mode",
    "NoSettings",
    "NotGraded",
    "Outputs",
    "PipelineSut",
    "PluginError",
    "PrerequisiteError",
    "ProcessSut",
    "Query",
    "Results",
    "Run",
    "RunError",
    "RunResult",
    "Samples",
    "Scenario",
    "ServeOptions",
    "ServerSpec",
    "Source",
    "Stage",
    "Stream",
    "StreamingSut",
    "Sut",
    "UnknownNameError",
    "Variant",
    "VariantSpec",
    "WorkerPool",
    "Workload",
    "hookimpl",
    "longest_first",
    "run",
    "setting",
]

_HOMES: Final = {
    "api": ("run",),
    "benchmark": (
        "BackendInfo",
        "Benchmark",
        "Estimate",
        "FolderSource",
        "NoSettings",
        "Source",
        "VariantSpec",
    ),
    "config.schema": ("setting",),
    "context": ("Run",),
    "errors": (
        "AccuracyError",
        "BackendError",
        "ConfigurationError",
        "ExitCode",
        "IntegrityError",
        "InterruptedRunError",
        "LogError",
        "MlpinfError",
        "PluginError",
        "PrerequisiteError",
        "RunError",
        "UnknownNameError",
    ),
    "hookspecs": ("hookimpl",),
    "logs.accuracy": ("AccuracyLog",),
    "protocols": ("Backend", "NotGraded", "Outputs", "Query", "Samples", "Sut"),
    "results": ("Results", "RunResult"),
    "rules.model": ("BenchmarkRules", "LatencyLimits", "Limit"),
    "servers": ("ServeOptions", "ServerSpec"),
    "suts.asynchronous": ("AsyncSut", "Desk"),
    "suts.batching": ("BatchingSut",),
    "suts.inline": ("InlineSut",),
    "suts.ordering": ("longest_first",),
    "suts.pipeline": ("PipelineSut", "Stage"),
    "suts.processes": ("ProcessSut", "WorkerPool"),
    "suts.streaming": ("Stream", "StreamingSut"),
    "vocabulary": ("Category", "Mode", "Scenario", "Variant", "Workload"),
}
"""Module to the names that come from it: what the block above says to type checkers."""


def __getattr__(name: str) -> Any:
    """Import a public name on its first use."""
    import importlib

    for module, names in _HOMES.items():
        if name in names:
            value = getattr(importlib.import_module(f"{__name__}.{module}"), name)
            globals()[name] = value
            return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """The public names, whether they have been used or not."""
    return sorted({*globals(), *__all__})
