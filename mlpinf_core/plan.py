"""From what the user asks for to the runs that will be made: names resolved, settings layered.

Nothing is run or written here; ``mlpinf plan`` and ``mlpinf run --dry-run`` print what this makes.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import attrs

from mlpinf_core.benchmark import Benchmark, VariantSpec
from mlpinf_core.config.layers import Layer, merge
from mlpinf_core.config.overrides import environment_layer
from mlpinf_core.config.resolve import resolve
from mlpinf_core.errors import ConfigurationError, PrerequisiteError
from mlpinf_core.loadgen.settings import check_expressible
from mlpinf_core.rules import DEFAULT_ROUND, load_round
from mlpinf_core.rules.model import BenchmarkRules, Limit
from mlpinf_core.settings_files import settings_files
from mlpinf_core.sources import local_path, needed, replacements
from mlpinf_core.systems.choice import Choice
from mlpinf_core.systems.host import ThisHost
from mlpinf_core.vocabulary import Category, Mode, Scenario, Variant, Workload

if TYPE_CHECKING:
    from mlpinf_core.benchmark import AnySource
    from mlpinf_core.config.files import SettingsFile
    from mlpinf_core.config.schema import Config
    from mlpinf_core.plugins import Plugins
    from mlpinf_core.systems.host import Host

DEFAULT_OUTPUT: Final = Path("mlpinf-runs")


@attrs.frozen
class Request:
    """What the user asks for. The plan is benchmarks × scenarios × modes.

    Attributes:
        benchmarks: names as typed.
        scenarios: None means those that a submission needs.
        modes: what to measure of each.
        variant: None means the full one, or the benchmark's only one.
        accuracy_target: percent of the reference's accuracy; None is the benchmark's default,
            ``highest`` its highest.
        category: leave out the scenarios that such a system does not have.
        files: settings files, the lowest first.
        system: the name of a known system, or a system file; None means ``SYSTEM_NAME``, and
            without that the one that this machine is recognised as. Its settings stand below
            ``files``.
        system_directories: where to look for system files beside the known places.
        layers: settings above the files and the environment: the command line's.
        output: where run directories are made.
    """

    benchmarks: tuple[str, ...]
    scenarios: tuple[Scenario, ...] | None = None
    modes: tuple[Mode, ...] = (Mode.PERFORMANCE, Mode.ACCURACY)
    round: str = DEFAULT_ROUND
    variant: Variant | None = None
    accuracy_target: str | None = None
    power: bool = False
    category: Category | None = None
    files: tuple[Path, ...] = ()
    system: str | None = None
    system_directories: tuple[Path, ...] = ()
    layers: tuple[Layer, ...] = ()
    output: Path = DEFAULT_OUTPUT


@attrs.frozen
class PlannedRun:
    """One workload with all that is known about it before it runs.

    Attributes:
        modes: what is measured of it, in order.
        rules: of the benchmark in the workload's round.
        layers: its settings, the lowest layer first, by mode.
        limits: metric to the limits its accuracy is judged by.
    """

    workload: Workload
    modes: tuple[Mode, ...]
    benchmark: Benchmark
    rules: BenchmarkRules
    layers: Mapping[Mode, tuple[Layer, ...]]
    limits: Mapping[str, Limit]

    @property
    def variant(self) -> VariantSpec:
        """The variant's declaration."""
        return self.benchmark.variant(self.workload.variant)

    def config(self, plugins: Plugins, mode: Mode, *more: Layer) -> Config:
        """The settings of one mode; ``more`` sets what nobody set, or what was unset on purpose."""
        layers = (*self.layers[mode], *more)
        config = resolve(
            layers,
            benchmark_settings=self.benchmark.settings,
            backend_settings=lambda name: plugins.backend(self.benchmark.name, name).settings,
        )
        proper = plugins.backend(self.benchmark.name, config.run.backend).name
        return attrs.evolve(config, run=attrs.evolve(config.run, backend=proper))

    def sources(self, plugins: Plugins) -> dict[AnySource, Path | None]:
        """What its modes need, and where the user says that they have it."""
        configs = [self.config(plugins, mode) for mode in self.modes]
        return {
            source: local_path(source, config)
            for config in configs
            for source in needed(self.variant, config)
        }

    def replaced(self, plugins: Plugins) -> list[tuple[AnySource, str, Any]]:
        """What its modes do not need, and the key and value of the setting that makes it so."""
        configs = [self.config(plugins, mode) for mode in self.modes]
        return [found for config in configs for found in replacements(self.variant, config)]


@attrs.frozen
class Plan:
    """The runs, and what was asked for and is not among them.

    Attributes:
        system: the system that they are made on.
    """

    runs: tuple[PlannedRun, ...]
    left_out: tuple[str, ...]
    output: Path
    system: Choice


def make_plan(request: Request, plugins: Plugins, host: Host | None = None) -> Plan:
    """Resolve a request.

    Args:
        request: what the user asks for.
        plugins: those that are there.
        host: the machine to recognise; this one by default.

    Raises:
        ConfigurationError: a name, a key or a value is wrong, or nothing is left to run.
        PrerequisiteError: the variant cannot be run yet.
    """
    if not request.benchmarks:
        raise ConfigurationError(
            "no benchmark was named",
            remedy="name one: `mlpinf list` shows what is installed",
        )
    if not request.modes:
        raise ConfigurationError("no mode was named", remedy="choose performance, accuracy or both")
    system, files = settings_files(
        request.system, request.system_directories, request.files, plugins, host or ThisHost()
    )
    environment = environment_layer(os.environ)
    user = tuple(layer for layer in (environment,) if layer is not None)
    runs: dict[Workload, PlannedRun] = {}
    left_out: list[str] = []
    for name in request.benchmarks:
        benchmark = plugins.benchmark(name)
        rules = load_round(request.round).rules_of(benchmark.name, benchmark.rules)
        variant = _variant(request, benchmark)
        if (spec := benchmark.variant(variant)).unavailable is not None:
            others = [v for v in benchmark.variants if v is not variant]
            raise PrerequisiteError(
                f"{benchmark.name} {variant} cannot be run: {spec.unavailable}",
                where=f"plugin {plugins.owner(benchmark.name).name!r}",
                remedy=f"choose --variant {others[0]}" if others else None,
            )
        for scenario in _scenarios(request, benchmark, rules):
            reason = _reason_to_leave_out(request, benchmark, rules, scenario)
            if reason is not None:
                left_out.append(reason)
                continue
            run = _planned(request, benchmark, variant, rules, scenario, files, user)
            for mode in run.modes:
                # Every mistake is told before anything runs.
                check_expressible(run.config(plugins, mode).loadgen, scenario)
            runs[run.workload] = run
    if not runs:
        raise ConfigurationError(
            "nothing is left to run" + "".join(f"\n  - {reason}" for reason in left_out),
            remedy="choose other benchmarks, scenarios or another category",
        )
    return Plan(tuple(runs.values()), tuple(left_out), request.output, system)


def _scenarios(
    request: Request, benchmark: Benchmark, rules: BenchmarkRules
) -> tuple[Scenario, ...]:
    """Those asked for; without any, those that a submission needs."""
    if request.scenarios is not None:
        return tuple(dict.fromkeys(request.scenarios))
    categories = [request.category] if request.category else list(rules.scenarios_required)
    needed = [s for category in categories for s in rules.scenarios_required.get(category, ())]
    return tuple(dict.fromkeys(needed)) or benchmark.scenarios[:1]


def _variant(request: Request, benchmark: Benchmark) -> Variant:
    if request.variant is not None:
        return request.variant
    return Variant.FULL if Variant.FULL in benchmark.variants else next(iter(benchmark.variants))


def _reason_to_leave_out(
    request: Request, benchmark: Benchmark, rules: BenchmarkRules, scenario: Scenario
) -> str | None:
    if scenario not in benchmark.scenarios:
        return f"{benchmark.name} has no {scenario}"
    if request.category is not None and rules.scenarios_required:
        category = request.category
        known = (
            *rules.scenarios_required.get(category, ()),
            *rules.scenarios_optional.get(category, ()),
        )
        if scenario not in known:
            return f"{benchmark.name} has no {scenario} for {category} systems in {request.round}"
    return None


def _planned(
    request: Request,
    benchmark: Benchmark,
    variant: Variant,
    rules: BenchmarkRules,
    scenario: Scenario,
    files: list[SettingsFile],
    user: tuple[Layer, ...],
) -> PlannedRun:
    spec = benchmark.variant(variant)
    limits = rules.accuracy if spec.accuracy is None else spec.accuracy
    target = _accuracy_target(request, benchmark, tuple(limits) or rules.accuracy_targets)
    workload = Workload(
        load_round(request.round).name,
        benchmark.name,
        scenario,
        variant,
        target,
        request.power,
    )
    own = _variant_layer(benchmark, spec, workload)
    rules_layer = _rules_layer(request.round, benchmark, rules, scenario)
    layers = {}
    for mode in request.modes:

        def stacked(backend: str | None, mode: Mode = mode) -> tuple[Layer, ...]:
            from_files = [
                layer
                for file in files
                for layer in file.layers(workload, mode, backend, aliases=benchmark.aliases)
            ]
            return (rules_layer, own, *from_files, *user, *request.layers)

        # Entries may select by the backend, which the layers themselves choose.
        chosen = merge(stacked(None))[0].get("run", {}).get("backend", spec.backend)
        layers[mode] = stacked(str(chosen))
    return PlannedRun(workload, request.modes, benchmark, rules, layers, limits.get(target, {}))


def _accuracy_target(request: Request, benchmark: Benchmark, known: tuple[str, ...]) -> str:
    if request.accuracy_target is None:
        return known[0]
    if request.accuracy_target == "highest":
        return max(known, key=float)
    if request.accuracy_target not in known:
        variant = _variant(request, benchmark)
        raise ConfigurationError(
            f"{benchmark.name} {variant} has no accuracy target {request.accuracy_target}",
            where="--accuracy-target",
            remedy=f"it has {' and '.join(known)}",
        )
    return request.accuracy_target


def _rules_layer(
    round_name: str, benchmark: Benchmark, rules: BenchmarkRules, scenario: Scenario
) -> Layer:
    """What the round says, as settings."""
    round_ = load_round(round_name)
    values: dict[str, Any] = {
        "min_duration": round_.min_duration_s,
        "performance_sample_count": rules.performance_sample_count,
        "token_latencies": rules.token_latencies,
        "equal_issue": rules.equal_issue,
        "target_latency_percentile": round_.defaults.percentiles[scenario],
    }
    if scenario is Scenario.MULTI_STREAM:
        values["samples_per_query"] = round_.defaults.samples_per_query
    values["min_query_count"] = (
        rules.offline_min_samples
        if scenario is Scenario.OFFLINE
        else rules.min_queries.get(scenario)
    )
    latency = rules.latency.get(scenario)
    if latency is not None:
        values["target_latency_percentile"] = latency.percentile
        values["ttft_ms"] = latency.ttft_ms
        values["tpot_ms"] = latency.tpot_ms
        values["target_latency_ms"] = latency.latency_ms
        if latency.ttft_ms is not None and latency.latency_ms is None:
            values["target_latency_ms"] = 0.0  # LoadGen judges by TTFT and TPOT instead
    origin = f"round {round_.name}"
    if benchmark.rules is not None:
        origin = f"rules of {benchmark.name}, {origin}"
    return Layer(origin, {"loadgen": {k: v for k, v in values.items() if v is not None}})


def _variant_layer(benchmark: Benchmark, spec: VariantSpec, workload: Workload) -> Layer:
    """What the benchmark says of this variant and scenario, as settings."""
    parts = [
        Layer("", {"run": {"backend": spec.backend}}),
        Layer("", spec.defaults),
        Layer("", spec.scenario_defaults.get(workload.scenario, {})),
    ]
    return Layer(f"benchmark {benchmark.name} {workload.variant}", merge(parts)[0])
