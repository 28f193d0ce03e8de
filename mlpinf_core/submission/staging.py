"""From runs on disk to the tree that is submitted; it appears whole or not at all."""

from __future__ import annotations

import contextlib
import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs

from mlpinf_core.errors import LogError, PrerequisiteError
from mlpinf_core.results import RESULT_NAME, RunResult
from mlpinf_core.rules import load_round
from mlpinf_core.submission import documents
from mlpinf_core.submission.candidates import Left
from mlpinf_core.submission.collecting import collect
from mlpinf_core.submission.describing import descriptions_of
from mlpinf_core.submission.layout import (
    ACCURACY_LOG,
    ACCURACY_TEXT,
    DETAIL,
    SUMMARY,
    EntryPlace,
    SubmitterPlace,
)
from mlpinf_core.submission.naming import Named, named
from mlpinf_core.submission.whole import alone_at, exchange

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mlpinf_core.plugins import Plugins
    from mlpinf_core.vocabulary import Division

_IGNORED: Final = shutil.ignore_patterns(".*", "__pycache__", "*.pyc")


@attrs.frozen
class Staged:
    """What staging came to.

    Attributes:
        tree: the folder that holds the divisions.
        entries: what was staged, as ``division/submitter/system/benchmark/scenario``.
        left: what was left out, and why.
    """

    tree: Path
    entries: tuple[str, ...]
    left: tuple[Left, ...]


def stage(
    roots: Sequence[Path],
    output: Path,
    *,
    plugins: Plugins,
    round: str,  # noqa: A002 - the word of the field
    division: Division,
    submitter: str,
    fields: Mapping[str, str] | None = None,
    measurements: Mapping[str, str] | None = None,
    source: Path | None = None,
    calibration: Path | None = None,
    private: Sequence[Path] = (),
    replace: bool = False,
) -> Staged:
    """Put the best valid runs into a tree.

    Args:
        roots: run directories, sessions, or what was given to ``--output``.
        output: the tree. What other submitters and divisions have in it stays as it is.
        plugins: those the runs were made with; they say what a submission tells of their models.
        round: of the rules; runs of others are left out.
        division: closed or open.
        submitter: the organisation, which names a folder.
        fields: what stands above the system files, by key of the official description.
        measurements: what stands above the plugins, by key of the file of measurements.
        source: the folder of source code; in the open division, a note of the packages does.
        calibration: the calibration note; in the open division, one is made.
        private: files that may not lie in the folder of source code, such as a password's.
        replace: what the submitter has in the division already gives way to this.

    Raises:
        PrerequisiteError: nothing can be staged, something a submission needs is missing, the
            source code holds what is none of it, another process is at the tree, or the tree cannot
            be written. The old tree is untouched.
        ConfigurationError: a name, a key or a value is wrong.
    """
    rules = load_round(round)
    output = Path(output).resolve()  # "." has no name beside which a tree could be built
    place = SubmitterPlace(output, rules.submission, division.value, submitter)
    _check_request(place, source, calibration)
    if source is not None:
        _check_source(source, (output, *roots, *private))
    try:
        with alone_at(output) as building:
            _check_replaced(place, replace)
            found, left = collect(roots, rules.name)
            chosen, more = named(found, rules, division, plugins, measurements or {})
            left += more
            if not chosen:
                raise PrerequisiteError(
                    f"there is nothing to stage for {rules.name}, {division}",
                    where=", ".join(str(root) for root in roots),
                    remedy="; ".join(str(each) for each in left[:5]) or _other_rounds(roots),
                )
            descriptions = descriptions_of(
                [each.runs for each in chosen],
                {**(fields or {}), "submitter": submitter, "division": division.value},
                rules.name,
            )
            there = attrs.evolve(place, root=building)
            if output.exists():
                shutil.copytree(output, building, symlinks=True)
                shutil.rmtree(there.folder, ignore_errors=True)
            _write(there, chosen, descriptions, source, calibration)
            exchange(building, output)
    except (OSError, shutil.Error) as error:
        raise PrerequisiteError(
            f"the tree cannot be written: {error}",
            where=str(getattr(error, "filename", None) or output),
            remedy="make room, or choose another place; the old tree is as it was",
        ) from error
    entries = tuple(
        f"{division.value}/{submitter}/{each.runs.system}/{each.benchmark}/"
        f"{each.runs.workload.scenario}"
        for each in chosen
    )
    return Staged(output, entries, tuple(left))


def _other_rounds(roots: Sequence[Path]) -> str:
    """What to do where no run is of the round: the runs may be of another one."""
    gone = [str(root) for root in roots if not Path(root).exists()]
    if gone:
        return f"there is no folder {gone[0]}: name where the runs are, or make some: mlpinf run"
    there: set[str] = set()
    for root in roots:
        for path in Path(root).rglob(RESULT_NAME):
            with contextlib.suppress(LogError):  # what is damaged has been told
                there.add(RunResult.read(path.parent).workload.round)
    if there:
        return f"the runs there are of {', '.join(sorted(there))}: name it with --round"
    return "make some runs: mlpinf run"


def _check_replaced(place: SubmitterPlace, replace: bool) -> None:
    if place.folder.exists() and not replace:
        raise PrerequisiteError(
            f"{place.submitter} has a submission in the {place.division} division already",
            where=str(place.folder),
            remedy="choose another tree, or let it give way with --replace",
        )


def _check_source(source: Path, private: Sequence[Path]) -> None:
    """That nothing is submitted with the source code that is none of it."""
    folder = source.resolve()
    for path in private:
        inside = path.resolve()
        if not inside.is_relative_to(folder):
            continue
        if not any(part.startswith(".") for part in inside.relative_to(folder).parts):
            raise PrerequisiteError(
                f"the source code has {inside} in it, which would be submitted with it",
                where=str(source),
                remedy="name a folder that holds the source code alone",
            )


def _check_request(place: SubmitterPlace, source: Path | None, calibration: Path | None) -> None:
    from mlpinf_core.systems.files import proper_name

    proper_name(place.submitter, "--submitter", "submitter")
    audited = place.division in place.rules.audited_divisions
    for path, option, what in (
        (source, "--source", "the source code"),
        (calibration, "--calibration", "the calibration note"),
    ):
        if path is None and audited:
            raise PrerequisiteError(
                f"a {place.division} submission needs {what}", remedy=f"name it with {option}"
            )
        if path is not None and not path.exists():
            raise PrerequisiteError(f"{what} is not there", where=str(path))


def _write(
    place: SubmitterPlace,
    chosen: Sequence[Named],
    descriptions: Mapping[str, str],
    source: Path | None,
    calibration: Path | None,
) -> None:
    for system, text in descriptions.items():
        _write_text(place.description(system), text)
    for each in chosen:
        runs = each.runs
        _write_entry(place.entry(runs.system, each.benchmark, runs.workload.scenario.value), each)
    mapping = {each.benchmark: each.model for each in chosen if each.benchmark != each.model}
    if mapping:
        _write_text(place.mapping, json.dumps(mapping, indent=2) + "\n")
    _write_source(place, chosen, source)
    said = {each.benchmark: each.measurements for each in chosen}
    note = documents.calibration_note(said)
    if calibration is not None:
        note = calibration.read_text(encoding="utf-8")
    _write_text(place.calibration[0], note)


def _write_entry(place: EntryPlace, each: Named) -> None:
    performance = each.runs.performance.result.directory
    accuracy = each.runs.accuracy.result.directory
    for name in (SUMMARY, DETAIL):
        _copy(performance / name, place.performance / name)
    for name in (SUMMARY, DETAIL, ACCURACY_TEXT, ACCURACY_LOG):
        _copy(accuracy / name, place.accuracy / name)
    if (accuracy / "images").is_dir():
        shutil.copytree(accuracy / "images", place.accuracy / "images")
    note = documents.readme(each.runs, each.benchmark, each.model)
    text = json.dumps(dict(each.measurements), indent=2, ensure_ascii=False) + "\n"
    for path in place.measurements:
        _write_text(path, text)
        _write_text(path.with_name("README.md"), note)
        _copy(performance / "user.conf", path.with_name("user.conf"))
    for test, audit in each.runs.audits.items():
        for folder in place.audits(test):
            for file in audit.files:
                _copy(audit.directory / file.path, folder / file.path)
    _copy_power(performance, place)


def _copy_power(performance: Path, place: EntryPlace) -> None:
    """A power measurement, where the run has one."""
    files = place.owner.rules.files
    if not (performance / "power").is_dir():
        return
    shutil.copytree(performance / "power", place.power)
    if (performance / "ranging").is_dir():
        shutil.copytree(performance / "ranging", place.ranging)
    for name in files.power_performance:
        if (performance / name).is_file():
            _copy(performance / name, place.performance / name)
    for prefix in files.power_measurements:
        for path in performance.glob(f"{prefix}.*"):
            for measured in place.measurements:
                _copy(path, measured.with_name(path.name))


def _write_source(place: SubmitterPlace, chosen: Sequence[Named], source: Path | None) -> None:
    first, *others = place.sources
    if source is None:
        _write_text(first / "README.md", documents.source_note([each.runs for each in chosen]))
    elif source.is_dir():
        shutil.copytree(source, first, ignore=_IGNORED)
    else:
        _copy(source, first / source.name)
    for folder in others:
        _write_text(
            folder / "README.md", f"# Source code\n\nSee [{first.name}](../{first.name}).\n"
        )


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


def _write_text(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
