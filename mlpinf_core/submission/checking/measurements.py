"""The files that say how a result was measured."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from mlpinf_core.submission.checking.entry import Entry
    from mlpinf_core.submission.checking.notes import Notes


def check_measurements(entry: Entry, notes: Notes) -> None:
    """The round's own place; where it has a second, what lies there is held to the same."""
    first, *others = entry.place.measurements
    _check_place(first, entry, notes)
    for path in others:
        if path.exists():
            _check_place(path, entry, notes)


def _check_place(path: Path, entry: Entry, notes: Notes) -> None:
    rules = entry.round.submission
    for name in rules.files.measurements:
        file = path.with_name(name)
        if not file.is_file():
            notes.add("measurements-missing", file, "it is not there")
        elif not file.stat().st_size:
            notes.add("empty-file", file, "it is empty")
    data = notes.json_object(path, "measurements-missing", "measurements-damaged")
    if data is None:
        return
    for key in rules.measurement_fields:
        if key not in data:
            notes.add("measurements-field", path, f"{key!r} is missing")
        elif not _says_something(data[key]):
            notes.add("measurements-field", path, f"{key!r} says nothing")


def _says_something(value: Any) -> bool:
    return bool(value.strip()) if isinstance(value, str) else bool(value)
