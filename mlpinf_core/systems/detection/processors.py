"""Processors, their caches and NUMA nodes, and memory: from /proc, /sys and lscpu."""

from __future__ import annotations

import json
import re
from functools import partial
from typing import TYPE_CHECKING, Final

from mlpinf_core.machine import number_list
from mlpinf_core.systems.facts import Value, Way, field
from mlpinf_core.systems.host import UnavailableError

if TYPE_CHECKING:
    from mlpinf_core.systems.facts import Looking
    from mlpinf_core.systems.host import Host

_CPU: Final = "/sys/devices/system/cpu"
_NODE: Final = "/sys/devices/system/node"
_CPUINFO: Final = "/proc/cpuinfo"
_MEMINFO: Final = "/proc/meminfo"

_ARM_PARTS: Final = {
    "0xd0c": "Neoverse-N1",
    "0xd40": "Neoverse-V1",
    "0xd49": "Neoverse-N2",
    "0xd4f": "Neoverse-V2",
    "0xd83": "Neoverse-V3AE",
    "0xd84": "Neoverse-V3",
    "0xd8e": "Neoverse-N3",
}
"""Part numbers of Arm's own server cores (implementer 0x41), as the main ID register has them."""


def look_for_processors(looking: Looking) -> None:
    """Architecture, model, sockets, cores, threads, NUMA nodes."""
    host = looking.host
    looking.learn("cpu.architecture", Way("uname -m", lambda: host.run("uname", "-m")))
    looking.learn(
        "cpu.model",
        Way(f"{_CPUINFO} model name", lambda: field(host.read(_CPUINFO), "model name")),
        Way("lscpu Model name", lambda: _lscpu(host, "Model name:")),
        Way(f"{_CPUINFO} CPU part", lambda: _arm_name(host.read(_CPUINFO))),
    )
    online = Way(f"{_CPU}/online", lambda: len(number_list(host.read(f"{_CPU}/online"))))
    listed = Way(_CPUINFO, lambda: len(re.findall(r"^processor\s*:", host.read(_CPUINFO), re.M)))
    looking.learn("cpu.threads", online, listed)
    topology = f"{_CPU}/cpu*/topology"
    looking.learn(
        "cpu.sockets",
        Way(f"{topology}/physical_package_id", lambda: len(_each(host, "physical_package_id"))),
        Way("lscpu Socket(s)", lambda: _count(_lscpu(host, "Socket(s):"))),
        Way(f"{_CPUINFO} physical id", lambda: _distinct(host, "physical id")),
    )
    looking.learn(
        "cpu.cores",
        Way(f"{topology}/thread_siblings_list", lambda: len(_each(host, "thread_siblings_list"))),
        Way("lscpu Core(s) per socket", lambda: _cores(host)),
    )
    _derive_cores_per_socket(looking)
    _look_for_nodes(looking)


def look_for_details(looking: Looking) -> None:
    """Frequency, governor, caches, memory modules: what no system is recognised by."""
    host = looking.host
    _look_for_frequency(looking)
    looking.learn("cpu.caches", Way(f"{_CPU}/cpu0/cache/index*", lambda: _caches(host)))
    looking.learn(
        "memory.modules",
        Way("dmidecode -t memory", lambda: _modules(host.run("dmidecode", "-t", "memory"))),
    )


def look_for_memory(looking: Looking) -> None:
    """Size and swap."""
    host = looking.host
    for key, name in (("memory.total_bytes", "MemTotal"), ("memory.swap_bytes", "SwapTotal")):
        source = f"{_MEMINFO} {name}"
        looking.learn(key, Way(source, partial(_kibibytes, host, name)))


def _arm_name(cpuinfo: str) -> str | None:
    if field(cpuinfo, "CPU implementer") != "0x41":
        return None
    part = field(cpuinfo, "CPU part")
    return _ARM_PARTS.get(part or "", f"Arm core, part {part}")


def _lscpu(host: Host, name: str) -> str | None:
    """A field of ``lscpu -J``, wherever it is nested."""
    todo = list(json.loads(host.run("lscpu", "-J"))["lscpu"])
    while todo:
        row = todo.pop(0)
        if row.get("field") == name:
            data = row.get("data")
            return None if data in (None, "-", "") else str(data)
        todo += row.get("children", [])
    return None


def _count(text: str | None) -> int | None:
    return None if text is None else int(text)


def _cores(host: Host) -> int | None:
    sockets, cores = _lscpu(host, "Socket(s):"), _lscpu(host, "Core(s) per socket:")
    return None if sockets is None or cores is None else int(sockets) * int(cores)


def _distinct(host: Host, name: str) -> int | None:
    found = re.findall(rf"^{name}\s*:\s*(.+)$", host.read(_CPUINFO), re.M)
    return len(set(found)) or None


def _each(host: Host, name: str) -> set[str]:
    """The distinct values of one topology file over all processors that are online."""
    online = number_list(host.read(f"{_CPU}/online"))
    return {host.read(f"{_CPU}/cpu{number}/topology/{name}") for number in online}


def _derive_cores_per_socket(looking: Looking) -> None:
    cores, sockets = looking.facts.number("cpu.cores"), looking.facts.number("cpu.sockets")
    each = int(cores // sockets) if cores and sockets else None
    looking.derive("cpu.cores_per_socket", "cpu.cores / cpu.sockets", each)


def _look_for_frequency(looking: Looking) -> None:
    host, scaling = looking.host, f"{_CPU}/cpu0/cpufreq"
    looking.learn(
        "cpu.base_mhz",
        Way(f"{scaling}/base_frequency", lambda: _kilohertz(host, f"{scaling}/base_frequency")),
        Way(f"{_CPUINFO} model name", lambda: _named_frequency(host.read(_CPUINFO))),
    )
    looking.learn(
        "cpu.max_mhz",
        Way(f"{scaling}/cpuinfo_max_freq", lambda: _kilohertz(host, f"{scaling}/cpuinfo_max_freq")),
        Way("lscpu CPU max MHz", lambda: _mhz(_lscpu(host, "CPU max MHz:"))),
    )
    looking.learn(
        "cpu.governor",
        Way(f"{_CPU}/cpu*/cpufreq/scaling_governor", lambda: _governors(host)),
    )


def _kilohertz(host: Host, path: str) -> int:
    return int(host.read(path)) // 1000


def _mhz(text: str | None) -> int | None:
    return None if text is None else round(float(text))


def _named_frequency(cpuinfo: str) -> int | None:
    """Some makers write the base frequency into the model's name: ``... CPU @ 2.00GHz``."""
    found = re.search(r"@ *([\d.]+) *GHz", field(cpuinfo, "model name") or "")
    return round(1000 * float(found[1])) if found else None


def _governors(host: Host) -> str:
    online = number_list(host.read(f"{_CPU}/online"))
    path = f"{_CPU}/cpu{{}}/cpufreq/scaling_governor"
    return ", ".join(sorted({host.read(path.format(number)) for number in online}))


def _caches(host: Host) -> Value | None:
    """``L2 2048 KiB per core`` and so on, in the order of the levels."""
    found: dict[str, str] = {}
    base = f"{_CPU}/cpu0/cache"
    siblings = len(number_list(host.read(f"{_CPU}/cpu0/topology/thread_siblings_list")))
    for index in host.entries(base):
        if not index.startswith("index"):
            continue
        level, kind = host.read(f"{base}/{index}/level"), host.read(f"{base}/{index}/type")
        name = f"L{level}" + {"Data": "d", "Instruction": "i"}.get(kind, "")
        size = host.read(f"{base}/{index}/size").removesuffix("K")
        sharing = len(number_list(host.read(f"{base}/{index}/shared_cpu_list")))
        shared = "per core" if sharing <= siblings else f"shared by {sharing // siblings} cores"
        found[name] = f"{name} {int(size)} KiB {shared}"
    return tuple(found[name] for name in sorted(found)) or None


def _look_for_nodes(looking: Looking) -> None:
    """NUMA nodes that have processors; on some machines the accelerators' memory is a node too."""
    host = looking.host
    found: dict[int, str] = {}

    def nodes() -> int | None:
        for number in number_list(host.read(f"{_NODE}/online")):
            if cpus := host.read(f"{_NODE}/node{number}/cpulist"):
                found[number] = cpus
        return len(found) or None

    looking.learn("numa.nodes", Way(f"{_NODE}/node*/cpulist", nodes))
    for number, cpus in sorted(found.items()):
        looking.derive(f"numa.{number}.cpus", f"{_NODE}/node{number}/cpulist", cpus)
        path = f"{_NODE}/node{number}/meminfo"
        looking.learn(
            f"numa.{number}.memory_bytes",
            Way(f"{path} MemTotal", partial(_node_memory, host, path)),
        )


def _node_memory(host: Host, path: str) -> int | None:
    found = re.search(r"MemTotal:\s+(\d+) kB", host.read(path))
    return 1024 * int(found[1]) if found else None


def _kibibytes(host: Host, name: str) -> int | None:
    value = field(host.read(_MEMINFO), name)
    return None if value is None else 1024 * int(value.split()[0])


def _modules(text: str) -> str | None:
    """``24 × 96 GB DDR5 at 5600 MT/s`` from the memory devices that are fitted."""
    fitted: dict[str, int] = {}
    for block in text.split("\n\n"):
        size = field(block, "Size")
        if "Memory Device" not in block or size is None or not size[:1].isdigit():
            continue
        kind = field(block, "Type") or ""
        speed = field(block, "Configured Memory Speed") or field(block, "Speed") or "Unknown"
        what = f"{size} {kind}".strip() + ("" if speed.startswith("Unknown") else f" at {speed}")
        fitted[what] = fitted.get(what, 0) + 1
    if not fitted:
        raise UnavailableError("it lists no memory modules")
    return ", ".join(f"{count} × {what}" for what, count in fitted.items())
