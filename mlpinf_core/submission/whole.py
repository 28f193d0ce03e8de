"""A folder that is replaced as a whole, by one process at a time."""

from __future__ import annotations

import contextlib
import shutil
from typing import TYPE_CHECKING

from mlpinf_core.errors import PrerequisiteError
from mlpinf_core.hashing import sync_folder, sync_tree

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextlib.contextmanager
def alone_at(folder: Path) -> Iterator[Path]:
    """Hold a folder, and make good what a process that was killed has left of it.

    The system lets go of the lock when this process dies, however it does. Beside the folder lie
    the lock's file, which stays, ``.NAME.staging`` while a new one is made and ``.NAME.old`` while
    it takes the old one's place; only who holds the lock touches them.

    Yields:
        Where to make the new folder; removed in the end, if it is still there.

    Raises:
        PrerequisiteError: another process is at it.
        OSError: the place cannot be written.
    """
    from filelock import FileLock, Timeout

    folder.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder.with_name(f".{folder.name}.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise PrerequisiteError(
            "another process is writing the tree", where=str(folder), remedy="wait for it"
        ) from None
    building = folder.with_name(f".{folder.name}.staging")
    try:
        old = _old(folder)
        if old.exists() and not folder.exists():
            old.rename(folder)  # killed between the two renames: the old one is the whole one
        for left in (old, building):
            if left.exists():
                shutil.rmtree(left)
        yield building
    finally:
        shutil.rmtree(building, ignore_errors=True)
        lock.release()


def exchange(building: Path, folder: Path) -> None:
    """Put the new folder where the old one was; the old one goes when the new one is on disk.

    Raises:
        OSError: it cannot be done; the old folder is where it was.
    """
    sync_tree(building)
    old = _old(folder)
    if folder.exists():
        folder.rename(old)
    try:
        building.rename(folder)
    except OSError:
        if old.exists():
            old.rename(folder)
        raise
    sync_folder(folder.parent)
    shutil.rmtree(old, ignore_errors=True)


def _old(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.old")
