"""The log-mel spectrogram, Whisper's input: NumPy and SciPy, float32, a batch at a time.

The definition is OpenAI's (``whisper/audio.py``): a short-time Fourier transform with a periodic
Hann window of 400 samples every 160, reflected at the ends, power, Slaney-normalised mel filters
on Slaney's mel scale, log10 clamped at 1e-10, nothing more than 8 below the clip's maximum, then
``(x + 4) / 4``. A clip is padded with zeros to 30 s first, which the benchmark's rules demand.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

SAMPLE_RATE: Final = 16_000
"""Hz."""
N_FFT: Final = 400
"""Samples in a window, 25 ms."""
HOP: Final = 160
"""Samples from one window to the next, 10 ms."""
N_SAMPLES: Final = 30 * SAMPLE_RATE
"""Samples that the model hears at once."""
FRAMES: Final = N_SAMPLES // HOP
"""Frames of a spectrogram."""

_SILENCE: Final = np.float32(1e-10)
_LOG_SILENCE: Final = np.float32(-10.0)
_RANGE: Final = np.float32(8.0)
_SHIFT: Final = np.float32(4.0)
_PAD: Final = N_FFT // 2

#: Slaney's mel scale: linear up to 1000 Hz, where 15 mels lie, logarithmic above.
_LINEAR_HZ: Final = 200 / 3
_KNEE_HZ: Final = 1000.0
_KNEE_MEL: Final = _KNEE_HZ / _LINEAR_HZ
_LOG_STEP: Final = np.log(6.4) / 27.0


def _hz_to_mel(hz: float) -> float:
    if hz < _KNEE_HZ:
        return hz / _LINEAR_HZ
    return float(_KNEE_MEL + np.log(hz / _KNEE_HZ) / _LOG_STEP)


def _mel_to_hz(mels: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    above = _KNEE_HZ * np.exp(_LOG_STEP * (mels - _KNEE_MEL))
    return np.where(mels < _KNEE_MEL, mels * _LINEAR_HZ, above)


@functools.cache
def mel_filters(n_mels: int) -> npt.NDArray[np.float32]:
    """The filters, float32 [n_mels, 201]: triangles of equal area from 0 Hz to 8 kHz."""
    centres = np.fft.rfftfreq(N_FFT, 1 / SAMPLE_RATE)
    corners = _mel_to_hz(np.linspace(0.0, _hz_to_mel(SAMPLE_RATE / 2), n_mels + 2))
    left, centre, right = corners[:-2, None], corners[1:-1, None], corners[2:, None]
    rising = (centres - left) / (centre - left)
    falling = (right - centres) / (right - centre)
    triangles = np.maximum(0.0, np.minimum(rising, falling))
    return np.asarray(triangles * (2.0 / (right - left)), dtype=np.float32)


@functools.cache
def window() -> npt.NDArray[np.float32]:
    """The periodic Hann window, float32 [400]."""
    return (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(N_FFT) / N_FFT)).astype(np.float32)


def log_mel(waveforms: Sequence[npt.NDArray[np.int16]], n_mels: int) -> npt.NDArray[np.float32]:
    """The spectrograms of clips.

    Args:
        waveforms: int16 [samples] each, mono, 16 kHz, at most 30 s.
        n_mels: 80 or 128, what the model was trained on.

    Returns:
        float32 [clips, n_mels, 3000], in C order.

    Raises:
        ValueError: a clip is longer than 30 s.
    """
    features = np.empty((len(waveforms), n_mels, FRAMES), dtype=np.float32)
    for waveform, feature in zip(waveforms, features, strict=True):
        _log_mel(waveform, feature)
    return features


def _log_mel(waveform: npt.NDArray[np.int16], out: npt.NDArray[np.float32]) -> None:
    """One spectrogram, written into ``out``.

    Frames that hear only the padding are all zeros, whose logarithm is the floor's: they are
    filled in rather than transformed, which gives the same numbers.
    """
    from scipy import fft

    if len(waveform) > N_SAMPLES:
        raise ValueError(f"a clip of {len(waveform) / SAMPLE_RATE:.2f} s; the model hears 30 s")
    heard = min(FRAMES, -(-(len(waveform) + _PAD) // HOP))
    frames = sliding_window_view(_padded(waveform), N_FFT)[::HOP][:heard]
    spectrum = fft.rfft(frames * window(), axis=-1)
    mels = mel_filters(len(out)) @ (spectrum.real**2 + spectrum.imag**2).T
    np.log10(np.maximum(mels, _SILENCE, out=mels), out=mels)
    loudest = np.max(mels, initial=_LOG_SILENCE)
    lowest = loudest - _RANGE
    out[:, :heard] = (np.maximum(mels, lowest) + _SHIFT) / _SHIFT
    out[:, heard:] = (max(_LOG_SILENCE, lowest) + _SHIFT) / _SHIFT


def _padded(waveform: npt.NDArray[np.int16]) -> npt.NDArray[np.float32]:
    """The clip in 30 s of silence, mirrored at both ends as the centred windows want it."""
    samples = np.zeros(_PAD + N_SAMPLES + _PAD, dtype=np.float32)
    np.multiply(waveform, np.float32(1 / 32768), out=samples[_PAD : _PAD + len(waveform)])
    samples[:_PAD] = samples[2 * _PAD : _PAD : -1]
    samples[-_PAD:] = samples[-_PAD - 2 : -2 * _PAD - 2 : -1]
    return samples
