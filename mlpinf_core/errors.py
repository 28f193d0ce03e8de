"""Every error that mlpinf raises on purpose, and the exit code each one ends with.

A message says *what* is wrong, *where*, and the *remedy*; the command line prints those three and
nothing else unless ``-v`` is given.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from collections.abc import Iterable


class ExitCode(enum.IntEnum):
    """What the process ends with; the same numbers for the command line and the run's record."""

    OK = 0
    """Every run was VALID, and every accuracy run passed."""
    USAGE = 2
    """The command line or the configuration is wrong; nothing was run."""
    INVALID = 3
    """A run ended INVALID."""
    ACCURACY = 4
    """A run was valid, and its accuracy is outside the limits."""
    FAILED = 5
    """A plugin, a backend or a prerequisite failed."""
    INTERRUPTED = 130
    """Stopped by SIGINT or SIGTERM."""


class MlpinfError(Exception):
    """The root of the tree: everything that mlpinf raises on purpose.

    Attributes:
        what: one sentence that says what is wrong.
        where: the file, key, hook or run it is wrong in, or None.
        remedy: what to do about it, or None where there is nothing to suggest.
    """

    exit_code: ClassVar[ExitCode] = ExitCode.FAILED

    def __init__(self, what: str, *, where: str | None = None, remedy: str | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.remedy = remedy

    def __str__(self) -> str:
        """All three parts, one a line."""
        parts = [self.what]
        if self.where:
            parts.append(f"  where: {self.where}")
        if self.remedy:
            parts.append(f"  remedy: {self.remedy}")
        return "\n".join(parts)


class ConfigurationError(MlpinfError):
    """A key, a value, a flag or a name that the user gave is wrong."""

    exit_code = ExitCode.USAGE


class UnknownNameError(ConfigurationError):
    """A name that is not among the known ones; suggests the nearest."""

    def __init__(
        self,
        kind: str,
        name: str,
        known: Iterable[str],
        *,
        where: str | None = None,
        remedy: str | None = None,
    ) -> None:
        from mlpinf_core.names import nearest

        self.kind = kind
        self.name = name
        self.known = tuple(known)
        guess = nearest(name, self.known)
        if remedy is None:
            listed = ", ".join(self.known) or "none"
            remedy = f"did you mean {guess!r}?" if guess else f"known: {listed}"
        super().__init__(f"unknown {kind} {name!r}", where=where, remedy=remedy)


class PluginError(MlpinfError):
    """A plugin cannot be loaded, or a hook of it raised.

    Attributes:
        plugin: the entry point's name.
        distribution: the distribution that brought it.
        version: that distribution's version.
        hook: the hook that raised, or None when the plugin could not be loaded.
    """

    def __init__(
        self,
        what: str,
        *,
        plugin: str,
        distribution: str,
        version: str,
        hook: str | None = None,
        remedy: str | None = None,
    ) -> None:
        self.plugin = plugin
        self.distribution = distribution
        self.version = version
        self.hook = hook
        where = f"plugin {plugin!r} ({distribution} {version})"
        if hook:
            where += f", hook {hook!r}"
        super().__init__(what, where=where, remedy=remedy)


class PrerequisiteError(MlpinfError):
    """Something the run needs is missing: a file, a package, disk space, a network, a licence."""


class IntegrityError(PrerequisiteError):
    """A file is there, and is not what it should be (size, checksum, format)."""


class BackendError(MlpinfError):
    """A backend could not be built or loaded, or answered wrongly."""


class RunError(MlpinfError):
    """The child process of a run ended without finishing it."""

    first_query: float | None = None
    """Seconds from its start to the beginning of a test; None if it did not get so far."""


class LogError(MlpinfError):
    """A LoadGen log is missing, truncated or not what it claims to be."""

    exit_code = ExitCode.INVALID


class AccuracyError(MlpinfError):
    """An accuracy log could not be scored."""


class InterruptedRunError(MlpinfError):
    """The user, or the system, asked the run to stop."""

    exit_code = ExitCode.INTERRUPTED
    results: Any = None
    """The :class:`~mlpinf_core.results.Results` of what had been run until then."""
