"""A device that is too small is told from every other failure, with what to lower."""

from __future__ import annotations

import pytest
import torch

from mlpinf_core.errors import BackendError
from mlpinf_sdxl import tiny
from mlpinf_sdxl.torch_backend import TorchBackend
from mlpinf_sdxl.training import making


def load_failing(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fail(_: TorchBackend) -> None:
        raise error

    monkeypatch.setattr(TorchBackend, "_set_up", fail)
    making.backend(tiny.folder()).load()


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: 9 bytes"),
        BackendError("CUDA failed: cudaErrorMemoryAllocation: out of memory"),
        BackendError("TensorRT cannot load the engine unet: OutOfMemory (Requested size was 9)"),
    ],
)
def test_too_little_memory_names_what_to_lower(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    with pytest.raises(BackendError, match="too small for batches of 8") as caught:
        load_failing(monkeypatch, error)

    assert "lower sut.max_batch_size" in (caught.value.remedy or "")


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("CUDA error: an illegal memory access was encountered"),
        BackendError("the engine unet was built by another TensorRT", remedy="build it again"),
    ],
)
def test_another_failure_stays_what_it_is(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    with pytest.raises(type(error)) as caught:
        load_failing(monkeypatch, error)

    assert caught.value is error
