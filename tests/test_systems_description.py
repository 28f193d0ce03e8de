"""The official description of a system, and the file that `mlpinf system add` writes."""

from __future__ import annotations

import json
import stat
import tomllib
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlpinf_core.errors import ConfigurationError, PrerequisiteError, UnknownNameError
from mlpinf_core.rules import ROUNDS, load_round
from mlpinf_core.systems.adding import MARK, system_file_text, write_system_file
from mlpinf_core.systems.description import Description, FieldState, describe, expectation
from mlpinf_core.systems.facts import Fact, Facts
from mlpinf_core.systems.files import check_description_key, read_system_file
from mlpinf_core.systems.registry import Registry

from .machines import NAMES, SHIPPED, facts_of

if TYPE_CHECKING:
    from pathlib import Path

PERSONS = {
    "division": "open",
    "submitter": "ACME",
    "status": "available",
    "system_name": "Box",
    "system_type": "datacenter",
    "host_networking_topology": "N/A",
    "host_networking": "Ethernet",
    "host_memory_configuration": "24 × 64 GB DDR5",
    "host_storage_capacity": "1 TB",
    "host_storage_type": "NVMe SSD",
    "host_network_card_count": 1,
    "framework": "TensorRT 10",
    "operating_system": "Linux",
    "other_software_stack": "CUDA 12.8",
    "accelerator_host_interconnect": "PCIe Gen5 x16",
    "accelerator_memory_configuration": "HBM3e",
    "accelerator_interconnect": "NVLink",
    "accelerator_memory_capacity": "141 GB",
    "host_processor_core_count": 8,
    "host_processors_per_node": 1,
    "cooling": "air",
}
"""What no machine tells of itself, and what some of the recorded ones do not tell."""


def described(machine: str, given: dict[str, Any] | None = None, **options: Any) -> Description:
    given = given or {}
    origins = dict.fromkeys(given, "mine.toml")
    options = {"round": "v5.1", **options}
    return describe("Box", facts_of(machine), given, origins=origins, **options)


@pytest.mark.parametrize("round_", ROUNDS)
def test_every_key_that_a_round_wants_has_an_expectation(round_: str) -> None:
    rules = load_round(round_).system_description
    assert len(rules.required) == 35
    for key in (*rules.required, *rules.power):
        assert expectation(key), key


@pytest.mark.parametrize("machine", NAMES)
@pytest.mark.parametrize("round_", ROUNDS)
def test_a_description_has_the_rounds_keys_and_says_where_each_is_from(
    machine: str, round_: str
) -> None:
    found = described(machine, round=round_)
    assert [f.key for f in found.fields] == list(load_round(round_).system_description.required)
    for field in found.fields:
        silent = field.state in (FieldState.MISSING, FieldState.EMPTY)
        assert (field.value is None) == silent
        assert bool(field.source) != silent
        assert field.expected


@pytest.mark.parametrize("machine", NAMES)
def test_what_a_person_has_to_say_is_missing_until_it_is_said(machine: str) -> None:
    bare = described(machine)
    assert not bare.complete
    missing = {field.key for field in bare.missing}
    assert {"division", "submitter", "status", "system_type", "cooling"} <= missing
    assert not missing & set(bare.official())
    whole = described(machine, PERSONS)
    assert whole.complete, whole.missing
    assert set(whole.official()) == set(load_round("v5.1").system_description.required)


@pytest.mark.parametrize("key", load_round("v5.1").system_description.meaningful)
def test_a_description_is_not_complete_without_a_meaningful_field(key: str) -> None:
    field = next(f for f in described("laptop", PERSONS).fields if f.key == key)
    if field.state is FieldState.DETECTED:
        return
    given = {k: v for k, v in PERSONS.items() if k != key}
    found = next(f for f in described("laptop", given).fields if f.key == key)
    assert found.state in (FieldState.MISSING, FieldState.DETECTED)
    assert described("laptop", given).complete == (found.state is FieldState.DETECTED)


def test_a_machine_without_accelerators_has_the_text_0_of_them() -> None:
    official = json.loads(described("laptop", PERSONS).official_json())
    assert official["accelerators_per_node"] == "0"
    assert official["accelerator_model_name"] == "N/A"


def test_the_number_0_is_written_as_text_also_where_it_is_given() -> None:
    official = described("laptop", {**PERSONS, "host_network_card_count": 0}).official()
    assert official["host_network_card_count"] == "0"


def test_detected_fields_are_what_was_detected() -> None:
    fields = {field.key: field for field in described("b200x8").fields}
    assert fields["host_processor_core_count"].value == 56
    assert fields["host_processors_per_node"].value == 2
    assert fields["accelerators_per_node"].value == 8
    assert fields["accelerator_host_interconnect"].value == "PCIe Gen5 x16"
    assert fields["system_name"].value == "NVIDIA DGXB200 (8x NVIDIA B200)"
    assert fields["host_processor_frequency"].value == "2.1 GHz base, 4 GHz highest"
    assert fields["host_memory_configuration"].source == "dmidecode -t memory"


def test_what_the_file_says_stands_above_what_is_detected_and_both_are_told() -> None:
    found = described("b200x8", {"accelerator_memory_capacity": "180 GB"})
    field = next(f for f in found.fields if f.key == "accelerator_memory_capacity")
    assert (field.value, field.state, field.source) == ("180 GB", FieldState.GIVEN, "mine.toml")
    assert field.detected == "179 GiB"


def test_power_fields_are_asked_for_on_request() -> None:
    rules = load_round("v5.1").system_description
    keys = [field.key for field in described("b200x8", power=True).fields]
    assert keys == [*rules.required, *rules.power]
    fields = {field.key: field for field in described("b200x8", power=True).fields}
    assert fields["boot_firmware_version"].value == "1.4.2"
    assert fields["power_management"].value == "governor powersave"


def test_optional_fields_are_there_when_they_are_given() -> None:
    assert described("laptop", {"is_network": "false"}).official()["is_network"] == "false"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("status", "avaliable"),
        ("division", "close"),
        ("system_type", "server"),
        ("number_of_nodes", "two"),
    ],
)
def test_a_value_that_the_round_does_not_admit_is_refused(key: str, value: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        described("laptop", {key: value})
    assert "mine.toml" in str(caught.value.where)


# -- adding ----------------------------------------------------------------------------------------


def added(machine: str) -> str:
    facts = facts_of(machine)
    return system_file_text("Box", facts, describe("Box", facts, {}, origins={}, round="v5.1"))


@pytest.mark.parametrize("machine", NAMES)
def test_an_added_system_is_recognised_again(machine: str, tmp_path: Path) -> None:
    (tmp_path / "Box.toml").write_text(added(machine))
    registry = Registry.load([SHIPPED, tmp_path], environ={"XDG_CONFIG_HOME": "/nonexistent"})
    best = registry.matches(facts_of(machine))[0]
    assert (best.name, best.fits) == ("Box", True)


@pytest.mark.parametrize("machine", NAMES)
def test_detected_values_are_filled_in_and_the_rest_is_marked(machine: str, tmp_path: Path) -> None:
    path = tmp_path / "Box.toml"
    path.write_text(added(machine))
    facts = facts_of(machine)
    description = describe("Box", facts, {}, origins={}, round="v5.1")
    system = read_system_file(path)
    for field in description.fields:
        if field.state is FieldState.DETECTED and "software" not in field.source:
            said = system.description.get(field.key, field.value)
            assert said == field.value
        if field.state is FieldState.MISSING:
            (line,) = [ln for ln in path.read_text().splitlines() if ln.startswith(field.key + " ")]
            assert MARK in line
            assert field.key not in system.description
    filled = describe(
        "Box",
        facts,
        system.description,
        origins=dict.fromkeys(system.description, str(path)),
        round="v5.1",
    )
    assert filled.official() == description.official()


def test_several_numa_nodes_get_a_suggestion_for_workers() -> None:
    assert '# worker_cpus = ["node:0", "node:1"]' in added("b200x8")
    assert "worker_cpus" not in added("laptop")


def test_a_file_is_not_overwritten_unless_it_is_forced(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "Box.toml"
    write_system_file(path, "[sut]\n", force=False)
    with pytest.raises(ConfigurationError, match="already"):
        write_system_file(path, "[run]\n", force=False)
    assert path.read_text() == "[sut]\n"
    write_system_file(path, "[run]\n", force=True)
    assert path.read_text() == "[run]\n"
    assert list(path.parent.iterdir()) == [path]


def test_a_directory_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(PrerequisiteError, match="cannot be written"):
        write_system_file(tmp_path / "file" / "Box.toml", "", force=True)


def test_an_added_file_is_the_users_to_edit(tmp_path: Path) -> None:
    path = tmp_path / "Box.toml"
    write_system_file(path, "", force=False)
    assert path.stat().st_mode & stat.S_IWUSR


@given(st.text(min_size=1, max_size=30))
def test_whatever_a_machine_says_the_added_file_can_be_read(text: str) -> None:
    said = {
        key: Fact(text if isinstance(fact.value, str) else fact.value, text, fact.why and text)
        for key, fact in facts_of("h200x8").items()
    }
    facts = Facts(said)
    description = describe("Box", facts, {}, origins={}, round="v5.1")
    data = tomllib.loads(system_file_text("Box", facts, description))
    assert data["match"]["cpu.model"] == text


def test_unknown_description_keys_name_the_nearest() -> None:
    with pytest.raises(UnknownNameError) as caught:
        check_description_key("acelerator_model_name", "--field")
    assert "accelerator_model_name" in str(caught.value.remedy)
