"""Operating system, packages, firmware, container and virtual machine."""

from __future__ import annotations

import contextlib
from functools import partial
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Final

from mlpinf_core.systems.facts import Way, field
from mlpinf_core.systems.host import UnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlpinf_core.systems.facts import Looking
    from mlpinf_core.systems.host import Host

_DMI: Final = "/sys/class/dmi/id"
_CGROUP: Final = "/sys/fs/cgroup"
_GROUP: Final = "/proc/self/cgroup"
"""The control group of this process, below ``_CGROUP`` where the container does not hide it."""

FRAMEWORKS: Final = (
    "tensorrt",
    "tensorrt-rtx",
    "tensorrt-llm",
    "vllm",
    "sglang",
    "torch",
    "ctranslate2",
    "onnxruntime",
)
"""Distributions that compute, as they are named on the index."""

_MARKS: Final = {
    "/.dockerenv": "docker",
    "/run/.containerenv": "podman",
    "/run/secrets/kubernetes.io": "kubernetes",
    "/.singularity.d": "apptainer",
}
"""What container runtimes leave behind, and which one does."""

_NODE_COUNTS: Final = ("SLURM_JOB_NUM_NODES", "SLURM_NNODES", "PMIX_NNODES", "PBS_NUM_NODES")
"""Variables that schedulers set; how many machines a job has is seen on none of them."""


def look_for_surroundings(looking: Looking) -> None:
    """What the machine is a part of: nodes, container, virtual machine."""
    host = looking.host
    looking.learn(
        "system.nodes",
        *(Way(f"${name}", partial(_variable, host, name)) for name in _NODE_COUNTS),
    )
    looking.learn("system.vendor", _file(host, f"{_DMI}/sys_vendor"))
    looking.learn("system.product", _file(host, f"{_DMI}/product_name"))
    looking.learn(
        "system.virtual",
        Way("/proc/cpuinfo flags", lambda: _hypervisor(host)),
        Way(f"{_DMI}/sys_vendor", lambda: _virtual_vendor(host)),
    )
    looking.learn("container.runtime", Way(", ".join(_MARKS), lambda: _runtime(host)))
    looking.learn(
        "container.processors",
        Way(f"{_GROUP}, cpu.max", lambda: _least(host, "cpu.max", _quota)),
        Way(f"{_CGROUP}/cpu.max", lambda: _quota(host.read(f"{_CGROUP}/cpu.max"))),
        Way(f"{_CGROUP}/cpu/cpu.cfs_quota_us", lambda: _quota_v1(host)),
    )
    looking.learn(
        "container.memory_bytes",
        Way(f"{_GROUP}, memory.max", lambda: _least(host, "memory.max", _limit)),
        Way(f"{_CGROUP}/memory.max", lambda: _limit(host.read(f"{_CGROUP}/memory.max"))),
        Way(
            f"{_CGROUP}/memory/memory.limit_in_bytes",
            lambda: _limit(host.read(f"{_CGROUP}/memory/memory.limit_in_bytes")),
        ),
    )


def look_for_software(looking: Looking) -> None:
    """Operating system, kernel, firmware, frameworks."""
    host = looking.host
    release = "/etc/os-release"
    looking.learn(
        "os.name",
        Way(
            f"{release} PRETTY_NAME",
            lambda: _unquoted(field(host.read(release), "PRETTY_NAME", "=")),
        ),
    )
    looking.learn("os.kernel", _file(host, "/proc/sys/kernel/osrelease"))
    looking.learn("firmware.version", _file(host, f"{_DMI}/bios_version"))
    looking.learn("software.frameworks", Way("installed packages", lambda: _frameworks(host)))
    looking.learn(
        "software.loadgen",
        Way("installed packages", lambda: host.version("mlcommons-loadgen")),
    )


def _file(host: Host, path: str) -> Way:
    return Way(path, lambda: host.read(path) or None)


def _variable(host: Host, name: str) -> int:
    return int(host.environment(name))


def _unquoted(text: str | None) -> str | None:
    return text.strip("\"'") if text else None


def _hypervisor(host: Host) -> bool | None:
    flags = field(host.read("/proc/cpuinfo"), "flags")
    return None if flags is None else "hypervisor" in flags.split()


def _virtual_vendor(host: Host) -> bool:
    vendor = host.read(f"{_DMI}/sys_vendor")
    known = ("QEMU", "VMware", "Amazon EC2", "Google", "Microsoft Corporation", "Xen", "KVM")
    return any(vendor.startswith(name) for name in known)


def _runtime(host: Host) -> str:
    """What left its mark on the file system; ``none found`` outside a container."""
    return next((name for mark, name in _MARKS.items() if _exists(host, mark)), "none found")


def _exists(host: Host, path: str) -> bool:
    for look in (host.read, host.entries):
        try:
            look(path)
        except UnavailableError:
            continue
        return True
    return False


def _least(host: Host, name: str, read: Callable[[str], float | None]) -> float | None:
    """The tightest limit of this process's group and of those above it, as a scheduler sets one.

    None where the process is in the outermost group that it can see, as in most containers.
    """
    group = PurePosixPath(field(host.read(_GROUP), "0", "::") or "/")
    found = []
    for above in (group, *group.parents):
        with contextlib.suppress(UnavailableError):  # the outermost group has no limits of its own
            found.append(read(host.read(str(PurePosixPath(f"{_CGROUP}/{above}/{name}")))))
    limits = [limit for limit in found if limit is not None]
    return min(limits) if limits and str(group) != "/" else None


def _quota(text: str) -> float | None:
    """Processors' worth of time; None where there is no limit."""
    quota, _, period = text.partition(" ")
    return None if quota == "max" else int(quota) / int(period)


def _quota_v1(host: Host) -> float | None:
    quota = int(host.read(f"{_CGROUP}/cpu/cpu.cfs_quota_us"))
    period = int(host.read(f"{_CGROUP}/cpu/cpu.cfs_period_us"))
    return quota / period if quota > 0 else None


def _limit(text: str) -> int | None:
    """Bytes; None where there is no limit, which the older interface writes as a huge number."""
    return None if text == "max" or int(text) >= 1 << 60 else int(text)


def _frameworks(host: Host) -> tuple[str, ...] | None:
    found = []
    for name in FRAMEWORKS:
        try:
            found.append(f"{name} {host.version(name)}")
        except UnavailableError:
            continue
    return tuple(found) or None
