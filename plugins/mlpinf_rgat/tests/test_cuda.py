"""The kernels for CUDA devices: the same draws, and the same network, as everywhere else.

Without a device they are interpreted, which is slow and tells as much.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch

with pytest.MonkeyPatch.context() as patch:
    if not torch.cuda.is_available():
        patch.setenv("TRITON_INTERPRET", "1")  # read when Triton and each kernel are imported
    pytest.importorskip("triton", reason="the kernels are written in Triton")
    from mlpinf_rgat.cuda import attending, network, scoring
    from mlpinf_rgat.cuda.drawing import draw

from mlpinf_rgat import drawing
from mlpinf_rgat.model import Rgat
from mlpinf_rgat.sampler import CscTensors, Sampler
from mlpinf_rgat.store import FeatureStore, Table, csc_tensors

if TYPE_CHECKING:
    from mlpinf_rgat.graph import Graph

pytestmark = pytest.mark.usefixtures("kernels_interpreted")
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
FANOUTS = (4, 3, 2)


@pytest.mark.parametrize("fanout", [1, 5, 15])
def test_the_kernel_draws_the_same_edges(fanout: int) -> None:
    generator = torch.Generator().manual_seed(3)
    degrees = torch.randint(0, 40, (300,), generator=generator)
    indptr = torch.cat([torch.zeros(1, dtype=torch.int64), degrees.cumsum(0)])
    indices = torch.randint(0, 9000, (int(indptr[-1]),), generator=generator, dtype=torch.int32)
    nodes = torch.randint(0, 300, (150,), generator=generator)
    for stream in (0, 7, 2**40):
        expected = drawing.draw(indptr, indices, nodes, fanout, stream)
        found = draw(*(t.to(DEVICE) for t in (indptr, indices, nodes)), fanout, stream)
        for ours, theirs in zip(found, expected, strict=True):
            assert torch.equal(ours.cpu(), theirs)


def test_no_nodes_draw_no_edges() -> None:
    csc = CscTensors(torch.zeros(2, dtype=torch.int64), torch.zeros(0, dtype=torch.int32))
    nodes = torch.zeros(0, dtype=torch.int64)
    counts, sources = draw(*(t.to(DEVICE) for t in (csc.indptr, csc.indices, nodes)), 3, 1)
    assert len(counts) == len(sources) == 0


@pytest.mark.parametrize("gathered", [True, False])
@pytest.mark.parametrize("width", [64, 200])
def test_scores_are_products_of_rows(gathered: bool, width: int) -> None:
    values = torch.randn((90, width), device=DEVICE)
    ids = torch.randint(0, 90, (77,), device=DEVICE) if gathered else None
    vectors = torch.randn((width, scoring.columns(20)), device=DEVICE)
    found = scoring.scores(Table(values, ids, 0.5), vectors)
    rows = values if ids is None else values[ids]
    torch.testing.assert_close(found, rows @ vectors * 0.5, rtol=1e-4, atol=1e-4)


def test_fp8_rows_are_read_as_they_are_stored() -> None:
    values = torch.randn((40, 64), device=DEVICE).to(torch.float8_e4m3fn)
    vectors = torch.randn((64, 16), device=DEVICE)
    found = scoring.scores(Table(values, torch.arange(40, device=DEVICE), 0.25), vectors)
    torch.testing.assert_close(found, values.float() @ vectors * 0.25, rtol=1e-4, atol=1e-4)


def sampled(graph: Graph) -> tuple[Any, Any]:
    """A few papers' neighbourhoods, and their features, on the device."""
    csc = csc_tensors(graph, DEVICE)
    sampler = Sampler(csc, graph.description.nodes, FANOUTS, 42, draw)
    papers = torch.from_numpy(graph.validation[:6]).to(DEVICE)
    return sampler.sample(papers), FeatureStore(graph, DEVICE, DEVICE, torch.float32)


@pytest.mark.slow
@pytest.mark.parametrize("chunk", [1 << 16, 7])
def test_the_network_is_the_models(
    graph: Graph, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(network, "_CHUNK", chunk)
    torch.manual_seed(1)
    model = Rgat(graph.description.width, 32, 9).to(DEVICE).requires_grad_(False)
    for layer in model.layers:
        layer.bias.normal_()
    sample, features = sampled(graph)
    with torch.inference_mode():
        expected = model(features.gather(sample.inputs), sample.blocks)
        found = network.Network(model, FANOUTS)(features.tables(sample.inputs), sample.blocks)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)


def test_a_row_without_an_edge_gets_zeros() -> None:
    out = torch.full((attending.HEADS, 3, 8), torch.nan, device=DEVICE)
    counts = torch.tensor([0, 2, 0], device=DEVICE)
    sources = torch.tensor([1, 0], device=DEVICE)
    values, sent = torch.randn((2, 8), device=DEVICE), torch.randn((2, 4), device=DEVICE)
    received = torch.randn((3, 4), device=DEVICE)
    starts = counts.cumsum(0) - counts
    table = Table(values)
    attending.attend(table, sources, starts, counts, sent, received, out, most=5)
    assert not out[:, [0, 2]].any()
    shares = torch.nn.functional.leaky_relu(sent[[1, 0]] + received[1], 0.2).softmax(0)
    torch.testing.assert_close(out[:, 1], shares.t() @ values[[1, 0]], rtol=1e-4, atol=1e-4)
