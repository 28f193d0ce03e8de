"""The checkpoint that an engine in process serves: the benchmark's own, or one that is given."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

from mlpinf_core.errors import ConfigurationError, PrerequisiteError
from mlpinf_core.hashing import HashMemory
from mlpinf_llm import locate

if TYPE_CHECKING:
    from pathlib import Path

    from mlpinf_core.context import Run
    from mlpinf_core.hashing import JSON

_HASHES: Final = ".llm-checkpoints.sha256.json"
_SMALL: Final = 64 << 20
"""Bytes up to which a file is read to tell it from another."""


def folder(run: Run, given: Path | None) -> Path:
    """Where the checkpoint is.

    Args:
        run: of a benchmark.
        given: what ``backend.checkpoint`` says.

    Raises:
        ConfigurationError: the tiny variant's model has no form that these engines read.
        PrerequisiteError: it is not to be had.
    """
    if given is not None:
        if not (given / "config.json").is_file():
            raise PrerequisiteError(
                "the folder given for the checkpoint has no config.json",
                where=str(given),
                remedy="set backend.checkpoint to a checkpoint in Hugging Face's format",
            )
        return given
    if not locate.is_full(run):
        raise ConfigurationError(
            "the tiny variant's own model is a GGUF file, which this engine does not read",
            where="backend.checkpoint",
            remedy="name a folder in Hugging Face's format, or use --backend ctranslate2",
        )
    return run.fetch(locate.official(run).checkpoint)


def identity(run: Run, path: Path) -> dict[str, JSON]:
    """What tells one checkpoint from another: each file's size, and the sha256 of the small ones.

    Hundreds of gigabytes of weights are told by name, size and the beginning of the file, where
    safetensors lists its tensors; a fetched checkpoint's weights were checked when they came.
    """
    memory = HashMemory(run.scratch.models / _HASHES)
    files = sorted(p for p in path.iterdir() if p.is_file() and not p.name.startswith("."))
    small = [file for file in files if file.stat().st_size <= _SMALL]
    hashes = memory.sha256_all(small)
    return {
        file.name: hashes[file] if file in hashes else [file.stat().st_size, _beginning(file)]
        for file in files
    }


def size(path: Path) -> int:
    """Bytes of a folder's files."""
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def _beginning(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.sha256(stream.read(1 << 20)).hexdigest()
