"""A CUDA stream of one's own, or nothing where the device is a CPU."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch


class SideStream:
    """What is computed in it waits for nothing that other threads compute."""

    def __init__(self, device: torch.device) -> None:
        """On a CPU there are no streams: everything is computed when it is called."""
        cuda: Any = torch.cuda
        self.stream = cuda.Stream(device) if device.type == "cuda" else None
        """Of CUDA; None on a CPU."""

    def current(self) -> AbstractContextManager[Any]:
        """While it is entered, this thread computes in the stream."""
        return nullcontext() if self.stream is None else torch.cuda.stream(self.stream)

    def wait(self) -> None:
        """Return when all that was put in it has been computed."""
        if self.stream is not None:
            self.stream.synchronize()
