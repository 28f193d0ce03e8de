"""Files that a user gives: their checksums, and the one error where one cannot be read."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

from mlpinf_core.errors import PrerequisiteError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from mlpinf_core.hashing import HashMemory


def checksums(memory: HashMemory, paths: Iterable[Path]) -> dict[Path, str]:
    """The sha256 of every file, each hashed once.

    Raises:
        PrerequisiteError: one is missing or cannot be read; names it.
    """
    try:
        return memory.sha256_all(paths)
    except OSError as error:
        raise unreadable(Path(error.filename), error) from error


@contextlib.contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn a refused read in the block into the error to show.

    Raises:
        PrerequisiteError: the block raised OSError.
    """
    try:
        yield
    except OSError as error:
        raise unreadable(path, error) from error


def unreadable(path: Path, error: OSError) -> PrerequisiteError:
    """What to tell the user when the system refuses to read a file."""
    if isinstance(error, FileNotFoundError):
        return PrerequisiteError(
            f"{path.name} is missing", where=str(path), remedy="put the file in its place again"
        )
    return PrerequisiteError(
        f"{path.name} cannot be read ({error.strerror or error})",
        where=str(path),
        remedy="put a file there that this user may read",
    )
