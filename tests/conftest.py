"""What several test modules use: LoadGen tests to answer, and plugins that are installed."""

from __future__ import annotations

import os
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import pytest
from hypothesis import HealthCheck, settings

from .issuing import IssuingLoadGen

# A busy machine is no failure: nothing is told by how long an example takes.
settings.register_profile("no-clock", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("no-clock")


if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def no_system_of_the_user(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the user calls this machine, and has written about it, decides no test."""
    for name in ("SYSTEM_NAME", "MLPINF_SYSTEMS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.getbasetemp() / "no-config"))


@pytest.fixture
def loadgen(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[IssuingLoadGen]:
    """A LoadGen test that begins with the first samples asked for, and always ends."""
    issuing = IssuingLoadGen(tmp_path_factory.mktemp("loadgen"), monkeypatch)
    yield issuing
    issuing.end()


@attrs.frozen
class PluginPath:
    """A directory of installed plugins, for this process and for those it starts."""

    root: Path
    monkeypatch: pytest.MonkeyPatch

    def write(
        self,
        name: str,
        source: str,
        *,
        distribution: str | None = None,
        version: str = "1.0",
        entry_point: str | None = None,
        module: str | None = None,
    ) -> None:
        """Install a plugin that is one module.

        Args:
            name: of its entry point.
            source: of its module.
            distribution: that brings it; named after the plugin by default.
            entry_point: what the entry point refers to; its module by default.
            module: its name; made of the plugin's by default.
        """
        module = module or f"mlpinf_test_{name}"
        (self.root / f"{module}.py").write_text(source, encoding="utf-8")
        points = f"[mlpinf]\n{name} = {entry_point or module}\n"
        self._distribution(distribution or f"mlpinf-test-{name}", version, points)

    def project(self, directory: Path) -> None:
        """Install a plugin from its source tree, as ``pip install --editable`` does."""
        project = tomllib.loads((directory / "pyproject.toml").read_text(encoding="utf-8"))
        points = project["project"]["entry-points"]["mlpinf"]
        text = "[mlpinf]\n" + "".join(f"{name} = {module}\n" for name, module in points.items())
        self._distribution(project["project"]["name"], project["project"]["version"], text)
        self._add(directory / "src")

    def _distribution(self, name: str, version: str, points: str) -> None:
        folder = self.root / f"{name.replace('-', '_')}-{version}.dist-info"
        folder.mkdir()
        metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        (folder / "METADATA").write_text(metadata, encoding="utf-8")
        (folder / "entry_points.txt").write_text(points, encoding="utf-8")
        self._add(self.root)

    def _add(self, path: Path) -> None:
        if str(path) in sys.path:
            return
        self.monkeypatch.syspath_prepend(str(path))
        before = os.environ.get("PYTHONPATH")
        parts = [str(path), *([before] if before else [])]
        self.monkeypatch.setenv("PYTHONPATH", os.pathsep.join(parts))


@pytest.fixture
def plugin_path(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[PluginPath]:
    """Installs plugins for one test."""
    root = tmp_path_factory.mktemp("plugins")
    yield PluginPath(root, monkeypatch)
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None)).startswith(str(root)):
            del sys.modules[name]


@pytest.fixture
def posing(
    plugin_path: PluginPath,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Benchmarks that pose as those of the rounds, for one test."""
    from .submission_trees import PROJECT

    monkeypatch.setenv("MLPINF_DISABLE_PLUGINS", "llm,whisper,rgat,sdxl")
    monkeypatch.setenv("MLPERF_SCRATCH_PATH", str(tmp_path_factory.mktemp("scratch")))
    plugin_path.project(PROJECT)


@pytest.fixture(scope="session")
def good_tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A closed tree of v6.1 that breaks no rule; ``tree-whole`` beside it has the whole logs.

    Made once; who wants to change something copies it.
    """
    from .submission_trees import PROJECT, add_audits, make_runs, make_tree

    place = tmp_path_factory.mktemp("submission")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLPINF_DISABLE_PLUGINS", "llm,whisper,rgat,sdxl")
        patch.setenv("MLPERF_SCRATCH_PATH", str(tmp_path_factory.mktemp("scratch")))
        PluginPath(tmp_path_factory.mktemp("plugins"), patch).project(PROJECT)
        make_runs(place / "runs", "v6.1", "llama3.1-8b", ("Offline", "Server"))
        make_runs(place / "runs", "v6.1", "whisper", ("Offline",))
        add_audits(place / "runs")
        make_tree(place / "runs", place / "tree", "v6.1", "closed")
    return place / "tree"
