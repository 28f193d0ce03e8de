"""What a test found: the checks, the reasons against it, and the texts that it leaves."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from mlpinf_core.audits.model import AuditCheck
from mlpinf_core.audits.payloads import compare
from mlpinf_core.audits.scores import compare_speed
from mlpinf_core.audits.tokens import check_tokens, require_dtype
from mlpinf_core.errors import LogError
from mlpinf_core.logs.accuracy import AccuracyLog
from mlpinf_core.logs.cause import Cause
from mlpinf_core.logs.detail import DetailLog
from mlpinf_core.outcomes import ACCURACY_LOG_NAME, DETAIL_NAME
from mlpinf_core.vocabulary import Scenario

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from mlpinf_core.accuracy import AccuracyResult
    from mlpinf_core.audits.payloads import Comparison
    from mlpinf_core.plan import PlannedRun
    from mlpinf_core.rules.model import AuditRules

VERIFY_ACCURACY = "verify_accuracy.txt"
VERIFY_PERFORMANCE = "verify_performance.txt"


@attrs.define
class Findings:
    """What has been found so far.

    Attributes:
        checks: what was looked at.
        reasons: what is wrong.
        texts: files to leave, by path in the test's folder.
    """

    checks: list[AuditCheck] = attrs.field(factory=list)
    reasons: list[Cause] = attrs.field(factory=list)
    texts: dict[str, str] = attrs.field(factory=dict)

    def add(self, name: str, fault: str | None, good: str, cause: Cause) -> None:
        """One check.

        Args:
            name: of the check.
            fault: what is wrong; None where it passed.
            good: what there is to say where it passed.
            cause: what a fault is among the reasons; its message is the check's fault.
        """
        self.checks.append(AuditCheck(name, fault is None, good if fault is None else fault))
        if fault is not None:
            self.reasons.append(attrs.evolve(cause, message=f"{name}: {fault}"))

    def unreadable(self, name: str, error: LogError) -> None:
        """A check that could not be made for a log."""
        where = f" ({error.where})" if error.where else ""
        self.checks.append(AuditCheck(name, False, error.what))
        remedy = error.remedy or "run it again"
        self.reasons.append(Cause("audit-log", f"{name}: {error.what}{where}", remedy))


def look_at_speed(
    found: Findings, performance: Path, run: Path, scenario: Scenario, audit: AuditRules
) -> None:
    """Compare the speed of the test's run with the performance run's."""
    try:
        check = compare_speed(
            DetailLog.read(performance / DETAIL_NAME),
            DetailLog.read(run / DETAIL_NAME),
            scenario,
            audit,
        )
    except LogError as error:
        found.unreadable("performance", error)
        found.texts[VERIFY_PERFORMANCE] = f"TEST FAIL: {error.what}\n"
        return
    found.texts[VERIFY_PERFORMANCE] = check.text()
    good = f"{check.score} beside {check.reference}"
    remedy = "make the audit again on a quiet machine, or see what the test is after"
    found.add("performance", check.reason, good, Cause("audit-performance", "", remedy))


def look_at_answers(
    found: Findings,
    accuracy: Path,
    run: Path,
    margins: Mapping[str, float],
    rescore: Callable[[AccuracyLog, AccuracyLog], tuple[AccuracyResult, AccuracyResult]],
    text: Callable[[AccuracyResult], str],
) -> None:
    """TEST01: the answers themselves and, where they differ, what they score.

    Args:
        found: gets what comes out.
        accuracy: directory of the accuracy run.
        run: of the test's.
        margins: metric to the per cent by which the two scores may differ; without any, the
            answers must be the same.
        rescore: the scores of the same samples in the accuracy run's log and the test's.
        text: a result as ``accuracy.txt`` says it.
    """
    try:
        reference = AccuracyLog.read(accuracy / ACCURACY_LOG_NAME)
        test = AccuracyLog.read(run / ACCURACY_LOG_NAME)
        compared = compare(reference, test)
    except LogError as error:
        found.unreadable("accuracy", error)
        found.texts[VERIFY_ACCURACY] = "TEST FAIL\n"
        return
    found.texts[VERIFY_ACCURACY] = compared.text()
    comparable = compared.known == compared.entries > 0
    if compared.passed or not comparable or not margins:
        good = f"{compared.entries:,} answers are the accuracy run's, byte for byte"
        remedy = "the system answers differently when it is timed; is the accuracy run its own?"
        found.add("accuracy", compared.reason, good, Cause("audit-answers", "", remedy))
        return
    _look_at_scores(found, compared, margins, lambda: rescore(reference, test), text)


def _look_at_scores(
    found: Findings,
    compared: Comparison,
    margins: Mapping[str, float],
    rescore: Callable[[], tuple[AccuracyResult, AccuracyResult]],
    text: Callable[[AccuracyResult], str],
) -> None:
    baseline, compliance = rescore()
    found.texts["accuracy/baseline_accuracy.txt"] = f"{text(baseline)}\n"
    found.texts["accuracy/compliance_accuracy.txt"] = f"{text(compliance)}\n"
    found.texts["accuracy/accuracy.txt"] = f"{text(compliance)}\n"
    before = {score.metric: score.value for score in baseline.scores}
    after = {score.metric: score.value for score in compliance.scores}
    faults: list[str] = []
    words: list[str] = []
    for metric, margin in margins.items():
        one, other = before.get(metric, 0.0), after.get(metric, 0.0)
        # The official checker takes a score of 0 for one that is not there.
        difference = 100 * abs(1 - one / other) if one and other else float("inf")
        phrase = f"{metric} {other:g} beside {one:g}, {difference:.3g} % apart"
        (words if difference <= margin else faults).append(f"{phrase} of {margin:g} % allowed")
    found.add(
        "accuracy",
        f"{compared.reason}; on the same samples, {'; '.join(faults)}" if faults else None,
        f"{compared.reason}; on the same samples, {'; '.join(words)}",
        Cause("audit-accuracy", "", "the system answers worse when it is timed"),
    )


def look_at_tokens(found: Findings, planned: PlannedRun, run: Path) -> None:
    """TEST06: first tokens, ends, lengths."""
    benchmark, scenario = planned.benchmark, planned.workload.scenario
    try:
        checked = check_tokens(
            AccuracyLog.read(run / ACCURACY_LOG_NAME),
            dtype=require_dtype(benchmark.response_dtype, benchmark.name),
            eos=_eos(planned),
            first_tokens=scenario is not Scenario.OFFLINE,
        )
    except LogError as error:
        found.unreadable("tokens", error)
        found.texts[VERIFY_ACCURACY] = "TEST06 verification failed\n"
        return
    found.texts[VERIFY_ACCURACY] = checked.text()
    if not checked.entries:
        empty = "the test's accuracy log has no answers: LoadGen sampled none"
        found.add(
            "tokens", empty, "", Cause("audit-tokens", "", "see whether audit.config took effect")
        )
        return
    answers = f"{checked.entries:,} answers"
    cause = Cause("audit-tokens", "", "the backend must count and report what it hands over")
    if checked.first_token_needed:
        good = f"{answers} begin with the token reported first"
        found.add("first token", checked.first_token, good, cause)
    else:
        found.checks.append(AuditCheck("first token", None, "Offline reports none"))
    good = f"{answers} end with at most one end-of-sequence token"
    found.add("eos", checked.eos, good, cause)
    good = f"{answers} are as long as reported"
    found.add("length", checked.length, good, cause)


def _eos(planned: PlannedRun) -> int:
    """The token that ends an answer of the variant."""
    eos = planned.variant.eos_token_id
    if eos is None:
        raise LogError(
            f"{planned.benchmark.name} {planned.workload.variant} does not say which token ends an "
            "answer",
            remedy="its plugin must declare VariantSpec.eos_token_id",
        )
    return eos
