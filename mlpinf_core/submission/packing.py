"""A tree as one archive: tar.gz, checksums, encryption, and the proof that it can be unpacked.

Source: the submission rules: a tarball, encrypted by OpenSSL with AES-256 under a password, and its
SHA-1. A SHA-256 and a manifest of every file lie beside it as well.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from pathlib import Path

import attrs

from mlpinf_core.errors import IntegrityError, PrerequisiteError
from mlpinf_core.hashing import sync_folder
from mlpinf_core.submission.archive import Member, digests, is_plain, read, write
from mlpinf_core.submission.encryption import check_password, is_encrypted


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
        PrerequisiteError: the tree or the archive cannot be read or written, a name is not one line
            of UTF-8, or there is no OpenSSL.
        ConfigurationError: OpenSSL would not take the whole password.
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
    check_password(password)
    _check_names(tree)
    temporary = archive.with_name(f".{archive.name}.{os.getpid()}.tmp")
    made = [temporary]
    try:
        archive.parent.mkdir(parents=True, exist_ok=True)
        members = write(tree, temporary, password)
        _compare(read(temporary, password, None), members, str(temporary))
        packed = Packed(archive, password is not None, *digests(temporary), tuple(members))
        for name, text in _beside(packed).items():
            made.append(temporary.with_name(f".{name}.{os.getpid()}.tmp"))
            made[-1].write_text(text, encoding="utf-8")
        # Everything is on disk: from here on, names change and nothing is written.
        for file, name in zip(made, (archive.name, *_beside(packed)), strict=True):
            file.replace(archive.with_name(name))
        sync_folder(archive.parent)
    except OSError as error:
        raise PrerequisiteError(
            f"the archive cannot be written: {error.strerror or error}",
            where=str(error.filename or archive),
            remedy="make room, or choose another place; the tree is as it was",
        ) from error
    finally:
        for file in made:
            with contextlib.suppress(OSError):  # what could not be made need not be removed
                file.unlink()
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
        sha1, sha256 = digests(archive)
        for kind, right in (("sha1", sha1), ("sha256", sha256)):
            _check_beside(archive, kind, right)
        members = _manifest(archive)
        target = None if into is None else _new_folder(into)
        try:
            _compare(read(archive, password, target), members, str(archive))
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


def _check_names(tree: Path) -> None:
    """That every name fits on a line of the manifest."""
    for path in tree.rglob("*"):
        name = path.relative_to(tree).as_posix()
        if not is_plain(name):
            raise PrerequisiteError(
                f"the name {name!a} is not one line of UTF-8, which the manifest needs",
                where=ascii(str(tree)),
                remedy="give it another name",
            )


def _beside(packed: Packed) -> dict[str, str]:
    """The files that go with an archive: name to text."""
    name = packed.archive.name
    return {
        f"{name}.sha1": f"{packed.sha1}  {name}\n",
        f"{name}.sha256": f"{packed.sha256}  {name}\n",
        f"{name}.manifest": "".join(f"{member}\n" for member in packed.members),
    }


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


def _new_folder(folder: Path) -> Path:
    """An empty folder beside one that is to appear whole."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    return Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".tmp", dir=folder.parent))
