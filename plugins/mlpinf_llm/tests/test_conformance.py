"""The language plugin keeps the rules that every plugin keeps."""

from __future__ import annotations

import os

import pytest

from mlpinf_core.testing import PluginConformance

_MODEL = os.environ.get("MLPINF_TINY_GGUF")


@pytest.mark.slow
@pytest.mark.model
@pytest.mark.usefixtures("gguf")
class TestConformance(PluginConformance):
    plugin = "llm"
    benchmark = "llama3.1-8b"
    settings = {"benchmark": {"model_path": _MODEL}} if _MODEL else {}
