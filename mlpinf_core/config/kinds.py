"""The types that a field of a settings class may have, and their names in words."""

from __future__ import annotations

import enum
import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal, Union, get_args, get_origin

import attrs

_WORDS: Final[Mapping[Any, str]] = {
    bool: "true or false",
    int: "an integer",
    float: "a number",
    str: "text",
    Path: "a path",
    Any: "a value",
}


def is_choice(kind: Any) -> bool:
    """A closed set of values: an enum or a Literal."""
    return get_origin(kind) is Literal or (isinstance(kind, type) and issubclass(kind, enum.Enum))


def is_union(kind: Any) -> bool:
    """Alternatives; with None among them, what can be unset."""
    return get_origin(kind) in (Union, types.UnionType)


def is_sequence(kind: Any) -> bool:
    """A list or a tuple."""
    return (get_origin(kind) or kind) in (list, tuple, Sequence)


def is_mapping(kind: Any) -> bool:
    """A table whose keys are free."""
    return (get_origin(kind) or kind) in (dict, Mapping)


def typed_fields(kind: type) -> dict[str, attrs.Attribute[Any]]:
    """The fields that can be set, by name, with their types resolved."""
    resolved = attrs.fields(attrs.resolve_types(kind))
    return {field.name: field for field in resolved if field.init}


def default_of(field: attrs.Attribute[Any]) -> Any:
    """A field's default; ``attrs.NOTHING`` where it has none, or one that needs the instance."""
    default: Any = field.default
    # attrs.Factory is a class, and a function to the type checker.
    factory: Any = attrs.Factory
    if isinstance(default, factory):
        return attrs.NOTHING if default.takes_self else default.factory()
    return default


def describe(kind: Any) -> str:
    """A type, in words for messages and documentation: ``a number, or unset``."""
    args, origin = get_args(kind), get_origin(kind)
    if origin in (Union, types.UnionType):
        return f"{' or '.join(describe(a) for a in args if a is not types.NoneType)}, or unset"
    if origin is Literal:
        return f"one of {', '.join(str(a) for a in args)}"
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return f"one of {', '.join(str(m.value) for m in kind)}"
    if is_sequence(kind):
        if args and origin is tuple and args[-1] is not Ellipsis:
            return f"a list of {len(args)}: {', '.join(describe(a) for a in args)}"
        return "a list" + (f", each {describe(args[0])}" if args else "")
    if is_mapping(kind) or attrs.has(kind):
        return "a table"
    return _WORDS.get(kind) or str(getattr(kind, "__name__", kind))
