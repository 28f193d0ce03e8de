"""Collecting findings, and reading a tree's files without ever failing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import attrs

from mlpinf_core.errors import LogError
from mlpinf_core.logs.detail import DetailLog
from mlpinf_core.submission.checking.catalogue import rules
from mlpinf_core.submission.model import Finding, Severity


@attrs.define
class Notes:
    """The findings so far.

    Attributes:
        root: of the tree.
        findings: in the order of their finding.
    """

    root: Path
    findings: list[Finding] = attrs.field(factory=list)

    def add(
        self,
        rule: str,
        path: Path,
        message: str,
        *,
        remedy: str | None = None,
        severity: Severity = Severity.ERROR,
    ) -> None:
        """Write down one more, with the rule's own remedy unless there is a better one."""
        finding = Finding(
            rule, self.relative(path), message, remedy or rules()[rule].remedy, severity
        )
        if finding not in self.findings:
            self.findings.append(finding)

    def warn(self, rule: str, path: Path, message: str, *, remedy: str | None = None) -> None:
        """Write down one more that is no error."""
        self.add(rule, path, message, remedy=remedy, severity=Severity.WARNING)

    def relative(self, path: Path) -> str:
        """A path as findings name it; what is not UTF-8 in it is escaped."""
        if path.is_relative_to(self.root):
            path = path.relative_to(self.root)
        return path.as_posix().encode(errors="backslashreplace").decode() or "."

    # -- reading ---------------------------------------------------------------------------------

    def text(self, path: Path, rule: str) -> str | None:
        """A file's text; None where it cannot be read, which is written down."""
        try:
            if path.exists() and not path.is_file():  # a pipe would be waited for in vain
                self.add("unreadable", path, "it is no regular file")
                return None
            return path.read_text(encoding="utf-8")
        except FileNotFoundError:
            self.add(rule, path, "it is not there")
        except UnicodeDecodeError as error:
            self.add(rule, path, f"it is not text in UTF-8: {error.reason} at byte {error.start}")
        except OSError as error:
            self.add("unreadable", path, f"it cannot be read: {error.strerror or error}")
        return None

    def json_object(self, path: Path, missing: str, damaged: str) -> dict[str, Any] | None:
        """A JSON object; None where there is none, which is written down."""
        if not path.is_file():
            self.add(missing, path, "it is not there")
            return None
        text = self.text(path, damaged)
        if text is None:
            return None
        try:
            data = json.loads(text)
        except (ValueError, RecursionError) as error:
            self.add(damaged, path, f"it is not JSON: {error!s:.100}")
            return None
        if not isinstance(data, dict):
            self.add(damaged, path, f"it holds a {type(data).__name__}, not an object")
            return None
        return data

    def detail_log(self, path: Path) -> DetailLog | None:
        """A detail log; None where there is none, which is written down."""
        if not path.is_file():
            self.add("log-missing", path, "there is no detail log")
            return None
        try:
            return DetailLog.read(path)
        except LogError as error:
            # The error's own words name the file as it lies on this machine; the finding has it.
            line = (error.where or "").rpartition(", line ")[2] if error.where else ""
            where = f" (line {line})" if line.isdigit() else ""
            self.add("log-damaged", path, f"{error.what}{where}")
        return None


def names_of(folder: Path) -> list[str]:
    """The names in a folder, sorted; none where it cannot be listed."""
    try:
        return sorted(entry.name for entry in folder.iterdir())
    except OSError:
        return []


def folders_of(folder: Path) -> list[str]:
    """The names of the folders in a folder, sorted."""
    return [name for name in names_of(folder) if (folder / name).is_dir()]


def files_of(folder: Path) -> list[str]:
    """The names of the files in a folder, sorted."""
    return [name for name in names_of(folder) if (folder / name).is_file()]
