"""Container, limits of the process, and the disk that the scratch space is on."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mlpinf_core.errors import PrerequisiteError
from mlpinf_core.machine import number_list
from mlpinf_core.preflight import Check, CheckState
from mlpinf_core.scratch import VARIABLE, Scratch, readable
from mlpinf_core.systems.detection.peripherals import kind_of_disk
from mlpinf_core.systems.facts import field
from mlpinf_core.systems.host import UnavailableError
from mlpinf_core.systems.matching import readable_memory

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mlpinf_core.systems.facts import Facts
    from mlpinf_core.systems.host import Host

_LEAST_FREE: Final = 1 << 28
"""Bytes: with less, not even the logs of a run fit."""
_ENOUGH_FREE: Final = 50 * 10**9
"""Bytes: the data and the model of the smaller full benchmarks."""
_FEW_FILES: Final = 4096
_NETWORKED: Final = (
    "nfs",
    "nfs4",
    "cifs",
    "smb3",
    "lustre",
    "gpfs",
    "beegfs",
    "ceph",
    "9p",
    "fuse",
)


def check_limits(host: Host, facts: Facts) -> Iterator[Check]:
    """What the container, and the limits of the process, keep from a run."""
    yield _processors(host, facts)
    yield _memory(facts)
    yield _open_files(host)


def check_disk(host: Host, scratch: Scratch) -> Iterator[Check]:
    """Whether the scratch space can be written, has room, and is on a disk that is fast."""
    place = next((p for p in (scratch.root, *scratch.root.parents) if p.exists()), Path("/"))
    if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
        detail = f"{place} cannot be written"
        yield Check("scratch space", CheckState.FAILED, detail, f"set {VARIABLE} to another place")
        return
    try:
        free = scratch.free_bytes()
    except PrerequisiteError as error:
        yield Check("scratch space", CheckState.FAILED, error.what, error.remedy)
        return
    detail = f"{readable(free)} free for {scratch.root}"
    remedy = f"make room, or set {VARIABLE} to another disk"
    if free < _LEAST_FREE:
        yield Check("scratch space", CheckState.FAILED, detail, remedy)
    elif free < _ENOUGH_FREE:
        more = f"{detail}: too little for the data and models of full benchmarks"
        yield Check("scratch space", CheckState.WARNING, more, remedy)
    else:
        yield Check("scratch space", CheckState.OK, detail)
    yield _speed(host, place)


def _speed(host: Host, place: Path) -> Check:
    name = "disk"
    try:
        mounts = [line.split() for line in host.read("/proc/mounts").splitlines()]
    except UnavailableError as error:
        return Check(name, CheckState.UNKNOWN, f"/proc/mounts: {error}")
    inside = [m for m in mounts if len(m) > 2 and place.resolve().is_relative_to(m[1])]
    if not inside:
        return Check(name, CheckState.UNKNOWN, f"/proc/mounts tells nothing of {place}")
    # The longest mount point is the one that holds it; of two on one point, the later.
    device, point, system, *_ = max(reversed(inside), key=lambda m: len(m[1]))
    if system.partition(".")[0] in _NETWORKED:
        detail = f"{point} is on the network ({system}): loading may be slow and uneven"
        return Check(name, CheckState.WARNING, detail, f"set {VARIABLE} to a local disk")
    if system in ("tmpfs", "ramfs"):
        detail = f"{point} is memory ({system}): what is there is taken from the run's memory"
        return Check(name, CheckState.WARNING, detail, f"set {VARIABLE} to a disk")
    disk = re.sub(r"(?<=\d)p\d+$|(?<=[a-z])\d+$", "", Path(device).name)
    if not device.startswith("/dev/"):
        return Check(name, CheckState.UNKNOWN, f"{point} is {system}: its disk is not to be seen")
    kind = kind_of_disk(host, disk)
    if kind == "HDD":
        detail = f"{point} is on {device}, a disk that rotates"
        return Check(name, CheckState.WARNING, detail, f"set {VARIABLE} to a solid-state disk")
    return Check(name, CheckState.OK, f"{point} is on {device}, {kind}, {system}")


def _processors(host: Host, facts: Facts) -> Check:
    name, there = "processors for use", facts.number("cpu.threads")
    if there is None:
        return Check(name, CheckState.UNKNOWN, facts["cpu.threads"].why or "")
    usable = there
    try:
        allowed = field(host.read("/proc/self/status"), "Cpus_allowed_list")
        usable = min(usable, len(number_list(allowed or "")) or usable)
    except (UnavailableError, ValueError):
        allowed = None
    if limit := facts.number("container.processors"):
        usable = min(usable, limit)
    if usable >= there:
        known = "" if allowed else ", as far as is known"
        return Check(name, CheckState.OK, f"all {there:g}{known}")
    return Check(
        name,
        CheckState.WARNING,
        f"{usable:g} of {there:g}: a container or an affinity keeps the others",
        "give the container all processors: `docker run` without --cpus and --cpuset-cpus",
    )


def _memory(facts: Facts) -> Check:
    name, limit = "memory for use", facts.number("container.memory_bytes")
    total = facts.number("memory.total_bytes")
    if total is None:
        return Check(name, CheckState.UNKNOWN, facts["memory.total_bytes"].why or "")
    if limit is None or limit >= total:
        return Check(name, CheckState.OK, f"all {readable_memory(total)}")
    return Check(
        name,
        CheckState.WARNING,
        f"{readable_memory(limit)} of {readable_memory(total)}: the container has a limit",
        "give the container all memory: `docker run` without --memory",
    )


def _open_files(host: Host) -> Check:
    name = "open files"
    try:
        found = re.search(r"^Max open files\s+(\S+)", host.read("/proc/self/limits"), re.MULTILINE)
    except UnavailableError as error:
        return Check(name, CheckState.UNKNOWN, f"/proc/self/limits: {error}")
    limit = found[1] if found else "unlimited"
    if not limit.isdigit() or int(limit) >= _FEW_FILES:
        return Check(name, CheckState.OK, f"at most {limit}")
    detail = f"at most {limit}: few for data sets of many files and for endpoints"
    return Check(name, CheckState.WARNING, detail, "`ulimit -n 65536`")
