"""Preprocessing: all of it, within its means, and again from where it was stopped."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
import pytest

from mlpinf_core.errors import ConfigurationError, ExitCode, IntegrityError, PrerequisiteError
from mlpinf_rgat import layout, prepare, split
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


def described(folder: Path, **other: Any) -> None:
    path = folder / "graph.json"
    path.write_text(json.dumps({**json.loads(path.read_bytes()), **other}))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: (f / "graph.json").unlink(), "the prepared graph cannot be used"),
        (lambda f: (f / "graph.json").write_text("{}"), "its format is not 2, the one of this"),
        (lambda f: (f / "graph.json").write_text("[]"), "its format is not 2, the one of this"),
        (lambda f: described(f, format=1), "its format is not 2, the one of this version"),
        (lambda f: described(f, nodes={"paper": 1500}), "nodes must name paper, author"),
        (lambda f: described(f, scales=None), "scales must name paper, author"),
        (lambda f: described(f, width="64"), "width and labelled must be positive numbers"),
        (lambda f: described(f, validation_share=0), "validation_share must be positive numbers"),
        (lambda f: described(f, features="int8"), "features are 'int8', and not of float32"),
        (lambda f: described(f, raw=None), "raw must name a folder for float32 features"),
        (lambda f: described(f, more=1), "unexpected keyword argument 'more'"),
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


def command(monkeypatch: pytest.MonkeyPatch, data: Path, out: Path, **options: object) -> int:
    words = ["prepare", "--data", str(data), "--out", str(out), "--memory", "40MB"]
    for name, value in options.items():
        words += [f"--{name.replace('_', '-')}", str(value)]
    monkeypatch.setattr(sys, "argv", words)
    return prepare.main()


def test_igbh_full_is_split_as_the_rules_say_without_being_told(
    raw_folder: Path, made: SyntheticGraph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, papers = split.Split(1200).papers()
    official = split.Split(1200, sha256=split.digest_of(papers))
    monkeypatch.setattr(layout, "FULL_NODES", made.nodes)
    monkeypatch.setattr(split, "FULL", official)
    assert command(monkeypatch, raw_folder, tmp_path / "out", features="float32") == 0
    graph = Graph.open(tmp_path / "out")
    assert graph.description.labelled == 1200
    assert np.array_equal(graph.validation, papers)
    monkeypatch.setattr(split, "FULL", attrs.evolve(official, sha256="0" * 64))
    assert command(monkeypatch, raw_folder, tmp_path / "wrong") == ExitCode.FAILED


def test_another_graph_is_not_taken_for_igbh_full(
    raw_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    assert command(monkeypatch, raw_folder, tmp_path / "out") == IntegrityError.exit_code
    assert "1,500 papers of 269,346,174" in caplog.text
    assert "--labelled" in caplog.text
    assert not (tmp_path / "out").exists()
    assert command(monkeypatch, raw_folder, tmp_path / "out", labelled=1400) == 0
    assert Graph.open(tmp_path / "out").description.labelled == 1400


@pytest.mark.parametrize(
    ("other", "differs"),
    [
        ({"labelled": 1000}, "split"),
        ({"validation_share": 0.2}, "split"),
        ({"features": "float8_e4m3"}, "features"),
        ({"classes": 321}, "classes"),
    ],
)
def test_a_folder_of_another_prepared_graph_is_refused(
    other: dict[str, Any], differs: str, raw_folder: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    same: dict[str, Any] = {"labelled": 1500, "classes": 320}
    assert command(monkeypatch, raw_folder, tmp_path, **same) == 0
    before = contents(tmp_path)
    assert command(monkeypatch, raw_folder, tmp_path, **same) == 0
    assert command(monkeypatch, raw_folder, tmp_path, **{**same, **other}) != 0
    assert f"files of another prepared graph: {differs} differ" in caplog.text
    assert "--out" in caplog.text
    assert contents(tmp_path) == before


def test_a_folder_of_another_graph_of_the_same_size_is_refused(
    raw_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    data, out = tmp_path / "data", tmp_path / "out"
    shutil.copytree(raw_folder, data)
    assert command(monkeypatch, data, out, classes=320) == 0
    set_at(data / "paper__topic__fos/edge_index.npy", 0, 3)
    assert command(monkeypatch, data, out, classes=320) != 0
    assert "parts differ" in caplog.text
    (out / prepare.INPUTS).unlink()
    assert command(monkeypatch, data, out, classes=320) != 0


def test_a_folder_that_nothing_was_written_to_may_be_used_for_anything(
    raw: RawGraph, made: SyntheticGraph, tmp_path: Path
) -> None:
    prepare.claim(raw, plan(made, "float16"), tmp_path)
    prepare.claim(raw, plan(made, "float8_e4m3"), tmp_path)
