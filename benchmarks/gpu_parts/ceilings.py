"""What a device does at most, measured: bytes copied and matrix operations a second."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Any

import attrs
import torch

if TYPE_CHECKING:
    from collections.abc import Callable


@attrs.frozen
class Ceilings:
    """Of a device.

    Attributes:
        bytes_per_second: of a copy, read and written bytes both counted.
        operations_per_second: of a product of two large float16 matrices of random numbers.
    """

    bytes_per_second: float
    operations_per_second: float

    def seconds(self, moved: float, operations: float) -> float:
        """The least time for so many bytes and operations, where both overlap."""
        return max(moved / self.bytes_per_second, operations / self.operations_per_second)


def measured(device: torch.device) -> Ceilings:
    """Measure them; small ones where there is no CUDA device."""
    cuda = device.type == "cuda"
    size, side = (1 << 32, 8192) if cuda else (1 << 22, 128)
    source = torch.empty(size, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    a, b = (torch.randn((side, side), device=device).half() for _ in range(2))
    return Ceilings(
        2 * size / timed(lambda: target.copy_(source), device),
        2 * side**3 / timed(lambda: a @ b, device),
    )


def timed(work: Callable[[], Any], device: torch.device, times: int = 10) -> float:
    """The median of the seconds that work takes on a device, after two runs that do not count."""
    for _ in range(2):
        work()
    if device.type != "cuda":
        import time

        found = []
        for _ in range(times):
            started = time.perf_counter()
            work()
            found.append(time.perf_counter() - started)
        return statistics.median(found)
    events = [[torch.cuda.Event(enable_timing=True) for _ in range(2)] for _ in range(times)]
    for begin, end in events:
        begin.record()
        work()
        end.record()
    torch.cuda.synchronize()
    return statistics.median(begin.elapsed_time(end) for begin, end in events) / 1000
