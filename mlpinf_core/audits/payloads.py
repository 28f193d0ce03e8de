"""TEST01's first question: did the timed run give the answers that the accuracy run gave?

The official script looks at the first number of each answer. Here the whole answer counts, and
answers are read one at a time, so that logs of any size can be compared.
"""

from __future__ import annotations

import binascii
from typing import TYPE_CHECKING

import attrs
import numpy as np

from mlpinf_core.logs.accuracy import NO_COUNT, AccuracyLog

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

SHOWN = 5
"""Samples named in a message."""


@attrs.frozen
class Comparison:
    """The answers of a test against those of the accuracy run.

    Attributes:
        reference_entries: entries of the accuracy run's log.
        repeated: entries of it for samples that had one before.
        contradictory: those of them whose answer is another one.
        entries: entries of the test's log.
        known: those whose sample is in the accuracy run's log.
        differing: the samples of those whose answers differ, at most once each, ascending.
        mismatches: entries with another answer.
    """

    reference_entries: int
    repeated: int
    contradictory: int
    entries: int
    known: int
    mismatches: int
    differing: tuple[int, ...]

    @property
    def passed(self) -> bool:
        """Whether there was something to compare, and all of it is the same."""
        return self.known == self.entries and self.entries > 0 and self.mismatches == 0

    @property
    def reason(self) -> str | None:
        """Why it did not pass, in a sentence; None when it did."""
        if not self.entries:
            return "the test's accuracy log has no answers: LoadGen sampled none"
        if unknown := self.entries - self.known:
            return (
                f"{unknown:,} of {self.entries:,} answers are to samples that the accuracy run's "
                "log does not have"
            )
        if self.mismatches:
            shown = ", ".join(map(str, self.differing[:SHOWN]))
            more = ", ..." if len(self.differing) > SHOWN else ""
            return (
                f"{self.mismatches:,} of {self.entries:,} answers differ from the accuracy run's: "
                f"samples {shown}{more}"
            )
        return None

    def text(self) -> str:
        """``verify_accuracy.txt``: the official script's figures and its verdict."""
        figures = {
            "num_acc_log_entries": self.reference_entries,
            "num_acc_log_duplicate_keys": self.repeated,
            "num_acc_log_data_mismatch": self.contradictory,
            "num_perf_log_entries": self.entries,
            "num_perf_log_qsl_idx_match": self.known,
            "num_perf_log_data_mismatch": self.mismatches,
            "num_missing_qsl_idxs": self.entries - self.known,
        }
        lines = [f"{name} = {value}" for name, value in figures.items()]
        return "\n".join([*lines, f"TEST {'PASS' if self.passed else 'FAIL'}", ""])


def compare(reference: AccuracyLog, test: AccuracyLog) -> Comparison:
    """Compare every answer of a test with the accuracy run's to the same sample.

    Raises:
        LogError: a log changed while it was read.
    """
    first = _first_of(reference)
    extra = np.setdiff1d(np.arange(len(reference)), reference.first_entries())
    contradictory = sum(
        reference.payload(int(entry)) != reference.payload(first[int(reference.qsl_indices[entry])])
        for entry in extra
    )
    known = mismatches = 0
    differing = set()
    for sample, answer in zip(test.qsl_indices.tolist(), test.payloads(), strict=True):
        if sample not in first:
            continue
        known += 1
        if answer != reference.payload(first[sample]):
            mismatches += 1
            differing.add(sample)
    return Comparison(
        reference_entries=len(reference),
        repeated=len(extra),
        contradictory=contradictory,
        entries=len(test),
        known=known,
        mismatches=mismatches,
        differing=tuple(sorted(differing)),
    )


def write_subset(log: AccuracyLog, samples: NDArray[np.int64], path: Path) -> None:
    """Write a log of one's entries for some samples, the first of each, as LoadGen would.

    Raises:
        LogError: the log changed while it was read.
        OSError: the file cannot be written.
    """
    first = _first_of(log)
    entries = [first[int(sample)] for sample in np.unique(samples)]
    with path.open("w", encoding="ascii") as file:
        file.write("[\n")
        for number, entry in enumerate(entries, 1):
            comma = "," if number < len(entries) else ""
            file.write(f"{{ {_fields(log, entry)} }}{comma}\n")
        file.write("]\n")


def _first_of(log: AccuracyLog) -> dict[int, int]:
    first = log.first_entries()
    return dict(zip(log.qsl_indices[first].tolist(), first.tolist(), strict=True))


def _fields(log: AccuracyLog, entry: int) -> str:
    fields = [
        f'"seq_id" : {log.sequence_ids[entry]}',
        f'"qsl_idx" : {log.qsl_indices[entry]}',
        f'"data" : "{_digits(log.payload(entry))}"',
    ]
    if token := log.first_tokens[entry]:
        fields.append(f'"token_data" : "{_digits(token)}"')
    if log.token_counts[entry] != NO_COUNT:
        fields.append(f'"token_count" : {log.token_counts[entry]}')
    return ", ".join(fields)


def _digits(data: bytes) -> str:
    return binascii.hexlify(data).decode().upper()
