"""The files that a plan takes settings from: the system's, and above it the user's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlpinf_core.config.files import SettingsFile, read_settings_file
from mlpinf_core.errors import UnknownNameError
from mlpinf_core.names import fold
from mlpinf_core.rules import ROUNDS, load_round
from mlpinf_core.systems.choice import Choice, choose
from mlpinf_core.systems.detection import detect_enough
from mlpinf_core.systems.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from mlpinf_core.plugins import Plugins
    from mlpinf_core.systems.host import Host


def settings_files(
    system: str | None,
    directories: Sequence[Path],
    paths: Sequence[Path],
    plugins: Plugins,
    host: Host,
) -> tuple[Choice, list[SettingsFile]]:
    """Read the files, and check the names in them.

    Args:
        system: see :class:`~mlpinf_core.plan.Request`, like the following two.
        directories: of system files.
        paths: of the user's settings files, the lowest first.
        plugins: those that are there.
        host: the machine to recognise.

    Returns:
        The system, and its settings below the user's.

    Raises:
        ConfigurationError: a file, a name or a key in one is wrong.
    """
    registry = Registry.load(plugins.system_directories(), directories)
    choice = choose(system, registry, lambda: detect_enough(host))
    files = [read_settings_file(path) for path in paths]
    for file in files:
        _check_benchmarks(file, plugins, also=())
        _check_backends(file, plugins)
    if choice.file is None:
        return choice, files
    # A system is described for all that may be run on it, so that a benchmark of the rounds and a
    # backend that are not installed here are no mistakes in its file.
    rounds = {name for round_ in ROUNDS for name in load_round(round_).benchmarks}
    _check_benchmarks(choice.file.settings, plugins, also=tuple(sorted(rounds)))
    return choice, [choice.file.settings, *files]


def _check_benchmarks(file: SettingsFile, plugins: Plugins, also: tuple[str, ...]) -> None:
    """A misspelt selector is an error, and not an entry that never applies."""
    for name, origin in file.names("benchmark"):
        if fold(name) in map(fold, also):
            continue
        try:
            plugins.benchmark(name)
        except UnknownNameError as error:
            known = dict.fromkeys((*error.known, *also))
            raise UnknownNameError("benchmark", name, known, where=origin) from None


def _check_backends(file: SettingsFile, plugins: Plugins) -> None:
    backends = {b.name for known in plugins.benchmarks() for b in plugins.backends(known.name)}
    for name, origin in file.names("backend"):
        if fold(name) not in map(fold, backends):
            raise UnknownNameError("backend", name, sorted(backends), where=origin)
