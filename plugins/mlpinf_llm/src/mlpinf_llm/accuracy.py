"""Scoring an accuracy log of a language benchmark."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mlpinf_core.errors import AccuracyError
from mlpinf_llm import ct2, scoring, tiny
from mlpinf_llm.benchmarks import data_name
from mlpinf_llm.tokenizer import ChatTokenizer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlpinf_core.context import Run
    from mlpinf_core.logs.accuracy import AccuracyLog
    from mlpinf_llm.samples import TokenSamples


def score(run: Run, samples: TokenSamples, log: AccuracyLog) -> Mapping[str, float]:
    """The metrics of a log: token ids, int32, a response.

    Raises:
        AccuracyError: the log holds samples that the data set does not have.
    """
    benchmark = tiny.BENCHMARKS[data_name(run.benchmark.name)]
    first = log.first_entries()  # MultiStream answers some samples twice, to fill its last query
    rows = log.qsl_indices[first]
    if len(rows) and int(rows.max()) >= len(samples):
        raise AccuracyError(
            f"the log has sample {int(rows.max())} of a data set of {len(samples)}",
            where=str(run.directory),
        )
    arrays = log.as_arrays(np.dtype(np.int32))
    outputs = [arrays[entry].tolist() for entry in first]
    tokenizer = ChatTokenizer.load(ct2.build(run))
    texts = [tokenizer.decode(output) for output in outputs]
    references = samples.table.texts(benchmark.reference)
    kinds = ["rouge"] * len(samples)
    if "metric" in samples.table.columns:
        kinds = samples.table.texts("metric")
    return scoring.benchmark_scores(
        benchmark.name,
        outputs,
        texts,
        [references[row] for row in rows],
        [kinds[row] for row in rows],
    )
