"""``benchmarks/gpu.py`` on the language models: its toys, with a double of vLLM for an engine."""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def shapes(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module("gpu_parts.llm_shapes")


def script(part: str, folder: Path, *options: str, **environment: str) -> tuple[list[Any], str]:
    """The figures of a part, and what it said besides."""
    figures = folder / "figures.json"
    command = [sys.executable, str(BENCHMARKS / "gpu.py"), part, *options]
    done = subprocess.run(
        [*command, "--folder", str(folder), "--json", str(figures)],
        check=True, capture_output=True, text=True, env=os.environ | environment, timeout=300,
    )  # fmt: skip
    return json.loads(figures.read_text(encoding="utf-8")), done.stdout + done.stderr


@pytest.mark.parametrize("model", ["llama3.1-8b", "llama2-70b"])
@pytest.mark.parametrize("toy", [True, False])
def test_lengths_have_the_mean_and_keep_to_the_longest(shapes: Any, model: str, toy: bool) -> None:
    shape = shapes.shape(model, toy=toy)
    for lengths in (shape.prompts, shape.answers):
        drawn = lengths.draw(np.random.default_rng(1), 1024)
        assert drawn.mean() == pytest.approx(lengths.mean, rel=0.01)
        assert 2 <= drawn.min() <= drawn.max() <= lengths.most


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "version"), [("llama3.1-8b", "0.20.0"), ("llama2-70b", "0.26.0")]
)
def test_vllm_is_measured_directly_and_through_loadgen(
    tmp_path: Path, model: str, version: str
) -> None:
    rows, said = script(f"{model}-direct", tmp_path, "--toy", MLPINF_TEST_VLLM=version)
    assert f"a double of {version}'s signatures" in said
    assert len(rows) == 3, said
    direct, through, ratio = (row["measured"] for row in rows)
    assert ratio == through / direct > 0
    for row in rows:  # a double's figures stand beside nobody's
        assert row["published"] is row["target"] is None


@pytest.mark.slow
def test_server_of_a_language_model_is_valid(tmp_path: Path) -> None:
    rows, said = script("llama2-70b-server", tmp_path, "--toy")
    assert [row["measured"] > 0 for row in rows] == [True, True], said
    assert rows[0]["notes"]["causes"] == ""


@pytest.mark.slow
def test_an_engine_that_cannot_be_made_is_told_of(tmp_path: Path) -> None:
    rows, said = script("llama3.1-8b-offline", tmp_path, "--toy", MLPINF_TEST_FAULT="construct")
    assert rows == []
    assert "vLLM cannot be loaded: RuntimeError: Engine core initialization failed" in said


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("vllm") is not None, reason="vLLM is installed")
def test_one_error_says_that_vllm_is_missing(tmp_path: Path) -> None:
    rows, said = script("llama3.1-8b-server", tmp_path)
    assert rows == []
    assert "vLLM is not installed here" in said
    assert "Traceback" not in said
