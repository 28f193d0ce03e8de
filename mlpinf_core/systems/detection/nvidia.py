"""What NVIDIA's tools tell of a device: NVML, nvidia-smi, and the driver's files in /proc."""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from mlpinf_core.systems.facts import Value, Way, field
from mlpinf_core.systems.host import UnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from mlpinf_core.systems.host import Host

_PROC: Final = "/proc/driver/nvidia"

FIELDS: Final[Mapping[str, str | None]] = {
    "name": "name",
    "memory_bytes": "memory.total",
    "pci": "pci.bus_id",
    "power_limit_w": "power.limit",
    "clock_max_mhz": "clocks.max.sm",
    "memory_clock_max_mhz": "clocks.max.memory",
    "pcie_generation": "pcie.link.gen.max",
    "pcie_width": "pcie.link.width.max",
    "nvlinks": None,
    "mig": "mig.mode.current",
    "mig_devices": None,
    "persistence": "persistence_mode",
}
"""What is told of each device, and the column of nvidia-smi that tells it."""

STATE: Final[Mapping[str, str]] = {
    "clock_reasons": "clocks_throttle_reasons.active",
    "power_default_w": "power.default_limit",
    "memory_used_bytes": "memory.used",
}
"""What changes from one moment to the next, or is told of the present only."""

_SM, _MEMORY = 1, 2
"""NVML's numbers of clock domains."""
_MOST_PARTS: Final = 64
"""Far more than a device can be cut into: no answer may keep detection busy for ever."""
_MOST_LINKS: Final = 18
"""NVLinks of a device in NVML's interface."""


def _query(columns: Iterable[str]) -> tuple[str, ...]:
    """A question to nvidia-smi; one for each kind, because it refuses all for one it lacks."""
    return "nvidia-smi", f"--query-gpu={','.join(columns)}", "--format=csv,noheader,nounits"


_FIELDS_QUERY: Final = ("index", *(column for column in FIELDS.values() if column))
_STATE_QUERY: Final = ("index", *STATE.values())


def driver_ways(host: Host) -> dict[str, tuple[Way, ...]]:
    """The ways to the number of devices, the driver's version and CUDA's."""
    return {
        "count": (
            Way("NVML nvmlDeviceGetCount()", lambda: int(host.nvml("nvmlDeviceGetCount"))),
            Way("nvidia-smi --query-gpu", lambda: len(_rows(host, _FIELDS_QUERY))),
            Way(f"{_PROC}/gpus", lambda: len(host.entries(f"{_PROC}/gpus"))),
        ),
        "driver": (
            Way(
                "NVML nvmlSystemGetDriverVersion()",
                lambda: str(host.nvml("nvmlSystemGetDriverVersion")),
            ),
            Way("nvidia-smi --version", lambda: _version(host, "DRIVER version")),
            Way(f"{_PROC}/version", lambda: _module_version(host.read(f"{_PROC}/version"))),
        ),
        "cuda": (
            Way(
                "NVML nvmlSystemGetCudaDriverVersion()",
                lambda: _cuda(host.nvml("nvmlSystemGetCudaDriverVersion")),
            ),
            Way("nvidia-smi --version", lambda: _version(host, "CUDA Version")),
        ),
    }


def ways_of(host: Host, number: int) -> dict[str, tuple[Way, ...]]:
    """The ways to each fact of a device."""
    asked = _nvml_ways(host, number)
    found: dict[str, tuple[Way, ...]] = {}
    for name, column in FIELDS.items():
        ways = [asked[name]]
        if column is not None:
            source = f"nvidia-smi --query-gpu={column} ({number})"
            look = partial(_told, host, number, name, column, _FIELDS_QUERY)
            ways.append(Way(source, look))
        found[name] = tuple(ways)
    path = f"{_PROC}/gpus/*/information"
    for name, label in (("name", "Model"), ("pci", "Bus Location")):
        way = Way(f"{path} {label} ({number})", partial(_information, host, number, label))
        found[name] += (way,)
    return found


def state_ways(host: Host, number: int) -> dict[str, tuple[Way, ...]]:
    """The ways to what a device is doing now."""

    def ask(function: str, read: Callable[[Any], Value]) -> Value:
        return read(host.nvml(function, number))

    asked: dict[str, tuple[str, Callable[[Any], Value]]] = {
        "clock_reasons": ("nvmlDeviceGetCurrentClocksThrottleReasons", int),
        "power_default_w": (
            "nvmlDeviceGetPowerManagementDefaultLimit",
            lambda mw: round(mw / 1000),
        ),
        "memory_used_bytes": ("nvmlDeviceGetMemoryInfo", lambda info: int(info["used"])),
    }
    return {
        name: (
            Way(f"NVML {function}({number})", partial(ask, function, read)),
            Way(
                f"nvidia-smi --query-gpu={STATE[name]} ({number})",
                partial(_told, host, number, name, STATE[name], _STATE_QUERY),
            ),
        )
        for name, (function, read) in asked.items()
    }


def _nvml_ways(host: Host, number: int) -> dict[str, Way]:
    def way(look: Callable[[Any], Value | None], function: str, *more: int) -> Way:
        shown = ", ".join(map(str, (number, *more)))
        return Way(f"NVML {function}({shown})", lambda: look(host.nvml(function, number, *more)))

    return {
        "name": way(str, "nvmlDeviceGetName"),
        "memory_bytes": way(lambda info: int(info["total"]), "nvmlDeviceGetMemoryInfo"),
        "pci": way(lambda info: str(info["busId"]), "nvmlDeviceGetPciInfo"),
        "power_limit_w": way(lambda mw: round(mw / 1000), "nvmlDeviceGetEnforcedPowerLimit"),
        "clock_max_mhz": way(int, "nvmlDeviceGetMaxClockInfo", _SM),
        "memory_clock_max_mhz": way(int, "nvmlDeviceGetMaxClockInfo", _MEMORY),
        "pcie_generation": way(int, "nvmlDeviceGetMaxPcieLinkGeneration"),
        "pcie_width": way(int, "nvmlDeviceGetMaxPcieLinkWidth"),
        "nvlinks": Way(f"NVML nvmlDeviceGetNvLinkState({number}, *)", lambda: _links(host, number)),
        "mig": way(lambda mode: bool(mode[0]), "nvmlDeviceGetMigMode"),
        "mig_devices": Way(
            f"NVML nvmlDeviceGetMigDeviceHandleByIndex({number}, *)", lambda: _parts(host, number)
        ),
        "persistence": way(bool, "nvmlDeviceGetPersistenceMode"),
    }


def _links(host: Host, number: int) -> int:
    """NVLinks that are up. A device without any refuses the first question, which is an answer."""
    up = 0
    for link in range(_MOST_LINKS):
        try:
            up += host.nvml("nvmlDeviceGetNvLinkState", number, link) == 1
        except UnavailableError as error:
            if link == 0 and "not supported" not in str(error).casefold():
                raise
            break
    return up


def _parts(host: Host, number: int) -> int:
    """MIG devices that a device is cut into."""
    if not host.nvml("nvmlDeviceGetMigMode", number)[0]:
        return 0
    found, most = 0, int(host.nvml("nvmlDeviceGetMaxMigDeviceCount", number))
    for part in range(min(most, _MOST_PARTS)):
        try:
            host.nvml("nvmlDeviceGetMigDeviceHandleByIndex", number, part)
        except UnavailableError:
            continue
        found += 1
    return found


def _rows(host: Host, columns: tuple[str, ...]) -> list[dict[str, str]]:
    lines = [line for line in host.run(*_query(columns)).splitlines() if line.strip()]
    rows = [[cell.strip() for cell in line.split(",")] for line in lines]
    return [dict(zip(columns, row, strict=True)) for row in rows]


def _told(host: Host, number: int, name: str, column: str, query: tuple[str, ...]) -> Value | None:
    text = _rows(host, query)[number][column]
    if text.strip("[]").casefold() in ("n/a", "not supported", "unknown error", ""):
        raise UnavailableError("nvidia-smi says N/A")
    if name in ("name", "pci"):
        return text
    if name in ("mig", "persistence"):
        return text.casefold() == "enabled"
    if name == "clock_reasons":
        return int(text, 16)
    amount = round(float(text))
    return amount << 20 if name.endswith("_bytes") else amount


def _information(host: Host, number: int, label: str) -> str | None:
    address = host.entries(f"{_PROC}/gpus")[number]
    return field(host.read(f"{_PROC}/gpus/{address}/information"), label)


def _version(host: Host, label: str) -> str | None:
    return field(host.run("nvidia-smi", "--version"), label)


def _module_version(text: str) -> str | None:
    found = re.search(r"Kernel Module.*?\s(\d+\.\d[\d.]*)", text)
    return found[1] if found else None


def _cuda(number: int) -> str:
    return f"{number // 1000}.{number % 1000 // 10}"
