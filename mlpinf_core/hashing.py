"""Checksums of files and of plain values, and a memory that spares hashing a large file twice."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeAlias

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterable

JSON: TypeAlias = "bool | int | float | str | Sequence[JSON] | Mapping[str, JSON] | None"
"""What JSON can say; tuples and read-only mappings count as lists and objects."""


def plain(value: object) -> Any:
    """The value as the built-in types that :mod:`json` writes.

    Raises:
        TypeError: a key is not text, or a value is nothing that JSON knows.
    """
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Mapping):
        # json would write the keys 1 and "1" alike, and two inputs would share one digest.
        strange = [key for key in value if not isinstance(key, str)]
        if strange:
            raise TypeError(f"a key must be text, not {strange[0]!r}")
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
        return [plain(item) for item in value]
    raise TypeError(f"{value!r} ({type(value).__name__}) is not a JSON value")


def canonical(value: JSON) -> bytes:
    """The one spelling of a value: keys sorted, no spaces, ASCII only.

    Raises:
        TypeError: the value is nothing that JSON knows.
        ValueError: a number is infinite or not a number.
    """
    text = json.dumps(plain(value), sort_keys=True, separators=(",", ":"), allow_nan=False)
    return text.encode("ascii")


def digest(value: JSON) -> str:
    """The sha256, in lower-case hex, of the value's one spelling."""
    import hashlib

    return hashlib.sha256(canonical(value)).hexdigest()


def sha256_of(path: Path) -> str:
    """The sha256 of a file's content, in lower-case hex.

    Raises:
        OSError: the file cannot be read; has its name.
    """
    import hashlib

    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        error.filename = error.filename or str(path)  # a read that fails does not say of what
        raise


def write_atomically(path: Path, content: bytes) -> None:
    """Write a small file so that a reader sees the old content or the new, never a part.

    Raises:
        OSError: it cannot be written; what was there is untouched.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def copy_atomically(source: Path, target: Path) -> None:
    """Copy a file of any size so that a reader sees the whole copy or none, also on a full disk.

    Raises:
        OSError: it cannot be read or written; has the name of whichever of the two it is about.
            What was there is untouched.
    """
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    with source.open("rb") as reader:
        try:
            # Not shutil's: where the disk is full, its error names the source, or no file at all.
            with temporary.open("wb") as writer:
                while chunk := _read(reader, source):
                    writer.write(chunk)
                writer.flush()
                os.fsync(writer.fileno())
            temporary.replace(target)
        except OSError as error:
            if error.filename != str(source):
                error.filename = str(target)
            raise
        finally:
            temporary.unlink(missing_ok=True)


def _read(file: BinaryIO, path: Path) -> bytes:
    try:
        return file.read(1 << 20)
    except OSError as error:
        error.filename = str(path)  # a read that fails does not say of what
        raise


def sync_folder(path: Path) -> None:
    """Make renames inside a folder survive a power cut, where the system can."""
    if os.name == "nt":  # pragma: no cover - a folder cannot be opened there
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_tree(folder: Path) -> None:
    """Have everything that lies in a folder on disk."""
    for path in folder.rglob("*"):
        if path.is_dir():
            sync_folder(path)
        else:
            with path.open("rb") as file:
                os.fsync(file.fileno())
    sync_folder(folder)


def _identity(path: Path) -> list[int]:
    stat = path.stat()
    return [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino]


@attrs.frozen
class HashMemory:
    """Remembers the sha256 of files in a side file, so that an unchanged file is read once.

    A file counts as unchanged when its size, its times of modification and of status change, and
    its inode are what they were. That catches truncation, replacement, and every ordinary write,
    also one that sets the modification time back. It does not catch bytes that change below the
    file system (a failing disk), a write within the same tick of the file system's clock as the
    hashing, or somebody who edits the side file too; where those matter, hash again.

    Attributes:
        file: the side file. It is written where that is possible and never needed: without it
            every file is hashed.
    """

    file: Path

    def sha256(self, path: Path, *, anew: bool = False) -> str:
        """The sha256 of one file; see :meth:`sha256_all`."""
        return self.sha256_all([path], anew=anew)[path]

    def sha256_all(self, paths: Iterable[Path], *, anew: bool = False) -> dict[Path, str]:
        """The sha256 of each file, in lower-case hex.

        Args:
            paths: the files.
            anew: hash them all, whatever is remembered.

        Raises:
            OSError: a file cannot be read; has its name.
        """
        memory = self._load()
        found: dict[Path, str] = {}
        changed = False
        for path in paths:
            label, before = self._label(path), _identity(path)
            known = memory.get(label)
            if not anew and known and known.get("identity") == before:
                found[path] = str(known["sha256"])
                continue
            found[path] = sha256_of(path)
            changed = True
            memory.pop(label, None)
            if _identity(path) == before:  # else it was written to while it was read
                memory[label] = {"identity": before, "sha256": found[path]}
        if changed:
            self._save(memory)
        return found

    def remember(self, path: Path, sha256: str) -> None:
        """Note the sha256 of a file that has just been hashed under another name."""
        memory = self._load()
        memory[self._label(path)] = {"identity": _identity(path), "sha256": sha256}
        self._save(memory)

    def _label(self, path: Path) -> str:
        """Relative where it can be, so that a scratch space may be mounted elsewhere."""
        path = path.absolute()
        base = self.file.parent.absolute()
        return path.relative_to(base).as_posix() if path.is_relative_to(base) else str(path)

    def _load(self) -> dict[str, dict[str, Any]]:
        try:
            memory = json.loads(self.file.read_bytes())
        except (OSError, ValueError):
            return {}
        if not isinstance(memory, dict):
            return {}
        return {k: v for k, v in memory.items() if isinstance(v, dict) and "sha256" in v}

    def _save(self, memory: Mapping[str, Mapping[str, Any]]) -> None:
        import contextlib

        # A read-only scratch space is a good one: it only costs the hashing each time.
        with contextlib.suppress(OSError):
            write_atomically(self.file, json.dumps(memory, indent=1, sort_keys=True).encode())


def file_fault(
    path: Path, *, size: int | None, sha256: str | None, memory: HashMemory, anew: bool = False
) -> str | None:
    """What is wrong with a file, or None when it is what it should be.

    The size is looked at first: a truncated file is told from a damaged one without reading it.
    What is None is not known, and any will do.
    """
    fault = size_fault(path, size)
    if fault or sha256 is None:
        return fault
    try:
        actual = memory.sha256(path, anew=anew)
    except OSError as error:
        return f"cannot be read ({error.strerror or error})"
    return None if actual == sha256 else checksum_fault(actual, sha256)


def size_fault(path: Path, size: int | None) -> str | None:
    """Why a path is not a file of that many bytes (of any, for None), or None when it is."""
    try:
        if not path.is_file():
            return "is not a file" if path.exists() else "is missing"
        actual = path.stat().st_size
    except OSError as error:
        return f"cannot be read ({error.strerror or error})"
    return None if size in (None, actual) else f"has {actual} bytes instead of {size}"


def checksum_fault(actual: str, expected: str | None, kind: str = "sha256") -> str:
    """The words for a wrong checksum, the same everywhere."""
    return f"has {kind} {actual} instead of {expected}"
