"""What a rule of the conformance kit is, and how it says that a plugin breaks it."""

from __future__ import annotations

import enum
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import attrs

from mlpinf_core.errors import MlpinfError

if TYPE_CHECKING:
    from mlpinf_core.testing.subject import Subject


class ConformanceError(MlpinfError):
    """A plugin breaks a rule: ``what`` it did, ``where`` to look, and the ``remedy``."""


class NotApplicableError(Exception):
    """A rule cannot be put to this plugin, or what it builds on has failed already."""


@attrs.frozen
class Rule:
    """One thing that every plugin must do.

    Attributes:
        name: short, for reports and tests.
        statement: the rule in one sentence.
        why: what goes wrong for users when a plugin breaks it.
        check: returns when the plugin keeps it; raises ConformanceError when not.
    """

    name: str
    statement: str
    why: str
    check: Callable[[Any], None]

    def __call__(self, subject: Subject) -> None:
        """Hold a plugin to the rule.

        Raises:
            ConformanceError: the plugin breaks it.
            NotApplicableError: it cannot be told.
        """
        self.check(subject)


def rule(statement: str) -> Callable[[Callable[[Subject], None]], Rule]:
    """Make a rule of a function: its name is the rule's, its docstring says why."""

    def make(check: Callable[[Subject], None]) -> Rule:
        name: str = check.__name__
        return Rule(name, statement, inspect.getdoc(check) or "", check)

    return make


class RuleState(enum.StrEnum):
    """How a rule came out."""

    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"


@attrs.frozen
class RuleResult:
    """How one rule came out.

    Attributes:
        detail: what the plugin did, or why the rule was skipped; empty for one that it keeps.
        remedy: how to mend it.
        seconds: how long it took to find out; runs that rules share count for the first.
    """

    rule: Rule
    state: RuleState
    detail: str = ""
    remedy: str | None = None
    seconds: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "rule": self.rule.name,
            "statement": self.rule.statement,
            "why": self.rule.why,
            "state": self.state.value,
            "detail": self.detail,
            "remedy": self.remedy,
            "seconds": round(self.seconds, 3),
        }


def collect(problems: list[str], *, where: str | None = None, remedy: str | None = None) -> None:
    """Raise one error for several problems; return when there are none.

    Raises:
        ConformanceError: there are any.
    """
    if not problems:
        return
    what = problems[0]
    if len(problems) > 1:
        what = f"{len(problems)} things are wrong:" + "".join(f"\n  - {p}" for p in problems)
    raise ConformanceError(what, where=where, remedy=remedy)
