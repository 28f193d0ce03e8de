"""What checking a tree comes to: findings, each with its rule, and the results found in order."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterator


class Severity(enum.StrEnum):
    """What a finding means for the submission."""

    ERROR = "error"
    """It would not be accepted, or ought not to be."""
    WARNING = "warning"
    """It may be accepted; somebody will ask."""


@attrs.frozen
class Finding:
    """One thing that is wrong with a tree.

    Attributes:
        rule: the code of the rule, ``seeds``; see :mod:`mlpinf_core.submission.checking.catalogue`.
        path: the file or folder, relative to the tree's root, with forward slashes.
        message: what is wrong, with its figures.
        remedy: what to do.
        severity: what it means.
    """

    rule: str
    path: str
    message: str
    remedy: str
    severity: Severity = Severity.ERROR

    def __str__(self) -> str:
        """On two lines."""
        return f"{self.path}: {self.message} [{self.rule}]\n  remedy: {self.remedy}"

    def to_dict(self) -> dict[str, str]:
        """Plain values, for JSON."""
        return {**attrs.asdict(self), "severity": self.severity.value}


@attrs.frozen
class EntryResult:
    """One result of a tree: a system, a benchmark, a scenario.

    Attributes:
        division: ``closed`` or ``open``.
        submitter: the organisation.
        system: name of its description.
        benchmark: as the tree names it.
        model: as the round names it; None where nobody knows.
        scenario: as the tree names it.
        value: the figure; None where the log has none.
        unit: of the figure.
        accuracy: metric to what ``accuracy.txt`` says.
        valid: whether nothing was found against it.
    """

    division: str
    submitter: str
    system: str
    benchmark: str
    model: str | None
    scenario: str
    value: float | None
    unit: str
    accuracy: dict[str, float]
    valid: bool

    @property
    def name(self) -> str:
        """The path that tells it from others."""
        parts = (self.division, self.submitter, self.system, self.benchmark, self.scenario)
        return "/".join(parts)


@attrs.frozen
class Report:
    """What checking came to.

    Attributes:
        round: of the rules.
        findings: the gravest first, in the order of their paths.
        results: every entry of the tree.
    """

    round: str
    findings: tuple[Finding, ...]
    results: tuple[EntryResult, ...]

    @property
    def ok(self) -> bool:
        """Whether there is no error."""
        return not any(self.errors())

    def errors(self) -> Iterator[Finding]:
        """The findings that are errors."""
        return (f for f in self.findings if f.severity is Severity.ERROR)

    def rules(self) -> set[str]:
        """The rules that were broken, warnings among them."""
        return {finding.rule for finding in self.findings}

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "round": self.round,
            "ok": self.ok,
            "findings": [finding.to_dict() for finding in self.findings],
            "results": [attrs.asdict(result) for result in self.results],
        }
