"""Settings from the command line and the environment: text that gets its type from its key."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from typing import Any, Final

from mlpinf_core.config.layers import Layer, Typed, from_toml, merge
from mlpinf_core.config.schema import TABLES
from mlpinf_core.errors import ConfigurationError, UnknownNameError
from mlpinf_core.names import lookup

PREFIX: Final = "MLPINF__"
"""What the environment variables that are settings begin with."""


def parse_assignment(text: str) -> Layer:
    """The layer of one ``--set``: ``loadgen.target_qps=10``.

    The value is TOML (``10``, ``[1, 2]``, ``{a = 1}``, ``"text"``); what is not TOML is plain text.

    Raises:
        ConfigurationError: there is no ``=``, the key is not dotted, or its table is unknown.
    """
    key, equals, value = text.partition("=")
    where = f"--set {text}"
    if not equals:
        raise ConfigurationError(
            f"{text!r} sets nothing", where=where, remedy="write --set TABLE.KEY=VALUE"
        )
    return Layer("--set", _nest(_path(key.strip(), where), _value(value.strip()), where))


def environment_layer(environ: Mapping[str, str]) -> Layer | None:
    """The settings in the environment: ``MLPINF__LOADGEN__TARGET_QPS=10``; None without any.

    Names are case-blind and become lower case; ``__`` separates a table from its key.

    Raises:
        ConfigurationError: a variable names no key, or a table that is unknown.
    """
    layers = []
    for name in sorted(environ):
        if not name.upper().startswith(PREFIX):
            continue
        where = f"environment variable {name}"
        path = name[len(PREFIX) :].lower().split("__")
        layers.append(Layer(where, _nest(path, _value(environ[name].strip()), where)))
    return Layer("environment", merge(layers)[0]) if layers else None


def _path(key: str, where: str) -> list[str]:
    try:
        # A line break would let a key bring others along.
        table: Any = tomllib.loads(f"{' '.join(key.splitlines())} = 0")
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(
            f"{key!r} is not a key", where=where, remedy="write --set TABLE.KEY=VALUE"
        ) from error
    path = []
    while isinstance(table, dict):
        name, table = next(iter(table.items()))
        path.append(name)
    return path


def _nest(path: list[str], value: Any, where: str) -> dict[str, Any]:
    try:
        table = lookup("table", path[0], {name: name for name in TABLES})
    except UnknownNameError as error:
        raise UnknownNameError(error.kind, error.name, error.known, where=where) from None
    # A whole table may be given as an inline table; it merges like any other.
    if len(path) == 1 and not isinstance(value, Mapping):
        raise ConfigurationError(
            f"{table!r} is a table, not a value", where=where, remedy=f"name a key: {table}.KEY"
        )
    if not all(path):
        raise ConfigurationError("a part of the key is empty", where=where, remedy="mend the key")
    nested = value
    for name in reversed(path[1:]):
        nested = {name: nested}
    return {table: nested}


def _value(text: str) -> Any:
    value = from_toml(text)
    # Only lists and tables take their form from TOML at once. Text is kept for a scalar until the
    # key's own type is known: 8 is a number for one key and a name for another.
    if isinstance(value, list | dict):
        return value
    return Typed(value if isinstance(value, str) else text)
