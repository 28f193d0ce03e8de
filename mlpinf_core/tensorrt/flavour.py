"""Which TensorRT is installed: the datacenter's or RTX's, which have the same interface.

``tensorrt`` builds for the GPU that it runs on. ``tensorrt_rtx`` builds ahead of time for others,
on a machine without any. A wheel of bindings goes by another import name than the whole package,
and finds its libraries in the wheel ``..._libs`` beside it.
"""

from __future__ import annotations

import ctypes
import functools
import importlib
import importlib.util
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import attrs

from mlpinf_core.errors import BackendError, PrerequisiteError
from mlpinf_core.names import lookup

if TYPE_CHECKING:
    from collections.abc import Iterator

log = logging.getLogger(__name__)

DATACENTER: Final = "tensorrt"
RTX: Final = "tensorrt_rtx"
AUTO: Final = "auto"
_MODULES: Final = {
    DATACENTER: (DATACENTER, "tensorrt_bindings"),
    RTX: (RTX, "tensorrt_rtx_bindings"),
}
_LIBRARIES: Final = {DATACENTER: "tensorrt_libs", RTX: "tensorrt_rtx_libs"}
_REQUIREMENTS: Final = {
    DATACENTER: "tensorrt",
    RTX: "tensorrt-rtx-cu13-bindings tensorrt-rtx-cu13-libs",
}


class LoggedErrors:
    """What TensorRT's logger called errors, until somebody asks."""

    def __init__(self) -> None:
        self._messages: list[str] = []

    def add(self, message: str) -> None:
        """Take one."""
        self._messages.append(message)

    def take(self) -> str:
        """All of them, the first ones first, and forget them."""
        found, self._messages = self._messages, []
        return "; ".join(dict.fromkeys(found))


@attrs.frozen(eq=False)
class Flavour:
    """A TensorRT.

    Attributes:
        name: ``tensorrt`` or ``tensorrt_rtx``.
        module: what was imported.
        logger: passes messages on to :mod:`logging`.
        errors: what it was told of as errors.
    """

    name: str
    module: Any
    logger: Any
    errors: LoggedErrors

    @property
    def version(self) -> str:
        """Of the library."""
        return str(self.module.__version__)

    @property
    def ahead_of_time(self) -> bool:
        """Whether it builds for GPUs that are not there."""
        return self.name == RTX

    @property
    def measures(self) -> bool:
        """Whether it times kernels while it builds, and remembers how long they took."""
        return self.name == DATACENTER

    def failed(self, what: str, **parts: str) -> BackendError:
        """An error with what the library said about it."""
        said = self.errors.take()
        return BackendError(f"{what}: {said}" if said else what, **parts)


def installed() -> list[str]:
    """The flavours whose packages are there, the datacenter's first; imports none of them."""
    return [name for name, modules in _MODULES.items() if any(map(_is_there, modules))]


def load(wanted: str = AUTO) -> Flavour:
    """Import a flavour.

    Args:
        wanted: its name; ``auto`` takes the datacenter's where it is installed, or else RTX's.

    Raises:
        UnknownNameError: there is no such flavour.
        PrerequisiteError: it is not installed, or its libraries do not load.
    """
    if wanted != AUTO:
        lookup("TensorRT", wanted, _MODULES)
    there = [name for name in installed() if wanted in (AUTO, name)]
    if not there:
        names = [wanted] if wanted != AUTO else list(_MODULES)
        raise PrerequisiteError(
            f"TensorRT is not installed: looked for {' and '.join(names)}",
            remedy=" or ".join(f"pip install {_REQUIREMENTS[name]}" for name in names),
        )
    return _imported(there[0])


def _is_there(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


@functools.cache
def _imported(name: str) -> Flavour:
    """Once a process: TensorRT tells everything to the first logger that it is given."""
    _preload(_LIBRARIES[name])
    module_name = next(filter(_is_there, _MODULES[name]))
    try:
        module: Any = importlib.import_module(module_name)
    except (ImportError, OSError) as problem:
        raise PrerequisiteError(
            f"{module_name} is installed, and cannot be loaded: {problem}",
            where=module_name,
            remedy=f"install its libraries of the same version: pip install {_REQUIREMENTS[name]}",
        ) from problem
    errors = LoggedErrors()
    return Flavour(name, module, _logger(module, errors), errors)


def _preload(package: str) -> None:
    """Load the libraries of the wheel that holds them, so that the bindings find them."""
    for library in _libraries(package):
        try:
            ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)
        except OSError as problem:  # the bindings' own import says whether it matters
            log.debug("%s cannot be loaded: %s", library, problem)


def _libraries(package: str) -> Iterator[Path]:
    spec = importlib.util.find_spec(package)
    for folder in (spec and spec.submodule_search_locations) or ():
        yield from sorted(Path(folder).glob("*.so*"))


def _logger(module: Any, errors: LoggedErrors) -> Any:
    severity = module.ILogger.Severity
    levels = {
        severity.INTERNAL_ERROR: logging.ERROR,
        severity.ERROR: logging.ERROR,
        severity.WARNING: logging.WARNING,
        severity.INFO: logging.INFO,
        severity.VERBOSE: logging.DEBUG,
    }

    class Logger(module.ILogger):  # type: ignore[misc]  # the library's class is known now only
        def __init__(self) -> None:
            module.ILogger.__init__(self)

        def log(self, kind: Any, message: str) -> None:
            level = levels.get(kind, logging.INFO)
            if level == logging.ERROR:
                errors.add(message)
            log.log(min(level, logging.INFO), "%s", message)

    return Logger()
