"""Edges become CSC: the same whatever the memory, and wherever the work was stopped."""

from __future__ import annotations

import itertools
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlpinf_core.errors import IntegrityError, PrerequisiteError
from mlpinf_rgat.csc import build_csc, indices_name, indptr_name, read_rows
from mlpinf_rgat.relations import RELATIONS, Relation

BY_NAME = {relation.name: relation for relation in RELATIONS}
NODES = {"paper": 9, "author": 7, "institute": 3, "fos": 4, "journal": 2, "conference": 1}
PLENTY = 10_000_000
SCANT = 250_000
"""Just enough: a thousand edges are read at a time, and as few sorted."""


def built(
    relation: Relation, edges: Any, folder: Path, memory: int = PLENTY, nodes: Any = None
) -> tuple[Any, Any]:
    build_csc(relation, np.asarray(edges, np.int64).reshape(-1, 2), nodes or NODES, folder,
              memory=memory)  # fmt: skip
    indptr = np.load(folder / indptr_name(relation))
    return indptr, np.load(folder / indices_name(relation))


def naive(relation: Relation, edges: list[tuple[int, int]], nodes: dict[str, int]) -> list[Any]:
    """Each destination's sources, by the definition."""
    found: list[list[int]] = [[] for _ in range(nodes[relation.destination])]
    for source, destination in edges:
        if relation.symmetric:
            if source != destination:
                found[destination].append(source)
                found[source].append(destination)
        elif relation.reverse:
            found[source].append(destination)
        else:
            found[destination].append(source)
    for node, sources in enumerate(found):
        sources += [node] if relation.symmetric else []
        sources.sort()
    return found


@st.composite
def relations_and_edges(draw: Any) -> tuple[Relation, list[tuple[int, int]]]:
    relation = draw(st.sampled_from(RELATIONS))
    ends = [st.integers(0, NODES[t] - 1) for t in (relation.file.source, relation.file.destination)]
    return relation, draw(st.lists(st.tuples(*ends), max_size=40))


@given(relations_and_edges())
@settings(max_examples=60, deadline=None)
def test_every_destination_has_the_sources_that_the_edges_say(
    case: tuple[Relation, list[tuple[int, int]]],
) -> None:
    relation, edges = case
    with TemporaryDirectory() as folder:
        indptr, indices = built(relation, edges, Path(folder))
    rows = [indices[a:b].tolist() for a, b in itertools.pairwise(indptr)]
    assert rows == naive(relation, edges, NODES)
    assert (indptr.dtype, indices.dtype) == (np.int64, np.int32)


def test_cites_is_symmetric_with_one_loop_at_each_paper(tmp_path: Path) -> None:
    indptr, indices = built(BY_NAME["cites"], [(0, 1), (2, 2), (1, 0)], tmp_path)
    assert indices[indptr[0] : indptr[1]].tolist() == [0, 1, 1]
    assert indices[indptr[2] : indptr[3]].tolist() == [2]
    assert indices[indptr[8] : indptr[9]].tolist() == [8]


@pytest.mark.parametrize("name", ["cites", "written_by", "rev_written_by"])
def test_little_memory_takes_more_passes_and_gives_the_same_files(
    name: str, tmp_path: Path
) -> None:
    relation = BY_NAME[name]
    nodes = NODES | {"paper": 500, "author": 300}
    random = np.random.default_rng(0)
    counts = [nodes[relation.file.source], nodes[relation.file.destination]]
    edges = np.stack([random.integers(0, count, 40_000) for count in counts], axis=1)
    for folder, memory in (("plenty", PLENTY), ("scant", SCANT)):
        (tmp_path / folder).mkdir()
        built(relation, edges, tmp_path / folder, memory, nodes)
    for file in (indptr_name(relation), indices_name(relation)):
        plenty, scant = (tmp_path / folder / file for folder in ("plenty", "scant"))
        assert plenty.read_bytes() == scant.read_bytes()


class StoppedError(Exception):
    """Somebody pulled the plug."""


@pytest.mark.parametrize("calls", [1, 20, 33, 34, 38, 42])
def test_a_conversion_that_was_stopped_is_continued_and_ends_the_same(
    calls: int, tmp_path: Path
) -> None:
    relation, nodes = BY_NAME["cites"], NODES | {"paper": 500}
    edges = np.random.default_rng(0).integers(0, 500, (40_000, 2))
    left = [calls]

    def stop(_: int) -> None:
        left[0] -= 1
        if left[0] == 0:
            raise StoppedError

    (tmp_path / "stopped").mkdir()
    with pytest.raises(StoppedError):
        build_csc(relation, edges, nodes, tmp_path / "stopped", memory=SCANT, advanced=stop)
    assert not (tmp_path / "stopped" / indices_name(relation)).exists()
    (tmp_path / "whole").mkdir()
    expected = built(relation, edges, tmp_path / "whole", SCANT, nodes)
    found = built(relation, edges, tmp_path / "stopped", SCANT, nodes)
    assert all(np.array_equal(a, b) for a, b in zip(expected, found, strict=True))
    assert sorted(path.name for path in (tmp_path / "stopped").iterdir()) == [
        indices_name(relation), indptr_name(relation)
    ]  # fmt: skip


def test_what_is_complete_is_not_made_again(tmp_path: Path) -> None:
    built(BY_NAME["topic"], [(1, 2)], tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    built(BY_NAME["topic"], [(1, 2)], tmp_path)
    assert before == {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}


@pytest.mark.parametrize(
    ("edge", "message", "where"),
    [
        ((9, 0), "leads to paper 9, and there are 9 of them", "row 2, column 0"),
        ((-1, 0), "leads to paper -1, and there are 9 of them", "row 2, column 0"),
        ((0, 7), "leads to author 7, and there are 7 of them", "row 2, column 1"),
    ],
)
def test_an_edge_to_a_node_that_does_not_exist_is_refused_with_its_row(
    edge: tuple[int, int], message: str, where: str, tmp_path: Path
) -> None:
    with pytest.raises(IntegrityError, match=message) as caught:
        built(BY_NAME["written_by"], [(0, 0), (1, 1), edge], tmp_path)
    assert where in str(caught.value.where)
    assert list(tmp_path.iterdir()) == []


def test_a_budget_that_does_not_hold_the_offsets_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PrerequisiteError, match=r"needs 196\.7 kB of memory, and 100 ") as caught:
        built(BY_NAME["topic"], [(0, 0)], tmp_path, memory=100)
    assert "benchmark.memory" in str(caught.value.remedy)


def test_rows_of_a_memory_map_are_read_from_its_file(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.arange(30).reshape(10, 3))
    mapped = np.load(tmp_path / "a.npy", mmap_mode="r")
    assert np.array_equal(read_rows(mapped, 4, 7), mapped[4:7])
    assert np.array_equal(read_rows(np.asarray(mapped)[::2], 1, 3), mapped[2:6:2])
