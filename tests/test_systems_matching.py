"""Which known system a machine is, and why it is not another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlpinf_core.errors import ConfigurationError, UnknownNameError
from mlpinf_core.systems.choice import choose, generated_name
from mlpinf_core.systems.detection import detect, detect_enough
from mlpinf_core.systems.facts import Fact, Facts
from mlpinf_core.systems.files import sanitised
from mlpinf_core.systems.matching import match, parse_rules
from mlpinf_core.systems.recording import RecordedHost
from mlpinf_core.systems.registry import Registry

from .machines import SHIPPED, facts_of, recorded

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def registry() -> Registry:
    return Registry.load([SHIPPED], environ={"XDG_CONFIG_HOME": "/nonexistent"})


def known(**values: Any) -> Facts:
    """Facts by their keys with ``__`` for the dot."""
    return Facts({key.replace("__", "."): Fact(value, "test") for key, value in values.items()})


@pytest.mark.parametrize(
    ("machine", "system"),
    [
        ("b200x8", "B200-SXM-180GBx8"),
        ("gb200-tray", "GB200-NVL72_GB200-186GB_aarch64x4"),
        ("h200x8", "H200-SXM-141GBx8"),
        ("h200x1-container", "H200-SXM-141GBx1"),
        ("laptop", "generic-CPU"),
    ],
)
def test_a_known_system_is_recognised(machine: str, system: str, registry: Registry) -> None:
    choice = choose(None, registry, lambda: facts_of(machine), {})
    assert (choice.name, choice.how) == (system, "recognised")
    assert choice.match is not None
    assert choice.match.score == 1


def test_a_rack_is_recognised_by_the_nodes_that_the_scheduler_tells(registry: Registry) -> None:
    facts = detect_enough(recorded("gb200-tray", environment={"SLURM_NNODES": "18"}))
    choice = choose(None, registry, lambda: facts, {})
    assert choice.name == "GB200-NVL72_GB200-186GB_aarch64x72"


def test_what_is_unknown_does_not_speak_against_a_system(registry: Registry) -> None:
    facts = detect_enough(recorded("h200x8", without=("nvml",)))
    choice = choose(None, registry, lambda: facts, {})
    assert choice.name == "H200-SXM-141GBx8"
    assert choice.match is not None
    assert choice.match.score < 1


def test_parts_of_a_device_are_not_the_device(registry: Registry) -> None:
    choice = choose(None, registry, lambda: facts_of("mig-vm"), {})
    assert choice.how == "not registered"
    assert choice.file is None
    assert choice.name == "UNREGISTERED_x86_64_NVIDIA-H200-MIGx7"


def test_an_nvl_card_is_not_the_sxm_module(registry: Registry) -> None:
    host = recorded("h200x8", nvml={"nvmlDeviceGetName({0-7})": "NVIDIA H200 NVL"})
    choice = choose(None, registry, lambda: detect(host), {})
    assert choice.name == "UNREGISTERED_x86_64_NVIDIA-H200-NVLx8"


def test_a_candidate_says_what_differs_and_by_how_much(registry: Registry) -> None:
    half = {"nvmlDeviceGetCount()": 4, "nvmlDeviceGetMemoryInfo({0-3})": {"total": 100 << 30}}
    facts = detect_enough(recorded("h200x8", nvml=half))
    assert not any(found.fits for found in registry.matches(facts))
    eight = next(m for m in registry.matches(facts) if m.name == "H200-SXM-141GBx8")
    why = {finding.rule.key: finding.why for finding in eight.findings if not finding.holds}
    assert why == {
        "accelerator.total": "it is 4, 4 less (50 %)",
        "accelerator.memory_bytes": "it is 100 GiB, 40.4 GiB less (29 %)",
    }


def test_an_unknown_fact_says_why_it_is_unknown(registry: Registry) -> None:
    found = next(m for m in registry.matches(facts_of("laptop")) if m.name == "B200-SXM-180GBx8")
    why = {finding.rule.key: finding.why for finding in found.findings}
    assert why["accelerator.name"] == "unknown: there is no accelerator"


def test_all_candidates_are_scored_the_best_first(registry: Registry) -> None:
    found = registry.matches(facts_of("gb200-tray"))
    assert len(found) == len(registry.systems)
    assert [m.rank for m in found] == sorted((m.rank for m in found), reverse=True)


def test_a_system_that_says_more_of_a_machine_is_preferred(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(
        '[match]\n"accelerator.count" = 0\n"cpu.model" = { pattern = "Intel.*i7-8550U.*" }\n'
    )
    registry = Registry.load([SHIPPED, tmp_path], environ={"XDG_CONFIG_HOME": "/nonexistent"})
    assert choose(None, registry, lambda: facts_of("laptop"), {}).name == "mine"


@pytest.mark.parametrize(
    ("rule", "value", "holds"),
    [
        ("nvidia-b200", "NVIDIA B200", True),
        (8, 8, True),
        (8, True, False),
        (8.0, 8, True),
        (1, True, False),
        (False, False, True),
        (False, 0, False),
        ({"any": ["a", "b"]}, "B", True),
        ({"any": ["a", "b"]}, "c", False),
        ({"pattern": "NVIDIA H200( SXM.*)?"}, "nvidia h200", True),
        ({"pattern": "NVIDIA H200( SXM.*)?"}, "NVIDIA H200 NVL", False),
        ({"near": 100, "tolerance": 0.05}, 95, True),
        ({"near": 100, "tolerance": 0.05}, 94, False),
        ({"near": 100, "tolerance": 0.05}, "100", False),
        ({"least": 4}, 4, True),
        ({"most": 4}, 5, False),
    ],
)
def test_a_rule_holds_for_what_it_describes(rule: Any, value: Any, holds: bool) -> None:
    (parsed,) = parse_rules({"accelerator.name": rule}, "test")
    assert parsed.holds(value) is holds


@given(st.integers(1, 10**13), st.floats(0, 0.5), st.floats(-1, 1))
def test_a_tolerance_holds_on_both_sides(wanted: int, tolerance: float, off: float) -> None:
    (rule,) = parse_rules({"memory.total_bytes": {"near": wanted, "tolerance": tolerance}}, "test")
    value = wanted * (1 + off)
    assert rule.holds(value) is (abs(value - wanted) <= tolerance * wanted)


def test_a_rule_for_the_score_alone_breaks_nothing() -> None:
    table = {"accelerator.count": 8, "cpu.sockets": {"is": 2, "required": False}}
    found = match("x", parse_rules(table, "test"), known(accelerator__count=8, cpu__sockets=4))
    assert not found.fits
    table["memory.total_bytes"] = {"least": 1}
    facts = known(accelerator__count=8, cpu__sockets=4, memory__total_bytes=2)
    assert match("x", parse_rules(table, "test"), facts).fits


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"accelerator.nam": "x"}, "accelerator.nam"),
        ({"cpu.model": {"like": "x"}}, "like"),
        ({"cpu.model": {"tolerance": 0.1}}, "needs one of"),
        ({"cpu.model": {"is": "x", "any": ["x"]}}, "has 2"),
        ({"cpu.cores": {"near": "many"}}, "takes a number"),
        ({"cpu.cores": {"near": 5, "tolerance": 5}}, "fraction"),
        ({"cpu.model": {"any": "x"}}, "takes a list"),
        ({"cpu.model": {"pattern": "("}}, "regular expression"),
        ({"cpu.model": {"is": "x", "weight": 0}}, "weight"),
        ({"cpu.model": {"is": "x", "required": "no"}}, "required"),
    ],
)
def test_a_rule_that_is_wrong_is_refused(table: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message) as caught:
        parse_rules(table, "mine.toml")
    assert "mine.toml" in str(caught.value.where)


def test_the_name_is_generated_of_what_is_known() -> None:
    assert generated_name(detect(RecordedHost({}, ""))) == (
        "UNREGISTERED_unknown_unknown-accelerators"
    )
    facts = known(
        cpu__architecture="x86_64", accelerator__total=4, accelerator__name="NVIDIA L40S / 48 GB"
    )
    assert generated_name(facts) == "UNREGISTERED_x86_64_NVIDIA-L40S-48-GBx4"
    bare = known(cpu__architecture="riscv64", accelerator__total=0, cpu__sockets=2)
    assert generated_name(bare) == "UNREGISTERED_riscv64_CPUx2"


@given(st.text())
def test_a_sanitised_name_is_a_plain_name(text: str) -> None:
    name = sanitised(text)
    assert name
    assert name.isascii()
    assert not set(name) & set("/\\ \0")
    assert not name.startswith((".", "-"))


def refuse() -> Facts:
    raise AssertionError("nothing needs to be detected")


def test_a_name_stands_above_recognition(registry: Registry) -> None:
    choice = choose("h200_sxm-141gbx8", registry, refuse, {"SYSTEM_NAME": "generic-CPU"})
    assert (choice.name, choice.how) == ("H200-SXM-141GBx8", "--system")


def test_the_environment_names_the_system(registry: Registry) -> None:
    choice = choose(None, registry, refuse, {"SYSTEM_NAME": "B200-SXM-180GBx8"})
    assert (choice.name, choice.how) == ("B200-SXM-180GBx8", "environment variable SYSTEM_NAME")


def test_none_means_no_system(registry: Registry) -> None:
    assert choose("none", registry, refuse, {}).file is None


def test_an_unknown_name_is_refused_with_the_nearest_and_who_gave_it(registry: Registry) -> None:
    with pytest.raises(UnknownNameError) as caught:
        choose(None, registry, refuse, {"SYSTEM_NAME": "B200-SXM-180GBx9"})
    assert "SYSTEM_NAME" in str(caught.value.where)
    assert "B200-SXM-180GBx8" in str(caught.value.remedy)
    assert "mlpinf system add" in str(caught.value.remedy)
