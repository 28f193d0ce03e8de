"""Scores against their limits, and the one line that ``accuracy.txt`` holds."""

from __future__ import annotations

import math
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import attrs

from mlpinf_core.errors import AccuracyError
from mlpinf_core.protocols import NOT_GRADED, NotGraded
from mlpinf_core.rules.model import Limit

if TYPE_CHECKING:
    from collections.abc import Mapping

SPELLINGS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "ROUGE1": "rouge1",
        "ROUGE2": "rouge2",
        "ROUGEL": "rougeL",
        "ROUGELSUM": "rougeLsum",
        "GEN_LEN": "gen_len",
        "TOKENS_PER_SAMPLE": "tokens_per_sample",
    }
)
"""The rules' name of a metric to its name in accuracy.txt, where they differ (the submission
checker's patterns)."""


@attrs.frozen
class MetricScore:
    """One metric of an accuracy run.

    Attributes:
        metric: its name in the rules (``ROUGE1``).
        value: what the run scored, in the rules' unit; NaN where it was not graded.
        limit: the band it must lie in; None for a metric that is reported and not judged.
        passed: whether it does (True where there is no limit).
        not_graded: why there is no score; None where there is one.
    """

    metric: str
    value: float
    limit: Limit | None
    passed: bool
    not_graded: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON (a NaN as null)."""
        return {
            "metric": self.metric,
            "value": self.value if math.isfinite(self.value) else None,
            "lower": self.limit and self.limit.lower,
            "upper": self.limit and self.limit.upper,
            "judged": self.limit is not None,
            "passed": self.passed,
            NOT_GRADED: self.not_graded,
        }


@attrs.frozen
class AccuracyResult:
    """The outcome of an accuracy run.

    Attributes:
        scores: those with a limit in the limits' order, then the others.
        passed: whether every one with a limit passed.
    """

    scores: tuple[MetricScore, ...]
    passed: bool

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {"passed": self.passed, "scores": [score.to_dict() for score in self.scores]}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> AccuracyResult:
        """The inverse of :meth:`to_dict`."""
        scores = tuple(
            MetricScore(
                metric=str(score["metric"]),
                value=float("nan") if score["value"] is None else float(score["value"]),
                limit=Limit(score["lower"], score["upper"]) if score["judged"] else None,
                passed=bool(score["passed"]),
                not_graded=score.get(NOT_GRADED),
            )
            for score in data["scores"]
        )
        return cls(scores, bool(data["passed"]))

    @property
    def not_graded(self) -> tuple[MetricScore, ...]:
        """Those that have a limit and no score."""
        return tuple(s for s in self.scores if s.limit is not None and s.not_graded is not None)


def judge(scores: Mapping[str, object], limits: Mapping[str, Limit]) -> AccuracyResult:
    """Hold scores against their limits, both sides of them.

    Args:
        scores: metric to value, or to a :class:`~mlpinf_core.protocols.NotGraded` or its plain
            form; NumPy's numbers
            become plain ones.
        limits: metric to its band; a score without one is reported and not judged.

    Raises:
        AccuracyError: a metric has a limit and no score, or a score is not a number.
    """
    ungraded = {metric: why for metric, value in scores.items() if (why := _why_not(value))}
    values = {
        metric: math.nan if metric in ungraded else _plain(metric, value)
        for metric, value in scores.items()
    }
    missing = [metric for metric in limits if metric not in values]
    if missing:
        raise AccuracyError(
            f"the accuracy check gave no score for {', '.join(missing)}",
            remedy=f"it gave {', '.join(values) or 'none'}; the rules set a limit for each of "
            f"{', '.join(limits)}",
        )
    judged = [
        MetricScore(m, values[m], limit, m not in ungraded and limit.admits(values[m]), why)
        for m, limit, why in ((m, limit, ungraded.get(m)) for m, limit in limits.items())
    ]
    others = [
        MetricScore(m, v, None, passed=True, not_graded=ungraded.get(m))
        for m, v in values.items()
        if m not in limits
    ]
    return AccuracyResult((*judged, *others), all(score.passed for score in judged))


def text(result: AccuracyResult) -> str:
    """The line for ``accuracy.txt``, as the submission checker's patterns read it.

    Plain decimals only: the checker reads neither exponents nor ``np.float64(...)``. A metric that
    was not graded is left out, so that the checker misses it as well.

    >>> text(judge({"ROUGE1": 38.5, "GEN_LEN": 8167644.0}, {}))
    "{'rouge1': 38.5, 'gen_len': 8167644.0}"
    >>> text(judge({"acc": 0.7286}, {}))
    'accuracy=0.7286'
    """
    values = {score.metric: score.value for score in result.scores if not score.not_graded}
    parts = []
    # These two patterns are anchored, and so come first.
    if "acc" in values:
        parts.append(f"accuracy={_decimal(values.pop('acc'))}")
    if "ACCURACY" in values:
        percent = values.pop("ACCURACY")
        parts.append(f"Word Error Rate: {_decimal(100 - percent)}%, accuracy={_decimal(percent)}%")
    if values:
        pairs = (f"'{SPELLINGS.get(name, name)}': {_decimal(v)}" for name, v in values.items())
        parts.append(f"{{{', '.join(pairs)}}}")
    return ", ".join(parts)


def _why_not(value: object) -> str | None:
    """Why there is no score; None where there is one."""
    if isinstance(value, NotGraded):
        return value.reason
    return str(value[NOT_GRADED]) if isinstance(value, dict) and NOT_GRADED in value else None


def _plain(metric: str, value: object) -> float:
    try:
        return float(value)  # type: ignore[arg-type]  # that it may not be one is what is checked
    except (TypeError, ValueError):
        raise AccuracyError(f"the score of {metric} is {value!r:.100}, not a number") from None


def _decimal(value: float) -> str:
    digits = f"{value:.10f}".rstrip("0")
    return f"{digits}0" if digits.endswith(".") else digits
