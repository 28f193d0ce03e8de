"""The tiny variant's files and its backend, loaded once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from mlpinf_sdxl import tiny
from mlpinf_sdxl.training import making

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from mlpinf_sdxl.torch_backend import TorchBackend


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Threads that wait for each other take minutes where other tests run beside these."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def backend() -> TorchBackend:
    """The tiny pipeline in float32."""
    made = making.backend(tiny.folder())
    made.load()
    return made


@pytest.fixture(scope="session")
def images() -> npt.NDArray[np.uint8]:
    """What it makes of every caption."""
    return making.images(tiny.folder())
