"""What an accuracy run has to say: its log, its text, its checksum."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from mlpinf_core.accuracy import SPELLINGS
from mlpinf_core.errors import LogError
from mlpinf_core.hashing import sha256_of
from mlpinf_core.logs.accuracy import AccuracyLog
from mlpinf_core.submission.checking.notes import files_of
from mlpinf_core.submission.layout import ACCURACY_LOG, ACCURACY_TEXT
from mlpinf_core.submission.truncation import is_cut
from mlpinf_core.vocabulary import Scenario

if TYPE_CHECKING:
    from pathlib import Path

    from mlpinf_core.logs.detail import DetailLog
    from mlpinf_core.submission.checking.entry import Entry, Model
    from mlpinf_core.submission.checking.notes import Notes

_NUMBER: Final = r"(-?\d+(?:\.\d+)?)"
_PATTERNS: Final = {
    "acc": re.compile(rf"^accuracy=\s*{_NUMBER}(?!\d)", re.MULTILINE),
    "ACCURACY": re.compile(rf"^Word Error Rate:.*, accuracy={_NUMBER}%", re.MULTILINE),
}
_HASH: Final = re.compile(r"^hash=(.*)$", re.MULTILINE)
_SHA256: Final = re.compile(r"[0-9a-fA-F]{64}")
_REPRS: Final = re.compile(r"\b(?:np|numpy)\.\w+\(|\b(?:nan|inf)\b|\d[eE][+-]?\d")


def check_samples(log: DetailLog, model: Model, notes: Notes) -> None:
    """That the run was over the whole data set."""
    wanted = model.rules.dataset_size
    for key in ("qsl_reported_total_count", "effective_accuracy_sample_count"):
        said = log.get(key)
        if said is None and key.startswith("effective"):
            continue  # LoadGen before 6.0 does not log it
        if said != wanted:
            message = f"{key!r} is {said!r:.40}, and the data set has {wanted:,} samples"
            notes.add("accuracy-samples", log.path, message)


def check_text(folder: Path, entry: Entry, notes: Notes) -> dict[str, float]:
    """``accuracy.txt``: every metric, within its limits; returns what it says."""
    path = folder / ACCURACY_TEXT
    text = notes.text(path, "accuracy-text")
    if text is None:
        return {}
    if not text.strip():
        notes.add("accuracy-text", path, "it is empty")
        return {}
    strange = _REPRS.search(_HASH.sub("", text))
    if strange:
        notes.add("accuracy-text", path, f"{strange[0]!r}: the checker reads plain numbers alone")
    if entry.model is None:
        return {}
    found = {}
    for metric, limit in entry.model.limits.items():
        values = {float(value) for value in _pattern(metric).findall(text)}
        if not values:
            notes.add("accuracy-text", path, f"there is no {metric}")
            continue
        if len(values) > 1:
            said = " and ".join(f"{value:g}" for value in sorted(values))
            notes.add("accuracy-text", path, f"{metric} is {said}")
        found[metric] = value = min(values)
        if metric == "acc" and not 0 <= value <= 1:
            notes.add("accuracy-text", path, f"{metric} is {value:g}, and a fraction is expected")
        if entry.closed and not limit.admits(value):
            band = " and ".join(
                f"{word} {bound:g}"
                for word, bound in (("at least", limit.lower), ("at most", limit.upper))
                if bound is not None
            )
            notes.add("accuracy-limits", path, f"{metric} is {value:g}, and has to be {band}")
    return found


def metric_values(text: str, metric: str) -> list[float]:
    """What a text says of one metric."""
    return [float(value) for value in _pattern(metric).findall(text)]


def check_log(folder: Path, entry: Entry, whole: Path | None, notes: Notes) -> None:
    """The accuracy log, cut or whole, and its checksum.

    Args:
        folder: of the accuracy run.
        entry: the result that it belongs to.
        whole: where the whole log lies outside the tree, if this one was cut; None where nobody
            says.
        notes: takes the findings.
    """
    path = folder / ACCURACY_LOG
    if not path.is_file():
        notes.add("accuracy-log", path, "it is not there")
        return
    size, most = path.stat().st_size, entry.round.submission.max_accuracy_log_bytes
    if size > most:
        notes.add("accuracy-log-size", path, f"{size:,} bytes; at most {most:,} are taken")
    cut = is_cut(path)
    try:
        if cut:
            _check_ends(path)
        elif size <= most:
            _check_whole(AccuracyLog.read(path), entry, notes)
    except LogError as error:
        notes.add("accuracy-log", path, error.what)
        return
    check_hash(folder, whole, notes)


def check_hash(folder: Path, whole: Path | None, notes: Notes) -> None:
    """The checksum in ``accuracy.txt``, held against the log where that is at hand.

    Args:
        folder: with both; what is missing is another check's finding.
        whole: where the whole log lies outside the tree, if it was cut; None where nobody says.
        notes: takes the findings.
    """
    path = folder / ACCURACY_LOG
    if not path.is_file():
        return
    if not is_cut(path):
        whole = path
    elif whole is not None and not whole.is_file():
        notes.add("accuracy-hash", path, f"it is cut, and the whole log is not there: {whole}")
        whole = None
    _compare_hash(folder, whole, notes)


def check_files(folder: Path, entry: Entry, notes: Notes) -> None:
    """That nothing else lies among the required files, and that the images do."""
    wanted = entry.round.submission.files.accuracy
    for name in files_of(folder):
        if name not in (*wanted, "mlperf_log_trace.json", "results.json"):
            notes.add("stray-file", folder / name, "a file that does not belong to an accuracy run")
    images = entry.round.submission.images.get(entry.model.name if entry.model else "", ())
    there = {name.rpartition(".")[0] for name in files_of(folder / "images")}
    missing = [image for image in images if image not in there]
    if missing:
        message = f"{len(missing)} of {len(images)} images are missing: {', '.join(missing[:3])} …"
        notes.add("images", folder / "images", message)


def _pattern(metric: str) -> re.Pattern[str]:
    known = _PATTERNS.get(metric)
    if known is not None:
        return known
    return re.compile(rf"'{re.escape(SPELLINGS.get(metric, metric))}':\s*'?{_NUMBER}(?![\d.])")


def _check_ends(path: Path) -> None:
    """A cut log begins and ends as LoadGen's does."""
    content = path.read_bytes()
    if not content.startswith(b"[") or b'"qsl_idx"' not in content:
        raise LogError("it does not begin as LoadGen's accuracy log does")
    if not content.rstrip().endswith(b"]"):
        raise LogError("it does not end as LoadGen's accuracy log does")


def _check_whole(log: AccuracyLog, entry: Entry, notes: Notes) -> None:
    if not len(log):
        notes.add("accuracy-log", log.path, "it has no answers: is it of a performance run?")
        return
    if entry.model is None:
        return
    count = entry.model.rules.dataset_size
    missing, twice = log.missing(count), log.duplicates()
    if missing.size:
        message = f"{missing.size:,} of {count:,} samples have no answer"
        notes.add("accuracy-samples", log.path, message)
    if twice.size and entry.scenario is not Scenario.MULTI_STREAM:
        notes.add("accuracy-samples", log.path, f"{twice.size:,} samples have several answers")


def _compare_hash(folder: Path, whole: Path | None, notes: Notes) -> None:
    path = folder / ACCURACY_TEXT
    if not path.is_file():
        return
    found = list(dict.fromkeys(_HASH.findall(path.read_text(encoding="utf-8", errors="replace"))))
    if not found:
        notes.add("accuracy-hash", path, "there is no line 'hash=…'")
        return
    if len(found) > 1:
        notes.add("accuracy-hash", path, f"there are {len(found)} different checksums")
    if not _SHA256.fullmatch(found[-1]):
        notes.add("accuracy-hash", path, f"{found[-1]!r:.80} is no SHA-256")
        return
    if whole is None:
        return
    try:
        right = sha256_of(whole)
    except OSError as error:
        notes.add("unreadable", whole, f"it cannot be read: {error.strerror or error}")
        return
    if found[-1].casefold() != right:
        notes.add(
            "accuracy-hash", path, f"it says {found[-1][:12]}…, and the log's is {right[:12]}…"
        )
