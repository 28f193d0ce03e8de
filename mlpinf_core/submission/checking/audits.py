"""Compliance tests: their files, their verdicts, their own logs."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from mlpinf_core.audits.scores import compare_speed
from mlpinf_core.submission.checking import accuracy
from mlpinf_core.submission.checking.logs import check_any_log
from mlpinf_core.submission.checking.notes import files_of
from mlpinf_core.submission.checking.performance import check_performance
from mlpinf_core.submission.layout import ACCURACY_LOG, DETAIL, RUN

if TYPE_CHECKING:
    from pathlib import Path

    from mlpinf_core.submission.checking.entry import Entry, Model
    from mlpinf_core.submission.checking.notes import Notes

_EXACT: Final = "TEST01"
_VERDICT: Final = "verify_accuracy.txt"
_PASSED: Final = "TEST PASS"
_SAME: Final = "num_perf_log_data_mismatch = 0"
_FAILED: Final = re.compile(r"TEST FAIL|pass: False|num_perf_log_data_mismatch = 0*[1-9]")
"""What no verdict of a test that passed says."""


def check_audits(entry: Entry, backup: Path | None, notes: Notes) -> None:
    """Every test that the round asks of a closed result.

    Args:
        entry: the result.
        backup: where the whole logs are, if they were cut; None where nobody says.
        notes: takes the findings.
    """
    if not entry.closed or entry.model is None:
        return
    for test in entry.model.rules.audits:
        folder = entry.place.audits(test)[0]
        if not folder.is_dir():
            notes.add("audit-missing", folder, f"there is no {test}")
        else:
            _check_test(test, folder, entry, entry.model, notes)
            whole = backup and backup / notes.relative(folder / "accuracy" / ACCURACY_LOG)
            accuracy.check_hash(folder / "accuracy", whole, notes)


def _check_test(test: str, folder: Path, entry: Entry, model: Model, notes: Notes) -> None:
    rules = entry.round.submission
    for name in entry.round.audit_files(test):
        path = folder / name
        if not path.is_file():
            notes.add("audit-missing", path, f"{test} lacks it")
        elif not path.stat().st_size:
            notes.add("empty-file", path, "it is empty")
    log = folder / "accuracy" / ACCURACY_LOG
    most = rules.max_accuracy_log_bytes
    if test in rules.truncated_audits and log.is_file() and log.stat().st_size > most:
        message = f"{log.stat().st_size:,} bytes; at most {most:,} are taken"
        notes.add("accuracy-log-size", log, message)
    said = rules.audits.get(test)
    for name, wanted in (said.verdicts if said else {}).items():
        _check_verdict(folder / name, wanted, notes)
    if test == _EXACT:
        _check_comparison(folder, entry, model, notes)
    for place, names in listed(test, entry).items():
        for name in files_of(folder / place):
            if name not in names:
                notes.add("audit-files", folder / place / name, f"it does not belong to a {test}")
    run = folder / "performance" / RUN
    if (run / DETAIL).is_file():
        _check_run(test, run, entry, notes)
        _check_speed(test, folder, entry, notes)


def listed(test: str, entry: Entry) -> dict[str, tuple[str, ...]]:
    """The folders of a test whose files the official checkers list, and what may lie in each."""
    if not entry.closed or entry.model is None or test not in entry.model.rules.audits:
        return {}
    files = entry.round.submission.files
    folders = {f"performance/{RUN}": (*files.performance, *files.optional_performance)}
    if test == _EXACT:
        folders["accuracy"] = (*files.audit_accuracy, *files.optional_performance)
    return folders


def _check_verdict(path: Path, wanted: tuple[tuple[str, ...], ...], notes: Notes) -> None:
    if not path.is_file():
        return  # written down already
    text = notes.text(path, "audit-failed")
    if text is None:
        return
    lines = {line.strip() for line in text.splitlines()}
    for choices in wanted:
        if not lines.intersection(choices):
            notes.add("audit-failed", path, f"it does not say {' or '.join(map(repr, choices))}")
    for line in sorted(lines):
        if _FAILED.search(line):
            notes.add("audit-failed", path, f"it says {line!r:.80}")


def _check_speed(test: str, folder: Path, entry: Entry, notes: Notes) -> None:
    """The comparison of the test's speed, made once more from the logs in the tree."""
    audit = entry.round.audits.get(test)
    if audit is None or audit.speed is None or entry.scenario is None:
        return
    logs = [run / DETAIL for run in (entry.place.performance, folder / "performance" / RUN)]
    if not all(path.is_file() for path in logs):
        return  # written down already
    reference, own = (notes.detail_log(path) for path in logs)
    if reference is None or own is None:
        return
    reason = compare_speed(reference, own, entry.scenario, audit).reason
    if reason is not None:
        notes.add("audit-failed", own.path, reason)


def _check_comparison(folder: Path, entry: Entry, model: Model, notes: Notes) -> None:
    """The exact comparison, or where it failed that of the two accuracies."""
    path = folder / _VERDICT
    text = notes.text(path, "audit-failed") if path.is_file() else None
    if text is None:
        return
    lines = {line.strip() for line in text.splitlines()}
    if _PASSED in lines:
        for line in sorted(lines):
            if _FAILED.search(line):
                notes.add("audit-failed", path, f"it says {line!r:.80}, and {_PASSED!r} as well")
        if _SAME not in lines:
            notes.add("audit-failed", path, f"it says {_PASSED!r}, and not {_SAME!r}")
        return
    place = folder / "accuracy"
    missing = [
        name for name in entry.round.submission.files.audit_accuracy if not (place / name).is_file()
    ]
    if missing:
        message = f"the exact comparison failed, and {missing[0]} is missing for the other one"
        notes.add("audit-failed", place, message)
        return
    texts = {}
    for name in ("baseline_accuracy.txt", "compliance_accuracy.txt"):
        texts[name] = notes.text(place / name, "audit-failed") or ""
    for metric in model.limits:
        values = [accuracy.metric_values(text, metric) for text in texts.values()]
        if not all(values) or not all(value[-1] for value in values):
            notes.add("audit-failed", place, f"there is no {metric} in both accuracies")
            continue
        baseline, audited = (value[-1] for value in values)
        margin = model.rules.audit_margins.get(metric, 0.0)
        apart = abs(1 - baseline / audited) * 100
        if apart > margin:
            message = (
                f"{metric} is {audited:g}, {apart:.3g} % from {baseline:g}; {margin:g} % may be"
            )
            notes.add("audit-failed", place, message)


def _check_run(test: str, run: Path, entry: Entry, notes: Notes) -> None:
    """The test's own performance run, and that it was one of the test."""
    log = notes.detail_log(run / DETAIL)
    if log is None:
        return
    check_any_log(log, "PerformanceOnly", entry, notes)
    check_performance(log, entry, notes, audit=True)
    said = entry.round.submission.audits.get(test)
    for key, wanted in (said.values if said else {}).items():
        if log.get(key) != wanted:
            message = f"{key!r} is {log.get(key)!r:.40}, and {test} sets {wanted}"
            notes.add("audit-settings", log.path, message)
