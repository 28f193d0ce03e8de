"""Agreement with PyTorch Geometric: its layers on our neighbourhoods, and its loader's draws."""

from __future__ import annotations

import importlib.util
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from mlpinf_rgat import checkpoint, tiny
from mlpinf_rgat.relations import NODE_TYPES, RELATIONS, TARGET
from mlpinf_rgat.sampler import Sampler
from mlpinf_rgat.store import FeatureStore

from .reference import neighbourhood

if TYPE_CHECKING:
    from mlpinf_rgat.graph import Graph
    from mlpinf_rgat.model import Rgat
    from mlpinf_rgat.sampler import CscTensors

# Its extensions are scripted when they are imported, which PyTorch calls deprecated.
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    geometric = pytest.importorskip("torch_geometric.nn", reason="needs torch_geometric")

CPU = torch.device("cpu")
TYPES = [(r.source, r.name, r.destination) for r in RELATIONS]
SPARSE = all(importlib.util.find_spec(name) for name in ("torch_sparse", "torch_scatter", "scipy"))
needs_loader = pytest.mark.skipif(
    not SPARSE, reason="torch_geometric's loader needs torch-sparse, which is compiled for minutes"
)
quiet = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")


def geometric_scores(model: Rgat, x: dict[str, Any], edges: dict[Any, Any]) -> torch.Tensor:
    """The same weights in torch_geometric's own layers, over a whole subgraph."""
    for layer in model.layers:
        convs = {}
        for number, key in enumerate(TYPES):
            heads, size = layer.source[number].shape
            conv = geometric.GATConv(layer.weight.shape[2], size, heads, add_self_loops=False)
            conv.lin.weight.data = layer.weight[number]
            conv.att_src.data = layer.source[number].unsqueeze(0)
            conv.att_dst.data = layer.target[number].unsqueeze(0)
            conv.bias.data = layer.bias[number]
            convs[key] = conv
        x = geometric.HeteroConv(convs)(x, edges)
        if layer is not model.layers[-1]:
            x = {node_type: functional.leaky_relu(state) for node_type, state in x.items()}
    scores: torch.Tensor = model.linear(x[TARGET])
    return scores


@quiet
def test_answers_are_those_of_its_layers_on_the_accumulated_edges(
    graph: Graph, csc: list[CscTensors]
) -> None:
    model = checkpoint.load(tiny.weights()).requires_grad_(False)
    features = FeatureStore(graph, CPU, CPU, torch.float32)
    papers = torch.from_numpy(graph.validation[:25])
    sample = Sampler(csc, graph.description.nodes, tiny.FANOUTS, 42).sample(papers)
    ours = model(features.gather(sample.inputs), sample.blocks)
    for row, paper in enumerate(papers.tolist()):
        found = neighbourhood(csc, paper, tiny.FANOUTS, 42)
        nodes = {t: torch.tensor(ids, dtype=torch.long) for t, ids in found.nodes.items()}
        edges = {key: found.edge_index(number) for number, key in enumerate(TYPES)}
        theirs = geometric_scores(model, features.gather(nodes), edges)[0]
        torch.testing.assert_close(ours[row], theirs, rtol=1e-4, atol=1e-4)


def hetero_data(graph: Graph, csc: list[CscTensors]) -> Any:
    from torch_geometric.data import HeteroData

    data = HeteroData()
    for node_type in NODE_TYPES:
        data[node_type].num_nodes = graph.description.nodes[node_type]
        data[node_type].n_id = torch.arange(graph.description.nodes[node_type])
    for key, relation in zip(TYPES, csc, strict=True):
        destinations = torch.repeat_interleave(relation.indptr.diff())
        data[key].edge_index = torch.stack([relation.indices.long(), destinations])
    return data


def loaded(data: Any, paper: int, fanouts: list[int]) -> Any:
    """What its loader draws for one paper."""
    from torch_geometric.loader import NeighborLoader

    seeds = (TARGET, torch.tensor([paper]))
    return next(iter(NeighborLoader(data, fanouts, input_nodes=seeds, batch_size=1)))


def edges_of(batch: Any, key: Any) -> list[tuple[int, int]]:
    source, _, destination = key
    rows = batch[key].edge_index
    pairs = zip(
        batch[source].n_id[rows[0]].tolist(), batch[destination].n_id[rows[1]].tolist(), strict=True
    )
    return sorted(pairs)


@needs_loader
@quiet
def test_where_all_neighbours_are_taken_its_loader_finds_the_same_edges(
    graph: Graph, csc: list[CscTensors]
) -> None:
    data = hetero_data(graph, csc)
    everything = [max(int(c.indptr.diff().max()) for c in csc)] * 2
    for paper in graph.validation[:10].tolist():
        batch = loaded(data, paper, everything)
        found = neighbourhood(csc, paper, everything, 42)
        for number, key in enumerate(TYPES):
            ours = sorted(
                (found.nodes[key[0]][s], found.nodes[key[2]][d]) for s, d in found.edges[number]
            )
            assert edges_of(batch, key) == ours, key


@needs_loader
@quiet
def test_where_neighbours_are_drawn_its_loader_draws_as_many_as_often(
    graph: Graph, csc: list[CscTensors]
) -> None:
    data, fanouts = hetero_data(graph, csc), [4, 3, 2]
    paper = int(graph.validation[np.argmax(csc[0].indptr.diff().numpy()[graph.validation])])
    draws = 60
    theirs = np.zeros((draws, 11))
    ours = np.zeros((draws, 11))
    for number in range(draws):
        batch = loaded(data, paper, fanouts)
        found = neighbourhood(csc, paper, fanouts, number)
        theirs[number] = [len(edges_of(batch, key)) for key in TYPES]
        ours[number] = [len(found.edges[relation]) for relation in range(11)]
    spread = np.sqrt((theirs.var(axis=0) + ours.var(axis=0)) / draws)
    apart = np.abs(theirs.mean(axis=0) - ours.mean(axis=0))
    assert (apart <= 4.5 * spread + 1e-9).all(), (apart, spread)


@needs_loader
@quiet
def test_the_first_hops_edges_are_drawn_as_evenly_as_its_loader_draws_them(
    graph: Graph, csc: list[CscTensors]
) -> None:
    data = hetero_data(graph, csc)
    degrees = csc[0].indptr.diff().numpy()[graph.validation]
    paper, draws = int(graph.validation[np.argmax(degrees)]), 300
    counts = {}
    for name in ("theirs", "ours"):
        found: dict[int, int] = {}
        for number in range(draws):
            if name == "theirs":
                pairs = edges_of(loaded(data, paper, [3]), TYPES[0])
                sources = [source for source, destination in pairs if destination == paper]
            else:
                one = neighbourhood(csc, paper, [3], number)
                sources = [one.nodes[TARGET][source] for source, _ in one.edges[0]]
            assert len(sources) == 3
            for source in sources:
                found[source] = found.get(source, 0) + 1
        counts[name] = found
    first, last = csc[0].indptr[paper : paper + 2].tolist()
    sources, edges = np.unique(csc[0].indices[first:last].numpy(), return_counts=True)
    for found in counts.values():
        for source, repeated in zip(sources.tolist(), edges.tolist(), strict=True):
            expected = 3 * draws * repeated / (last - first)
            assert abs(found.get(source, 0) - expected) < 5 * np.sqrt(expected)
