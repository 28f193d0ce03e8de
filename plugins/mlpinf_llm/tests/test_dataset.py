"""A data set's file becomes a store once, after its content was checked."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlpinf_core.errors import IntegrityError, PrerequisiteError
from mlpinf_llm import calibration, dataset, export, locate, ragged, samples
from mlpinf_llm.dataset import DataFile
from mlpinf_llm.layout import Layout
from mlpinf_llm.official import OFFICIAL
from mlpinf_llm.ragged import Ragged, Texts
from mlpinf_llm.tables import Table, TableError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from mlpinf_core.context import Run

ROWS = [
    {"tok_input": [5, 6, 7], "tok_input_len": 3, "output": "one", "metric": "rouge"},
    {"tok_input": [8], "tok_input_len": 1, "output": "zwei", "metric": "qa_em"},
]
LAYOUT = Layout(lengths="tok_input_len", references=("output",), kinds="metric")


def table(tmp_path: Path, rows: list[dict[str, Any]] = ROWS) -> Table:
    return Table(tmp_path / "d.pkl", {name: [row[name] for row in rows] for name in rows[0]})


def data_file(path: Path, layout: Layout = LAYOUT, rows: list[dict[str, Any]] = ROWS) -> DataFile:
    path.write_text(json.dumps(rows), encoding="utf-8")
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    return DataFile(path, layout, sha256, "get the right one")


def test_a_store_gives_back_prompts_references_and_kinds(tmp_path: Path) -> None:
    dataset.write(table(tmp_path), LAYOUT, tmp_path)
    store = dataset.Store.open(tmp_path)
    assert [row.tolist() for row in store.prompts] == [[5, 6, 7], [8]]
    assert store.prompts.values.dtype == np.int32
    assert store.prompts.offsets.dtype == np.int64
    assert isinstance(store.prompts.values, np.memmap)
    assert list(store.references) == ["one", "zwei"]
    assert store.kinds[1] == "qa_em"


def test_a_data_set_is_read_once_and_then_not_needed_any_more(
    new_run: Callable[..., Run], tmp_path: Path
) -> None:
    run, file = new_run("llama3.1-405b"), data_file(tmp_path / "d.json")
    first = samples.preprocessed(run, file)
    file.path.unlink()
    again = samples.preprocessed(run, file)
    assert [again.prompt(n).tolist() for n in range(2)] == [[5, 6, 7], [8]]
    assert list(again.references) == list(first.references)


def test_another_file_or_another_layout_makes_another_store(
    new_run: Callable[..., Run], tmp_path: Path
) -> None:
    run = new_run("llama3.1-405b")
    assert len(samples.preprocessed(run, data_file(tmp_path / "d.json"))) == 2
    assert len(samples.preprocessed(run, data_file(tmp_path / "d.json", rows=ROWS[:1]))) == 1
    bare = samples.preprocessed(run, data_file(tmp_path / "d.json", Layout(), ROWS[:1]))
    assert list(bare.references) == []
    assert list(bare.kinds) == ["rouge"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rows": 3}, "has 2 rows instead of 3"),
        ({"max_tokens": 2}, "row 0 has 3 ids, more than 2"),
        ({"vocabulary": 8}, "row 1 has the id 8, outside the vocabulary of 8"),
        ({"lengths": "tok_input_length"}, "has no column tok_input_length"),
        ({"references": ("answer", "gt")}, "has no column gt"),
        ({"kinds": "dataset"}, "has no column dataset"),
        ({"md5": "0" * 32}, "has md5 .* instead of 0000"),
    ],
)
def test_a_file_that_does_not_hold_what_it_must_is_refused_with_a_remedy_and_leaves_nothing(
    change: dict[str, Any], message: str, new_run: Callable[..., Run], tmp_path: Path
) -> None:
    run = new_run("llama3.1-405b")
    file = data_file(tmp_path / "d.json", attrs.evolve(LAYOUT, **change))
    with pytest.raises(IntegrityError, match=message) as caught:
        samples.preprocessed(run, file)
    assert caught.value.remedy == "get the right one"
    kept = [path for path in run.scratch.folder("preprocessed_data").glob("*") if path.is_dir()]
    assert [path.name for path in kept] == [".locks"]


def test_a_length_that_is_not_the_prompts_is_named_by_row(tmp_path: Path) -> None:
    rows = [ROWS[0], {**ROWS[1], "tok_input_len": 2}]
    with pytest.raises(TableError, match="row 1 has 1 ids, and tok_input_len 2"):
        dataset.write(table(tmp_path, rows), LAYOUT, tmp_path)


@pytest.mark.parametrize(
    ("value", "text"), [("a", "a"), (7, "7"), (7.0, "7"), (0.5, "0.5"), (None, ""), (np.nan, "")]
)
def test_references_that_are_numbers_or_missing_become_text(
    value: Any, text: str, tmp_path: Path
) -> None:
    dataset.write(table(tmp_path, [{**ROWS[0], "output": value}]), LAYOUT, tmp_path)
    assert dataset.Store.open(tmp_path).references[0] == text


def test_a_reference_that_is_neither_is_named_by_row(tmp_path: Path) -> None:
    with pytest.raises(TableError, match="output of row 0 is"):
        dataset.write(table(tmp_path, [{**ROWS[0], "output": ["a"]}]), LAYOUT, tmp_path)


@given(rows=st.lists(st.lists(st.integers(0, 2**31 - 1), max_size=5), max_size=6))
def test_rows_come_back_as_they_were_also_padded(
    rows: list[list[int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("rows")
    ragged.write(folder, "rows", [np.array(row, dtype=np.int64) for row in rows], np.int32)
    found = Ragged.open(folder, "rows")
    assert [row.tolist() for row in found] == rows
    matrix, lengths = found.padded(pad=-1)
    assert lengths.tolist() == [len(row) for row in rows]
    width = max(map(len, rows), default=0)
    assert matrix.tolist() == [row + [-1] * (width - len(row)) for row in rows]


@given(texts=st.lists(st.text(), max_size=6))
def test_texts_come_back_as_they_were(
    texts: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("texts")
    ragged.write_texts(folder, "texts", texts)
    found = Texts.open(folder, "texts")
    assert list(found) == texts
    assert found[:2] == texts[:2]


def test_a_matrix_that_is_too_narrow_is_refused_by_row(tmp_path: Path) -> None:
    ragged.write(tmp_path, "rows", [np.arange(2), np.arange(5)], np.int32)
    with pytest.raises(ValueError, match="row 1 has 5 values, and the matrix 4 columns"):
        Ragged.open(tmp_path, "rows").padded(pad=0, width=4)


def test_an_official_file_that_is_missing_says_what_to_run_and_where_it_belongs(
    new_run: Callable[..., Run],
) -> None:
    run = new_run("llama2-70b")
    with pytest.raises(PrerequisiteError, match="mlc-r2-downloader") as caught:
        locate.data_file(run)
    assert "llama-2-70b-open-orca-dataset.uri" in caught.value.what
    assert caught.value.where == str(
        run.scratch.data / "llama2-70b/open_orca_gpt4_tokenized_llama.sampled_24576.pkl"
    )
    assert "benchmark.data_path" in str(caught.value.remedy)


def test_an_official_file_of_another_checksum_is_refused(
    new_run: Callable[..., Run], tmp_path: Path
) -> None:
    (tmp_path / "cnn_eval.json").write_text("[]")
    with pytest.raises(IntegrityError, match=r"has sha256 .* instead of 6d066a21"):
        locate.data_file(new_run("llama3.1-8b", data_path=tmp_path))


def test_an_official_file_of_another_size_is_refused_without_being_read(
    new_run: Callable[..., Run], tmp_path: Path
) -> None:
    name = OFFICIAL["llama3.1-405b"].data.source.name.rpartition("/")[2]
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(IntegrityError, match="has 1 bytes instead of 891889920"):
        locate.data_file(new_run("llama3.1-405b", data_path=tmp_path))


def test_a_file_without_a_published_checksum_is_known_by_its_own(
    new_run: Callable[..., Run], tmp_path: Path
) -> None:
    path = tmp_path / "other.pkl"
    path.write_bytes(b"anything")
    file = locate.data_file(new_run("deepseek-r1", data_path=path))
    assert file.sha256 == hashlib.sha256(b"anything").hexdigest()


def test_a_calibration_set_is_checked_and_given_as_prompts(
    new_run: Callable[..., Run], tmp_path: Path
) -> None:
    rows = [{"tok_input": [n % 100 + 1] * 4, "tok_input_len": 4} for n in range(500)]
    path = tmp_path / "calibration.json"
    path.write_text(json.dumps(rows))
    found = calibration.prompts(new_run("deepseek-r1", calibration_path=path))
    assert len(found) == 500
    assert found[7].tolist() == [8] * 4
    path.write_text(json.dumps(rows[:-1]))
    with pytest.raises(IntegrityError, match="has 499 rows instead of 500"):
        calibration.prompts(new_run("deepseek-r1", calibration_path=path))


def test_the_command_writes_the_arrays_that_other_harnesses_read(tmp_path: Path) -> None:
    rows = [{"tok_input": [9] * (n % 3 + 1), "tok_input_len": n % 3 + 1} for n in range(512)]
    (tmp_path / "calibration.json").write_text(json.dumps(rows))
    arguments = ["llama3.1-405b", str(tmp_path / "calibration.json"), str(tmp_path / "out")]
    export.main([*arguments, "--calibration"])
    ids = np.load(tmp_path / "out" / export.IDS)
    assert (ids.dtype, ids.shape) == (np.int32, (512, 3))
    assert ids[1].tolist() == [9, 9, 128_009]
    assert np.load(tmp_path / "out" / export.LENGTHS)[:3].tolist() == [1, 2, 3]
    with pytest.raises(SystemExit, match="has 512 rows instead of 8313"):
        export.main(arguments)


@pytest.mark.slow
def test_a_data_set_of_full_size_is_stored_and_opened_again(
    new_run: Callable[..., Run], tmp_path: Path
) -> None:
    random = np.random.default_rng(0)
    lengths = random.integers(20, 400, 24_576)
    rows = [
        {"tok_input": random.integers(3, 32_000, n).tolist(), "tok_input_length": int(n),
         "output": f"answer {row}"}
        for row, n in enumerate(lengths)
    ]  # fmt: skip
    layout = OFFICIAL["llama2-70b"].data.layout
    run = new_run("llama2-70b")
    prepared = samples.preprocessed(run, data_file(tmp_path / "d.json", layout, rows))
    assert len(prepared) == 24_576
    assert prepared.lengths.tolist() == lengths.tolist()
    assert prepared.references[24_575] == "answer 24575"
    files = list(run.scratch.folder("preprocessed_data").rglob("prompts.npy"))
    assert files[0].stat().st_size < 4 * int(lengths.sum()) + 4096
