"""LoadGen's summary: that it is there, and says of a run what the detail log beside it says."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Final

from mlpinf_core.submission.layout import SUMMARY

if TYPE_CHECKING:
    from pathlib import Path

    from mlpinf_core.logs.detail import DetailLog
    from mlpinf_core.submission.checking.notes import Notes

_WORD: Final = re.compile(r"^(Result is|Scenario|Mode)\s*:\s*(\S+)", re.MULTILINE)
_OFFLINE: Final = {
    "Samples per second": "result_samples_per_second",
    "Tokens per second": "result_tokens_per_second",
    "Tokens per second (inferred)": "result_inferred_tokens_per_second",
}
_SERVER: Final = {
    "Completed samples per second": "result_completed_samples_per_sec",
    "Scheduled samples per second": "result_scheduled_samples_per_sec",
    "Completed tokens per second": "result_completed_tokens_per_second",
    "Completed tokens per second (inferred)": "result_inferred_completed_tokens_per_second",
}
_SINGLE_STREAM: Final = {
    "QPS w/ loadgen overhead": "result_qps_with_loadgen_overhead",
    "QPS w/o loadgen overhead": "result_qps_without_loadgen_overhead",
    "TPS w/ loadgen overhead": "result_token_throughput_with_loadgen_overhead",
}
"""TPS w/o loadgen overhead is not among them: the detail log has it by the nanosecond."""
_RATES: Final = {"Offline": _OFFLINE, "Server": _SERVER, "SingleStream": _SINGLE_STREAM}
"""What a scenario's summary calls a rate, and the detail log's key of it."""
_PERCENTILES: Final = ("50.00", "90.00", "95.00", "97.00", "99.00", "99.90")
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
    _check_figures(text, log, path, notes)


def _check_figures(text: str, log: DetailLog, path: Path, notes: Notes) -> None:
    """That each figure of the detail log that belongs into the summary is there, and the same."""
    scenario = str(log.get("effective_scenario"))
    rates = _RATES.get(scenario, {})
    lines = {**rates, **_latencies(scenario)}
    gone = dict.fromkeys(key for key in lines.values() if key in log.values)
    for line in text.splitlines():
        name, _, figure = (part.strip() for part in line.rpartition(":"))
        key = lines.get(name)
        if key is None or key not in log.values:
            continue
        gone.pop(key, None)
        logged = log.get(key)
        if not _agree(figure, logged, scenario if key in rates.values() else None):
            message = f"{name!r} is {figure:.40}, and {key!r} of the detail log is {logged!r:.40}"
            notes.add("summary", path, message)
    if gone:
        more = f", nor {len(gone) - 1} more of its figures" if len(gone) > 1 else ""
        notes.add("summary", path, f"it does not say {next(iter(gone))!r} of the detail log{more}")
    elif not _HEADLINE.search(text):
        notes.add("summary", path, "it does not say the result")


def _latencies(scenario: str) -> dict[str, str]:
    """What a summary calls each latency, and the detail log's key of it."""
    # A query of MultiStream has many samples; the summary has those of the queries alone.
    many = scenario == "MultiStream"
    lines = {}
    for word in ("min", "max", "mean"):
        said = word.capitalize()
        lines[f"{said} latency (ns)"] = f"result_{word}_{'query_' if many else ''}latency_ns"
        lines[f"{said} First Token latency (ns)"] = f"result_first_token_{word}_latency_ns"
        for link in ("to", "per"):  # LoadGen 5.1, and later ones
            lines[f"{said} Time {link} Output Token (ns)"] = f"result_time_to_output_token_{word}"
    for number in _PERCENTILES:
        headline = f"{float(number):.1f}th"
        latency = f"result_{number}_percentile_{'per_query_' if many else ''}latency_ns"
        first = f"result_first_token_{number}_percentile_latency_ns"
        each = f"result_time_per_output_token_{number}_percentile_ns"
        lines |= {
            f"{headline} percentile latency (ns)": latency,
            f"{number} percentile latency (ns)": latency,
            f"{headline} first token percentile latency (ns)": first,
            f"{number} percentile first token latency (ns)": first,
            f"{number} percentile time to output token (ns)": each,
        }
    return lines


def _agree(figure: str, logged: object, rate_of: str | None) -> bool:
    """Whether two figures are one, to the digits that LoadGen writes.

    Args:
        figure: of the summary.
        logged: of the detail log.
        rate_of: the scenario, for a rate: both files have it to six digits, but that the summary
            has all but Offline's to two places. A latency is a whole number in both.
    """
    try:
        ours = float(figure)
        theirs = float(logged) if isinstance(logged, int | float) else math.nan
    except (ValueError, OverflowError):
        return False
    # A single query has no rate: both files have an infinity or no number, the log perhaps as text.
    if not math.isfinite(ours) or not math.isfinite(theirs):
        return not math.isfinite(ours) and not math.isfinite(theirs)
    if rate_of is None:
        return ours == theirs
    places = 0.0 if rate_of == "Offline" else 0.00501
    return math.isclose(ours, theirs, rel_tol=1e-5, abs_tol=places)


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
