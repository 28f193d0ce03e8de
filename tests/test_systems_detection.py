"""What a machine is found to be: recorded ones, this one, and one that tells nonsense."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlpinf_core.systems.detection import detect, detect_enough
from mlpinf_core.systems.host import ThisHost, UnavailableError
from mlpinf_core.systems.recording import RecordedHost

from .machines import NAMES, facts_of, recorded

if TYPE_CHECKING:
    from pathlib import Path

EXPECTED: dict[str, dict[str, Any]] = {
    "b200x8": {
        "cpu.architecture": "x86_64",
        "cpu.model": "INTEL(R) XEON(R) PLATINUM 8570",
        "cpu.sockets": 2,
        "cpu.cores": 112,
        "cpu.cores_per_socket": 56,
        "cpu.threads": 224,
        "cpu.base_mhz": 2100,
        "cpu.max_mhz": 4000,
        "cpu.governor": "powersave",
        "cpu.caches": ("L1d 48 KiB per core", "L3 307200 KiB shared by 56 cores"),
        "numa.nodes": 2,
        "numa.1.cpus": "56-111,168-223",
        "memory.total_bytes": 2113399204 * 1024,
        "memory.modules": "2 × 64 GB DDR5 at 5600 MT/s",
        "accelerator.count": 8,
        "accelerator.total": 8,
        "accelerator.name": "NVIDIA B200",
        "accelerator.memory_bytes": 192265846784,
        "accelerator.power_limit_w": 900,
        "accelerator.clock_max_mhz": 1965,
        "accelerator.nvlinks": 18,
        "accelerator.mig": False,
        "accelerator.3.numa_node": 0,
        "accelerator.4.numa_node": 1,
        "software.driver": "570.133.20",
        "software.cuda": "12.8",
        "software.frameworks": ("tensorrt-llm 1.0.0", "torch 2.8.0"),
        "network.cards": 9,
        "storage.total_bytes": 9 * 7501476528 * 512,
        "storage.kind": "NVMe SSD",
        "os.name": "Ubuntu 24.04.2 LTS",
        "system.product": "DGXB200",
        "system.virtual": False,
        "container.runtime": "none found",
    },
    "gb200-tray": {
        "cpu.architecture": "aarch64",
        "cpu.model": "Neoverse-V2",
        "cpu.sockets": 2,
        "cpu.cores": 144,
        "cpu.max_mhz": 3375,
        "numa.nodes": 2,
        "accelerator.count": 4,
        "accelerator.name": "NVIDIA GB200",
        "accelerator.memory_bytes": 189471 << 20,
        "accelerator.power_limit_w": 1200,
        "accelerator.pcie_generation": None,
        "accelerator.persistence": True,
        "accelerator.2.numa_node": 1,
        "software.driver": "570.124.06",
        "software.cuda": "12.8",
    },
    "h200x8": {
        "cpu.cores": 192,
        "accelerator.count": 8,
        "accelerator.memory_bytes": 150754820096,
        "memory.modules": None,
    },
    "h200x1-container": {
        "container.runtime": "docker",
        "container.processors": 8.0,
        "container.memory_bytes": 64 << 30,
        "system.virtual": True,
        "accelerator.count": 1,
        "accelerator.nvlinks": 0,
        "accelerator.0.numa_node": None,
        "network.interfaces": ("eth0: speed unknown",),
    },
    "laptop": {
        "cpu.cores": 4,
        "cpu.threads": 8,
        "cpu.base_mhz": 1800,
        "accelerator.count": 0,
        "accelerator.name": None,
        "memory.swap_bytes": 2097148 * 1024,
        "network.cards": 1,
        "storage.kind": "HDD",
        "os.name": "Debian GNU/Linux 13 (trixie)",
    },
    "mig-vm": {
        "system.virtual": True,
        "accelerator.count": 1,
        "accelerator.mig": True,
        "accelerator.mig_devices": 7,
        "accelerator.persistence": False,
    },
}


def test_every_recorded_machine_has_its_expectations() -> None:
    assert sorted(EXPECTED) == NAMES


@pytest.mark.parametrize(
    ("machine", "key", "value"),
    [(machine, key, value) for machine, known in EXPECTED.items() for key, value in known.items()],
)
def test_a_fact_of_a_recorded_machine(machine: str, key: str, value: Any) -> None:
    assert facts_of(machine).value(key) == value


@pytest.mark.parametrize("machine", NAMES)
def test_every_fact_has_a_source_and_every_unknown_one_a_reason(machine: str) -> None:
    for key, fact in facts_of(machine).items():
        assert fact.source, key
        assert (fact.value is None) == bool(fact.why), key


def test_the_source_of_a_fact_is_the_way_that_told_it() -> None:
    assert facts_of("b200x8")["accelerator.0.name"].source == "NVML nvmlDeviceGetName(0)"
    assert facts_of("gb200-tray")["accelerator.1.name"].source == "nvidia-smi --query-gpu=name (1)"
    assert facts_of("laptop")["memory.total_bytes"].source == "/proc/meminfo MemTotal"


def test_a_refusal_is_the_reason_for_an_unknown_fact() -> None:
    assert "Permission denied" in str(facts_of("h200x8")["memory.modules"].why)


def test_without_nvml_and_nvidia_smi_the_drivers_files_tell_of_the_accelerators() -> None:
    facts = detect(recorded("h200x8", without=("nvml",)))
    assert facts.value("accelerator.count") == 8
    assert facts.value("accelerator.name") == "NVIDIA H200"
    assert facts["accelerator.count"].source == "/proc/driver/nvidia/gpus"
    assert facts.value("software.driver") == "570.86.15"
    assert facts.value("accelerator.memory_bytes") is None


def test_accelerators_of_another_maker_are_found_on_the_bus() -> None:
    bus = "/sys/bus/pci/devices/0000:{10-17}:00.0"
    files = {f"{bus}/class": "0x120000", f"{bus}/vendor": "0x1002", f"{bus}/device": "0x74a5"}
    facts = detect(RecordedHost({"files": files}, "test"))
    assert facts.value("accelerator.count") == 8
    assert facts.value("accelerator.name") == "AMD device 0x74a5"


def test_devices_that_differ_are_told_apart() -> None:
    host = recorded("h200x8", nvml={"nvmlDeviceGetName(7)": "NVIDIA L4"})
    facts = detect(host)
    assert facts.value("accelerator.name") == "NVIDIA H200 and NVIDIA L4"


def test_an_nvml_that_fails_leaves_the_answer_to_the_next_source() -> None:
    refused = {"nvmlDeviceGetCount()": {"refused": "Driver/library version mismatch"}}
    facts = detect(recorded("h200x8", nvml=refused))
    assert facts.value("accelerator.count") == 8


def test_the_tightest_limit_of_the_groups_that_a_process_is_in_counts() -> None:
    group = "/sys/fs/cgroup/system.slice/job_7"
    files = {
        "/proc/self/cgroup": "0::/system.slice/job_7/step_0",
        f"{group}/step_0/cpu.max": "max 100000",
        f"{group}/cpu.max": "1600000 100000",
        "/sys/fs/cgroup/system.slice/cpu.max": "max 100000",
        f"{group}/memory.max": str(64 << 30),
        "/sys/fs/cgroup/system.slice/memory.max": str(256 << 30),
    }
    facts = detect(recorded("b200x8", files=files))
    assert facts.value("container.processors") == 16.0
    assert facts.value("container.memory_bytes") == 64 << 30
    assert facts["container.processors"].source == "/proc/self/cgroup, cpu.max"


def test_a_process_in_no_group_of_its_own_has_the_containers_limits() -> None:
    facts = detect(recorded("h200x1-container", files={"/proc/self/cgroup": "0::/"}))
    assert facts.value("container.processors") == 8.0
    assert facts["container.memory_bytes"].source == "/sys/fs/cgroup/memory.max"


def test_the_nodes_of_a_job_are_the_schedulers() -> None:
    facts = detect_enough(recorded("gb200-tray", environment={"SLURM_JOB_NUM_NODES": "18"}))
    assert facts.value("accelerator.total") == 72


def test_a_machine_that_tells_nothing_is_all_unknown_and_no_error() -> None:
    facts = detect(RecordedHost({}, "nothing"))
    told = {key for key, fact in facts.items() if fact.value is not None}
    assert told == {"container.runtime"}


class Nonsense:
    """A host whose every answer is text that nobody expects."""

    def __init__(self, text: str) -> None:
        self.text = text

    def read(self, path: str) -> str:
        return self.text

    def entries(self, path: str) -> list[str]:
        return [self.text, "nvidia", "index0", "sda"]

    def run(self, *command: str) -> str:
        return self.text

    def nvml(self, function: str, *arguments: int) -> Any:
        return 2 if function == "nvmlDeviceGetCount" else self.text

    def version(self, distribution: str) -> str:
        raise UnavailableError("not installed")

    def environment(self, name: str) -> str:
        return self.text


@given(st.text(max_size=40))
def test_nonsense_raises_nothing(text: str) -> None:
    for key, fact in detect(Nonsense(text)).items():
        assert (fact.value is None) == bool(fact.why), key


@pytest.mark.parametrize("number", ["7" * 30, "-1", "1e9", "0-70000"])
def test_absurd_numbers_keep_detection_no_longer_than_others(number: str) -> None:
    assert detect(Nonsense(number))


def test_this_machine_tells_the_essentials() -> None:
    facts = detect(ThisHost())
    assert facts.number("cpu.threads")
    assert facts.number("memory.total_bytes")
    assert facts.value("accelerator.count") is not None


def test_this_host_says_why_it_cannot_answer(tmp_path: Path) -> None:
    host = ThisHost()
    with pytest.raises(UnavailableError, match="no such file"):
        host.read(str(tmp_path / "none"))
    with pytest.raises(UnavailableError, match="not installed"):
        host.run("a-command-that-nobody-has")
    with pytest.raises(UnavailableError, match="ended with 3: gone"):
        host.run("sh", "-c", "echo gone >&2; exit 3")
    with pytest.raises(UnavailableError, match="not installed"):
        host.version("a-distribution-that-nobody-has")


def test_importing_detection_looks_at_nothing() -> None:
    probe = (
        "import sys\n"
        "def refuse(event, arguments):\n"
        "    name = str(arguments[0]) if arguments else ''\n"
        "    if event in ('subprocess.Popen', 'os.system') or "
        "(event == 'open' and name.startswith(('/proc', '/sys'))):\n"
        "        raise RuntimeError(event + name)\n"
        "sys.addaudithook(refuse)\n"
        "import mlpinf_core.systems.detection, mlpinf_core.systems.registry, mlpinf_core.doctor\n"
        "assert 'pynvml' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", probe], check=True)
