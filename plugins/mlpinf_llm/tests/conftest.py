"""What the tests of the language plugin share."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlpinf_core.context import Run

# A busy machine is no failure: nothing is told by how long an example takes.
settings.register_profile("no-clock", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("no-clock")


DATA = Path(__file__).parent / "data"


@pytest.fixture(scope="session")
def data() -> Path:
    """The checked-in test files."""
    return DATA


@pytest.fixture(scope="session")
def gguf() -> Path:
    """The tiny model's GGUF file, or a skip that says how to get the test to run."""
    from mlpinf_core import downloads
    from mlpinf_core.downloads import SourceState
    from mlpinf_core.scratch import Scratch
    from mlpinf_llm.benchmarks import MODEL

    if path := os.environ.get("MLPINF_TINY_GGUF"):
        return Path(path)
    status = downloads.status(MODEL, Scratch.from_environment())
    if status.state is not SourceState.OK:
        pytest.skip("needs the tiny model: `mlpinf fetch llama3.1-8b --variant tiny` gets it")
    return status.path


@pytest.fixture(scope="session")
def engines(gguf: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The tiny model converted once for all tests, as int8 and as float32."""
    from mlpinf_llm.gguf_engine import convert

    root = tmp_path_factory.mktemp("engines")
    for kind in ("int8", "float32"):
        convert(gguf, root / kind, kind)
    return {kind: root / kind for kind in ("int8", "float32")}


@pytest.fixture
def new_run(tmp_path: Path) -> Callable[..., Run]:
    """Makes the context of a full benchmark's run: ``new_run(name, **benchmark_settings)``."""
    from mlpinf_core.artifacts import ArtifactStore
    from mlpinf_core.config.schema import Config
    from mlpinf_core.context import Run
    from mlpinf_core.rules import load_round
    from mlpinf_core.scratch import Scratch
    from mlpinf_core.vocabulary import Mode, Scenario, Variant, Workload
    from mlpinf_llm.benchmarks import LlmSettings, all_benchmarks

    def make(name: str, **settings: Any) -> Run:
        scratch = Scratch(tmp_path / "scratch")
        return Run(
            workload=Workload("v5.1", name, Scenario.OFFLINE, Variant.FULL, "99"),
            mode=Mode.ACCURACY,
            config=Config(benchmark=LlmSettings(**settings)),
            rules=load_round("v5.1").benchmarks[name],
            benchmark=next(b for b in all_benchmarks() if b.name == name),
            scratch=scratch,
            store=ArtifactStore(scratch),
            directory=tmp_path,
        )

    return make
