"""The data set of a run: found or generated, and prepared once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from mlpinf_core.errors import ConfigurationError, IntegrityError
from mlpinf_core.hashing import JSON, digest
from mlpinf_core.scratch import discard
from mlpinf_core.vocabulary import Variant
from mlpinf_rgat import igbh, layout, prepare, split, tiny
from mlpinf_rgat.graph import FORMAT, Graph
from mlpinf_rgat.samples import RgatSamples

if TYPE_CHECKING:
    from pathlib import Path

    from mlpinf_core.context import Run
    from mlpinf_rgat.benchmarks import RgatSettings


@attrs.frozen
class DataSet:
    """A graph in IGBH's layout.

    Attributes:
        raw: the graph.
        identity: what tells it from others, for the artifact made of it.
        split: which papers are asked for.
    """

    raw: igbh.RawGraph
    identity: dict[str, JSON]
    split: split.Split


def find(run: Run) -> DataSet | Path:
    """The graph of a run's variant; the tiny one is generated. Or the path of a prepared one.

    Raises:
        PrerequisiteError: parts are missing.
        IntegrityError: a part is not what it should be.
    """
    settings: RgatSettings = run.config.benchmark
    full = run.workload.variant is Variant.FULL
    share = settings.validation_share
    if settings.graph_path is not None:
        return settings.graph_path
    if settings.data_path is None and not full:
        return _generated(run, settings)
    folder = settings.data_path or run.scratch.data / layout.IGBH_FOLDER
    official = full and settings.classes == layout.FULL_CLASSES
    raw = igbh.open_raw(
        folder, classes=settings.classes, nodes=layout.FULL_NODES if official else None
    )
    parted = split.chosen(raw.nodes["paper"], share, official=official)
    return DataSet(raw, _identity(raw, settings.classes), parted)


def prepared(run: Run, dataset: DataSet | Path) -> RgatSamples:
    """The prepared graph, made once.

    It is made in a folder of its own, which stays when preparing is stopped, so that the next
    attempt goes on from there; the artifact is made of links to its files.
    """
    settings: RgatSettings = run.config.benchmark
    if not isinstance(dataset, DataSet):
        return RgatSamples(_given(run, dataset, settings))
    raw = dataset.raw
    plan = prepare.Plan(
        settings.classes, settings.features, dataset.split, prepare.parse_memory(settings.memory)
    )
    inputs: dict[str, JSON] = {
        "graph": dataset.identity,
        "classes": plan.classes,
        "features": plan.features,
        "split": attrs.asdict(plan.split),
        "format": FORMAT,
    }
    name = f"igbh-{plan.features}"

    def make(directory: Path) -> None:
        work = directory.parent / f".igbh-{digest(inputs)[:16]}.begun"
        with run.scratch.writing(work):
            work.mkdir(exist_ok=True)
        prepare.prepare(raw, plan, work, run.events.step)
        for path in work.iterdir():
            _link(path, directory / path.name)
        begun.append(work)

    begun: list[Path] = []
    artifact = run.store.build("preprocessed_data", name, inputs, make, announce=run.events.step)
    for work in begun:
        discard(work)
    return RgatSamples(Graph.open(artifact.path, raw.folder))


def _link(path: Path, place: Path) -> None:
    """Give a file a second name; where the file system has no such thing, another name."""
    try:
        place.hardlink_to(path)
    except OSError:
        path.rename(place)


def _given(run: Run, folder: Path, settings: RgatSettings) -> Graph:
    """A graph that was prepared elsewhere: nobody has verified it, as an artifact is.

    Raises:
        ConfigurationError: it was prepared with other settings than the run's.
        IntegrityError: it is damaged, or not the one of the rules where the variant is full.
        PrerequisiteError: its float32 features are not on this machine.
    """
    graph = Graph.open(folder, settings.data_path)
    about = graph.description
    for name, has in (
        ("classes", about.classes),
        ("features", about.features),
        ("validation_share", about.validation_share),
    ):
        if has != getattr(settings, name):
            raise ConfigurationError(
                f"the prepared graph has {name} {has}, and {getattr(settings, name)} is configured",
                where=str(folder),
                remedy=f"set benchmark.{name} to {has}",
            )
    if settings.data_path is not None and about.raw is None:
        raise ConfigurationError(
            f"benchmark.data_path has no use: the prepared graph has its own {about.features} "
            "features",
            where=str(folder),
            remedy="leave out benchmark.data_path, or benchmark.graph_path to prepare that graph",
        )
    if run.workload.variant is Variant.FULL:
        _check_full(graph, settings)
    graph.check()
    return graph


def _check_full(graph: Graph, settings: RgatSettings) -> None:
    about = graph.description
    official = settings.classes == layout.FULL_CLASSES
    wanted = split.chosen(about.nodes["paper"], settings.validation_share, official=official)
    asked = len(graph.validation)
    faults = (
        (about.nodes != layout.FULL_NODES, "other nodes"),
        (
            asked != wanted.validation_count,
            f"a validation set of {asked:,} papers, not {wanted.validation_count:,}",
        ),
        (
            wanted.sha256 is not None and split.digest_of(graph.validation) != wanted.sha256,
            "another validation set",
        ),
    )
    for wrong, what in faults:
        if wrong:
            raise IntegrityError(
                f"the prepared graph is not IGBH-full as the rules want it: it has {what}",
                where=str(graph.folder),
                remedy="prepare IGBH-full again (`python -m mlpinf_rgat.prepare`), or leave out "
                "benchmark.graph_path",
            )


def _generated(run: Run, settings: RgatSettings) -> DataSet:
    made = attrs.evolve(tiny.GRAPH, papers=settings.paper_nodes, classes=settings.classes)
    artifact = run.store.build(
        "data", "igbh-synthetic", made.to_dict(), made.write, announce=run.events.step
    )
    raw = igbh.open_raw(artifact.path, classes=made.classes, nodes=made.nodes)
    identity: dict[str, Any] = {"synthetic": made.to_dict()}
    return DataSet(raw, identity, split.Split(made.papers, settings.validation_share))


def _identity(raw: igbh.RawGraph, classes: int) -> dict[str, JSON]:
    return {"folder": str(raw.folder.absolute()), **igbh.part_states(raw, classes)}
