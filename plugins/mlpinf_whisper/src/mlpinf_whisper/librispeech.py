"""Clips and transcripts of LibriSpeech, as they lie in its archives and folders."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import attrs

PARTS: Final = ("dev-clean", "dev-other")
"""The parts of LibriSpeech that the benchmark is made of."""

_TRANSCRIPT: Final = ".trans.txt"
_AUDIO: Final = (".flac", ".wav")


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
