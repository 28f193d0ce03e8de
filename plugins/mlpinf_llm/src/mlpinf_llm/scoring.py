"""The metrics that MLPerf's rules name for each language benchmark.

Each value is the one that the official script prints for the same answers, rounding included: the
submission checker judges that one.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from mlpinf_llm.matching import exact_match
from mlpinf_llm.parallel import spread
from mlpinf_llm.rouge import METRICS as ROUGE
from mlpinf_llm.rouge import rouge
from mlpinf_llm.sentences import lines

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

OVERLAP: Final = "rouge"
"""The kind of an answer that is judged by ROUGE; every other kind is an exact match's."""

BENCHMARK_METRICS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "llama2-70b": ("ROUGE1", "ROUGE2", "ROUGEL", "TOKENS_PER_SAMPLE"),
        "llama3.1-8b": ("ROUGE1", "ROUGE2", "ROUGEL", "ROUGELSUM", "GEN_LEN"),
        "llama3.1-405b": ("ROUGEL", "exact_match", "TOKENS_PER_SAMPLE"),
        "deepseek-r1": ("exact_match", "TOKENS_PER_SAMPLE"),
    }
)
"""The metrics of each benchmark, by the rules' names."""

_FOUR: Final = MappingProxyType(dict.fromkeys(ROUGE, 4))
_DECIMALS: Final[Mapping[str, Mapping[str, int]]] = MappingProxyType(
    {
        "llama2-70b": {**_FOUR, "TOKENS_PER_SAMPLE": 1},
        "llama3.1-8b": _FOUR,
        "llama3.1-405b": {"TOKENS_PER_SAMPLE": 1},
        "deepseek-r1": {},
    }
)
"""What the official scripts round to; the others are not rounded."""


def benchmark_scores(
    benchmark: str,
    outputs: Sequence[Sequence[int]] | Sequence[Any],
    predictions: Sequence[str],
    references: Sequence[str],
    kinds: Sequence[str],
) -> dict[str, float]:
    """The metrics that MLPerf's rules name for ``benchmark``, under the rules' names.

    Args:
        benchmark: its name; that of llama3.1-8b for the edge form.
        outputs: the generated ids of each sample.
        predictions: their text.
        references: what each is scored against.
        kinds: how each is judged: ``rouge``, or a kind of :func:`mlpinf_llm.matching.match`.

    Returns:
        Metric to value; without the metrics of a kind that no sample is of.

    Raises:
        ValueError: the lists differ in length or are empty, or a kind is unknown.
        KeyError: the benchmark is unknown.
    """
    names = BENCHMARK_METRICS[benchmark]
    if not len(outputs) == len(predictions) == len(references) == len(kinds):
        raise ValueError(f"{len(predictions)} predictions for {len(references)} references")
    if not predictions:
        raise ValueError("there are no outputs to score")
    rows = list(zip(predictions, references, kinds, strict=True))
    overlap = [(p, r) for p, r, kind in rows if kind == OVERLAP]
    exact = [row for row in rows if row[2] != OVERLAP]
    scores: dict[str, float] = {}
    if overlap:
        scores |= _overlaps([p for p, _ in overlap], [r for _, r in overlap], names)
    if exact:
        scores["exact_match"] = exact_match(*(list(column) for column in zip(*exact, strict=True)))
    scores["TOKENS_PER_SAMPLE"] = tokens_per_sample(outputs)
    return rounded(benchmark, {name: scores[name] for name in names if name in scores})


def _overlaps(
    predictions: Sequence[str], references: Sequence[str], names: Sequence[str]
) -> dict[str, float]:
    wanted = tuple(name for name in names if name in ROUGE)
    # Words are the same with a line for each sentence and without; only these two go by lines.
    if "ROUGELSUM" in names or "GEN_LEN" in names:
        predictions, references = spread(lines, predictions), spread(lines, references)
    found = rouge(predictions, references, wanted) if wanted else {}
    return {**found, "GEN_LEN": float(characters(predictions))}


def rounded(benchmark: str, scores: Mapping[str, float]) -> dict[str, float]:
    """The scores as the benchmark's official script rounds them."""
    decimals = _DECIMALS[benchmark]
    return {
        name: round(value, decimals[name]) if name in decimals else value
        for name, value in scores.items()
    }


def tokens_per_sample(outputs: Sequence[Any]) -> float:
    """Mean number of generated tokens. Raises ValueError for no outputs."""
    if not len(outputs):
        raise ValueError("there are no outputs to score")
    return sum(len(output) for output in outputs) / len(outputs)


def characters(texts: Sequence[str]) -> int:
    """llama3.1-8b's GEN_LEN, of texts with a line for each sentence: a sum over the samples."""
    return sum(map(len, texts))
