"""Processors and memory: what makes them slow, or slow at times."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mlpinf_core.preflight import Check, CheckState
from mlpinf_core.systems.facts import field
from mlpinf_core.systems.host import UnavailableError
from mlpinf_core.systems.matching import readable_memory

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mlpinf_core.systems.facts import Facts
    from mlpinf_core.systems.host import Host

_HUGE_PAGES: Final = "/sys/kernel/mm/transparent_hugepage/enabled"
_BALANCING: Final = "/proc/sys/kernel/numa_balancing"
_BUSY: Final = 0.1
"""Share of the processors that other work may take before it is told."""


def check_processors(host: Host, facts: Facts) -> Iterator[Check]:
    """Governor, other work, automatic NUMA balancing."""
    yield _governor(facts)
    yield _load(host, facts)
    if (facts.number("numa.nodes") or 1) > 1:
        yield _balancing(host)


def check_memory(host: Host, facts: Facts) -> Iterator[Check]:
    """Swap and huge pages."""
    yield _swap(host, facts)
    yield _huge_pages(host)


def _governor(facts: Facts) -> Check:
    name, governor = "governor", facts["cpu.governor"]
    if governor.value is None:
        return Check(name, CheckState.UNKNOWN, f"not to be seen: {governor.why}")
    if governor.value == "performance":
        return Check(name, CheckState.OK, "performance")
    return Check(
        name,
        CheckState.WARNING,
        f"{governor.value}: processors slow down between queries",
        "`cpupower frequency-set -g performance`, as root",
    )


def _load(host: Host, facts: Facts) -> Check:
    name, threads = "other work", facts.number("cpu.threads") or 1
    try:
        load = float(host.read("/proc/loadavg").split()[0])
    except (UnavailableError, ValueError, IndexError) as error:
        return Check(name, CheckState.UNKNOWN, f"/proc/loadavg: {error}")
    detail = f"load of {load:g} on {threads:g} processors in the last minute"
    if load <= max(1.0, _BUSY * threads):
        return Check(name, CheckState.OK, detail)
    return Check(name, CheckState.WARNING, detail, "stop what else is running: see `top`")


def _balancing(host: Host) -> Check:
    name = "NUMA balancing"
    try:
        on = host.read(_BALANCING) != "0"
    except UnavailableError as error:
        return Check(name, CheckState.UNKNOWN, f"{_BALANCING}: {error}")
    if not on:
        return Check(name, CheckState.OK, "off")
    return Check(
        name,
        CheckState.WARNING,
        "on: the kernel moves pages between nodes while a run is on",
        "`sysctl kernel.numa_balancing=0`, as root",
    )


def _swap(host: Host, facts: Facts) -> Check:
    name, swap = "swap", facts["memory.swap_bytes"]
    if swap.value is None:
        return Check(name, CheckState.UNKNOWN, f"{swap.source}: {swap.why}")
    if not swap.value:
        return Check(name, CheckState.OK, "none")
    try:
        free = 1024 * int((field(host.read("/proc/meminfo"), "SwapFree") or "0").split()[0])
    except (UnavailableError, ValueError):
        free = 0
    total = int(facts.number("memory.swap_bytes") or 0)
    detail = f"{readable_memory(total)}, {readable_memory(max(0, total - free))} of it in use"
    return Check(name, CheckState.WARNING, detail, "`swapoff -a`, as root, for the time of a run")


def _huge_pages(host: Host) -> Check:
    name = "huge pages"
    try:
        text = host.read(_HUGE_PAGES)
    except UnavailableError as error:
        return Check(name, CheckState.UNKNOWN, f"{_HUGE_PAGES}: {error}")
    if "[never]" not in text:
        return Check(name, CheckState.OK, f"transparent: {text}")
    return Check(
        name,
        CheckState.WARNING,
        "transparent ones are off",
        f"`echo madvise > {_HUGE_PAGES}`, as root",
    )
