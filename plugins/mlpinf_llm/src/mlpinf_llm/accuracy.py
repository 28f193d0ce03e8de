"""Scoring an accuracy log of a language benchmark."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mlpinf_core.errors import AccuracyError
from mlpinf_llm import locate, scoring
from mlpinf_llm.benchmarks import data_name
from mlpinf_llm.detokenizer import Detokenizer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mlpinf_core.context import Run
    from mlpinf_core.logs.accuracy import AccuracyLog
    from mlpinf_core.protocols import NotGraded
    from mlpinf_llm.benchmarks import LlmSettings
    from mlpinf_llm.grading.programs import Problem
    from mlpinf_llm.samples import TokenSamples

REASONING = "deepseek-r1"


def score(run: Run, samples: TokenSamples, log: AccuracyLog) -> Mapping[str, float | NotGraded]:
    """The metrics of a log: token ids, int32, a response.

    Raises:
        AccuracyError: the log holds samples that the data set does not have.
    """
    first = log.first_entries()  # MultiStream answers some samples twice, to fill its last query
    rows = log.qsl_indices[first]
    if len(rows) and int(rows.max()) >= len(samples):
        raise AccuracyError(
            f"the log has sample {int(rows.max())} of a data set of {len(samples)}",
            where=str(run.directory),
        )
    arrays = log.as_arrays(np.dtype(np.int32))
    outputs = [arrays[entry].tolist() for entry in first]
    texts = _texts(run, outputs)
    references = [samples.references[row] for row in rows]
    all_kinds = samples.kinds
    kinds = [all_kinds[row] for row in rows]
    benchmark = data_name(run.benchmark.name)
    if benchmark == REASONING and locate.is_full(run):
        tokens = {"TOKENS_PER_SAMPLE": scoring.tokens_per_sample(outputs)}
        return _reasoning(run.config.benchmark, texts, references, kinds) | tokens
    return scoring.benchmark_scores(benchmark, outputs, texts, references, kinds)


def _texts(run: Run, outputs: Sequence[Sequence[int]]) -> list[str]:
    folder = locate.tokenizer(run)
    if not locate.is_full(run):
        from mlpinf_llm.tokenizer import ChatTokenizer

        tiny = ChatTokenizer.load(folder)
        return [tiny.decode(output) for output in outputs]
    return Detokenizer.load(folder).decode(outputs)


def _reasoning(
    settings: LlmSettings, texts: Sequence[str], references: Sequence[str], kinds: Sequence[str]
) -> dict[str, float | NotGraded]:
    from mlpinf_llm.grading import grade, programs
    from mlpinf_llm.grading.parts import part_of

    def problems(ids: Sequence[str]) -> Mapping[str, Problem]:
        return programs.read_problems(Path(settings.code_tests_path or ""), ids)

    answers = [
        grade.Answer(text, reference, part_of(kind))
        for text, reference, kind in zip(texts, references, kinds, strict=True)
    ]
    return grade.scores(answers, problems if settings.grade_code else None)
