"""What would hurt a result, on recorded machines; each with its remedy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from mlpinf_core.doctor import examine
from mlpinf_core.preflight import Check, CheckState
from mlpinf_core.scratch import Scratch

from .machines import NAMES, recorded

if TYPE_CHECKING:
    from pathlib import Path

    from mlpinf_core.systems.recording import RecordedHost


@pytest.fixture
def checked(tmp_path: Path):
    def check(host: RecordedHost) -> dict[str, Check]:
        return {c.name: c for c in examine(host, Scratch(tmp_path), "v5.1")}

    return check


@pytest.mark.parametrize("machine", NAMES)
def test_every_warning_has_a_remedy_and_nothing_recorded_prevents_a_run(machine, checked) -> None:
    for check in checked(recorded(machine)).values():
        assert check.detail
        assert check.state is not CheckState.FAILED
        assert (check.state is CheckState.WARNING) <= bool(check.remedy)


@pytest.mark.parametrize(
    ("machine", "name", "detail"),
    [
        ("b200x8", "governor", "powersave"),
        ("b200x8", "NUMA balancing", "moves pages"),
        ("b200x8", "swap", "8 GiB, 0 bytes of it in use"),
        ("b200x8", "huge pages", "off"),
        ("b200x8", "open files", "1024"),
        ("b200x8", "persistence", "accelerators 4-7"),
        ("b200x8", "clocks", "accelerators 7: heat, by the hardware"),
        ("b200x8", "power limit", "accelerators 0-7: 900 W of 1000 W"),
        ("b200x8", "other processes", "accelerators 7: 37.8 GiB in use"),
        ("gb200-tray", "clocks", "accelerators 1: heat, by the driver"),
        ("h200x1-container", "processors for use", "8 of 16"),
        ("h200x1-container", "memory for use", "64 GiB of 126 GiB"),
        ("laptop", "governor", "powersave"),
        ("laptop", "other work", "3.1 on 8"),
        ("laptop", "swap", "977 MiB of it in use"),
        ("mig-vm", "MIG", "on on accelerators 0"),
        ("mig-vm", "persistence", "off on accelerators 0"),
    ],
)
def test_what_hurts_is_told(machine: str, name: str, detail: str, checked) -> None:
    check = checked(recorded(machine))[name]
    assert check.state is CheckState.WARNING
    assert detail in check.detail


@pytest.mark.parametrize(
    ("machine", "name"),
    [
        ("b200x8", "MIG"),
        ("gb200-tray", "governor"),
        ("gb200-tray", "persistence"),
        ("gb200-tray", "power limit"),
        ("gb200-tray", "other processes"),
        ("gb200-tray", "swap"),
        ("laptop", "huge pages"),
        ("laptop", "accelerators"),
    ],
)
def test_what_is_right_is_ok(machine: str, name: str, checked) -> None:
    assert checked(recorded(machine))[name].state is CheckState.OK


def test_what_cannot_be_looked_at_is_unknown(checked) -> None:
    checks = checked(recorded("h200x1-container"))
    assert checks["governor"].state is CheckState.UNKNOWN
    assert checked(recorded("h200x8"))["clocks"].state is CheckState.UNKNOWN


@pytest.mark.parametrize(
    ("mount", "state", "detail"),
    [
        ("server:/x / nfs4 rw 0 0", CheckState.WARNING, "network"),
        ("tmpfs / tmpfs rw 0 0", CheckState.WARNING, "memory"),
        ("/dev/sda1 / ext4 rw 0 0", CheckState.WARNING, "rotates"),
        ("/dev/nvme0n1p2 / ext4 rw 0 0", CheckState.OK, "NVMe SSD"),
        ("overlay / overlay rw 0 0", CheckState.UNKNOWN, "overlay"),
    ],
)
def test_the_disk_of_the_scratch_space_is_told_by_its_mount(
    mount: str, state: CheckState, detail: str, checked
) -> None:
    check = checked(recorded("laptop", files={"/proc/mounts": mount}))["disk"]
    assert check.state is state
    assert detail in check.detail


def test_a_scratch_space_that_cannot_be_used_prevents_runs(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    checks = examine(recorded("laptop"), Scratch(tmp_path / "file" / "scratch"), "v5.1")
    found = {check.name: check for check in checks}["scratch space"]
    assert found.state is CheckState.FAILED
    assert "MLPERF_SCRATCH_PATH" in str(found.remedy)


def test_the_loadgen_wheel_is_held_against_the_round(tmp_path: Path) -> None:
    from mlpinf_core.loadgen.settings import embedded_round

    embedded = embedded_round()
    assert embedded is not None
    other = "v5.1" if embedded != "v5.1" else "v6.0"
    states = [
        {c.name: c for c in examine(recorded("laptop"), Scratch(tmp_path), name)}["LoadGen"].state
        for name in (embedded, other)
    ]
    assert states == [CheckState.OK, CheckState.WARNING]
