"""The graph plugin's speed: the harness beside its own engine, the engine beside PyTorch Geometric.

    python benchmarks/rgat.py [--repeats 5] [--papers 100000] [--json FILE]

The first two figures are of one synthetic graph with the tiny variant's weights, and every pair is
measured alternately; a ratio is that of the medians. PyTorch Geometric's loop is the one that its
documentation shows: ``NeighborLoader``, ``HeteroConv`` of ``GATConv``. It runs with the batch size
of the harness, and with as many threads as suit it best: one, and one a core, are both tried. It
needs ``pip install torch-geometric scipy`` and its samplers, ``torch-scatter`` and
``torch-sparse``, which are compiled; without them its figure is left out.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import resource
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
from figures import Figure, json_of, median, pairs, print_head, print_row
from harness import ours

if TYPE_CHECKING:
    from collections.abc import Iterator

SAMPLES = 30_000
PEER_SAMPLES = 8_192
ASKED = 10
"""The tiny variant asks for one paper in so many."""
EDGES = 10_000_000
EDGES_OF_A_PAPER = 8.897
MEMORY = "1500MB"
PEER = ("torch_geometric", "torch_sparse", "torch_scatter", "scipy")
HERE = Path(__file__).parent


def process(what: str, *more: object) -> dict[str, Any]:
    """One measurement, in a process of its own."""
    return json_of([sys.executable, str(HERE / "rgat.py"), "--one", what, *map(str, more)])


def offline(repeats: int, papers: int) -> Iterator[Figure]:
    """The harness against the same sampling and model, called directly on the same batches."""
    mine, theirs = pairs(
        repeats,
        lambda: ours(
            "rgat",
            "Offline",
            "loadgen.min_duration=0",
            "loadgen.target_qps=0.000001",
            f"loadgen.min_query_count={SAMPLES}",
            f"benchmark.paper_nodes={papers}",
            f"loadgen.performance_sample_count={papers // ASKED}",
            variant="tiny",
        ),
        lambda: process("direct", papers, SAMPLES),
    )
    if not all(run["valid"] for run in mine):
        raise SystemExit(f"a run is INVALID: {mine[0]['causes']}")
    a, b = median(mine, "result_samples_per_second"), median(theirs, "samples_per_second")
    yield Figure("Offline, samples/s", f"{a:,.0f}", f"{b:,.0f}", a / b, "≥ 0.95", a / b >= 0.95)


def peer(repeats: int, papers: int) -> Iterator[Figure]:
    """Our sampling and model against PyTorch Geometric's."""
    if not all(importlib.util.find_spec(name) for name in PEER):
        print(f"PyTorch Geometric is left out: it needs {', '.join(PEER)}", file=sys.stderr)
        return
    alone, whole = (
        process("peer", papers, PEER_SAMPLES, threads) for threads in (1, os.cpu_count() or 1)
    )
    threads = max((alone, whole), key=lambda run: run["samples_per_second"])["threads"]
    mine, theirs = pairs(
        repeats,
        lambda: process("first", papers, PEER_SAMPLES),
        lambda: process("peer", papers, PEER_SAMPLES, threads),
    )
    a, b = median(mine, "samples_per_second"), median(theirs, "samples_per_second")
    name = "sampling and model beside PyTorch Geometric's loop, samples/s"
    yield Figure(name, f"{a:,.0f}", f"{b:,.0f}", a / b, "≥ 1.5", a / b >= 1.5)
    a, b = median(mine, "accuracy"), median(theirs, "accuracy")
    apart = abs(a - b)
    yield Figure("accuracy of both", f"{a:.4f}", f"{b:.4f}", apart, "within 0.02", apart <= 0.02)


def preprocessing(repeats: int) -> Iterator[Figure]:
    """A graph of ten million edges."""
    with tempfile.TemporaryDirectory() as folder:
        made = process("generate", folder)
        runs = [process("prepare", folder) for _ in range(repeats)]
    rate, memory = median(runs, "edges_per_second"), median(runs, "peak_memory_gb")
    million = rate / 1e6
    edges = f"{made['edges']:,} edges"
    yield Figure(
        f"preprocessing {edges}, million edges/s",
        f"{million:.2f}",
        "",
        million,
        "≥ 2",
        million >= 2,
    )
    yield Figure("its peak memory, GB", f"{memory:.2f}", "", memory, "≤ 2", memory <= 2)


# -- one measurement each ------------------------------------------------------------------------


def direct(papers: int, samples: int, *, first: bool = False) -> dict[str, Any]:
    """The backend, as many batches at a time as the harness has.

    Args:
        papers: of the graph.
        samples: how many are classified.
        first: the first papers that are asked for, as the peer gets them, instead of those that
            Offline issues.
    """
    from concurrent.futures import ThreadPoolExecutor

    import numpy as np
    from direct_engine import issued, prepared

    run, data, backend = prepared("rgat", f"benchmark.paper_nodes={papers}")
    if len(data) != papers // ASKED:
        raise SystemExit(f"{len(data)} papers are asked for, and not one in {ASKED}")
    if first:
        order = np.arange(samples)
    else:
        order = np.array(issued(run.rules.loadgen_name, len(data), samples))
    size = run.config.sut.max_batch_size
    batches = [order[start : start + size] for start in range(0, len(order), size)]
    with ThreadPoolExecutor(backend.replicas) as pool:
        started = time.perf_counter()
        answers = [outputs.data[:, 0] for outputs in pool.map(backend.infer, batches)]
        seconds = time.perf_counter() - started
    right = float(np.mean(np.concatenate(answers) == data.labels[order]))
    backend.close()
    return {"samples_per_second": len(order) / seconds, "accuracy": right}


def geometric(papers: int, samples: int, threads: int) -> dict[str, Any]:
    """PyTorch Geometric's documented loop, on the same graph with the same weights."""
    import warnings

    warnings.simplefilter("ignore")
    import numpy as np
    import torch
    from direct_engine import prepared
    from torch_geometric.data import HeteroData
    from torch_geometric.loader import NeighborLoader

    from mlpinf_rgat import checkpoint, tiny
    from mlpinf_rgat.relations import NODE_TYPES, RELATIONS

    torch.set_num_threads(threads)
    run, data, backend = prepared("rgat", f"benchmark.paper_nodes={papers}")
    backend.close()
    graph = data.graph
    hetero = HeteroData()
    for node_type in NODE_TYPES:
        hetero[node_type].x = torch.from_numpy(np.array(graph.features[node_type]))
    for relation, csc in zip(RELATIONS, graph.relations, strict=True):
        key = (relation.source, relation.name, relation.destination)
        destinations = torch.repeat_interleave(torch.from_numpy(np.diff(csc.indptr)))
        sources = torch.from_numpy(np.array(csc.indices)).long()
        hetero[key].edge_index = torch.stack([sources, destinations])
    model = checkpoint.load(tiny.weights())
    layers = geometric_layers(model)
    seeds = torch.from_numpy(np.array(graph.validation[:samples]))
    loader = NeighborLoader(
        hetero,
        num_neighbors=list(run.config.benchmark.fanouts),
        input_nodes=("paper", seeds),
        batch_size=run.config.sut.max_batch_size,
    )
    right = 0
    with torch.inference_mode():
        for timed in (False, True):  # once to warm up
            started = time.perf_counter()
            for number, batch in enumerate(loader):
                x = batch.x_dict
                for layer in layers:
                    x = layer(x, batch.edge_index_dict)
                    if layer is not layers[-1]:
                        x = {t: torch.nn.functional.leaky_relu(state) for t, state in x.items()}
                count = batch["paper"].batch_size
                classes = model.linear(x["paper"])[:count].argmax(1).numpy()
                if timed:
                    ids = batch["paper"].input_id.numpy()
                    right += int((classes == graph.labels[ids]).sum())
                elif number == 1:
                    break
            seconds = time.perf_counter() - started
    count = len(seeds)
    return {
        "samples_per_second": count / seconds, "accuracy": right / count, "threads": threads
    }  # fmt: skip


def geometric_layers(model: Any) -> Any:
    """The model's weights in PyTorch Geometric's layers."""
    import torch
    from torch_geometric.nn import GATConv, HeteroConv

    from mlpinf_rgat.relations import RELATIONS

    found = torch.nn.ModuleList()
    for layer in model.layers:
        convs = {}
        for number, relation in enumerate(RELATIONS):
            heads, size = layer.source[number].shape
            conv = GATConv(layer.weight.shape[2], size, heads, add_self_loops=False)
            conv.lin.weight.data = layer.weight[number]
            conv.att_src.data = layer.source[number].unsqueeze(0)
            conv.att_dst.data = layer.target[number].unsqueeze(0)
            conv.bias.data = layer.bias[number]
            convs[relation.source, relation.name, relation.destination] = conv
        found.append(HeteroConv(convs))
    return found.eval()


def generate(folder: str) -> dict[str, Any]:
    """The graph to preprocess."""
    from mlpinf_rgat import igbh
    from mlpinf_rgat.synthetic import SyntheticGraph

    raw = Path(folder) / "raw"
    raw.mkdir()
    made = SyntheticGraph(papers=int(EDGES / EDGES_OF_A_PAPER) + 2000)
    made.write(raw)
    return {"edges": igbh.open_raw(raw, classes=made.classes).edge_count}


def prepare(folder: str) -> dict[str, Any]:
    """Preprocess it, features as float16; importing PyTorch is not timed."""
    import torch  # noqa: F401

    from mlpinf_rgat import igbh
    from mlpinf_rgat import prepare as preparing
    from mlpinf_rgat.split import Split

    raw = igbh.open_raw(Path(folder) / "raw", classes=320)
    plan = preparing.Plan(320, "float16", Split(raw.nodes["paper"]), preparing.parse_memory(MEMORY))
    out = Path(folder) / "prepared"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    started = time.perf_counter()
    preparing.prepare(raw, plan, out)
    seconds = time.perf_counter() - started
    peak = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"edges_per_second": raw.edge_count / seconds, "peak_memory_gb": peak / 1e9}


def one(what: str, arguments: list[str]) -> None:
    """What ``--one`` does: measure once, and print it as JSON."""
    if what in ("generate", "prepare"):
        found = {"generate": generate, "prepare": prepare}[what](arguments[0])
    elif what in ("direct", "first"):
        found = direct(*map(int, arguments), first=what == "first")
    else:
        found = geometric(*map(int, arguments))
    print(json.dumps(found))


def main() -> None:
    """Measure, print a table, and end with 0 whatever was reached."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--papers", type=int, default=100_000)
    parser.add_argument("--json", type=Path, help="write the figures there too")
    parser.add_argument("--one", nargs="+", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        one(arguments.one[0], arguments.one[1:])
        return
    print_head(arguments.repeats)
    figures = []
    for part in (
        offline(arguments.repeats, arguments.papers),
        peer(arguments.repeats, arguments.papers),
        preprocessing(arguments.repeats),
    ):
        for figure in part:
            figures.append(attrs.asdict(figure))
            print_row(figure)
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
