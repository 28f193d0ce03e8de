"""What lies where: names, links, sizes, strays beside submitters, source code, calibration."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from mlpinf_core.submission.archive import is_plain
from mlpinf_core.submission.checking.notes import files_of, folders_of, names_of
from mlpinf_core.submission.layout import SubmitterPlace

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlpinf_core.rules.submission import SubmissionRules
    from mlpinf_core.submission.checking.notes import Notes

SHOWN = 20
"""Findings of one kind; a tree with a thousand links has one mistake."""


def submitters(root: Path, rules: SubmissionRules, notes: Notes) -> list[SubmitterPlace]:
    """Every submitter of every division; what lies beside them is written down."""
    found = []
    for name in files_of(root):
        if not name.endswith(rules.root_suffixes):
            notes.add("stray-file", root / name, "a file beside the divisions")
    for division in folders_of(root):
        if division not in rules.divisions:
            notes.add("division-unknown", root / division, f"there is no division {division!r}")
            continue
        for name in files_of(root / division):
            notes.add("stray-file", root / division / name, "a file beside the submitters")
        for submitter in folders_of(root / division):
            place = SubmitterPlace(root, rules, division, submitter)
            if place.results.is_dir() and folders_of(place.results):
                found.append(place)
            else:
                notes.add("tree-empty", place.folder, "the submitter has no results")
    if not found:
        notes.add("tree-empty", root, "there is nothing to check: no division with results")
    return found


def check_names(root: Path, rules: SubmissionRules, notes: Notes) -> None:
    """Every file and folder of a tree by its name, kind and size."""
    budget = dict.fromkeys(("file-name", "link", "file-size", "empty-folder", "unreadable"), SHOWN)

    def add(rule: str, path: Path, message: str) -> None:
        if budget[rule] > 0:
            budget[rule] -= 1
            notes.add(rule, path, message)

    def failed(error: OSError) -> None:
        add("unreadable", Path(error.filename or root), f"{error.strerror or error}")

    for parent, folders, files in os.walk(root, onerror=failed):
        here = Path(parent)
        if not folders and not files and here != root:
            add("empty-folder", here, "the folder is empty")
        for name in sorted(folders):
            if (here / name).is_symlink():
                add("link", here / name, "a symbolic link to a folder")
            _check_name(here / name, name, add)
        for name in sorted(files):
            path = here / name
            _check_name(path, name, add)
            if path.is_symlink():
                add("link", path, "a symbolic link")
                continue
            size = path.stat().st_size
            if size > rules.max_file_bytes:
                limit = rules.max_file_bytes
                add("file-size", path, f"{size:,} bytes; at most {limit:,} are taken")


def _check_name(path: Path, name: str, add: Callable[[str, Path, str], None]) -> None:
    if not is_plain(name):
        add("file-name", path, "the name is not one line of UTF-8")
    elif name.startswith("."):
        add("file-name", path, "the name begins with a dot")
    elif " " in name:
        add("file-name", path, "the name has a space in it")
    elif name == "__pycache__":
        add("file-name", path, "a cache of Python")


def check_submitter(place: SubmitterPlace, notes: Notes) -> None:
    """Source code, calibration, and descriptions that belong to nothing."""
    if not any(names_of(folder) for folder in place.sources):
        wanted = " or ".join(notes.relative(folder) for folder in place.sources)
        notes.add("source-missing", place.sources[0], f"there is nothing in {wanted}")
    if place.division in place.rules.audited_divisions:
        notable = [path for path in place.calibration if path.is_file() and path.stat().st_size]
        if not notable:
            notes.add("calibration-missing", place.calibration[0], "there is no calibration note")
    systems = set(folders_of(place.results))
    for name in files_of(place.systems):
        if name.endswith(".json") and name.removesuffix(".json") not in systems:
            notes.add("system-unused", place.systems / name, "the system has no results")
