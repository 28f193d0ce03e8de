"""What the tests of the language plugin share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

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
