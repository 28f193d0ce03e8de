"""Power measurements, where there are any."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Final

from mlpinf_core.submission.checking.notes import files_of

if TYPE_CHECKING:
    from pathlib import Path

    from mlpinf_core.logs.detail import DetailLog
    from mlpinf_core.submission.checking.entry import Entry
    from mlpinf_core.submission.checking.notes import Notes

_TIMES: Final = "%m-%d-%Y %H:%M:%S.%f"
_SAMPLES: Final = "spl.txt"


def has_power(entry: Entry) -> bool:
    """Whether the power of a result was measured."""
    return entry.place.power.exists()


def check_power(log: DetailLog | None, entry: Entry, notes: Notes) -> None:
    """The files of a power measurement, and that it was taken while the test ran.

    Args:
        log: of the performance run; None where there is none.
        entry: the result.
        notes: takes the findings.
    """
    place, files = entry.place, entry.round.submission.files
    wanted = {
        place.performance: (*files.performance, *files.power_performance),
        place.ranging: (*files.performance, *files.power_performance),
        place.power: files.power,
    }
    for folder, names in wanted.items():
        for name in names:
            if not (folder / name).is_file():
                notes.add("power-files", folder / name, "it is not there")
    for folder in (place.ranging, place.power):  # the run itself is looked at with or without power
        for name in files_of(folder):
            if name not in (*wanted[folder], *files.optional_performance):
                message = "it does not belong to a measurement of power"
                notes.add("power-files", folder / name, message)
    # The settings may lie with the scenario, the benchmark, the system or the submitter.
    around = place.measurements[0].parent
    folders = (around, *list(around.parents)[:3])
    there = [name for folder in folders for name in files_of(folder)]
    for prefix in files.power_measurements:
        if not any(name.startswith(f"{prefix}.") for name in there):
            notes.add("power-files", around / f"{prefix}.*", "it is not there")
    samples = place.performance / _SAMPLES
    if log is not None and samples.is_file():
        _check_samples(samples, log, notes)


def _check_samples(path: Path, log: DetailLog, notes: Notes) -> None:
    text = notes.text(path, "power-samples")
    if text is None:
        return
    try:
        begin, end = (_time(str(log.get(key))) for key in ("power_begin", "power_end"))
        lines = (line.split(",") for line in text.splitlines() if line.startswith("Time"))
        watts = [float(line[3]) for line in lines if begin < _time(line[1]) < end]
    except (ValueError, IndexError) as error:
        notes.add("power-samples", path, f"a line is not what the power meter writes: {error}")
        return
    if not any(watt > 0 for watt in watts):
        message = f"no sample lies between {log.get('power_begin')} and {log.get('power_end')}"
        notes.add("power-samples", path, message)


def _time(text: str) -> datetime.datetime:
    return datetime.datetime.strptime(text, _TIMES)  # noqa: DTZ007 - of one clock without a zone
