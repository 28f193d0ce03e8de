"""Reading the data sets' files."""

from __future__ import annotations

import gzip
import io
import json
import os
import pickle
import pickletools
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlpinf_core.errors import PrerequisiteError
from mlpinf_llm.table_pickle import columns_of_pickle
from mlpinf_llm.tables import Table, TableError, read_table

DATA = Path(__file__).parent / "data"
WRITTEN_BY_PANDAS = sorted(
    path.name for path in DATA.glob("pandas-*.pkl") if "protocol" in path.name
    and "layout" not in path.name
)  # fmt: skip


@pytest.mark.parametrize("name", WRITTEN_BY_PANDAS)
def test_a_table_written_by_any_pandas_is_read(name: str) -> None:
    table = read_table(DATA / name)
    assert list(table.columns) == [
        "input", "tok_input", "tok_input_length", "output", "score", "tok_output",
    ]  # fmt: skip
    assert table.texts("input") == ["ab", "c d", "é"]
    assert [ids.tolist() for ids in table.token_ids("tok_input")] == [[1, 2, 3], [4], [5, 6]]
    assert list(table.column("tok_input_length")) == [3, 1, 2]
    assert list(table.column("score")) == [0.5, 1.0, 2.0]
    assert [list(ids) for ids in table.column("tok_output")] == [[7, 8], [9], []]


@pytest.mark.parametrize("name", ["pandas-1.5.3-sliced.pkl", "pandas-3.1.1-sliced.pkl"])
def test_rows_that_were_picked_keep_their_order(name: str) -> None:
    table = read_table(DATA / name)
    assert table.texts("output") == ["zz", "x"]
    assert list(table.column("tok_input_length")) == [2, 3]


@pytest.mark.parametrize("name", ["pandas-1.2-layout.pkl", "pandas-1.2-layout-protocol2.pkl"])
def test_the_layout_of_pandas_before_1_3_is_read(name: str) -> None:
    table = read_table(DATA / name)
    assert [ids.tolist() for ids in table.token_ids("tok_input")] == [[1, 2, 3], [4]]
    assert list(table.column("tok_input_length")) == [3, 1]


VERSIONS = ("1.5.3", "2.2.3", "3.0.6")


@pytest.mark.parametrize("version", VERSIONS)
def test_a_column_of_categories_is_read_as_its_values(version: str) -> None:
    table = read_table(DATA / f"pandas-{version}-categories.pkl")
    assert table.texts("dataset") == ["gpqa", "aime", "gpqa"]
    assert list(table.column("n")) == [3, 1, 2]


@pytest.mark.parametrize("version", VERSIONS)
def test_a_number_that_is_missing_is_read_as_none(version: str) -> None:
    table = read_table(DATA / f"pandas-{version}-missing.pkl")
    assert list(table.column("maybe")) == [1, None, 3]


def test_a_compressed_table_is_read_whatever_it_is_called(tmp_path: Path) -> None:
    for name in ("table.pkl.gz", "table.pkl"):
        shutil.copy(DATA / "pandas-2.2.3.pkl.gz", tmp_path / name)
        table = read_table(tmp_path / name)
        assert [ids.tolist() for ids in table.token_ids("tok_input")] == [[1, 2, 3], [4], [5, 6]]


def test_a_truncated_compressed_table_is_refused_by_file(tmp_path: Path) -> None:
    path = tmp_path / "table.pkl.gz"
    path.write_bytes((DATA / "pandas-2.2.3.pkl.gz").read_bytes()[:-30])
    with pytest.raises(TableError, match=r"table\.pkl\.gz is damaged"):
        read_table(path)


def test_compressed_json_is_read(tmp_path: Path) -> None:
    rows = json.dumps([{"tok_input": [1], "output": "a"}]).encode()
    (tmp_path / "x.json.gz").write_bytes(gzip.compress(rows))
    assert read_table(tmp_path / "x.json.gz").texts("output") == ["a"]


def test_a_parquet_file_is_read(tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow", reason="an extra: mlpinf-llm[parquet]")
    parquet = pytest.importorskip("pyarrow.parquet")
    columns = {"tok_input": [[1, 2], [3]], "output": ["a", "b"]}
    parquet.write_table(arrow.table(columns), tmp_path / "x.parquet")
    table = read_table(tmp_path / "x.parquet")
    assert [ids.tolist() for ids in table.token_ids("tok_input")] == [[1, 2], [3]]
    assert table.texts("output") == ["a", "b"]


def test_what_only_is_called_parquet_is_refused_by_file(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow", reason="an extra: mlpinf-llm[parquet]")
    (tmp_path / "x.parquet").write_bytes(b"PAR1")
    with pytest.raises(TableError, match=r"x\.parquet is not a Parquet file"):
        read_table(tmp_path / "x.parquet")


def test_a_parquet_file_without_pyarrow_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(PrerequisiteError, match="pyarrow is not installed") as caught:
        read_table(tmp_path / "x.parquet")
    assert caught.value.remedy == "pip install 'mlpinf-llm[parquet]'"


class _Hostile:
    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


def test_a_pickle_that_names_a_function_is_refused_by_file_and_name_and_not_run(
    tmp_path: Path,
) -> None:
    mark = tmp_path / "executed"
    for function, argument in ((os.system, f"touch {mark}"), (eval, f"open({str(mark)!r}, 'w')")):
        path = tmp_path / "data.pkl"
        path.write_bytes(pickle.dumps(_Hostile(function, argument), protocol=4))
        with pytest.raises(TableError, match=r"data\.pkl names \w+\.(system|eval)"):
            read_table(path)
    assert not mark.exists()


def test_the_checked_in_hostile_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TableError, match=r"hostile\.pkl names posix\.system"):
        read_table(DATA / "hostile.pkl")


def test_numpys_own_loaders_are_not_reachable(tmp_path: Path) -> None:
    for module, name in (
        ("numpy", "load"), ("numpy", "fromfile"), ("numpy", "frombuffer"),
        ("pandas.io.pickle", "read_pickle"), ("builtins", "getattr"), ("builtins", "object"),
    ):  # fmt: skip
        content = b"\x80\x04c" + f"{module}\n{name}\n".encode() + b")R."
        with pytest.raises(TableError, match=rf"names {module}\.{name}"):
            columns_of_pickle(content)


def test_a_pickle_cannot_change_the_reader(tmp_path: Path) -> None:
    change = (None, {"columns": 1, "__setstate__": 2})
    for stand_in in ("numpy\nndarray", "pandas\nDataFrame", "numpy\ndtype"):
        content = (
            b"\x80\x04c"
            + stand_in.encode()
            + b"\n"
            + pickle.dumps(change, protocol=4)[2:-1]
            + b"b."
        )
        with pytest.raises(TableError):
            columns_of_pickle(content)
    assert len(read_table(DATA / "pandas-2.2.3-protocol4.pkl")) == 3


def test_strings_stored_by_pyarrow_are_refused_with_what_to_do() -> None:
    content = b"\x80\x04cpandas.core.arrays.string_arrow\nArrowStringArray\n)R."
    with pytest.raises(TableError, match=r"pyarrow.*object dtype"):
        columns_of_pickle(content)


def test_a_pickle_of_something_else_is_refused(tmp_path: Path) -> None:
    for value in ([1, 2], {"tok_input": [1]}, "text", None):
        (tmp_path / "data.pkl").write_bytes(pickle.dumps(value, protocol=4))
        with pytest.raises(TableError, match=r"data\.pkl has a \w+ in an unexpected place"):
            read_table(tmp_path / "data.pkl")


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
def test_random_bytes_are_refused_and_nothing_else_happens(content: bytes) -> None:
    for prefix in (b"", b"\x80\x04", b"\x80\x05"):
        with pytest.raises(TableError):
            # 'r' preallocates the memo of C's unpickler: up to gigabytes, which is slow, not wrong.
            columns_of_pickle(prefix + content.replace(b"r", b"q"))


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_a_damaged_table_is_read_or_refused_and_nothing_else_happens(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(WRITTEN_BY_PANDAS))
    content = bytearray((DATA / name).read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(content) - 1))
        content[place] = data.draw(st.integers(0, 255).filter(lambda byte: byte != ord("r")))
    try:
        columns = columns_of_pickle(bytes(content))
    except TableError:
        return
    plain = (list, np.ndarray)
    assert all(isinstance(column, plain) for column in columns.values())


def test_a_truncated_table_is_refused_wherever_it_ends() -> None:
    content = (DATA / "pandas-2.2.3-protocol5.pkl").read_bytes()
    for size in range(0, len(content) - 1, 7):
        with pytest.raises(TableError):
            columns_of_pickle(content[:size])


def test_json_rows_become_columns(tmp_path: Path) -> None:
    rows = [{"tok_input": [1, 2], "output": "a"}, {"output": "b", "tok_input": [3]}]
    (tmp_path / "cnn_eval.json").write_text(json.dumps(rows), encoding="utf-8")
    table = read_table(tmp_path / "cnn_eval.json")
    assert len(table) == 2
    assert table.texts("output") == ["a", "b"]
    assert [ids.tolist() for ids in table.token_ids("tok_input")] == [[1, 2], [3]]
    assert table.token_ids("tok_input")[0].dtype == np.int32


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not JSON"),
        ('{"tok_input": []}', "not a JSON list"),
        ("[1]", "not a JSON list"),
        ('[{"a": 1}, {"b": 2}]', "other keys in object 1"),
        ("[" * 100_000, "not JSON"),
    ],
)
def test_json_of_another_form_is_refused_by_file(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "x.json").write_text(text, encoding="utf-8")
    with pytest.raises(TableError, match=rf"x\.json .*{message}"):
        read_table(tmp_path / "x.json")


def test_a_missing_column_is_named_with_those_there_are() -> None:
    table = Table(Path("d.pkl"), {"tok_input": [[1]], "output": ["a"]})
    with pytest.raises(TableError, match=r"d\.pkl has no column gt_output.*tok_input, output"):
        table.column("gt_output")


def test_columns_of_unequal_length_are_refused() -> None:
    with pytest.raises(TableError, match="tok_input 2, output 1"):
        Table(Path("d.pkl"), {"tok_input": [[1], [2]], "output": ["a"]})


@pytest.mark.parametrize(
    "bad", [[], "text", [1.5], [[1]], [1, None], [-1], [2**31], 7, None, [[1], [1, 2]]]
)
def test_cells_that_are_not_token_ids_are_named_by_row(bad: Any) -> None:
    table = Table(Path("d.pkl"), {"tok_input": [[1], bad]})
    with pytest.raises(TableError, match="tok_input of row 1"):
        table.token_ids("tok_input")


def test_a_cell_that_is_not_text_is_named_by_row() -> None:
    with pytest.raises(TableError, match="output of row 0 is 3"):
        Table(Path("d.pkl"), {"output": [3]}).texts("output")


def test_the_hostile_table_would_run_a_command_if_it_were_trusted() -> None:
    names = [
        argument
        for _, argument, _ in pickletools.genops(io.BytesIO((DATA / "hostile.pkl").read_bytes()))
        if isinstance(argument, str)
    ]
    assert "system" in names
