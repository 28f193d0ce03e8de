"""Clips and transcripts of LibriSpeech, as they lie in its archives and folders."""

from __future__ import annotations

import gzip
import re
import shutil
import tarfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs

from mlpinf_core.errors import IntegrityError, PrerequisiteError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

PARTS: Final = ("dev-clean", "dev-other")
"""The parts of LibriSpeech that the benchmark is made of."""

ROOT: Final = "LibriSpeech"
"""The folder that the archives hold the parts in."""

_TRANSCRIPT: Final = ".trans.txt"
_AUDIO: Final = (".flac", ".wav")
_MEMBER: Final = re.compile(
    rf"(?:\./)?({ROOT}/(?:{'|'.join(PARTS)})/\w+/\w+/[\w-]+(?:\.flac|\.trans\.txt))"
)
_REPORT_EVERY: Final = 100
_BLOCK: Final = 1 << 20
_AGAIN: Final = "unpack LibriSpeech's archives again"


@attrs.frozen
class Utterance:
    """One clip with what is said in it.

    Attributes:
        name: ``<speaker>-<chapter>-<number>``.
        path: the audio file.
        transcript: its words, in lower case.
    """

    name: str
    path: Path
    transcript: str

    @property
    def chapter(self) -> str:
        """``<speaker>-<chapter>``: what is packed together."""
        return "-".join(self.name.split("-")[:2])


def find_parts(folder: Path) -> list[Path]:
    """Where an unpacked LibriSpeech lies below a folder; empty where there is none.

    The folder is ``LibriSpeech``, or what holds it, or a folder of speakers: several parts merged.

    Raises:
        PrerequisiteError: only one of the two parts is there.
    """
    for base in (folder, folder / ROOT):
        there = [base / part for part in PARTS if (base / part).is_dir()]
        if len(there) == len(PARTS):
            return there
        if there:
            lacking = next(base / part for part in PARTS if base / part not in there)
            raise PrerequisiteError(
                f"LibriSpeech's {lacking.name} is missing beside {there[0].name}",
                where=str(lacking),
                remedy="unpack both parts into the same folder",
            )
    return [folder] if any(folder.glob(f"*/*/*{_TRANSCRIPT}")) else []


def scan(parts: Iterable[Path]) -> list[Utterance]:
    """Every clip of some folders ``<speaker>/<chapter>/``, sorted by speaker, chapter and name.

    Names sort as text, so that the order is nobody's but theirs: not the file system's.

    Raises:
        IntegrityError: a folder without any clip, a transcript without audio, audio without a
            transcript, a line that is no transcript, or a clip that is there twice; names the file.
        PrerequisiteError: a transcript file cannot be read.
    """
    found: dict[str, Utterance] = {}
    for part in parts:
        chapters = sorted({path.parent for path in part.rglob("*") if _belongs(path)})
        if not chapters:
            raise _refusal(part, f"LibriSpeech's folder {part.name} holds no clips", _AGAIN)
        for folder in chapters:
            for utterance in _chapter(folder):
                if other := found.get(utterance.name):
                    fault = f"the clip {utterance.name} is there twice, also as {other.path}"
                    raise _refusal(utterance.path, fault, "remove one of the two")
                found[utterance.name] = utterance
    return sorted(found.values(), key=lambda one: one.name)


def extract(
    archive: Path, directory: Path, progress: Callable[[int, int], object] | None = None
) -> None:
    """Unpack an archive's clips and transcripts, as ``LibriSpeech/<part>/...``, and nothing else.

    Only plain files with LibriSpeech's own names are written, so that no archive can write
    elsewhere.

    Args:
        archive: a ``.tar.gz``.
        directory: where to.
        progress: told how many bytes of the archive are read, and of how many.

    Raises:
        IntegrityError: it is damaged, or holds no such file.
        OSError: it cannot be read, or the files cannot be written.
    """
    size = archive.stat().st_size
    written = 0
    try:
        with (
            archive.open("rb") as raw,
            gzip.open(raw) as plain,
            tarfile.open(fileobj=plain, mode="r|") as tar,
        ):
            for member in tar:
                match = _MEMBER.fullmatch(member.name)
                content = tar.extractfile(member) if match and member.isfile() else None
                if match and content:
                    path = directory / match[1]
                    path.parent.mkdir(parents=True, exist_ok=True)
                    with path.open("wb") as file:
                        shutil.copyfileobj(content, file)
                    written += 1
                    if progress and written % _REPORT_EVERY == 0:
                        progress(raw.tell(), size)
            while plain.read(_BLOCK):  # tarfile stops early, before the checksum and at some cuts
                pass
    except (tarfile.TarError, zlib.error, gzip.BadGzipFile, EOFError) as error:
        raise _refusal(archive, f"{archive.name} is damaged: {error}", "fetch it again") from error
    if not written:
        fault = f"{archive.name} holds none of LibriSpeech's files"
        raise _refusal(archive, fault, "fetch it again")


def _belongs(path: Path) -> bool:
    return path.name.endswith((_TRANSCRIPT, *_AUDIO))


def _chapter(folder: Path) -> Iterator[Utterance]:
    """The clips of one chapter's folder: audio and transcripts must fit, one to one."""
    audio: dict[str, Path] = {}
    for suffix in _AUDIO:
        for path in sorted(folder.glob(f"*{suffix}")):
            audio.setdefault(path.stem, path)
    said: dict[str, tuple[str, Path]] = {}
    for file in sorted(folder.glob(f"*{_TRANSCRIPT}")):
        said |= {name: (text, file) for name, text in _transcripts(file).items()}
    for name, path in sorted(audio.items()):
        if name not in said:
            raise _refusal(path, f"the clip {path.name} has no transcript", _AGAIN)
    for name, (text, file) in sorted(said.items()):
        if name not in audio:
            lacking = f"{name}{_AUDIO[0]}"
            raise _refusal(file, f"the clip {lacking} is missing; its transcript is there", _AGAIN)
        yield Utterance(name, audio[name], text)


def _transcripts(file: Path) -> Mapping[str, str]:
    """Names and texts of ``<speaker>-<chapter>.trans.txt``, one clip a line."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise PrerequisiteError(
            f"the transcripts {file.name} cannot be read ({error.strerror or error})",
            where=str(file),
            remedy="put a file there that this user may read",
        ) from error
    except UnicodeDecodeError as error:
        raise _refusal(file, f"{file.name} is not text in UTF-8 ({error})", _AGAIN) from error
    chapter = file.name.removesuffix(_TRANSCRIPT)
    found: dict[str, str] = {}
    for number, line in enumerate(lines, start=1):
        name, _, text = line.partition(" ")
        fault = None
        if not re.fullmatch(rf"{re.escape(chapter)}-\w+", name):
            fault = f"does not begin with the name of a clip of {chapter}"
        elif not text.strip():
            fault = f"has no words for {name}"
        elif name in found:
            fault = f"has a second transcript of {name}"
        if fault:
            raise _refusal(file, f"line {number} of {file.name} {fault}", _AGAIN)
        found[name] = text.strip().lower()
    return found


def _refusal(path: Path, fault: str, remedy: str) -> IntegrityError:
    return IntegrityError(fault, where=str(path), remedy=remedy)
