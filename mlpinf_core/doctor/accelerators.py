"""Accelerators: modes that cost speed, clocks that are held back, and who else uses them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mlpinf_core.machine import number_text
from mlpinf_core.preflight import Check, CheckState
from mlpinf_core.systems.detection.nvidia import state_ways
from mlpinf_core.systems.facts import Facts, Looking
from mlpinf_core.systems.host import UnavailableError
from mlpinf_core.systems.matching import readable_memory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from mlpinf_core.systems.host import Host

_REASONS: Final[Mapping[int, str]] = {
    0x2: "clocks set by an application",
    0x4: "power cap",
    0x8: "hardware slowdown",
    0x10: "clocks held together with other devices",
    0x20: "heat, by the driver",
    0x40: "heat, by the hardware",
    0x80: "power brake",
}
"""NVML's bits of what holds clocks back; 0x1 is an idle device's."""
_IN_USE: Final = 1 << 30
"""Bytes of a device's memory that somebody uses; the driver alone takes less."""


def check_accelerators(host: Host, facts: Facts) -> Iterator[Check]:
    """Persistence, MIG, clocks, power limits, other processes; nothing without an accelerator."""
    count = facts.number("accelerator.count")
    if not count:
        why = facts["accelerator.count"].why
        detail = "none" if count == 0 else f"their number is unknown: {why}"
        yield Check("accelerators", CheckState.OK if count == 0 else CheckState.UNKNOWN, detail)
        return
    devices = range(int(count))
    yield _mode(
        facts, "persistence", wanted=True, remedy="`nvidia-smi -pm 1`, as root", name="persistence"
    )
    yield _mode(
        facts,
        "mig",
        wanted=False,
        remedy="`nvidia-smi -mig 0`, as root, unless a part of a device is to be measured",
        name="MIG",
    )
    now = _state(host, facts, devices)
    yield _clocks(now, devices)
    yield _power(now, devices)
    yield _others(now, devices)


def _state(host: Host, facts: Facts, devices: range) -> Facts:
    """What the devices are doing now, beside what is known of them."""
    looking = Looking(host)
    for number in devices:
        for name, ways in state_ways(host, number).items():
            looking.learn(f"accelerator.{number}.{name}", *ways)
    return Facts({**dict(facts.items()), **dict(looking.facts.items())})


def _mode(facts: Facts, key: str, *, wanted: bool, remedy: str, name: str) -> Check:
    count = int(facts.number("accelerator.count") or 0)
    states = {n: facts[f"accelerator.{n}.{key}"] for n in range(count)}
    unknown = next((fact for fact in states.values() if fact.value is None), None)
    if unknown is not None:
        return Check(name, CheckState.UNKNOWN, f"not told: {unknown.why}")
    wrong = [number for number, fact in states.items() if fact.value is not wanted]
    if not wrong:
        return Check(name, CheckState.OK, "on" if wanted else "off")
    detail = f"{'off' if wanted else 'on'} on accelerators {number_text(wrong)}"
    return Check(name, CheckState.WARNING, detail, remedy)


def _clocks(facts: Facts, devices: range) -> Check:
    def held_back(number: int) -> str:
        bits = int(_number(facts, f"accelerator.{number}.clock_reasons"))
        return ", ".join(reason for bit, reason in _REASONS.items() if bits & bit)

    return _each(
        "clocks",
        devices,
        held_back,
        good="nothing holds them back now",
        remedy="look at cooling, power and `nvidia-smi -q -d PERFORMANCE`; `nvidia-smi -rac` "
        "resets clocks that were set",
    )


def _power(facts: Facts, devices: range) -> Check:
    def lowered(number: int) -> str:
        limit = _number(facts, f"accelerator.{number}.power_limit_w")
        usual = _number(facts, f"accelerator.{number}.power_default_w")
        return f"{limit:g} W of {usual:g} W" if limit < usual else ""

    return _each(
        "power limit",
        devices,
        lowered,
        good="the devices' own",
        remedy="`nvidia-smi -pl WATTS`, as root, unless the result is to be of that limit",
    )


def _others(facts: Facts, devices: range) -> Check:
    def used(number: int) -> str:
        amount = _number(facts, f"accelerator.{number}.memory_used_bytes")
        return f"{readable_memory(amount)} in use" if amount > _IN_USE else ""

    return _each(
        "other processes",
        devices,
        used,
        good="none holds memory of a device",
        remedy="end them: `nvidia-smi` lists those that you may see",
    )


def _number(facts: Facts, key: str) -> float:
    found = facts.number(key)
    if found is None:
        raise UnavailableError(facts[key].why or "unknown")
    return found


def _each(
    name: str, devices: range, look: Callable[[int], str], *, good: str, remedy: str
) -> Check:
    """One check over all devices: a warning with every device that has something to tell."""
    told = {}
    try:
        for number in devices:
            if text := look(number):
                told[number] = text
    except UnavailableError as error:
        return Check(name, CheckState.UNKNOWN, f"not told: {error}")
    if not told:
        return Check(name, CheckState.OK, good)
    by_text: dict[str, list[int]] = {}
    for number, text in told.items():
        by_text.setdefault(text, []).append(number)
    detail = "; ".join(f"accelerators {number_text(ns)}: {text}" for text, ns in by_text.items())
    return Check(name, CheckState.WARNING, detail, remedy)
