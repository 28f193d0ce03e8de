"""What has been run: finds results on disk, and the best of them."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from mlpinf_core.errors import LogError
from mlpinf_core.results import RESULT_NAME, RunResult

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

log = logging.getLogger(__name__)


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


def best(runs: Iterable[RunResult]) -> RunResult | None:
    """The performance run with the best figure, of one workload's; None where there is none.

    A higher rate is better, and a lower latency. Of equal ones it is the first.
    """
    measured = [(run, run.performance) for run in runs if run.performance is not None]
    if not measured:
        return None
    # Where a log lacks the round's figure another stands in, which says nothing beside the others.
    unit = measured[0][1].unit
    figures = [(run, found.value) for run, found in measured if found.unit == unit]
    if unit == "ms":
        return min(figures, key=lambda entry: entry[1])[0]
    return max(figures, key=lambda entry: entry[1])[0]
