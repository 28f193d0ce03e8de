"""The plugin keeps the rules that every plugin keeps."""

from mlpinf_core.testing import PluginConformance


class TestConformance(PluginConformance):
    plugin = "digits"
    benchmark = "digits"
