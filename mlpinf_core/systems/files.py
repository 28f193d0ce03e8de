"""System files: how a known system is recognised, described, and best run."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import attrs

from mlpinf_core.config.files import ENTRIES, SettingsFile, parse_toml, settings_of
from mlpinf_core.config.schema import TABLES
from mlpinf_core.errors import ConfigurationError, UnknownNameError
from mlpinf_core.rules import ROUNDS, load_round
from mlpinf_core.systems.matching import Rule, parse_rules

OWN_TABLES: Final = ("system", "match", "description")
"""The tables of a system file that are not settings."""
_ABOUT: Final = ("name", "summary", "settings_origin")
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,127}")


@attrs.frozen
class SystemFile:
    """What a file says of one system.

    Attributes:
        name: what a submission calls the system; the file's own name where the file is silent.
        path: of the file.
        summary: a line about it.
        rules: it is recognised by these; by none, where there are none.
        description: key of the official description to its value.
        settings: the tuned settings.
    """

    name: str
    path: Path
    summary: str
    rules: tuple[Rule, ...]
    description: Mapping[str, Any]
    settings: SettingsFile


def read_system_file(path: Path) -> SystemFile:
    """Read and check a system file. A file of settings alone is one, too.

    Raises:
        ConfigurationError: the file is missing, is not TOML, or says something that is unknown.
    """
    origin, data = str(path), parse_toml(path, "system file")
    _check_tables(data, origin)
    about = data.pop("system", {})
    for key, value in about.items():
        if key not in _ABOUT:
            raise UnknownNameError("key in [system]", key, _ABOUT, where=origin)
        if not isinstance(value, str):
            raise ConfigurationError(
                f"{key!r} in [system] is not text: {value!r}", where=origin, remedy="quote it"
            )
    rules = parse_rules(data.pop("match", {}), origin)
    description = _description(data.pop("description", {}), origin)
    note = about.get("settings_origin")
    settings = settings_of(data, f"{origin} ({note})" if note else origin)
    name = proper_name(about.get("name", path.stem), origin)
    return SystemFile(name, path, about.get("summary", ""), rules, description, settings)


def proper_name(name: str, where: str, what: str = "system") -> str:
    """A name that may be a directory's, as it is one in a submission.

    Args:
        name: that is checked.
        where: it was given, for the error.
        what: has the name, for the error.

    Raises:
        ConfigurationError: it may not; suggests one that may.
    """
    if _NAME.fullmatch(name):
        return name
    raise ConfigurationError(
        f"a {what} cannot be named {name!r}: letters, digits and ._+- only, the first no sign",
        where=where,
        remedy=f"name it {sanitised(name)!r}, say",
    )


def sanitised(text: str) -> str:
    """A name made of any text."""
    name = re.sub(r"[^A-Za-z0-9._+-]+", "-", text).strip("-._+")[:100].strip("-._+")
    return name or "system"


def check_description_key(key: str, where: str) -> None:
    """Refuse a key that no round's description has.

    Raises:
        UnknownNameError: names the nearest.
    """
    known = dict.fromkeys(k for r in ROUNDS for k in load_round(r).system_description.keys)
    if key not in known:
        raise UnknownNameError("key of a system's description", key, known, where=where)


def _check_tables(data: Mapping[str, Any], origin: str) -> None:
    for table, value in data.items():
        if table not in (*OWN_TABLES, *TABLES, ENTRIES):
            known = (*OWN_TABLES, *TABLES, ENTRIES)
            kind = "table" if isinstance(value, dict) else "key"
            raise UnknownNameError(kind, table, known, where=origin)
        if table in OWN_TABLES and not isinstance(value, dict):
            raise ConfigurationError(
                f"{table!r} is a table, not a value: {value!r}",
                where=origin,
                remedy=f"write [{table}] and its keys below it",
            )


def _description(table: Mapping[str, Any], origin: str) -> dict[str, Any]:
    where = f"{origin} [description]"
    for key, value in table.items():
        check_description_key(key, where)
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise ConfigurationError(
                f"{key!r} is neither text nor a number: {value!r}", where=where, remedy="quote it"
            )
    return {key: value for key, value in table.items() if value != ""}
