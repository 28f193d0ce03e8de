"""What a scorer makes of a good accuracy log, and of the same log with wrong answers in it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import attrs

from mlpinf_core import accuracy
from mlpinf_core.errors import MlpinfError
from mlpinf_core.testing.corruption import CORRUPTIONS, corrupted_copy

if TYPE_CHECKING:
    from pathlib import Path

    from mlpinf_core.rules.model import Limit


@attrs.frozen
class Rescored:
    """Scores, each as whether it passed the limits, or as the name and text of what was raised.

    Attributes:
        good: of the log as it is.
        corrupted: of the corrupted ones, by what was done to them.
    """

    good: bool | str
    corrupted: Mapping[str, bool | str]


def rescore(
    good: Path, directory: Path, *, dtype: str | None, limits: Mapping[str, Limit]
) -> Rescored:
    """Score a run's log again, and corrupted copies of it, in a process of their own.

    Args:
        good: the directory of a valid accuracy run.
        directory: where the copies are made.
        dtype: of the benchmark's responses; None for bytes.
        limits: to judge by.

    Raises:
        MlpinfError: the process died.
    """
    directory.mkdir()
    copies = [directory / f"copy-{number}" for number in range(len(CORRUPTIONS))]
    for copy, corruption in zip(copies, CORRUPTIONS.values(), strict=True):
        corrupted_copy(good, copy, corruption, dtype)
    out = directory / "scores.jsonl"
    process = subprocess.run(
        [sys.executable, "-m", "mlpinf_core.testing.rescore", out, good, *copies],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if process.returncode != 0:
        last = process.stderr.strip().splitlines()[-1:] or ["nothing was said"]
        raise MlpinfError(
            f"scoring ended with exit code {process.returncode}: {last[0]}",
            where=str(good),
            remedy="a scorer ends its process neither by itself nor by a crash",
        )
    lines = out.read_text(encoding="utf-8").splitlines()
    first, *others = (_judged(json.loads(line), limits) for line in lines)
    return Rescored(first, dict(zip(CORRUPTIONS, others, strict=True)))


def _judged(result: Mapping[str, Any], limits: Mapping[str, Limit]) -> bool | str:
    if "error" in result:
        return f"{result['error']}: {result['what']}"
    try:
        return accuracy.judge(result["scores"], limits).passed
    except MlpinfError as error:
        return f"{type(error).__name__}: {error.what}"
