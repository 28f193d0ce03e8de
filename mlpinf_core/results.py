"""What a run came to: the typed form of ``result.json`` and ``accuracy.json``."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import attrs

from mlpinf_core.accuracy import AccuracyResult
from mlpinf_core.errors import ExitCode, LogError
from mlpinf_core.logs.result import Performance
from mlpinf_core.record import FORMAT, read_json, write_json
from mlpinf_core.verdict import Cause, Verdict
from mlpinf_core.vocabulary import Mode, Workload

RESULT_NAME: Final = "result.json"
ACCURACY_NAME: Final = "accuracy.json"
CONTACT_SHEET: Final = "images/contact_sheet.png"
"""Where scoring leaves a picture of a run's images, in its directory, if it makes any."""


@attrs.frozen
class RunResult:
    """One run.

    Attributes:
        directory: of the run; everything it wrote.
        performance: what LoadGen measured; None of an accuracy run, and where there is no log.
        accuracy: the scores; None of a performance run, and of one that was not scored.
        unscored: why a complete accuracy run has no scores; None where it has.
        exit_code: what this run alone would end the process with.
        first_query_seconds: from the start of the child process to the first query.
        loadgen: version, embedded round and whether seeds were enforced.
    """

    workload: Workload
    mode: Mode
    directory: Path
    verdict: Verdict
    exit_code: ExitCode
    performance: Performance | None = None
    accuracy: AccuracyResult | None = None
    unscored: Cause | None = None
    first_query_seconds: float | None = None
    loadgen: dict[str, Any] = attrs.field(factory=dict)

    @property
    def ok(self) -> bool:
        """Valid, and accurate where accuracy was measured."""
        return self.exit_code is ExitCode.OK

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "format": FORMAT,
            "workload": self.workload.to_dict(),
            "mode": self.mode.value,
            "directory": str(self.directory),
            "verdict": self.verdict.to_dict(),
            "exit_code": int(self.exit_code),
            "performance": self.performance and self.performance.to_dict(),
            "accuracy": self.accuracy and self.accuracy.to_dict(),
            "unscored": self.unscored and attrs.asdict(self.unscored),
            "first_query_seconds": self.first_query_seconds,
            "loadgen": self.loadgen,
        }

    def write(self) -> None:
        """Write ``result.json``, and ``accuracy.json`` where there is any."""
        if self.accuracy is not None:
            write_json(self.directory / ACCURACY_NAME, self.accuracy.to_dict())
        write_json(self.directory / RESULT_NAME, self.to_dict())

    @classmethod
    def read(cls, directory: Path) -> RunResult:
        """Read a run directory.

        Raises:
            LogError: there is no result in it, or it is damaged.
        """
        data = read_json(directory / RESULT_NAME)
        try:
            return cls._from_dict(data, directory)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise LogError(
                f"{RESULT_NAME} is damaged: {type(error).__name__}: {error}",
                where=str(directory / RESULT_NAME),
                remedy="run it again",
            ) from error

    @classmethod
    def _from_dict(cls, data: dict[str, Any], directory: Path) -> RunResult:
        performance, accuracy = data.get("performance"), data.get("accuracy")
        unscored = data.get("unscored")
        return cls(
            workload=Workload.from_dict(data["workload"]),
            mode=Mode(data["mode"]),
            directory=directory,
            verdict=Verdict.from_dict(data["verdict"]),
            exit_code=ExitCode(data["exit_code"]),
            performance=performance and Performance.from_dict(performance),
            accuracy=accuracy and AccuracyResult.from_dict(accuracy),
            unscored=unscored and Cause(**unscored),
            first_query_seconds=data.get("first_query_seconds"),
            loadgen=data.get("loadgen", {}),
        )


@attrs.frozen
class Results:
    """All runs of one command.

    Attributes:
        runs: in the order they were made.
        directory: that holds their directories.
        skipped: what was planned and not begun, and why.
    """

    runs: tuple[RunResult, ...]
    directory: Path
    skipped: tuple[str, ...] = ()

    @property
    def exit_code(self) -> ExitCode:
        """The gravest of the runs' codes: interrupted, failed, INVALID, inaccurate, OK."""
        order = (
            ExitCode.INTERRUPTED,
            ExitCode.FAILED,
            ExitCode.USAGE,
            ExitCode.INVALID,
            ExitCode.ACCURACY,
        )
        if not self.runs:
            return ExitCode.USAGE  # nothing was run, so nothing is OK
        codes = {run.exit_code for run in self.runs}
        return next((code for code in order if code in codes), ExitCode.OK)

    @property
    def ok(self) -> bool:
        """Whether every run was valid and accurate."""
        return self.exit_code is ExitCode.OK
