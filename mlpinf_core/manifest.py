"""The manifest of a folder: what it was made from, what it holds, how two of them differ."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import attrs

from mlpinf_core.hashing import (
    JSON,
    HashMemory,
    canonical,
    checksum_fault,
    digest,
    plain,
    size_fault,
)

FORMAT = 1
FILE_NAME = "manifest.json"
HASHES_NAME = ".hashes.json"


@attrs.frozen
class FileRecord:
    """One file of a folder.

    Attributes:
        path: relative to the folder, with forward slashes.
        size: bytes.
        sha256: lower-case hex.
    """

    path: str
    size: int
    sha256: str


@attrs.frozen
class Manifest:
    """What an artifact, or a fetched folder, was made from and what it holds.

    Attributes:
        name: its name, which other versions of it share.
        key: sha256 of the inputs' canonical JSON.
        inputs: everything that decides what comes out: sources, settings, versions of the tools.
        files: every file, sorted by path.
        created: when it was finished, ISO 8601 in UTC.
    """

    name: str
    key: str
    inputs: Mapping[str, JSON]
    files: tuple[FileRecord, ...]
    created: str

    @classmethod
    def of(cls, folder: Path, name: str, inputs: Mapping[str, JSON]) -> Manifest:
        """Describe what lies in a folder; hashes every file and remembers the hashes there.

        Raises:
            ValueError: the folder is empty, or holds something that is not a plain file.
            OSError: a file cannot be read.
        """
        files = []
        for path in sorted(folder.rglob("*")):
            inside = path.relative_to(folder).as_posix()
            if path.is_symlink() or not (path.is_file() or path.is_dir()):
                # What a link points to can change without the artifact changing.
                raise ValueError(f"{inside} is neither a plain file nor a directory")
            if inside in (FILE_NAME, HASHES_NAME):
                raise ValueError(f"the name {inside} belongs to the artifact store")
            if path.is_file():
                files.append(path)
        if not files:
            raise ValueError("it holds no file")
        hashes = HashMemory(folder / HASHES_NAME).sha256_all(files)
        records = (
            FileRecord(path.relative_to(folder).as_posix(), path.stat().st_size, hashes[path])
            for path in files
        )
        return cls.now(name, inputs, records)

    @classmethod
    def now(cls, name: str, inputs: Mapping[str, JSON], files: Iterable[FileRecord]) -> Manifest:
        """The manifest of what is finished now, and consists of these files."""
        import datetime

        created = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        return cls(name, digest(inputs), plain(inputs), tuple(files), created)

    @classmethod
    def read(cls, folder: Path, file_name: str = FILE_NAME) -> Manifest:
        """The manifest in a folder.

        Args:
            folder: what the manifest describes.
            file_name: what the manifest is called there.

        Raises:
            OSError: there is none, or it cannot be read.
            ValueError: it is no manifest, or not one of its own inputs.
        """
        try:
            raw = json.loads((folder / file_name).read_bytes())
            if raw["format"] != FORMAT:
                raise ValueError(
                    f"its format is {raw['format']!r}, and this version reads {FORMAT}"
                )
            files = tuple(
                FileRecord(str(f["path"]), int(f["size"]), str(f["sha256"])) for f in raw["files"]
            )
            inputs = dict(raw["inputs"].items())
            found = cls(str(raw["name"]), str(raw["key"]), inputs, files, str(raw["created"]))
            inputs_key = digest(found.inputs)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"it is malformed ({type(error).__name__}: {error})") from error
        if inputs_key != found.key:
            raise ValueError("its inputs do not belong to its key")
        for record in files:
            inside = PurePosixPath(record.path)
            if inside.is_absolute() or ".." in inside.parts:
                raise ValueError(f"it names a file outside the folder: {record.path}")
        return found

    def fault(self, folder: Path, *, anew: bool = False) -> str | None:
        """Which file of a folder is not as it is listed here, and how; None when all are.

        Sizes are looked at first. A hash is remembered in the folder while its file stays as it
        is. Files that are not listed are let be.

        Args:
            folder: what the manifest describes.
            anew: read and hash every file, whatever is remembered of it.
        """
        files = {folder / record.path: record for record in self.files}
        for path, record in files.items():
            fault = size_fault(path, record.size)
            if fault:
                return f"{record.path} {fault}"
        try:
            actual = HashMemory(folder / HASHES_NAME).sha256_all(files, anew=anew)
        except OSError as error:
            return f"{error.filename} cannot be read ({error.strerror})"
        for path, record in files.items():
            if actual[path] != record.sha256:
                return f"{record.path} {checksum_fault(actual[path], record.sha256)}"
        return None

    def to_json(self) -> bytes:
        """The manifest as it lies on disk, for people and for :meth:`read`."""
        raw = {"format": FORMAT, **attrs.asdict(self)}
        raw["inputs"] = plain(self.inputs)
        return (json.dumps(raw, indent=2) + "\n").encode()


def differences(old: Mapping[str, JSON], new: Mapping[str, JSON]) -> tuple[str, ...]:
    """What changed between two sets of inputs, one phrase a value.

    >>> differences({"quantization": "int8"}, {"quantization": "int8_float32"})
    ('quantization changed from int8 to int8_float32',)
    """
    before, after = _leaves(plain(old)), _leaves(plain(new))
    phrases = []
    for path in (*before, *(p for p in after if p not in before)):
        if path not in after:
            phrases.append(f"{path} is gone (was {_show(before[path])})")
        elif path not in before:
            phrases.append(f"{path} is new ({_show(after[path])})")
        # In Python 1 == 1.0 == True; in a key they are three values.
        elif canonical(before[path]) != canonical(after[path]):
            phrases.append(f"{path} changed from {_show(before[path])} to {_show(after[path])}")
    return tuple(phrases)


def summary(phrases: tuple[str, ...], most: int = 3) -> str:
    """A few of the phrases in one line, and how many more there are."""
    more = len(phrases) - most
    return "; ".join(phrases[:most]) + (f"; and {more} more" if more > 0 else "")


def _leaves(value: Any, path: str = "") -> dict[str, Any]:
    """Every value that is not itself a table, by dotted path."""
    if not isinstance(value, dict) or (path and not value):
        return {path: value}
    found: dict[str, Any] = {}
    for key, item in value.items():
        found |= _leaves(item, f"{path}.{key}" if path else key)
    return found


def _show(value: Any) -> str:
    text = value if isinstance(value, str) and value else json.dumps(value)
    return text if len(text) <= 40 else text[:36] + " ..."
