"""The ``torch`` backend: Hugging Face's Whisper in process, batches of clips, greedy decoding."""

from __future__ import annotations

import queue
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
import numpy.typing as npt

from mlpinf_core.errors import BackendError, ConfigurationError, PrerequisiteError
from mlpinf_whisper import hf_checkpoint, mel, text
from mlpinf_whisper.staged import Split, StagedBackend
from mlpinf_whisper.torch_settings import TorchSettings

if TYPE_CHECKING:
    from mlpinf_core.context import Run
    from mlpinf_whisper.greedy import Decoding, GreedyDecoder
    from mlpinf_whisper.samples import AudioSamples
    from mlpinf_whisper.torch_whisper import Decoder, Encoder


def make(run: Run, samples: AudioSamples, checkpoint: Path) -> TorchBackend:
    """The backend of a run.

    Raises:
        PrerequisiteError: a CUDA device is asked for, and there is none.
        ConfigurationError: the device does not compute in the type that is asked for.
    """
    settings: TorchSettings = run.config.backend
    device = _device(settings.device)
    dtype = settings.dtype
    if dtype == "auto":
        dtype = "float16" if device == "cuda" else "float32"
    if device == "cpu" and dtype == "float16":
        raise ConfigurationError(
            "the torch backend does not compute in float16 on a CPU",
            where="backend.dtype",
            remedy="set it to auto, float32 or bfloat16",
        )
    split = Split.of(run, device)
    return TorchBackend(
        checkpoint=checkpoint,
        samples=samples,
        settings=settings,
        max_output_tokens=run.config.benchmark.max_output_tokens,
        max_batch_size=run.config.sut.max_batch_size,
        device=device,
        dtype=dtype,
        replicas=split.replicas,
        threads=split.threads,
    )


def _device(wanted: str) -> str:
    if wanted == "cpu":
        return wanted
    import torch

    if torch.cuda.is_available():
        return "cuda"
    if wanted == "auto":
        return "cpu"
    raise PrerequisiteError(
        "PyTorch finds no CUDA device",
        where="backend.device",
        remedy="check the driver and that PyTorch was built for CUDA, or set backend.device to cpu",
    )


@attrs.define(eq=False, kw_only=True)
class TorchBackend(StagedBackend):
    """A model and the clips it hears.

    Attributes:
        checkpoint: a folder in Hugging Face's format.
        settings: of the backend.
        max_batch_size: clips that there is room for.
        dtype: what it computes in.
    """

    checkpoint: Path
    settings: TorchSettings
    max_batch_size: int
    dtype: str
    _log_mel: Callable[[Sequence[npt.NDArray[np.int16]]], Any] | None = None
    _idle: queue.SimpleQueue[Any] = attrs.field(factory=queue.SimpleQueue)

    def load(self) -> None:
        """Load the model, make room for the largest batch, and record the decoder's steps.

        Raises:
            BackendError: the checkpoint cannot be loaded, or the device has too little memory.
        """
        import torch

        self._tokenizer = text.WhisperTokenizer.load(self.checkpoint)
        torch.set_num_threads(self.threads)
        try:
            self._set_up(self._tokenizer)
        except RuntimeError as error:  # on CUDA a subclass of it; on a CPU only the text tells
            if not isinstance(error, torch.OutOfMemoryError) and "memory" not in str(error):
                raise
            raise BackendError(
                f"the device's memory is too small for {self.replicas} batches of "
                f"{self.max_batch_size}: {error}",
                where="sut.max_batch_size",
                remedy="lower sut.max_batch_size or backend.replicas",
            ) from error

    def _set_up(self, tokenizer: text.WhisperTokenizer) -> None:
        from mlpinf_whisper.greedy import Decoding
        from mlpinf_whisper.torch_whisper import Decoder, Encoder

        model = self._load_model()
        config = self._generation()
        decoding = Decoding(
            prompt=tokenizer.prompt,
            end_token=tokenizer.end,
            suppress=tuple(config.get("suppress_tokens") or ()),
            suppress_first=tuple(config.get("begin_suppress_tokens") or ()),
            max_tokens=self.max_output_tokens,
            max_batch_size=self.max_batch_size,
            encoder_batch_size=self.settings.encoder_batch_size,
            cuda_graphs=self.settings.cuda_graphs,
            stop_check_steps=self.settings.stop_check_steps,
        )
        encoder, decoder = Encoder(model), Decoder(model)
        if decoding.length > decoder.max_positions:
            raise ConfigurationError(
                f"{len(decoding.prompt)} tokens of prompt and {decoding.max_tokens} of text are "
                f"more than the model's {decoder.max_positions} positions",
                where="benchmark.max_output_tokens",
                remedy=f"set it to {decoder.max_positions - len(decoding.prompt)} at most",
            )
        self._log_mel = self._features_of(model.config.num_mel_bins)
        for _ in range(self.replicas):
            replica = self._new_decoder(encoder, decoder, decoding)
            replica.record()
            self._idle.put(replica)

    def _generation(self) -> dict[str, Any]:
        """The checkpoint's generation configuration."""
        return hf_checkpoint.read_json(self.checkpoint / hf_checkpoint.GENERATION_CONFIG)

    def _new_decoder(self, encoder: Encoder, decoder: Decoder, decoding: Decoding) -> GreedyDecoder:
        """One that decodes a batch at a time."""
        from mlpinf_whisper.greedy import GreedyDecoder

        return GreedyDecoder(encoder, decoder, decoding)

    def _load_model(self) -> Any:
        import torch
        import transformers
        from safetensors import SafetensorError

        logging: Any = transformers.utils.logging
        logging.disable_progress_bar()
        try:
            model: Any = transformers.WhisperForConditionalGeneration.from_pretrained(
                self.checkpoint,
                dtype=getattr(torch, self.dtype),
                local_files_only=True,
                use_safetensors=True,
            )
        except (SafetensorError, RuntimeError, ValueError, OSError) as error:
            raise BackendError(
                f"the checkpoint cannot be loaded: {error}",
                where=str(self.checkpoint),
                remedy="if the files are damaged, fetch the model again",
            ) from error
        return model.to(self.device)

    def _features_of(self, n_mels: int) -> Callable[[Sequence[npt.NDArray[np.int16]]], Any]:
        """NumPy on a CPU, where it is the faster; torch on CUDA."""
        import torch

        if self.device == "cuda":
            from mlpinf_whisper.mel_torch import LogMel

            return LogMel(n_mels, torch.device(self.device))
        return lambda waveforms: torch.from_numpy(mel.log_mel(waveforms, n_mels))

    def close(self) -> None:
        """Free the model and what was made room for."""
        self._log_mel = None
        self._idle = queue.SimpleQueue()

    def features(self, indices: npt.NDArray[np.int64]) -> Any:
        """Spectrograms of clips, a float32 tensor [n, mels, 3000] on the device, computed."""
        if self._log_mel is None:
            raise RuntimeError("the backend is used before it was loaded")
        return self._log_mel([self.samples.waveform(int(index)) for index in indices])

    def generate(self, features: Any) -> list[npt.NDArray[np.int32]]:
        """What the model hears: ids of text, int32 [tokens] for each clip."""
        import torch

        torch.set_num_threads(self.threads)  # it is a setting of the calling thread
        replica = self._idle.get()
        try:
            answers: list[npt.NDArray[np.int32]] = replica.generate(features)
        finally:
            self._idle.put(replica)
        return answers
