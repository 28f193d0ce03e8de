"""Answers of an accuracy log as images."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import numpy as np
import numpy.typing as npt

from mlpinf_core.errors import AccuracyError
from mlpinf_core.logs.accuracy import AccuracyLog

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mlpinf_sdxl.samples import CaptionSamples


@attrs.frozen(eq=False)
class Answers:
    """The images of a log, one a sample, by ascending sample; read one at a time.

    Attributes:
        log: LoadGen's accuracy log.
        size: width and height of an image in pixels.
        entries: int64 [n], where in the log each is.
        rows: int64 [n], its sample.
    """

    log: AccuracyLog
    size: int
    entries: npt.NDArray[np.int64]
    rows: npt.NDArray[np.int64]

    @classmethod
    def of(cls, samples: CaptionSamples, log: AccuracyLog) -> Answers:
        """The first answer to each sample.

        Raises:
            AccuracyError: the log has no samples, or samples that the data set does not have.
        """
        entries = log.first_entries()  # MultiStream answers some twice, to fill its last query
        rows = log.qsl_indices[entries]
        if not len(rows):
            raise AccuracyError("the log has no answers", where=str(log.path))
        if int(rows.max()) >= len(samples):
            raise AccuracyError(
                f"the log has sample {int(rows.max())} of a data set of {len(samples)}",
                where=str(log.path),
            )
        return cls(log, samples.image_size, entries, rows)

    def __len__(self) -> int:
        """The number of images."""
        return len(self.rows)

    def __iter__(self) -> Iterator[tuple[int, npt.NDArray[np.uint8]]]:
        """Each sample and its image, uint8 [size, size, 3].

        Raises:
            AccuracyError: an answer is not an image of that size.
        """
        for entry, row in zip(self.entries, self.rows, strict=True):
            yield int(row), self.image(int(entry), int(row))

    def image(self, entry: int, row: int) -> npt.NDArray[np.uint8]:
        """One entry's image, uint8 [size, size, 3].

        Raises:
            AccuracyError: it is not an image of that size.
        """
        payload = self.log.payload(entry)
        wanted = self.size * self.size * 3
        if len(payload) != wanted:
            raise AccuracyError(
                f"the answer to sample {row} has {len(payload)} bytes, and an image of "
                f"{self.size} x {self.size} has {wanted}",
                where=str(self.log.path),
            )
        return np.frombuffer(payload, np.uint8).reshape(self.size, self.size, 3)
