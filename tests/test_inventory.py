"""What is in the scratch space, and fetching and preparing for every installed benchmark."""

from __future__ import annotations

import functools
import hashlib
import http.server
import json
import re
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import click
import pytest

from mlpinf_core.artifacts import ArtifactStore
from mlpinf_core.benchmark import Source
from mlpinf_core.cli import cli
from mlpinf_core.errors import ExitCode, PrerequisiteError
from mlpinf_core.inventory import ItemState, Needed, inventory, require_room, sources_of_all
from mlpinf_core.plugins import Plugins
from mlpinf_core.scratch import Scratch

if TYPE_CHECKING:
    from pathlib import Path

    from .conftest import PluginPath


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    """Serves a folder, and says nothing of it."""

    def log_message(self, *_: object) -> None:
        """Quiet."""


MLPINF = (sys.executable, "-c", "from mlpinf_core.cli import main; main()")
SECONDS = 120.0
CONTENT = b"a model"
WANTING = """
from mlpinf_core import (
    BackendInfo, Benchmark, BenchmarkRules, Source, Variant, VariantSpec, hookimpl,
)

MODEL = Source(
    name="wanted.bin", kind="models", size=7, licence="MIT", gated="accept the terms",
    sha256="a9d92a1ec2e2b3b8e52e4c4d4b0a8d1e6a8f8b5f3f7d0d6d8c1c5d9d2c3b4a51",
)


@hookimpl
def benchmarks():
    return [Benchmark(
        name="wanting",
        summary="needs a model",
        variants={Variant.TINY: VariantSpec(summary="a model", backend="none", sources=(MODEL,))},
        rules=BenchmarkRules(loadgen_name="wanting", dataset_size=1, performance_sample_count=1),
    )]


@hookimpl
def backends():
    return [BackendInfo("none", benchmarks=("wanting",), summary="computes nothing")]
"""
PARTLY = """
from mlpinf_core import (
    BackendInfo, Benchmark, BenchmarkRules, Source, Variant, VariantSpec, hookimpl,
)

GONE = Source("gone.bin", "data", 7, "0" * 64, "MIT", url="http://127.0.0.1:1/gone.bin")
ASKED = [
    Source(name, "data", 7, None, "MIT", gated="ask for it", size_is_estimate=True)
    for name in ("set/one.bin", "set/two.bin")
]
THERE = Source("there.bin", "models", 7, "DIGEST", "MIT", url="ADDRESS/there.bin")


@hookimpl
def benchmarks():
    return [Benchmark(
        name="partly",
        summary="needs a few files",
        variants={Variant.TINY: VariantSpec(
            summary="files", backend="none", sources=(*ASKED, GONE, THERE)
        )},
        rules=BenchmarkRules(loadgen_name="partly", dataset_size=1, performance_sample_count=1),
    )]


@hookimpl
def backends():
    return [BackendInfo("none", benchmarks=("partly",), summary="computes nothing")]
"""
BUILDING = """
from types import SimpleNamespace

from mlpinf_core import (
    BackendInfo, Benchmark, BenchmarkRules, Variant, VariantSpec, hookimpl,
)


@hookimpl
def benchmarks():
    return [Benchmark(
        name="building",
        summary="builds an engine",
        variants={Variant.TINY: VariantSpec(summary="an engine", backend="built")},
        rules=BenchmarkRules(loadgen_name="building", dataset_size=1, performance_sample_count=1),
    )]


@hookimpl
def backends():
    return [BackendInfo("built", benchmarks=("building",), summary="computes nothing")]


class Samples:
    def __len__(self):
        return 1

    def load(self, indices):
        pass

    def unload(self, indices):
        pass


@hookimpl
def dataset(run):
    return Samples()


@hookimpl
def preprocess(run, dataset):
    return dataset


@hookimpl
def build_backend(run, samples):
    run.store.build("engines", "mine", {}, lambda folder: (folder / "x").write_bytes(b"xyz"))
    nothing = lambda *_: None
    return SimpleNamespace(load=nothing, warm_up=nothing, close=nothing)
"""


def states(scratch: Scratch, *, anew: bool = False) -> dict[str, ItemState]:
    items = inventory(Plugins.from_environment(), scratch, anew=anew)
    there = (i for i in items if i.state is not ItemState.MISSING)
    return {i.path.relative_to(scratch.root).as_posix(): i.state for i in there}


def built(scratch: Scratch) -> Path:
    store = ArtifactStore(scratch)
    made = store.build(
        "engines", "toy", {"a": 1}, lambda folder: _write(folder / "model.bin", CONTENT)
    )
    return made.path


def _write(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def test_a_scratch_space_that_is_not_there_holds_nothing_and_is_not_made(tmp_path: Path) -> None:
    assert states(Scratch(tmp_path / "none")) == {}
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_two_benchmarks_share_is_counted_once(tmp_path: Path) -> None:
    shared = Source("shared.bin", "models", 7, "0" * 64, "MIT", url="http://127.0.0.1:1/shared")
    needed = [Needed(shared, None, "one"), Needed(shared, None, "other")]
    assert require_room(needed, Scratch(tmp_path)) == 7


def test_what_was_built_is_known_and_damage_is_found(tmp_path: Path) -> None:
    scratch = Scratch(tmp_path)
    path = built(scratch)
    name = f"engines/{path.name}"
    assert states(scratch) == {name: ItemState.OK}
    (path / "model.bin").write_bytes(b"another")
    assert states(scratch, anew=True) == {name: ItemState.WRONG}
    (path / "model.bin").unlink()
    assert states(scratch) == {name: ItemState.WRONG}


def test_what_died_and_what_nobody_asks_for_is_told_apart(tmp_path: Path) -> None:
    scratch = Scratch(tmp_path)
    scratch.ensure("engines")
    (scratch.engines / ".toy-0123456789abcdef.00000000.tmp").mkdir()
    (scratch.engines / "stray.bin").write_bytes(CONTENT)
    assert states(scratch) == {
        "engines/.toy-0123456789abcdef.00000000.tmp": ItemState.LEFT,
        "engines/stray.bin": ItemState.UNKNOWN,
    }


def test_what_installed_benchmarks_lack_is_listed_with_its_size(
    plugin_path: PluginPath, tmp_path: Path
) -> None:
    plugin_path.write("wanting", WANTING)
    (item,) = (
        i
        for i in inventory(Plugins.from_environment(), Scratch(tmp_path))
        if i.path.name == "wanted.bin"
    )
    assert (item.state, item.size, item.whose) == (ItemState.MISSING, 7, "wanting tiny")
    (tmp_path / "models").mkdir()
    (tmp_path / "models/wanted.bin").write_bytes(b"another")
    assert states(Scratch(tmp_path)) == {"models/wanted.bin": ItemState.WRONG}


def test_a_source_in_a_folder_is_known_and_what_lies_beside_it_is_told_apart(
    plugin_path: PluginPath, tmp_path: Path
) -> None:
    plugin_path.write("partly", PARTLY.replace("DIGEST", "0" * 64))
    (tmp_path / "data/set").mkdir(parents=True)
    for name in ("set/one.bin", "set/two.bin.part", "set/two.bin.part.json", "set/stray.bin"):
        (tmp_path / "data" / name).write_bytes(CONTENT)
    assert states(Scratch(tmp_path)) == {
        "data/set/one.bin": ItemState.OK,
        "data/set/two.bin": ItemState.PARTIAL,
        "data/set/stray.bin": ItemState.UNKNOWN,
    }


def test_a_source_of_several_benchmarks_is_listed_once() -> None:
    found, _ = sources_of_all(Plugins.from_environment(), runnable=False)
    assert len({(n.source, n.local) for n in found}) == len(found)


def test_what_does_not_fit_is_refused_before_anything_is_fetched(tmp_path: Path) -> None:
    huge = Source("huge.bin", "models", 10**18, "0" * 64, "MIT", url="http://127.0.0.1:1/huge")
    with pytest.raises(PrerequisiteError, match=r"1000000\.0 TB are to be fetched"):
        require_room([Needed(huge, None, "nobody")], Scratch(tmp_path))
    assert list(tmp_path.iterdir()) == []


def command(tmp_path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    import os

    return subprocess.run(
        [*MLPINF, *arguments],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        cwd=tmp_path,
        env={**os.environ, "MLPERF_SCRATCH_PATH": str(tmp_path / "scratch")},
    )


def test_the_command_prints_a_page_or_a_document(tmp_path: Path) -> None:
    built(Scratch(tmp_path / "scratch"))
    page = command(tmp_path, "scratch")
    assert page.returncode == ExitCode.OK
    assert "engines/toy-" in page.stdout
    data = json.loads(command(tmp_path, "scratch", "--json").stdout)
    assert [i["state"] for i in data["items"] if i["state"] != "missing"] == ["ok"]


def test_damage_ends_the_command_with_failed(tmp_path: Path) -> None:
    (built(Scratch(tmp_path / "scratch")) / "model.bin").unlink()
    assert command(tmp_path, "scratch", "--verify").returncode == ExitCode.FAILED


def test_all_and_a_name_contradict_each_other(tmp_path: Path) -> None:
    for verb in ("fetch", "prepare"):
        found = command(tmp_path, verb, "null", "--all")
        assert found.returncode == ExitCode.USAGE
        assert "--all and a benchmark were both given" in found.stderr


@pytest.mark.parametrize(
    ("verb", "meaningless"),
    [
        ("fetch", ("--test-run", "--min-duration", "--output")),
        ("prepare", ("--test-run", "--min-duration")),
        ("build", ("--test-run", "--min-duration")),
    ],
)
def test_a_command_has_no_option_that_means_nothing_to_it(
    verb: str, meaningless: tuple[str, ...]
) -> None:
    def options(name: str) -> set[str]:
        found = cli.get_command(click.Context(cli), name)
        assert found is not None
        return {option for each in found.params for option in each.opts}

    assert options("run") - options(verb) >= set(meaningless)
    assert {"--mode", "--backend", "--set", "--config", "--variant"} <= options(verb)


def test_what_is_fetched_and_prepared_can_be_chosen_all_the_same(tmp_path: Path) -> None:
    for verb in ("fetch", "prepare"):
        found = command(tmp_path, verb, "null", "--mode", "accuracy", "--scenarios", "Offline")
        assert found.returncode == ExitCode.OK, found.stderr


def test_what_only_a_person_can_get_is_told_before_anything_is_prepared(
    plugin_path: PluginPath, tmp_path: Path
) -> None:
    plugin_path.write("wanting", WANTING)
    found = command(tmp_path, "prepare", "wanting")
    assert found.returncode == ExitCode.FAILED
    assert "accept the terms" in found.stderr
    assert not (tmp_path / "mlpinf-runs").exists()


def test_one_file_that_cannot_be_had_keeps_no_other_from_being_fetched(
    plugin_path: PluginPath, tmp_path: Path
) -> None:
    (tmp_path / "web").mkdir()
    (tmp_path / "web/there.bin").write_bytes(CONTENT)
    serve = functools.partial(QuietHandler, directory=str(tmp_path / "web"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), serve) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_address[1]}"
        digest = hashlib.sha256(CONTENT).hexdigest()
        plugin_path.write("partly", PARTLY.replace("ADDRESS", address).replace("DIGEST", digest))
        found = command(tmp_path, "fetch", "partly")
        server.shutdown()
    assert found.returncode == ExitCode.FAILED
    assert "14 bytes are for you to get" in found.stderr
    assert "error: 3 files or folders could not be had" in found.stderr
    assert "gone.bin (7 bytes) could not be fetched" in found.stderr
    assert "set/one.bin and 1 more cannot be fetched unattended: ask for it" in found.stderr
    assert (tmp_path / "scratch/models/there.bin").read_bytes() == CONTENT


def test_building_lists_the_engines_that_the_backend_needed_and_no_others(
    plugin_path: PluginPath, tmp_path: Path
) -> None:
    built(Scratch(tmp_path / "scratch"))
    plugin_path.write("building", BUILDING)

    first, again, none = (
        command(tmp_path, "build", *names)
        for names in (
            ("building", "--variant", "tiny"),
            ("building", "--variant", "tiny"),
            ("null",),
        )
    )

    assert [first.returncode, again.returncode, none.returncode] == [ExitCode.OK] * 3, first.stderr
    assert "toy-" not in first.stdout + again.stdout + none.stdout
    assert re.search(r"mine-\S+ .* built", first.stdout)
    assert re.search(r"mine-\S+ .* was there", again.stdout)
    assert "no engines: this backend builds none" in none.stdout
