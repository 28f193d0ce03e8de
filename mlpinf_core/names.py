"""Names as people type them: folding, look-up, and the nearest known one for a message."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

T = TypeVar("T")


def fold(name: str) -> str:
    """The form in which two spellings of one name are equal.

    Case, ``-``, ``_``, ``.`` and spaces do not tell names apart, because the tools themselves
    disagree about them (``llama3.1-8b`` in the checker, ``llama3_1-8b`` in LoadGen).

    >>> fold("Llama3_1-8B") == fold("llama3.1-8b")
    True
    """
    return "".join(c for c in name.casefold() if c not in "-_. ")


def lookup(kind: str, name: str, known: Mapping[str, T]) -> T:
    """The value whose key folds to the same as ``name``.

    Args:
        kind: what is looked up, for the message ("benchmark").
        name: as the user typed it.
        known: proper names and aliases to values.

    Raises:
        UnknownNameError: no key folds to it; names the nearest.
    """
    wanted = fold(name)
    for key, value in known.items():
        if fold(key) == wanted:
            return value
    from mlpinf_core.errors import UnknownNameError

    raise UnknownNameError(kind, name, known)


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name most like ``name``, or None when none is alike."""
    import difflib

    by_fold = {fold(k): k for k in known}
    found = difflib.get_close_matches(fold(name), by_fold, n=1, cutoff=0.6)
    return by_fold[found[0]] if found else None
