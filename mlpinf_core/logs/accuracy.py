"""LoadGen's accuracy log, ``mlperf_log_accuracy.json``: what the system answered, sample by sample.

LoadGen writes one entry a line, with a space around each colon and upper-case hexadecimal data::

    [
    { "seq_id" : 0, "qsl_idx" : 6, "data" : "06000000", "token_data" : "06", "token_count" : 4 },
    ...
    ]

``token_count`` is there when token latencies are on, ``token_data`` (the first token) when the
scenario is not Offline as well. An answer may be megabytes (an image), so only where each one
lies is kept; the answers themselves are read from the file when they are asked for.
"""

from __future__ import annotations

import binascii
import re
from array import array
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final, Self

import attrs
import numpy as np
from numpy.typing import NDArray

from mlpinf_core.errors import LogError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import DTypeLike

_ENTRY: Final = re.compile(
    rb'\s*\{\s*"seq_id"\s*:\s*(\d{1,18}),\s*"qsl_idx"\s*:\s*(\d{1,18}),\s*"data"\s*:\s*"'
    rb"([0-9A-Fa-f]*)\""
    rb'(?:,\s*"token_data"\s*:\s*"([0-9A-Fa-f]*)")?'
    rb'(?:,\s*"token_count"\s*:\s*(-?\d{1,18}))?\s*\}\s*(,?)\s*'
)
NO_COUNT: Final = -1


@attrs.frozen(eq=False)
class AccuracyLog:
    """An accuracy log, checked whole; entries are numbered from 0 in the order of completion.

    Attributes:
        path: the file; it must stay as it is while answers are read from it.
        sequence_ids: LoadGen's number of each issued sample.
        qsl_indices: which sample of the data set each entry answers.
        token_counts: tokens that the system reported, -1 where the entry has no count.
        first_tokens: the first token's bytes of each entry, empty where it was not logged.
    """

    path: Path
    sequence_ids: NDArray[np.int64]
    qsl_indices: NDArray[np.int64]
    token_counts: NDArray[np.int64]
    first_tokens: tuple[bytes, ...] = attrs.field(repr=False)
    _starts: NDArray[np.int64] = attrs.field(repr=False)
    _sizes: NDArray[np.int64] = attrs.field(repr=False)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read an accuracy log, line by line.

        Raises:
            LogError: there is no such file, it is empty, cut off, or not what LoadGen writes.
        """
        columns = [array("q") for _ in range(5)]
        tokens: list[bytes] = []
        try:
            with path.open("rb") as file:
                _read_entries(path, file, columns, tokens)
        except OSError as error:
            raise LogError(
                f"the accuracy log cannot be read: {error.strerror or error}", where=str(path)
            ) from error
        seq, qsl, counts, starts, sizes = (np.array(column, dtype=np.int64) for column in columns)
        return cls(path, seq, qsl, counts, tuple(tokens), starts, sizes)

    def __len__(self) -> int:
        """The number of entries."""
        return len(self.qsl_indices)

    def payload(self, entry: int) -> bytes:
        """The answer of one entry.

        Raises:
            LogError: the file has changed since it was read.
        """
        try:
            with self.path.open("rb") as file:
                return self._payload(file, entry)
        except OSError as error:
            raise self._changed() from error

    def payloads(self) -> Iterator[bytes]:
        """The answers one after the other, never all in memory.

        Raises:
            LogError: the file has changed since it was read.
        """
        try:
            with self.path.open("rb") as file:
                for entry in range(len(self)):
                    yield self._payload(file, entry)
        except OSError as error:
            raise self._changed() from error

    def as_arrays(self, dtype: DTypeLike) -> list[NDArray[Any]]:
        """Every answer as an array of numbers.

        Raises:
            LogError: an answer is not a whole number of such numbers; names the sample.
        """
        wanted = np.dtype(dtype)
        wrong = np.flatnonzero(self._sizes // 2 % wanted.itemsize)
        if wrong.size:
            entry = int(wrong[0])
            raise LogError(
                f"the answer to sample {self.qsl_indices[entry]} has {self._sizes[entry] // 2} "
                f"bytes, not a multiple of {wanted.name}'s {wanted.itemsize}",
                where=str(self.path),
            )
        return [np.frombuffer(payload, dtype=wanted) for payload in self.payloads()]

    def duplicates(self) -> NDArray[np.int64]:
        """Samples that have more than one entry, ascending."""
        samples, counts = np.unique(self.qsl_indices, return_counts=True)
        return samples[counts > 1]

    def missing(self, sample_count: int) -> NDArray[np.int64]:
        """Samples of a data set of ``sample_count`` that have no entry, ascending."""
        return np.setdiff1d(np.arange(sample_count, dtype=np.int64), self.qsl_indices)

    def unknown(self, sample_count: int) -> NDArray[np.int64]:
        """Samples that a data set of ``sample_count`` does not have, ascending."""
        return np.unique(self.qsl_indices[self.qsl_indices >= sample_count])

    def folded(self, sample_count: int) -> AccuracyLog:
        """The same log with samples numbered as in a data set that was presented repeatedly."""
        return attrs.evolve(self, qsl_indices=self.qsl_indices % sample_count)

    def first_entries(self) -> NDArray[np.int64]:
        """The first entry of each sample that has one, by ascending sample.

        MultiStream's accuracy runs answer up to ``samples_per_query - 1`` samples twice (LoadGen
        pads its last query); a scorer goes by these entries.
        """
        _, first = np.unique(self.qsl_indices, return_index=True)
        return first.astype(np.int64)

    def _payload(self, file: BinaryIO, entry: int) -> bytes:
        file.seek(int(self._starts[entry]))
        text = file.read(int(self._sizes[entry]))
        if len(text) != self._sizes[entry]:
            raise self._changed()
        try:
            return binascii.unhexlify(text)
        except binascii.Error:
            raise self._changed() from None

    def _changed(self) -> LogError:
        return LogError("the accuracy log has changed since it was read", where=str(self.path))


def _read_entries(
    path: Path, file: BinaryIO, columns: list[array[int]], tokens: list[bytes]
) -> None:
    """Fill ``columns``: sequence id, sample, token count, where the data starts, its digits."""
    first = file.readline()
    if not first:
        raise LogError(
            "the accuracy log is empty: the process died before LoadGen had written anything",
            where=str(path),
        )
    if first.strip() != b"[":
        raise LogError("the accuracy log does not begin with '['", where=f"{path}, line 1")
    offset = len(first)
    number = 1
    more = True
    for number, line in enumerate(file, 2):
        where = f"{path}, line {number}"
        if line.strip() == b"]":
            if more and tokens:
                raise LogError("the accuracy log ends with a comma", where=where)
            break
        found = _ENTRY.fullmatch(line)
        if found is None or not more:
            what = "is not what LoadGen writes" if line.endswith(b"\n") else "is cut off"
            raise LogError(f"an entry of the accuracy log {what}", where=where)
        start, end = found.span(3)
        if (end - start) % 2 or len(found[4] or b"") % 2:
            raise LogError("data in the accuracy log has half a byte", where=where)
        entry = (int(found[1]), int(found[2]), int(found[5] or NO_COUNT), offset + start)
        for column, value in zip(columns, (*entry, end - start), strict=True):
            column.append(value)
        tokens.append(binascii.unhexlify(found[4] or b""))
        more = bool(found[6])
        offset += len(line)
    else:
        raise LogError(
            f"the accuracy log is truncated: it ends after {len(tokens)} entries without ']'",
            where=f"{path}, line {number}",
            remedy="the process died while LoadGen was writing, or the log was cut for submission",
        )
    if file.read(1):
        raise LogError("the accuracy log goes on after its end", where=f"{path}, line {number}")
