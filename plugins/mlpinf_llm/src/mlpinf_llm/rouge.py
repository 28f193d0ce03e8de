"""ROUGE as the official scripts compute it: package rouge_score, with stemming."""

from __future__ import annotations

import functools
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from mlpinf_llm.parallel import spread

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

METRICS: Final[Mapping[str, str]] = MappingProxyType(
    {"ROUGE1": "rouge1", "ROUGE2": "rouge2", "ROUGEL": "rougeL", "ROUGELSUM": "rougeLsum"}
)
"""The rules' names to rouge_score's."""
_LONGEST: Final = "rougeL"


def rouge(
    predictions: Sequence[str],
    references: Sequence[str],
    metrics: Sequence[str] = tuple(METRICS),
    *,
    processes: int | None = None,
) -> dict[str, float]:
    """Mean F-measure times 100 of each metric.

    Args:
        predictions: texts; for ROUGELSUM with a line for each sentence.
        references: as many, of the same form.
        metrics: by the rules' names; what nobody asks for is not computed.
        processes: how many work on it; None is one a core. The result is the same.

    Raises:
        ValueError: the two differ in number, or there are none.
    """
    if len(predictions) != len(references):
        raise ValueError(f"{len(predictions)} predictions for {len(references)} references")
    if not predictions:
        raise ValueError("there are no outputs to score")
    function = functools.partial(_f_measures, tuple(METRICS[metric] for metric in metrics))
    pairs = list(zip(predictions, references, strict=True))
    means = np.mean(spread(function, pairs, processes=processes), axis=0)
    return {metric: 100.0 * float(mean) for metric, mean in zip(metrics, means, strict=True)}


def _f_measures(kinds: tuple[str, ...], pair: tuple[str, str]) -> tuple[float, ...]:
    prediction, reference = pair
    scorer = _scorer(tuple(kind for kind in kinds if kind != _LONGEST))
    scores = {kind: s.fmeasure for kind, s in scorer.score(reference, prediction).items()}
    if _LONGEST in kinds:
        scores[_LONGEST] = _longest_common(prediction, reference)
    return tuple(scores[kind] for kind in kinds)


def _longest_common(prediction: str, reference: str) -> float:
    """ROUGE-L. rouge_score would look for the longest common subsequence in Python.

    That takes a quarter of a second for an answer of llama3.1-405b; its length is the same.
    """
    from rapidfuzz.distance import LCSseq

    got, wanted = _words().tokenize(prediction), _words().tokenize(reference)
    common = LCSseq.similarity(got, wanted)
    return 2 * common / (len(got) + len(wanted)) if common else 0.0


@functools.cache
def _scorer(kinds: tuple[str, ...]) -> Any:
    from rouge_score import rouge_scorer

    return rouge_scorer.RougeScorer(list(kinds), tokenizer=_words())


@functools.cache
def _words() -> _Words:
    return _Words()


class _Words:
    """rouge_score's words; a stem is worked out once, which is where most of the time would go."""

    def __init__(self) -> None:
        from nltk.stem.porter import PorterStemmer

        self.stem = functools.lru_cache(maxsize=200_000)(PorterStemmer().stem)

    def tokenize(self, text: str) -> list[str]:
        """The words of ``text``."""
        from rouge_score import tokenize

        words: list[str] = tokenize.tokenize(text, self)
        return words
