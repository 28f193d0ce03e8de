"""The tiny variant's data: five clips in the package, and the chapters that are made of them."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Final

import attrs

from mlpinf_core.config.structure import structure
from mlpinf_whisper.librispeech import Utterance

FOLDER: Final = "tiny_data"


@attrs.frozen
class _Clip:
    file: str
    transcript: str


@attrs.frozen
class _Source:
    """``chapters.toml``: the clips by name, and for each chapter the clips that it consists of."""

    clips: Mapping[str, _Clip]
    chapters: Mapping[str, tuple[str, ...]]


def folder() -> Path:
    """Where the clips lie. The package is installed as files, never zipped."""
    return Path(str(resources.files("mlpinf_whisper") / FOLDER))


def utterances() -> list[Utterance]:
    """The chapters' clips in order, named as LibriSpeech names its own."""
    text = (folder() / "chapters.toml").read_text(encoding="utf-8")
    source: _Source = structure(tomllib.loads(text), _Source)
    return [
        Utterance(
            f"{chapter}-{number:04}",
            folder() / source.clips[clip].file,
            source.clips[clip].transcript,
        )
        for chapter, clips in sorted(source.chapters.items())
        for number, clip in enumerate(clips)
    ]
