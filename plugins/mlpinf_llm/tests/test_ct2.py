"""The CTranslate2 backend on its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from mlpinf_core.errors import BackendError
from mlpinf_llm import dataset, tiny
from mlpinf_llm.ct2 import CTranslate2Backend
from mlpinf_llm.samples import TokenSamples
from mlpinf_llm.tables import read_table

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DATA = tiny.BENCHMARKS["llama3.1-8b"]


@pytest.fixture
def prompts(tmp_path: Path) -> TokenSamples:
    dataset.write(read_table(tiny.data_path(DATA.file)), DATA.layout, tmp_path)
    return TokenSamples(dataset.Store.open(tmp_path))


def backend_on(engine: Path, prompts: TokenSamples) -> CTranslate2Backend:
    return CTranslate2Backend(engine, prompts, 2, DATA.cap, device="cpu", replicas=1, threads=2)


@pytest.fixture
def backend(engines: dict[str, Path], prompts: TokenSamples) -> Iterator[CTranslate2Backend]:
    made = backend_on(engines["int8"], prompts)
    made.load()
    yield made
    made.close()


def test_prompts_are_stored_as_one_array_and_come_back_as_they_were(prompts: TokenSamples) -> None:
    wanted = read_table(tiny.data_path(DATA.file)).token_ids("tok_input")
    assert len(prompts) == len(wanted)
    assert all(np.array_equal(prompts.prompt(n), ids) for n, ids in enumerate(wanted))
    assert list(prompts.lengths) == [len(ids) for ids in wanted]


@pytest.mark.model
def test_every_prompt_of_a_batch_reports_its_first_token_once_whatever_its_length(
    backend: CTranslate2Backend, prompts: TokenSamples
) -> None:
    by_length = np.argsort(prompts.lengths)
    batch = np.array([by_length[0], by_length[-1], by_length[len(prompts) // 2]])
    assert len(set(prompts.lengths[batch])) == 3
    reported: list[tuple[int, int]] = []
    answers = backend.generate(batch, lambda position, token: reported.append((position, token)))
    assert sorted(reported) == [(n, answer[0]) for n, answer in enumerate(answers)]


@pytest.mark.model
def test_a_batch_is_answered_in_its_own_order(backend: CTranslate2Backend) -> None:
    forward = backend.infer(np.array([0, 5, 9]))
    one = backend.infer(np.array([9]))
    assert len(forward) == 3
    assert len(forward.data[2]) == len(one.data[0])


@pytest.mark.model
def test_no_answer_is_longer_than_the_cap_and_the_counts_are_of_what_is_there(
    backend: CTranslate2Backend,
) -> None:
    outputs = backend.infer(np.arange(16))
    assert outputs.n_tokens is not None
    assert [len(ids) for ids in outputs.data] == list(outputs.n_tokens)
    assert max(outputs.n_tokens) <= DATA.cap
    assert {ids.dtype for ids in outputs.data} == {np.dtype(np.int32)}


@pytest.mark.model
def test_an_engine_that_is_damaged_is_an_error_that_names_it(
    engines: dict[str, Path], prompts: TokenSamples, tmp_path: Path
) -> None:
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    for file in engines["int8"].iterdir():
        content = file.read_bytes()
        (damaged / file.name).write_bytes(
            content[: len(content) // 2] if file.name == "model.bin" else content
        )
    with pytest.raises(BackendError, match="cannot load") as caught:
        backend_on(damaged, prompts).load()
    assert str(damaged) in str(caught.value)
