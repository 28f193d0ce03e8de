"""Scoring an accuracy log: the share of papers that got their own class.

Source: the reference's ``accuracy_igbh.py``. It counts the first entry of each sample, and prints
a percentage; the submission checker reads a fraction (0.72), which is what is returned here. That
script has to be told ``--dtype int64``: by default it reads a byte, which holds 256 classes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mlpinf_core.errors import AccuracyError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlpinf_core.logs.accuracy import AccuracyLog
    from mlpinf_rgat.samples import RgatSamples


def score(samples: RgatSamples, log: AccuracyLog) -> Mapping[str, float]:
    """``acc``, from 0 to 1.

    Raises:
        AccuracyError: the log has samples that the data set does not have, or an answer that is
            not one int64.
    """
    unknown = log.unknown(len(samples))
    if len(unknown):
        raise AccuracyError(
            f"the log has sample {unknown[0]} of a data set of {len(samples)}", where=str(log.path)
        )
    first = log.first_entries()
    if not len(first):
        raise AccuracyError("the log has no answers", where=str(log.path))
    answers = log.as_arrays(np.dtype(np.int64))
    wrong = next((entry for entry in first if answers[entry].size != 1), None)
    if wrong is not None:
        raise AccuracyError(
            f"the answer to sample {log.qsl_indices[wrong]} has {answers[wrong].size} numbers "
            "instead of one",
            where=str(log.path),
        )
    classes = np.concatenate([answers[entry] for entry in first])
    right = classes == samples.labels[log.qsl_indices[first]]
    return {"acc": float(right.mean())}
