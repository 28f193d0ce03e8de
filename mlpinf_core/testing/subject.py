"""The plugin that is being checked, and the runs that rules make of it and share."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import attrs

from mlpinf_core.config.layers import Layer
from mlpinf_core.errors import ConfigurationError, MlpinfError, UnknownNameError
from mlpinf_core.logs.accuracy import AccuracyLog
from mlpinf_core.plan import Plan, PlannedRun, Request, make_plan
from mlpinf_core.plugins import PluginInfo, Plugins, PluginState
from mlpinf_core.results import RunResult
from mlpinf_core.runner import Runner
from mlpinf_core.scratch import Scratch
from mlpinf_core.testing.corruption import ACCURACY_LOG
from mlpinf_core.testing.faults import Fault, installed
from mlpinf_core.testing.rule import NotApplicableError
from mlpinf_core.testing.scores import Rescored, rescore
from mlpinf_core.vocabulary import Mode, Scenario, Variant

if TYPE_CHECKING:
    from mlpinf_core.benchmark import Benchmark

_QUERIES: Final = 16
"""Of a performance run whose queries are one sample; LoadGen needs few to show that it works."""
_MULTI_QUERIES: Final = 4
_LOAD: Final = 0.5
"""Server's rate, as a fraction of Offline's."""
_MOST_QPS: Final = 5000.0
_RATE: Final = 1e-6
"""Offline's expected rate: LoadGen then issues no more samples than it must."""
_HANG: Final = 30.0


@attrs.frozen
class Repeat:
    """A second accuracy run, and the files of the scratch space that it changed."""

    result: RunResult
    changed: tuple[str, ...]


@attrs.define(eq=False, slots=False)
class Subject:
    """A plugin, and how to run it.

    Attributes:
        plugin: the name of its entry point.
        directory: where runs are made.
        benchmark: which to run; None means the plugin's first.
        variant: None means ``tiny``, or the only one.
        backend: None means the variant's own.
        settings: tables of settings that make runs quick.
        only: the scenarios to run; None means all that the benchmark has.
        repeatable: whether two runs give the same answers to the bit.
    """

    plugin: str
    directory: Path
    benchmark: str | None = None
    variant: str | None = None
    backend: str | None = None
    settings: Mapping[str, Mapping[str, Any]] = attrs.field(factory=lambda: MappingProxyType({}))
    only: tuple[Scenario, ...] | None = None
    repeatable: bool = True

    # -- declarations ----------------------------------------------------------------------------

    @functools.cached_property
    def plugins(self) -> Plugins:
        """Every installed plugin."""
        return Plugins.from_environment()

    @property
    def info(self) -> PluginInfo:
        """The plugin, and how well it loaded.

        Raises:
            UnknownNameError: it is not installed.
        """
        known = {info.name: info for info in self.plugins.infos()}
        if self.plugin not in known:
            raise UnknownNameError("plugin", self.plugin, known)
        return known[self.plugin]

    def loaded(self) -> PluginInfo:
        """The same, of a plugin that has loaded.

        Raises:
            NotApplicableError: it has not.
        """
        try:
            info = self.info
        except UnknownNameError:
            raise NotApplicableError("the plugin is not installed") from None
        if info.state is not PluginState.LOADED:
            raise NotApplicableError("the plugin did not load")
        return info

    def declared(self) -> Benchmark:
        """The benchmark to run.

        Raises:
            NotApplicableError: the plugin has none.
            ConfigurationError: it is given, and the plugin has no part in it.
        """
        info = self.loaded()
        own = [*info.benchmarks, *(b.name for b in self.plugins.benchmarks() if self._serves(b))]
        if not own:
            raise NotApplicableError("the plugin offers neither a benchmark nor a backend of one")
        found = self.plugins.benchmark(self.benchmark or own[0])
        if found.name not in own:
            raise ConfigurationError(
                f"plugin {self.plugin!r} has no part in benchmark {found.name!r}",
                remedy=f"choose one of {', '.join(dict.fromkeys(own))}",
            )
        return found

    def _serves(self, benchmark: Benchmark) -> bool:
        """Whether a backend of this plugin's runs the benchmark."""
        return any(b.name in self.info.backends for b in self.plugins.backends(benchmark.name))

    def scenarios(self) -> tuple[Scenario, ...]:
        """Those to run; Offline first, because its results tell how to run the others."""
        chosen = self.declared().scenarios if self.only is None else self.only
        return tuple(sorted(chosen, key=lambda s: s is not Scenario.OFFLINE))

    # -- plans -----------------------------------------------------------------------------------

    def plan(self, scenario: Scenario, mode: Mode, *layers: Layer, output: str = "") -> Plan:
        """The plan of one short run; ``layers`` stand below the subject's own settings.

        Raises:
            ConfigurationError: the settings do not fit.
        """
        benchmark = self.declared()
        variant = self.variant
        if variant is None and Variant.TINY in benchmark.variants:
            variant = Variant.TINY.value
        backend = [] if self.backend is None else [Layer("", {"run": {"backend": self.backend}})]
        request = Request(
            benchmarks=(benchmark.name,),
            scenarios=(scenario,),
            modes=(mode,),
            variant=None if variant is None else Variant.parse(variant),
            layers=(
                Layer("conformance kit", self._short(scenario, mode)),
                *layers,
                Layer("conformance settings", self.settings),
                *backend,
            ),
            output=self.directory / output,
        )
        return make_plan(request, self.plugins)

    def planned(self, scenario: Scenario, mode: Mode) -> PlannedRun:
        """The one run of :meth:`plan`."""
        return self.plan(scenario, mode).runs[0]

    def _short(self, scenario: Scenario, mode: Mode) -> dict[str, dict[str, Any]]:
        """Settings that make a run quick, whatever the rules ask of a result."""
        loadgen: dict[str, Any] = {"min_duration": 0}
        if scenario is Scenario.OFFLINE:
            loadgen["target_qps"] = _RATE
            loadgen["min_query_count"] = self._sample_count if mode is Mode.PERFORMANCE else 1
        elif scenario.is_poisson:
            loadgen["min_query_count"] = _QUERIES
            if self._offline_rate is not None:
                loadgen["target_qps"] = min(_LOAD * self._offline_rate, _MOST_QPS)
        else:
            loadgen["target_latency_ms"] = 1
            multi = scenario is Scenario.MULTI_STREAM
            loadgen["min_query_count"] = _MULTI_QUERIES if multi else _QUERIES
        return {
            "loadgen": loadgen,
            "run": {"hang_timeout": _HANG, "measure_seconds": 0.2},
        }

    @property
    def _sample_count(self) -> int:
        """Samples in the data set, as an accuracy run of Offline has shown."""
        log = self.good(Scenario.OFFLINE, Mode.ACCURACY).directory / ACCURACY_LOG
        with contextlib.suppress(MlpinfError):
            return len(AccuracyLog.read(log))
        return 1

    @property
    def _offline_rate(self) -> float | None:
        """Samples a second, where Offline is run and has worked."""
        if Scenario.OFFLINE not in self.scenarios():
            return None
        found = self.good(Scenario.OFFLINE, Mode.PERFORMANCE).performance
        return found.samples / found.duration if found is not None and found.duration else None

    # -- runs ------------------------------------------------------------------------------------

    @functools.cached_property
    def _results(self) -> dict[tuple[str, ...], RunResult]:
        return {}

    def good(self, scenario: Scenario, mode: Mode) -> RunResult:
        """An undisturbed run; made once."""
        return self._run(f"good-{scenario}", scenario, mode)

    def disturbed(self, fault: Fault, mode: Mode) -> RunResult:
        """A run of the first scenario with a fault; made once."""
        # Answers that are kept until the end look like a hang. The core ends a run at its first
        # failure by itself, unless it is told not to: then the plugin has to bear it to the end.
        patience = 600.0 if fault is Fault.OUT_OF_ORDER else _HANG
        run = {"hang_timeout": patience, "stop_on_error": False}
        layer = Layer("conformance fault", {"run": run})
        with installed(fault):
            return self._run(fault.value.replace(" ", "-"), self.scenarios()[0], mode, layer)

    @functools.cached_property
    def repeat(self) -> Repeat:
        """A second accuracy run of the first scenario, in a process that knows nothing of it."""
        scenario = self.scenarios()[0]
        self.good(scenario, Mode.ACCURACY)
        before = _files(Scratch.from_environment().root)
        result = self._run("repeat", scenario, Mode.ACCURACY)
        after = _files(Scratch.from_environment().root)
        changed = {path for path, state in after.items() if before.get(path) != state}
        return Repeat(result, tuple(sorted(changed | (before.keys() - after.keys()))))

    def sound(self) -> RunResult:
        """The first scenario's accuracy run, of a plugin whose runs work.

        Raises:
            NotApplicableError: it is not valid; another rule says why.
        """
        result = self.good(self.scenarios()[0], Mode.ACCURACY)
        if not result.verdict.valid:
            raise NotApplicableError("there is no valid accuracy run to go by")
        return result

    def _run(self, name: str, scenario: Scenario, mode: Mode, *layers: Layer) -> RunResult:
        key = (name, mode.value)
        if key not in self._results:
            plan = self.plan(scenario, mode, *layers, output=name)
            results = Runner(plan, self.plugins).run()
            self._results[key] = results.runs[0]
        return self._results[key]

    @functools.cached_property
    def rescored(self) -> Rescored:
        """What the scorer makes of the sound run's log, and of corrupted copies of it."""
        return rescore(
            self.sound().directory,
            self.directory / "rescored",
            dtype=self.declared().response_dtype,
            limits=self.planned(self.scenarios()[0], Mode.ACCURACY).limits,
        )


def _files(root: Path) -> dict[str, tuple[int, int]]:
    """Every file of a scratch space with what tells it from another of its name.

    Files whose name begins with a dot are the core's own notes and locks.
    """
    found = {}
    for path in root.rglob("*"):
        inside = path.relative_to(root)
        if path.is_file() and not any(part.startswith(".") for part in inside.parts):
            status = path.stat()
            found[str(inside)] = (status.st_ino, status.st_mtime_ns)
    return found
