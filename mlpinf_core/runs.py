"""What has been run: finds results on disk, and the best of them."""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING, Final

from mlpinf_core.errors import LogError
from mlpinf_core.record import FILE_NAME, read_json
from mlpinf_core.results import RESULT_NAME, RunResult

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

log = logging.getLogger(__name__)

NOT_SUBMITTABLE: Final = "not submittable"
"""How a verdict's note begins that says why a valid run cannot be submitted as it is."""


def find_runs(root: Path) -> list[RunResult]:
    """Every result at or below a directory, the oldest first; audits' own runs are left out.

    One that is damaged is left out with a warning: it must not keep the others from being used.

    Args:
        root: a run, a workload's directory, a session, or what was given to ``--output``.
    """
    found = []
    for depth in ("", "*/", "*/*/", "*/*/*/"):
        for path in root.glob(depth + RESULT_NAME):
            try:
                result = RunResult.read(path.parent)
            except LogError as error:
                log.warning("left out: %s (%s)", error.what, error.where)
            else:
                if result.audit is None:
                    found.append((path.stat().st_mtime_ns, str(path), result))
    return [result for _, _, result in sorted(found, key=lambda entry: entry[:2])]


def merit(run: RunResult) -> tuple[int, float]:
    """How good a performance run is beside others of its workload; greater is better.

    What keeps a run from being submitted weighs more than any figure. A note that all runs of a
    workload have, such as that of a tiny variant, tells none from the others. A higher rate is
    better, and a lower latency.
    """
    notes = sum(note.startswith(NOT_SUBMITTABLE) for note in set(run.verdict.notes))
    figures = run.performance
    if figures is None or not math.isfinite(figures.value):
        return -notes, -math.inf
    return -notes, -figures.value if figures.unit == "ms" else figures.value


def origin_of(run: RunResult) -> tuple[str, str]:
    """The system and the backend of a run, as its ``run.json`` says; empty where it does not."""
    try:
        made = read_json(run.directory / FILE_NAME)
        values = made["config"]["values"]
        return str(made["system"]["name"]), str(values["run"]["backend"])
    except (LogError, KeyError, TypeError, AttributeError):
        return "", ""


def best(runs: Iterable[RunResult]) -> RunResult | None:
    """The performance run of greatest :func:`merit`, of one workload's; None where there is none.

    Of equal ones it is the first.
    """
    measured = [(run, run.performance) for run in runs if run.performance is not None]
    if not measured:
        return None
    # Where a log lacks the round's figure another stands in, which says nothing beside the others.
    unit = measured[0][1].unit
    return max((run for run, found in measured if found.unit == unit), key=merit)
