"""Files that are written for people, whole or not at all."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlpinf_core.errors import PrerequisiteError
from mlpinf_core.hashing import write_atomically

if TYPE_CHECKING:
    from pathlib import Path


def write_file(path: Path, text: str, what: str) -> None:
    """Write a file; its directory is made if need be.

    Args:
        path: of the file.
        text: its content.
        what: it is called in an error.

    Raises:
        PrerequisiteError: it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, text.encode())
    except OSError as error:
        raise PrerequisiteError(
            f"the {what} cannot be written: {error.strerror or error}",
            where=str(path),
            remedy="choose another place, or make it writable",
        ) from error
