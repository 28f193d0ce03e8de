"""Single values, strictly: nothing is bent to a type, except text that was typed by hand."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, NoReturn, get_args, get_origin

import attrs

from mlpinf_core.config.kinds import describe
from mlpinf_core.config.layers import Typed, from_toml
from mlpinf_core.names import fold, nearest

if TYPE_CHECKING:
    from collections.abc import Sequence

_TRUE: Final = ("true", "yes", "on", "1")
_FALSE: Final = ("false", "no", "off", "0")


@attrs.frozen
class Problem:
    """One wrong key or value.

    Attributes:
        path: the key, from the class that was structured inwards.
        what: what is wrong with it.
        remedy: what to write instead, where there is something to suggest.
    """

    path: tuple[str, ...]
    what: str
    remedy: str | None = None


class StructureError(ValueError):
    """Everything that is wrong with a value."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("; ".join(f"{'.'.join(p.path)}: {p.what}" for p in problems))
        self.problems = tuple(problems)


def refuse(value: Any, kind: Any, remedy: str | None = None) -> NoReturn:
    """Say that a value is not of its kind."""
    raise StructureError([Problem((), f"{_show(value)} is not {describe(kind)}", remedy)])


def _show(value: Any) -> str:
    return repr(str(value)) if isinstance(value, Typed) else repr(value)


def to_bool(value: Any, kind: Any) -> bool:
    """Booleans, and their usual words where typed by hand."""
    if isinstance(value, bool):
        return value
    # Never bool(value): the text "False" is true to Python.
    if isinstance(value, Typed) and value.casefold() in (*_TRUE, *_FALSE):
        return value.casefold() in _TRUE
    refuse(value, kind)


def to_int(value: Any, kind: Any) -> int:
    """Integers, and numbers with nothing after the point; never a boolean."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, Typed):
        try:
            return int(value)
        except ValueError:
            pass  # It may be an integer written as 1e6.
    number = _number(value)
    if number is None or not number.is_integer():
        refuse(value, kind)
    return int(number)


def to_float(value: Any, kind: Any) -> float:
    """Finite numbers; never a boolean, and never NaN, which no limit would catch."""
    if isinstance(value, int) and not isinstance(value, bool):
        number = _float(value)
    else:
        number = _number(value)
    if number is None or not math.isfinite(number):
        refuse(value, kind)
    return number


def _number(value: Any) -> float | None:
    return _float(value) if isinstance(value, float | Typed) else None


def _float(value: float | str) -> float | None:
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None


def to_str(value: Any, kind: Any) -> str:
    """Text, and nothing else."""
    if not isinstance(value, str):
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        refuse(value, kind, f'put it in quotes: "{value}"' if is_number else None)
    return str(value)


def to_path(value: Any, kind: Any) -> Path:
    """A path, with ``~`` expanded."""
    if isinstance(value, Path):
        return value
    if not isinstance(value, str) or not value:
        refuse(value, kind)
    try:
        return Path(value).expanduser()
    except RuntimeError:  # No home directory for that user: then it is a name that begins with ~.
        return Path(value)


def to_any(value: Any, _: Any) -> Any:
    """Whatever it is; as TOML where typed by hand."""
    return from_toml(value) if isinstance(value, Typed) else value


def to_choice(value: Any, kind: Any) -> Any:
    """A member of an enum or a Literal; words are case-blind where that leaves no doubt."""
    choices: list[tuple[Any, Any]]
    if get_origin(kind) is Literal:
        choices = [(arg, arg) for arg in get_args(kind)]
    else:
        choices = [(member.value, member) for member in kind]
    for known, meant in choices:
        same = type(known) is type(value) and known == value
        if same or value is meant or (isinstance(value, Typed) and str(known) == value):
            return meant
    texts = {known: meant for known, meant in choices if isinstance(known, str)}
    if isinstance(value, str):
        folded = {fold(known): meant for known, meant in texts.items()}
        if len(folded) == len(texts) and fold(value) in folded:
            return folded[fold(value)]
        guess = nearest(value, texts)
        refuse(value, kind, f"did you mean {guess!r}?" if guess else None)
    return refuse(value, kind)
