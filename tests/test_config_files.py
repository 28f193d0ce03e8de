from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import attrs
import pytest

from mlpinf_core.config.files import SettingsFile, read_settings_file
from mlpinf_core.errors import ConfigurationError
from mlpinf_core.vocabulary import Mode, Scenario, Variant, Workload

Read = Callable[[str], SettingsFile]
SERVER = Workload("v5.1", "llama3.1-8b", Scenario.SERVER, Variant.TINY, "99")


@pytest.fixture
def read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Read:
    monkeypatch.chdir(tmp_path)

    def write_and_read(text: str) -> SettingsFile:
        Path("my.toml").write_text(text, encoding="utf-8")
        return read_settings_file(Path("my.toml"))

    return write_and_read


def applied(
    file: SettingsFile,
    workload: Workload = SERVER,
    mode: Mode = Mode.PERFORMANCE,
    backend: str | None = "torch",
    aliases: tuple[str, ...] = (),
) -> list[str]:
    return [layer.origin for layer in file.layers(workload, mode, backend, aliases=aliases)]


def test_tables_at_the_top_apply_to_every_workload_and_entries_come_after_them(read: Read) -> None:
    file = read(
        """
        [sut]
        workers = 2
        [[for]]
        scenario = "Offline"
        sut.workers = 3
        [[for]]
        benchmark = "llama3.1-8b"
        scenario = "Server"
        loadgen.target_qps = 10
        """
    )
    first, second = file.layers(SERVER, Mode.PERFORMANCE, None)
    assert (first.origin, first.values) == ("my.toml", {"sut": {"workers": 2}})
    assert second.origin == "my.toml [[for]] #2"
    assert second.values == {"loadgen": {"target_qps": 10}}


@pytest.mark.parametrize(
    "selector",
    [
        'benchmark = "LLAMA3_1-8B"',
        'scenario = ["offline", "server"]',
        'variant = "TINY"',
        'accuracy_target = "99"',
        "accuracy_target = 99",
        'round = "5.1"',
        "power = false",
        'mode = "Performance"',
        'backend = ["Torch", "ctranslate2"]',
    ],
)
def test_a_selector_takes_names_as_people_write_them(read: Read, selector: str) -> None:
    assert applied(read(f"[[for]]\n{selector}\nsut.workers = 2")) == ["my.toml [[for]] #1"]


@pytest.mark.parametrize(
    "selector",
    [
        'benchmark = "llama3.1-8b-edge"',
        'scenario = "Offline"',
        'variant = "full"',
        'accuracy_target = ["99.9"]',
        'round = ["v6.0", "v6.1"]',
        "power = true",
        'mode = "accuracy"',
        'backend = "tensorrt"',
        'scenario = "Server"\nvariant = "full"',
    ],
)
def test_an_entry_that_selects_another_workload_does_not_apply(read: Read, selector: str) -> None:
    assert applied(read(f"[[for]]\n{selector}\nsut.workers = 2")) == []


def test_an_entry_that_selects_a_backend_waits_until_the_backend_is_known(read: Read) -> None:
    file = read('[[for]]\nbackend = "torch"\nsut.workers = 2')
    assert applied(file, backend=None) == []
    assert applied(file, backend="torch") != []


def test_an_alias_of_the_benchmark_selects_it_too(read: Read) -> None:
    file = read('[[for]]\nbenchmark = "sdxl"\nsut.workers = 2')
    workload = attrs.evolve(SERVER, benchmark="stable-diffusion-xl")
    assert applied(file, workload) == []
    assert applied(file, workload, aliases=("sdxl",)) == ["my.toml [[for]] #1"]
    assert file.names("benchmark") == [("sdxl", "my.toml [[for]] #1")]


def test_an_entry_can_select_a_backend_and_set_the_backends_own_keys(read: Read) -> None:
    file = read('[[for]]\nbackend = "torch"\nset.backend.dtype = "int8"\nsut.workers = 2')
    (layer,) = file.layers(SERVER, Mode.PERFORMANCE, "torch")
    assert layer.values == {"backend": {"dtype": "int8"}, "sut": {"workers": 2}}


def test_an_entry_selected_by_its_backend_cannot_choose_the_backend(read: Read) -> None:
    with pytest.raises(ConfigurationError, match="cannot choose the backend"):
        read('[[for]]\nbackend = "torch"\nrun.backend = "tensorrt"')


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[loadgne]\ntarget_qps = 1", ["loadgne", "'loadgen'", "my.toml"]),
        ("[[fro]]\n", ["fro", "'for'"]),
        ("target_qps = 1", ["key 'target_qps'"]),
        ("run = 1", ["'run' is a table"]),
        ("[loadgen]\ntarget_qqs = 1", ["target_qqs", "'target_qps'"]),
        ("[for]\nscenario = 'Server'", ["[[for]]"]),
        ("[[for]]\nscenari = 'Server'", ["scenari", "'scenario'", "#1"]),
        ("[[for]]\nscenario = 'Sever'", ["Sever", "'Server'", "my.toml [[for]] #1"]),
        ("[[for]]\nvariant = 'tinny'", ["'tiny'"]),
        ("[[for]]\nmode = 'acuracy'", ["'accuracy'"]),
        ("[[for]]\nround = 'v5.2'", ["v5.2", "v5.1"]),
        ("[[for]]\npower = 'maybe'", ["maybe"]),
        ("[[for]]\nscenario = 3", ["'scenario'", "3"]),
        ("[[for]]\nsut.worker = 3", ["worker", "'workers'", "#1"]),
        ("[[for]]\nset = 3", ["set.TABLE.KEY"]),
        ("[[for]]\nset.sutt.workers = 3", ["sutt", "'sut'"]),
        ("[sut]\nworkers = 2\nworkers 3", ["line 3"]),
        ("[[for]]\nbackend = 'torch'\nbackend.dtype = 'int8'", ["set.backend.KEY"]),
    ],
)
def test_what_is_wrong_in_a_file_is_said_with_its_place_and_the_nearest_name(
    read: Read, text: str, said: list[str]
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        read(text)
    assert "my.toml" in str(caught.value.where)
    for part in said:
        assert part in str(caught.value)


def test_a_missing_file_a_directory_and_a_binary_are_errors_that_name_the_path(
    tmp_path: Path,
) -> None:
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"\xff\xfe\x00")
    for path in (tmp_path / "none.toml", tmp_path, binary):
        with pytest.raises(ConfigurationError) as caught:
            read_settings_file(path)
        assert caught.value.where == str(path)
        assert caught.value.remedy


def test_an_empty_file_says_nothing(read: Read) -> None:
    assert applied(read("")) == []
