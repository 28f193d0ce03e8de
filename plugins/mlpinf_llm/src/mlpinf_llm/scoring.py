"""The quality metrics of the language benchmarks.

What is measured is what the official accuracy scripts measure. Two things differ, and are said
where they happen: sentences are split by nltk's untrained Punkt, which needs no download, and an
empty answer never counts as a match.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

#: The metrics that rouge() gives, by the names of MLPerf's rules.
ROUGE_METRICS = ("ROUGE1", "ROUGE2", "ROUGEL", "ROUGELSUM")
_ROUGE_TYPES = ("rouge1", "rouge2", "rougeL", "rougeLsum")
_UUID = re.compile(r"\w{8}-\w{4}-\w{4}-\w{4}-\w{12}")
_NUMBER = re.compile(r"-?\d+(?:[.,]\d+)*")
_ANSWER_MARK = "Answer: "


def rouge(predictions: Sequence[str], references: Sequence[str]) -> dict[str, float]:
    """Mean F-measure times 100 of ROUGE-1, -2, -L and -Lsum, with stemming.

    Both texts are stripped and split into sentences, a line each, which is what -Lsum compares.
    The official scripts split with nltk's trained Punkt model; the untrained one used here cuts
    some abbreviations differently, which moves -Lsum alone. Raises ValueError when the two lists
    differ in length or are empty.
    """
    from rouge_score import rouge_scorer

    _check(predictions, references)
    scorer = rouge_scorer.RougeScorer(list(_ROUGE_TYPES), use_stemmer=True)
    totals = dict.fromkeys(_ROUGE_TYPES, 0.0)
    for prediction, reference in zip(predictions, references, strict=True):
        scores = scorer.score(_lines(reference), _lines(prediction))
        for kind in _ROUGE_TYPES:
            totals[kind] += scores[kind].fmeasure
    return {
        name: 100.0 * totals[kind] / len(predictions)
        for name, kind in zip(ROUGE_METRICS, _ROUGE_TYPES, strict=True)
    }


def _lines(text: str) -> str:
    return "\n".join(sentences(text.strip()))


def sentences(text: str) -> list[str]:
    """The sentences of `text`."""
    from nltk.tokenize.punkt import PunktSentenceTokenizer

    found: list[str] = PunktSentenceTokenizer().tokenize(text)
    return found


def exact_match(
    predictions: Sequence[str], references: Sequence[str], kinds: Sequence[str]
) -> float:
    """Percentage of answers that match, each judged by its kind (see match).

    Raises ValueError when the lists differ in length or are empty, or for an unknown kind.
    """
    _check(predictions, references)
    _check(predictions, kinds)
    graded = [
        match(prediction, reference, kind)
        for prediction, reference, kind in zip(predictions, references, kinds, strict=True)
    ]
    return sum(graded) / len(graded)


def match(prediction: str, reference: str, kind: str) -> float:
    """How well one answer matches, 0 to 100, by one of three kinds.

    `qa_em`: the reference's alternatives are separated by `|`; one of them must occur in the
    answer (after the last "Answer: " if there is one), regardless of case and white space.
    `niah_em`: identifiers (UUIDs) in the answer and the reference are compared in order. As in
    the official script, each counts by the share of the expected one's characters that occur
    anywhere in it, so a wrong one still scores something.
    `number`: the last number of the answer is the reference.
    """
    if kind == "qa_em":
        return 100.0 * _holds_answer(prediction, reference)
    if kind == "niah_em":
        found, expected = _UUID.findall(prediction.lower()), _UUID.findall(reference.lower())
        shares = [
            sum(letter in answer for letter in wanted) / len(wanted)
            for answer, wanted in zip(found, expected, strict=False)
        ]
        return 100.0 * sum(shares) / len(found) if found else 0.0
    if kind == "number":
        number = final_number(prediction)
        return 100.0 * (number is not None and number == final_number(reference))
    raise ValueError(f"{kind!r} is not a kind of exact match: qa_em, niah_em, number")


def _holds_answer(prediction: str, reference: str) -> bool:
    answer = prediction[prediction.rfind(_ANSWER_MARK) :].removeprefix(_ANSWER_MARK) if (
        _ANSWER_MARK in prediction
    ) else prediction  # fmt: skip
    squeezed = _squeeze(answer)
    # The official script takes any part of the reference for a match, the empty string too; an
    # empty answer is refused here, so that a broken engine cannot score 100.
    if not squeezed:
        return False
    alternatives = [_squeeze(entry) for entry in reference.split("|")]
    return answer in reference or any(entry and entry in squeezed for entry in alternatives)


def _squeeze(text: str) -> str:
    return re.sub(r"\s+", "", text).lower()


def final_number(text: str) -> str | None:
    """The last number in `text`, without thousands separators; None where there is none."""
    found = _NUMBER.findall(text)
    return found[-1].replace(",", "") if found else None


def tokens_per_sample(outputs: Sequence[Sequence[int]] | Sequence[Any]) -> float:
    """Mean number of generated tokens. Raises ValueError for no outputs."""
    if not len(outputs):
        raise ValueError("there are no outputs to score")
    return sum(len(output) for output in outputs) / len(outputs)


def gen_len(predictions: Sequence[str]) -> int:
    """llama3.1-8b's GEN_LEN: the characters of all outputs, summed over the samples.

    Each is stripped and has its sentences on lines of their own, as for rouge.
    """
    return sum(len(_lines(prediction)) for prediction in predictions)


def _check(predictions: Sequence[Any], references: Sequence[Any]) -> None:
    if len(predictions) != len(references):
        raise ValueError(f"{len(predictions)} predictions for {len(references)} references")
    if not predictions:
        raise ValueError("there are no outputs to score")


def benchmark_scores(
    benchmark: str,
    outputs: Sequence[Sequence[int]],
    predictions: Sequence[str],
    references: Sequence[str],
    kinds: Sequence[str],
) -> dict[str, float]:
    """The metrics that MLPerf's rules name for `benchmark`, under the rules' names.

    `outputs` are the generated ids of each sample, `predictions` their text; `kinds` says how each
    sample is judged, `rouge` or a kind of match(). Raises ValueError when the lists differ in
    length or are empty, and KeyError for an unknown benchmark.
    """
    names = BENCHMARK_METRICS[benchmark]
    _check(predictions, outputs)
    _check(predictions, references)
    _check(predictions, kinds)
    scores: dict[str, float] = {}
    judged = [kind for kind in kinds if kind != "rouge"]
    rows = list(zip(predictions, references, kinds, strict=True))
    overlap = [(p, r) for p, r, kind in rows if kind == "rouge"]
    if overlap:
        scores |= rouge([p for p, _ in overlap], [r for _, r in overlap])
    if judged:
        exact = [(p, r) for p, r, kind in rows if kind != "rouge"]
        scores["exact_match"] = exact_match([p for p, _ in exact], [r for _, r in exact], judged)
    scores["TOKENS_PER_SAMPLE"] = tokens_per_sample(outputs)
    scores["GEN_LEN"] = float(gen_len(predictions))
    return {name: scores[name] for name in names if name in scores}


#: The metrics of each benchmark, by the rules' names.
BENCHMARK_METRICS = {
    "llama2-70b": ("ROUGE1", "ROUGE2", "ROUGEL", "TOKENS_PER_SAMPLE"),
    "llama3.1-8b": ("ROUGE1", "ROUGE2", "ROUGEL", "ROUGELSUM", "GEN_LEN"),
    "llama3.1-405b": ("ROUGEL", "exact_match", "TOKENS_PER_SAMPLE"),
    "deepseek-r1": ("exact_match", "TOKENS_PER_SAMPLE"),
}
