"""The log-mel spectrogram on a torch device; :mod:`mlpinf_whisper.mel` says what it is.

The clips go to the device as the 16-bit samples that they are, through pinned memory.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final

import torch

from mlpinf_whisper.mel import FRAMES, HOP, N_FFT, N_SAMPLES, SAMPLE_RATE, mel_filters, window
from mlpinf_whisper.torch_stream import SideStream

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import numpy.typing as npt

_AT_A_TIME: Final = 32
"""Clips whose spectra are in memory at the same time; 20 MB each."""


class LogMel:
    """Makes spectrograms. Thread-safe; one batch at a time, on CUDA in a stream of its own."""

    def __init__(self, n_mels: int, device: torch.device) -> None:
        """``n_mels`` is 80 or 128, what the model was trained on."""
        self._filters = torch.from_numpy(mel_filters(n_mels)).to(device)
        self._window = torch.from_numpy(window()).to(device)
        self._device = device
        self._lock = threading.Lock()
        self._stream = SideStream(device)
        self._staged = torch.zeros(
            (_AT_A_TIME, N_SAMPLES), dtype=torch.int16, pin_memory=device.type == "cuda"
        )

    def __call__(self, waveforms: Sequence[npt.NDArray[np.int16]]) -> torch.Tensor:
        """The spectrograms of clips.

        Args:
            waveforms: int16 [samples] each, mono, 16 kHz, at most 30 s.

        Returns:
            float32 [clips, n_mels, 3000] on the device, computed.

        Raises:
            ValueError: a clip is longer than 30 s.
        """
        shape = (len(waveforms), len(self._filters), FRAMES)
        with torch.inference_mode(), self._lock, self._stream.current():
            found = torch.empty(shape, device=self._device)
            for first in range(0, len(waveforms), _AT_A_TIME):
                part = waveforms[first : first + _AT_A_TIME]
                self._stage(part)
                clips = self._staged[: len(part)].to(self._device, non_blocking=True)
                found[first : first + len(part)] = self._log_mel(clips)
                self._stream.wait()
        return found

    def _stage(self, waveforms: Sequence[npt.NDArray[np.int16]]) -> None:
        """Put clips in the buffer, in 30 s of silence each."""
        for row, waveform in zip(self._staged.numpy(), waveforms, strict=False):
            if len(waveform) > N_SAMPLES:
                raise ValueError(
                    f"a clip of {len(waveform) / SAMPLE_RATE:.2f} s; the model hears 30 s"
                )
            row[: len(waveform)] = waveform
            row[len(waveform) :] = 0

    def _log_mel(self, waveforms: torch.Tensor) -> torch.Tensor:
        spectra = torch.stft(
            waveforms.to(torch.float32).mul_(1 / 32768),
            n_fft=N_FFT,
            hop_length=HOP,
            window=self._window,
            center=True,
            pad_mode="reflect",
            return_complex=True,
        )[..., :FRAMES]
        power = spectra.real.square() + spectra.imag.square()
        mels = torch.matmul(self._filters, power).clamp_(min=1e-10).log10_()
        loudest = mels.amax(dim=(1, 2), keepdim=True)
        return torch.maximum(mels, loudest - 8.0).add_(4.0).div_(4.0)
