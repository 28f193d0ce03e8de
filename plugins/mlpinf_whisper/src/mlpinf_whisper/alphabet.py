"""The benchmark's response format: a transcript as indices into 42 declared characters.

The order of the characters is part of the benchmark: whoever checks a submission reads the logged
numbers by it (the labels of the reference implementation's ``accuracy_eval.py``).
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

LABELS: Final = " abcdefghijklmnopqrstuvwxyz'0123456789$%+-"
"""The 42 characters; a response holds their positions here."""

DTYPE: Final = np.dtype(np.int64)
"""Of a response, as in the reference."""

_UNKNOWN: Final = -1


@functools.cache
def _codes() -> npt.NDArray[np.int64]:
    """int64 [256], the label of each Latin-1 character, -1 where it has none."""
    codes = np.full(256, _UNKNOWN, dtype=DTYPE)
    codes[np.frombuffer(LABELS.encode("ascii"), dtype=np.uint8)] = np.arange(len(LABELS))
    return codes


def encode(text: str) -> npt.NDArray[np.int64]:
    """A text as a response, int64 [characters].

    As the reference does it: lower case, without outer spaces, and without every character that
    has no label.
    """
    # Every label is ASCII, so what Latin-1 cannot hold has none: "?" stands for it, which has none.
    raw = text.lower().strip().encode("latin-1", "replace")
    codes = _codes()[np.frombuffer(raw, dtype=np.uint8)]
    known: npt.NDArray[np.int64] = codes[codes != _UNKNOWN]
    return known


def restrict(text: str) -> str:
    """A text without the characters that have no label: what a response of it can say."""
    return "".join(character for character in text if character in LABELS)


def decode(response: npt.NDArray[np.int64]) -> str:
    """A response as a text.

    Raises:
        ValueError: a number is no label; says which and where.
    """
    wrong = np.flatnonzero((response < 0) | (response >= len(LABELS)))
    if wrong.size:
        raise ValueError(
            f"label {int(response[wrong[0]])} at position {int(wrong[0])}; the benchmark has "
            f"labels 0 to {len(LABELS) - 1}"
        )
    return "".join(map(LABELS.__getitem__, response.tolist()))
