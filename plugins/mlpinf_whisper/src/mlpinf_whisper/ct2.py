"""The ``ctranslate2`` backend: one engine in process, batches of clips, greedy decoding."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import attrs
import numpy as np

from mlpinf_core.errors import BackendError
from mlpinf_core.machine import usable_processors
from mlpinf_whisper import mel, text
from mlpinf_whisper.samples import AudioSamples

if TYPE_CHECKING:
    import numpy.typing as npt

    from mlpinf_core.context import Run
    from mlpinf_core.protocols import Outputs
    from mlpinf_whisper.benchmarks import CTranslate2Settings

_WARM_UP: Final = 2
"""Clips in the warm-up batch."""


def make(run: Run, samples: AudioSamples, engine: Path) -> CTranslate2Backend:
    """The backend of a run.

    Two batches on a core each are faster than one on two: the decoder's small products leave a
    core idle now and then. Where there is one query at a time there is one batch, and all cores
    work on it.
    """
    settings: CTranslate2Settings = run.config.backend
    device = _device(settings.device)
    cores = usable_processors()
    one = run.workload.scenario.is_stream or device == "cuda"
    replicas = settings.replicas or (1 if one else cores)
    compute_type = settings.compute_type
    if compute_type == "auto":
        compute_type = "float16" if device == "cuda" else "int8"
    return CTranslate2Backend(
        engine=engine,
        samples=samples,
        max_output_tokens=run.config.benchmark.max_output_tokens,
        device=device,
        compute_type=compute_type,
        replicas=replicas,
        threads=settings.threads or max(1, cores // replicas),
    )


def _device(wanted: str) -> str:
    if wanted != "auto":
        return wanted
    import ctranslate2

    return "cuda" if ctranslate2.get_cuda_device_count() else "cpu"


@attrs.define(eq=False)
class CTranslate2Backend:
    """An engine and the clips it hears. Thread-safe: ``replicas`` batches at the same time.

    Its three stages are methods of their own, so that a pipeline overlaps them.
    """

    engine: Path
    samples: AudioSamples
    max_output_tokens: int
    device: str
    compute_type: str
    replicas: int
    threads: int
    _model: Any = None
    _tokenizer: text.WhisperTokenizer | None = None

    def load(self) -> None:
        """Load the engine and its tokenizer."""
        import ctranslate2

        self._tokenizer = text.WhisperTokenizer.load(self.engine)
        try:
            self._model = ctranslate2.models.Whisper(
                str(self.engine),
                device=self.device,
                compute_type=self.compute_type,
                inter_threads=self.replicas,
                intra_threads=self.threads,
            )
        except (RuntimeError, ValueError) as error:
            raise BackendError(
                f"CTranslate2 cannot load the engine: {error}",
                where=str(self.engine),
                remedy="if the files are damaged, fetch or convert the model again",
            ) from error

    def warm_up(self) -> None:
        """A small batch on every replica."""
        indices = np.arange(min(_WARM_UP, len(self.samples)))
        with ThreadPoolExecutor(self.replicas) as pool:
            list(pool.map(lambda _: self.infer(indices), range(self.replicas)))

    def close(self) -> None:
        """Free the engine."""
        self._model = None

    def features(self, indices: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        """Spectrograms of clips, float32 [n, mels, 3000]."""
        waveforms = [self.samples.waveform(int(index)) for index in indices]
        return mel.log_mel(waveforms, self._model.n_mels)

    def generate(self, features: npt.NDArray[np.float32]) -> list[npt.NDArray[np.int32]]:
        """What the model hears: ids of text, int32 [tokens] for each clip."""
        import ctranslate2

        tokenizer = self._ready()
        results = self._model.generate(
            ctranslate2.StorageView.from_array(features),
            [list(tokenizer.prompt)] * len(features),
            beam_size=1,
            max_length=2 * self.max_output_tokens,  # CTranslate2 gives the answer half of it
        )
        return [np.array(result.sequences_ids[0], dtype=np.int32) for result in results]

    def outputs(self, answers: list[npt.NDArray[np.int32]]) -> Outputs:
        """Answers as responses."""
        return text.outputs(self._ready(), answers)

    def infer(self, indices: npt.NDArray[np.int64]) -> Outputs:
        """All three stages, one after the other."""
        return self.outputs(self.generate(self.features(indices)))

    def _ready(self) -> text.WhisperTokenizer:
        if self._tokenizer is None:
            raise RuntimeError("the backend is used before it was loaded")
        return self._tokenizer
