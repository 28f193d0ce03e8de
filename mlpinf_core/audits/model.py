"""What an audit came to: ``audit.json``, for people, for staging and for a second look.

An audit has a directory of its own, beside the runs of its workload::

    <session>/<workload>/TEST01/audit.json
    <session>/<workload>/TEST01/verify_accuracy.txt, performance/run_1/..., accuracy/...
    <session>/<workload>/TEST01/run/

:attr:`AuditResult.files` lists what belongs into a submission's folder of that test, by path
relative to the audit's directory; neither ``audit.json`` nor ``run/`` is among it. ``run/`` is an
ordinary run directory, and its ``result.json`` names the test in ``audit``, so that nobody takes
it for a performance run.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import attrs

from mlpinf_core.errors import LogError
from mlpinf_core.hashing import sha256_of
from mlpinf_core.logs.cause import Cause
from mlpinf_core.manifest import FileRecord
from mlpinf_core.record import read_json, write_json
from mlpinf_core.vocabulary import Mode, Workload

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

FILE_NAME: Final = "audit.json"
FORMAT: Final = 1
RUN_NAME: Final = "run"
"""The run directory inside an audit's directory."""


@attrs.frozen
class AuditedRun:
    """A run that went into an audit, as it was then.

    Attributes:
        directory: of the run.
        files: those that were read of it, with their checksums.
    """

    directory: Path
    files: tuple[FileRecord, ...]

    @classmethod
    def of(cls, directory: Path, names: Iterable[str]) -> AuditedRun:
        """A run directory as it is now.

        Raises:
            LogError: a file is not there or cannot be read.
        """
        return cls(directory, records_of(directory, names))

    def fault(self) -> str | None:
        """What has changed since, in a phrase; None when nothing has."""
        return _fault(self.directory, self.files)


@attrs.frozen
class AuditCheck:
    """One thing that a test looks at.

    Attributes:
        name: ``accuracy``, ``performance``, ``first token``, ``eos``, ``length``.
        passed: how it came out; None where the scenario or the result makes it needless.
        detail: with its figures.
    """

    name: str
    passed: bool | None
    detail: str


@attrs.frozen
class AuditResult:
    """One compliance test of one workload.

    Attributes:
        directory: of the audit; everything it wrote.
        workload: what was audited: round, benchmark, scenario, variant and accuracy target.
        test: ``TEST01``, ``TEST04`` or ``TEST06``.
        passed: whether there is no reason against it.
        reasons: every one for which it failed, with what to change.
        checks: what was looked at.
        runs: ``audit`` is the test's own; ``performance`` is the one it vouches for, and
            ``accuracy`` the one it was held against, where it was.
        files: what belongs into a submission's folder of the test, relative to ``directory``.
        created: when it was finished, ISO 8601 in UTC.
    """

    directory: Path
    workload: Workload
    test: str
    passed: bool
    reasons: tuple[Cause, ...]
    checks: tuple[AuditCheck, ...]
    runs: Mapping[str, AuditedRun]
    files: tuple[FileRecord, ...]
    created: str

    def fault(self, runs: Mapping[Mode, Path] | None = None) -> str | None:
        """Why the audit does not hold for what is on disk now; None when it does.

        Args:
            runs: those that it has to have been held against, by mode; None means any. A run is
                recognised by the checksums of its logs, wherever it lies now. An audit that names
                no performance run vouches for none.
        """
        fault = _fault(self.directory, self.files)
        for mode, directory in (runs or {}).items():
            known = self.runs.get(mode.value)
            files = known.files if known is not None else ()
            if fault is None and mode is Mode.PERFORMANCE and not files:
                fault = "it does not say which performance run it is of; make the audit again"
            if fault is None:
                fault = _fault(directory, files)
        return fault

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON. Runs inside the session are named relative to the audit."""
        return {
            "format": FORMAT,
            "workload": self.workload.to_dict(),
            "test": self.test,
            "passed": self.passed,
            "reasons": [reason.to_dict() for reason in self.reasons],
            "checks": [attrs.asdict(check) for check in self.checks],
            "runs": {
                role: {
                    "directory": _relative(run.directory, self.directory),
                    "files": [attrs.asdict(file) for file in run.files],
                }
                for role, run in self.runs.items()
            },
            "files": [attrs.asdict(file) for file in self.files],
            "created": self.created,
        }

    def write(self) -> None:
        """Write ``audit.json``, whole or not at all."""
        write_json(self.directory / FILE_NAME, self.to_dict())

    @classmethod
    def read(cls, directory: Path) -> AuditResult:
        """Read an audit's directory.

        Raises:
            LogError: there is no audit in it, or it is damaged.
        """
        path = directory / FILE_NAME
        data = read_json(path)
        try:
            return cls(
                directory=directory,
                workload=Workload.from_dict(data["workload"]),
                test=str(data["test"]),
                passed=_flag(data["passed"]),
                reasons=tuple(Cause.from_dict(reason) for reason in data["reasons"]),
                checks=tuple(AuditCheck(**check) for check in data["checks"]),
                runs={
                    str(role): AuditedRun(directory / run["directory"], _files(run["files"]))
                    for role, run in data["runs"].items()
                },
                files=_files(data["files"]),
                created=str(data["created"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise LogError(
                f"{FILE_NAME} is damaged: {type(error).__name__}: {error}",
                where=str(path),
                remedy="make the audit again",
            ) from error


def find_audits(root: Path) -> Iterator[AuditResult]:
    """Every audit at or below a directory, in the order of their directories; skips damaged ones.

    Args:
        root: an audit, a workload's directory, a session, what was given to ``--output``, or
            anything that holds such.
    """
    for path in sorted(root.rglob(FILE_NAME)):
        try:
            yield AuditResult.read(path.parent)
        except LogError:
            continue


def records_of(directory: Path, names: Iterable[str]) -> tuple[FileRecord, ...]:
    """Size and checksum of files below a directory.

    Raises:
        LogError: a file is not there or cannot be read.
    """
    found = []
    for name in names:
        path = directory / name
        try:
            found.append(FileRecord(name, path.stat().st_size, sha256_of(path)))
        except OSError as error:
            raise LogError(
                f"{name} cannot be read: {error.strerror or error}", where=str(directory)
            ) from error
    return tuple(found)


def _fault(directory: Path, files: Iterable[FileRecord]) -> str | None:
    for file in files:
        try:
            same = sha256_of(directory / file.path) == file.sha256
        except OSError as error:
            return f"{directory / file.path} cannot be read: {error.strerror or error}"
        if not same:
            return f"{directory / file.path} is not what was audited"
    return None


def _files(data: Iterable[Mapping[str, Any]]) -> tuple[FileRecord, ...]:
    return tuple(FileRecord(str(f["path"]), int(f["size"]), str(f["sha256"])) for f in data)


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"{json.dumps(value, default=str):.40} is neither true nor false")
    return value


def _relative(path: Path, start: Path) -> str:
    """Relative where both belong to one output directory, so that it may be moved as a whole."""
    path, start = path.absolute(), start.absolute()
    output = start.parents[2] if len(start.parents) > 2 else start
    return os.path.relpath(path, start) if path.is_relative_to(output) else str(path)
