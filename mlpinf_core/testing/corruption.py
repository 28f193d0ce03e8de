"""Accuracy logs with wrong answers in them, made of a right one."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path


ACCURACY_LOG: Final = "mlperf_log_accuracy.json"

_LINE: Final = re.compile(rb'(.*"qsl_idx" : (\d+), "data" : ")([0-9A-Fa-f]*)(".*)', re.DOTALL)
_SEED: Final = 20260215

Corruption: TypeAlias = Callable[[dict[int, bytes], int], dict[int, bytes]]
"""From the answers by sample, and the bytes of an element of theirs, to wrong answers."""


def _rotated(answers: dict[int, bytes], itemsize: int) -> dict[int, bytes]:
    """Each sample gets the next one's answer, as from a SUT that is off by one."""
    del itemsize
    samples = sorted(answers)
    return dict(zip(samples, (answers[s] for s in [*samples[1:], samples[0]]), strict=True))


def _halved(answers: dict[int, bytes], itemsize: int) -> dict[int, bytes]:
    """Each answer ends in its middle, as from a backend that stops too early."""
    return {s: a[: len(a) // itemsize // 2 * itemsize] for s, a in answers.items()}


def _random(answers: dict[int, bytes], itemsize: int) -> dict[int, bytes]:
    """Each answer is noise of its own length, as from memory that was freed."""
    del itemsize
    random = np.random.default_rng(_SEED)
    return {sample: random.bytes(len(answer)) for sample, answer in sorted(answers.items())}


def _emptied(answers: dict[int, bytes], itemsize: int) -> dict[int, bytes]:
    """Each answer is empty, as from a backend that answers before it has computed."""
    del itemsize
    return dict.fromkeys(answers, b"")


CORRUPTIONS: Final[Mapping[str, Corruption]] = MappingProxyType(
    {
        "each sample has the next one's answer": _rotated,
        "each answer is cut in half": _halved,
        "each answer is random bytes": _random,
        "each answer is empty": _emptied,
    }
)
"""By what they do to the answers."""


def answers_of(log: Path) -> dict[int, bytes]:
    """The first answer to each sample."""
    found: dict[int, bytes] = {}
    for line in log.read_bytes().splitlines():
        if (match := _LINE.fullmatch(line)) is not None:
            found.setdefault(int(match[2]), bytes.fromhex(match[3].decode()))
    return found


def corrupted_copy(run: Path, copy: Path, corruption: Corruption, dtype: str | None) -> None:
    """Copy a run directory, with other answers in its accuracy log.

    Args:
        run: the directory of an accuracy run.
        copy: the new directory.
        corruption: what to do to its answers.
        dtype: of the benchmark's responses; None for bytes.
    """
    shutil.copytree(run, copy)
    log = copy / ACCURACY_LOG
    itemsize = 1 if dtype is None else np.dtype(dtype).itemsize
    wrong = corruption(answers_of(log), itemsize)
    lines = []
    for line in log.read_bytes().splitlines(keepends=True):
        match = _LINE.fullmatch(line)
        if match is None:
            lines.append(line)
        else:
            data = wrong[int(match[2])].hex().upper().encode()
            lines.append(match[1] + data + match[4])
    log.write_bytes(b"".join(lines))
