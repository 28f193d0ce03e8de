"""Layers of settings, and how they become one: key by key, every value with its origin."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import attrs

from mlpinf_core.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable

DEFAULT: Final = "default"
"""The origin of a value that no layer sets."""


class Typed(str):
    """A value typed by hand on a command line or in an environment variable: text, whatever it is.

    It becomes a number, a boolean or a list when the key it is meant for is known. Values from a
    file have types already, and stay what they are.
    """

    __slots__ = ()


def from_toml(text: str) -> Any:
    """``text`` as a TOML value; the text itself where it is none."""
    try:
        parsed = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text
    return parsed["value"] if len(parsed) == 1 else text


@attrs.frozen
class Layer:
    """Settings that come from one place.

    Attributes:
        origin: where they come from, for messages and ``mlpinf config`` (``my.toml``).
        values: nested tables; a mapping is a table, anything else is a value.
    """

    origin: str
    values: Mapping[str, Any]


def merge(layers: Iterable[Layer]) -> tuple[dict[str, Any], dict[str, str]]:
    """All layers as one, the lowest first: a later layer's value replaces an earlier one's.

    Tables merge key by key and are never replaced as a whole.

    Returns:
        The merged tables, and the origin of each value by its dotted key.

    Raises:
        ConfigurationError: one layer has a table where another has a value; names both.
    """
    merged: dict[str, Any] = {}
    origins: dict[str, str] = {}
    tables: dict[str, str] = {}
    for layer in layers:
        _lay(layer.values, layer.origin, "", merged, origins, tables)
    return merged, origins


def _lay(
    values: Mapping[str, Any],
    origin: str,
    prefix: str,
    merged: dict[str, Any],
    origins: dict[str, str],
    tables: dict[str, str],
) -> None:
    for key, value in values.items():
        path = prefix + key
        if isinstance(value, Mapping):
            if path in origins:
                raise _clash(path, table=origin, value=origins[path])
            tables.setdefault(path, origin)
            _lay(value, origin, path + ".", merged.setdefault(key, {}), origins, tables)
        else:
            if path in tables:
                raise _clash(path, table=tables[path], value=origin)
            merged[key] = value
            origins[path] = origin


def _clash(path: str, *, table: str, value: str) -> ConfigurationError:
    return ConfigurationError(
        f"{path!r} is a table in {table} and a value in {value}",
        where=f"{table}; {value}",
        remedy=f"set keys inside it ({path}.KEY), in both places",
    )
