"""What every log of LoadGen is held to: who wrote it, with which seeds, of which run."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from mlpinf_core.logs.reasons import error_lines
from mlpinf_core.rules import ROUNDS, load_round
from mlpinf_core.submission.checking.summaries import check_summary

if TYPE_CHECKING:
    from mlpinf_core.logs.detail import DetailLog
    from mlpinf_core.submission.checking.entry import Entry
    from mlpinf_core.submission.checking.notes import Notes

_VERSION: Final = re.compile(r"(\d+\.\d+\.\d+) @ ([0-9a-f]{7,40})")
_SHA1: Final = re.compile(r"[0-9a-f]{40}")


def check_any_log(log: DetailLog, mode: str, entry: Entry, notes: Notes) -> None:
    """One log.

    Args:
        log: that is checked.
        mode: LoadGen's word for what kind of run it has to be of.
        entry: the result that it belongs to.
        notes: takes the findings.
    """
    path = log.path
    scenario = entry.scenario
    if not log.finished:
        notes.add("log-incomplete", path, "LoadGen did not come to the end of its test")
    for key, wanted in (
        ("effective_test_mode", mode),
        ("effective_scenario", scenario.loadgen_name if scenario else None),
    ):
        said = log.get(key)
        if said is None:
            notes.add("log-incomplete", path, f"the log does not say {key!r}")
        elif wanted is not None and said != wanted:
            notes.add("log-foreign", path, f"{key!r} is {said!r:.60}, not {wanted!r}")
    for cause in error_lines(log):
        notes.add("loadgen-errors", path, f"{cause.message:.300}")
    _check_seeds(log, entry, notes)
    _check_writer(log, entry, notes)
    if not log.get("sut_name"):
        notes.add("sut-name", path, "the log does not name the system under test")
    check_summary(log, mode, notes)


def check_same_writer(first: DetailLog, second: DetailLog, notes: Notes) -> None:
    """That two logs of one version of LoadGen name the same sources."""
    if first.get("loadgen_version") != second.get("loadgen_version"):
        versions = f"{first.get('loadgen_version')!r:.60} and {second.get('loadgen_version')!r:.60}"
        notes.warn("loadgen-version", second.path, f"two runs of one result have {versions}")
    elif first.get("loadgen_file_sha1") != second.get("loadgen_file_sha1"):
        notes.add(
            "loadgen-sources",
            second.path,
            "the log names other sources than that of "
            f"{notes.relative(first.path)}, and the same version",
        )


def _check_seeds(log: DetailLog, entry: Entry, notes: Notes) -> None:
    seeds = entry.round.seeds
    for name in ("qsl_rng_seed", "sample_index_rng_seed", "schedule_rng_seed"):
        wanted, said = getattr(seeds, name), log.get(f"effective_{name}")
        if said != wanted:
            of = [r for r in ROUNDS if getattr(load_round(r).seeds, name) == said]
            whose = f", {of[0]}'s," if of else ","
            message = f"{name} is {said!r:.40}{whose} and {entry.round.name}'s is {wanted}"
            notes.add("seeds", log.path, message)


def _check_writer(log: DetailLog, entry: Entry, notes: Notes) -> None:
    path, rules = log.path, entry.round.submission
    found = _VERSION.fullmatch(str(log.get("loadgen_version", "")))
    if found is None:
        said = log.get("loadgen_version")
        notes.add("loadgen-version", path, f"{said!r:.80} is no version of LoadGen")
    else:
        _check_version(found[1], found[2], log, entry, notes)
    status = log.get("loadgen_git_status_message")
    if status:
        notes.add(
            "loadgen-sources", path, f"LoadGen was built from changed sources: {status!r:.80}"
        )
    sources = log.get("loadgen_file_sha1")
    wrong = _wrong_sources(sources, rules.loadgen_sources)
    if wrong is not None:
        notes.add("loadgen-sources", path, wrong)


def _check_version(number: str, commit: str, log: DetailLog, entry: Entry, notes: Notes) -> None:
    message = str(log.get("loadgen_git_log_message", ""))
    if not message.startswith(commit):
        notes.add(
            "loadgen-version",
            log.path,
            f"LoadGen {number} is of commit {commit}, and the log names {message[:12]!r} as well",
        )
    if number in entry.round.submission.loadgen_versions:
        return
    of = [name for name in ROUNDS if number in load_round(name).submission.loadgen_versions]
    if of:
        notes.warn(
            "loadgen-version",
            log.path,
            f"LoadGen {number} was made for {of[0]}; the seeds are what counts",
        )
    else:
        notes.add("loadgen-version", log.path, f"there is no release {number} of LoadGen")


def _wrong_sources(sources: Any, wanted: tuple[str, ...]) -> str | None:
    if not isinstance(sources, dict):
        return "the log does not name LoadGen's sources"
    missing = [name for name in wanted if name not in sources]
    if missing:
        return f"the log has no checksum of {missing[0]}"
    wrong = [
        str(name)
        for name, value in sources.items()
        if not (isinstance(value, str) and _SHA1.fullmatch(value))
    ]
    return f"the checksum of {wrong[0]} is none" if wrong else None
