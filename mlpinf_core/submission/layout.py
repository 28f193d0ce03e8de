"""Where things lie in a tree: the round's paths, filled in for one entry."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import attrs

from mlpinf_core.rules.submission import SubmissionRules, expanded

RUN: Final = "run_1"
DETAIL: Final = "mlperf_log_detail.txt"
SUMMARY: Final = "mlperf_log_summary.txt"
ACCURACY_LOG: Final = "mlperf_log_accuracy.json"
ACCURACY_TEXT: Final = "accuracy.txt"


@attrs.frozen
class SubmitterPlace:
    """What one submitter has in one division."""

    root: Path
    rules: SubmissionRules
    division: str
    submitter: str

    def _paths(self, *templates: str) -> tuple[Path, ...]:
        names = {"division": self.division, "submitter": self.submitter}
        return tuple(expanded(template, self.root, **names) for template in templates)

    @property
    def folder(self) -> Path:
        """All of it."""
        return self.root / self.division / self.submitter

    @property
    def results(self) -> Path:
        """The systems' results."""
        return self.folder / "results"

    @property
    def systems(self) -> Path:
        """The systems' descriptions."""
        return self.folder / "systems"

    @property
    def sources(self) -> tuple[Path, ...]:
        """The folders of source code; one is enough."""
        return self._paths(*self.rules.paths.source)

    @property
    def calibration(self) -> tuple[Path, ...]:
        """Where the calibration note may lie."""
        return self._paths(*self.rules.paths.calibration)

    @property
    def documentation(self) -> Path:
        """Notes for the reader."""
        return self._paths(self.rules.paths.documentation)[0]

    @property
    def mapping(self) -> Path:
        """The submitter's names of benchmarks."""
        return self._paths(self.rules.paths.mapping)[0]

    def description(self, system: str) -> Path:
        """The description of a system."""
        names = {"division": self.division, "submitter": self.submitter, "system": system}
        return expanded(self.rules.paths.system, self.root, **names)

    def entry(self, system: str, benchmark: str, scenario: str) -> EntryPlace:
        """The place of one result."""
        return EntryPlace(self, system, benchmark, scenario)


@attrs.frozen
class EntryPlace:
    """Where the files of one result lie."""

    owner: SubmitterPlace
    system: str
    benchmark: str
    scenario: str

    def _expanded(self, template: str, **more: str) -> Path:
        return expanded(
            template,
            self.owner.root,
            division=self.owner.division,
            submitter=self.owner.submitter,
            system=self.system,
            benchmark=self.benchmark,
            scenario=self.scenario,
            **more,
        )

    @property
    def folder(self) -> Path:
        """The results of the scenario."""
        return self._expanded(self.owner.rules.paths.results)

    @property
    def performance(self) -> Path:
        """The performance run."""
        return self.folder / "performance" / RUN

    @property
    def power(self) -> Path:
        """The power measurement."""
        return self.folder / "performance" / "power"

    @property
    def ranging(self) -> Path:
        """The run that found the range of the power measurement."""
        return self.folder / "performance" / "ranging"

    @property
    def accuracy(self) -> Path:
        """The accuracy run."""
        return self.folder / "accuracy"

    @property
    def measurements(self) -> tuple[Path, ...]:
        """The files of measurements; beside each lie the notes that go with it."""
        paths = self.owner.rules.paths
        return tuple(
            self._expanded(folder) / name.format(system=self.system, scenario=self.scenario)
            for folder, name in zip(paths.measurements, paths.measurements_file, strict=True)
        )

    def audits(self, test: str) -> tuple[Path, ...]:
        """The folders of a compliance test; the first is the round's own."""
        return tuple(self._expanded(path, test=test) for path in self.owner.rules.paths.audits)
