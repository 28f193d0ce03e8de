"""Reading one audio file, and refusing what is not whole 16 kHz mono 16-bit audio."""

from __future__ import annotations

import contextlib
import hashlib
import struct
from typing import IO, TYPE_CHECKING, Final

from mlpinf_core.errors import IntegrityError
from mlpinf_whisper.files import unreadable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import numpy as np
    import numpy.typing as npt
    import soundfile

SAMPLE_RATE: Final = 16_000
"""Samples a second of every clip of the benchmark."""

LONGEST: Final = 30 * SAMPLE_RATE
"""Samples that a clip given to the model may have: 30 s."""

_ANY_LENGTH: Final = 3600 * SAMPLE_RATE
"""No clip is an hour long; a damaged header may claim years, and that memory is not asked for."""

_CONVERT: Final = "convert it: sox IN -r 16000 -c 1 -b 16 OUT.wav"
_RESTORE: Final = "put the undamaged file in its place, or prepare the data set again"
_MD5: Final = slice(26, 42)
"""Where a FLAC's first block, STREAMINFO, has the MD5 of the samples (RFC 9639, section 8.2)."""


def read_clip(path: Path, *, longest: int = _ANY_LENGTH) -> npt.NDArray[np.int16]:
    """The samples of a WAV or FLAC file, int16 [samples], at 16 kHz.

    libsndfile reads a cut-off WAV as a shorter one without a word, and does not compare a FLAC's
    samples with their checksum; both are done here.

    Args:
        path: the file.
        longest: samples that it may have at most.

    Raises:
        PrerequisiteError: there is no such file, or it cannot be read.
        IntegrityError: it is empty, cut off, damaged, not WAV or FLAC, not mono, not 16 kHz, not
            16-bit, or longer than ``longest``.
    """
    head = _head(path)
    with _opened(path, longest) as file:
        samples: npt.NDArray[np.int16] = file.read(dtype="int16")
        declared = file.frames
    if len(samples) != declared:  # a decoder may stop early and not say so
        fault = f"is cut off: {len(samples)} of {declared} samples are there"
        raise _refusal(path, fault, _RESTORE)
    if head.startswith(b"fLaC"):
        _check_md5(path, head[_MD5], samples)
    return samples


def clip_length(path: Path) -> int:
    """The samples that a WAV or FLAC file says it holds; they are not read.

    Raises:
        PrerequisiteError: there is no such file, or it cannot be read.
        IntegrityError: what :func:`read_clip` would say of its header.
    """
    _head(path)
    with _opened(path, _ANY_LENGTH) as file:
        return int(file.frames)


@contextlib.contextmanager
def _opened(path: Path, longest: int) -> Iterator[soundfile.SoundFile]:
    """The file, of the right form; what the decoder refuses is one error."""
    import soundfile

    try:
        with soundfile.SoundFile(path) as file:
            _check_form(path, file, longest)
            yield file
    except soundfile.LibsndfileError as error:
        fault = f"is no WAV or FLAC that can be read ({error.error_string.rstrip('.')})"
        raise _refusal(path, fault, _RESTORE) from error


def _refusal(path: Path, fault: str, remedy: str) -> IntegrityError:
    return IntegrityError(f"{path.name} {fault}", where=str(path), remedy=remedy)


def _head(path: Path) -> bytes:
    """The first bytes of a file, which must be there and, if it is a WAV, whole."""
    try:
        with path.open("rb") as file:
            head = file.read(64)
            if head[:4] == b"RIFF" and head[8:12] == b"WAVE":
                _check_chunks(path, file, path.stat().st_size)
    except OSError as error:
        raise unreadable(path, error) from error
    if not head:
        raise _refusal(path, "is empty", _RESTORE)
    return head


def _check_chunks(path: Path, file: IO[bytes], size: int) -> None:
    """Follow a WAV's chunks to its samples, and compare what is there with what it says."""
    place = 12
    while place + 8 <= size:
        file.seek(place)
        name, length = struct.unpack("<4sI", file.read(8))
        place += 8
        if name == b"data":
            if place + length > size:
                fault = f"is cut off: {size - place} of {length} bytes of samples are there"
                raise _refusal(path, fault, _RESTORE)
            return
        place += length + length % 2
    raise _refusal(path, "is cut off: it ends before its samples", _RESTORE)


def _check_form(path: Path, file: soundfile.SoundFile, longest: int) -> None:
    if file.format not in ("WAV", "WAVEX", "FLAC"):
        raise _refusal(path, f"is {file.format}, and only WAV and FLAC are read", _CONVERT)
    if file.channels != 1:
        raise _refusal(path, f"has {file.channels} channels, and must be mono", _CONVERT)
    if file.samplerate != SAMPLE_RATE:
        fault = f"is sampled at {file.samplerate} Hz, and must be at {SAMPLE_RATE} Hz"
        raise _refusal(path, fault, _CONVERT)
    if file.subtype != "PCM_16":
        raise _refusal(path, f"holds {file.subtype}, and must hold 16-bit integers", _CONVERT)
    if not file.frames:
        raise _refusal(path, "is empty: it holds no samples", _RESTORE)
    if file.frames > longest:
        lasts, limit = file.frames / SAMPLE_RATE, longest / SAMPLE_RATE
        fault = f"lasts {lasts:.2f} s, and may last {limit:g} s at most"
        raise _refusal(path, fault, "cut it, or leave it out of the data set")


def _check_md5(path: Path, expected: bytes, samples: npt.NDArray[np.int16]) -> None:
    if not any(expected):  # the encoder did not know it
        return
    data = samples.astype("<i2", copy=False).tobytes()
    if hashlib.md5(data, usedforsecurity=False).digest() != expected:
        raise _refusal(path, "is damaged: its samples do not have the MD5 that it gives", _RESTORE)
