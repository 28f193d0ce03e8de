"""The speed of a test against that of the performance run (TEST01, TEST04)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from mlpinf_core.errors import LogError
from mlpinf_core.logs.result import RESULT_FIELDS
from mlpinf_core.rules.model import Speed

if TYPE_CHECKING:
    from mlpinf_core.logs.detail import DetailLog
    from mlpinf_core.rules.model import AuditRules
    from mlpinf_core.vocabulary import Scenario


@attrs.frozen
class SpeedCheck:
    """The comparison of two runs.

    Attributes:
        reference: the performance run's score; None where a run could not be compared.
        score: the test's.
        reason: why it did not pass, in a sentence; None when it did.
    """

    reference: float | None
    score: float | None
    reason: str | None

    @property
    def passed(self) -> bool:
        """Whether it did."""
        return self.reason is None

    def text(self) -> str:
        """``verify_performance.txt``: the official script's figures and its verdict."""
        lines = ["Verifying performance."]
        if self.reference is not None:
            lines += [f"Reference score = {self.reference}", f"Test score = {self.score}"]
        lines.append("TEST PASS" if self.passed else f"TEST FAIL: {self.reason}")
        return "\n".join([*lines, ""])


def compare_speed(
    reference: DetailLog, test: DetailLog, scenario: Scenario, audit: AuditRules
) -> SpeedCheck:
    """Hold a test's score against the performance run's.

    Args:
        reference: of the performance run.
        test: of the test's run.
        scenario: of both.
        audit: the test's rules; its ``speed`` says what is compared.
    """
    try:
        faults = [
            fault
            for name, detail in (("performance run", reference), ("test", test))
            if (fault := _unfit(name, detail, scenario)) is not None
        ]
        if faults:
            return SpeedCheck(None, None, "; ".join(faults))
        if scenario.is_poisson:
            limits = [log.get("effective_target_latency_ns") for log in (reference, test)]
            if limits[0] != limits[1]:
                why = f"the latency limits differ: {limits[0]} and {limits[1]} ns"
                return SpeedCheck(None, None, why)
        return _judged(
            _score(reference, scenario, audit), _score(test, scenario, audit), scenario, audit
        )
    except LogError as error:
        return SpeedCheck(None, None, f"{error.what} ({error.where})")


def _unfit(name: str, detail: DetailLog, scenario: Scenario) -> str | None:
    found = detail.text("effective_scenario")
    if found != scenario.loadgen_name:
        return f"the {name}'s log is of {found}, not of {scenario.loadgen_name}"
    mode = detail.text("effective_test_mode")
    if mode != "PerformanceOnly":
        return f"the {name}'s log is of a run with mode {mode}"
    if detail.text("result_validity") != "VALID":
        return f"the {name} is INVALID"
    return None


def _score(detail: DetailLog, scenario: Scenario, audit: AuditRules) -> float:
    """As the official script of the test counts: see the comment in the round's file."""
    value = detail.number(RESULT_FIELDS[scenario])
    if scenario.is_stream and audit.speed is Speed.NOT_FASTER:
        if value <= 0:
            raise LogError(f"a latency of {value:g} ns", where=str(detail.path))
        return 1e9 / value
    return value


def _judged(reference: float, score: float, scenario: Scenario, audit: AuditRules) -> SpeedCheck:
    relaxed = reference <= audit.relaxed_up_to.get(scenario, float("-inf"))
    margin = (audit.relaxed_margin if relaxed else audit.speed_margin) / 100
    difference = 100 * (score / reference - 1) if reference else float("inf")
    reason = None
    if audit.speed is Speed.SAME:
        if not reference * (1 - margin) <= score <= reference * (1 + margin):
            reason = (
                f"its score differs by {difference:+.1f} % from the performance run's, and "
                f"{100 * margin:g} % are allowed"
            )
    elif not score < reference * (1 + margin):
        reason = (
            f"it is {difference:.1f} % faster than the performance run, and less than "
            f"{100 * margin:g} % are allowed: answers may be cached"
        )
    return SpeedCheck(reference, score, reason)
