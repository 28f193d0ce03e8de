"""Preprocessing: all of it, within its means, and again from where it was stopped."""

from __future__ import annotations

import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
import pytest

from mlpinf_core.errors import ConfigurationError, IntegrityError, PrerequisiteError
from mlpinf_rgat import prepare, split
from mlpinf_rgat.graph import Graph
from mlpinf_rgat.relations import NODE_TYPES

from .conftest import plan

if TYPE_CHECKING:
    from pathlib import Path

    from mlpinf_rgat.igbh import RawGraph
    from mlpinf_rgat.synthetic import SyntheticGraph


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("features", ["float32", "float16", "float8_e4m3"])
def test_a_prepared_graph_has_everything_that_a_run_needs(
    features: str, raw: RawGraph, made: SyntheticGraph, tmp_path: Path
) -> None:
    prepare.prepare(raw, plan(made, features), tmp_path)
    graph = Graph.open(tmp_path)
    assert graph.description.nodes == made.nodes
    assert len(graph.relations) == 11
    assert graph.edge_count == sum(
        len(edges) * (2 if name != "paper__cites__paper" else 0)
        for name, edges in raw.edges.items()
    ) + len(graph.relations[0].indices)
    assert [graph.features[t].shape for t in NODE_TYPES] == [
        (made.nodes[t], made.width) for t in NODE_TYPES
    ]
    assert np.array_equal(graph.labels, raw.labels[graph.validation])
    need = prepare.disk_needed(raw, plan(made, features))
    written = sum(path.stat().st_size for path in tmp_path.iterdir())
    assert 0.9 * written < need < 1.3 * written


def test_float32_features_are_used_where_they_lie(raw: RawGraph, graph: Graph) -> None:
    assert not list(graph.folder.glob("*.features.npy"))
    assert np.array_equal(graph.features["paper"], raw.features["paper"])


class StoppedError(Exception):
    """Somebody pulled the plug."""


@pytest.mark.parametrize("after", [1, 7, 21, 25, 27])
def test_what_was_stopped_goes_on_and_ends_in_the_very_same_files(
    after: int, raw: RawGraph, made: SyntheticGraph, tmp_path: Path
) -> None:
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    whole.mkdir()
    stopped.mkdir()
    prepare.prepare(raw, plan(made, "float16"), whole)
    told = []

    def stop(*step: Any) -> None:
        told.append(step)
        if len(told) == after:
            raise StoppedError

    with pytest.raises(StoppedError):
        prepare.prepare(raw, plan(made, "float16"), stopped, stop)
    prepare.prepare(raw, plan(made, "float16"), stopped, lambda *step: told.append(step))
    assert contents(stopped) == contents(whole)
    assert all(0 <= done <= total for _, done, total in told)


def test_a_graph_that_the_disk_cannot_hold_is_refused_at_once(
    raw: RawGraph, made: SyntheticGraph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(PrerequisiteError, match=r"needs .* more on the disk, and 1.0 kB") as caught:
        prepare.prepare(raw, plan(made, "float16"), tmp_path)
    assert "MLPERF_SCRATCH_PATH" in str(caught.value.remedy)
    assert list(tmp_path.iterdir()) == []


def test_a_budget_beyond_the_machines_memory_is_refused_at_once(
    raw: RawGraph, made: SyntheticGraph, tmp_path: Path
) -> None:
    with pytest.raises(PrerequisiteError, match=r"may use 64000\.0 TB of memory") as caught:
        prepare.prepare(raw, plan(made, memory=64 * 10**15), tmp_path)
    assert "benchmark.memory" in str(caught.value.remedy)
    assert list(tmp_path.iterdir()) == []


def test_a_budget_that_the_split_does_not_fit_in_is_refused(
    raw: RawGraph, made: SyntheticGraph, tmp_path: Path
) -> None:
    with pytest.raises(
        PrerequisiteError, match=r"the split needs 24\.0 kB of memory, and 20\.0 kB"
    ):
        prepare.prepare(raw, plan(made, memory=20_000), tmp_path)


def test_a_split_of_more_papers_than_there_are_is_refused(
    raw: RawGraph, made: SyntheticGraph, tmp_path: Path
) -> None:
    wrong = attrs.evolve(plan(made), split=split.Split(2000))
    with pytest.raises(ConfigurationError, match="made of 2,000 papers, and the graph has 1,500"):
        prepare.prepare(raw, wrong, tmp_path)


def test_a_split_without_a_sample_is_refused(
    raw: RawGraph, made: SyntheticGraph, tmp_path: Path
) -> None:
    wrong = attrs.evolve(plan(made), split=split.Split(1500, 0.0005))
    with pytest.raises(ConfigurationError, match=r"a share of 0\.0005 of 1,500 papers is none"):
        prepare.prepare(raw, wrong, tmp_path)


def test_labels_beyond_the_classes_are_refused(
    raw: RawGraph, made: SyntheticGraph, tmp_path: Path
) -> None:
    with pytest.raises(
        IntegrityError, match=r"the label of paper \d+ is \d+, and classes are 0 to"
    ):
        prepare.prepare(raw, attrs.evolve(plan(made), classes=200), tmp_path)


def test_an_edge_out_of_range_is_refused(
    raw: RawGraph, made: SyntheticGraph, tmp_path: Path
) -> None:
    edges = raw.edges["paper__topic__fos"].copy()
    edges[5, 1] = made.nodes["fos"]
    wrong = attrs.evolve(raw, edges={**raw.edges, "paper__topic__fos": edges})
    with pytest.raises(IntegrityError, match="an edge of paper__topic__fos leads to fos 160"):
        prepare.prepare(wrong, plan(made), tmp_path)


@pytest.mark.parametrize(
    ("text", "size"),
    [("64GB", 64 * 10**9), ("1.5 TiB", 3 << 39), ("500mb", 5 * 10**8), ("2000", 2000)],
)
def test_memory_is_written_as_people_write_it(text: str, size: int) -> None:
    assert prepare.parse_memory(text) == size


@pytest.mark.parametrize("text", ["", "much", "-3GB", "0GB", "64 G B", "64GBs"])
def test_what_is_no_amount_of_memory_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="is no amount of memory") as caught:
        prepare.parse_memory(text)
    assert "64GB" in str(caught.value.remedy)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: (f / "graph.json").unlink(), "the prepared graph cannot be used"),
        (lambda f: (f / "graph.json").write_text("{}"), "the prepared graph cannot be used"),
        (lambda f: (f / "labels.npy").unlink(), "labels.npy of the prepared graph cannot be"),
        (lambda f: np.save(f / "labels.npy", np.zeros(3)), r"labels.npy .* is float64 \[3\]"),
        (
            lambda f: np.save(f / "cites.indices.npy", np.zeros(9, np.int32)),
            r"cites.indices.npy .* is int32 \[9\]",
        ),
    ],
)
def test_a_damaged_prepared_graph_is_refused_with_what_to_do(
    damage: Any, message: str, graph: Graph, tmp_path: Path
) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(graph.folder, folder)
    damage(folder)
    with pytest.raises(IntegrityError, match=message) as caught:
        Graph.open(folder)
    assert "prepared again" in str(caught.value.remedy)


def set_at(path: Path, place: int, value: int) -> None:
    array = np.load(path)
    array[place] = value
    np.save(path, array)


@pytest.mark.parametrize(
    ("file", "place", "value", "message"),
    [
        ("cites.indptr.npy", 0, 1, "cites.indptr.npy .* has offsets that do not ascend from 0"),
        ("topic.indptr.npy", 5, 10**12, "topic.indptr.npy .* has offsets that do not ascend"),
        ("cites.indices.npy", 7, 1500, "cites.indices.npy .* has the number 1500, and there are"),
        ("topic.indices.npy", 7, -1, "topic.indices.npy .* has the number -1, and there are 1,500"),
        ("validation.npy", 3, 1500, "validation.npy .* has the number 1500"),
        ("labels.npy", 3, 320, "labels.npy .* has the number 320, and there are 320"),
    ],
)
def test_a_prepared_graph_that_leads_nowhere_is_found_when_it_is_checked(
    file: str, place: int, value: int, message: str, graph: Graph, tmp_path: Path
) -> None:
    graph.check()
    folder = tmp_path / "copy"
    shutil.copytree(graph.folder, folder)
    set_at(folder / file, place, value)
    with pytest.raises(IntegrityError, match=message):
        Graph.open(folder).check()


def test_the_command_prepares_a_graph_in_the_memory_it_is_given(
    raw_folder: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "mlpinf_rgat.prepare", "--data", str(raw_folder)]
    command += ["--out", str(tmp_path / "out"), "--memory", "40MB", "--classes", "320"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "sorting the edges of cites" in done.stderr
    assert Graph.open(tmp_path / "out").description.features == "float16"
