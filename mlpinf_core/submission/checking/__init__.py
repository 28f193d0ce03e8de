"""Checks a tree against the rules of its round: every file, every log, every number.

It takes nothing on trust and raises for nothing that is in a tree: what cannot be read is a
finding. Rules are data: the figures in :mod:`mlpinf_core.rules`, the words in the catalogue.
"""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from mlpinf_core.errors import PrerequisiteError, UnknownNameError
from mlpinf_core.rules import load_round
from mlpinf_core.submission.checking import accuracy, benchmarks, measurements, power, structure
from mlpinf_core.submission.checking.audits import check_audits
from mlpinf_core.submission.checking.logs import check_any_log, check_same_writer
from mlpinf_core.submission.checking.notes import Notes, files_of, folders_of
from mlpinf_core.submission.checking.performance import check_performance, figures
from mlpinf_core.submission.checking.strays import check_strays
from mlpinf_core.submission.checking.systems import check_system
from mlpinf_core.submission.layout import ACCURACY_LOG, DETAIL
from mlpinf_core.submission.model import EntryResult, Report, Severity

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlpinf_core.logs.detail import DetailLog
    from mlpinf_core.rules.model import Round
    from mlpinf_core.submission.checking.entry import Entry
    from mlpinf_core.submission.layout import SubmitterPlace

log = logging.getLogger(__name__)


def check(
    tree: Path,
    *,
    round: str,  # noqa: A002 - the word of the field
    backup: Path | None = None,
    submitter: str | None = None,
    on_entry: Callable[[str], None] | None = None,
) -> Report:
    """Check a tree.

    Args:
        tree: the folder that holds the divisions.
        round: whose rules.
        backup: where the whole accuracy logs are, if they were cut: their checksums are compared.
        submitter: look at this one alone.
        on_entry: called with the path of each result before it is looked at.

    Raises:
        PrerequisiteError: there is no such folder.
        UnknownNameError: there is no such round, or no such submitter in the tree.
    """
    found = load_round(round)
    tree = Path(tree)
    if not tree.is_dir():
        raise PrerequisiteError(
            "there is no such folder", where=str(tree), remedy="stage one: mlpinf submit stage"
        )
    notes = Notes(tree)
    results: list[EntryResult] = []
    _guarded(notes, tree, lambda: structure.check_names(tree, found.submission, notes))
    places = structure.submitters(tree, found.submission, notes)
    names = list(dict.fromkeys(place.submitter for place in places))
    if submitter is not None and names and submitter not in names:
        raise UnknownNameError("submitter", submitter, names)
    for place in places:
        if submitter is not None and place.submitter != submitter:
            continue
        _guarded(notes, place.folder, partial(structure.check_submitter, place, notes))
        entries = _entries(place, found, notes)
        _guarded(notes, place.folder, partial(check_strays, place, entries, notes))
        for entry in entries:
            if on_entry is not None:
                on_entry(notes.relative(entry.place.folder))
            results.append(_check_entry(entry, backup, notes))
    order = list(Severity)
    findings = sorted(notes.findings, key=lambda f: (order.index(f.severity), f.path))
    return Report(found.name, tuple(findings), tuple(results))


def _entries(place: SubmitterPlace, round_: Round, notes: Notes) -> list[Entry]:
    found: list[Entry] = []

    def look() -> None:
        mapping = benchmarks.mapping_of(place, round_, notes)
        for system in folders_of(place.results):
            measured = any(place.results.joinpath(system).glob("*/*/performance/power"))
            categories = check_system(place, system, round_, power=measured, notes=notes)
            found.extend(benchmarks.entries_of(place, system, categories, mapping, round_, notes))

    _guarded(notes, place.folder, look)
    return found


def _check_entry(entry: Entry, backup: Path | None, notes: Notes) -> EntryResult:
    place, before = entry.place, len(notes.findings)
    value: float | None = None
    unit = ""
    said: dict[str, float] = {}

    def look() -> None:
        nonlocal value, unit, said
        measurements.check_measurements(entry, notes)
        first = _check_performance_run(entry, notes)
        if first is not None:
            value, unit = figures(first, entry, notes)
        said = _check_accuracy_run(entry, first, backup, notes)
        check_audits(entry, backup, notes)
        if power.has_power(entry):
            power.check_power(first, entry, notes)

    _guarded(notes, place.folder, look)
    mine = [f for f in notes.findings[before:] if f.severity is Severity.ERROR]
    return EntryResult(
        division=place.owner.division,
        submitter=place.owner.submitter,
        system=place.system,
        benchmark=place.benchmark,
        model=entry.model.name if entry.model else None,
        scenario=place.scenario,
        value=value,
        unit=unit,
        accuracy=said,
        valid=not mine and entry.model is not None,
    )


def _check_performance_run(entry: Entry, notes: Notes) -> DetailLog | None:
    folder, files = entry.place.performance, entry.round.submission.files
    if not folder.is_dir():
        notes.add("run-missing", folder, "there is no performance run")
        return None
    admitted = (*files.performance, *files.optional_performance)
    if power.has_power(entry):
        admitted += files.power_performance
    for name in files_of(folder):
        if name not in admitted:
            notes.add("stray-file", folder / name, "it does not belong to a performance run")
    found = notes.detail_log(folder / DETAIL)
    if found is not None:
        check_any_log(found, "PerformanceOnly", entry, notes)
        check_performance(found, entry, notes)
    return found


def _check_accuracy_run(
    entry: Entry, first: DetailLog | None, backup: Path | None, notes: Notes
) -> dict[str, float]:
    folder = entry.place.accuracy
    if not folder.is_dir():
        notes.add("run-missing", folder, "there is no accuracy run")
        return {}
    found = notes.detail_log(folder / DETAIL)
    if found is not None:
        check_any_log(found, "AccuracyOnly", entry, notes)
        if entry.model is not None:
            accuracy.check_samples(found, entry.model, notes)
        if first is not None:
            check_same_writer(first, found, notes)
    whole = None if backup is None else backup / notes.relative(folder / ACCURACY_LOG)
    accuracy.check_log(folder, entry, whole, notes)
    accuracy.check_files(folder, entry, notes)
    return accuracy.check_text(folder, entry, notes)


def _guarded(notes: Notes, path: Path, look: Callable[[], None]) -> None:
    """Whatever a tree holds, the rest of it is looked at too."""
    try:
        look()
    except OSError as error:
        notes.add("unreadable", Path(error.filename or path), f"{error.strerror or error}")
    except Exception as error:  # a bug of ours must not hide what else is wrong
        log.exception("checking %s", path)
        notes.add("unreadable", path, f"it cannot be judged: {type(error).__name__}: {error}")
