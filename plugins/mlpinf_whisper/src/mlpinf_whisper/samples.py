"""Clips as the backends take them: all samples in one array, and where each clip begins."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import attrs
import numpy as np
import numpy.typing as npt

from mlpinf_core.errors import IntegrityError
from mlpinf_core.hashing import JSON, HashMemory, digest
from mlpinf_whisper.clips import LONGEST, read_clip
from mlpinf_whisper.files import checksums
from mlpinf_whisper.manifest import Manifest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from mlpinf_core.context import Run

_AUDIO, _OFFSETS = "audio.npy", "offsets.npy"
_ARTIFACT: Final = "whisper-waveforms"
_EVERY: Final = 32
"""Clips between two reports of progress."""


@attrs.frozen(eq=False)
class AudioSamples:
    """Waveforms and what is said in them.

    Attributes:
        audio: int16 [samples], all clips at 16 kHz one after the other; memory-mapped.
        offsets: int64 [clips + 1], where each begins.
        manifest: the data set, for its transcripts.
    """

    audio: npt.NDArray[np.int16]
    offsets: npt.NDArray[np.int64]
    manifest: Manifest

    @classmethod
    def open(cls, directory: Path, manifest: Manifest) -> AudioSamples:
        """Map what :func:`write` wrote."""
        audio = np.load(directory / _AUDIO, mmap_mode="r")
        return cls(audio, np.load(directory / _OFFSETS), manifest)

    def __len__(self) -> int:
        """The number of clips."""
        return len(self.offsets) - 1

    def waveform(self, index: int) -> npt.NDArray[np.int16]:
        """One clip, int16 [samples]; a view."""
        return self.audio[self.offsets[index] : self.offsets[index + 1]]

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """int64 [clips], samples of each."""
        return np.diff(self.offsets)

    @property
    def references(self) -> list[str]:
        """The transcript of each clip."""
        return [entry.transcript for entry in self.manifest.entries]

    def load(self, indices: npt.NDArray[np.int64]) -> None:
        """Touch the clips, so that the timed part reads them from memory."""
        for index in indices:
            self.waveform(int(index)).max()

    def unload(self, indices: npt.NDArray[np.int64]) -> None:
        """The system drops mapped pages by itself."""


def preprocessed(run: Run, manifest: Manifest) -> AudioSamples:
    """The clips of a data set, every one checked and copied to one file, once.

    Raises:
        PrerequisiteError: a clip is missing, or the scratch space cannot take the copy.
        IntegrityError: a clip is not what it should be; names its file and what is wrong.
    """
    artifact = run.store.build(
        "preprocessed_data",
        _ARTIFACT,
        _inputs(run, manifest),
        lambda directory: write(run, manifest, directory),
        announce=run.events.step,
    )
    return AudioSamples.open(artifact.path, manifest)


def write(run: Run, manifest: Manifest, directory: Path) -> None:
    """Check every clip of a data set, and write them one after the other.

    Raises:
        PrerequisiteError: a clip is missing or cannot be read.
        IntegrityError: a clip is not what it should be.
        OSError: there is no room. A file mapped before it is written would end the process.
    """
    lengths = np.array([entry.samples for entry in manifest.entries], dtype=np.int64)
    offsets = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(lengths)])
    _save(directory / _OFFSETS, offsets.dtype, len(offsets), [offsets])
    _save(directory / _AUDIO, np.dtype(np.int16), int(offsets[-1]), _clips(run, manifest))


def _clips(run: Run, manifest: Manifest) -> Iterator[npt.NDArray[np.int16]]:
    """The clips of a data set, each checked."""
    for number, entry in enumerate(manifest.entries):
        clip = read_clip(entry.path, longest=LONGEST)
        if len(clip) != entry.samples:
            raise IntegrityError(
                f"{entry.path.name} has {len(clip)} samples, and the manifest says {entry.samples}",
                where=str(entry.path),
                remedy="put the clip there that the manifest lists, or prepare the data set again",
            )
        yield clip
        if number % _EVERY == 0 or number + 1 == len(manifest):
            run.events.step("checking clips", number + 1, len(manifest))


def _save(
    path: Path, dtype: np.dtype[Any], length: int, pieces: Iterable[npt.NDArray[Any]]
) -> None:
    """Write pieces of that many items in all as one array in NumPy's format, in order."""
    descr = np.lib.format.dtype_to_descr(dtype)
    header = {"descr": descr, "fortran_order": False, "shape": (length,)}
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for piece in pieces:
            # NumPy's own tofile does not say why a write failed.
            file.write(np.ascontiguousarray(piece, dtype).data)


def _inputs(run: Run, manifest: Manifest) -> Mapping[str, JSON]:
    memory = HashMemory(run.scratch.preprocessed_data / f".{_ARTIFACT}.sha256.json")
    paths = [manifest.path, *(entry.path for entry in manifest.entries)]
    hashes = checksums(memory, paths)
    clips = [hashes[entry.path] for entry in manifest.entries]
    return {"format": 1, "manifest": hashes[manifest.path], "clips": digest(clips)}
