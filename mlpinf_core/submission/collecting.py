"""Finding runs and audits on disk, and choosing the best of each workload."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from mlpinf_core.audits.model import AuditResult, find_audits
from mlpinf_core.results import RESULT_NAME
from mlpinf_core.runs import merit
from mlpinf_core.submission.candidates import Candidate, Left, read_candidate
from mlpinf_core.vocabulary import Mode, Workload

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


@attrs.frozen
class Chosen:
    """What goes into a tree for one workload on one system.

    Attributes:
        workload: what was run.
        system: where.
        performance: the best valid run.
        accuracy: the accuracy run that vouches for it.
        audits: test to the audit of that performance run.
    """

    workload: Workload
    system: str
    performance: Candidate
    accuracy: Candidate
    audits: Mapping[str, AuditResult]


def collect(roots: Iterable[Path], round_: str) -> tuple[list[Chosen], list[Left]]:
    """The best of what lies below some folders.

    Args:
        roots: run directories, sessions, or what was given to ``--output``.
        round_: the round; runs of others are no candidates.

    Returns:
        One for each workload and system that has a valid performance run and an accuracy run with
        the same model; and what was left out.
    """
    roots = list(roots)
    left: list[Left] = []
    found: dict[tuple[str, Workload], list[Candidate]] = {}
    for candidate in _candidates(roots, round_, left):
        found.setdefault((candidate.system, candidate.result.workload), []).append(candidate)
    below = (audit for root in roots for audit in find_audits(root))
    audits = list({audit.directory.resolve(): audit for audit in below}.values())
    chosen = []
    for (system, workload), candidates in sorted(found.items(), key=lambda item: str(item[0])):
        best = _best(candidates)
        if isinstance(best, str):
            left.append(Left(f"{workload} on {system}", best))
            continue
        performance, accuracy = best
        left += _beaten(candidates, performance)
        passed = _audits_of(performance, accuracy, audits, left)
        chosen.append(Chosen(workload, system, performance, accuracy, passed))
    return chosen, left


def _candidates(roots: list[Path], round_: str, left: list[Left]) -> Iterator[Candidate]:
    seen: set[Path] = set()
    for root in roots:
        for path in sorted(Path(root).rglob(RESULT_NAME)):
            directory = path.parent.resolve()
            if directory in seen:
                continue
            seen.add(directory)
            found = read_candidate(directory, round_)
            if isinstance(found, Left):
                left.append(found)
            elif found is not None:
                yield found


def _best(candidates: list[Candidate]) -> tuple[Candidate, Candidate] | str:
    """The best performance run that an accuracy run vouches for; or why there is none."""
    runs = [c for c in candidates if c.result.mode is Mode.PERFORMANCE]
    scored = [
        c for c in candidates if c.result.mode is Mode.ACCURACY and c.result.accuracy is not None
    ]
    if not runs:
        return "there is no valid performance run"
    if not scored:
        return "there is no accuracy run with scores"
    for run in sorted(runs, key=lambda c: (merit(c.result), c.created), reverse=True):
        same = [c for c in scored if c.computes == run.computes]
        if same:
            return run, max(same, key=lambda c: _trust(c, run))
    return "no accuracy run has the settings of a performance run"


def _beaten(candidates: list[Candidate], winner: Candidate) -> Iterator[Left]:
    """The performance runs in whose place another one is submitted."""
    for each in candidates:
        if each.result.mode is Mode.PERFORMANCE and each is not winner:
            taken = winner.result.directory
            yield Left(str(each.result.directory), f"another run of it is taken: {taken}")


def _trust(candidate: Candidate, run: Candidate) -> tuple[bool, bool, str]:
    """Greater is better: one that passed, of the same session, the newest."""
    passed = candidate.result.accuracy is not None and candidate.result.accuracy.passed
    together = candidate.result.directory.parent == run.result.directory.parent
    return passed, together, candidate.created


def _audits_of(
    performance: Candidate, accuracy: Candidate, audits: list[AuditResult], left: list[Left]
) -> dict[str, AuditResult]:
    """The newest audit of each test that passed and was held against these very runs."""
    runs = {c.result.mode: c.result.directory for c in (performance, accuracy)}
    found: dict[str, AuditResult] = {}
    for audit in sorted(audits, key=lambda a: a.created):
        if audit.workload != performance.result.workload:
            continue
        fault = audit.fault(runs)
        if fault is None and not audit.passed:
            fault = "; ".join(reason.message for reason in audit.reasons) or "it failed"
        if fault is not None:
            left.append(Left(f"{audit.test} in {audit.directory}", fault))
        else:
            found[audit.test] = audit
    return found
