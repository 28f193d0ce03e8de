"""The tiny variants' data, and whether their limits tell good answers from corrupted ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

import ctranslate2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlpinf_llm import make_tiny, scoring, tables, tiny
from mlpinf_llm.tokenizer import ChatTokenizer

if TYPE_CHECKING:
    from pathlib import Path

NAMES = list(tiny.BENCHMARKS)
Outputs = list[list[int]]


def _table(name: str) -> tables.Table:
    return tables.read_table(tiny.data_path(tiny.BENCHMARKS[name].file))


def _kinds(table: tables.Table) -> list[str]:
    return table.texts("metric") if "metric" in table.columns else ["rouge"] * len(table)


@pytest.mark.parametrize("name", NAMES)
def test_a_tiny_data_file_has_a_row_for_every_prompt_a_person_wrote(name: str) -> None:
    table, samples = _table(name), tiny.BENCHMARKS[name].samples()
    assert 32 <= len(table) <= 48
    assert table.texts("input") == [sample.prompt for sample in samples]
    assert len(set(table.texts("input"))) == len(table)


@pytest.mark.parametrize("name", NAMES)
def test_a_tiny_data_file_has_the_columns_of_the_full_one(name: str) -> None:
    expected = {
        "llama2-70b": {"tok_input", "tok_input_length", "output"},
        "llama3.1-8b": {"tok_input", "output"},
        "llama3.1-405b": {"tok_input", "tok_input_len", "gt_output", "metric"},
        "deepseek-r1": {"tok_input", "tok_input_len", "ground_truth"},
    }[name]
    assert expected <= set(_table(name).columns)


@pytest.mark.parametrize("name", NAMES)
def test_prompts_are_short_and_their_lengths_are_right(name: str) -> None:
    table, column = _table(name), tiny.BENCHMARKS[name].lengths
    lengths = [len(ids) for ids in table.token_ids("tok_input")]
    assert max(lengths) <= (250 if name == "llama3.1-405b" else 90)
    if column:
        assert list(table.column(column)) == lengths


@pytest.mark.parametrize("name", ["llama2-70b", "llama3.1-405b", "deepseek-r1"])
def test_reference_outputs_keep_to_the_cap_and_have_two_tokens(name: str) -> None:
    lengths = [len(ids) for ids in _table(name).token_ids("tok_output")]
    assert min(lengths) >= 2
    assert max(lengths) <= tiny.BENCHMARKS[name].cap


@pytest.mark.parametrize("name", NAMES)
def test_limits_lie_below_what_int8_reached_and_above_what_a_quarter_of_it_lost(name: str) -> None:
    metrics = tiny.targets()[name]["metrics"]
    assert set(metrics) == set(scoring.BENCHMARK_METRICS[name])
    for metric in metrics.values():
        low, high = metric["measured"]
        assert metric["lower"] < low
        assert metric["upper"] is None or high < metric["upper"]
        assert metric["lower"] > 0.6 * metric["reference"]


@given(judged=st.integers(10, 60), missed=st.integers(0, 5))
def test_a_limit_admits_two_wrong_samples_more_than_were_measured(judged: int, missed: int) -> None:
    def share(wrong: int) -> float:
        return 100 * (judged - wrong) / judged

    lower = make_tiny.limits("exact_match", share(missed), [share(missed)], judged)["lower"]
    assert lower is not None
    assert share(missed + 3) < lower <= share(missed + 2)


@pytest.mark.model
@pytest.mark.parametrize("name", NAMES)
def test_the_data_files_hold_what_the_tokenizer_makes_of_the_prompts(
    name: str, engines: dict[str, Path]
) -> None:
    tokens = ChatTokenizer.load(engines["int8"])
    assert [ids.tolist() for ids in _table(name).token_ids("tok_input")] == [
        tokens.encode_chat(sample.prompt, sample.start)
        for sample in tiny.BENCHMARKS[name].samples()
    ]


@pytest.fixture(scope="module")
def int8_outputs(engines: dict[str, Path]) -> dict[str, Outputs]:
    tokens = ChatTokenizer.load(engines["int8"])
    generator = ctranslate2.Generator(str(engines["int8"]), compute_type="int8")
    return {
        name: [
            list(result.sequences_ids[0])
            for result in generator.generate_batch(
                [tokens.tokens(ids) for ids in _table(name).token_ids("tok_input")],
                max_length=benchmark.cap,
                max_batch_size=8,
                include_prompt_in_result=False,
                sampling_topk=1,
            )
        ]
        for name, benchmark in tiny.BENCHMARKS.items()
    }


def _within_limits(name: str, tokens: ChatTokenizer, outputs: Outputs) -> bool:
    table = _table(name)
    scores = scoring.benchmark_scores(
        name,
        outputs,
        [tokens.decode(output) for output in outputs],
        table.texts(tiny.BENCHMARKS[name].reference),
        _kinds(table),
    )
    metrics = tiny.targets()[name]["metrics"]
    return all(
        metrics[metric]["lower"] <= value
        and (metrics[metric]["upper"] is None or value <= metrics[metric]["upper"])
        for metric, value in scores.items()
    )


@pytest.mark.model
@pytest.mark.parametrize("name", NAMES)
def test_the_int8_engine_is_within_its_limits(
    name: str, engines: dict[str, Path], int8_outputs: dict[str, Outputs]
) -> None:
    assert _within_limits(name, ChatTokenizer.load(engines["int8"]), int8_outputs[name])


@pytest.mark.model
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "damage", ["wrong sample", "a quarter wrong", "half as long", "random", "one token", "empty"]
)
def test_corrupted_outputs_miss_the_limits(
    name: str, damage: str, engines: dict[str, Path], int8_outputs: dict[str, Outputs]
) -> None:
    outputs = int8_outputs[name]
    random = np.random.default_rng(0)
    rolled = outputs[1:] + outputs[:1]
    damaged = {
        "wrong sample": rolled,
        "a quarter wrong": [
            other if index % 4 == 0 else own
            for index, (own, other) in enumerate(zip(outputs, rolled, strict=True))
        ],
        "half as long": [output[: max(1, len(output) // 2)] for output in outputs],
        "random": [random.integers(17, 49_000, len(output)).tolist() for output in outputs],
        "one token": [[outputs[0][0]] * len(output) for output in outputs],
        "empty": [[] for _ in outputs],
    }[damage]
    assert not _within_limits(name, ChatTokenizer.load(engines["int8"]), damaged)
