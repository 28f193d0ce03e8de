"""`mlpinf system` and `mlpinf doctor` as they are typed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from click.shell_completion import ShellComplete

from mlpinf_core.cli import _run, cli
from mlpinf_core.rules import load_round

from .machines import MACHINES, NAMES

if TYPE_CHECKING:
    from pathlib import Path

B200 = str(MACHINES / "b200x8.toml")
LAPTOP = str(MACHINES / "laptop.toml")


@pytest.fixture
def mlpinf(capsys: pytest.CaptureFixture[str]) -> Any:
    def run(*arguments: object) -> tuple[int, str, str]:
        code = _run([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def test_detect_prints_every_fact_with_its_source(mlpinf: Any) -> None:
    code, out, _ = mlpinf("system", "detect", "--machine", B200)
    assert code == 0
    assert "NVML nvmlDeviceGetName(0)" in out
    assert "1.97 TiB" in out


def test_detect_prints_json(mlpinf: Any) -> None:
    code, out, _ = mlpinf("system", "detect", "--json")
    facts = json.loads(out)["facts"]
    assert code == 0
    assert facts["memory.total_bytes"]["source"] == "/proc/meminfo MemTotal"


def test_a_machine_is_recorded_and_looked_at_again(mlpinf: Any, tmp_path: Path) -> None:
    record = tmp_path / "deep" / "machine.toml"
    first = mlpinf("system", "detect", "--json", "--record", record)
    again = mlpinf("system", "detect", "--json", "--machine", record)
    assert first == again
    assert first[0] == 0


@pytest.mark.parametrize("machine", NAMES)
def test_match_explains_all_candidates(mlpinf: Any, machine: str) -> None:
    code, out, _ = mlpinf("system", "match", "--machine", MACHINES / f"{machine}.toml", "--json")
    found = json.loads(out)
    assert code == 0
    assert len(found["candidates"]) == 7
    for candidate in found["candidates"]:
        for finding in candidate["findings"]:
            assert finding["expected"]
            assert finding["holds"] or finding["why"]


def test_match_says_what_to_do_about_an_unknown_machine(mlpinf: Any) -> None:
    code, out, _ = mlpinf("system", "match", "--machine", MACHINES / "mig-vm.toml")
    assert code == 0
    assert out.startswith("UNREGISTERED_x86_64_NVIDIA-H200-MIGx7 (not registered)")
    assert "it is yes" in out
    assert "mlpinf system add" in out


def test_list_and_show_tell_of_the_known_systems(mlpinf: Any) -> None:
    code, out, _ = mlpinf("system", "list", "--json")
    assert code == 0
    for system in json.loads(out)["systems"]:
        code, shown, _ = mlpinf("system", "show", system["name"], "--json")
        assert code == 0
        assert json.loads(shown)["summary"] == system["summary"]
    _, out, _ = mlpinf("system", "show", "h200-sxm-141gbx8")
    assert "not measured here" in " ".join(out.split())  # however the line was broken


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (("system", "detet"), "detect"),
        (("docter",), "doctor"),
        (("system", "show", "H200-SXM-141GBx9"), "H200-SXM-141GBx"),
        (("system", "describe", "--system", "B200-SXM-180GBx9"), "B200-SXM-180GBx8"),
        (("system", "describe", "--field", "coolng=air"), "cooling"),
        (("system", "describe", "--field", "status=avaliable"), "available"),
        (("system", "describe", "--round", "v5.2"), "v5.1"),
        (("doctor", "--round", "v5.2"), "v5.1"),
        (("system", "describe", "--field", "cooling"), "KEY=VALUE"),
        (("plan", "null", "--system", "generic-CPUs"), "generic-CPU"),
        (("system", "add", "--name", "a/b"), "a-b"),
        (("system", "list", "--system-dir", "none"), "check the path"),
    ],
)
def test_a_typing_error_ends_with_2_and_the_nearest(
    mlpinf: Any, arguments: tuple[str, ...], hint: str
) -> None:
    code, _, err = mlpinf(*arguments)
    assert code == 2
    assert hint in err


def test_an_added_system_is_described_until_it_is_complete(mlpinf: Any, tmp_path: Path) -> None:
    where = ("--system-dir", tmp_path, "--machine", B200)
    code, out, _ = mlpinf("system", "add", "--name", "box", *where, "--json")
    added = json.loads(out)
    assert code == 0
    output = tmp_path / "systems" / "box.json"
    describe = ("system", "describe", "--output", output, *where)
    code, out, _ = mlpinf(*describe)
    assert code == 5
    assert f"not complete: {len(added['missing'])} of 35 fields are missing" in out
    assert not output.exists()
    said = {
        "division": "open", "status": "available", "system_type": "datacenter"
    }  # fmt: skip
    fields = [f"--field={key}={said.get(key, 'x')}" for key in added["missing"]]
    code, out, _ = mlpinf(*describe, *fields)
    assert code == 0, out
    assert "complete: 35 fields" in out
    official = json.loads(output.read_text())
    assert sorted(official) == sorted(load_round("v5.1").system_description.required)
    assert official["accelerators_per_node"] == 8


def test_a_draft_is_written_without_what_is_missing(mlpinf: Any, tmp_path: Path) -> None:
    output = tmp_path / "box.json"
    arguments = ("system", "describe", "--machine", LAPTOP, "--output", output, "--draft")
    code, _, _ = mlpinf(*arguments)
    assert code == 5
    assert "cooling" not in json.loads(output.read_text())


def test_describe_prints_json_for_every_round(mlpinf: Any) -> None:
    for name in ("v5.1", "v6.0", "v6.1"):
        arguments = ("system", "describe", "--round", name, "--machine", LAPTOP, "--power")
        code, out, _ = mlpinf(*arguments, "--json")
        found = json.loads(out)
        assert code == 5
        assert found["round"] == name
        assert not found["complete"]
        assert len(found["fields"]) == 50


def test_the_environment_names_the_system_that_is_described(
    mlpinf: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SYSTEM_NAME", "H200-SXM-141GBx8")
    _, out, _ = mlpinf("system", "describe", "--machine", LAPTOP, "--json")
    found = json.loads(out)
    assert found["system"]["how"] == "environment variable SYSTEM_NAME"
    assert found["description"]["accelerators_per_node"] == 8


def test_adding_twice_needs_force(mlpinf: Any, tmp_path: Path) -> None:
    arguments = ("system", "add", "--name", "box", "--system-dir", tmp_path, "--machine", LAPTOP)
    assert mlpinf(*arguments)[0] == 0
    (tmp_path / "box.toml").write_text("# mine\n")
    code, _, err = mlpinf(*arguments)
    assert code == 2
    assert "--force" in err
    assert (tmp_path / "box.toml").read_text() == "# mine\n"
    assert mlpinf(*arguments, "--force")[0] == 0


def test_an_added_system_is_the_users_and_is_recognised_from_then_on(
    mlpinf: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert mlpinf("system", "add", "--name", "box", "--machine", B200)[0] == 0
    assert (tmp_path / "mlpinf" / "systems" / "box.toml").is_file()
    _, out, _ = mlpinf("system", "match", "--machine", B200)
    assert out.startswith("box (recognised)")


def test_two_systems_of_one_name_stop_every_look_up(mlpinf: Any, tmp_path: Path) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "box.toml").write_text("")
    directories = ("--system-dir", tmp_path / "one", "--system-dir", tmp_path / "two")
    for command in (("system", "list"), ("plan", "null")):
        code, _, err = mlpinf(*command, *directories)
        assert code == 2
        assert str(tmp_path / "one" / "box.toml") in err
        assert str(tmp_path / "two" / "box.toml") in err


def test_a_known_systems_name_is_not_given_again(mlpinf: Any, tmp_path: Path) -> None:
    arguments = ("system", "add", "--name", "h200-sxm-141gbx8", "--system-dir", tmp_path)
    code, _, err = mlpinf(*arguments, "--machine", LAPTOP)
    assert code == 2
    assert "already" in err
    assert not list(tmp_path.iterdir())


def test_doctor_ends_with_0_where_there_are_warnings_alone(mlpinf: Any) -> None:
    code, out, _ = mlpinf("doctor", "--machine", B200)
    assert code == 0
    assert "nvidia-smi -pm 1" in out


def test_doctor_ends_with_5_where_something_prevents_runs(
    mlpinf: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MLPERF_SCRATCH_PATH", str(tmp_path / "file" / "x"))
    code, out, _ = mlpinf("doctor", "--json")
    assert code == 5
    states = {check["name"]: check["state"] for check in json.loads(out)["checks"]}
    assert states["scratch space"] == "failed"


def test_a_plan_says_which_system_it_is_for(mlpinf: Any, tmp_path: Path) -> None:
    (tmp_path / "box.toml").write_text("[sut]\nworkers = 2\n")
    arguments = ("plan", "null", "--system", "box", "--system-dir", tmp_path, "--json")
    code, out, _ = mlpinf(*arguments)
    checks = {check["name"]: check for check in json.loads(out)["checks"]}
    assert code == 0
    assert checks["system"]["detail"].startswith("box: --system")


@pytest.mark.parametrize("setting", ["run.cpus=60000", "sut.worker_cpus=60000"])
def test_a_plan_says_that_processors_are_not_there(mlpinf: Any, setting: str) -> None:
    code, out, _ = mlpinf("plan", "null", "--set", setting, "--json")
    states = {check["name"]: check["state"] for check in json.loads(out)["checks"]}
    assert code == 5
    assert states[setting.partition("=")[0]] == "failed"


def completions(*arguments: str) -> list[str]:
    *before, incomplete = arguments
    found = ShellComplete(cli, {}, "mlpinf", "_MLPINF_COMPLETE")
    return [item.value for item in found.get_completions(list(before), incomplete)]


def test_systems_and_their_commands_are_completed() -> None:
    assert "detect" in completions("system", "d")
    assert completions("system", "show", "h200") == ["H200-SXM-141GBx1", "H200-SXM-141GBx8"]
    assert completions("run", "null", "--system", "generic") == ["generic-CPU"]
    assert completions("doctor", "--round", "v6") == ["v6.0", "v6.1"]
