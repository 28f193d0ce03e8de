"""Which files and folders a plan needs: by backend, by setting; and what is declared wrongly."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from click.testing import CliRunner

from mlpinf_core import BackendInfo, Benchmark, FolderSource, Source, VariantSpec, hookimpl
from mlpinf_core.cli import cli
from mlpinf_core.config.layers import Layer
from mlpinf_core.config.schema import setting
from mlpinf_core.plan import Request, make_plan
from mlpinf_core.plugins import Plugins
from mlpinf_core.preflight import CheckState, check
from mlpinf_core.rules.model import BenchmarkRules, Limit
from mlpinf_core.scratch import Scratch
from mlpinf_core.testing.declarations import of_benchmark
from mlpinf_core.vocabulary import Scenario, Variant

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlpinf_core.benchmark import AnySource

    from .conftest import PluginPath

CONTENT = b"the data set"


@attrs.frozen
class Settings:
    data_path: Path | None = setting(None, "Where the prepared data set is.")
    model_path: Path | None = setting(None, "Where the checkpoint is.")
    size: int = setting(3, "Something with a value.")


@attrs.frozen
class TorchSettings:
    weights: Path | None = setting(None, "Where the weights are.")


DATA = Source(
    "set.bin",
    "data",
    len(CONTENT),
    hashlib.sha256(CONTENT).hexdigest(),
    "MIT",
    url="http://127.0.0.1:9/set.bin",
    unless="benchmark.data_path",
)
CHECKPOINT = FolderSource(
    name="checkpoint",
    kind="models",
    size=3_000,
    licence="MIT",
    repository="owner/model",
    revision="0" * 40,
    requires=("config.json",),
    setting="backend.weights",
)
CONVERTED = attrs.evolve(
    CHECKPOINT, name="converted", repository="owner/converted", setting="benchmark.model_path"
)


def benchmark(
    sources: tuple[AnySource, ...] = (DATA,),
    backend_sources: dict[str, tuple[AnySource, ...]] | None = None,
) -> Benchmark:
    of_backends = {"torch": (CHECKPOINT,), "engine": (CONVERTED,)}
    return Benchmark(
        "sourced",
        "a benchmark that needs files",
        variants={
            Variant.FULL: VariantSpec(
                summary="all of it",
                backend="engine",
                sources=sources,
                backend_sources=of_backends if backend_sources is None else backend_sources,
            )
        },
        settings=Settings,
        rules=BenchmarkRules(
            loadgen_name="sourced",
            dataset_size=10,
            performance_sample_count=10,
            accuracy={"99": {"score": Limit(lower=1.0)}},
        ),
    )


def declared_backends() -> list[BackendInfo]:
    return [
        BackendInfo("torch", ("sourced",), "one", settings=TorchSettings),
        BackendInfo("engine", ("sourced",), "another"),
    ]


def plugins(declared: Benchmark | None = None) -> Plugins:
    @hookimpl
    def benchmarks() -> list[Benchmark]:
        return [declared or benchmark()]

    @hookimpl
    def backends() -> list[BackendInfo]:
        return declared_backends()

    found = Plugins([("sourced", SimpleNamespace(benchmarks=benchmarks, backends=backends))])
    (info,) = found.infos()
    assert info.detail == "", info.detail
    return found


def request(**settings: Any) -> Request:
    tables: dict[str, dict[str, Any]] = {}
    for key, value in settings.items():
        table, _, name = key.partition("__")
        tables.setdefault(table, {})[name] = value
    return Request(
        benchmarks=("sourced",),
        scenarios=(Scenario.OFFLINE,),
        layers=(Layer("test", {"loadgen": {"target_qps": 10}}), Layer("test", tables)),
    )


@pytest.fixture
def needed() -> Callable[..., dict[AnySource, Path | None]]:
    def sources(**settings: Any) -> dict[AnySource, Path | None]:
        known = plugins()
        (planned,) = make_plan(request(**settings), known).runs
        return planned.sources(known)

    return sources


def test_a_backend_brings_the_files_that_it_alone_needs(
    needed: Callable[..., dict[AnySource, Path | None]],
) -> None:
    assert needed() == {DATA: None, CONVERTED: None}
    assert needed(run__backend="torch") == {DATA: None, CHECKPOINT: None}
    assert needed(run__backend="TORCH") == {DATA: None, CHECKPOINT: None}


def test_a_setting_makes_a_file_unnecessary(
    needed: Callable[..., dict[AnySource, Path | None]],
) -> None:
    assert needed(benchmark__data_path="/data") == {CONVERTED: None}


def test_a_setting_of_the_backend_may_say_where_its_files_are(
    needed: Callable[..., dict[AnySource, Path | None]],
) -> None:
    given = needed(run__backend="torch", backend__weights="/weights")
    assert given == {DATA: None, CHECKPOINT: Path("/weights")}


# ---- before a run


def checks(scratch: Scratch, declared: Benchmark | None = None, **settings: Any) -> dict[str, Any]:
    known = plugins(declared)
    plan = make_plan(request(**settings), known)
    return {found.name: found for found in check(plan, known, scratch)}


def test_a_preflight_looks_at_the_files_of_the_chosen_backend_and_counts_their_bytes(
    tmp_path: Path,
) -> None:
    found = checks(Scratch(tmp_path / "scratch"))
    assert found["data of sourced full"].state is CheckState.TO_DO
    model = found["model of sourced full"]
    assert (model.state, model.detail) == (
        CheckState.TO_DO,
        "converted, 3.0 kB to fetch, MIT",
    )
    assert "3.0 kB to fetch" in found["disk"].detail
    assert not (tmp_path / "scratch").exists()


def test_a_preflight_shows_the_path_that_makes_a_file_unnecessary(tmp_path: Path) -> None:
    found = checks(Scratch(tmp_path / "scratch"), benchmark__data_path=str(tmp_path))
    data = found["data of sourced full"]
    assert (data.state, data.detail) == (CheckState.OK, f"{tmp_path} (benchmark.data_path)")
    assert "3.0 kB to fetch" in found["disk"].detail  # for the model alone


def test_a_preflight_shows_a_path_once_that_makes_two_files_unnecessary(tmp_path: Path) -> None:
    known = plugins(benchmark(sources=(DATA, attrs.evolve(DATA, name="other.bin"))))
    plan = make_plan(request(benchmark__data_path=str(tmp_path)), known)
    found = check(plan, known, Scratch(tmp_path / "scratch"))
    assert [one.name for one in found].count("data of sourced full") == 1


def test_a_preflight_fails_where_a_path_that_makes_a_file_unnecessary_is_not_there(
    tmp_path: Path,
) -> None:
    nowhere = tmp_path / "nowhere"
    found = checks(Scratch(tmp_path / "scratch"), benchmark__data_path=str(nowhere))
    data = found["data of sourced full"]
    assert data.state is CheckState.FAILED
    assert data.detail == f"{nowhere} is missing (benchmark.data_path)"
    assert data.remedy == "set benchmark.data_path right"


def test_a_preflight_names_what_a_given_folder_lacks(tmp_path: Path) -> None:
    found = checks(Scratch(tmp_path / "scratch"), benchmark__model_path=str(tmp_path))
    model = found["model of sourced full"]
    assert model.state is CheckState.FAILED
    assert model.detail == f"{tmp_path} is wrong: lacks config.json"
    assert model.remedy == "set benchmark.model_path right"


def test_a_preflight_warns_of_a_gated_repository_that_is_still_to_be_fetched(
    tmp_path: Path,
) -> None:
    gated = attrs.evolve(CONVERTED, gated="accept the terms at https://example.org")
    found = checks(Scratch(tmp_path / "scratch"), benchmark(backend_sources={"engine": (gated,)}))
    model = found["model of sourced full"]
    assert (model.state, model.remedy) == (CheckState.WARNING, gated.gated)
    assert "disk" in found


def test_a_preflight_fails_where_the_client_of_the_hub_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mlpinf_core.downloads.is_installed", lambda module: False)
    found = checks(Scratch(tmp_path / "scratch"))
    model = found["model of sourced full"]
    assert (model.state, model.remedy) == (CheckState.FAILED, "pip install 'mlpinf-core[hub]'")


PLUGIN = f"""
from mlpinf_core import hookimpl
from {__name__} import declared_backends, benchmark

@hookimpl
def benchmarks():
    return [benchmark()]

@hookimpl
def backends():
    return declared_backends()
"""


def test_the_command_shows_the_files_of_the_chosen_backend(
    plugin_path: PluginPath, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plugin_path.write("sourced", PLUGIN)
    monkeypatch.setenv("MLPERF_SCRATCH_PATH", str(tmp_path / "scratch"))
    model = tmp_path / "scratch" / "models" / "checkpoint"
    model.mkdir(parents=True)
    (model / "config.json").write_text("{}")
    command = ["fetch", "sourced", "--status", "--json", "--scenarios", "Offline"]
    told = CliRunner().invoke(cli, [*command, "--backend", "torch"], catch_exceptions=False)
    files = json.loads(told.stdout)["files"]
    assert [(f["name"], f["state"], f["path"]) for f in files] == [
        ("set.bin", "missing", str(tmp_path / "scratch" / "data" / "set.bin")),
        ("checkpoint", "ok", str(model)),
    ]


# ---- what the conformance kit says of a declaration


def test_a_good_declaration_is_passed() -> None:
    assert of_benchmark(benchmark(), plugins()) == []


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"revision": "main"}, "its revision is not a commit"),
        ({"repository": "https://huggingface.co/owner/model"}, "its repository is OWNER/NAME"),
        ({"requires": ()}, "it requires no file"),
        ({"patterns": ()}, "its patterns name no file"),
        ({"size": 0}, "its size is unknown"),
        ({"licence": ""}, "its licence is unknown"),
        ({"kind": "engines"}, "its kind is 'models' or 'data'"),
        ({"setting": "backend.weights"}, "'backend.weights' is no setting"),
        ({"unless": "benchmark.typo"}, "'benchmark.typo' is no setting"),
        ({"unless": "benchmark.size"}, "has a value already when nobody sets it"),
    ],
)
def test_a_wrongly_declared_folder_is_told(change: dict[str, Any], problem: str) -> None:
    declared = benchmark(sources=(attrs.evolve(CONVERTED, **change),))
    (told,) = of_benchmark(declared, plugins(declared))
    assert "folder 'converted': " in told
    assert problem in told


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"sha256": "?"}, "its sha256 is not 64"),
        ({"url": None}, "neither where it is fetched from"),
        ({"unless": "data_path"}, "'data_path' is no setting"),
    ],
)
def test_a_wrongly_declared_file_is_told(change: dict[str, Any], problem: str) -> None:
    declared = benchmark(sources=(attrs.evolve(DATA, **change),))
    (told,) = of_benchmark(declared, plugins(declared))
    assert "file 'set.bin': " in told
    assert problem in told


def test_files_of_a_backend_that_is_not_there_are_told() -> None:
    declared = benchmark(backend_sources={"torc": (CONVERTED,)})
    (told,) = of_benchmark(declared, plugins(declared))
    assert "files for backend 'torc', which is none of the benchmark's" in told
