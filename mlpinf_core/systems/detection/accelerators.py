"""Accelerators: from NVML where there is one, from nvidia-smi, from the driver, from PCI."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mlpinf_core.systems.detection.nvidia import FIELDS, driver_ways, ways_of
from mlpinf_core.systems.facts import Way, is_number
from mlpinf_core.systems.host import UnavailableError

if TYPE_CHECKING:
    from mlpinf_core.systems.facts import Facts, Looking
    from mlpinf_core.systems.host import Host

_PCI: Final = "/sys/bus/pci/devices"
_VENDORS: Final = {"0x10de": "NVIDIA", "0x1002": "AMD", "0x8086": "Intel", "0x1da3": "Habana"}
_MOST_DEVICES: Final = 1024
"""Far more than a machine has: no answer may keep detection busy for ever."""
_COMPUTING: Final = ("0x0302", "0x0380", "0x1200")
"""PCI classes of what computes and drives no screen: 3D controller, other display, accelerator."""


def look_for_accelerators(looking: Looking) -> None:
    """Each device, what they have in common, driver and CUDA."""
    host = looking.host
    source = f"{_PCI}/*/class"
    present = _on_the_bus(host)
    ways = driver_ways(host) if _may_have_nvidia(host, present) else {}
    learnt = looking.learn(
        "accelerator.count",
        *ways.get("count", ()),
        Way(source, lambda: len(host.entries(_PCI)) and len(present)),
        # A machine without PCI has no such devices either: some virtual machines and boards.
        Way("/sys/bus", lambda: 0 if "pci" not in host.entries("/sys/bus") else None),
    )
    count = min(learnt, _MOST_DEVICES) if isinstance(learnt, int) else None
    for number in range(count or 0):
        on_the_bus = present[number] if number < len(present) else None
        for name, found in ways_of(host, number).items() if ways else ():
            looking.learn(f"accelerator.{number}.{name}", *found)
        if not ways and on_the_bus is not None:
            address, what = on_the_bus
            looking.derive(f"accelerator.{number}.name", f"{_PCI}/{address}/device", what)
            looking.derive(f"accelerator.{number}.pci", f"{_PCI}/{address}", address)
        _learn_node(looking, number)
    _summarise(looking, count)
    for key in ("driver", "cuda"):
        if ways:
            looking.learn(f"software.{key}", *ways[key])
    _derive_total(looking)


def _may_have_nvidia(host: Host, present: list[tuple[str, str]]) -> bool:
    """Whether there is a reason to ask NVIDIA's tools, some of which take seconds to say no."""
    if any(what.startswith("NVIDIA") for _, what in present):
        return True
    for path, name in (("/proc/driver", "nvidia"), ("/dev", "nvidiactl"), ("/dev", "dxg")):
        try:
            if name in host.entries(path):
                return True
        except UnavailableError:
            continue
    return False


def _on_the_bus(host: Host) -> list[tuple[str, str]]:
    """Address and name of every computing device on PCI; nothing where the bus is not to be seen.

    A display controller of NVIDIA's that also drives a screen is found by its driver instead.
    """
    found = []
    try:
        addresses = host.entries(_PCI)
    except UnavailableError:
        return []
    for address in addresses:
        try:
            if host.read(f"{_PCI}/{address}/class")[:6] in _COMPUTING:
                vendor = host.read(f"{_PCI}/{address}/vendor")
                device = host.read(f"{_PCI}/{address}/device")
                found.append((address, f"{_VENDORS.get(vendor, vendor)} device {device}"))
        except UnavailableError:
            continue
    return found


def _learn_node(looking: Looking, number: int) -> None:
    """The NUMA node that a device is attached to."""
    host, address = looking.host, looking.facts.text(f"accelerator.{number}.pci")
    if address is None:
        return
    domain, _, rest = address.lower().partition(":")
    path = f"{_PCI}/{domain[-4:]}:{rest}/numa_node"

    def node() -> int | None:
        found = int(host.read(path))
        return found if found >= 0 else None

    looking.learn(f"accelerator.{number}.numa_node", Way(path, node))


def _summarise(looking: Looking, count: int | None) -> None:
    """What all devices have in common; of memory, the least."""
    facts = looking.facts
    for name in (*FIELDS, "numa_node"):
        if name in ("pci", "numa_node"):
            continue
        each = [facts[f"accelerator.{number}.{name}"] for number in range(count or 0)]
        known = [fact for fact in each if fact.value is not None]
        key = f"accelerator.{name}"
        if not each:
            why = "there is no accelerator" if count == 0 else "their number is unknown"
            looking.derive(key, "accelerator.count", None, why)
        elif len(known) < len(each):
            why = next(fact.why for fact in each if fact.value is None) or "unknown"
            looking.derive(key, each[0].source, None, why)
        else:
            values = list(dict.fromkeys(fact.value for fact in known))
            source = known[0].source + (f" and {len(known) - 1} more" if len(known) > 1 else "")
            if len(values) == 1:
                looking.derive(key, source, values[0])
            elif name == "memory_bytes":
                looking.derive(key, f"the least of {source}", min(filter(is_number, values)))
            elif name == "name":
                told = " and ".join(str(v) for v in values)
                looking.derive(key, source, told)
            else:
                told = ", ".join(str(v) for v in values)
                looking.derive(key, source, None, f"they differ: {told}")


def _derive_total(looking: Looking) -> None:
    """Accelerators of all nodes; one node where no scheduler says how many there are."""
    facts: Facts = looking.facts
    count, nodes = facts.number("accelerator.count"), facts.number("system.nodes")
    source = "accelerator.count × system.nodes"
    if nodes is None:
        source = "accelerator.count, of this machine alone: nothing tells of more nodes"
    total = None if count is None else int(count * (nodes or 1))
    looking.derive("accelerator.total", source, total, "accelerator.count is unknown")
