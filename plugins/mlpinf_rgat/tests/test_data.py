"""A graph that was prepared elsewhere is held to the run's settings and to the rules."""

from __future__ import annotations

import shutil
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
import pytest

from mlpinf_core.errors import ConfigurationError, IntegrityError, PrerequisiteError
from mlpinf_core.vocabulary import Variant
from mlpinf_rgat import data, igbh, layout, prepare, split
from mlpinf_rgat.benchmarks import RgatSettings
from mlpinf_rgat.graph import Graph

from .conftest import MEMORY

if TYPE_CHECKING:
    from pathlib import Path

    from mlpinf_rgat.igbh import RawGraph
    from mlpinf_rgat.synthetic import SyntheticGraph


def samples(graph: Graph, variant: Variant = Variant.TINY, **settings: Any) -> Any:
    """What a run gets of a prepared graph."""
    same = {"classes": 320, "features": "float32", "validation_share": 0.1}
    benchmark = RgatSettings(graph_path=graph.folder, **{**same, **settings})
    run: Any = SimpleNamespace(
        config=SimpleNamespace(benchmark=benchmark), workload=SimpleNamespace(variant=variant)
    )
    return data.prepared(run, data.find(run))


def test_a_prepared_graph_is_used_with_the_settings_it_was_prepared_with(graph: Graph) -> None:
    assert len(samples(graph)) == 150


@pytest.mark.parametrize(
    ("name", "value", "has"),
    [("classes", 19, 320), ("features", "float16", "float32"), ("validation_share", 0.005, 0.1)],
)
def test_a_setting_that_the_prepared_graph_contradicts_is_refused(
    name: str, value: Any, has: Any, graph: Graph
) -> None:
    with pytest.raises(
        ConfigurationError, match=f"has {name} {has}, and {value} is configured"
    ) as caught:
        samples(graph, **{name: value})
    assert caught.value.remedy == f"set benchmark.{name} to {has}"


def test_a_data_path_that_nothing_would_be_read_from_is_refused(
    raw: RawGraph, made: SyntheticGraph, tmp_path: Path
) -> None:
    wanted = split.Split(made.papers, 0.1)
    prepare.prepare(raw, prepare.Plan(made.classes, "float16", wanted, MEMORY), tmp_path)
    graph = Graph.open(tmp_path)
    assert len(samples(graph, features="float16")) == 150
    with pytest.raises(ConfigurationError, match=r"data_path has no use: .* its own float16"):
        samples(graph, features="float16", data_path=raw.folder)


def test_float32_features_that_are_elsewhere_now_are_found_by_data_path(
    raw_folder: Path, raw: RawGraph, made: SyntheticGraph, tmp_path: Path
) -> None:
    there, here, folder = (tmp_path / name for name in ("there", "here", "prepared"))
    shutil.copytree(raw_folder, there)
    folder.mkdir()
    wanted = split.Split(made.papers, 0.1)
    elsewhere = igbh.open_raw(there, classes=made.classes)
    prepare.prepare(elsewhere, prepare.Plan(made.classes, "float32", wanted, MEMORY), folder)
    graph = Graph.open(folder)
    there.rename(here)
    with pytest.raises(PrerequisiteError, match="the graph lacks 6 of 6 parts") as caught:
        samples(graph)
    assert "benchmark.data_path" in str(caught.value.remedy)
    moved = samples(graph, data_path=here).graph
    assert np.array_equal(moved.features["fos"], raw.features["fos"])
    assert moved.description.raw == str(here)


@pytest.fixture
def official(
    raw: RawGraph, made: SyntheticGraph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Graph:
    """A prepared graph that is IGBH-full, the rules being smaller."""
    _, papers = split.Split(1200).papers()
    rules = split.Split(1200, sha256=split.digest_of(papers))
    monkeypatch.setattr(layout, "FULL_NODES", made.nodes)
    monkeypatch.setattr(split, "FULL", rules)
    prepare.prepare(raw, prepare.Plan(2983, "float32", rules, MEMORY), tmp_path)
    return Graph.open(tmp_path)


FULL = {"variant": Variant.FULL, "classes": 2983, "validation_share": 0.005}


def test_the_full_variant_takes_igbh_full_prepared(official: Graph) -> None:
    assert len(samples(official, **FULL)) == 6


def test_the_full_variant_refuses_a_graph_of_other_nodes(
    official: Graph, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layout, "FULL_NODES", {**layout.FULL_NODES, "fos": 712_960})
    with pytest.raises(IntegrityError, match=r"not IGBH-full as the rules .* has other nodes"):
        samples(official, **FULL)


def test_the_full_variant_refuses_another_number_of_validation_papers(
    official: Graph, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(split, "FULL", attrs.evolve(split.FULL, labelled=1400))
    with pytest.raises(IntegrityError, match="a validation set of 6 papers, not 7") as caught:
        samples(official, **FULL)
    assert "mlpinf_rgat.prepare" in str(caught.value.remedy)


def test_the_full_variant_refuses_another_validation_set_of_the_same_size(official: Graph) -> None:
    np.save(official.folder / "validation.npy", official.validation[::-1])
    with pytest.raises(IntegrityError, match="it has another validation set"):
        samples(official, **FULL)
