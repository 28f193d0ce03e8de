"""A tree as one archive: tar.gz, checksums, encryption, and the proof that it can be unpacked.

Source: the submission rules: a tarball, encrypted by OpenSSL with AES-256 under a password, and its
SHA-1. A key is derived with PBKDF2, which OpenSSL has to be told of on unpacking::

    openssl enc -d -aes256 -pbkdf2 -in ARCHIVE | tar -xz
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import subprocess
import tarfile
import tempfile
import threading
import zlib
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

import attrs

from mlpinf_core.errors import IntegrityError, PrerequisiteError
from mlpinf_core.hashing import sync_folder, write_atomically

if TYPE_CHECKING:
    from collections.abc import Iterator

_CIPHER: Final = ("-aes256", "-pbkdf2")
_SALTED: Final = b"Salted__"
"""What OpenSSL's encrypted files begin with."""
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


@attrs.frozen
class Packed:
    """An archive and the files beside it.

    Attributes:
        archive: the file itself.
        encrypted: whether it needs a password.
        sha1: of the archive, lower-case hex.
        sha256: of the archive, lower-case hex.
        members: its files, sorted by path.
    """

    archive: Path
    encrypted: bool
    sha1: str
    sha256: str
    members: tuple[Member, ...]


def pack(
    tree: Path, archive: Path, *, password: str | None = None, replace: bool = False
) -> Packed:
    """Pack a tree, and unpack it once more to see that nothing is lost.

    Beside the archive appear ``ARCHIVE.sha1``, ``ARCHIVE.sha256`` and ``ARCHIVE.manifest``.

    Args:
        tree: the folder that holds the divisions.
        archive: the file to make; what was there stays until the new one is verified.
        password: encrypt it; None leaves it readable.
        replace: let an archive that is there give way.

    Raises:
        PrerequisiteError: the tree or the archive cannot be read or written, or there is no
            OpenSSL.
        IntegrityError: what was written cannot be unpacked to what was packed.
    """
    if not tree.is_dir():
        raise PrerequisiteError("there is no such folder", where=str(tree))
    if archive.exists() and not replace:
        raise PrerequisiteError(
            "there is such an archive already",
            where=str(archive),
            remedy="choose another name, or let it give way with --replace",
        )
    if archive.resolve().is_relative_to(tree.resolve()):
        raise PrerequisiteError(
            "the archive would be part of the tree", where=str(archive), remedy="name another place"
        )
    temporary = archive.with_name(f".{archive.name}.{os.getpid()}.tmp")
    try:
        archive.parent.mkdir(parents=True, exist_ok=True)
        members = _write(tree, temporary, password)
        _compare(_read(temporary, password, None), members, str(temporary))
        digests = _digests(temporary)
        packed = Packed(archive, password is not None, *digests, tuple(members))
        temporary.replace(archive)
        _write_beside(packed)
        sync_folder(archive.parent)
    except OSError as error:
        raise PrerequisiteError(
            f"the archive cannot be written: {error.strerror or error}",
            where=str(error.filename or archive),
            remedy="make room, or choose another place; the tree is as it was",
        ) from error
    finally:
        temporary.unlink(missing_ok=True)
    return packed


def verify(archive: Path, *, password: str | None = None, into: Path | None = None) -> Packed:
    """Unpack an archive, and compare every file with the manifest beside it.

    Args:
        archive: that :func:`pack` made.
        password: of an encrypted one.
        into: keep what is unpacked in this new folder; None keeps nothing.

    Raises:
        PrerequisiteError: there is no such archive, or no OpenSSL; or the folder is there already.
        IntegrityError: the password is wrong, or the archive or a file in it is not what it was.
            Nothing is kept.
    """
    if not archive.is_file():
        raise PrerequisiteError("there is no such archive", where=str(archive))
    if into is not None and into.exists():
        raise PrerequisiteError(
            "there is such a folder already", where=str(into), remedy="name a new one"
        )
    try:
        sha1, sha256 = _digests(archive)
        for kind, right in (("sha1", sha1), ("sha256", sha256)):
            _check_beside(archive, kind, right)
        members = _manifest(archive)
        target = None if into is None else _beside(into)
        try:
            _compare(_read(archive, password, target), members, str(archive))
            if target is not None and into is not None:
                target.rename(into)
        finally:
            if target is not None:
                shutil.rmtree(target, ignore_errors=True)
    except OSError as error:
        raise PrerequisiteError(
            f"the archive cannot be unpacked: {error.strerror or error}",
            where=str(error.filename or archive),
            remedy="make room; the archive is as it was",
        ) from error
    return Packed(archive, is_encrypted(archive), sha1, sha256, tuple(members))


# -- writing -------------------------------------------------------------------------------------


def _write(tree: Path, target: Path, password: str | None) -> list[Member]:
    members = []
    with _sink(target, password) as sink, _compressed(sink) as tar:
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
    import gzip

    with (
        gzip.GzipFile(filename="", fileobj=sink, mode="wb", compresslevel=_LEVEL, mtime=0) as gz,
        tarfile.open(fileobj=gz, mode="w|", format=tarfile.PAX_FORMAT) as tar,
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


@contextlib.contextmanager
def _sink(target: Path, password: str | None) -> Iterator[IO[bytes]]:
    """Where compressed bytes go: the file itself, or OpenSSL and then the file."""
    with target.open("wb") as file:
        if password is None:
            yield file
        else:
            with _openssl(("-e", "-salt"), password, stdin=subprocess.PIPE, stdout=file) as child:
                assert child.stdin is not None  # noqa: S101 - for the type checker
                try:
                    yield child.stdin
                    child.stdin.close()
                except BrokenPipeError:
                    pass  # OpenSSL says below why it went
                if child.wait() != 0:
                    raise OSError(f"OpenSSL: {_said(child)}")
        file.flush()
        os.fsync(file.fileno())


def _write_beside(packed: Packed) -> None:
    archive = packed.archive
    for kind, digest in (("sha1", packed.sha1), ("sha256", packed.sha256)):
        line = f"{digest}  {archive.name}\n"
        write_atomically(archive.with_name(f"{archive.name}.{kind}"), line.encode())
    lines = "".join(f"{member}\n" for member in packed.members)
    write_atomically(archive.with_name(f"{archive.name}.manifest"), lines.encode())


# -- reading -------------------------------------------------------------------------------------


def _read(archive: Path, password: str | None, into: Path | None) -> list[Member]:
    """The files of an archive, unpacked to a folder where one is given."""
    found = []
    try:
        with _stream(archive, password) as stream, tarfile.open(fileobj=stream, mode="r|gz") as tar:
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
            if is_encrypted(archive):
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


@contextlib.contextmanager
def _stream(archive: Path, password: str | None) -> Iterator[IO[bytes]]:
    """The compressed bytes: the file's own, or what OpenSSL makes of them."""
    with archive.open("rb") as file:
        if password is None:
            yield file
            return
        with _openssl(("-d",), password, stdin=file, stdout=subprocess.PIPE) as child:
            assert child.stdout is not None  # noqa: S101 - for the type checker
            yield child.stdout
            while child.stdout.read(_CHUNK):
                pass
            if child.wait() != 0:
                raise tarfile.ReadError(_said(child))


def _compare(found: list[Member], wanted: list[Member], where: str) -> None:
    """That what was unpacked is what was packed."""
    there, named = {m.path: m for m in found}, {m.path: m for m in wanted}
    for path in (*named, *there):
        if there.get(path) == named.get(path):
            continue
        what = "is missing" if path not in there else "is not what was packed"
        if path not in named:
            what = "is not in the manifest"
        raise IntegrityError(
            f"{path} in the archive {what}", where=where, remedy="pack the tree again"
        )


def _manifest(archive: Path) -> list[Member]:
    path = archive.with_name(f"{archive.name}.manifest")
    try:
        return [Member.parse(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except FileNotFoundError:
        raise PrerequisiteError(
            "there is no manifest", where=str(path), remedy="put it beside the archive"
        ) from None
    except ValueError:
        raise IntegrityError(
            "the manifest is damaged", where=str(path), remedy="pack the tree again"
        ) from None


def _check_beside(archive: Path, kind: str, right: str) -> None:
    path = archive.with_name(f"{archive.name}.{kind}")
    try:
        said = path.read_text(encoding="utf-8").split()
    except (FileNotFoundError, UnicodeDecodeError):
        said = []
    if not said or said[0] != right:
        what = f"its {kind.upper()} is {right}, and the file says {said[0]!r:.80}" if said else ""
        raise IntegrityError(
            f"the archive is not what was packed: {what}"
            if what
            else f"there is no {kind.upper()}",
            where=str(path if not said else archive),
            remedy="fetch it again, or pack the tree again",
        )


def is_encrypted(archive: Path) -> bool:
    """Whether an archive needs a password; one that is not there does not."""
    if not archive.is_file():
        return False
    with archive.open("rb") as file:
        return file.read(len(_SALTED)) == _SALTED


def _digests(path: Path) -> tuple[str, str]:
    with path.open("rb") as file:
        reader = _Hashing(file)
        while reader.read(_CHUNK):
            pass
    member = reader.member(path.name)
    return member.sha1, member.sha256


def _beside(folder: Path) -> Path:
    folder.parent.mkdir(parents=True, exist_ok=True)
    return Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".tmp", dir=folder.parent))


# -- OpenSSL -------------------------------------------------------------------------------------


@contextlib.contextmanager
def _openssl(
    arguments: tuple[str, ...], password: str, *, stdin: IO[bytes] | int, stdout: IO[bytes] | int
) -> Iterator[subprocess.Popen[bytes]]:
    """OpenSSL at work; it reads the password from a pipe, so that nobody sees it in a list."""
    reading, writing = os.pipe()
    try:
        child = subprocess.Popen(
            ["openssl", "enc", *_CIPHER, *arguments, "-pass", f"fd:{reading}"],
            stdin=stdin,
            stdout=stdout,
            stderr=subprocess.PIPE,
            pass_fds=(reading,),
        )
    except FileNotFoundError:
        os.close(writing)
        raise PrerequisiteError(
            "encryption needs OpenSSL, which is not installed", remedy="install openssl"
        ) from None
    finally:
        os.close(reading)
    thread = threading.Thread(target=_tell, args=(writing, password), daemon=True)
    thread.start()
    try:
        yield child
    finally:
        for pipe in (child.stdin, child.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        if child.poll() is None:
            child.terminate()
        child.wait()
        if child.stderr is not None:
            child.stderr.close()
        thread.join()


def _tell(descriptor: int, password: str) -> None:
    with contextlib.suppress(BrokenPipeError), os.fdopen(descriptor, "wb") as pipe:
        pipe.write(f"{password}\n".encode())


def _said(child: subprocess.Popen[bytes]) -> str:
    """What OpenSSL had to complain about, in one line."""
    text = child.stderr.read().decode(errors="replace") if child.stderr is not None else ""
    return text.strip().partition("\n")[0] or f"exit code {child.returncode}"
