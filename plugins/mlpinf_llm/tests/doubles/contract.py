"""Classes that take what a documented signature takes, and nothing else."""

from __future__ import annotations

from typing import Any

_NONE = type(None)
_KINDS: dict[str, tuple[type, ...]] = {
    "int": (int,),
    "float": (int, float),
    "str": (str,),
    "bool": (bool,),
    "list[int]": (list,),
    "dict": (dict,),
    "None": (_NONE,),
}


def check(owner: str, name: str, annotation: str, value: Any) -> None:
    """Refuse a value of another type than the signature says, where it says a plain one."""
    kinds: tuple[type, ...] = ()
    for part in (part.strip() for part in annotation.split("|")):
        if part not in _KINDS:
            return  # a class of the library's own: anything goes
        kinds += _KINDS[part]
    wrong = isinstance(value, bool) and bool not in kinds
    if wrong or not isinstance(value, kinds):
        raise TypeError(f"{owner}: {name} must be {annotation}, not {value!r}")


def take(
    owner: str, fields: dict[str, str], given: dict[str, Any], needed: tuple[str, ...] = ()
) -> dict[str, Any]:
    """The keyword arguments, if the signature has them all, and all that it needs are there."""
    for name, value in given.items():
        if name not in fields:
            raise TypeError(f"{owner}() got an unexpected keyword argument {name!r}")
        check(owner, name, fields[name], value)
    if missing := [name for name in needed if name not in given]:
        raise TypeError(f"{owner}() lacks {missing}")
    return given
