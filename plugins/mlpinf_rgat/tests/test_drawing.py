"""Draws: without replacement, every edge as likely as any other, the same for a node every time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mlpinf_rgat.drawing import draw

DEGREES = [0, 1, 4, 5, 6, 7, 40, 1000]
INDPTR = torch.tensor([0, *np.cumsum(DEGREES)])
INDICES = torch.arange(int(INDPTR[-1]), dtype=torch.int32)  # a source tells its edge


def drawn(nodes: list[int], fanout: int, stream: int = 0) -> list[list[int]]:
    counts, sources = draw(INDPTR, INDICES, torch.tensor(nodes, dtype=torch.long), fanout, stream)
    return [part.tolist() for part in torch.split(sources, counts.tolist())]


@given(
    st.lists(st.integers(0, len(DEGREES) - 1), max_size=12),
    st.integers(1, 15),
    st.integers(-(1 << 40), 1 << 40),
)
@settings(deadline=None)
def test_a_node_draws_different_edges_of_its_own_as_many_as_it_may(
    nodes: list[int], fanout: int, stream: int
) -> None:
    for node, sources in zip(nodes, drawn(nodes, fanout, stream), strict=True):
        assert len(sources) == min(DEGREES[node], fanout) == len(set(sources))
        assert all(INDPTR[node] <= source < INDPTR[node + 1] for source in sources)


@given(
    st.lists(st.integers(0, len(DEGREES) - 1), min_size=1, max_size=12), st.data(),
)  # fmt: skip
@settings(deadline=None)
def test_what_a_node_draws_does_not_depend_on_who_draws_beside_it(
    nodes: list[int], data: st.DataObject
) -> None:
    whole = dict(zip(nodes, drawn(nodes, 5), strict=True))
    some = data.draw(st.lists(st.sampled_from(nodes)))
    assert drawn(some, 5) == [whole[node] for node in some]


def test_nobody_draws_nothing() -> None:
    assert drawn([], 5) == []


@pytest.mark.parametrize("fanout", [5, 15])
def test_every_edge_of_a_node_is_as_likely_as_any_other(fanout: int) -> None:
    streams = 1500
    counts = np.zeros(40)
    for stream in range(streams):
        counts[np.array(drawn([6], fanout, stream)[0]) - int(INDPTR[6])] += 1
    expected = streams * fanout / 40
    variance = expected * (1 - fanout / 40)
    # The sum over 40 edges of squared standard scores; without replacement its mean is 39.
    score = float(((counts - expected) ** 2 / variance).sum()) * (39 / 40)
    assert 15 < score < 75  # beyond the 1e-3 quantiles of chi-squared with 39 degrees of freedom


def test_pairs_of_edges_are_as_likely_as_any_other_pairs() -> None:
    streams = 2000
    pairs = np.zeros((7, 7))
    for stream in range(streams):
        chosen = np.array(drawn([5], 2, stream)[0]) - int(INDPTR[5])
        pairs[chosen.min(), chosen.max()] += 1
    found = pairs[np.triu_indices(7, 1)]
    expected = streams / 21
    assert 5 < float(((found - expected) ** 2 / expected).sum()) < 45  # 20 degrees of freedom


def test_nodes_and_streams_draw_independently() -> None:
    many = torch.arange(2000)
    indptr = torch.arange(2001) * 100
    indices = torch.arange(100, dtype=torch.int32).repeat(2000)
    first = [draw(indptr, indices, many, 1, stream)[1].double() for stream in (0, 1)]
    across_streams = np.corrcoef(first[0], first[1])[0, 1]
    across_nodes = np.corrcoef(first[0][:-1], first[0][1:])[0, 1]
    assert abs(across_streams) < 0.08
    assert abs(across_nodes) < 0.08


class EveryEdge:
    """Sources as long as one likes, each of which tells its edge."""

    def index_select(self, _: int, places: torch.Tensor) -> torch.Tensor:
        return places


def test_a_hub_of_hundreds_of_millions_of_edges_draws_as_evenly() -> None:
    first, degree, streams, fanout = 1_000, 277_220_883, 2000, 15
    indptr = torch.tensor([0, 0, first, first + degree])
    hub = torch.tensor([2])
    edges: Any = EveryEdge()
    drawn_ones = [draw(indptr, edges, hub, fanout, stream) for stream in range(streams)]
    assert all(counts.tolist() == [fanout] for counts, _ in drawn_ones)
    assert all(len(set(sources.tolist())) == fanout for _, sources in drawn_ones)
    places = torch.cat([sources for _, sources in drawn_ones]).numpy() - first
    assert places.min() >= 0
    assert places.max() < degree
    # Coarse parts of the range, and the lowest bits, which a number of 24 bits would not have.
    for part in (places * 20 // degree, places % 16):
        found = np.bincount(part)
        expected = len(places) / len(found)
        score = float(((found - expected) ** 2 / expected).sum())
        assert 3 < score < 44  # beyond the 1e-3 quantiles of chi-squared
