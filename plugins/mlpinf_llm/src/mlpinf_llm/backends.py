"""The family's backends by name, and the two ways in which they are put behind LoadGen.

An *asynchronous* backend has an engine with a loop of its own, which takes samples as it has room
for them. Any other answers batches that are cut for it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlpinf_core.context import Run
    from mlpinf_core.protocols import Backend, Sut
    from mlpinf_core.suts.asynchronous import Engine
    from mlpinf_llm.ct2 import CTranslate2Backend
    from mlpinf_llm.samples import TokenSamples

_MODULES: Final[Mapping[str, str]] = {
    "ctranslate2": "mlpinf_llm.ct2",
    "openai": "mlpinf_llm.openai.backend",
    "simulator": "mlpinf_llm.simulator.backend",
    "triton": "mlpinf_llm.triton.backend",
    "trtllm": "mlpinf_llm.trtllm.backend",
    "vllm": "mlpinf_llm.vllm.backend",
}
"""Where each backend's ``make(run, samples)`` is; imported when it is chosen."""


@runtime_checkable
class AsyncBackend(Protocol):
    """A backend with an engine for :class:`~mlpinf_core.suts.asynchronous.AsyncSut`."""

    @property
    def engine(self) -> Engine:
        """What answers samples; there once the backend is loaded."""

    @property
    def concurrency(self) -> int:
        """Most samples that it has on their way at the same time."""


def make(run: Run, samples: TokenSamples) -> Backend:
    """The backend that the run names."""
    module: Any = importlib.import_module(_MODULES[run.config.run.backend])
    backend: Backend = module.make(run, samples)
    return backend


def sut_of(run: Run, backend: Any, samples: TokenSamples) -> Sut:
    """The SUT that suits a backend and the scenario."""
    if isinstance(backend, AsyncBackend):
        from mlpinf_core.suts.asynchronous import AsyncSut

        return AsyncSut(run.responder, backend.engine, concurrency=backend.concurrency)
    return _batches(run, backend, samples)


def _batches(run: Run, backend: CTranslate2Backend, samples: TokenSamples) -> Sut:
    """Batches in a queue; first tokens are reported where LoadGen asks for them."""
    import attrs

    from mlpinf_core.suts.batching import BatchingSut
    from mlpinf_core.suts.ordering import longest_first
    from mlpinf_core.suts.streaming import StreamingSut
    from mlpinf_core.vocabulary import Scenario

    settings = run.config.sut
    settings = attrs.evolve(settings, workers=max(settings.workers, backend.replicas))
    if run.workload.scenario.is_stream:
        settings = attrs.evolve(settings, max_wait_ms=0)  # nothing comes before this is answered
    if run.workload.scenario is Scenario.OFFLINE:
        # CTranslate2 takes prompts of different lengths token by token from the end of the shortest
        # on, so batches of nearly one length are faster (measured: 1.7 times).
        order = longest_first(samples.lengths)
        return BatchingSut(run.responder, backend.infer, settings, order=order)
    return StreamingSut(run.responder, backend.answer, settings)
