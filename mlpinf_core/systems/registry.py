"""The systems that are known: shipped, offered by plugins, and the user's own."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs

from mlpinf_core.errors import ConfigurationError
from mlpinf_core.names import fold, lookup
from mlpinf_core.systems.files import SystemFile, read_system_file
from mlpinf_core.systems.matching import Match, match

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from mlpinf_core.systems.facts import Facts

VARIABLE: Final = "MLPINF_SYSTEMS"
"""Environment variable: directories of system files, separated as in ``PATH``."""


def shipped_directory() -> Path:
    """The system files that come with the core: in the installed package, or in the checkout."""
    package = Path(__file__).parent
    packaged = package / "known"
    return packaged if packaged.is_dir() else package.parent.parent / "systems"


def new_files_directory(environ: Mapping[str, str] | None = None) -> Path | None:
    """Where ``mlpinf system add`` writes: the first of ``MLPINF_SYSTEMS``, or the user's own."""
    environ = os.environ if environ is None else environ
    return next(iter(_named(environ)), None) or user_directory(environ)


def user_directory(environ: Mapping[str, str] | None = None) -> Path | None:
    """``mlpinf/systems`` in the user's configuration directory.

    None where nothing says where the user's home is.
    """
    environ = os.environ if environ is None else environ
    configuration = environ.get("XDG_CONFIG_HOME", "")
    if Path(configuration).is_absolute():
        return Path(configuration) / "mlpinf" / "systems"
    try:
        return Path("~").expanduser() / ".config" / "mlpinf" / "systems"
    except RuntimeError:
        return None


@attrs.frozen
class Registry:
    """Known systems by their names."""

    systems: Mapping[str, SystemFile]

    @classmethod
    def load(
        cls,
        offered: Iterable[Path],
        given: Sequence[Path] = (),
        environ: Mapping[str, str] | None = None,
    ) -> Registry:
        """Read every system file.

        Args:
            offered: directories that plugins offer, the core's own among them.
            given: directories that the user names; they have to exist, as those of
                ``MLPINF_SYSTEMS`` do.
            environ: the environment; the process's own by default.

        Raises:
            ConfigurationError: a file is wrong, a directory is not there, or two files describe
                systems of one name.
        """
        environ = os.environ if environ is None else environ
        named = [*given, *_named(environ)]
        for directory in named:
            if not directory.is_dir():
                raise ConfigurationError(
                    "there is no such directory of system files",
                    where=f"{directory} (--system-dir or {VARIABLE})",
                    remedy="check the path",
                )
        own = user_directory(environ)
        directories = [*offered, *([own] if own is not None else []), *named]
        paths = dict.fromkeys(
            path.resolve() for place in directories for path in sorted(Path(place).glob("*.toml"))
        )
        systems: dict[str, SystemFile] = {}
        for path in paths:
            _add(systems, read_system_file(path))
        return cls(systems)

    def find(self, name: str) -> SystemFile:
        """A system by its name.

        Raises:
            UnknownNameError: there is none; names the nearest.
        """
        return lookup("system", name, self.systems)

    def matches(self, facts: Facts) -> list[Match]:
        """How well a machine fits each known system, the best first."""
        found = [match(s.name, s.rules, facts) for s in self.systems.values() if s.rules]
        return sorted(found, key=lambda m: m.rank, reverse=True)


def _named(environ: Mapping[str, str]) -> list[Path]:
    return [Path(part) for part in environ.get(VARIABLE, "").split(os.pathsep) if part]


def _add(systems: dict[str, SystemFile], found: SystemFile) -> None:
    for other in systems.values():
        if fold(other.name) == fold(found.name):
            raise ConfigurationError(
                f"two systems are named {found.name!r}",
                where=f"{other.path} and {found.path}",
                remedy="rename one: its file, or the key 'name' in [system]; settings that go on "
                "top of a known system's belong in a file for --config",
            )
    systems[found.name] = found
