"""Cutting accuracy logs to what the repository takes, the whole ones kept elsewhere.

Source: the submission rules: the log's SHA-256 is appended to ``accuracy.txt`` as ``hash=…``, and a
log of more than 4 KiB becomes its first and its last 4 KiB.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import attrs

from mlpinf_core.errors import IntegrityError, PrerequisiteError
from mlpinf_core.hashing import copy_atomically, sha256_of, sync_folder, write_atomically
from mlpinf_core.submission.layout import ACCURACY_LOG, ACCURACY_TEXT

if TYPE_CHECKING:
    from pathlib import Path

    from mlpinf_core.rules.submission import SubmissionRules

_GAP: Final = b"\n\n...\n\n"
_HASH: Final = re.compile(r"^hash=.*\n?", re.MULTILINE)


@attrs.frozen
class Cut:
    """One accuracy log that was cut.

    Attributes:
        path: relative to the tree.
        size: bytes that it had.
        sha256: of the whole log.
    """

    path: str
    size: int
    sha256: str


def is_cut(path: Path) -> bool:
    """Whether a log was cut: it has the gap that LoadGen does not write.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        return _GAP in file.read(16 * 1024)


def truncate(tree: Path, backup: Path, rules: SubmissionRules) -> list[Cut]:
    """Cut every accuracy log of a tree that is not cut yet.

    The whole log is copied to ``backup`` first, under the same path; then its checksum is written
    to ``accuracy.txt``; then the log is cut. Interrupted anywhere, it goes on where it stopped.

    Args:
        tree: the folder that holds the divisions.
        backup: where whole logs are kept; outside the tree.
        rules: of the round.

    Raises:
        PrerequisiteError: there is no tree, the backup is inside it, or cannot be written; no log
            was cut whose whole copy is not there.
        IntegrityError: there is another log under its name in the backup.
    """
    if backup.resolve().is_relative_to(tree.resolve()):
        raise PrerequisiteError(
            "the whole logs would be part of the submission",
            where=str(backup),
            remedy="name a folder outside the tree",
        )
    if tree.is_dir() and not any((tree / division).is_dir() for division in rules.divisions):
        raise PrerequisiteError(
            f"this is no tree: it has none of the divisions {', '.join(rules.divisions)}",
            where=str(tree),
            remedy="name the folder that was given to `mlpinf submit stage --output`",
        )
    done = []
    for division in rules.divisions:
        for path in sorted((tree / division).rglob(ACCURACY_LOG)):
            if path.parent.name == "accuracy" and _is_to_be_cut(path, rules):
                cut = _cut(path, tree, backup, rules)
                done += [cut] if cut is not None else []
    return done


def _is_to_be_cut(path: Path, rules: SubmissionRules) -> bool:
    """Whether a log is one of those that are cut, and has not been yet."""
    owner = path.parent.parent.name
    of_test = owner in rules.audits
    return (not of_test or owner in rules.truncated_audits) and not is_cut(path)


def _cut(path: Path, tree: Path, backup: Path, rules: SubmissionRules) -> Cut | None:
    name = path.relative_to(tree).as_posix()
    size, digest, text = path.stat().st_size, sha256_of(path), path.with_name(ACCURACY_TEXT)
    of_test = path.parent.parent.name in rules.audits
    if not text.is_file() and not of_test:
        raise PrerequisiteError(
            "there is no accuracy.txt, which takes the log's checksum",
            where=str(text),
            remedy="stage the run again",
        )
    # A compliance test whose comparison passed has no scores, and its checksum alone in the file.
    said = text.read_text(encoding="utf-8") if text.is_file() else ""
    if f"hash={digest}" in said and size <= rules.accuracy_log_end_bytes:
        return None  # it is small enough to stay whole
    try:
        _keep(path, backup / name, digest)
        scores = _HASH.sub("", said).rstrip("\n")
        wanted = f"{scores}\nhash={digest}\n" if scores else f"hash={digest}\n"
        if wanted != said:
            write_atomically(text, wanted.encode())
        if size > rules.accuracy_log_end_bytes:
            write_atomically(path, _ends(path, size, rules.accuracy_log_end_bytes))
    except OSError as error:
        raise PrerequisiteError(
            f"an accuracy log cannot be cut: {error.strerror or error}",
            where=str(error.filename or path),
            remedy="make room, and do it again; the whole log is where it was",
        ) from error
    return Cut(name, size, digest)


def _keep(path: Path, copy: Path, digest: str) -> None:
    """Copy a log, so that it is on disk before the original is cut."""
    if copy.exists():
        if sha256_of(copy) != digest:
            raise IntegrityError(
                "there is another log under its name",
                where=str(copy),
                remedy="name another folder with --backup; nothing was overwritten",
            )
        return
    copy.parent.mkdir(parents=True, exist_ok=True)
    copy_atomically(path, copy)
    sync_folder(copy.parent)


def _ends(path: Path, size: int, length: int) -> bytes:
    with path.open("rb") as file:
        begin = file.read(length)
        file.seek(max(size - length, length))
        return begin + _GAP + file.read(length)
