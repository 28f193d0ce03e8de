"""The single values of a configuration, by dotted key."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import attrs

from mlpinf_core.config.schema import TABLES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mlpinf_core.config.schema import Config


@attrs.frozen
class Leaf:
    """One value.

    Attributes:
        key: dotted, from the table inwards (``loadgen.target_qps``).
        value: what it is set to.
        metadata: of the settings field that it belongs to (``doc``, ``unit``).
    """

    key: str
    value: Any
    metadata: Mapping[str, Any]


def leaves(config: Config) -> Iterator[Leaf]:
    """Every value of every table, in the order of the classes' fields.

    An empty table inside a settings class is a value; one that holds anything is its entries.
    """
    for table in TABLES:
        settings = getattr(config, table)
        if settings is not None:
            yield from _walk(settings, table, {})


def _walk(value: Any, key: str, metadata: Mapping[str, Any]) -> Iterator[Leaf]:
    if attrs.has(type(value)):
        for field in attrs.fields(type(value)):
            if field.init:
                # A nested class's own fields say more than the field that holds it.
                yield from _walk(getattr(value, field.name), f"{key}.{field.name}", field.metadata)
    elif isinstance(value, Mapping) and value:
        for name, item in value.items():
            yield from _walk(item, f"{key}.{name}", metadata)
    else:
        yield Leaf(key, value, metadata)
