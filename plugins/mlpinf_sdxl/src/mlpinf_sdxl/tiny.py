"""The tiny variant's files, which ship with the package."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Final

SAMPLES: Final = 64
"""Captions of the tiny variant."""


def folder() -> Path:
    """Where the files are."""
    return Path(str(resources.files("mlpinf_sdxl") / "tiny_data"))


def calibration() -> Path:
    """Captions to calibrate 8-bit engines with."""
    return folder() / "calibration" / "captions.tsv"


def pipeline() -> Path:
    """The pipeline, in diffusers' layout."""
    return folder() / "pipeline"


def scorer() -> Path:
    """The scorer's weights."""
    return folder() / "scorer.safetensors"


def reference() -> Path:
    """Small copies of the images that the pipeline makes in float32."""
    return folder() / "reference.npy"
