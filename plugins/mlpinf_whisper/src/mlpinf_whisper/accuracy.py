"""Scoring an accuracy log of the speech recognition benchmark."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlpinf_core.errors import AccuracyError
from mlpinf_whisper import alphabet, wer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlpinf_core.logs.accuracy import AccuracyLog
    from mlpinf_whisper.samples import AudioSamples


def score(samples: AudioSamples, log: AccuracyLog) -> Mapping[str, float]:
    """``ACCURACY`` and ``WER`` of a log of labels, both in per cent.

    Raises:
        AccuracyError: the log holds samples that the data set does not have, or numbers that are
            no labels.
    """
    entries = log.first_entries()  # MultiStream answers some samples twice, to fill its last query
    rows = log.qsl_indices[entries]
    if len(rows) and int(rows.max()) >= len(samples):
        raise AccuracyError(
            f"the log has sample {int(rows.max())} of a data set of {len(samples)}",
            where=str(log.path),
        )
    responses = log.as_arrays(alphabet.DTYPE)
    hypotheses = []
    for entry, row in zip(entries, rows, strict=True):
        try:
            hypotheses.append(alphabet.decode(responses[entry]))
        except ValueError as error:
            raise AccuracyError(
                f"the answer to sample {row} is no transcript: {error}", where=str(log.path)
            ) from error
    transcripts = samples.references
    references = [alphabet.restrict(transcripts[row]) for row in rows]
    found = wer.word_errors(hypotheses, references)
    if not found.words:
        raise AccuracyError("the references have no words", where=str(log.path))
    return {"ACCURACY": 100 * (1 - found.rate), "WER": 100 * found.rate}
