"""From detected facts to the words of the official description of a system."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import attrs

from mlpinf_core.scratch import readable
from mlpinf_core.systems.matching import readable_memory

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from mlpinf_core.systems.facts import Facts


@attrs.frozen
class Answer:
    """What detection says to one key.

    Attributes:
        value: as the description has it.
        source: where it was read.
    """

    value: str | int
    source: str


def answer(key: str, facts: Facts) -> Answer | None:
    """What the facts of a machine answer to a key; None where they do not."""
    if key.startswith("accelerator_") and facts.value("accelerator.count") == 0:
        return Answer("N/A", f"no accelerator: {facts['accelerator.count'].source}")
    of = _ANSWERS.get(key)
    return None if of is None else of(facts)


def _of(key: str, word: Callable[[Any], str | int] = str) -> Callable[[Facts], Answer | None]:
    def answer(facts: Facts) -> Answer | None:
        fact = facts[key]
        return None if fact.value is None else Answer(word(fact.value), fact.source)

    return answer


def _listed(value: tuple[str, ...]) -> str:
    return ", ".join(value)


def _nodes(facts: Facts) -> Answer:
    fact = facts["system.nodes"]
    if isinstance(fact.value, int):
        return Answer(fact.value, fact.source)
    return Answer(1, "one machine was looked at, and no scheduler tells of more")


def _system_name(facts: Facts) -> Answer | None:
    product = facts.text("system.product")
    if product is None:
        return None
    vendor = facts.text("system.vendor") or ""
    name = product if product.startswith(vendor) else f"{vendor} {product}"
    count, accelerator = facts.value("accelerator.count"), facts.text("accelerator.name")
    if count and accelerator:
        name += f" ({count}x {accelerator})"
    return Answer(name.strip(), facts["system.product"].source)


def _frequency(facts: Facts) -> Answer | None:
    known = [
        (f"{value / 1000:g} GHz {word}", facts[key].source)
        for key, word in (("cpu.base_mhz", "base"), ("cpu.max_mhz", "highest"))
        if (value := facts.number(key))
    ]
    if not known:
        return None
    return Answer(", ".join(text for text, _ in known), "; ".join(source for _, source in known))


def _accelerators(facts: Facts) -> Answer | None:
    fact = facts["accelerator.count"]
    if not isinstance(fact.value, int):
        return None
    # The official checker takes the number 0 for a missing answer.
    return Answer(fact.value or "0", fact.source)


def _pcie(facts: Facts) -> Answer | None:
    generation, width = facts.value("accelerator.pcie_generation"), facts["accelerator.pcie_width"]
    if generation is None or width.value is None:
        return None
    return Answer(f"PCIe Gen{generation} x{width.value}", width.source)


def _links(facts: Facts) -> Answer | None:
    links = facts["accelerator.nvlinks"]
    if links.value:
        return Answer(f"NVLink, {links.value} links an accelerator", links.source)
    if facts.value("accelerator.count") == 1:
        return Answer("N/A", "there is one accelerator")
    return None


def _networking(facts: Facts) -> Answer | None:
    infiniband, cards = facts["network.infiniband"], facts["network.interfaces"]
    for fact in (infiniband, cards):
        if isinstance(fact.value, tuple) and fact.value:
            return Answer(_listed(fact.value), fact.source)
    return None


def _stack(facts: Facts) -> Answer | None:
    known = [
        (word.format(value), facts[key].source)
        for key, word in (
            ("software.cuda", "CUDA {}"),
            ("software.driver", "driver {}"),
            ("os.kernel", "Linux {}"),
            ("software.loadgen", "LoadGen {}"),
        )
        if (value := facts.value(key)) is not None
    ]
    if not known:
        return None
    return Answer(", ".join(text for text, _ in known), "; ".join(source for _, source in known))


def _connected(facts: Facts) -> Answer | None:
    fact = facts["network.interfaces"]
    if not isinstance(fact.value, tuple):
        return None
    linked = sum(not name.endswith("no link") for name in fact.value)
    return Answer(linked or "0", fact.source)


def _number_or_text(value: int) -> int | str:
    return value or "0"


_ANSWERS: Final[Mapping[str, Callable[[Facts], Answer | None]]] = {
    "system_name": _system_name,
    "number_of_nodes": _nodes,
    "host_processor_model_name": _of("cpu.model"),
    "host_processors_per_node": _of("cpu.sockets", int),
    "host_processor_core_count": _of("cpu.cores_per_socket", int),
    "host_processor_frequency": _frequency,
    "host_processor_caches": _of("cpu.caches", _listed),
    "host_memory_capacity": _of("memory.total_bytes", readable_memory),
    "host_memory_configuration": _of("memory.modules"),
    "host_storage_capacity": _of("storage.total_bytes", readable),
    "host_storage_type": _of("storage.kind"),
    "host_networking": _networking,
    "host_network_card_count": _of("network.cards", _number_or_text),
    "accelerators_per_node": _accelerators,
    "accelerator_model_name": _of("accelerator.name"),
    "accelerator_memory_capacity": _of("accelerator.memory_bytes", readable_memory),
    "accelerator_frequency": _of("accelerator.clock_max_mhz", lambda mhz: f"{mhz} MHz"),
    "accelerator_host_interconnect": _pcie,
    "accelerator_interconnect": _links,
    "framework": _of("software.frameworks", _listed),
    "operating_system": _of("os.name"),
    "other_software_stack": _stack,
    "power_management": _of("cpu.governor", lambda name: f"governor {name}"),
    "boot_firmware_version": _of("firmware.version"),
    "number_of_type_nics_installed": _of("network.cards", _number_or_text),
    "nics_enabled_os": _of("network.cards", _number_or_text),
    "nics_enabled_connected": _connected,
    "disk_drives": _of("storage.disks", _listed),
}
"""Keys that detection may answer; the others are for people."""
