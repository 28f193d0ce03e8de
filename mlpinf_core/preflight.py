"""What can be found out before a plan is carried out: files, packages, disk, LoadGen, duration."""

from __future__ import annotations

import enum
import importlib.metadata
import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import attrs

from mlpinf_core import downloads
from mlpinf_core.binding import processors
from mlpinf_core.downloads import SourceState
from mlpinf_core.errors import ConfigurationError, MlpinfError
from mlpinf_core.loadgen.settings import DISTRIBUTION, embedded_round
from mlpinf_core.machine import number_text
from mlpinf_core.scratch import readable
from mlpinf_core.vocabulary import Mode, Scenario

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from mlpinf_core.benchmark import AnySource, Estimate
    from mlpinf_core.plan import Plan, PlannedRun
    from mlpinf_core.plugins import Plugins
    from mlpinf_core.scratch import Scratch


OFFLINE_HEADROOM: Final = 1.25
"""Offline is told of so many times the samples a second that are expected."""


class CheckState(enum.StrEnum):
    """How a check came out."""

    OK = "ok"
    TO_DO = "to do"
    """Not there yet; the run does it."""
    WARNING = "warning"
    FAILED = "failed"
    """The run would fail."""
    UNKNOWN = "unknown"
    """It cannot be looked at."""


@attrs.frozen
class Check:
    """One thing looked at."""

    name: str
    state: CheckState
    detail: str
    remedy: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {**attrs.asdict(self), "state": self.state.value}


def check(plan: Plan, plugins: Plugins, scratch: Scratch) -> list[Check]:
    """Look at everything that the plan's runs need. Takes seconds, changes nothing."""
    rounds = {planned.workload.round for planned in plan.runs}
    found = [check_loadgen(rounds), _system(plan), _output(plan.output)]
    need = 0
    for source, name, local in _sources(plan, plugins):
        result, bytes_ = _source(source, name, local, scratch)
        found.append(result)
        need += bytes_
    found += dict.fromkeys(_replacements(plan, plugins))
    found += dict.fromkeys(_backends(plan, plugins))
    found += dict.fromkeys(_bindings(plan, plugins))
    if need:
        found.append(_disk(need, scratch))
    return found


def estimate_of(planned: PlannedRun, plugins: Plugins, mode: Mode) -> Estimate | None:
    """What the backend is expected to do, where it can tell."""
    config = planned.config(plugins, mode)
    backend = plugins.backend(planned.benchmark.name, config.run.backend)
    if backend.estimate is None:
        return None
    return backend.estimate(config, planned.workload.scenario)


def expected_seconds(
    planned: PlannedRun, plugins: Plugins, mode: Mode, estimate: Estimate | None = None
) -> float | None:
    """The least that a run takes, as far as its configuration tells; None where it doesn't.

    Args:
        planned: the workload.
        plugins: know its settings.
        mode: what is measured of it.
        estimate: of the backend; makes up for rates that are configured nowhere.
    """
    loadgen = planned.config(plugins, mode).loadgen
    scenario = planned.workload.scenario
    rate = loadgen.target_qps if scenario.is_poisson else None
    if estimate is not None and rate is None and not scenario.is_stream:
        rate = estimate.target_qps if scenario.is_poisson else estimate.samples_per_second
    if mode is Mode.PERFORMANCE:
        count = loadgen.min_query_count or 0
        if scenario is Scenario.OFFLINE and rate:
            # LoadGen is told of more than is expected, so that the run is not too short.
            count = max(count, int(OFFLINE_HEADROOM * rate * (loadgen.min_duration or 0.0)))
        issuing = count / rate if rate else 0.0
        return max(loadgen.min_duration or 0.0, issuing)
    return (loadgen.performance_sample_count or 0) / rate if rate else None


def check_loadgen(rounds: Collection[str]) -> Check:
    """Whether LoadGen can be used, and was built for these rounds."""
    try:
        version = importlib.metadata.version(DISTRIBUTION)
        embedded = embedded_round()
    except (importlib.metadata.PackageNotFoundError, MlpinfError) as error:
        return Check(
            "LoadGen", CheckState.FAILED, f"not usable: {error}", f"pip install {DISTRIBUTION}"
        )
    what = f"{DISTRIBUTION} {version} embeds {embedded or 'an unknown round'}"
    if set(rounds) == {embedded}:
        return Check("LoadGen", CheckState.OK, what)
    wanted = ", ".join(sorted(rounds))
    return Check(
        "LoadGen",
        CheckState.WARNING,
        f"{what}; the seeds of {wanted} are enforced",
        f"a submission to {wanted} wants a wheel of that round",
    )


def _system(plan: Plan) -> Check:
    system = plan.system
    file = "" if system.file is None else f", {system.file.settings.origin}"
    return Check("system", CheckState.OK, f"{system.name}: {system.how}{file}")


def _output(output: Path) -> Check:
    place = output.absolute()
    while not place.exists():
        place = place.parent
    virtual = any(place.is_relative_to(root) for root in ("/proc", "/sys"))
    if place.is_dir() and os.access(place, os.W_OK) and not virtual:
        return Check("output", CheckState.OK, str(output))
    return Check(
        "output", CheckState.FAILED, f"{place} cannot be written", "choose another with --output"
    )


def _sources(plan: Plan, plugins: Plugins) -> Iterator[tuple[AnySource, str, Path | None]]:
    seen = set()
    for planned in plan.runs:
        for source, local in planned.sources(plugins).items():
            if source not in seen:
                seen.add(source)
                whose = f"{planned.benchmark.name} {planned.workload.variant}"
                yield source, whose, local


def _source(
    source: AnySource, whose: str, local: Path | None, scratch: Scratch
) -> tuple[Check, int]:
    """The check of a file or folder, and the bytes still to be fetched."""
    status = downloads.status(source, scratch, local=local)
    size = readable(source.size)
    name = _whose(source, whose)
    if status.state is SourceState.OK:
        return Check(name, CheckState.OK, f"{source.name}, {size}, {source.licence}"), 0
    if local is not None:
        why = f": {status.why}" if status.why else ""
        detail = f"{local} is {status.state.value}{why}"
        return Check(name, CheckState.FAILED, detail, f"set {source.setting} right"), 0
    if status.state is SourceState.WRONG:
        detail = f"{status.path} is not the right one: {status.why}"
        return Check(name, CheckState.WARNING, detail, "it is fetched again"), source.size
    if source.by_hand:
        return Check(name, CheckState.FAILED, f"{source.name} is missing", source.gated), 0
    detail = f"{source.name}, {size} to fetch, {source.licence}"
    if lacking := downloads.lacking(source):
        return Check(name, CheckState.FAILED, detail, f"pip install '{lacking}'"), 0
    left = max(source.size - status.present, 0)  # a folder's size is an estimate
    if source.gated is not None:
        return Check(name, CheckState.WARNING, f"{detail}, gated", source.gated), left
    return Check(name, CheckState.TO_DO, detail, "`mlpinf fetch` gets it now"), left


def _replacements(plan: Plan, plugins: Plugins) -> Iterator[Check]:
    """Whether the paths that stand in for files and folders exist."""
    for planned in plan.runs:
        for source, key, value in planned.replaced(plugins):
            if isinstance(value, Path):
                name = _whose(source, f"{planned.benchmark.name} {planned.workload.variant}")
                yield _given(name, key, value)


def _given(name: str, key: str, path: Path) -> Check:
    try:
        path.stat()
    except OSError as error:
        gone = isinstance(error, FileNotFoundError | NotADirectoryError)
        fault = "is missing" if gone else f"cannot be read ({error.strerror or error})"
        return Check(name, CheckState.FAILED, f"{path} {fault} ({key})", f"set {key} right")
    return Check(name, CheckState.OK, f"{path} ({key})")


def _whose(source: AnySource, owner: str) -> str:
    return f"{source.kind.rstrip('s')} of {owner}"


def _backends(plan: Plan, plugins: Plugins) -> Iterator[Check]:
    for planned in plan.runs:
        config = planned.config(plugins, planned.modes[0])
        backend = plugins.backend(planned.benchmark.name, config.run.backend)
        missing = backend.missing()
        name = f"backend of {planned.benchmark.name}"
        if missing:
            yield Check(
                name,
                CheckState.FAILED,
                f"{backend.name} is not installed",
                f"pip install {shlex.join(missing)}",
            )
        else:
            yield Check(name, CheckState.OK, backend.name)


def _bindings(plan: Plan, plugins: Plugins) -> Iterator[Check]:
    """Whether the processors that runs are to be bound to are there; nothing where none are."""
    for planned in plan.runs:
        config = planned.config(plugins, planned.modes[0])
        wanted = [("run.cpus", config.run.cpus)] if config.run.cpus else []
        wanted += [("sut.worker_cpus", text) for text in config.sut.worker_cpus]
        for key, text in wanted:
            try:
                chosen = number_text(processors(text, key))
            except ConfigurationError as error:
                yield Check(key, CheckState.FAILED, error.what, error.remedy)
            else:
                yield Check(key, CheckState.OK, f"processors {chosen}")


def _disk(need: int, scratch: Scratch) -> Check:
    free = scratch.free_bytes()
    detail = f"{readable(free)} free in {scratch.root}, {readable(need)} to fetch"
    if free > need:
        return Check("disk", CheckState.OK, detail)
    return Check(
        "disk", CheckState.FAILED, detail, "make room, or set MLPERF_SCRATCH_PATH to another disk"
    )


def needs_measuring(planned: PlannedRun, plugins: Plugins, mode: Mode) -> bool:
    """Whether a rate is missing, so that a short pass measures it first."""
    config = planned.config(plugins, mode)
    scenario = planned.workload.scenario
    if scenario.is_stream:
        return mode is Mode.PERFORMANCE and config.loadgen.target_latency_ms is None
    if scenario is Scenario.OFFLINE and mode is Mode.ACCURACY:
        return False
    return config.loadgen.target_qps is None
