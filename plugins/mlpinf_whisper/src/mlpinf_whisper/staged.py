"""What the backends have in common: three stages, and how many batches are decoded at a time."""

from __future__ import annotations

import abc
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final

import attrs
import numpy as np

from mlpinf_core.machine import usable_processors
from mlpinf_core.vocabulary import Variant
from mlpinf_whisper import text
from mlpinf_whisper.samples import AudioSamples

if TYPE_CHECKING:
    import numpy.typing as npt

    from mlpinf_core.context import Run
    from mlpinf_core.protocols import Outputs

_WARM_UP: Final = 2
"""Clips in a warm-up batch on a CPU."""
_CORES_A_BATCH: Final = {Variant.TINY: 1, Variant.FULL: 8}
"""Cores that a batch is computed with on a CPU. The tiny model's small products leave a core idle
now and then, so two batches on a core each are faster than one on two (measured); a batch of the
full one takes gigabytes, and keeps more cores busy."""


@attrs.frozen
class Split:
    """How the cores are shared.

    Attributes:
        replicas: batches that are decoded at the same time.
        threads: that each of them is computed with.
    """

    replicas: int
    threads: int

    @classmethod
    def of(cls, run: Run, device: str) -> Split:
        """As the settings say, or else as suits the run.

        Where there is one query at a time there is one batch, and all cores work on it.
        """
        settings = run.config.backend
        cores = usable_processors()
        one = run.workload.scenario.is_stream or device == "cuda"
        batches = 1 if one else max(1, cores // _CORES_A_BATCH[run.workload.variant])
        if device == "cpu":
            batches = max(batches, run.config.sut.workers)
        replicas = settings.replicas or batches
        return cls(replicas, settings.threads or max(1, cores // replicas))


@attrs.define(eq=False)
class StagedBackend(abc.ABC):
    """A model and the clips it hears. Thread-safe: ``replicas`` batches at the same time.

    The stages are methods of their own, so that a pipeline overlaps those of consecutive batches.

    Attributes:
        samples: the clips.
        max_output_tokens: most tokens generated for a clip.
        device: ``cpu`` or ``cuda``.
        replicas: batches that may be in :meth:`generate` at the same time.
        threads: that each of them is computed with on a CPU.
    """

    samples: AudioSamples
    max_output_tokens: int
    device: str
    replicas: int
    threads: int
    _tokenizer: text.WhisperTokenizer | None = attrs.field(default=None, kw_only=True)

    @abc.abstractmethod
    def load(self) -> None:
        """Load the model and its tokenizer."""

    @abc.abstractmethod
    def close(self) -> None:
        """Free everything."""

    @abc.abstractmethod
    def features(self, indices: npt.NDArray[np.int64]) -> Any:
        """Spectrograms of clips, float32 [n, mels, 3000], as :meth:`generate` takes them."""

    @abc.abstractmethod
    def generate(self, features: Any) -> list[npt.NDArray[np.int32]]:
        """What the model hears: ids of text, int32 [tokens] for each clip."""

    def outputs(self, answers: list[npt.NDArray[np.int32]]) -> Outputs:
        """Answers as responses."""
        return text.outputs(self.tokenizer, answers, self.max_output_tokens)

    def infer(self, indices: npt.NDArray[np.int64]) -> Outputs:
        """All three stages, one after the other."""
        return self.outputs(self.generate(self.features(indices)))

    def warm_up(self) -> None:
        """A small batch on every replica."""
        indices = np.arange(min(_WARM_UP, len(self.samples)))
        with ThreadPoolExecutor(self.replicas) as pool:
            list(pool.map(lambda _: self.infer(indices), range(self.replicas)))

    @property
    def tokenizer(self) -> text.WhisperTokenizer:
        """Of the model.

        Raises:
            RuntimeError: nothing has been loaded yet.
        """
        if self._tokenizer is None:
            raise RuntimeError("the backend is used before it was loaded")
        return self._tokenizer
