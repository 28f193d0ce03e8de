"""The list of samples in the format of the reference, ``dev-all-repack.json``.

The official accuracy script reads it. File names in ours are relative to the manifest's folder, so
that a data set can be moved; a folder prepared by the reference, whose names begin with the path
that it had in a container, is read all the same.
"""

from __future__ import annotations

import json
import os
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Final

import attrs

from mlpinf_core.config.scalars import StructureError
from mlpinf_core.config.structure import structure
from mlpinf_core.errors import IntegrityError, PrerequisiteError
from mlpinf_whisper.clips import SAMPLE_RATE

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

NAME: Final = "dev-all-repack.json"
FOLDER: Final = "dev-all-repack"
"""The folder beside the manifest that the samples lie in."""

_REMEDY: Final = "prepare the data set again, or set benchmark.data_path to a folder that holds one"


@attrs.frozen
class Entry:
    """One sample.

    Attributes:
        transcript: what is said in it.
        path: its WAV.
        samples: its length, at 16 kHz.
    """

    transcript: str
    path: Path
    samples: int


@attrs.frozen
class Manifest:
    """A data set: its samples in LoadGen's order.

    Attributes:
        path: the manifest file.
        entries: the samples.
    """

    path: Path
    entries: tuple[Entry, ...]

    def __len__(self) -> int:
        """The number of samples."""
        return len(self.entries)

    @classmethod
    def read(cls, path: Path) -> Manifest:
        """Read a manifest. Whether the files are there and sound is not looked at.

        Raises:
            PrerequisiteError: there is no such file, or it cannot be read.
            IntegrityError: it is not in the format of the reference; says where and how.
        """
        raw = _parsed(path)
        try:
            samples: tuple[_Sample, ...] = structure(raw, tuple[_Sample, ...])
        except StructureError as error:
            first = error.problems[0]
            more = f"; and {len(error.problems) - 1} more" if error.problems[1:] else ""
            raise _refusal(path, f"{_key(first.path)}: {first.what}{more}") from error
        if not samples:
            raise _refusal(path, "it lists no sample")
        files = [sample.files[0] for sample in samples]
        paths = [_resolve(path.parent, file.fname) for file in files]
        _refuse_doubles(path, files, paths)
        return cls(
            path,
            tuple(
                Entry(sample.transcript, there, file.num_samples)
                for sample, file, there in zip(samples, files, paths, strict=True)
            ),
        )


def write(directory: Path, entries: Iterable[Entry]) -> Path:
    """Write ``dev-all-repack.json`` into the directory that the samples lie in."""
    listed = [attrs.asdict(_Sample.of(entry, directory)) for entry in entries]
    path = directory / NAME
    path.write_text(json.dumps(listed, indent=2) + "\n", encoding="utf-8")
    return path


def _must_be(wanted: object) -> Any:
    """A validator of a value that the benchmark fixes."""

    def check(_instance: object, _attribute: object, value: object) -> None:
        if value != wanted:
            raise ValueError(f"it is {value!r}, and must be {wanted!r}")

    return check


@attrs.frozen(kw_only=True)
class _File:
    """The reference's description of one WAV, key by key."""

    channels: int = attrs.field(default=1, validator=_must_be(1))
    sample_rate: float = attrs.field(default=float(SAMPLE_RATE), validator=_must_be(SAMPLE_RATE))
    bitdepth: int = attrs.field(default=16, validator=_must_be(16))
    bitrate: float = 256_000.0
    duration: float
    num_samples: int = attrs.field(validator=attrs.validators.ge(1))
    encoding: str = "Signed Integer PCM"
    silent: bool = False
    fname: str = attrs.field(validator=attrs.validators.min_len(1))
    speed: int = attrs.field(default=1, validator=_must_be(1))

    def __attrs_post_init__(self) -> None:
        seconds = self.num_samples / SAMPLE_RATE
        if abs(self.duration - seconds) > 0.5 / SAMPLE_RATE:
            raise ValueError(f"{self.num_samples} samples last {seconds} s, not {self.duration} s")
        if ".." in PurePosixPath(self.fname).parts:
            raise ValueError(f"the name {self.fname} leads upwards")


@attrs.frozen(kw_only=True)
class _Sample:
    """One object of the reference's list."""

    transcript: str
    files: tuple[_File]
    original_duration: float
    original_num_samples: int

    @classmethod
    def of(cls, entry: Entry, directory: Path) -> _Sample:
        duration = entry.samples / SAMPLE_RATE
        fname = entry.path.relative_to(directory).as_posix()
        return cls(
            transcript=entry.transcript,
            files=(_File(duration=duration, num_samples=entry.samples, fname=fname),),
            original_duration=duration,
            original_num_samples=entry.samples,
        )


def _parsed(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except OSError as error:
        raise PrerequisiteError(
            f"the manifest {path.name} cannot be read ({error.strerror or error})",
            where=str(path),
            remedy=_REMEDY,
        ) from error
    except (ValueError, RecursionError) as error:
        raise _refusal(path, f"it is not JSON ({error})") from error


def _refuse_doubles(path: Path, files: Sequence[_File], paths: Sequence[Path]) -> None:
    """Two samples are two files, however their names are written or linked."""
    names: dict[str, list[str]] = {}
    for file, there in zip(files, paths, strict=True):
        names.setdefault(os.path.realpath(there), []).append(file.fname)
    for same in names.values():
        if len(same) > 1:
            each = same if len(set(same)) > 1 else same[:1]
            raise _refusal(path, f"it lists one file {len(same)} times, as {' and '.join(each)}")


def _refusal(path: Path, fault: str) -> IntegrityError:
    return IntegrityError(
        f"the manifest {path.name} cannot be used: {fault}", where=str(path), remedy=_REMEDY
    )


def _key(parts: Sequence[str]) -> str:
    """``("3", "files", "0", "fname")`` as ``[3].files[0].fname``."""
    return "".join(f"[{part}]" if part.isdigit() else f".{part}" for part in parts).lstrip(".")


def _resolve(folder: Path, fname: str) -> Path:
    """Where a file lies: below the manifest's folder, by as much of its name as fits there."""
    parts = [part for part in PurePosixPath(fname).parts if part != "/"]
    for start in range(len(parts)):
        candidate = folder.joinpath(*parts[start:])
        if candidate.is_file():
            return candidate
    return folder / fname  # which is fname itself where that is absolute
