"""What plugins are installed, and how well each one loads.

A plugin is graded, never raised about: one broken package must not take the others with it.
"""

from __future__ import annotations

import enum
import importlib.metadata
import inspect
import types
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import attrs
import pluggy

from mlpinf_core import hookspecs
from mlpinf_core.errors import MlpinfError, PluginError, UnknownNameError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

GROUP: Final = "mlpinf"


class PluginState(enum.StrEnum):
    """How well a plugin loaded."""

    LOADED = "loaded"
    DISABLED = "disabled"
    MISSING_DEPENDENCY = "missing dependency"
    IMPORT_ERROR = "import error"
    DUPLICATE = "duplicate"
    BUG = "bug"


@attrs.frozen
class PluginInfo:
    """A plugin, and how well it loaded.

    Attributes:
        name: its entry point's name.
        detail: what is wrong and what mends it; empty for a loaded one.
        benchmarks: names of the benchmarks it offers.
        backends: names of the backends it offers.
    """

    name: str
    distribution: str
    version: str
    module: str
    state: PluginState
    detail: str = ""
    benchmarks: tuple[str, ...] = ()
    backends: tuple[str, ...] = ()

    def error(
        self, what: str, *, hook: str | None = None, remedy: str | None = None
    ) -> PluginError:
        """An error that names this plugin."""
        return PluginError(
            what,
            plugin=self.name,
            distribution=self.distribution,
            version=self.version,
            hook=hook,
            remedy=remedy,
        )


@attrs.frozen
class Candidate:
    """An entry point with the distribution it came from."""

    name: str
    module: str
    distribution: str
    version: str
    load: Callable[[], Any]

    def graded(self, state: PluginState, detail: str = "") -> PluginInfo:
        """What became of it."""
        return PluginInfo(self.name, self.distribution, self.version, self.module, state, detail)


def installed() -> Iterator[Candidate]:
    """The entry points of the group, each once however often its distribution is on the path."""
    seen = set()
    for point in importlib.metadata.entry_points(group=GROUP):
        distribution, version = "unknown", "unknown"
        if point.dist is not None:
            distribution, version = point.dist.name, point.dist.version
        key = (point.name, point.value, distribution)
        if key not in seen:
            seen.add(key)
            yield Candidate(point.name, point.value, distribution, version, point.load)


def given(pair: tuple[str, Any]) -> Candidate:
    """A plugin that is at hand, and not installed."""
    name, plugin = pair
    distribution = getattr(plugin, "__distribution__", "given")
    return Candidate(name, repr(plugin), distribution, "0", lambda: plugin)


def missing_module(error: ModuleNotFoundError, candidate: Candidate) -> tuple[PluginState, str]:
    """Tell an absent dependency from a module of the plugin's own that is not there."""
    missing = error.name or "?"
    own = candidate.module.split(":")[0].split(".")[0]
    if missing.split(".")[0] == own:
        return PluginState.IMPORT_ERROR, brief(error)
    reinstall = f"pip install --force-reinstall {candidate.distribution}"
    return (
        PluginState.MISSING_DEPENDENCY,
        f"no module named {missing!r}; `pip install {missing.split('.')[0]}`, or `{reinstall}`",
    )


def validate(name: str, module: Any) -> None:
    """Refuse what pluggy would ignore, or would not name: unknown hooks and unknown arguments."""
    reader = pluggy.PluginManager(hookspecs.PROJECT)
    known = [hook for hook in vars(hookspecs) if hasattr(getattr(hookspecs, hook), "mlpinf_spec")]
    for attribute in dir(module):
        if reader.parse_hookimpl_opts(module, attribute) is None:
            continue
        if attribute not in known:
            raise UnknownNameError("hook", attribute, known, where=f"plugin {name!r}")
        offered = list(inspect.signature(getattr(hookspecs, attribute)).parameters)
        for argument in inspect.signature(getattr(module, attribute)).parameters:
            if argument not in offered:
                raise UnknownNameError(f"argument of hook {attribute!r}", argument, offered)
    manager_of({name: module}).check_pending()


def manager_of(plugins: Mapping[str, Any]) -> pluggy.PluginManager:
    """Pluggy's manager of some plugins."""
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    for name, plugin in plugins.items():
        manager.register(plugin, name)
    return manager


def wrappers_of(module: Any) -> Any:
    """A stand-in for a plugin that has its hook wrappers only; None where there are none."""
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    found = {}
    for attribute in dir(module):
        options = manager.parse_hookimpl_opts(module, attribute)
        if options and (options["wrapper"] or options["hookwrapper"]):
            found[attribute] = getattr(module, attribute)
    return types.SimpleNamespace(**found) if found else None


def declared(module: Any, hook: str, expected: type[Any]) -> Sequence[Any]:
    """What a declaring hook returns, checked."""
    function = getattr(module, hook, None)
    result = () if function is None else function()
    if result is None:
        return ()
    for item in result:
        if not isinstance(item, expected):
            raise TypeError(
                f"hook {hook!r} returned a {type(item).__name__}, not {expected.__name__}"
            )
    return tuple(result)


def brief(error: BaseException) -> str:
    """An exception in one line."""
    if isinstance(error, MlpinfError):
        return "; ".join(part for part in (error.what, error.remedy) if part)
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0]}" if text else type(error).__name__
