"""Several devices: a process for each, all of them on one memory-mapped graph."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from mlpinf_core.suts.processes import WorkerPool
from mlpinf_rgat.graph import Graph
from mlpinf_rgat.torch_backend import WARM_UP, TorchBackend

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from mlpinf_rgat.benchmarks import RgatSettings, TorchSettings
    from mlpinf_rgat.sharing import Share


def open_device(
    number: int, *, folder: Path, raw: Path | None, weights: Path, benchmark: RgatSettings,
    settings: TorchSettings, share: Share, batch: int,
) -> TorchBackend:  # fmt: skip
    """The backend of one device, loaded; called in its process.

    The graph's files are mapped again and not copied: pages that one process has read are there
    for the others.
    """
    graph = Graph.open(folder, raw)
    backend = TorchBackend(graph, weights, benchmark, settings, share, number=number, batch=batch)
    backend.load()
    backend.warm_up()
    return backend


class PooledBackend:
    """As many devices as the settings say."""

    def __init__(
        self,
        graph: Graph,
        weights: Path,
        benchmark: RgatSettings,
        settings: TorchSettings,
        share: Share,
        cpus: Sequence[str] = (),
        *,
        batch: int = WARM_UP,
    ) -> None:
        """Nothing is started yet; see :class:`TorchBackend` and :class:`WorkerPool`."""
        from pathlib import Path

        raw = graph.description.raw
        make = functools.partial(
            open_device,
            folder=graph.folder,
            raw=None if raw is None else Path(raw),
            weights=weights,
            benchmark=benchmark,
            settings=settings,
            share=share,
            batch=batch,
        )
        self.pool = WorkerPool(make, settings.devices, lanes=share.replicas, cpus=cpus)

    def load(self) -> None:
        """Start the processes; each loads and warms up.

        Raises:
            BackendError: one could not.
        """
        self.pool.start()

    def warm_up(self) -> None:
        """Each process has done so."""

    def close(self) -> None:
        """End the processes."""
        self.pool.close()
