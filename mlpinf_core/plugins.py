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
from mlpinf_core.rules import ROUNDS, load_round

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
        self._offers: list[tuple[Benchmark, PluginInfo]] = []
        self._backends: dict[tuple[str, str], tuple[BackendInfo, PluginInfo]] = {}
        self._refused: dict[str, str] = {}
        found = installed() if candidates is None else map(given, candidates)
        self._load(sorted(found, key=lambda c: (c.name, c.distribution)), set(disabled))
        self._named = self._settle_names()
        self._benchmarks = {b.name: (b, info) for b, info in self._named.values()}

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
        if wanted in self._named:
            return self._named[wanted][0]
        remedy = f"uninstall one, or name it in {DISABLE_VARIABLE}"
        if wanted in self._refused:
            raise MlpinfError(self._refused[wanted], remedy=remedy)
        unusable = [i for i in self._infos.values() if i.state is not PluginState.LOADED]
        hint = "; ".join(f"plugin {i.name!r} is not usable: {i.detail}" for i in unusable)
        broken = [i for i in unusable if i.state is not PluginState.DISABLED]
        if broken and wanted in _known_to_rounds():
            # Nobody else offers what MLPerf has: it must have been one of these.
            raise broken[0].error(f"benchmark {name!r} is not offered: {hint}", remedy="mend it")
        error = UnknownNameError("benchmark", name, sorted(self._benchmarks))
        if hint:
            error.remedy = f"{error.remedy} ({hint})"
        raise error

    def owner(self, benchmark: str) -> PluginInfo:
        """The plugin that offers a benchmark (proper name)."""
        return self._benchmarks[benchmark][1]

    def backends(self, benchmark: str) -> list[BackendInfo]:
        """The backends for a benchmark (proper name), whoever offers them."""
        return [info for (name, _), (info, _) in self._backends.items() if name == benchmark]

    def backend(self, benchmark: str, name: str) -> BackendInfo:
        """One backend for a benchmark, whatever way its name is spelt.

        Raises:
            MlpinfError: two plugins offer it.
            UnknownNameError: there is none of that name.
        """
        return self._backend(benchmark, name)[0]

    # -- calling ---------------------------------------------------------------------------------

    def call_five(self, hook: str, benchmark: str, backend: str, /, **arguments: Any) -> Any:
        """Call one of the five hooks of a benchmark.

        Raises:
            MlpinfError: as the plugin raised it.
            PluginError: the plugin raised anything else, or returned None.
        """
        offers = hook == "build_backend"
        owner = self._backend(benchmark, backend)[1] if offers else self.owner(benchmark)
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
            provider = self._backend(benchmark, backend)[1]
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
        """What the ``systems`` hooks of all plugins offer; one that raises is left out."""
        found: list[Any] = []
        for name, module in self._modules.items():
            try:
                for directories in manager_of({name: module}).hook.systems():
                    found += directories
            except Exception as error:  # noqa: BLE001 - told, and left out
                log.warning("%s", self._infos[name].error(brief(error), hook="systems"))
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
        self._offers += [(benchmark, info) for benchmark in benchmarks]
        for backend in backends:
            for name in backend.benchmarks:
                self._offer_backend(name, backend, info)
        return info

    def _settle_names(self) -> dict[str, tuple[Benchmark, PluginInfo]]:
        """Every name and alias, folded, to the one benchmark it means.

        Of a name that two plugins offer, neither is used. Proper names stand above aliases, so
        that nobody takes another's benchmark by an alias.
        """
        named: dict[str, tuple[Benchmark, PluginInfo]] = {}
        for aliases in (False, True):
            claims: dict[str, list[tuple[Benchmark, PluginInfo]]] = {}
            for benchmark, info in self._offers:
                for name in benchmark.aliases if aliases else (benchmark.name,):
                    if fold(name) not in named and fold(name) not in self._refused:
                        claims.setdefault(fold(name), []).append((benchmark, info))
            for name, offers in claims.items():
                if len({(b.name, info.name) for b, info in offers}) == 1:
                    named[name] = offers[0]
                else:
                    who = " and ".join(f"{i.distribution} {i.version}" for _, i in offers)
                    what = f"benchmark {offers[0][0].name!r} is offered by {who}"
                    self._refused[name] = what
                    log.warning("%s; neither is used", what)
        refused = {b.name for b, _ in self._offers if fold(b.name) in self._refused}
        return {name: offer for name, offer in named.items() if offer[0].name not in refused}

    def _offer_backend(self, benchmark: str, backend: BackendInfo, info: PluginInfo) -> None:
        """Take a backend in, unless another plugin has the name: then neither gets it."""
        key = (benchmark, fold(backend.name))
        label = "/".join(key)
        held = self._backends.pop(key, None)
        if held is None and label not in self._refused:
            self._backends[key] = (backend, info)
            return
        if held is not None:
            first = f"{held[1].distribution} {held[1].version}"
            self._refused[label] = f"backend {backend.name!r} of {benchmark} is offered by {first}"
        self._refused[label] += f" and {info.distribution} {info.version}"
        log.warning("%s; neither is used", self._refused[label])

    def _backend(self, benchmark: str, name: str) -> tuple[BackendInfo, PluginInfo]:
        key = (benchmark, fold(name))
        if key in self._backends:
            return self._backends[key]
        if (label := "/".join(key)) in self._refused:
            remedy = f"uninstall one, or name it in {DISABLE_VARIABLE}"
            raise MlpinfError(self._refused[label], remedy=remedy)
        known = sorted(backend.name for backend in self.backends(benchmark))
        raise UnknownNameError(f"backend of {benchmark}", name, known)

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


@functools.cache
def _known_to_rounds() -> frozenset[str]:
    names = {name for round_ in ROUNDS for name in load_round(round_).benchmarks}
    return frozenset(map(fold, names))


def _root(module: Any) -> str:
    """The package that is a plugin's own, with all that is in it."""
    name = str(getattr(module, "__name__", ""))
    top = name.partition(".")[0]
    return name if top == "mlpinf_core" else top


def _reraise(error: Exception, plugin: PluginInfo, hook: str) -> NoReturn:
    raise plugin.error(
        brief(error), hook=hook, remedy="run again with -v for the traceback, and tell its authors"
    ) from error
