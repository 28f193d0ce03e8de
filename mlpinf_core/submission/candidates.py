"""One run directory: whether its run may be submitted, and if not, why."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import attrs

from mlpinf_core import record
from mlpinf_core.errors import LogError
from mlpinf_core.hashing import digest
from mlpinf_core.logs.detail import DetailLog
from mlpinf_core.results import RESULT_NAME, RunResult
from mlpinf_core.submission.layout import ACCURACY_LOG, ACCURACY_TEXT, DETAIL, SUMMARY
from mlpinf_core.vocabulary import Mode

if TYPE_CHECKING:
    from pathlib import Path


@attrs.frozen
class Candidate:
    """A run that may be submitted.

    Attributes:
        result: what it came to.
        record: its ``run.json``.
    """

    result: RunResult
    record: Mapping[str, Any]

    @property
    def system(self) -> str:
        """The name of the system it was made on."""
        return str(self.record["system"]["name"])

    @property
    def created(self) -> str:
        """When it was begun; later is greater."""
        return str(self.record["created"])

    @property
    def computes(self) -> str:
        """What tells models apart: the backend, and the settings of benchmark and backend.

        Of an accuracy run and the performance run that it vouches for, these are the same. How
        fast samples come, and in which batches, is not among them.
        """
        values = self.record["config"]["values"]
        wanted = {table: values.get(table) for table in ("benchmark", "backend")}
        wanted["run"] = {"backend": values.get("run", {}).get("backend")}
        loadgen = values.get("loadgen", {})
        return digest({**wanted, "samples": loadgen.get("total_sample_count")})


@attrs.frozen
class Left:
    """What is left out, and why."""

    what: str
    why: str

    def __str__(self) -> str:
        """In one line."""
        return f"{self.what}: {self.why}"


def read_candidate(directory: Path, round_: str) -> Candidate | Left | None:
    """Read a run directory.

    Args:
        directory: with a ``result.json``.
        round_: the round; None is returned for runs of others, and for those of compliance tests.

    Returns:
        The run; or what keeps it from being submitted.
    """
    try:
        data = record.read_json(directory / RESULT_NAME)
        if data.get("audit"):
            return None
        found = Candidate(RunResult.read(directory), record.read_json(directory / record.FILE_NAME))
        if found.result.workload.round != round_:
            return None
        why = _why_not(found)
        return found if why is None else Left(str(directory), why)
    except LogError as error:
        return Left(str(directory), f"cannot be read: {error.what}")
    except (KeyError, TypeError, AttributeError) as error:
        return Left(str(directory), f"cannot be read: its run.json: {error!r}")


def _why_not(found: Candidate) -> str | None:
    """Why a run cannot be submitted.

    Raises:
        LogError: its detail log cannot be read.
        KeyError: its ``run.json`` lacks something.
    """
    verdict = found.result.verdict
    if not verdict.valid:
        return f"INVALID: {verdict.causes[0].message}" if verdict.causes else "INVALID"
    if not (found.system and found.created and found.computes):
        return "its run.json says too little"
    for name in _wanted(found.result):
        if not (found.result.directory / name).is_file():
            return f"{name} is missing"
    return _foreign(found.result, DetailLog.read(found.result.directory / DETAIL))


def _wanted(result: RunResult) -> tuple[str, ...]:
    """The files of a run that a submission has."""
    if result.mode is Mode.PERFORMANCE:
        return SUMMARY, DETAIL, "user.conf"
    return SUMMARY, DETAIL, ACCURACY_LOG, *((ACCURACY_TEXT,) if result.accuracy else ())


def _foreign(result: RunResult, log: DetailLog) -> str | None:
    """That the log in a run's directory is not the one that the run was judged by."""
    accuracy = result.mode is Mode.ACCURACY
    mode, wanted = log.get("effective_test_mode"), "AccuracyOnly" if accuracy else "PerformanceOnly"
    scenario = log.get("effective_scenario")
    if mode != wanted or scenario != result.workload.scenario.loadgen_name:
        return f"its log is of another run: {mode}, {scenario}"
    figures = result.performance
    if figures is None:
        return None
    scale = 1e-6 if figures.unit == "ms" else 1.0
    try:
        logged = log.number(figures.key)
    except LogError as error:
        return f"its log is of another run: {error.what}"
    if math.isclose(logged * scale, figures.value, rel_tol=1e-9):
        return None
    return f"its log is of another run: {figures.key} is {logged:g}"
