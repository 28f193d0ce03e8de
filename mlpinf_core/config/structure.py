"""Settings classes from plain values, strictly: no key is ignored, no value is bent to its type.

cattrs dispatches on the types; the hooks here decide what is accepted, and collect every problem
with its path instead of stopping at the first.
"""

from __future__ import annotations

import functools
import re
import types
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, get_args, get_origin

import attrs

from mlpinf_core.config import scalars
from mlpinf_core.config.kinds import (
    default_of,
    describe,
    is_choice,
    is_mapping,
    is_sequence,
    is_union,
    typed_fields,
)
from mlpinf_core.config.layers import Typed
from mlpinf_core.config.scalars import Problem, StructureError, refuse
from mlpinf_core.names import nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import cattrs

_ATTRS_BOUND: Final = re.compile(r"'\w+' (must be .+?): (.+)")
"""How the validators of attrs word a refusal: "'workers' must be >= 1: 0"."""


def structure(value: Any, kind: Any) -> Any:
    """``value`` as an instance of ``kind``, a settings class or the type of one of its fields.

    Raises:
        StructureError: says everything that is wrong.
    """
    return _converter().structure(value, kind)


@functools.cache
def _converter() -> cattrs.Converter:
    import cattrs

    # Problems are collected by the hooks below; cattrs' own exception groups would hide them.
    converter = cattrs.Converter(detailed_validation=False)
    scalar_hooks: tuple[tuple[Any, Any], ...] = (
        (bool, scalars.to_bool),
        (int, scalars.to_int),
        (float, scalars.to_float),
        (str, scalars.to_str),
        (Path, scalars.to_path),
    )
    for kind, hook in scalar_hooks:
        converter.register_structure_hook(kind, _scalar(hook))
    converter.register_structure_hook_func(functools.partial(_is, Any), scalars.to_any)
    for predicate, general in (
        (is_choice, scalars.to_choice),
        (is_union, _union),
        (is_sequence, _sequence),
        (is_mapping, _mapping),
        (attrs.has, _class),
    ):
        converter.register_structure_hook_func(predicate, general)
    return converter


def _scalar(hook: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    # cattrs finds hooks of classes by inheritance: a StrEnum is asked for here as well.
    return lambda value, kind: (scalars.to_choice if is_choice(kind) else hook)(value, kind)


def _is(kind: Any, asked: Any) -> bool:
    return asked is kind


def _union(value: Any, kind: Any) -> Any:
    args = [arg for arg in get_args(kind) if arg is not types.NoneType]
    if len(args) < len(get_args(kind)) and _unsets(value, args):
        return None
    if len(args) == 1 and (attrs.has(args[0]) or is_sequence(args[0]) or is_mapping(args[0])):
        return structure(value, args[0])
    remedies = []
    for arg in args:
        try:
            return structure(value, arg)
        except StructureError as error:
            remedies += [problem.remedy for problem in error.problems if problem.remedy]
    return refuse(value, kind, next(iter(remedies), None))


def _unsets(value: Any, args: list[Any]) -> bool:
    """TOML has no null: the empty text unsets a key, and so does None as Python writes it."""
    if isinstance(value, Typed) and str not in args:
        return value.casefold() in ("", "none")
    return value is None or (isinstance(value, str) and value in ("", "None"))


def _sequence(value: Any, kind: Any) -> Any:
    if isinstance(value, Typed):
        value = [Typed(part.strip()) for part in value.split(",")] if value else []
    if not isinstance(value, list | tuple):
        refuse(value, kind)
    args = get_args(kind)
    if get_origin(kind) is tuple and args[-1:] != (Ellipsis,):
        if len(value) != len(args):
            refuse(value, kind)
        kinds = list(args)
    else:
        kinds = [args[0] if args else Any] * len(value)
    items = [(str(n), item, k) for n, (item, k) in enumerate(zip(value, kinds, strict=True))]
    built = _each(items).values()
    return list(built) if (get_origin(kind) or kind) is list else tuple(built)


def _mapping(value: Any, kind: Any) -> dict[Any, Any]:
    if not isinstance(value, Mapping):
        refuse(value, kind)
    key_kind, item_kind = get_args(kind) or (str, Any)
    built = _each([(str(key), item, item_kind) for key, item in value.items()])
    return {structure(Typed(key), key_kind): item for key, item in built.items()}


def _each(items: list[tuple[str, Any, Any]]) -> dict[str, Any]:
    built: dict[str, Any] = {}
    problems: list[Problem] = []
    for name, item, kind in items:
        try:
            built[name] = structure(item, kind)
        except StructureError as error:
            problems += _inside(name, error)
    if problems:
        raise StructureError(problems)
    return built


def _inside(name: str, error: StructureError) -> Iterator[Problem]:
    return (attrs.evolve(p, path=(name, *p.path)) for p in error.problems)


def _class(value: Any, kind: Any) -> Any:
    return build(kind, value, None)


def build(kind: Any, value: Any, base: Any) -> Any:
    """An instance of a settings class from a table.

    Args:
        kind: the class.
        value: the table.
        base: the instance whose values stand where the table is silent; None for the defaults.

    Raises:
        StructureError: says everything that is wrong.
    """
    if isinstance(value, kind):
        return value
    if not isinstance(value, Mapping):
        refuse(value, kind)
    fields = typed_fields(kind)
    problems = [_unknown(key, fields) for key in value if key not in fields]
    arguments: dict[str, Any] = {}
    for name, field in fields.items():
        default = default_of(field) if base is None else getattr(base, name)
        try:
            if name in value:
                arguments[field.alias or name] = _field(field, value[name], default)
            elif base is not None:
                arguments[field.alias or name] = default
            elif field.default is attrs.NOTHING:
                problems.append(Problem((name,), f"missing; it must be {describe(field.type)}"))
        except StructureError as error:
            problems += _inside(name, error)
    if problems:
        raise StructureError([*problems, *_refused(fields, arguments)])
    try:
        return kind(**arguments)
    except (ValueError, TypeError) as error:
        refused = _refused(fields, arguments)
        raise StructureError(refused or [Problem((), _reason(error))]) from error


def _field(field: attrs.Attribute[Any], value: Any, default: Any) -> Any:
    # What a default holds inside stands below every layer, like any other default.
    if isinstance(value, Mapping) and attrs.has(type(default)):
        return build(type(default), value, default)
    return structure(_over(default, value), field.type)


def _over(default: Any, value: Any) -> Any:
    if not (isinstance(value, Mapping) and isinstance(default, Mapping)):
        return value
    return {**default, **{key: _over(default.get(key), item) for key, item in value.items()}}


def _unknown(key: str, fields: Mapping[str, Any]) -> Problem:
    guess = nearest(key, fields)
    if guess:
        return Problem((key,), "unknown key", f"did you mean {guess!r}?")
    return Problem((key,), "unknown key", f"known: {', '.join(fields) or 'none'}")


def _refused(
    fields: Mapping[str, attrs.Attribute[Any]], arguments: Mapping[str, Any]
) -> list[Problem]:
    """Which values the validators refused; attrs itself stops at the first."""
    problems: list[Problem] = []
    for name, field in fields.items():
        alias = field.alias or name
        if field.validator is None or alias not in arguments:
            continue
        try:
            field.validator(None, field, arguments[alias])
        except (ValueError, TypeError) as refusal:
            problems.append(Problem((name,), _reason(refusal)))
        except AttributeError:
            continue  # A validator that looks at the whole instance, which there is not.
    return problems


def _reason(error: Exception) -> str:
    """What a validator says, without the name that the message begins with already."""
    text = str(error.args[0]) if error.args else type(error).__name__
    bound = _ATTRS_BOUND.fullmatch(text)
    return f"it is {bound[2]}, and {bound[1]}" if bound else text
