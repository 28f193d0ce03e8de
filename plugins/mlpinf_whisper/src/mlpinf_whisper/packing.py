"""Putting the clips of a chapter together to samples of at most 30 s, as the reference does.

The reference is ``speech2text/utils/repackage_librispeech.py`` of mlcommons/inference. It reads
clips as float32, joins them with float64 silence, and has libsndfile write 16-bit integers again.
That gives back each of the 65,536 values as it was, so here they stay integers all the way, and the
files come out the same byte for byte.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from mlpinf_whisper import manifest
from mlpinf_whisper.clips import SAMPLE_RATE, clip_length, read_clip

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from mlpinf_whisper.librispeech import Utterance

LONGEST_SECONDS: Final = 30.0
"""A sample lasts no longer; a clip that does is left out."""

SILENCE_SECONDS: Final = 0.5
"""Between two clips of a sample."""

VERSION: Final = 1
"""Part of the key of what is packed: another number packs anew."""


def group(seconds: Sequence[float]) -> list[list[int]]:
    """Which clips of a chapter make which sample.

    Clips keep their order; a sample ends where the next clip would take it past 30 s.

    Args:
        seconds: how long each clip lasts.

    Returns:
        the positions in ``seconds`` of the clips of each sample; none of clips over 30 s.
    """
    groups: list[list[int]] = []
    total = 0.0  # summed up as the reference does, so that both round alike at exactly 30 s
    for position, length in enumerate(seconds):
        if length > LONGEST_SECONDS:
            continue
        if groups and total + SILENCE_SECONDS + length <= LONGEST_SECONDS:
            groups[-1].append(position)
            total += length
            total += SILENCE_SECONDS
        else:
            groups.append([position])
            total = length
    return groups


def count(utterances: Iterable[Utterance]) -> int:
    """How many samples a data set packs to, from its clips' headers alone.

    Raises:
        PrerequisiteError: a clip cannot be used; names its file.
    """
    return sum(
        len(group([clip_length(utterance.path) / SAMPLE_RATE for utterance in chapter]))
        for chapter in _chapters(utterances).values()
    )


def join(clips: Sequence[npt.NDArray[np.int16]]) -> npt.NDArray[np.int16]:
    """The clips of a sample with silence between, int16 [samples]."""
    silence = np.zeros(int(SILENCE_SECONDS * SAMPLE_RATE), dtype=np.int16)
    between = [piece for clip in clips for piece in (silence, clip)]
    return np.concatenate(between[1:])


def pack(
    utterances: Iterable[Utterance],
    directory: Path,
    progress: Callable[[int, int], object] | None = None,
) -> None:
    """Pack a data set: WAVs and the manifest that lists them.

    Samples come in the order of their chapters' first clips, and within a chapter in its order.

    Args:
        utterances: the clips, sorted.
        directory: gets ``dev-all-repack.json`` and the folder ``dev-all-repack``.
        progress: told how many clips are done, and of how many.

    Raises:
        PrerequisiteError: a clip cannot be used; names its file.
    """
    import soundfile

    chapters = _chapters(utterances)
    total, done = sum(map(len, chapters.values())), 0
    (directory / manifest.FOLDER).mkdir()
    entries = []
    for name, chapter in chapters.items():
        clips = [read_clip(utterance.path) for utterance in chapter]
        for number, members in enumerate(group([len(clip) / SAMPLE_RATE for clip in clips])):
            waveform = join([clips[member] for member in members])
            path = directory / manifest.FOLDER / f"{name}_{number}.wav"
            soundfile.write(path, waveform, SAMPLE_RATE, subtype="PCM_16")
            transcript = " ".join(chapter[member].transcript for member in members)
            entries.append(manifest.Entry(transcript, path, len(waveform)))
        done += len(chapter)
        if progress:
            progress(done, total)
    manifest.write(directory, entries)


def _chapters(utterances: Iterable[Utterance]) -> dict[str, list[Utterance]]:
    """The clips of each chapter, in the order of the chapters' first."""
    chapters: dict[str, list[Utterance]] = {}
    for utterance in utterances:
        chapters.setdefault(utterance.chapter, []).append(utterance)
    return chapters
