"""Trains the tiny variant's weights.

    python -m mlpinf_rgat.train [--out FILE] [--papers 20000] [--epochs 12] [--without-neighbours]

makes the synthetic graph, trains on its training papers and scores its validation set, which the
benchmark asks for and training never sees. The defaults make the file that ships with the package.
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


@attrs.frozen
class Recipe:
    """How the model is trained."""

    hidden: int = 64
    epochs: int = 12
    batch: int = 512
    rate: float = 0.01
    dropout: float = 0.2
    decay: float = 1e-4
    smoothing: float = 0.05
    seed: int = 0


class Trainer:
    """A graph, its training papers, and a model."""

    def __init__(
        self, made: SyntheticGraph, folder: Path, recipe: Recipe, neighbours: bool
    ) -> None:
        """Generate and prepare the graph.

        Args:
            made: the graph.
            folder: for its files; empty.
            recipe: how to train.
            neighbours: without them a node sees itself alone: no relation has an edge but for the
                loops of ``cites``.
        """
        raw_folder, prepared = folder / "raw", folder / "prepared"
        raw_folder.mkdir()
        prepared.mkdir()
        made.write(raw_folder)
        raw = igbh.open_raw(raw_folder, classes=made.classes)
        parted = split.Split(made.papers, tiny.VALIDATION_SHARE)
        plan = prepare.Plan(made.classes, "float32", parted, memory=1 << 30)
        prepare.prepare(raw, plan, prepared)
        self._graph = Graph.open(prepared)
        self._papers = parted.papers()[0]
        self._labels = split.labels_of(raw.labels, self._papers, made.classes)
        self._recipe = recipe
        self._csc = csc_tensors(self._graph, _CPU)
        if not neighbours:
            self._csc = _alone(self._csc)
        self._features = FeatureStore(self._graph, _CPU, _CPU, torch.float32)
        torch.manual_seed(recipe.seed)
        self.model = Rgat(self._graph.description.width, recipe.hidden, made.classes)

    def train(self) -> None:
        """Run every epoch."""
        recipe = self._recipe
        steps = recipe.epochs * math.ceil(len(self._papers) / recipe.batch)
        optimiser = torch.optim.AdamW(
            self.model.parameters(), lr=recipe.rate, weight_decay=recipe.decay
        )
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, recipe.rate, total_steps=steps)
        random = np.random.default_rng(recipe.seed)
        for epoch in range(recipe.epochs):
            began, total = time.perf_counter(), 0.0
            sampler = self._sampler(1000 + epoch)
            self.model.train()
            order = random.permutation(len(self._papers))
            for start in range(0, len(order), recipe.batch):
                chosen = order[start : start + recipe.batch]
                scores = self._scores(sampler, self._papers[chosen], recipe.dropout)
                wanted = torch.from_numpy(self._labels[chosen])
                loss = functional.cross_entropy(scores, wanted, label_smoothing=recipe.smoothing)
                optimiser.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimiser.step()
                schedule.step()
                total += loss.item() * len(chosen)
            seconds = time.perf_counter() - began
            log.info("epoch %d: loss %.3f, %.1f s", epoch + 1, total / len(order), seconds)

    def accuracy(self) -> float:
        """Top-1 on the validation set, as the benchmark samples it."""
        self.model.eval()
        graph, right = self._graph, 0
        sampler = self._sampler(tiny.SAMPLING_SEED)
        with torch.inference_mode():
            for start in range(0, len(graph.validation), self._recipe.batch):
                rows = slice(start, start + self._recipe.batch)
                scores = self._scores(sampler, graph.validation[rows], 0.0)
                right += int((scores.argmax(1).numpy() == graph.labels[rows]).sum())
        return right / len(graph.validation)

    def _sampler(self, seed: int) -> Sampler:
        return Sampler(self._csc, self._graph.description.nodes, tiny.FANOUTS, seed)

    def _scores(self, sampler: Sampler, papers: npt.NDArray[np.int64], dropout: float) -> Tensor:
        sample = sampler.sample(torch.from_numpy(papers))
        scores: Tensor = self.model(self._features.gather(sample.inputs), sample.blocks, dropout)
        return scores


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
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(made, Path(folder), recipe, not arguments.without_neighbours)
        trainer.train()
        accuracy = trainer.accuracy()
    log.info(
        "accuracy %.4f, %.3f of the %.4f that the label noise allows",
        accuracy,
        accuracy / made.best_accuracy,
        made.best_accuracy,
    )
    if arguments.out:
        checkpoint.save(trainer.model, arguments.out)


if __name__ == "__main__":
    main()
