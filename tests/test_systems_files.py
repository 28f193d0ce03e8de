"""System files: where they are found, what they may say, and the shipped ones."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from typing import TYPE_CHECKING

import pytest

from mlpinf_core import builtin
from mlpinf_core.errors import ConfigurationError, UnknownNameError
from mlpinf_core.plan import Request, make_plan
from mlpinf_core.plugins import Plugins
from mlpinf_core.rules import ROUNDS, load_round
from mlpinf_core.systems.files import read_system_file
from mlpinf_core.systems.registry import (
    Registry,
    new_files_directory,
    shipped_directory,
    user_directory,
)
from mlpinf_core.vocabulary import Mode

from .machines import SHIPPED, recorded

if TYPE_CHECKING:
    from pathlib import Path

NOWHERE = {"XDG_CONFIG_HOME": "/nonexistent"}


def write(directory: Path, name: str, text: str = "[sut]\nworkers = 3\n") -> Path:
    directory.mkdir(exist_ok=True)
    path = directory / f"{name}.toml"
    path.write_text(text)
    return path


def test_the_five_systems_of_the_field_and_a_generic_one_are_shipped() -> None:
    assert shipped_directory() == SHIPPED
    assert sorted(Registry.load([SHIPPED], environ=NOWHERE).systems) == [
        "B200-SXM-180GBx8",
        "GB200-NVL72_GB200-186GB_aarch64x4",
        "GB200-NVL72_GB200-186GB_aarch64x72",
        "GB300-NVL72_GB300-288GB_aarch64x72",
        "H200-SXM-141GBx1",
        "H200-SXM-141GBx8",
        "generic-CPU",
    ]


@pytest.mark.parametrize("path", sorted(SHIPPED.glob("*.toml")), ids=lambda path: path.stem)
def test_a_shipped_file_says_nothing_that_rounds_and_settings_do_not_know(path: Path) -> None:
    system = read_system_file(path)
    assert system.name == path.stem
    assert system.rules
    benchmarks = {name for round_ in ROUNDS for name in load_round(round_).benchmarks}
    assert {name for name, _ in system.settings.names("benchmark")} <= benchmarks


@pytest.mark.parametrize("path", sorted(SHIPPED.glob("*.toml")), ids=lambda path: path.stem)
def test_shipped_settings_say_that_they_were_not_measured(path: Path) -> None:
    system = read_system_file(path)
    assert not system.settings.values
    for entry in system.settings.entries:
        assert "starting point, not measured here" in entry.origin
        assert entry.selectors["variant"] == ("full",)


def test_every_shipped_setting_resolves(tmp_path: Path) -> None:
    """The rounds' benchmarks may not be installed; their settings of the core are checked all the
    same, on a benchmark that is."""
    plugins = Plugins([("core", builtin)])
    for path in SHIPPED.glob("*.toml"):
        text = path.read_text()
        for name in {n for n, _ in read_system_file(path).settings.names("benchmark")}:
            text = text.replace(f'benchmark = "{name}"', 'benchmark = "null"')
        mine = write(tmp_path, path.stem, text)
        plan = make_plan(Request(("null",), system=str(mine)), plugins)
        for run in plan.runs:
            assert run.config(plugins, Mode.PERFORMANCE).sut.max_batch_size > 0


def test_the_wheel_brings_the_system_files(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation"]
    done = subprocess.run(
        [*build, "--quiet", "--wheel-dir", str(tmp_path), str(SHIPPED.parent)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode and "hatchling" in done.stderr:
        pytest.skip("hatchling is not installed, and nothing is fetched here")
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    packaged = {name.removeprefix("mlpinf_core/systems/known/") for name in names}
    assert {path.name for path in SHIPPED.glob("*.toml")} <= packaged
    assert "mlpinf_core/systems/expected.toml" in names


def test_systems_are_found_where_the_user_puts_them(tmp_path: Path) -> None:
    write(tmp_path / "given", "given")
    write(tmp_path / "named", "named")
    write(tmp_path / "also", "also")
    (tmp_path / "config" / "mlpinf").mkdir(parents=True)
    write(tmp_path / "config" / "mlpinf" / "systems", "own")
    write(tmp_path / "offered", "offered")
    environ = {
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
        "MLPINF_SYSTEMS": os.pathsep.join((str(tmp_path / "named"), str(tmp_path / "also"))),
    }
    registry = Registry.load([tmp_path / "offered"], [tmp_path / "given"], environ)
    assert sorted(registry.systems) == ["also", "given", "named", "offered", "own"]


def test_new_systems_are_the_users_or_go_where_they_are_kept(tmp_path: Path) -> None:
    environ = {"XDG_CONFIG_HOME": "/etc/x"}
    assert str(user_directory(environ)) == "/etc/x/mlpinf/systems"
    assert new_files_directory(environ) == user_directory(environ)
    assert new_files_directory({**environ, "MLPINF_SYSTEMS": str(tmp_path)}) == tmp_path


def test_two_systems_of_one_name_are_an_error_that_names_both_files(tmp_path: Path) -> None:
    one = write(tmp_path / "one", "box")
    two = write(tmp_path / "two", "other", '[system]\nname = "BOX"\n')
    with pytest.raises(ConfigurationError, match="two systems are named 'BOX'") as caught:
        Registry.load([tmp_path / "one"], [tmp_path / "two"], NOWHERE)
    assert str(one) in str(caught.value.where)
    assert str(two) in str(caught.value.where)


def test_a_directory_given_twice_is_no_second_system(tmp_path: Path) -> None:
    write(tmp_path / "one", "box")
    assert list(Registry.load([tmp_path / "one"], [tmp_path / "one"], NOWHERE).systems) == ["box"]


@pytest.mark.parametrize("given", [True, False])
def test_a_directory_that_is_not_there_is_an_error(tmp_path: Path, given: bool) -> None:
    missing = tmp_path / "none"
    environ = NOWHERE if given else {**NOWHERE, "MLPINF_SYSTEMS": str(missing)}
    with pytest.raises(ConfigurationError, match="no such directory"):
        Registry.load([], [missing] if given else [], environ)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[sytem]\nname = 'x'\n", "sytem"),
        ("[system]\nnam = 'x'\n", "nam"),
        ("[system]\nname = 3\n", "not text"),
        ("[system]\nname = '../x'\n", "cannot be named"),
        ("system = 1\n", "is a table"),
        ("[description]\nsubmiter = 'x'\n", "submiter"),
        ("[description]\ncooling = ['air']\n", "neither text nor a number"),
        ("[loadgen]\ntarget_qp = 1\n", "target_qp"),
        ("[match]\n'cpu.modell' = 'x'\n", "cpu.modell"),
        ("[match\n", "not TOML"),
    ],
)
def test_what_a_system_file_may_not_say(tmp_path: Path, text: str, message: str) -> None:
    path = write(tmp_path, "box", text)
    with pytest.raises(ConfigurationError, match=message) as caught:
        read_system_file(path)
    assert str(path) in str(caught.value.where)


# -- in a plan -------------------------------------------------------------------------------------


@pytest.fixture
def plugins() -> Plugins:
    return Plugins([("core", builtin)])


def test_a_recognised_systems_settings_are_used_and_named(plugins: Plugins, tmp_path: Path) -> None:
    text = (
        '[system]\nsettings_origin = "tried out"\n[match]\n"accelerator.name" = "NVIDIA B200"\n'
        '"accelerator.count" = 8\n"cpu.sockets" = 2\n"cpu.architecture" = "x86_64"\n'
        '"system.product" = "DGXB200"\n"accelerator.nvlinks" = 18\n"cpu.cores" = 112\n'
        '[[for]]\nbenchmark = "null"\nsut.workers = 5\n'
    )
    write(tmp_path, "mine", text)
    request = Request(("null",), system_directories=(tmp_path,))
    plan = make_plan(request, plugins, recorded("b200x8"))
    assert (plan.system.name, plan.system.how) == ("mine", "recognised")
    config = plan.runs[0].config(plugins, Mode.PERFORMANCE)
    assert config.sut.workers == 5
    assert config.origins["sut.workers"].endswith("mine.toml (tried out) [[for]] #1")


def test_an_unknown_machine_is_not_refused(plugins: Plugins) -> None:
    plan = make_plan(Request(("null",)), plugins, recorded("mig-vm"))
    assert plan.system.how == "not registered"
    assert plan.runs


def test_a_system_file_may_name_benchmarks_that_are_not_installed(
    plugins: Plugins, tmp_path: Path
) -> None:
    path = write(
        tmp_path, "box", '[[for]]\nbenchmark = "whisper"\nbackend = "a"\nsut.workers = 2\n'
    )
    assert make_plan(Request(("null",), system=str(path)), plugins).runs


def test_a_benchmark_that_no_round_knows_is_a_mistake_in_a_system_file(
    plugins: Plugins, tmp_path: Path
) -> None:
    path = write(tmp_path, "box", '[[for]]\nbenchmark = "wisper"\nsut.workers = 2\n')
    with pytest.raises(UnknownNameError, match="wisper") as caught:
        make_plan(Request(("null",), system=str(path)), plugins)
    assert "whisper" in str(caught.value.remedy)
