"""What can be wrong with the declaration of a benchmark or a backend."""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING, Any, Final

import attrs
import numpy as np

from mlpinf_core.benchmark import Source
from mlpinf_core.config.layers import Layer
from mlpinf_core.errors import ConfigurationError, MlpinfError, UnknownNameError
from mlpinf_core.names import fold
from mlpinf_core.plan import Request, make_plan
from mlpinf_core.rules import DEFAULT_ROUND, ROUNDS, load_round
from mlpinf_core.vocabulary import Scenario, Variant

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from mlpinf_core.benchmark import AnySource, Benchmark, VariantSpec
    from mlpinf_core.plugins import Plugins
    from mlpinf_core.rules.model import BenchmarkRules

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_COMMIT: Final = re.compile(r"[0-9a-f]{40}")
_REPOSITORY: Final = re.compile(r"(datasets/)?[A-Za-z0-9._-]+/[A-Za-z0-9._-]+")


def of_benchmark(benchmark: Benchmark, plugins: Plugins) -> list[str]:
    """What is wrong with a benchmark, one sentence each."""
    return [f"benchmark {benchmark.name!r}: {p}" for p in _benchmark(benchmark, plugins)]


def of_backend(name: str, plugins: Plugins) -> list[str]:
    """What is wrong with a backend, one sentence each."""
    problems = []
    if not _NAME.fullmatch(name):
        problems.append("its name has to be letters, digits and ._-")
    infos = [i for b in plugins.benchmarks() for i in plugins.backends(b.name) if i.name == name]
    if not infos:
        problems.append("it is for no benchmark that is installed")
    for info in infos[:1]:
        if not info.summary.strip():
            problems.append("it has no summary")
        problems += _undocumented(info.settings)
    return [f"backend {name!r}: {problem}" for problem in problems]


def _benchmark(benchmark: Benchmark, plugins: Plugins) -> Iterator[str]:
    if not _NAME.fullmatch(benchmark.name):
        yield "its name has to be letters, digits and ._-, because directories are named after it"
    if not benchmark.summary.strip() or "\n" in benchmark.summary:
        yield "its summary has to be one line"
    if not benchmark.scenarios or not all(isinstance(s, Scenario) for s in benchmark.scenarios):
        yield "it has to name at least one Scenario, and nothing else, as its scenarios"
    if len(set(benchmark.scenarios)) < len(benchmark.scenarios):
        yield "it names a scenario twice"
    yield from _aliases(benchmark, plugins)
    yield from _undocumented(benchmark.settings)
    if benchmark.response_dtype is not None:
        try:
            np.dtype(benchmark.response_dtype)
        except TypeError:
            yield f"its response_dtype {benchmark.response_dtype!r} is none of NumPy's"
    known = _first_round(benchmark)
    if known is None:
        yield "no round has rules for it, and it brings none of its own (Benchmark.rules)"
    if not benchmark.variants:
        yield "it has no variant"
    for variant, spec in benchmark.variants.items():
        if variant not in set(Variant):
            yield f"{variant!r} is no variant; there are {', '.join(Variant)}"
            continue
        for problem in _variant(benchmark, variant, spec, known, plugins):
            yield f"variant {str(variant)!r}: {problem}"


def _aliases(benchmark: Benchmark, plugins: Plugins) -> Iterator[str]:
    others = {
        fold(name): other.name
        for other in plugins.benchmarks()
        if other.name != benchmark.name
        for name in (other.name, *other.aliases)
    }
    for alias in (benchmark.name, *benchmark.aliases):
        if fold(alias) in others:
            yield f"{alias!r} means benchmark {others[fold(alias)]!r} as well"


def _first_round(benchmark: Benchmark) -> tuple[str, BenchmarkRules] | None:
    """A round that knows the benchmark, and its rules there."""
    for round_ in dict.fromkeys((DEFAULT_ROUND, *ROUNDS)):
        with contextlib.suppress(UnknownNameError):
            return round_, load_round(round_).rules_of(benchmark.name, benchmark.rules)
    return None


def _variant(
    benchmark: Benchmark,
    variant: Variant,
    spec: VariantSpec,
    known: tuple[str, BenchmarkRules] | None,
    plugins: Plugins,
) -> Iterator[str]:
    if not spec.summary.strip():
        yield "it has no summary"
    yield from _sources(benchmark, spec, plugins)
    try:
        plugins.backend(benchmark.name, spec.backend)
    except UnknownNameError as error:
        yield f"its backend {spec.backend!r} is none of the benchmark's ({error.remedy})"
        return  # its settings cannot be told
    if known is None:
        return
    round_, rules = known
    yield from _limits(rules.accuracy if spec.accuracy is None else spec.accuracy)
    if spec.unavailable is None:
        yield from _defaults(benchmark, variant, round_, plugins)


def _limits(limits: Any) -> Iterator[str]:
    if not limits or not all(limits.values()):
        yield "it has no accuracy limit, so that every output passes"
        return
    for target, metrics in limits.items():
        if not re.fullmatch(r"\d+(\.\d+)?", target):
            yield f"its accuracy target {target!r} is no percentage"
        for metric, limit in metrics.items():
            if limit.lower is None and limit.upper is None:
                yield f"its limit of {metric} at {target} bounds nothing"
            elif None not in (limit.lower, limit.upper) and limit.lower > limit.upper:
                yield f"its limit of {metric} at {target} admits nothing"


def _defaults(
    benchmark: Benchmark, variant: Variant, round_: str, plugins: Plugins
) -> Iterator[str]:
    """Each scenario's defaults, held against the settings classes by making its plan."""
    for scenario in benchmark.scenarios:
        try:
            make_plan(
                Request(
                    benchmarks=(benchmark.name,),
                    scenarios=(scenario,),
                    variant=variant,
                    round=round_,
                    layers=(Layer("conformance", {"loadgen": {"min_duration": 0}}),),
                ),
                plugins,
            )
        except ConfigurationError as error:
            yield f"its defaults for {scenario} do not fit its settings: {error.what}"
        except MlpinfError as error:
            yield f"{scenario} cannot be planned: {error.what}"


def _sources(benchmark: Benchmark, spec: VariantSpec, plugins: Plugins) -> Iterator[str]:
    tables = {"benchmark": benchmark.settings}
    for source in spec.sources:
        yield from _source(source, tables)
    for name, sources in spec.backend_sources.items():
        try:
            backend = plugins.backend(benchmark.name, name)
        except UnknownNameError:
            backend = None
        if backend is None or backend.name != name:
            yield f"it has files for backend {name!r}, which is none of the benchmark's"
            continue
        for source in sources:
            yield from _source(source, {**tables, "backend": backend.settings})


def _source(source: AnySource, tables: Mapping[str, type[Any]]) -> Iterator[str]:
    """What is wrong with a file or folder; ``tables`` are the settings that it may refer to."""
    noun = "file" if isinstance(source, Source) else "folder"
    for problem in (*_source_itself(source), *_source_keys(source, tables)):
        yield f"{noun} {source.name!r}: {problem}"


def _source_itself(source: AnySource) -> Iterator[str]:
    if source.kind not in ("models", "data"):
        yield f"its kind is 'models' or 'data', not {source.kind!r}"
    if source.size <= 0:
        yield "its size is unknown"
    if not source.licence.strip():
        yield "its licence is unknown"
    if isinstance(source, Source):
        if source.sha256 is None and not source.by_hand:
            yield "it is fetched, and has no sha256 to check it by"
        if source.sha256 is not None and not _SHA256.fullmatch(source.sha256):
            yield "its sha256 is not 64 lower-case hex digits"
        if source.size_is_estimate and not source.by_hand:
            yield "it is fetched, and its size is an estimate"
        if source.wheel is None and source.url is None and source.gated is None:
            yield "it says neither where it is fetched from nor what to do to get it"
        return
    if not _REPOSITORY.fullmatch(source.repository):
        yield f"its repository is OWNER/NAME or datasets/OWNER/NAME, not {source.repository!r}"
    if not _COMMIT.fullmatch(source.revision):
        yield "its revision is not a commit of 40 lower-case hex digits, so it may change"
    if not source.requires or not all(source.requires):
        yield "it requires no file, so that any folder would do"
    if not source.patterns:
        yield "its patterns name no file"


def _source_keys(source: AnySource, tables: Mapping[str, type[Any]]) -> Iterator[str]:
    unless = (source.unless,) if isinstance(source.unless, str) else source.unless or ()
    for key in (source.setting, *unless):
        if key is None:
            continue
        table, _, name = key.partition(".")
        fields = attrs.fields_dict(tables[table]) if table in tables else {}
        if name not in fields:
            yield f"{key!r} is no setting that it can refer to"
        elif fields[name].default is not None:
            yield f"{key!r}, which it refers to, has a value already when nobody sets it"


def _undocumented(settings: type[Any]) -> Iterator[str]:
    """Settings without a text: `mlpinf config` and the documentation show it."""
    if attrs.has(settings):
        for field in attrs.fields(settings):
            if not str(field.metadata.get("doc", "")).strip():
                yield f"setting {field.name!r} of {settings.__name__} is not documented"
