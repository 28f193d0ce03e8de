"""LoadGen's summary: that it is there, and says of a run what the detail log beside it says."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Final

from mlpinf_core.submission.layout import SUMMARY

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from mlpinf_core.logs.detail import DetailLog
    from mlpinf_core.submission.checking.notes import Notes

_WORD: Final = re.compile(r"^(Result is|Scenario|Mode)\s*:\s*(\S+)", re.MULTILINE)
_FIGURE: Final = re.compile(r"^(\S[^:\n]*?)\s*:[^\S\n]*(\S+)[^\S\n]*$", re.MULTILINE)
_PERCENTILE: Final = re.compile(r"(\d+\.\d+)(?:th)? (\D+) \(ns\)")
_RATES: Final = {
    "Samples per second": "result_samples_per_second",
    "Completed samples per second": "result_completed_samples_per_sec",
    "Scheduled samples per second": "result_scheduled_samples_per_sec",
    "Tokens per second": "result_tokens_per_second",
    "Completed tokens per second": "result_completed_tokens_per_second",
}
"""What a summary calls a rate, and the detail log's key of it."""
_PERCENTILES: Final = {
    "percentile latency": "result_{}_percentile_latency_ns",
    "percentile first token latency": "result_first_token_{}_percentile_latency_ns",
    "first token percentile latency": "result_first_token_{}_percentile_latency_ns",
    "percentile time to output token": "result_time_per_output_token_{}_percentile_ns",
}
"""The same of a percentile."""
_OF_QUERIES: Final = "result_{}_percentile_per_query_latency_ns"
"""What MultiStream's percentiles of latency are."""
_HEADLINE: Final = re.compile(
    r"^(Samples per second|Completed samples|\S+th percentile)", re.MULTILINE
)
"""Of these lines, every performance run has its scenario's."""
_LATIN: Final = "latin-1"
"""A summary is ASCII; anything else in it is looked at all the same."""


def check_summary(log: DetailLog, mode: str, notes: Notes) -> None:
    """That the summary beside a detail log is of the same test, verdict and figures alike.

    Args:
        log: the detail log.
        mode: LoadGen's word for what kind of run it has to be of.
        notes: takes the findings.
    """
    path = log.path.with_name(SUMMARY)
    text = _text(path, notes)
    if text is None:
        return
    said = dict(_WORD.findall(text))
    if mode == "AccuracyOnly":
        if "Result is" in said:
            notes.add("summary", path, "it is of a performance run")
        return
    if "Result is" not in said:
        notes.add("summary", path, "it does not say what came of the test")
        return
    for key, name in (("Result is", "result_validity"), ("Scenario", "effective_scenario")):
        ours, theirs = said.get(key), log.get(name)
        if ours is not None and theirs is not None and ours != str(theirs).replace(" ", ""):
            notes.add("summary", path, f"it says {ours!r}, and the detail log says {theirs!r:.40}")
    if not _HEADLINE.search(text):
        notes.add("summary", path, "it does not say the result")
    for name, key, figure in _figures(text, str(log.get("effective_scenario"))):
        logged = log.get(key)
        if key in log.values and not _agree(figure, logged):
            message = f"{name!r} is {figure:.40}, and {key!r} of the detail log is {logged!r:.40}"
            notes.add("summary", path, message)


def _figures(text: str, scenario: str) -> Iterator[tuple[str, str, str]]:
    """What the summary calls a figure, the detail log's key of it, and what the summary says."""
    for name, figure in _FIGURE.findall(text):
        percentile = _PERCENTILE.fullmatch(name)
        if name in _RATES:
            yield name, _RATES[name], figure
        elif percentile is not None and percentile[2] in _PERCENTILES:
            key = _PERCENTILES[percentile[2]]
            if scenario == "MultiStream" and percentile[2] == "percentile latency":
                key = _OF_QUERIES
            yield name, key.format(f"{float(percentile[1]):.2f}"), figure


def _agree(figure: str, logged: object) -> bool:
    """Whether two figures are one: either file may have it to six digits, or to two places."""
    try:
        ours = float(figure)
        theirs = float(logged) if isinstance(logged, int | float) else math.nan
    except (ValueError, OverflowError):
        return False
    # A single query has no rate: both files have an infinity or no number, the log perhaps as text.
    if not math.isfinite(ours) or not math.isfinite(theirs):
        return not math.isfinite(ours) and not math.isfinite(theirs)
    return math.isclose(ours, theirs, rel_tol=1e-5, abs_tol=0.00501)


def _text(path: Path, notes: Notes) -> str | None:
    if not path.is_file():
        notes.add("summary", path, "it is not there")
        return None
    try:
        text = path.read_text(encoding=_LATIN)
    except OSError as error:
        notes.add("unreadable", path, f"it cannot be read: {error.strerror or error}")
        return None
    if not text.strip():
        notes.add("summary", path, "it is empty")
        return None
    return text
