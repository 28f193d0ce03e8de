"""Network cards and disks, from /sys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mlpinf_core.systems.facts import Way
from mlpinf_core.systems.host import UnavailableError

if TYPE_CHECKING:
    from mlpinf_core.systems.facts import Looking
    from mlpinf_core.systems.host import Host

_NET: Final = "/sys/class/net"
_INFINIBAND: Final = "/sys/class/infiniband"
_BLOCK: Final = "/sys/block"
_SECTOR: Final = 512
"""Bytes of the unit that /sys counts disks in, whatever the disk's own sectors are."""
_NO_DISKS: Final = ("loop", "ram", "zram", "dm-", "md", "sr", "fd", "nbd")


def look_for_network(looking: Looking) -> None:
    """Interfaces of cards, with their link speeds; InfiniBand ports with their rates."""
    host = looking.host
    cards = Way(f"{_NET}/*/device", lambda: tuple(_cards(host)))
    looking.learn("network.interfaces", cards)
    ports = Way(f"{_INFINIBAND}/*/ports/1/rate", lambda: tuple(_infiniband(host)) or None)
    looking.learn("network.infiniband", ports)
    found = looking.facts
    count = len(found.list("network.interfaces"))
    known = found.value("network.interfaces") is not None
    looking.derive("network.cards", f"{_NET}/*/device", count if known else None)


def look_for_storage(looking: Looking) -> None:
    """Disks, their size together and their kinds."""
    host = looking.host
    disks: dict[str, tuple[int, str]] = {}

    def find() -> tuple[str, ...] | None:
        for name in host.entries(_BLOCK):
            if not name.startswith(_NO_DISKS):
                size = _SECTOR * int(host.read(f"{_BLOCK}/{name}/size"))
                if size:
                    disks[name] = size, kind_of_disk(host, name)
        return (
            tuple(f"{name}: {kind}, {size} bytes" for name, (size, kind) in disks.items()) or None
        )

    looking.learn("storage.disks", Way(f"{_BLOCK}/*/size", find))
    total = sum(size for size, _ in disks.values())
    looking.derive("storage.total_bytes", f"{_BLOCK}/*/size", total or None, "no disk was found")
    kinds = ", ".join(sorted({kind for _, kind in disks.values()}))
    looking.derive(
        "storage.kind", f"{_BLOCK}/*/queue/rotational", kinds or None, "no disk was found"
    )


def kind_of_disk(host: Host, name: str) -> str:
    """``NVMe SSD``, ``SSD``, ``HDD`` or ``virtual disk``, of a name in /sys/block."""
    if name.startswith("nvme"):
        return "NVMe SSD"
    if name.startswith(("vd", "xvd")):
        return "virtual disk"
    try:
        return "HDD" if host.read(f"{_BLOCK}/{name}/queue/rotational") == "1" else "SSD"
    except UnavailableError:
        return "disk"


def _cards(host: Host) -> list[str]:
    found = []
    for name in host.entries(_NET):
        try:
            host.entries(f"{_NET}/{name}/device")  # a virtual interface has none
        except UnavailableError:
            continue
        found.append(f"{name}: {_speed(host, name)}")
    return found


def _speed(host: Host, name: str) -> str:
    try:
        if host.read(f"{_NET}/{name}/operstate") == "down":
            return "no link"
        speed = int(host.read(f"{_NET}/{name}/speed"))
    except (UnavailableError, ValueError):
        return "speed unknown"
    return f"{speed} Mbit/s" if speed > 0 else "speed unknown"


def _infiniband(host: Host) -> list[str]:
    found = []
    for card in host.entries(_INFINIBAND):
        base = f"{_INFINIBAND}/{card}/ports/1"
        try:
            layer, rate = host.read(f"{base}/link_layer"), host.read(f"{base}/rate")
        except UnavailableError:
            continue
        found.append(f"{card}: {layer}, {rate}")
    return found
