"""Neighbourhoods: those of the plain rules, and the same for a seed in every batch."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mlpinf_rgat import checkpoint, tiny
from mlpinf_rgat.relations import NODE_TYPES, RELATIONS, TARGET
from mlpinf_rgat.sampler import CscTensors, Sampler
from mlpinf_rgat.store import FeatureStore

from .reference import neighbourhood

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlpinf_rgat.graph import Graph
    from mlpinf_rgat.sampler import Sample

CPU = torch.device("cpu")
Scores = "Callable[[list[int]], torch.Tensor]"


@pytest.fixture(scope="module")
def scores(graph: Graph, csc: list[CscTensors]) -> Scores:
    """From papers to the shipped model's scores of each class, in one batch."""
    model = checkpoint.load(tiny.weights())
    features = FeatureStore(graph, CPU, CPU, torch.float32)
    sampler = Sampler(csc, graph.description.nodes, tiny.FANOUTS, tiny.SAMPLING_SEED)

    def answer(papers: list[int]) -> torch.Tensor:
        with torch.inference_mode():
            sample = sampler.sample(torch.tensor(papers, dtype=torch.long))
            found: torch.Tensor = model(features.gather(sample.inputs), sample.blocks)
        return found

    return answer


def random_graph(seed: int) -> tuple[list[CscTensors], dict[str, int]]:
    """A few nodes with many edges between them, so that paths cross everywhere."""
    rng = random.Random(seed)
    nodes = {t: rng.randint(1, 12) for t in NODE_TYPES}
    csc = []
    for relation in RELATIONS:
        rows = [
            sorted(rng.choices(range(nodes[relation.source]), k=rng.choice([0, 0, 1, 3, 9])))
            for _ in range(nodes[relation.destination])
        ]
        indptr = torch.tensor(np.cumsum([0, *map(len, rows)]))
        indices = torch.tensor([s for row in rows for s in row], dtype=torch.int32)
        csc.append(CscTensors(indptr, indices))
    return csc, nodes


def tree_of(sample: Sample, row: int) -> object:
    """Everything that one seed's answer is computed from, as nested tuples."""

    def visit(level: int, node_type: str, at: int) -> object:
        if level == 0:
            return (node_type, int(sample.inputs[node_type][at]))
        block = sample.blocks[level - 1]
        messages = []
        for number, edges in sorted(block.edges.items()):
            relation = RELATIONS[number]
            if relation.destination != node_type:
                continue
            start = int(edges.counts[:at].sum())
            sources = edges.sources[start : start + int(edges.counts[at])].tolist()
            messages += [(relation.name, visit(level - 1, relation.source, s)) for s in sources]
        own = int(block.own[node_type][at])
        return (visit(level - 1, node_type, own), tuple(messages))

    return visit(len(sample.blocks), TARGET, row)


def tree_by_the_rules(
    csc: list[CscTensors], seed_node: int, fanouts: tuple[int, ...], seed: int
) -> object:
    """The same, of a neighbourhood that the slow sampler found."""
    found = neighbourhood(csc, seed_node, fanouts, seed)

    def visit(level: int, node_type: str, at: int) -> object:
        if level == 0:
            return (node_type, found.nodes[node_type][at])
        messages = [
            (RELATIONS[number].name, visit(level - 1, RELATIONS[number].source, source))
            for number in range(len(RELATIONS))
            for source, destination in found.edges[number]
            if RELATIONS[number].destination == node_type and destination == at
        ]
        return (visit(level - 1, node_type, at), tuple(messages))

    return visit(len(fanouts), TARGET, 0)


@given(
    st.integers(0, 10_000),
    st.lists(st.integers(1, 4), min_size=2, max_size=4),
    st.integers(0, 1 << 30),
    st.data(),
)
@settings(max_examples=40, deadline=None)
def test_every_answer_is_computed_from_what_the_plain_rules_draw(
    graph_seed: int, fanouts: list[int], seed: int, data: st.DataObject
) -> None:
    csc, nodes = random_graph(graph_seed)
    papers = data.draw(st.lists(st.integers(0, nodes[TARGET] - 1), min_size=1, max_size=5))
    hops = tuple(fanouts[:3])
    sample = Sampler(csc, nodes, hops, seed).sample(torch.tensor(papers))
    for row, paper in enumerate(papers):
        assert tree_of(sample, row) == tree_by_the_rules(csc, paper, hops, seed)


@given(st.data())
@settings(max_examples=25, deadline=None)
def test_a_paper_gets_the_same_answer_whoever_is_in_the_batch_with_it(
    scores: Callable[[list[int]], torch.Tensor], data: st.DataObject
) -> None:
    paper = data.draw(st.integers(0, 1499))
    alone = scores([paper])[0]
    others = data.draw(st.lists(st.integers(0, 1499), max_size=40))
    place = data.draw(st.integers(0, len(others)))
    batch = scores([*others[:place], paper, *others[place:]])
    # Matrix products of another size may round the last bit otherwise.
    torch.testing.assert_close(batch[place], alone, rtol=1e-4, atol=1e-4)
    assert int(batch[place].argmax()) == int(alone.argmax())


def test_a_paper_that_is_asked_for_twice_gets_two_equal_answers(
    scores: Callable[[list[int]], torch.Tensor],
) -> None:
    found = scores([7, 3, 7])
    torch.testing.assert_close(found[0], found[2], rtol=1e-5, atol=1e-5)


def test_answers_of_a_whole_validation_set_do_not_depend_on_the_batch_size(
    graph: Graph, scores: Callable[[list[int]], torch.Tensor]
) -> None:
    papers = graph.validation.tolist()
    whole = scores(papers).argmax(1).tolist()
    for size in (1, 7, 64):
        parts = [scores(papers[i : i + size]).argmax(1) for i in range(0, len(papers), size)]
        assert torch.cat(parts).tolist() == whole


def test_another_sampling_seed_draws_other_neighbours(graph: Graph, csc: list[CscTensors]) -> None:
    papers = torch.arange(50)
    inputs = [
        Sampler(csc, graph.description.nodes, (3, 2), seed).sample(papers).inputs[TARGET]
        for seed in (1, 2, 1)
    ]
    assert set(inputs[0].tolist()) == set(inputs[2].tolist())
    assert set(inputs[0].tolist()) != set(inputs[1].tolist())


def test_each_layer_computes_no_more_rows_than_the_next_one_needs(
    graph: Graph, csc: list[CscTensors]
) -> None:
    sample = Sampler(csc, graph.description.nodes, (15, 10, 5), 1).sample(torch.arange(20))
    rows = [sum(len(own) for own in block.own.values()) for block in sample.blocks]
    assert rows[2] == 20
    assert rows[0] > rows[1] > rows[2]
    used = {t: set() for t in NODE_TYPES}
    for node_type, own in sample.blocks[1].own.items():
        used[node_type] |= set(own.tolist())
    for number, edges in sample.blocks[1].edges.items():
        used[RELATIONS[number].source] |= set(edges.sources.tolist())
    assert {t: len(found) for t, found in used.items()} == {
        t: len(own) for t, own in sample.blocks[0].own.items()
    }


def test_no_node_of_the_batch_is_gathered_twice(graph: Graph, csc: list[CscTensors]) -> None:
    sample = Sampler(csc, graph.description.nodes, (15, 10, 5), 1).sample(torch.arange(100))
    for nodes in sample.inputs.values():
        assert len(nodes.unique()) == len(nodes)


def test_a_sampler_can_be_used_again_and_forgets_the_batch_before(
    graph: Graph, csc: list[CscTensors]
) -> None:
    sampler = Sampler(csc, graph.description.nodes, (4, 3, 2), 1)
    first = sampler.sample(torch.tensor([5, 6]))
    sampler.sample(torch.arange(100))
    again = sampler.sample(torch.tensor([5, 6]))
    assert [tree_of(first, row) for row in (0, 1)] == [tree_of(again, row) for row in (0, 1)]


def test_one_hop_is_no_neighbourhood(graph: Graph, csc: list[CscTensors]) -> None:
    with pytest.raises(ValueError, match="two hops or more"):
        Sampler(csc, graph.description.nodes, (5,), 1)
