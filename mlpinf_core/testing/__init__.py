"""The conformance kit: rules that every plugin keeps, ours and others'.

In a plugin's own tests (this needs pytest)::

    from mlpinf_core.testing import PluginConformance


    class TestConformance(PluginConformance):
        plugin = "digits"

Without pytest: ``mlpinf check digits``, or :func:`check_plugin`.

Every rule looks at the plugin from outside: real runs, through LoadGen, in child processes. Where
a rule needs something to go wrong, a plugin of hook wrappers (:mod:`mlpinf_core.testing.faults`)
makes it go wrong inside such a run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mlpinf_core.testing.rule import ConformanceError, NotApplicableError, Rule, RuleState

if TYPE_CHECKING:
    from mlpinf_core.testing.check import Report, check_plugin
    from mlpinf_core.testing.suite import PluginConformance

__all__ = [
    "ConformanceError",
    "NotApplicableError",
    "PluginConformance",
    "Report",
    "Rule",
    "RuleState",
    "check_plugin",
]


def __getattr__(name: str) -> Any:
    """Import on first use: a child process that only makes faults needs none of it."""
    if name == "PluginConformance":
        from mlpinf_core.testing.suite import PluginConformance

        return PluginConformance
    if name in ("Report", "check_plugin"):
        from mlpinf_core.testing import check

        return getattr(check, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
