"""The spectrogram in torch: the same numbers as in NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mlpinf_whisper import mel

torch = pytest.importorskip("torch")
mel_torch = pytest.importorskip("mlpinf_whisper.mel_torch")

SECONDS = (30.0, 0.5, 12.345, 29.99, 0.0)


def clips() -> list[np.ndarray]:
    random = np.random.default_rng(2)
    made = [
        (random.normal(size=round(length * 16_000)) * 3000 * (1 + number)).clip(-32768, 32767)
        for number, length in enumerate(SECONDS)
    ]
    return [clip.astype(np.int16) for clip in made]


@pytest.mark.parametrize("n_mels", [80, 128])
def test_the_numbers_are_numpys(n_mels: int) -> None:
    found = mel_torch.LogMel(n_mels, torch.device("cpu"))(clips())
    assert found.shape == (len(SECONDS), n_mels, 3000)
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found.numpy(), mel.log_mel(clips(), n_mels), atol=1e-4)


def test_a_long_clip_leaves_nothing_behind_for_a_short_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(mel_torch, "_AT_A_TIME", 2)
    log_mel = mel_torch.LogMel(80, torch.device("cpu"))
    for order in (clips(), clips()[::-1]):
        np.testing.assert_allclose(log_mel(order).numpy(), mel.log_mel(order, 80), atol=1e-4)


def test_a_clip_of_more_than_30_s_is_refused() -> None:
    with pytest.raises(ValueError, match=r"30\.00 s; the model hears 30 s"):
        mel_torch.LogMel(80, torch.device("cpu"))([np.zeros(480_001, dtype=np.int16)])


@pytest.mark.gpu
def test_a_gpu_computes_the_same() -> None:
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    found: Any = mel_torch.LogMel(128, torch.device("cuda"))(clips())
    np.testing.assert_allclose(found.cpu().numpy(), mel.log_mel(clips(), 128), atol=1e-4)
