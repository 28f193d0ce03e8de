"""Settings from the command line and the environment: text that gets its type from its key."""

from __future__ import annotations

import functools
import logging
import re
import tomllib
from collections.abc import Mapping
from typing import Any, Final

import attrs

from mlpinf_core.config.layers import Layer, Typed, from_toml, merge
from mlpinf_core.config.schema import TABLES, Config
from mlpinf_core.errors import ConfigurationError, UnknownNameError
from mlpinf_core.names import lookup, nearest

log = logging.getLogger(__name__)

PREFIX: Final = "MLPINF__"
"""What the environment variables that are settings begin with."""
_SLIP: Final = re.compile(rf"MLPINF_+({'|'.join(TABLES)})(_+)(\w*[^\W_])", re.IGNORECASE)
"""A name with any number of underscores about a table."""


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

    Names are case-blind and become lower case; ``__`` separates a table from its key. A variable
    that would be a setting with other underscores is warned of, once.

    Raises:
        ConfigurationError: a variable names no key, or a table that is unknown.
    """
    layers = []
    for name in sorted(environ):
        meant = _meant(name)
        if not name.upper().startswith(PREFIX):
            if meant is not None:
                _warn(name, meant)
            continue
        where = f"environment variable {name}"
        path = name[len(PREFIX) :].lower().split("__")
        if len(path) == 1 and meant is not None:
            raise UnknownNameError(
                "table", path[0], TABLES, where=where, remedy=f"did you mean {meant}?"
            )
        layers.append(Layer(where, _nest(path, _value(environ[name].strip()), where)))
    return Layer("environment", merge(layers)[0]) if layers else None


def _meant(name: str) -> str | None:
    """The setting that was meant by a variable with other underscores; None where it is none such.

    Other programs may have variables that begin like a setting's (``MLPINF_RUN_ID``).
    """
    found = _SLIP.fullmatch(name)
    if found is None:
        return None
    table, gap, key = found[1].lower(), found[2], found[3].lower()
    settings = getattr(Config(), table)
    if settings is not None:
        meant = nearest(key, attrs.fields_dict(type(settings)))
    else:  # a plugin declares the keys, and only the underscores can tell
        meant = key if gap == "__" or name.upper().startswith(PREFIX) else None
    return None if meant is None else f"{PREFIX}{table}__{meant}".upper()


@functools.cache
def _warn(name: str, meant: str) -> None:
    log.warning("the environment variable %s sets nothing; did you mean %s?", name, meant)


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
