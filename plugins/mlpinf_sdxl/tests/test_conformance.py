"""The text to image plugin keeps the rules that every plugin keeps."""

from __future__ import annotations

import pytest

from mlpinf_core.testing import PluginConformance


@pytest.mark.slow
class TestConformance(PluginConformance):
    plugin = "sdxl"
    benchmark = "stable-diffusion-xl"
    backend = "torch"
