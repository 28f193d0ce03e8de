"""The ``torch`` backend: draws, gathers and computes a batch in one thread, several at a time."""

from __future__ import annotations

import contextlib
import queue
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final

import attrs
import numpy as np

from mlpinf_core.errors import BackendError
from mlpinf_core.protocols import Outputs

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import numpy.typing as npt
    import torch
    from torch import Tensor

    from mlpinf_rgat.benchmarks import RgatSettings, TorchSettings
    from mlpinf_rgat.graph import Graph
    from mlpinf_rgat.model import Rgat
    from mlpinf_rgat.sampler import CscTensors, Sample
    from mlpinf_rgat.sharing import Share
    from mlpinf_rgat.store import FeatureStore

WARM_UP: Final = 64
"""Samples of a batch that a backend warms up with, unless it is told of a larger one."""


@attrs.frozen(eq=False)
class _Replica:
    """What a batch needs for itself.

    Attributes:
        sampler: a :class:`~mlpinf_rgat.sampler.Sampler`, with working memory.
        stream: called without arguments, makes the context that a batch is computed in.
    """

    sampler: Any
    stream: Any


class TorchBackend:
    """One device."""

    def __init__(
        self,
        graph: Graph,
        weights: Path,
        benchmark: RgatSettings,
        settings: TorchSettings,
        share: Share,
        *,
        number: int = 0,
        batch: int = WARM_UP,
    ) -> None:
        """Nothing is loaded yet.

        Args:
            graph: prepared.
            weights: the checkpoint.
            benchmark: how neighbours are drawn.
            settings: of the backend.
            share: of the cores.
            number: of the device, from 0.
            batch: samples of the largest batch, which a GPU warms up with.
        """
        self._graph = graph
        self._weights = weights
        self._benchmark = benchmark
        self._settings = settings
        self._number = number
        self._batch = batch
        self._idle: queue.SimpleQueue[_Replica] = queue.SimpleQueue()
        self._model: Any = None
        self._threads = share.threads
        self.replicas = share.replicas
        """Batches at the same time."""

    def load(self) -> None:
        """Read the weights; put the graph where it belongs.

        Raises:
            IntegrityError: the checkpoint is not one of this model.
            BackendError: there is no such device, or checkpoint and graph do not fit together.
        """
        import torch

        settings = self._settings
        host = torch.device("cpu")
        self._device = _device(settings.device, self._number)
        if settings.device == "cpu":
            torch.set_num_threads(self._threads)
        model = self._read_model()
        dtype = getattr(torch, settings.precision)
        model = model.to(device=self._device, dtype=dtype).requires_grad_(False)
        self._model = model
        self._fused = settings.fused and can_fuse(model, self._device)
        if self._fused:
            from mlpinf_rgat.cuda.network import Network

            self._network = Network(model, self._benchmark.fanouts)
        self._csc = self._place_edges(self._device if settings.graph_on == "device" else host)
        held = self._device if settings.features_on == "device" else host
        self._features = self._place_features(held, dtype)
        self._papers = torch.from_numpy(self._graph.validation)

    def _read_model(self) -> Any:
        """The network with the checkpoint's weights, float32, which fits the graph."""
        from mlpinf_rgat import checkpoint

        model: Any = checkpoint.load(self._weights)
        self._check(model)
        return model

    def _place_edges(self, where: torch.device) -> list[CscTensors]:
        """The graph's edges, for the sampler."""
        from mlpinf_rgat.store import csc_tensors

        return csc_tensors(self._graph, where)

    def _place_features(self, held: torch.device, dtype: torch.dtype) -> FeatureStore:
        """The graph's features, for the model."""
        from mlpinf_rgat.store import FeatureStore

        return FeatureStore(self._graph, held, self._device, dtype)

    def warm_up(self) -> None:
        """Two small batches; on a GPU two of the largest for each replica.

        A replica's memory is its own, and taking it from the device takes time.
        """
        count = len(self._graph.validation)
        if self._device.type == "cpu":
            some = np.arange(min(WARM_UP, count), dtype=np.int64)
            for _ in range(2):
                self.infer(some)
            return
        most = np.arange(self._batch, dtype=np.int64) % count

        def warm(replica: _Replica) -> None:
            for _ in range(2):
                self._answer(replica, most)
            self._idle.put(replica)

        with ThreadPoolExecutor(self.replicas) as pool:
            list(pool.map(warm, [self._new_replica() for _ in range(self.replicas)]))

    def infer(self, indices: npt.NDArray[np.int64]) -> Outputs:
        """The classes of papers.

        Args:
            indices: int64 [n], in the validation set.

        Returns:
            int64 [n, 1].
        """
        with self._replica() as replica:
            return Outputs(self._answer(replica, indices))

    def _answer(self, replica: _Replica, indices: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """int64 [n, 1]."""
        import torch

        with torch.inference_mode(), replica.stream():
            papers_on = self._csc[0].indptr.device
            papers = self._papers[torch.from_numpy(indices)].to(papers_on)
            sample = replica.sampler.sample(papers)
            if papers_on != self._device:
                sample = sample.to(self._device)
            classes = self._scores(sample).argmax(1, keepdim=True)
            answer: npt.NDArray[np.int64] = classes.cpu().numpy()
        return answer

    def close(self) -> None:
        """Let go of everything."""
        self._model = None
        self._idle = queue.SimpleQueue()
        self._csc = []
        self._features = None  # type: ignore[assignment]

    def _scores(self, sample: Sample) -> Tensor:
        """[seeds, classes]."""
        if self._fused:
            return self._network(self._features.tables(sample.inputs), sample.blocks)
        scores: Tensor = self._model(self._features.gather(sample.inputs), sample.blocks)
        return scores

    @contextlib.contextmanager
    def _replica(self) -> Iterator[_Replica]:
        """Memory and, on a GPU, a stream that no other batch uses meanwhile."""
        try:
            replica = self._idle.get_nowait()
        except queue.Empty:
            replica = self._new_replica()
        try:
            yield replica
        finally:
            self._idle.put(replica)

    def _new_replica(self) -> _Replica:
        import torch

        from mlpinf_rgat import drawing
        from mlpinf_rgat.sampler import Sampler

        draw = drawing.draw
        if self._fused and self._csc[0].indptr.is_cuda:
            from mlpinf_rgat.cuda.drawing import draw
        benchmark = self._benchmark
        nodes = self._graph.description.nodes
        sampler = Sampler(self._csc, nodes, benchmark.fanouts, benchmark.sampling_seed, draw)
        if self._device.type == "cpu":
            return _Replica(sampler, contextlib.nullcontext)
        stream = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]
        return _Replica(sampler, lambda: torch.cuda.stream(stream))

    def _check(self, model: Any) -> None:
        about = self._graph.description
        width = model.layers[0].weight.shape[2]
        classes = model.linear.out_features
        layers = len(model.layers)
        faults = [
            f"features of {width}, and the graph has {about.width}" if width != about.width else "",
            f"{classes} classes, and the graph has {about.classes}"
            if classes != about.classes
            else "",
            f"{layers} layers, and neighbours are drawn in {len(self._benchmark.fanouts)} hops"
            if layers != len(self._benchmark.fanouts)
            else "",
        ]
        if fault := "; ".join(filter(None, faults)):
            raise BackendError(
                f"the checkpoint is for another graph: {fault}",
                where=str(self._weights),
                remedy="set benchmark.model_path to the checkpoint of this graph",
            )


def can_fuse(model: Rgat, device: torch.device) -> bool:
    """Whether the kernels for CUDA devices can compute a model there."""
    from mlpinf_core.benchmark import is_installed

    if device.type != "cuda" or not is_installed("triton"):
        return False
    from mlpinf_rgat.cuda.attending import HEADS

    return all(layer.heads == HEADS for layer in model.layers)


def _device(kind: str, number: int) -> Any:
    import torch

    if kind == "cpu":
        return torch.device("cpu")
    if not torch.cuda.is_available() or number >= torch.cuda.device_count():
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        raise BackendError(
            f"there is no CUDA device {number}: PyTorch {torch.__version__} sees {count}",
            where="backend.device",
            remedy="set backend.device to cpu, or backend.devices to fewer",
        )
    return torch.device("cuda", number)
