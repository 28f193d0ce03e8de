"""The last steps of a campaign: stage, check, pack; each is done again when its inputs change."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs

from mlpinf_core.campaign.file import CampaignFile
from mlpinf_core.campaign.notes import Notes
from mlpinf_core.errors import ConfigurationError, ExitCode, PrerequisiteError
from mlpinf_core.hashing import digest, sha256_of, sync_folder, write_atomically
from mlpinf_core.record import unwritable
from mlpinf_core.rules import load_round
from mlpinf_core.scratch import discard
from mlpinf_core.vocabulary import Division

if TYPE_CHECKING:
    from mlpinf_core.campaign.file import SubmissionEntry
    from mlpinf_core.campaign.notes import Note
    from mlpinf_core.plugins import Plugins

STEPS: Final = ("stage", "check", "pack")


@attrs.frozen
class Submitting:
    """Stages, checks and packs what a campaign has made.

    Attributes:
        campaign: with a submission.
        roots: the folders of its jobs.
        evidence: what the submission is made of, by folder; decides whether a step is done.
        notes: of the campaign.
    """

    campaign: CampaignFile
    roots: Sequence[Path]
    evidence: Mapping[str, Mapping[str, str]]
    notes: Notes

    @functools.cached_property
    def inputs(self) -> str:
        """Digest of everything that the submission is made from, of files by what is in them."""
        entry = self._entry
        files = (entry.source, entry.calibration, entry.password_file)
        return digest(
            {
                "entry": {k: str(v) for k, v in attrs.asdict(entry).items()},
                "files": [None if path is None else _contents(path) for path in files],
                "round": self.campaign.round,
                "made": self.evidence,
            }
        )

    @property
    def tree(self) -> Path:
        """The tree that is staged."""
        return self.campaign.directory / "submission"

    @property
    def backup(self) -> Path:
        """Where the whole accuracy logs of this tree are kept."""
        return self.campaign.directory / "whole-logs" / self.inputs[:12]

    @property
    def archive(self) -> Path:
        """The file that is packed."""
        if self._entry.archive is None:
            raise RuntimeError("a campaign is read with read_campaign()")
        return self._entry.archive

    def note(self, step: str) -> Note | None:
        """The note of a step, if it is of these inputs and what it left is still there."""
        note = self.notes.read(step)
        if note is None or note.inputs != self.inputs:
            return None
        there = self.tree.is_dir() if step != "pack" else self._packed_as(note.detail)
        return note if there else None

    def carry_out(self, step: str, plugins: Plugins) -> ExitCode:
        """One of :data:`STEPS`.

        Raises:
            MlpinfError: it cannot be done; what was there before stays.
        """
        if step == "stage":
            return self._stage(plugins)
        return self._check() if step == "check" else self._pack()

    def _stage(self, plugins: Plugins) -> ExitCode:
        from mlpinf_core.submission.staging import stage
        from mlpinf_core.submission.truncation import truncate

        entry = self._entry
        # The tree is the campaign's own, made of its runs: what another submitter or division left
        # in it, when the file said so, must not be checked and packed with this one.
        building = self.tree.with_name(f".{self.tree.name}.new")
        discard(building)
        staged = stage(
            self.roots,
            building,
            plugins=plugins,
            round=self.campaign.round,
            division=Division.parse(entry.division),
            submitter=entry.submitter,
            fields=entry.fields,
            measurements=entry.measurements,
            source=entry.source,
            calibration=entry.calibration,
            private=() if entry.password_file is None else (entry.password_file,),
        )
        truncate(building, self.backup, load_round(self.campaign.round).submission)
        try:
            discard(self.tree)
            building.rename(self.tree)
            sync_folder(self.tree.parent)
        except OSError as error:
            raise unwritable(self.tree, error) from error
        missing = len(self.roots) - len(staged.entries)
        left = f"; left out: {'; '.join(map(str, staged.left))}" if missing else ""
        detail = f"{len(staged.entries)} results in {self.tree}{left}"
        self.notes.write("stage", self.inputs, ok=not missing, detail=detail)
        return ExitCode.INVALID if missing else ExitCode.OK

    def _check(self) -> ExitCode:
        from mlpinf_core.submission.checking import check

        report = check(
            self.tree,
            round=self.campaign.round,
            backup=self.backup,
            submitter=self._entry.submitter,
        )
        errors = list(report.errors())
        found = "".join(f"{finding.severity}: {finding}\n" for finding in report.findings)
        path = self.campaign.directory / "check.txt"
        try:
            write_atomically(path, (found or "nothing found\n").encode())
        except OSError as error:
            raise unwritable(path, error) from error
        warnings = len(report.findings) - len(errors)
        detail = f"{len(errors)} errors, {warnings} warnings: check.txt"
        if errors:
            detail += f"; the first: {errors[0].path}: {errors[0].message}"
        self.notes.write("check", self.inputs, ok=report.ok, detail=detail)
        return ExitCode.OK if report.ok else ExitCode.INVALID

    def _pack(self) -> ExitCode:
        from mlpinf_core.submission.packing import pack

        packed = pack(self.tree, self.archive, password=self._password(), replace=True)
        detail = f"{packed.archive} sha256 {sha256_of(packed.archive)}"
        self.notes.write("pack", self.inputs, ok=True, detail=detail)
        return ExitCode.OK

    def _packed_as(self, detail: str) -> bool:
        try:
            return detail.endswith(sha256_of(self.archive))
        except OSError:
            return False

    def _password(self) -> str | None:
        file = self._entry.password_file
        if file is None:
            return None
        try:
            lines = file.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise PrerequisiteError(
                f"the password cannot be read: {error}", where=str(file)
            ) from error
        if not lines or not lines[0]:
            raise ConfigurationError(
                "the password is empty", where=str(file), remedy="write one on the first line"
            )
        return lines[0]

    @property
    def _entry(self) -> SubmissionEntry:
        if self.campaign.submission is None:
            raise RuntimeError("the campaign has no submission")
        return self.campaign.submission


def _contents(path: Path) -> dict[str, str]:
    """Every file at or below a path that staging copies, by checksum; empty where there is none.

    Raises:
        PrerequisiteError: a file cannot be read.
    """
    found = {each.relative_to(path): each for each in (path, *sorted(path.rglob("*")))}
    try:
        return {
            str(name): sha256_of(each)
            for name, each in found.items()
            if each.is_file() and not any(part.startswith((".", "__pyc")) for part in name.parts)
        }
    except OSError as error:
        raise PrerequisiteError(
            f"a file that is to be submitted cannot be read: {error.strerror or error}",
            where=str(error.filename or path),
        ) from error
