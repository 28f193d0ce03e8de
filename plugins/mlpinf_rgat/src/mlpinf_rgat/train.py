"""Trains the tiny variant's weights.

    python -m mlpinf_rgat.train [--out FILE] [--papers 20000] [--epochs 8] [--without-neighbours]

trains on synthetic graphs, another one in each epoch, and scores the validation set of the one that
the benchmark asks about, which training never sees. The defaults make the file that ships with the
package.
"""

from __future__ import annotations

import argparse
import logging
import math
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs
import numpy as np
import torch
from torch.nn import functional

from mlpinf_rgat import checkpoint, igbh, prepare, split, tiny
from mlpinf_rgat.graph import Graph
from mlpinf_rgat.model import Rgat
from mlpinf_rgat.relations import RELATIONS
from mlpinf_rgat.sampler import Sampler
from mlpinf_rgat.store import FeatureStore, csc_tensors

if TYPE_CHECKING:
    import numpy.typing as npt
    from torch import Tensor

    from mlpinf_rgat.sampler import CscTensors
    from mlpinf_rgat.synthetic import SyntheticGraph

log = logging.getLogger(__name__)

_CPU: Final = torch.device("cpu")
_SCORED: Final = 500


@attrs.frozen
class Recipe:
    """How the model is trained."""

    hidden: int = 64
    epochs: int = 8
    batch: int = 512
    rate: float = 0.01
    dropout: float = 0.2
    decay: float = 1e-4
    smoothing: float = 0.05
    seed: int = 0


class Prepared:
    """A synthetic graph, ready to be sampled."""

    def __init__(self, made: SyntheticGraph, *, neighbours: bool = True) -> None:
        """Generate and prepare the graph.

        Args:
            made: the graph.
            neighbours: without them a node sees itself alone: no relation has an edge but for the
                loops of ``cites``.
        """
        self._folder = tempfile.TemporaryDirectory()
        raw_folder, prepared = (Path(self._folder.name) / name for name in ("raw", "prepared"))
        raw_folder.mkdir()
        prepared.mkdir()
        made.write(raw_folder)
        raw = igbh.open_raw(raw_folder, classes=made.classes)
        parted = split.Split(made.papers, tiny.VALIDATION_SHARE)
        plan = prepare.Plan(made.classes, "float32", parted, memory=1 << 30)
        prepare.prepare(raw, plan, prepared)
        self.graph = Graph.open(prepared)
        self.labels = split.labels_of(raw.labels, np.arange(made.papers), made.classes)
        self._csc = csc_tensors(self.graph, _CPU)
        if not neighbours:
            self._csc = _alone(self._csc)
        self._features = FeatureStore(self.graph, _CPU, _CPU, torch.float32)

    def sampler(self, seed: int) -> Sampler:
        """Of neighbourhoods in this graph."""
        return Sampler(self._csc, self.graph.description.nodes, tiny.FANOUTS, seed)

    def scores(
        self, model: Rgat, sampler: Sampler, papers: npt.NDArray[np.int64], dropout: float = 0.0
    ) -> Tensor:
        """The model's scores of papers, [n, classes]."""
        sample = sampler.sample(torch.from_numpy(papers))
        found: Tensor = model(self._features.gather(sample.inputs), sample.blocks, dropout)
        return found

    def close(self) -> None:
        """Remove the files."""
        self._folder.cleanup()


def train(made: SyntheticGraph, recipe: Recipe, *, neighbours: bool = True) -> Rgat:
    """A model, trained on another graph of the same classes in each epoch.

    So it cannot learn nodes by heart, and never sees the graph that the benchmark asks about. On
    one thread, so that how sums are rounded does not depend on the number of cores.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return _train(made, recipe, neighbours=neighbours)
    finally:
        torch.set_num_threads(threads)


def _train(made: SyntheticGraph, recipe: Recipe, *, neighbours: bool) -> Rgat:
    torch.manual_seed(recipe.seed)
    model = Rgat(made.width, recipe.hidden, made.classes).train()
    optimiser = torch.optim.AdamW(model.parameters(), lr=recipe.rate, weight_decay=recipe.decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, recipe.rate, total_steps=recipe.epochs * math.ceil(made.papers / recipe.batch)
    )
    random = np.random.default_rng(recipe.seed)
    for epoch in range(1, recipe.epochs + 1):
        began, total = time.perf_counter(), 0.0
        prepared = Prepared(attrs.evolve(made, instance=epoch), neighbours=neighbours)
        sampler = prepared.sampler(epoch)
        order = random.permutation(made.papers)
        for start in range(0, len(order), recipe.batch):
            papers = order[start : start + recipe.batch]
            scores = prepared.scores(model, sampler, papers, recipe.dropout)
            wanted = torch.from_numpy(prepared.labels[papers])
            loss = functional.cross_entropy(scores, wanted, label_smoothing=recipe.smoothing)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
            total += loss.item() * len(papers)
        prepared.close()
        seconds = time.perf_counter() - began
        log.info("epoch %d: loss %.3f, %.1f s", epoch, total / len(order), seconds)
    return model.eval()


def accuracy(model: Rgat, made: SyntheticGraph, *, neighbours: bool = True) -> float:
    """Top-1 on the validation set of a graph, sampled as the benchmark samples it."""
    prepared = Prepared(made, neighbours=neighbours)
    sampler, right = prepared.sampler(tiny.SAMPLING_SEED), 0
    validation = prepared.graph.validation
    with torch.inference_mode():
        for start in range(0, len(validation), _SCORED):
            papers = validation[start : start + _SCORED]
            classes = prepared.scores(model, sampler, papers).argmax(1).numpy()
            right += int((classes == prepared.labels[papers]).sum())
    prepared.close()
    return right / len(validation)


def _alone(relations: list[CscTensors]) -> list[CscTensors]:
    """No edges but one loop at each paper."""
    found = []
    for csc, relation in zip(relations, RELATIONS, strict=True):
        count = len(csc.indptr) - 1
        if relation.symmetric:
            whole = torch.arange(count + 1)
            found.append(attrs.evolve(csc, indptr=whole, indices=whole[:-1].int()))
        else:
            found.append(attrs.evolve(csc, indptr=torch.zeros(count + 1, dtype=torch.int64)))
    return found


def main() -> None:
    """Train, score and write."""
    parser = argparse.ArgumentParser(prog="python -m mlpinf_rgat.train", description=__doc__)
    parser.add_argument("--out", type=Path, help="the checkpoint to write")
    parser.add_argument("--papers", type=int, default=tiny.GRAPH.papers)
    parser.add_argument("--epochs", type=int, default=Recipe().epochs)
    parser.add_argument("--without-neighbours", action="store_true")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    made = attrs.evolve(tiny.GRAPH, papers=arguments.papers)
    recipe = Recipe(epochs=arguments.epochs)
    neighbours = not arguments.without_neighbours
    model = train(made, recipe, neighbours=neighbours)
    reached = accuracy(model, made, neighbours=neighbours)
    log.info(
        "accuracy %.4f, %.3f of the %.4f that the label noise allows",
        reached,
        reached / made.best_accuracy,
        made.best_accuracy,
    )
    if arguments.out:
        checkpoint.save(model, arguments.out)


if __name__ == "__main__":
    main()
