"""How a device's process shares its cores between batches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs

from mlpinf_core.binding import processors
from mlpinf_core.machine import usable_processors
from mlpinf_core.vocabulary import Variant

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlpinf_core.vocabulary import Scenario
    from mlpinf_rgat.benchmarks import TorchSettings

_GPU_REPLICAS: Final = 3
_CORES_A_BATCH: Final = {Variant.TINY: 1, Variant.FULL: 8}
"""Cores of a CPU that a batch is computed with. Batches of the tiny graph are small, and one a core
is fastest; each replica of the full one has a sampler with 2.2 GB of working memory."""


@attrs.frozen
class Share:
    """What a device's process does at the same time.

    Attributes:
        replicas: batches that are on their way.
        threads: that each of them is computed with on a CPU.
    """

    replicas: int
    threads: int

    @classmethod
    def of(
        cls,
        settings: TorchSettings,
        scenario: Scenario,
        variant: Variant,
        worker_cpus: Sequence[str] = (),
    ) -> Share:
        """As the settings say, or else as suits the run.

        Found in the parent process, once for all of them: in one that is bound, the usable
        processors are its own share already.

        Args:
            settings: of the backend.
            scenario: where it has one query at a time there is one batch, on all cores.
            variant: how large batches are.
            worker_cpus: what each worker is bound to; the smallest counts for all.

        Raises:
            ConfigurationError: a worker's processors are not there.
        """
        cores = usable_processors()
        bound = [len(processors(text, "sut.worker_cpus")) for text in worker_cpus]
        widest = min([cores, *bound])  # of a thread's pool, which inherits the worker's binding
        if settings.devices > 1:
            sharing = -(-settings.devices // len(bound)) if bound else settings.devices
            cores = widest = max(1, widest // sharing)
        if scenario.is_stream:
            batches = 1
        elif settings.device == "cuda":
            batches = _GPU_REPLICAS
        else:
            batches = max(1, cores // _CORES_A_BATCH[variant])
        replicas = settings.replicas or batches
        return cls(replicas, settings.threads or max(1, min(cores // replicas, widest)))
