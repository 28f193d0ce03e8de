"""Files and folders that belong to nothing, in places that the official checkers never list.

Those checkers go from one known name to the next, so that a tree with such strays is accepted all
the same: each is a warning. Where they do compare lists of files (the root, the divisions, the two
runs, a measurement of power, the descriptions, a closed result's compliance tests) a stray is an
error, and found where those places are looked at. Source code, documentation and images have no
list of files.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Final

from mlpinf_core.submission.checking.audits import listed
from mlpinf_core.submission.checking.notes import files_of, folders_of
from mlpinf_core.submission.layout import RUN

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path

    from mlpinf_core.rules.submission import SubmissionRules
    from mlpinf_core.submission.checking.entry import Entry
    from mlpinf_core.submission.checking.notes import Notes
    from mlpinf_core.submission.layout import SubmitterPlace

SHOWN: Final = 20
"""Strays of one submitter; a folder unpacked in the wrong place is one mistake."""
_OWNER: Final = "{division}/{submitter}/"
_BENCHMARKS: Final = "benchmarks"
_LEVELS: Final = ("systems", _BENCHMARKS, "scenarios")
"""What lies in such a folder, and below it."""


def check_strays(place: SubmitterPlace, entries: list[Entry], notes: Notes) -> None:
    """Everything of a submitter that belongs to nothing.

    Args:
        place: whose it is.
        entries: the submitter's results.
        notes: takes the warnings.
    """
    strays = _strays(place, entries)
    for path, message in islice(strays, SHOWN):
        notes.warn("stray-folder" if path.is_dir() else "stray-file", path, message)
    if more := sum(1 for _ in strays):
        notes.warn("stray-file", place.folder, f"{more:,} more in it belong to nothing")


def _strays(place: SubmitterPlace, entries: list[Entry]) -> Iterator[tuple[Path, str]]:
    yield from _in_submitter(place)
    yield from _in_systems(place)
    for top in _tops(place.rules):
        yield from _beside(place.folder / top, place.results, place.rules, _LEVELS)
    for entry in entries:
        yield from _in_entry(entry)


def _in_submitter(place: SubmitterPlace) -> Iterator[tuple[Path, str]]:
    paths = place.rules.paths
    templates = (*paths.source, paths.documentation, paths.system, paths.mapping)
    known = {*_tops(place.rules), *map(_top, (*templates, *paths.calibration))}
    for name in folders_of(place.folder):
        if name not in known:
            yield place.folder / name, "the round knows no such folder of a submitter"
    for name in files_of(place.folder):
        if name not in known and not name.endswith(place.rules.root_suffixes):
            yield place.folder / name, "a file beside the submitter's folders"


def _in_systems(place: SubmitterPlace) -> Iterator[tuple[Path, str]]:
    beside = {
        name.format(system=system)
        for system in folders_of(place.results)
        for name in place.rules.files.beside_description
    }
    for name in folders_of(place.systems):
        yield place.systems / name, "a folder beside the descriptions"
    for name in files_of(place.systems):
        if not name.endswith(".json") and name not in beside:
            yield place.systems / name, "it is no description of a system"


def _beside(
    folder: Path, results: Path, rules: SubmissionRules, what: tuple[str, ...]
) -> Iterator[tuple[Path, str]]:
    """Files on the way to a result, and folders that lead to none.

    Args:
        folder: that is looked at.
        results: the folder of the results that it has to be in step with.
        rules: of the round.
        what: lies in it, and below it.
    """
    own = rules.files.beside_benchmarks if what[0] == _BENCHMARKS else ()
    for name in files_of(folder):
        if name not in own and not _is_settings(name, rules):
            yield folder / name, f"a file beside the {what[0]}"
    for name in folders_of(folder):
        if not (results / name).is_dir():
            yield folder / name, "there is no result that it belongs to"
        elif len(what) > 1:
            yield from _beside(folder / name, results / name, rules, what[1:])


def _in_entry(entry: Entry) -> Iterator[tuple[Path, str]]:
    place, rules = entry.place, entry.round.submission
    tests = set(entry.round.audits)
    files = {place.folder: set[str]()}
    notes_of = (*rules.files.measurements, *rules.files.optional_measurements)
    for path in place.measurements:
        files.setdefault(path.parent, set()).update((path.name, *notes_of))
    for test in tests:
        for folder in place.audits(test):
            files.setdefault(folder.parent, set())
            yield from _in_test(test, folder, entry)
    for folder, own in files.items():
        admitted = {"performance", "accuracy"} if folder == place.folder else set()
        # A test's folder may lie with the results in every round.
        yield from _others(folder, own, admitted | tests, rules)
    performance = {RUN, place.power.name, place.ranging.name}
    yield from _others(place.performance.parent, set(), performance, rules)
    for name in folders_of(place.accuracy):
        if name != "images":
            yield place.accuracy / name, "it does not belong to an accuracy run"


def _in_test(test: str, folder: Path, entry: Entry) -> Iterator[tuple[Path, str]]:
    """What the official script of a compliance test does not leave in its folder."""
    names, audit = entry.round.submission.files, entry.round.audits[test]
    runs = (*names.performance, *names.optional_performance)
    known = {
        *entry.round.audit_files(test),
        *audit.optional_files,
        *(f"accuracy/{name}" for name in names.audit_accuracy),
        *(f"performance/{RUN}/{name}" for name in runs),
    }
    # Where errors are looked for, only folders are left.
    errors = listed(test, entry) if folder == entry.place.audits(test)[0] else {}
    yield from _unknown(folder, "", known, errors)


def _unknown(
    folder: Path, below: str, known: Collection[str], errors: Collection[str]
) -> Iterator[tuple[Path, str]]:
    for name in files_of(folder / below) if below not in errors else ():
        if f"{below}/{name}".lstrip("/") not in known:
            yield folder / below / name, "it does not belong to a compliance test"
    for name in folders_of(folder / below):
        inner = f"{below}/{name}".lstrip("/")
        if any(path.startswith(f"{inner}/") for path in known):
            yield from _unknown(folder, inner, known, errors)
        else:
            yield folder / inner, "it does not belong to a compliance test"


def _others(
    folder: Path, files: Collection[str], folders: Collection[str], rules: SubmissionRules
) -> Iterator[tuple[Path, str]]:
    for name in files_of(folder):
        if name not in files and not _is_settings(name, rules):
            yield folder / name, "it does not belong to a result"
    for name in folders_of(folder):
        if name not in folders:
            yield folder / name, "it does not belong to a result"


def _is_settings(name: str, rules: SubmissionRules) -> bool:
    """Whether a file is of a power measurement; those may lie anywhere above it."""
    return name.startswith(tuple(f"{prefix}." for prefix in rules.files.power_measurements))


def _tops(rules: SubmissionRules) -> dict[str, None]:
    """The submitter's folders in which something lies by system, benchmark and scenario."""
    paths = rules.paths
    return dict.fromkeys(map(_top, (paths.results, *paths.measurements, *paths.audits)))


def _top(template: str) -> str:
    """The first name of a path below the submitter's folder."""
    return template.removeprefix(_OWNER).partition("/")[0]
