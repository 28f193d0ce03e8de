"""The tiny variants: their data files, output caps, limits, and how a prompt is put together.

A tiny data file has the format and the columns of the full data set. What a person edits is the
TOML beside it; `make_tiny` turns one into the other.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import attrs

from mlpinf_llm.generation import Generation
from mlpinf_llm.layout import Layout

DATA = "tiny_data"


@attrs.frozen(slots=True)
class Sample:
    """One prompt: what the user says, how the answer begins, and how it is judged.

    `grade` is `rouge` or a kind of scoring.match; `answer` is what an exact match compares with,
    empty for `rouge`.
    """

    prompt: str
    start: str
    grade: str = "rouge"
    answer: str = ""


@attrs.frozen(slots=True)
class TinyBenchmark:
    """One benchmark's tiny variant. `cap` is the most tokens it generates for a sample."""

    name: str
    file: str
    cap: int
    lengths: str | None
    reference: str
    read: Callable[[Mapping[str, Any]], list[Sample]]

    @property
    def layout(self) -> Layout:
        """What the data file holds."""
        graded = any(sample.grade != "rouge" for sample in self.samples())
        kinds = "metric" if graded else None
        return Layout(lengths=self.lengths, references=(self.reference,), kinds=kinds)

    def samples(self) -> list[Sample]:
        """The prompts, from the benchmark's TOML in the package."""
        source = resources.files("mlpinf_llm") / DATA / f"{self.name}.toml"
        return self.read(tomllib.loads(source.read_text(encoding="utf-8")))


def data_path(file: str) -> Path:
    """Where a file of the tiny data lies. The package is installed as files, never zipped."""
    return Path(str(resources.files("mlpinf_llm") / DATA / file))


def targets() -> dict[str, Any]:
    """What make_tiny measured, by benchmark and metric.

    `reference` is the float32 model's own score, `measured` the lowest and highest int8 score,
    `lower` and `upper` the limits; either limit may be None.
    """
    loaded: dict[str, Any] = json.loads(data_path("targets.json").read_text(encoding="utf-8"))
    return loaded


def _marked(text: str) -> tuple[str, str, str]:
    """A text with one mark | in it: the whole, what comes before the mark, what comes after."""
    before, mark, after = text.partition("|")
    if not mark or "|" in after:
        raise ValueError(f"not exactly one mark | in: {text}")
    return before + after, before, after


def _questions(source: Mapping[str, Any]) -> list[Sample]:
    return [
        Sample(f"{item['note']} {item['question']}".strip(), item["start"])
        for item in source["items"]
    ]


def _summaries(source: Mapping[str, Any]) -> list[Sample]:
    marked = [_marked(item) for item in source["items"]]
    return [Sample(source["instruction"] + whole, start) for whole, start, _ in marked]


def _passages(source: Mapping[str, Any]) -> list[Sample]:
    samples = []
    for passage in source["passage"]:
        text = passage["text"]
        if "summary" in passage:
            samples.append(Sample(f"{text}\n{source['instruction']}", passage["summary"]))
        samples.extend(
            Sample(f"{text}\n{ask['question']}", ask["start"], "qa_em", ask["answer"])
            for ask in passage.get("ask", ())
        )
    return samples


def _sums(source: Mapping[str, Any]) -> list[Sample]:
    samples = []
    for item in source["items"]:
        whole, start, result = _marked(item["working"])
        samples.append(
            Sample(f"{item['question']}\n{whole}", start, "number", result.split()[0].rstrip("."))
        )
    return samples


#: LoadGen's early stopping wants at least 662 queries at p99, so a sample has to be cheap: on two
#: cores a token costs about 6 ms in a batch of 8, and a prompt of 50 tokens 25 ms. The caps are as
#: small as lets an answer say what is asked: the rest of a clause for a summary or a retrieved
#: detail, a whole sentence for llama2-70b, a number and its unit for deepseek-r1 (whose model
#: rambles when given more). LoadGen's token accounting needs at least 2.
BENCHMARKS: Mapping[str, TinyBenchmark] = {
    each.name: each
    for each in (
        TinyBenchmark("llama2-70b", "llama2-70b.pkl", 10, "tok_input_length", "output", _questions),
        TinyBenchmark("llama3.1-8b", "llama3.1-8b.json", 8, None, "output", _summaries),
        TinyBenchmark(
            "llama3.1-405b", "llama3.1-405b.pkl", 8, "tok_input_len", "gt_output", _passages
        ),
        TinyBenchmark("deepseek-r1", "deepseek-r1.pkl", 6, "tok_input_len", "ground_truth", _sums),
    )
}

#: The tiny model's turns begin with id 1 and end with id 2. The caps are the benchmarks' own.
GENERATION: Mapping[str, Generation] = {
    name: Generation(
        temperature=1.0, top_p=1.0, top_k=1, bos_id=1, eos_ids=(2,), max_tokens=each.cap
    )
    for name, each in BENCHMARKS.items()
}
