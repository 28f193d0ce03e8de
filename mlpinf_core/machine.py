"""What this process may use of the machine: processors and memory, container limits included."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

_CGROUP: Final = Path("/sys/fs/cgroup")
_MOST_NUMBERS: Final = 1 << 16
"""More processors than any kernel is built for; a longer list is a typing error."""


def usable_processors() -> int:
    """Processors that this process may run on: its affinity, and its container's quota."""
    if hasattr(os, "sched_getaffinity"):
        count = len(os.sched_getaffinity(0))
    else:
        count = os.cpu_count() or 1
    quota, _, period = _read(_CGROUP / "cpu.max").partition(" ")
    if quota.isdigit() and period.isdigit() and int(period) > 0:
        count = min(count, math.ceil(int(quota) / int(period)))
    return max(1, count)


def available_memory() -> int | None:
    """Bytes that can be had without swapping; None where the system does not say."""
    lines = _read(Path("/proc/meminfo")).splitlines()
    found = [1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")]
    limit, used = _read(_CGROUP / "memory.max"), _read(_CGROUP / "memory.current")
    if limit.isdigit() and used.isdigit():
        found.append(max(0, int(limit) - int(used)))
    return min(found) if found else None


def total_memory() -> int | None:
    """Bytes of the whole machine; None where the system does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return None


def number_list(text: str) -> list[int]:
    """The numbers of a list as the kernel writes it: ``0-3,8`` is 0, 1, 2, 3 and 8.

    Raises:
        ValueError: it is not such a list.
    """
    found: list[int] = []
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        first, dash, last = part.partition("-")
        if not (first.isdecimal() and (last.isdecimal() or not dash)):
            raise ValueError(f"{part!r} is neither a number nor a range such as 0-3")
        low, high = int(first), int(last or first)
        if high < low or high >= _MOST_NUMBERS:
            raise ValueError(f"{part!r} is not a range of numbers below {_MOST_NUMBERS}")
        found += range(low, high + 1)
    return found


def number_text(numbers: Iterable[int]) -> str:
    """Numbers as such a list: the inverse of :func:`number_list`, sorted."""
    runs: list[list[int]] = []
    for number in sorted(set(numbers)):
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ",".join(str(low) if low == high else f"{low}-{high}" for low, high in runs)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""
