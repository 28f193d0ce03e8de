"""Finding plugins, grading those that do not load, and calling their hooks.

Entry points of the group ``mlpinf`` are loaded in the order of their names. A plugin that cannot be
used is graded and left out, so that one broken package does not take the others with it; choosing
what a broken plugin offers is the error.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
from typing import TYPE_CHECKING, Any, Final, NoReturn

import attrs

from mlpinf_core.benchmark import BackendInfo, Benchmark
from mlpinf_core.discovery import (
    Candidate,
    PluginInfo,
    PluginState,
    brief,
    declared,
    given,
    installed,
    manager_of,
    missing_module,
    validate,
    wrappers_of,
)
from mlpinf_core.errors import MlpinfError, PluginError, UnknownNameError
from mlpinf_core.names import fold

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import pluggy

__all__ = ["DISABLE_VARIABLE", "PluginInfo", "PluginState", "Plugins"]

log = logging.getLogger(__name__)

DISABLE_VARIABLE: Final = "MLPINF_DISABLE_PLUGINS"
"""Environment variable: comma-separated names of plugins to leave out."""


class Plugins:
    """The plugins of a process, loaded."""

    def __init__(
        self,
        candidates: Iterable[tuple[str, Any]] | None = None,
        *,
        disabled: Iterable[str] = (),
    ) -> None:
        """Load plugins.

        Args:
            candidates: ``(name, module or object)`` to use instead of the installed ones.
            disabled: names to leave out.
        """
        self._modules: dict[str, Any] = {}
        self._infos: dict[str, PluginInfo] = {}
        self._benchmarks: dict[str, tuple[Benchmark, PluginInfo]] = {}
        self._backends: list[tuple[BackendInfo, PluginInfo]] = []
        self._refused: dict[str, str] = {}
        found = installed() if candidates is None else map(given, candidates)
        self._load(sorted(found, key=lambda c: (c.name, c.distribution)), set(disabled))

    @classmethod
    def from_environment(cls) -> Plugins:
        """The installed plugins, less those that ``MLPINF_DISABLE_PLUGINS`` names."""
        names = os.environ.get(DISABLE_VARIABLE, "")
        return cls(disabled=[name.strip() for name in names.split(",") if name.strip()])

    # -- what there is ---------------------------------------------------------------------------

    def infos(self) -> list[PluginInfo]:
        """Every plugin with its state, sorted by name."""
        return list(self._infos.values())

    def benchmarks(self) -> list[Benchmark]:
        """Every benchmark that can be chosen, sorted by name."""
        return [self._benchmarks[name][0] for name in sorted(self._benchmarks)]

    def benchmark(self, name: str) -> Benchmark:
        """The benchmark of that name or alias.

        Raises:
            PluginError: two plugins offer it, or the plugin that does is broken.
            UnknownNameError: nobody offers it.
        """
        wanted = fold(name)
        for benchmark, _ in self._benchmarks.values():
            if wanted in map(fold, (benchmark.name, *benchmark.aliases)):
                return benchmark
        for refused, reason in self._refused.items():
            if fold(refused) == wanted:
                raise MlpinfError(reason, remedy=f"uninstall one, or name it in {DISABLE_VARIABLE}")
        broken = [i for i in self._infos.values() if i.state is not PluginState.LOADED]
        hint = "; ".join(f"plugin {i.name!r} is not usable: {i.detail}" for i in broken)
        error = UnknownNameError("benchmark", name, sorted(self._benchmarks))
        if hint:
            error.remedy = f"{error.remedy} ({hint})"
        raise error

    def owner(self, benchmark: str) -> PluginInfo:
        """The plugin that offers a benchmark (proper name)."""
        return self._benchmarks[benchmark][1]

    def backends(self, benchmark: str) -> list[BackendInfo]:
        """The backends for a benchmark (proper name), whoever offers them."""
        return [info for info, _ in self._backends if benchmark in info.benchmarks]

    def backend(self, benchmark: str, name: str) -> BackendInfo:
        """One backend for a benchmark.

        Raises:
            UnknownNameError: there is none of that name.
        """
        known = {info.name: info for info in self.backends(benchmark)}
        for key, info in known.items():
            if fold(key) == fold(name):
                return info
        raise UnknownNameError(f"backend of {benchmark}", name, sorted(known))

    # -- calling ---------------------------------------------------------------------------------

    def call_five(self, hook: str, benchmark: str, backend: str, /, **arguments: Any) -> Any:
        """Call one of the five hooks of a benchmark.

        Raises:
            MlpinfError: as the plugin raised it.
            PluginError: the plugin raised anything else, or returned None.
        """
        owner = self._provider(benchmark, backend) if hook == "build_backend" else None
        owner = owner or self.owner(benchmark)
        caller = getattr(self._manager_of(owner.name).hook, hook)
        try:
            result = caller(**arguments)
        except MlpinfError:
            raise
        except Exception as error:  # noqa: BLE001 - raised again with the plugin's name
            _reraise(error, self._culprit(error, owner), hook)
        if result is None:
            raise owner.error(
                f"the hook returned nothing for {benchmark}",
                hook=hook,
                remedy="implement the hook in this plugin, and return what its contract says",
            )
        return result

    @contextlib.contextmanager
    def blaming(self, step: str, benchmark: str, backend: str) -> Iterator[None]:
        """Turn what a backend's method raises into an error that names its plugin.

        Args:
            step: the method, for the message (``Backend.load``).
            benchmark: proper name.
            backend: its name.

        Raises:
            PluginError: for anything but an error of mlpinf's own, which passes as it is.
        """
        try:
            yield
        except MlpinfError:
            raise
        except Exception as error:  # noqa: BLE001 - raised again with the plugin's name
            provider = self._provider(benchmark, backend) or self.owner(benchmark)
            _reraise(error, self._culprit(error, provider), step)

    def notify(self, hook: str, **arguments: Any) -> None:
        """Call ``run_started`` or ``run_finished`` of every plugin.

        Raises:
            PluginError: one raised; the others were called all the same.
        """
        first: PluginError | None = None
        for name, module in self._modules.items():
            manager = manager_of({name: module})  # its own, so that one that raises stops no other
            try:
                getattr(manager.hook, hook)(**arguments)
            except Exception as error:
                log.debug("%s of plugin %s raised", hook, name, exc_info=True)
                first = first or self._infos[name].error(brief(error), hook=hook)
        if first is not None:
            raise first

    def system_directories(self) -> list[Any]:
        """What the ``systems`` hooks of all plugins offer."""
        found: list[Any] = []
        for module in self._modules.values():
            if (hook := getattr(module, "systems", None)) is not None:
                found += hook()
        return found

    # -- inside ----------------------------------------------------------------------------------

    def _load(self, candidates: Sequence[Candidate], disabled: set[str]) -> None:
        by_name: dict[str, list[Candidate]] = {}
        for candidate in candidates:
            by_name.setdefault(candidate.name, []).append(candidate)
        for name, same in by_name.items():
            if len(same) > 1:
                who = " and ".join(f"{c.distribution} {c.version}" for c in same)
                detail = f"{who} both bring a plugin named {name!r}; uninstall one"
                self._infos[name] = same[0].graded(PluginState.DUPLICATE, detail)
            elif name in disabled:
                self._infos[name] = same[0].graded(
                    PluginState.DISABLED, f"named in {DISABLE_VARIABLE}"
                )
            else:
                self._infos[name] = self._load_one(same[0])

    def _load_one(self, candidate: Candidate) -> PluginInfo:
        try:
            module = candidate.load()
        except ModuleNotFoundError as error:
            return candidate.graded(*missing_module(error, candidate))
        except (Exception, SystemExit) as error:
            log.debug("plugin %s", candidate.name, exc_info=True)
            return candidate.graded(PluginState.IMPORT_ERROR, brief(error))
        try:
            validate(candidate.name, module)
            benchmarks = tuple(declared(module, "benchmarks", Benchmark))
            backends = tuple(declared(module, "backends", BackendInfo))
        except Exception as error:
            log.debug("plugin %s", candidate.name, exc_info=True)
            return candidate.graded(PluginState.BUG, brief(error))
        info = attrs.evolve(
            candidate.graded(PluginState.LOADED),
            benchmarks=tuple(benchmark.name for benchmark in benchmarks),
            backends=tuple(backend.name for backend in backends),
        )
        self._modules[candidate.name] = module
        for benchmark in benchmarks:
            self._offer(benchmark, info)
        self._backends += [(backend, info) for backend in backends]
        return info

    def _offer(self, benchmark: Benchmark, info: PluginInfo) -> None:
        """Take a benchmark in, unless another plugin has the name: then neither gets it."""
        if benchmark.name in self._refused:
            self._refused[benchmark.name] += f" and {info.distribution} {info.version}"
            return
        held = self._benchmarks.pop(benchmark.name, None)
        if held is None:
            self._benchmarks[benchmark.name] = (benchmark, info)
            return
        who = f"{held[1].distribution} {held[1].version} and {info.distribution} {info.version}"
        self._refused[benchmark.name] = f"benchmark {benchmark.name!r} is offered by {who}"
        log.warning("%s; neither is used", self._refused[benchmark.name])

    def _provider(self, benchmark: str, backend: str) -> PluginInfo | None:
        for info, plugin in self._backends:
            if info.name == backend and benchmark in info.benchmarks:
                return plugin
        return None

    @functools.cache  # noqa: B019 - lives as long as the process does
    def _manager_of(self, owner: str) -> pluggy.PluginManager:
        """A manager with the owner's hooks and everybody's wrappers."""
        wrappers = {
            name: stand_in
            for name, module in self._modules.items()
            if name != owner and (stand_in := wrappers_of(module)) is not None
        }
        return manager_of({owner: self._modules[owner], **wrappers})

    def _culprit(self, error: BaseException, owner: PluginInfo) -> PluginInfo:
        """The plugin in whose code an exception was raised: a wrapper's is not the owner's."""
        roots = {_root(module): name for name, module in self._modules.items()}
        trace, culprit = error.__traceback__, owner
        while trace is not None:
            where = str(trace.tb_frame.f_globals.get("__name__", ""))
            while where and where not in roots:
                where = where.rpartition(".")[0]
            if where:
                culprit = self._infos[roots[where]]
            trace = trace.tb_next
        return culprit


def _root(module: Any) -> str:
    """The package that is a plugin's own, with all that is in it."""
    name = str(getattr(module, "__name__", ""))
    top = name.partition(".")[0]
    return name if top == "mlpinf_core" else top


def _reraise(error: Exception, plugin: PluginInfo, hook: str) -> NoReturn:
    raise plugin.error(
        brief(error), hook=hook, remedy="run again with -v for the traceback, and tell its authors"
    ) from error
