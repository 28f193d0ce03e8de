"""The speech plugin keeps the rules that every plugin keeps, with either backend."""

from __future__ import annotations

import pytest

from mlpinf_core.testing import PluginConformance


@pytest.mark.slow
@pytest.mark.model
@pytest.mark.usefixtures("wheel")
class TestCTranslate2(PluginConformance):
    plugin = "whisper"


@pytest.mark.slow
@pytest.mark.model
@pytest.mark.usefixtures("wheel")
class TestTorch(PluginConformance):
    plugin = "whisper"
    backend = "torch"
    scenarios = ("Offline", "SingleStream")  # the others differ in the SUT, not in the backend
