"""Captions files: tab-separated, a line a caption, as the reference keeps COCO's.

The reference reads them with pandas: a field in double quotes may hold tabs and doubled quotes.
"""

from __future__ import annotations

import csv
import hashlib
from typing import TYPE_CHECKING, Final

from mlpinf_core.errors import IntegrityError, PrerequisiteError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

COLUMN: Final = "caption"
NAMES: Final = ("captions.tsv", "captions_source.tsv")
"""What the file is called; the first that is there is read."""


def read(path: Path) -> list[str]:
    """The captions of a file, in its order.

    Raises:
        PrerequisiteError: it cannot be read.
        IntegrityError: it is no captions file; names the line.
    """
    return [caption for (caption,) in rows(path, COLUMN)]


def rows(path: Path, *columns: str) -> list[tuple[str, ...]]:
    """Some columns of a captions file, a tuple a line.

    Raises:
        PrerequisiteError: it cannot be read.
        IntegrityError: it is no captions file; names the line.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            lines = csv.DictReader(file, delimiter="\t", strict=True)
            for column in columns:
                if column not in (lines.fieldnames or ()):
                    raise _unreadable(path, 1, f"there is no column {column!r}")
            found = []
            for line in lines:
                row = tuple(line[column] for column in columns)
                if not all(row) or None in line:
                    fault = f"there is no {' or no '.join(columns)}, or too much"
                    raise _unreadable(path, lines.line_num, fault)
                found.append(row)
    except OSError as problem:
        raise PrerequisiteError(
            f"the captions cannot be read: {problem.strerror or problem}", where=str(path)
        ) from problem
    except (csv.Error, UnicodeDecodeError) as problem:
        raise _unreadable(path, 0, str(problem)) from problem
    return found


def digest(texts: Iterable[str]) -> str:
    """Sha256 of captions in their order, a line each."""
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()


def _unreadable(path: Path, line: int, fault: str) -> IntegrityError:
    return IntegrityError(
        f"this is no captions file: {fault}",
        where=f"{path}, line {line}" if line else str(path),
        remedy="give the reference's captions.tsv, tab-separated with a column named caption",
    )


def find(folder: Path) -> Path:
    """The captions file of a data folder: in it, or in its folder ``captions``.

    Raises:
        PrerequisiteError: there is none.
    """
    for name in NAMES:
        for path in (folder / name, folder / "captions" / name):
            if path.is_file():
                return path
    raise PrerequisiteError(
        f"there are no captions: looked for {' and '.join(NAMES)}",
        where=str(folder),
        remedy="set benchmark.data_path to the folder that holds captions.tsv, or leave it out to "
        "have it fetched",
    )
