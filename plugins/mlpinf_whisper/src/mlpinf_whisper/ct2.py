"""The ``ctranslate2`` backend: one engine in process, batches of clips, greedy decoding."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

from mlpinf_core.errors import BackendError, ConfigurationError, PrerequisiteError
from mlpinf_whisper import mel, text
from mlpinf_whisper.staged import Split, StagedBackend

if TYPE_CHECKING:
    import numpy.typing as npt

    from mlpinf_core.context import Run
    from mlpinf_whisper.benchmarks import CTranslate2Settings
    from mlpinf_whisper.samples import AudioSamples


def make(run: Run, samples: AudioSamples, engine: Path) -> CTranslate2Backend:
    """The backend of a run.

    Raises:
        PrerequisiteError: a CUDA device is asked for, and there is none.
        ConfigurationError: the device does not compute in the type that is asked for.
    """
    settings: CTranslate2Settings = run.config.backend
    device = _device(settings.device)
    split = Split.of(run, device)
    return CTranslate2Backend(
        engine=engine,
        samples=samples,
        max_output_tokens=run.config.benchmark.max_output_tokens,
        device=device,
        compute_type=_compute_type(settings.compute_type, device),
        replicas=split.replicas,
        threads=split.threads,
    )


def _device(wanted: str) -> str:
    if wanted == "cpu":
        return wanted
    import ctranslate2

    if ctranslate2.get_cuda_device_count():
        return "cuda"
    if wanted == "auto":
        return "cpu"
    raise PrerequisiteError(
        "CTranslate2 finds no CUDA device",
        where="backend.device",
        remedy="check the driver, or set backend.device to cpu",
    )


def _compute_type(wanted: str, device: str) -> str:
    import ctranslate2

    if wanted == "auto":
        wanted = "float16" if device == "cuda" else "int8"
    supported = ctranslate2.get_supported_compute_types(device)
    if wanted not in supported:
        raise ConfigurationError(
            f"CTranslate2 does not compute in {wanted} on this {device}",
            where="backend.compute_type",
            remedy=f"set it to auto or one of {', '.join(sorted(supported))}",
        )
    return wanted


@attrs.define(eq=False, kw_only=True)
class CTranslate2Backend(StagedBackend):
    """An engine and the clips it hears.

    Attributes:
        engine: a folder in CTranslate2's format.
        compute_type: what it computes with.
    """

    engine: Path
    compute_type: str
    _model: Any = None

    def load(self) -> None:
        """Load the engine and its tokenizer.

        Raises:
            BackendError: the engine cannot be loaded.
        """
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

    def close(self) -> None:
        """Free the engine."""
        self._model = None

    def features(self, indices: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        """Spectrograms of clips, float32 [n, mels, 3000]."""
        waveforms = [self.samples.waveform(int(index)) for index in indices]
        return mel.log_mel(waveforms, self._loaded().n_mels)

    def generate(self, features: npt.NDArray[np.float32]) -> list[npt.NDArray[np.int32]]:
        """What the model hears: ids of text, int32 [tokens] for each clip."""
        import ctranslate2

        results = self._loaded().generate(
            ctranslate2.StorageView.from_array(features),
            [list(self.tokenizer.prompt)] * len(features),
            beam_size=1,
            max_length=2 * self.max_output_tokens,  # CTranslate2 gives the answer half of it
        )
        return [np.array(result.sequences_ids[0], dtype=np.int32) for result in results]

    def _loaded(self) -> Any:
        if self._model is None:
            raise RuntimeError("the backend is used before it was loaded")
        return self._model
