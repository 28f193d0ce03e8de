"""Binding processes and threads to processors, and processes to the memory of NUMA nodes.

Linux only; where the system has no such thing, what was asked for is said to be not applied.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import attrs

from mlpinf_core.errors import ConfigurationError
from mlpinf_core.machine import number_list, number_text

if TYPE_CHECKING:
    from collections.abc import Iterable

_NODES: Final = Path("/sys/devices/system/node")
_NODE: Final = "node:"
"""In a list of processors, what comes before the number of a NUMA node: all of its processors."""


@attrs.frozen
class Binding:
    """What a process was bound to.

    Attributes:
        cpus: its processors, as a list (``0-31``); None where it was not bound.
        memory_nodes: the NUMA nodes that it takes memory from; None likewise.
        not_applied: what was asked for and not done, with the reason; empty where all was done.
    """

    cpus: str | None = None
    memory_nodes: str | None = None
    not_applied: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for ``run.json``."""
        return attrs.asdict(self)


def check_cpu_list(text: str) -> None:
    """Refuse what is not a list of processors: ``0-3,8``, ``node:1``.

    Raises:
        ValueError: says what is wrong.
    """
    for part in _parts(text):
        number_list(part.removeprefix(_NODE))


def is_cpu_list(_: object, __: object, value: str) -> None:
    """Check a setting that is a list of processors, or empty; a validator of attrs."""
    check_cpu_list(value)


def are_cpu_lists(_: object, __: object, value: Iterable[str]) -> None:
    """Check a setting that is several lists of processors, none of them empty."""
    for text in value:
        if not _parts(text):
            raise ValueError("a list of processors is empty")
        check_cpu_list(text)


def is_node_list(_: object, __: object, value: str) -> None:
    """Check a setting that is a list of NUMA nodes, or empty."""
    number_list(value)


def processors(text: str, where: str) -> set[int]:
    """The processors of a list.

    Args:
        text: ``0-3,8`` or ``node:1``, comma-separated. Of a node, those that this process may use.
        where: the setting it is from, for the error.

    Raises:
        ConfigurationError: one of them does not exist, or is not for this process to use.
    """
    allowed = _allowed()
    wanted: set[int] = set()
    for part in _parts(text):
        if part.startswith(_NODE):
            for node in number_list(part.removeprefix(_NODE)):
                wanted |= _of_node(node, where) & allowed
        else:
            wanted |= set(number_list(part))
    if not wanted:
        raise ConfigurationError(
            f"none of the processors of {text} is for this process to use: those are "
            f"{number_text(allowed)}",
            where=where,
            remedy="name others, or give the container more",
        )
    if beyond := wanted - allowed:
        raise ConfigurationError(
            f"processors {number_text(beyond)} are not available: this process may use "
            f"{number_text(allowed)}",
            where=where,
            remedy="name processors that are there, or give the container more",
        )
    return wanted


def bind_process(cpus: str, memory_nodes: str) -> Binding:
    """Bind this process and all its threads; empty texts bind nothing.

    Raises:
        ConfigurationError: a processor or a node does not exist, or is not to be used.
    """
    made, refused = Binding(), []
    if cpus:
        if hasattr(os, "sched_setaffinity"):
            chosen = processors(cpus, "run.cpus")
            for thread in _threads():
                # One that has ended meanwhile needs no binding.
                with contextlib.suppress(ProcessLookupError):
                    os.sched_setaffinity(thread, chosen)
            made = attrs.evolve(made, cpus=number_text(chosen))
        else:
            refused.append(f"processors {cpus}: this system binds none")
    if memory_nodes:
        nodes = set(number_list(memory_nodes))
        if beyond := nodes - _all_nodes():
            raise ConfigurationError(
                f"NUMA nodes {number_text(beyond)} are not there: this machine has "
                f"{number_text(_all_nodes()) or 'none'}",
                where="run.memory_nodes",
                remedy="name nodes that are there, or leave it out",
            )
        reason = _bind_memory(nodes)
        if reason is None:
            made = attrs.evolve(made, memory_nodes=number_text(nodes))
        else:
            refused.append(f"memory of nodes {number_text(nodes)}: {reason}")
    return attrs.evolve(made, not_applied="; ".join(refused))


def bind_thread(cpus: set[int]) -> None:
    """Bind the thread that calls, and those that it will start."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cpus)


def _parts(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _allowed() -> set[int]:
    if hasattr(os, "sched_getaffinity"):
        return os.sched_getaffinity(0)
    return set(range(os.cpu_count() or 1))


def _threads() -> list[int]:
    try:
        return [int(name) for name in os.listdir("/proc/self/task")]  # noqa: PTH208
    except OSError:
        return [0]


def _all_nodes() -> set[int]:
    try:
        return set(number_list((_NODES / "online").read_text(encoding="ascii").strip()))
    except (OSError, ValueError):
        return set()


def _of_node(node: int, where: str) -> set[int]:
    try:
        text = (_NODES / f"node{node}" / "cpulist").read_text(encoding="ascii").strip()
    except OSError:
        raise ConfigurationError(
            f"there is no NUMA node {node}: this machine has {number_text(_all_nodes()) or 'none'}",
            where=where,
            remedy="name a node that is there, or processors",
        ) from None
    return set(number_list(text))


def _bind_memory(nodes: set[int]) -> str | None:
    """Take memory from these nodes alone; returns why that could not be done, or None."""
    try:
        library = ctypes.CDLL("libnuma.so.1")
    except OSError:
        return "libnuma is not installed"
    if library.numa_available() < 0:
        return "this system has no memory policies, or the container forbids them"
    library.numa_parse_nodestring_all.restype = ctypes.c_void_p
    library.numa_get_membind.restype = ctypes.c_void_p
    wanted = library.numa_parse_nodestring_all(number_text(nodes).encode())
    if not wanted:
        return "libnuma does not know these nodes"
    library.numa_set_membind(ctypes.c_void_p(wanted))
    # The function that sets it tells of no failure; a container may forbid it.
    bound = ctypes.c_void_p(library.numa_get_membind())
    if library.numa_bitmask_equal(bound, ctypes.c_void_p(wanted)):
        return None
    return "the system refused it; a container needs the capability SYS_NICE"
