"""A configuration as plain data: for ``run.json`` and back, for people, for the documentation."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from mlpinf_core.config.kinds import default_of, describe, typed_fields
from mlpinf_core.config.layers import DEFAULT, Layer
from mlpinf_core.config.leaves import leaves
from mlpinf_core.config.resolve import resolve
from mlpinf_core.config.schema import TABLES, Config
from mlpinf_core.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable


@attrs.frozen
class Row:
    """One value of a resolved configuration.

    Attributes:
        key: dotted (``loadgen.target_qps``).
        value: plain, as in JSON; None where it is unset.
        unit: of the value, or None.
        origin: the layer that set it, or ``default``.
        doc: what it means.
    """

    key: str
    value: Any
    unit: str | None
    origin: str
    doc: str


@attrs.frozen
class Key:
    """One key that a settings class knows.

    Attributes:
        key: dotted, with the table (``loadgen.target_qps``).
        type: in words (``a number, or unset``).
        default: plain, as in JSON; None where it is unset or must be given.
        unit: of the value, or None.
        doc: what it means.
    """

    key: str
    type: str
    default: Any
    unit: str | None
    doc: str


def to_dict(config: Config) -> dict[str, Any]:
    """``{"values": tables, "origins": by dotted key}``, all of it fit for JSON."""
    values = {table: _plain(getattr(config, table)) or {} for table in TABLES}
    return {"values": values, "origins": dict(config.origins)}


def from_dict(
    data: Mapping[str, Any],
    benchmark_settings: type,
    backend_settings: Callable[[str], type],
) -> Config:
    """The inverse of :func:`to_dict`.

    Raises:
        ConfigurationError: the data is incomplete, or no longer fits the settings classes.
    """
    try:
        layer, origins = Layer("the recorded configuration", data["values"]), data["origins"]
    except (KeyError, TypeError) as error:
        raise ConfigurationError(
            "the recorded configuration is incomplete: it needs 'values' and 'origins'",
            remedy="take it from a run.json as it was written",
        ) from error
    config = resolve(
        [layer], benchmark_settings=benchmark_settings, backend_settings=backend_settings
    )
    return attrs.evolve(
        config, origins={leaf.key: origins.get(leaf.key, DEFAULT) for leaf in leaves(config)}
    )


def rows(config: Config) -> list[Row]:
    """Every value with its origin, in the order of the tables and their classes' fields."""
    return [
        Row(
            leaf.key,
            _plain(leaf.value),
            leaf.metadata.get("unit"),
            config.origins.get(leaf.key, DEFAULT),
            leaf.metadata.get("doc", ""),
        )
        for leaf in leaves(config)
    ]


def keys(settings_class: type, table: str) -> list[Key]:
    """Every key of a settings class, nested classes included, for the documentation.

    Args:
        settings_class: an attrs class.
        table: what its keys stand below (``loadgen``).
    """
    found: list[Key] = []
    for name, field in typed_fields(settings_class).items():
        key, kind = f"{table}.{name}", field.type
        if isinstance(kind, type) and attrs.has(kind):
            found += keys(kind, key)
            continue
        default = default_of(field)
        found.append(
            Key(
                key,
                describe(kind),
                None if default is attrs.NOTHING else _plain(default),
                field.metadata.get("unit"),
                field.metadata.get("doc", ""),
            )
        )
    return found


def _plain(value: Any) -> Any:
    if attrs.has(type(value)):
        return {f.name: _plain(getattr(value, f.name)) for f in attrs.fields(type(value)) if f.init}
    if isinstance(value, enum.Enum):
        return _plain(value.value)
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return {str(_plain(key)): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
