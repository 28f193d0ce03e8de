"""Preprocessing: from a graph in IGBH's layout to a prepared one, in a memory budget, restartable.

    python -m mlpinf_rgat.prepare --data FOLDER --out FOLDER --memory 64GB [--features float16]

does what a run does where the graph is not prepared yet. Every file gets its name when it is
complete, and the two large ones of each kind grow in steps, so a second call goes on where the
first one stopped. ``inputs.json`` in the folder says what it is made of: a call with anything else
is refused.
"""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs
import numpy as np

from mlpinf_core.errors import ConfigurationError, IntegrityError, MlpinfError, PrerequisiteError
from mlpinf_core.hashing import write_atomically
from mlpinf_core.machine import available_memory
from mlpinf_core.scratch import readable
from mlpinf_rgat import csc, features, igbh, layout, split
from mlpinf_rgat.graph import FORMAT, LABELS, VALIDATION, Description
from mlpinf_rgat.relations import NODE_TYPES, RELATIONS, TARGET

if TYPE_CHECKING:
    from mlpinf_rgat.igbh import RawGraph

log = logging.getLogger(__name__)

INPUTS: Final = "inputs.json"
"""What the files of a folder are made of."""

_UNITS: Final = {"": 1, "KB": 1000, "MB": 1000**2, "GB": 1000**3, "TB": 1000**4}
_UNITS_2: Final = {"KIB": 1 << 10, "MIB": 1 << 20, "GIB": 1 << 30, "TIB": 1 << 40}


@attrs.frozen
class Plan:
    """How a graph is prepared.

    Attributes:
        classes: of papers.
        features: ``float32`` (used where they lie), ``float16`` or ``float8_e4m3``.
        split: which papers are asked for.
        memory: bytes that may be used.
    """

    classes: int
    features: str
    split: split.Split
    memory: int


def parse_memory(text: str) -> int:
    """Bytes: ``64GB``, ``1.5 TiB``, ``2000000000``.

    Raises:
        ConfigurationError: it is no amount of memory.
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]I?B|)\s*", text.upper())
    units = {**_UNITS, **_UNITS_2}
    value = float(found[1]) * units[found[2]] if found else 0
    if value < 1:
        raise ConfigurationError(
            f"{text!r} is no amount of memory",
            where="benchmark.memory",
            remedy="write a number and a unit: 64GB, 500MB, 1.5TiB",
        )
    return int(value)


def prepare(
    raw: RawGraph,
    plan: Plan,
    folder: Path,
    tell: Callable[[str, int, int], object] = lambda *_: None,
) -> None:
    """Write what is still missing of a prepared graph.

    Args:
        raw: the graph as it was fetched.
        plan: what is wanted.
        folder: exists; holds what an earlier call has finished.
        tell: called with a sentence, what is done of a step, and all of it.

    Raises:
        PrerequisiteError: there is too little room on the disk, or too little memory.
        IntegrityError: the graph is not what it should be; names the part and the row.
    """
    check_room(raw, plan, folder)
    _write_split(raw, plan, folder)
    nodes = raw.nodes
    for relation in RELATIONS:
        edges = raw.edges[relation.file.folder]
        step = _Step(tell, f"sorting the edges of {relation.name}", 2 * len(edges))
        csc.build_csc(relation, edges, nodes, folder, memory=plan.memory, advanced=step.advance)
    scales = dict.fromkeys(NODE_TYPES, 1.0)
    if plan.features != "float32":
        for node_type in NODE_TYPES:
            array = raw.features[node_type]
            step = _Step(tell, f"converting {node_type} features to {plan.features}", len(array))
            scales[node_type] = features.convert(
                array, node_type, plan.features, folder, memory=plan.memory, advanced=step.advance
            )
    kept = str(raw.folder.absolute()) if plan.features == "float32" else None
    Description(
        nodes, plan.classes, raw.width, plan.features, scales,
        plan.split.labelled, plan.split.validation, kept,
    ).write(folder)  # fmt: skip


def claim(raw: RawGraph, plan: Plan, folder: Path) -> None:
    """Write down what a folder's files are made of, or hold it to what is written there.

    Raises:
        ConfigurationError: the folder has files of another graph, split or kind of features.
    """
    inputs = {
        "parts": igbh.part_states(raw, plan.classes),
        "classes": plan.classes,
        "features": plan.features,
        "split": attrs.asdict(plan.split),
        "format": FORMAT,
    }
    path = folder / INPUTS
    if not any(folder.glob("*.npy*")):
        write_atomically(path, json.dumps(inputs, indent=1).encode())
        return
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        found = {}
    other = [
        name for name in inputs if not isinstance(found, dict) or found.get(name) != inputs[name]
    ]
    if other:
        raise ConfigurationError(
            f"the folder has files of another prepared graph: {', '.join(other)} differ",
            where=str(path),
            remedy="name another folder with --out, or remove this one",
        )


def disk_needed(raw: RawGraph, plan: Plan) -> int:
    """Bytes that a prepared graph takes, at most."""
    nodes = raw.nodes
    total = 2 * 8 * plan.split.validation_count
    for relation in RELATIONS:
        edges = len(raw.edges[relation.file.folder])
        if relation.symmetric:
            edges = 2 * edges + nodes[relation.destination]
        total += 4 * edges + 8 * (nodes[relation.destination] + 1)
    if plan.features != "float32":
        total += sum(nodes.values()) * raw.width * features.STORED[plan.features].itemsize
    return total


def check_room(raw: RawGraph, plan: Plan, folder: Path) -> None:
    """Refuse what cannot end well, before hours have gone into it.

    Raises:
        PrerequisiteError: the disk is too small, or the budget is more than the machine has.
    """
    there = sum(path.stat().st_size for path in folder.iterdir() if path.is_file())
    need = disk_needed(raw, plan) - there
    free = shutil.disk_usage(folder).free
    if need > free:
        raise PrerequisiteError(
            f"preparing the graph needs {readable(need)} more on the disk, and {readable(free)} "
            "are free",
            where=str(folder),
            remedy="make room, set MLPERF_SCRATCH_PATH to a folder on a larger disk, or set "
            "benchmark.features to float8_e4m3, which takes a quarter of float32",
        )
    memory = available_memory()
    if memory is not None and plan.memory > memory:
        raise PrerequisiteError(
            f"preprocessing may use {readable(plan.memory)} of memory, and {readable(memory)} are "
            "available",
            remedy="set benchmark.memory to less: it takes longer then, and gives the same",
        )
    if (fault := split.check_memory(plan.split, plan.memory)) is not None:
        raise PrerequisiteError(fault, remedy="allow more with benchmark.memory")


def _write_split(raw: RawGraph, plan: Plan, folder: Path) -> None:
    papers = raw.nodes[TARGET]
    if plan.split.labelled > papers:
        raise ConfigurationError(
            f"the split is made of {plan.split.labelled:,} papers, and the graph has {papers:,}",
            where=str(raw.folder),
        )
    if not plan.split.validation_count:
        raise ConfigurationError(
            f"a share of {plan.split.validation:g} of {plan.split.labelled:,} papers is none",
            where="benchmark.validation_share",
            remedy="raise it, or generate a larger graph with benchmark.paper_nodes",
        )
    if (folder / LABELS).exists():
        return
    _, validation = plan.split.papers()
    labels = split.labels_of(raw.labels, validation, plan.classes)
    for name, array in ((VALIDATION, validation), (LABELS, labels)):
        with (folder / f".{name}.tmp").open("wb") as file:
            np.save(file, array)
            file.flush()
            os.fsync(file.fileno())
        (folder / f".{name}.tmp").rename(folder / name)


@attrs.define
class _Step:
    """Adds up what was done, for whoever wants to know."""

    tell: Callable[[str, int, int], object]
    sentence: str
    total: int
    done: int = 0

    def advance(self, more: int) -> None:
        self.done = min(self.total, self.done + more)
        self.tell(self.sentence, self.done, self.total)


def _opened(
    folder: Path, classes: int, labelled: int | None, share: float
) -> tuple[RawGraph, split.Split]:
    """The graph, and its split: IGBH-full's, unless other classes or papers are asked for."""
    raw = igbh.open_raw(folder, classes=classes)
    if labelled is not None:
        return raw, split.Split(labelled, share)
    official = classes == layout.FULL_CLASSES
    if official and raw.nodes != layout.FULL_NODES:
        raise IntegrityError(
            f"the graph's nodes are not those of IGBH-full: {raw.nodes['paper']:,} papers of "
            f"{layout.FULL_NODES['paper']:,}, for one",
            where=str(raw.folder),
            remedy="fetch its parts again; of another graph, say with --labelled how many papers "
            "have a label",
        )
    return raw, split.chosen(raw.nodes[TARGET], share, official=official)


def main() -> int:
    """Prepare a graph from the command line; returns the exit code."""
    import argparse

    parser = argparse.ArgumentParser(prog="python -m mlpinf_rgat.prepare", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="the graph in IGBH's layout")
    parser.add_argument("--out", type=Path, required=True, help="where the prepared one goes")
    parser.add_argument("--memory", default="64GB", help="memory that may be used")
    parser.add_argument("--features", default="float16", choices=["float32", *features.STORED])
    parser.add_argument("--classes", type=int, default=layout.FULL_CLASSES)
    parser.add_argument(
        "--labelled",
        type=int,
        help="papers with a label, the first ones; by default those of IGBH-full, which the graph "
        "has to be then, and all of them with other classes",
    )
    parser.add_argument("--validation-share", type=float, default=0.005)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    try:
        _prepare_into(
            arguments.out,
            arguments.features,
            parse_memory(arguments.memory),
            arguments.classes,
            *_opened(
                arguments.data, arguments.classes, arguments.labelled, arguments.validation_share
            ),
        )
    except MlpinfError as error:
        log.error("%s", error)
        return int(error.exit_code)
    return 0


def _prepare_into(
    folder: Path, kind: str, memory: int, classes: int, raw: RawGraph, wanted: split.Split
) -> None:
    plan = Plan(classes, kind, wanted, memory)
    folder.mkdir(parents=True, exist_ok=True)
    claim(raw, plan, folder)
    prepare(raw, plan, folder, lambda what, done, all_: log.info("%s: %d of %d", what, done, all_))


if __name__ == "__main__":
    sys.exit(main())
