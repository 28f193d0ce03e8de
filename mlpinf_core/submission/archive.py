"""The files of a tree in one compressed archive, with their checksums."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import tarfile
import zlib
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

import attrs

from mlpinf_core.errors import IntegrityError, PrerequisiteError
from mlpinf_core.submission import encryption

if TYPE_CHECKING:
    from collections.abc import Iterator

_CHUNK: Final = 1 << 20
_LEVEL: Final = 6


@attrs.frozen
class Member:
    """One file of an archive.

    Attributes:
        path: relative to the tree.
        size: bytes.
        sha1: lower-case hex.
        sha256: lower-case hex.
    """

    path: str
    size: int
    sha1: str
    sha256: str

    def __str__(self) -> str:
        """Its line in the manifest."""
        return f"{self.sha1} {self.sha256} {self.size} {self.path}"

    @classmethod
    def parse(cls, line: str) -> Member:
        """The inverse of ``str``.

        Raises:
            ValueError: it is no such line.
        """
        sha1, sha256, size, path = line.split(" ", 3)
        return cls(path, int(size), sha1, sha256)


def is_plain(name: str) -> bool:
    """Whether a path is one line of UTF-8, as the manifest writes it."""
    try:
        name.encode()
    except UnicodeEncodeError:  # Python reads what is not UTF-8 as lone surrogates
        return False
    return name.splitlines() == [name]


def write(tree: Path, target: Path, password: str | None) -> list[Member]:
    """Put a tree into a new archive; one tree always gives the same bytes before encryption.

    Raises:
        PrerequisiteError: there is something else than files and folders in it, or no OpenSSL.
        OSError: it cannot be read, or the archive cannot be written.
    """
    members = []
    with encryption.sink(target, password) as sink, _compressed(sink) as tar:
        for path in sorted(tree.rglob("*")):
            name = path.relative_to(tree).as_posix()
            if path.is_symlink() or not (path.is_dir() or path.is_file()):
                raise PrerequisiteError(
                    "it is neither a file nor a folder", where=str(path), remedy="remove it"
                )
            info = _plain(tar.gettarinfo(path, arcname=name))
            if path.is_dir():
                tar.addfile(info)
                continue
            with path.open("rb") as file:
                reader = _Hashing(file)
                tar.addfile(info, reader)
            members.append(reader.member(name))
    return members


@contextlib.contextmanager
def _compressed(sink: IO[bytes]) -> Iterator[tarfile.TarFile]:
    """A tar stream through gzip, with no time or name in its header."""
    with (
        gzip.GzipFile(filename="", fileobj=sink, mode="wb", compresslevel=_LEVEL, mtime=0) as gz,
        # Dereferenced, so that a second name of a file is packed as a file and not as a link to it.
        tarfile.open(fileobj=gz, mode="w|", format=tarfile.PAX_FORMAT, dereference=True) as tar,
    ):
        yield tar


def _plain(info: tarfile.TarInfo) -> tarfile.TarInfo:
    """Without what depends on who packs, so that one tree gives one archive."""
    info.uid = info.gid = 0
    info.uname = info.gname = ""
    info.mode = 0o755 if info.isdir() else 0o644
    info.mtime = 0
    return info


class _Hashing:
    """Reads a file, and knows its checksums in the end."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._sha1, self._sha256 = hashlib.sha1(usedforsecurity=False), hashlib.sha256()
        self._size = 0

    def read(self, size: int = -1) -> bytes:
        chunk = self._file.read(size)
        self._sha1.update(chunk)
        self._sha256.update(chunk)
        self._size += len(chunk)
        return chunk

    def member(self, name: str) -> Member:
        return Member(name, self._size, self._sha1.hexdigest(), self._sha256.hexdigest())


def digests(path: Path) -> tuple[str, str]:
    """SHA-1 and SHA-256 of a file, in lower-case hex."""
    with path.open("rb") as file:
        reader = _Hashing(file)
        while reader.read(_CHUNK):
            pass
    member = reader.member(path.name)
    return member.sha1, member.sha256


def read(archive: Path, password: str | None, into: Path | None) -> list[Member]:
    """The files of an archive, unpacked to a folder where one is given.

    Raises:
        IntegrityError: the password is wrong, or the archive is damaged.
        OSError: it cannot be read, or the folder cannot be written.
    """
    found = []
    try:
        with (
            encryption.source(archive, password) as stream,
            tarfile.open(fileobj=stream, mode="r|gz") as tar,
        ):
            for info in tar:
                if info.isdir():
                    continue
                if not info.isfile() or not _is_inside(info.name):
                    raise IntegrityError(
                        f"{info.name!r:.80} is no file of a tree", where=str(archive)
                    )
                file = tar.extractfile(info)
                if file is None:
                    continue
                found.append(_take(_Hashing(file), info.name, into))
    except (tarfile.TarError, EOFError, zlib.error, UnicodeDecodeError) as error:
        what = "the password is wrong, or the archive is damaged"
        if password is None:
            what = "the archive is damaged"
            if encryption.is_encrypted(archive):
                what = "the archive is encrypted, and no password was given"
        raise IntegrityError(
            what, where=str(archive), remedy="nothing was unpacked; try again"
        ) from error
    return found


def _take(reader: _Hashing, name: str, into: Path | None) -> Member:
    if into is None:
        while reader.read(_CHUNK):
            pass
    else:
        path = into / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as target:
            while chunk := reader.read(_CHUNK):
                target.write(chunk)
    return reader.member(name)


def _is_inside(name: str) -> bool:
    path = Path(name)
    return not path.is_absolute() and ".." not in path.parts
