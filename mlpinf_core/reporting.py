"""Who is told what happens while runs are made; the command line's progress display is one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import attrs

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlpinf_core.plan import PlannedRun
    from mlpinf_core.results import RunResult
    from mlpinf_core.vocabulary import Mode


class Reporter(Protocol):
    """Is told what happens, as it happens."""

    def started(self, planned: PlannedRun, mode: Mode, task: str) -> None:
        """A child process starts.

        Args:
            planned: what is run.
            mode: what is measured of it.
            task: ``prepare``, ``measure``, ``execute``, ``score``, or the name of an audit's test.
        """

    def event(self, event: Mapping[str, Any]) -> None:
        """The child tells something; see :mod:`mlpinf_core.events`."""

    def finished(self, result: RunResult) -> None:
        """A run has its result."""


@attrs.frozen
class Silent:
    """Tells nobody."""

    def started(self, planned: PlannedRun, mode: Mode, task: str) -> None:
        """Nothing."""

    def event(self, event: Mapping[str, Any]) -> None:
        """Nothing."""

    def finished(self, result: RunResult) -> None:
        """Nothing."""
