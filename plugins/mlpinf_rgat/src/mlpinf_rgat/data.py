"""The data set of a run: found or generated, and prepared once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from mlpinf_core.errors import ConfigurationError, IntegrityError
from mlpinf_core.hashing import JSON, digest
from mlpinf_core.scratch import discard
from mlpinf_core.vocabulary import Variant
from mlpinf_rgat import igbh, prepare, split, tiny
from mlpinf_rgat.graph import FORMAT, Graph
from mlpinf_rgat.samples import RgatSamples

if TYPE_CHECKING:
    from pathlib import Path

    from mlpinf_core.context import Run
    from mlpinf_rgat.benchmarks import RgatSettings

IGBH_FOLDER = "igbh"
"""The folder of the fetched graph, in the scratch space's ``data``."""


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
    folder = settings.data_path or run.scratch.data / IGBH_FOLDER
    official = full and settings.classes == 2983
    raw = igbh.open_raw(
        folder, classes=settings.classes, nodes=igbh.FULL_NODES if official else None
    )
    parted = split.FULL if official else split.Split(raw.nodes["paper"])
    if share != parted.validation:
        parted = split.Split(parted.labelled, share)
    return DataSet(raw, _identity(raw, settings.classes), parted)


def prepared(run: Run, dataset: DataSet | Path) -> RgatSamples:
    """The prepared graph, made once.

    It is made in a folder of its own, which stays when preparing is stopped, so that the next
    attempt goes on from there; the artifact is made of links to its files.
    """
    settings: RgatSettings = run.config.benchmark
    if not isinstance(dataset, DataSet):
        Graph.open(dataset).check()  # nobody has verified its checksums, as those of an artifact
        return _samples(dataset, settings)
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
    return _samples(artifact.path, settings, raw.folder)


def _link(path: Path, place: Path) -> None:
    """Give a file a second name; where the file system has no such thing, another name."""
    try:
        place.hardlink_to(path)
    except OSError:
        path.rename(place)


def _samples(folder: Path, settings: RgatSettings, raw: Path | None = None) -> RgatSamples:
    graph = Graph.open(folder, raw)
    if graph.description.classes != settings.classes:
        raise ConfigurationError(
            f"the prepared graph has {graph.description.classes} classes, and {settings.classes} "
            "are configured",
            where=str(folder),
            remedy=f"set benchmark.classes to {graph.description.classes}",
        )
    return RgatSamples(graph)


def _generated(run: Run, settings: RgatSettings) -> DataSet:
    made = attrs.evolve(tiny.GRAPH, papers=settings.paper_nodes, classes=settings.classes)
    artifact = run.store.build(
        "data", "igbh-synthetic", made.to_dict(), made.write, announce=run.events.step
    )
    raw = igbh.open_raw(artifact.path, classes=made.classes, nodes=made.nodes)
    identity: dict[str, Any] = {"synthetic": made.to_dict()}
    return DataSet(raw, identity, split.Split(made.papers, settings.validation_share))


def _identity(raw: igbh.RawGraph, classes: int) -> dict[str, JSON]:
    """Size and time of each part: hashing terabytes would take hours at every start."""
    found: dict[str, JSON] = {"folder": str(raw.folder.absolute())}
    for part in igbh.parts(classes):
        try:
            status = (raw.folder / part).stat()
        except OSError as error:
            raise IntegrityError(
                f"{part} cannot be read: {error.strerror}", where=str(raw.folder / part)
            ) from error
        found[part] = [status.st_size, status.st_mtime_ns]
    return found
