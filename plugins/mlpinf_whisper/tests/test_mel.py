"""The spectrogram is what independent implementations of Whisper's definition compute."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlpinf_whisper import mel

if TYPE_CHECKING:
    import numpy.typing as npt

TOLERANCE = 1e-4


def reference(waveform: npt.NDArray[np.int16], n_mels: int) -> npt.NDArray[np.float32]:
    """With PyTorch's transform and transformers' filters."""
    import torch
    from transformers.audio_utils import mel_filter_bank

    audio = np.zeros(mel.N_SAMPLES, dtype=np.float32)
    audio[: len(waveform)] = waveform.astype(np.float32) / 32768
    spectrum = torch.stft(
        torch.from_numpy(audio),
        n_fft=mel.N_FFT,
        hop_length=mel.HOP,
        window=torch.hann_window(mel.N_FFT),
        return_complex=True,
    )
    filters = mel_filter_bank(
        num_frequency_bins=1 + mel.N_FFT // 2,
        num_mel_filters=n_mels,
        min_frequency=0.0,
        max_frequency=8000.0,
        sampling_rate=mel.SAMPLE_RATE,
        norm="slaney",
        mel_scale="slaney",
    )
    power = spectrum[:, :-1].abs() ** 2
    mels = torch.from_numpy(filters.T.astype(np.float32)) @ power
    logarithm = torch.clamp(mels, min=1e-10).log10()
    logarithm = torch.maximum(logarithm, logarithm.max() - 8.0)
    found: npt.NDArray[np.float32] = ((logarithm + 4.0) / 4.0).numpy()
    return found


def noise(length: int, loudness: int, seed: int = 0) -> npt.NDArray[np.int16]:
    return np.random.default_rng(seed).integers(-loudness, loudness + 1, length).astype(np.int16)


@pytest.mark.parametrize("n_mels", [80, 128])
def test_the_filters_are_slaneys(n_mels: int) -> None:
    from transformers.audio_utils import mel_filter_bank

    theirs = mel_filter_bank(201, n_mels, 0.0, 8000.0, 16_000, norm="slaney", mel_scale="slaney")
    assert mel.mel_filters(n_mels).dtype == np.float32
    np.testing.assert_allclose(mel.mel_filters(n_mels), theirs.T, atol=1e-7)


@pytest.mark.parametrize("n_mels", [80, 128])
@pytest.mark.parametrize(
    "length",
    [1, 159, 160, 199, 201, 16_000, 479_700, 479_801, 479_999, 480_000],
)
def test_a_clip_of_any_length_is_transformed_as_by_pytorch(length: int, n_mels: int) -> None:
    clip = noise(length, 20_000, seed=length)
    found = mel.log_mel([clip], n_mels)
    assert found.shape == (1, n_mels, 3000)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found[0], reference(clip, n_mels), atol=TOLERANCE)


@settings(max_examples=20)
@given(
    length=st.integers(1, mel.N_SAMPLES),
    loudness=st.sampled_from([0, 1, 30, 3000, 32_767]),
    seed=st.integers(0, 100),
)
def test_a_clip_of_any_loudness_is_transformed_as_by_pytorch(
    length: int, loudness: int, seed: int
) -> None:
    clip = noise(length, loudness, seed)
    np.testing.assert_allclose(mel.log_mel([clip], 80)[0], reference(clip, 80), atol=TOLERANCE)


def test_a_tone_is_found_where_it_sounds() -> None:
    seconds = np.arange(mel.N_SAMPLES) / mel.SAMPLE_RATE
    tone = (10_000 * np.sin(2 * np.pi * 1000 * seconds)).astype(np.int16)
    loudest = mel.log_mel([tone], 80)[0].mean(axis=1).argmax()
    corners = np.flatnonzero(mel.mel_filters(80)[loudest]) * mel.SAMPLE_RATE / mel.N_FFT
    assert corners[0] - 40 <= 1000 <= corners[-1] + 40


def test_a_clip_is_the_same_in_every_batch() -> None:
    clips = [noise(length, 5000, seed=length) for length in (3000, 480_000, 100)]
    together = mel.log_mel(clips, 80)
    for clip, feature in zip(clips, together, strict=True):
        np.testing.assert_array_equal(mel.log_mel([clip], 80)[0], feature)


def test_a_clip_over_30_s_is_refused() -> None:
    with pytest.raises(ValueError, match=r"30\.00 s; the model hears 30 s"):
        mel.log_mel([noise(mel.N_SAMPLES + 1, 10)], 80)
