"""R-GAT at full size: true relations, widths and fan-outs, random weights, a graph on the card."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from gpu_parts import ceilings, plugin, published, throughout
from gpu_parts.random_graph import ASKED
from gpu_parts.random_rgat import FULL_PAPERS, RandomRgat
from gpu_parts.rows import Row
from mlpinf_rgat.benchmarks import RgatSettings, TorchSettings
from mlpinf_rgat.relations import NODE_TYPES, RELATIONS, into
from mlpinf_rgat.sharing import Share

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mlpinf_rgat.sampler import Sample

TARGET = 40_000.0
LEAST_EFFICIENCY = 0.97
BATCH = 16_384
REPLICAS = 3
BATCHES = 100


def backend(papers: int, batch: int, replicas: int, *, toy: bool, **more: Any) -> RandomRgat:
    """Loaded and warm; on a CPU where it is a toy."""
    settings = TorchSettings(
        device="cpu" if toy else "cuda",
        precision="float32" if toy else "float16",
        features_on="host" if toy else "device",
        **more,
    )
    made = RandomRgat(
        papers, RgatSettings(), settings, Share(replicas, 1), batch, 64 if toy else 1024
    )
    made.load()
    made.warm_up()
    return made


def directly(made: RandomRgat, batch: int, batches: int) -> float:
    """Samples a second of the backend, called with as many batches at a time as the harness has."""
    order = np.random.default_rng(3).permutation(ASKED)
    parts = [
        order.take(range(first, first + batch), mode="wrap")
        for first in range(0, batch * batches, batch)
    ]
    with ThreadPoolExecutor(made.replicas) as pool:
        list(pool.map(made.infer, parts[: made.replicas]))
        started = time.perf_counter()
        list(pool.map(made.infer, parts))
        return batch * batches / (time.perf_counter() - started)


def drawn(made: RandomRgat, batch: int) -> Sample:
    """A batch's neighbourhoods."""
    papers = made.made.asked[:batch]
    with torch.inference_mode(), made._replica() as replica:
        return replica.sampler.sample(papers)


def work(sample: Sample, width: int, hidden: int) -> dict[str, float]:
    """What a batch cannot do without: bytes of features, once a node, and operations."""
    inputs = sum(len(ids) for ids in sample.inputs.values())
    edges = [sum(len(e.sources) for e in block.edges.values()) for block in sample.blocks]
    operations = 0.0
    for number, block in enumerate(sample.blocks):
        below = width if number == 0 else hidden
        for node_type in NODE_TYPES:
            for relation in into(node_type):
                if relation in block.edges:
                    rows = int((block.edges[relation].counts > 0).sum())
                    operations += 2.0 * rows * below * hidden
                    operations += 8.0 * len(block.edges[relation].sources) * below
    rows = [{t: len(r) for t, r in block.own.items()} for block in sample.blocks]
    return {
        "inputs": inputs, "edges": edges, "rows": rows, "bytes": float(inputs * width),
        "operations": operations,
    }  # type: ignore[dict-item]  # fmt: skip


def stages(made: RandomRgat, batch: int) -> dict[str, float]:
    """Milliseconds of a batch's stages, one after the other."""
    papers = made.made.asked[:batch]
    device = papers.device
    with torch.inference_mode(), made._replica() as replica:
        sample = replica.sampler.sample(papers)
        return {
            "draw": 1000 * ceilings.timed(lambda: replica.sampler.sample(papers), device, 5),
            "network": 1000 * ceilings.timed(lambda: made._scores(sample), device, 5),
        }


def measure(*, toy: bool) -> Iterator[Row]:
    """Directly, and through the harness."""
    papers, batch, batches = (3000, 64, 8) if toy else (FULL_PAPERS, BATCH, BATCHES)
    made = backend(papers, batch, 2 if toy else REPLICAS, toy=toy)
    device = made._device
    most = ceilings.measured(device)
    sample = drawn(made, batch)
    need = work(sample, made._width, made._model.linear.in_features)
    del sample
    floor = batch / most.seconds(need["bytes"], need["operations"])
    notes: dict[str, object] = {
        "papers": papers, "edges": made.made.edges, "batch": batch, "replicas": made.replicas,
        "features": "float8_e4m3", "weights": str(next(made._model.parameters()).dtype),
        "a batch": need, "milliseconds": stages(made, batch),
        "copy, TB/s": most.bytes_per_second / 1e12,
        "product, TFLOP/s": most.operations_per_second / 1e12,
        "relations": len(RELATIONS),
    }  # fmt: skip
    direct = directly(made, batch, batches)
    notes["memory"] = throughout.gpu_memory()
    yield Row("rgat", "R-GAT, samples/s, backend called directly", direct, published.RGAT,
              TARGET, floor, notes)  # fmt: skip
    made.close()
    del made
    if not toy:
        torch.cuda.empty_cache()
    yield from through(direct, papers, batch, batches, toy=toy)


def through(direct: float, papers: int, batch: int, batches: int, *, toy: bool) -> Iterator[Row]:
    """The same through LoadGen."""
    where = ["device=cpu", "precision=float32", "replicas=2"] if toy else [
        "device=cuda", "precision=float16", "features_on=device", f"replicas={REPLICAS}"
    ]  # fmt: skip
    found = throughout.offline(
        plugin.RGAT, batch * batches, f"benchmark.papers={papers}",
        f"benchmark.width={64 if toy else 1024}", f"sut.max_batch_size={batch}",
        *(f"backend.{text}" for text in where), toy=toy,
    )  # fmt: skip
    rate = float(found["result_samples_per_second"])
    yield Row("rgat", "R-GAT Offline through LoadGen, samples/s", rate, published.RGAT, TARGET)
    yield Row("rgat", "R-GAT, harness over direct", rate / direct, None, LEAST_EFFICIENCY)
